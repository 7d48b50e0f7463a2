"""bert_ko: all commands by one name."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Mapping, Sequence

from bert_ko.commands import COMMANDS, TOOLS, UMBRELLA, typed
from bert_ko.messages import say_error
from bert_ko.streams import prepare_streams
from bert_ko.version import VERSION

_HELP = ("-h", "--help", "--helpfull", "help")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that the first argument names; lists all without one."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    prepare_streams()
    if not arguments or arguments[0] in _HELP:
        print(overview(), end="")
        return 0
    name, *rest = arguments
    if name in ("--version", "version"):
        print(f"{UMBRELLA} {VERSION}")
        return 0
    if name not in {*COMMANDS, *TOOLS}:
        say_error(f"{UMBRELLA}: error: {_unknown(name)}")
        return 1
    return int(importlib.import_module(f"bert_ko.{name}").main(rest))


def overview() -> str:
    """The commands, a line each."""
    blocks = [
        f"usage: {UMBRELLA} COMMAND [flags]    ({UMBRELLA} COMMAND --help)",
        f"Korean BERT from the command line, version {VERSION}, in the order of work:",
        _table(COMMANDS),
        _table(TOOLS),
        f"Begin with: {typed('tokenize')} --vocab_file=ko-mecab-32k '책을 읽었다.'",
    ]
    return "\n\n".join(blocks) + "\n"


def _table(lines: Mapping[str, str]) -> str:
    width = max(map(len, {**COMMANDS, **TOOLS}))
    return "\n".join(f"  {name:{width}}  {line}" for name, line in lines.items())


def _unknown(name: str) -> str:
    closest = difflib.get_close_matches(name, [*COMMANDS, *TOOLS], n=1)
    advice = f"did you mean {closest[0]}?" if closest else f"{UMBRELLA} lists them."
    return f"unknown command {name!r}; {advice}"


if __name__ == "__main__":
    sys.exit(main())
