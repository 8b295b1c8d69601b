"""Options from dataclasses, with errors in one line."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import tyro

from gnncomm.errors import ConfigError

T = TypeVar("T")


def at_least(options: object, **lowest: int) -> None:
    """``ConfigError`` where an option is below its lowest value."""
    for name, low in lowest.items():
        value = getattr(options, name)
        if value < low:
            raise ConfigError(f"{name} must be at least {low}, got {value}.")


def output_file(name: str) -> Path:
    """``name`` as a path whose directory exists: better refused before an hour of work than after it."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def parse(what: type[T] | Callable[[], T], words: list[str], prog: str, default: T | None = None) -> T:
    """``tyro.cli``; a usage error is written to stderr as one line, with exit code 2."""
    said = io.StringIO()
    options: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(said):
            parsed: T = tyro.cli(what, args=words, prog=prog, **options)
            return parsed
    except SystemExit as stop:
        if stop.code == 2:
            sys.stderr.write(f"error: {_one_line(said.getvalue())}\n")
        raise
    finally:
        if said.getvalue() and sys.exc_info()[0] is None:
            sys.stderr.write(said.getvalue())


def _one_line(box: str) -> str:
    """The text of tyro's boxed message: frames and rules removed, the hint about --help kept short."""
    lines = [re.sub(r"[\u2500-\u257f]+", " ", line).strip() for line in box.splitlines()]
    text = " ".join(line for line in lines if line and line != "Unrecognized options")
    text = re.sub(r"Error parsing \w+: ", "", text)  # the name of a class says nothing to who typed the options
    return re.sub(r"\s+", " ", text.removeprefix("Value error ").removeprefix("Required options ")).strip()
