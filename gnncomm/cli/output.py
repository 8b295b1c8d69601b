"""Standard output and error that cannot break the work: what cannot be shown is lost, and said at the end.

A reader that leaves, a full disk, a terminal that is gone and letters that a stream has no code for are no reason to
lose a training. Only the standard library is used here: errors must be told even where nothing else can be imported.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

PLAIN = {"\u2013": "-", "\u2212": "-", "\u00b1": "+-", "\u00d7": "x", "\u2026": ".", "\u2019": "'", "\u2501": "-"}
PLAIN |= dict.fromkeys("\u2500\u2550\u2574\u2576", "-") | dict.fromkeys("\u2502\u2551", "|")
PLAIN |= dict.fromkeys("\u256d\u256e\u2570\u256f\u250c\u2510\u2514\u2518\u251c\u2524\u252c\u2534\u253c", "+")
"""Spellings for streams without Unicode: dashes, plus-minus, frames."""


def spelled(text: str, encoding: str | None) -> str:
    """``text`` in letters that ``encoding`` has: as it is, or with the nearest plain ones, or with ``?``."""
    encoding = encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_letter(each, encoding) for each in text)
    return text


def _letter(letter: str, encoding: str) -> str:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return PLAIN.get(letter, "?")
    return letter


class Output(io.TextIOBase):
    """A text stream around another one. ``error`` is the first thing that went wrong; nothing is written after it."""

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream
        self.error: OSError | ValueError | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute in typeshed
        return getattr(self.stream, "encoding", None) or "utf-8"

    @property
    def name(self) -> str:
        return str(getattr(self.stream, "name", ""))

    def isatty(self) -> bool:
        return self.stream is not None and not self.stream.closed and self.stream.isatty()

    def fileno(self) -> int:
        if self.stream is None:
            raise io.UnsupportedOperation("fileno")
        return self.stream.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.stream is not None and self.error is None:
            with self._noting():
                self.stream.write(spelled(text, self.encoding))
        return len(text)

    def flush(self) -> None:
        if self.stream is not None and self.error is None:
            with self._noting():
                self.stream.flush()

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            self.error = error
            self._discard()

    def _discard(self) -> None:
        """What is still in the buffer goes nowhere, or the interpreter complains when it ends."""
        if self.stream in (sys.__stdout__, sys.__stderr__) and not isinstance(self.error, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


@contextlib.contextmanager
def outputs() -> Iterator[tuple[Output, Output]]:
    """``sys.stdout`` and ``sys.stderr`` inside ``Output`` while a command runs."""
    _occupy_closed_descriptors()
    out, err = Output(sys.stdout), Output(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            yield out, err
        finally:
            out.flush()
            err.flush()


def _occupy_closed_descriptors() -> None:
    """A program that was started with a standard stream closed would give its number to the next file it opens."""
    for number, stream in enumerate((sys.__stdin__, sys.__stdout__, sys.__stderr__)):
        if stream is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
