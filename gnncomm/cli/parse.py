"""Options from dataclasses, with errors in one line."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import tyro

T = TypeVar("T")


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
    return re.sub(r"\s+", " ", text.removeprefix("Value error ").removeprefix("Required options ")).strip()
