"""completion: commands, flags, their values and files, completed by the shell."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bert_ko.commands import COMMANDS, TOOLS, UMBRELLA
from bert_ko.flags import Flags, flag, run_command, run_module
from bert_ko.flags.declaration import FlagSpec, flag_specs
from bert_ko.flags.help import first_sentence
from bert_ko.flags.parsing import CommonFlags
from bert_ko.messages import show


@dataclass(frozen=True)
class CompletionConfig(Flags):
    """Prints what makes a shell complete commands, flags, their values, and files.

    For bash, source <(bert_ko completion bash) in ~/.bashrc; for zsh, source <(bert_ko completion
    zsh) in ~/.zshrc, after compinit; for fish, bert_ko completion fish | source in config.fish.
    """

    shell: tuple[str, ...] = flag(positional=True, help="bash, zsh or fish.")

    def __post_init__(self) -> None:
        """Raises: ValueError: no such shell."""
        super().__post_init__()
        if len(self.shell) != 1 or self.shell[0] not in _SCRIPTS:
            raise ValueError(f"SHELL must be {', '.join(_SCRIPTS)}, got {' '.join(self.shell)!r}.")


def run(config: CompletionConfig) -> None:
    """Prints the script of a shell."""
    show(script(config.shell[0]))


def script(shell: str) -> str:
    """Returns the script of bash, zsh or fish."""
    options = {name: list(_options(config_of(name))) for name in (*COMMANDS, *TOOLS)}
    return _SCRIPTS[shell](options).rstrip("\n")


def config_of(command: str) -> type[Flags]:
    """Returns the Config of a command."""
    module = importlib.import_module(f"bert_ko.{command}")
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Flags)
        and value.__module__ == module.__name__
    )


class _Option(NamedTuple):
    """A flag, as a shell knows it."""

    name: str
    help: str
    takes_value: bool = True
    choices: tuple[str, ...] = ()


def _options(config_class: type[Flags]) -> Iterator[_Option]:
    for spec in (*flag_specs(config_class), *flag_specs(CommonFlags)):
        if not spec.positional:
            yield from _of_flag(spec)
    yield _Option("flagfile", "Read flags from a file, one per line.")
    yield _Option("help", "What everyone gives.", takes_value=False)
    yield _Option("helpfull", "All flags.", takes_value=False)


def _of_flag(spec: FlagSpec) -> Iterator[_Option]:
    text = first_sentence(spec.help)
    is_switch = spec.kind.name == "bool"
    for name in spec.names:
        yield _Option(name, text, not is_switch, spec.kind.choices)
    if is_switch:
        yield _Option(f"no{spec.name}", f"Not: {text}", takes_value=False)


_Options = Mapping[str, Sequence[_Option]]

_BASH = """\
# Completion of bert_ko for bash 4.4 or newer.
_bert_ko_flags() {
  case $1 in
%(flags)s
  esac
}
_bert_ko_values() {
  case $1 in
%(values)s
  esac
}
_bert_ko() {
  local command=${COMP_WORDS[0]##*/} word=${COMP_WORDS[COMP_CWORD]} before=() flag="" values
  COMPREPLY=()
  if [[ $command == %(umbrella)s ]]; then
    if ((COMP_CWORD == 1)); then
      mapfile -t COMPREPLY < <(compgen -W "%(commands)s --help --version" -- "$word")
      return
    fi
    command=${COMP_WORDS[1]}
  fi
  # "=" is a word of its own here.
  before=("${COMP_WORDS[@]:0:COMP_CWORD}")
  if [[ $word == "=" ]]; then
    flag=${before[-1]} word=""
  elif [[ ${before[-1]} == "=" ]]; then
    flag=${before[-2]}
  elif [[ ${before[-1]} == --* && " $(_bert_ko_flags "$command") " == *" ${before[-1]}= "* ]]; then
    flag=${before[-1]}
  fi
  if [[ -z $flag && $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_bert_ko_flags "$command")" -- "$word")
    if [[ ${COMPREPLY[0]-} == *= ]]; then compopt -o nospace 2>/dev/null; fi
    return
  fi
  values=$(_bert_ko_values "$command:$flag")
  if [[ -n $values ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$values" -- "$word")
  else
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  fi
}
complete -F _bert_ko %(umbrella)s %(launchers)s
"""


def _bash(options: _Options) -> str:
    flags, values = [], ["    completion:) echo 'bash zsh fish' ;;"]
    for command, known in options.items():
        names = " ".join(f"--{one.name}{'=' * one.takes_value}" for one in known)
        flags.append(f"    {command}) echo '{names}' ;;")
        values += [
            f"    {command}:--{one.name}) echo '{' '.join(one.choices)}' ;;"
            for one in known
            if one.choices
        ]
    return _BASH % {
        "flags": "\n".join(flags),
        "values": "\n".join(values),
        "umbrella": UMBRELLA,
        "commands": " ".join(options),
        "launchers": " ".join(COMMANDS),
    }


_ZSH = """\
#compdef %(umbrella)s %(launchers)s
# Completion of bert_ko for zsh.
_bert_ko_flags() {
  case $1 in
%(flags)s
  esac
}
_bert_ko() {
  local command=${words[1]:t}
  if [[ $command == %(umbrella)s ]]; then
    if ((CURRENT == 2)); then
      local -a commands=(
%(commands)s
      )
      _describe command commands
      return
    fi
    shift words
    ((CURRENT--))
    command=${words[1]}
  fi
  _bert_ko_flags "$command"
}
compdef _bert_ko %(umbrella)s %(launchers)s
"""


def _zsh(options: _Options) -> str:
    flags = []
    for command, known in options.items():
        specs = [_zsh_spec(one) for one in known]
        rest = "'*:shell:(bash zsh fish)'" if command == "completion" else "'*:file:_files'"
        flags.append(f"    {command}) _arguments {' '.join([*specs, rest])} ;;")
    lines = {**COMMANDS, **TOOLS}
    commands = [f"        {shlex.quote(f'{name}:{lines[name]}')}" for name in options]
    return _ZSH % {
        "flags": "\n".join(flags),
        "umbrella": UMBRELLA,
        "commands": "\n".join(commands),
        "launchers": " ".join(COMMANDS),
    }


def _zsh_spec(option: _Option) -> str:
    text = option.help
    for character in "\\[]:":
        text = text.replace(character, f"\\{character}")
    if not option.takes_value:
        return shlex.quote(f"--{option.name}[{text}]")
    values = f"({' '.join(option.choices)})" if option.choices else "_files"
    return shlex.quote(f"--{option.name}=[{text}]:{option.name}:{values}")


def _fish(options: _Options) -> str:
    commands = " ".join(options)
    alone = f"not __fish_seen_subcommand_from {commands}"
    out = [
        "# Completion of bert_ko for fish.",
        f"complete -c {UMBRELLA} -f -n '{alone}' -l version",
    ]
    for name, line in {**COMMANDS, **TOOLS}.items():
        out.append(f"complete -c {UMBRELLA} -f -n '{alone}' -a {name} -d {_fish_quote(line)}")
    shells = "__fish_seen_subcommand_from completion"
    out.append(f"complete -c {UMBRELLA} -f -n '{shells}' -a 'bash zsh fish'")
    for command, known in options.items():
        places = [f"-c {UMBRELLA} -n '__fish_seen_subcommand_from {command}'"]
        places += [f"-c {command}"] if command in COMMANDS else []
        for place in places:
            out += [f"complete {place} {_fish_option(one)}" for one in known]
    return "\n".join(out)


def _fish_option(option: _Option) -> str:
    value = " -r" if option.takes_value else ""
    if option.choices:
        value = f" -x -a {_fish_quote(' '.join(option.choices))}"
    return f"-l {option.name}{value} -d {_fish_quote(option.help)}"


def _fish_quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_SCRIPTS: Mapping[str, Callable[[_Options], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    return run_command(CompletionConfig, run, argv)


if __name__ == "__main__":
    run_module(__file__)
