"""Running a command: its flags, its help, its errors, its exit status."""

from __future__ import annotations

import importlib
import os
import select
import shlex
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING, NoReturn, TypeVar

from bert_ko.commands import typed
from bert_ko.flags.errors import error_message
from bert_ko.flags.help import asks_for_help, describe, help_text
from bert_ko.flags.parsing import parse_command
from bert_ko.flags.records import command_arguments
from bert_ko.interrupts import INTERRUPTED, interruptible
from bert_ko.messages import program_name, quiet, recorded, running_as, say_error
from bert_ko.streams import prepare_streams, silence

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

C = TypeVar("C", bound="DataclassInstance")


def run_command(
    config_class: type[C], run: Callable[[C], object], argv: Sequence[str] | None = None
) -> int:
    """Parses the flags, runs the command and prints the user's errors as one line each.

    Args:
        config_class: The command's Config; the first paragraph of its docstring describes it.
        run: The command; its return value is ignored.
        argv: The arguments without the program's name; None takes them from `sys.argv`.

    Returns:
        The exit status: 0; 1 after an error of the user's or the machine's; 130 after Ctrl-C; 141
        when the reader of standard output has gone. Any other exception is a bug and passes.
    """
    arguments = sys.argv[1:] if argv is None else argv
    module = config_class.__module__
    program = program_name() if module == "__main__" else module.rpartition(".")[2]
    prepare_streams()
    with running_as(program), interruptible():
        try:
            if (asked := asks_for_help(arguments)) is not None:
                full = asked == "helpfull"
                print(help_text(config_class, program, describe(config_class), full=full), end="")
            else:
                config, common = parse_command(config_class, arguments)
                line = f"{typed(program)} {shlex.join(command_arguments(config))}"
                with quiet(common.quiet), recorded(line):
                    run(config)
            sys.stdout.flush()
        except KeyboardInterrupt:
            say_error(f"{program}: interrupted")
            return INTERRUPTED
        except (ValueError, OSError, MemoryError, BrokenExecutor) as error:
            if isinstance(error, BrokenPipeError) and _stdout_is_broken():
                silence(sys.stdout)
                return 141  # 128 + SIGPIPE, as the shell reports it
            return _report(error_message(error))
    return 0


def _report(message: str) -> int:
    try:
        sys.stdout.flush()  # what the command printed comes before the error
    except OSError:
        silence(sys.stdout)
    say_error(f"{program_name()}: error: {message}")
    return 1


def _stdout_is_broken() -> bool:
    """Returns whether the reader of standard output has gone."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))  # asked for no event, poll reports errors and hang-ups only
    except (AttributeError, OSError, ValueError):  # no poll here, or no file behind stdout
        return True


def run_module(path: str) -> NoReturn:
    """Runs the command whose module was started by python -m, under the module's own name.

    What is defined in ``__main__`` can't be found by other processes.
    """
    name = os.path.splitext(os.path.basename(path))[0]
    sys.exit(importlib.import_module(f"bert_ko.{name}").main())
