"""``gnncomm completion SHELL``: what the Tab key completes, as a script for bash, zsh or fish."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import tyro

from gnncomm.cli.parse import parse
from gnncomm.registry import KINDS, described

NAMED = {
    "ENV": ("env",),
    "env": ("env",),
    "comm": ("method", "layer"),
    "learner": ("learner",),
    **{name: (name,) for name in ("topology", "scheduler", "codec", "channel", "memory", "encoder")},
    "losses": ("loss",),
    "loggers": ("logger",),
}
"""Option or kind of word -> the kinds of things that may be named."""
FILES, RUNS = "files", "runs"
_POSITIONAL, _SUPPRESS, _OMITS = (
    get_args(mark[int])[1] for mark in (tyro.conf.Positional, tyro.conf.Suppress, tyro.conf.OmitArgPrefixes)
)


@dataclass(frozen=True)
class CompletionArgs:
    """Print a script that teaches a shell to complete the words of gnncomm: its commands, options and names."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm completion bash > ~/.local/share/bash-completion/completions/gnncomm",
        "gnncomm completion zsh > ~/.zsh/gnncomm.zsh  # and in ~/.zshrc: source ~/.zsh/gnncomm.zsh",
        "gnncomm completion fish > ~/.config/fish/completions/gnncomm.fish",
    )

    shell: tyro.conf.Positional[Literal["bash", "zsh", "fish"]]
    """Which shell."""


@dataclass(frozen=True)
class Option:
    """What may be typed, and what follows it."""

    words: tuple[str, ...]
    """``--topology``; none for a word without an option."""
    follows: tuple[str, ...] | str
    """Names, or ``FILES``, ``RUNS``, or nothing that is known."""
    flag: bool = False
    """Whether nothing follows."""


def run(words: list[str]) -> int:
    args = parse(CompletionArgs, words, "gnncomm completion")
    sys.stdout.write({"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell]())
    return 0


def options_of(command: str) -> list[Option]:
    """All of a command, read off the class that its module is named after."""
    module = importlib.import_module(f"gnncomm.cli.{command}")
    found = list(_of(getattr(module, f"{command.capitalize()}Args")))
    if command == "train":
        found.append(Option(("--learner",), _names("learner")))
    return [*found, Option(("--help",), (), flag=True)]


def _of(cls: Any, prefix: str = "") -> Iterator[Option]:
    hints = get_type_hints(cls, include_extras=True)
    for item in fields(cls):
        hint, marks = hints[item.name], tuple[Any, ...]()
        while get_origin(hint) is Annotated:
            hint, *more = get_args(hint)
            marks += tuple(more)
        said = {key: value for mark in marks for key, value in getattr(mark, "__dict__", {}).items() if value}
        name, word = str(said.get("name") or item.name).replace("_", "-"), str(said.get("metavar") or "")
        if _SUPPRESS in marks:
            continue
        if is_dataclass(hint):
            default = item.default_factory() if item.default_factory is not MISSING else None
            yield from _of(type(default), prefix if _OMITS in marks else f"{prefix}{item.name}.")
        elif _POSITIONAL in marks:
            yield Option((), _follows(hint, item.name, word))
        elif hint is bool:
            no = "no-" if item.default is True else ""
            yield Option((f"--{prefix}{no}{name}",), (), flag=True)
        else:
            yield Option((f"--{prefix}{name}",), _follows(hint, item.name, word))


def _follows(hint: Any, name: str, word: str) -> tuple[str, ...] | str:
    inner = [hint, *get_args(hint)]
    for one in inner:
        if get_origin(one) is Literal:
            return tuple(map(str, get_args(one)))
    word = word.strip("[").split()[0].rstrip("]").partition("|")[0] if word else ""
    if word in ("FILE", "RUN"):
        return FILES if word == "FILE" else RUNS
    return _names(word if word in {*NAMED, "KIND"} else name)


def _names(name: str) -> tuple[str, ...]:
    if name == "KIND":
        return tuple(kind.plural for kind in KINDS.values())
    things = [one for kind in NAMED.get(name, ()) for one in described(kind)]
    found = [word for one in things for word in (one.name, *(f"{one.name}/{ending}" for ending in one.protocols))]
    return tuple(dict.fromkeys(word for word in found if re.fullmatch(r"[\w./-]+", word)))


def _commands() -> dict[str, str]:
    from gnncomm.cli.main import COMMANDS

    return COMMANDS


def _bash() -> str:
    flags, after, plain = [], [], []
    for command in _commands():
        mine = options_of(command)
        flags.append(f"    {command}) words='{' '.join(word for one in mine for word in one.words)}' ;;")
        for one in mine:
            if not one.words:
                plain.append(f"    {command}) {_bash_of(one)} ;;")
            elif not one.flag:
                places = "|".join(f"'{command} {word}'" for word in one.words)
                after.append(f"    {places}) {_bash_of(one)}; return ;;")
    return _BASH.format(
        commands=" ".join(_commands()), flags="\n".join(flags), after="\n".join(after), plain="\n".join(plain)
    )


def _bash_of(one: Option) -> str:
    if one.follows in (FILES, RUNS):
        return f"_gnncomm_{one.follows}"
    return f"_gnncomm_words '{' '.join(one.follows)}'" if one.follows else ":"


def _zsh() -> str:
    return "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n" + _bash()


def _fish() -> str:
    lines = ["complete -c gnncomm -f"]
    for command, line in _commands().items():
        lines.append(f"complete -c gnncomm -n __fish_use_subcommand -a {command} -d '{line}'")
        here = f"complete -c gnncomm -n '__fish_seen_subcommand_from {command}'"
        for one in options_of(command):
            value = {FILES: "-r -F", RUNS: "-x -a '(command ls runs 2>/dev/null)'"}.get(
                str(one.follows), f"-x -a '{' '.join(one.follows)}'" if one.follows else "-x"
            )
            if not one.words:
                lines.append(f"{here} {value.removeprefix('-x ').removeprefix('-r ')}")
            for word in one.words:
                lines.append(f"{here} -l {word.removeprefix('--')}{'' if one.flag else f' {value}'}")
    return "\n".join(lines) + "\n"


# compgen -W would run a $(...) in the words it is given, so names of files never come to it
_BASH = r"""_gnncomm_words() {{ COMPREPLY=($(compgen -W "$1" -- "$cur")); }}
_gnncomm_named() {{
  COMPREPLY=("$@")
  type compopt >/dev/null 2>&1 && compopt -o filenames 2>/dev/null
}}
_gnncomm_files() {{
  local IFS=$'\n'
  _gnncomm_named $(compgen -f -- "$cur")
}}
_gnncomm_runs() {{
  local IFS=$'\n'
  _gnncomm_named $(cd ./runs 2>/dev/null && compgen -f -- "$cur") $(compgen -d -- "$cur")
}}
_gnncomm() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" command="${{COMP_WORDS[1]}}" words=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    _gnncomm_words '{commands} help'
    return
  fi
  if [ "$command" = help ]; then
    _gnncomm_words '{commands}'
    return
  fi
  case "$command $prev" in
{after}
  esac
  case "$command" in
{flags}
  esac
  case "$cur" in
  -*)
    _gnncomm_words "$words"
    return
    ;;
  esac
  case "$command" in
{plain}
  esac
}}
complete -F _gnncomm gnncomm
"""
