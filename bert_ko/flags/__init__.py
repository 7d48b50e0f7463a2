"""Command-line flags from a frozen dataclass.

A command states its flags once, as the fields of its Config:

    @dataclass(frozen=True)
    class Config(Flags):
        '''Counts lines.'''

        input_file: tuple[str, ...] = flag(help="Text files; commas and globs.")
        max_lines: int | None = flag(None, help="Stop after this many lines.", at_least=1)

    def main(argv: Sequence[str] | None = None) -> int:
        return run_command(Config, run, argv)

Arguments (`argv`) are always without the program's name, as in `sys.argv[1:]`.
"""

from bert_ko.flags.declaration import Flags, flag
from bert_ko.flags.errors import FlagError, error_message
from bert_ko.flags.help import help_text
from bert_ko.flags.parsing import parse
from bert_ko.flags.records import (
    changed_flags,
    command_arguments,
    output_flags,
    secret_flags,
    values_before,
)
from bert_ko.flags.running import run_command, run_module

__all__ = [
    "FlagError",
    "Flags",
    "changed_flags",
    "command_arguments",
    "error_message",
    "flag",
    "help_text",
    "output_flags",
    "parse",
    "run_command",
    "run_module",
    "secret_flags",
    "values_before",
]
