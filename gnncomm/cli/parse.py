"""Options from dataclasses, with errors in one line."""

from __future__ import annotations

import collections.abc
import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, get_args

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from gnncomm.cli.faults import one_line
from gnncomm.errors import ConfigError, GnnCommError
from gnncomm.registry import plain_number, scalar

T = TypeVar("T")

_RULES = ConstructorRegistry()


def most_threads() -> int:
    """Threads beyond this are refused: far more than processors, and runtimes fall over in their own ways."""
    return max(64, 4 * (os.cpu_count() or 1))


def output_file(name: str, *suffixes: str) -> Path:
    """``name`` as a path whose directory exists: better refused before an hour of work than after it.

    Raises:
        ConfigError: something else than a file lies there, no file can have the name, or it ends in none of
            ``suffixes``, where there are any.
    """
    path = Path(name)
    if "\0" in name:
        raise ConfigError(f"Expected the name of a file to write, got {name!r}, which no file can have.")
    if path.exists() and not path.is_file():  # a device would be replaced by the file
        what = "directory" if path.is_dir() else "device, pipe or socket"
        raise ConfigError(f"Expected the name of a file to write, got the {what} {name!r}.")
    if suffixes and path.suffix.lower() not in suffixes:
        raise ConfigError(f"Expected a file name that ends in {' or '.join(suffixes)}, got {name!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def wants_help(words: list[str]) -> bool:
    """Whether somebody asks what there is to say."""
    return bool({"-h", "--help"} & set(words))


def print_json(value: object) -> int:
    """To standard output; the exit code."""
    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=True) + "\n")
    return 0


def parse(what: type[T] | Callable[[], T], words: list[str], prog: str, default: T | None = None) -> T:
    """``tyro.cli``; a usage error is written to stderr as one line, with exit code 2. Help ends with ``EXAMPLES``.

    Raises:
        GnnCommError: what the class itself refuses, with the exit code of its kind.
    """
    options: dict[str, Any] = {} if default is None else {"default": default}
    parsed: T = _parsed(what, words, prog, options)
    return parsed


def parse_known(what: type[T], words: list[str], prog: str) -> tuple[T, list[str]]:
    """The same for the options of ``what``, and the other words."""
    parsed: tuple[T, list[str]] = _parsed(what, words, prog, {"return_unknown_args": True})
    return parsed


def _parsed(what: Any, words: list[str], prog: str, options: dict[str, Any]) -> Any:
    said = io.StringIO()
    try:
        with _RULES, contextlib.redirect_stderr(said):
            return tyro.cli(what, args=words, prog=prog, **options)
    except SystemExit as stop:
        if not stop.code and (examples := getattr(what, "EXAMPLES", ())):
            sys.stdout.write("\nexamples:\n" + "".join(f"  {line}\n" for line in examples))
        if stop.code == 2:
            refused = _cause(stop)
            if refused is not None:
                raise refused from None
            sys.stderr.write(f"error: {one_line(_text_of(said.getvalue()))}\n")
        raise
    finally:
        if said.getvalue() and sys.exc_info()[0] is None:
            sys.stderr.write(said.getvalue())


def _cause(error: BaseException | None) -> GnnCommError | None:
    """The error of ours behind the end of the option parser, which takes any ValueError for a wrong type."""
    while error is not None and not isinstance(error, GnnCommError):
        error = error.__cause__ or error.__context__
    return error


def _text_of(box: str) -> str:
    """The text of tyro's boxed message: frames and rules removed, the hint about --help kept short."""
    frame = r"[\u2500-\u257f]+|-{4,}|^[|+]|[|+]$"  # the latter where the locale has no lines to draw with
    lines = [re.sub(frame, " ", line.strip()).strip() for line in box.splitlines()]
    text = " ".join(line for line in lines if line not in ("", "Unrecognized options", "Invalid choice"))
    text = re.sub(r"Error parsing \w+: ", "", text)  # the name of a class says nothing to who typed the options
    return text.removeprefix("Value error ").removeprefix("Required options ").strip()


@_RULES.primitive_rule
def _names_and_values(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """``--env-settings num_agents 6 steps 2``, whatever was there before."""
    if info.type_origin is not collections.abc.Mapping:
        return None
    hint = get_args(info.type)[1]

    def read(texts: list[str]) -> dict[str, Any]:
        if len(texts) % 2:
            raise ValueError(f"expected names, each with a value, got {texts[-1]!r} without one")
        return {name: value if hint is str else scalar(value) for name, value in zip(*[iter(texts)] * 2, strict=True)}

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="[NAME VALUE ...]",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, collections.abc.Mapping),
        str_from_instance=lambda value: [str(word) for pair in value.items() for word in pair],
    )


@_RULES.primitive_rule
def _names(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Text is a name of something wherever no other word is said for it."""
    if info.type is not str:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME",
        instance_from_str=lambda texts: texts[0],
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda value: [value],
    )


@_RULES.primitive_rule
def _plain_numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Numbers as they are written in English: no digits of other scripts, no underscores."""
    kind = info.type
    if kind not in (int, float):
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="N" if kind is int else "NUMBER",
        instance_from_str=lambda texts: plain_number(texts[0], kind),
        is_instance=lambda value: (
            isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
        ),
        str_from_instance=lambda value: [str(value)],
    )
