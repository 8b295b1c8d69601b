"""Refusals that wait: flags on the device, read together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor


class Pending:
    """Flags that nobody has read yet, each with what is to be said if it is set."""

    def __init__(self) -> None:
        self._doubts: list[tuple[Tensor, Callable[[], Exception | None]]] = []

    def add(self, wrong: Tensor, error: Callable[[], Exception | None]) -> None:
        """Note a bool without axes."""
        self._doubts.append((wrong, error))

    def flag(self) -> Tensor:
        """Whether any is set, as one bool on the device; settled things are false."""
        return torch.stack([wrong for wrong, _ in self._doubts]).any() if self._doubts else torch.zeros(()).bool()

    def settle(self, flag: Tensor | None = None) -> None:
        """Ask once, and raise the first error that has a reason.

        Args:
            flag: what ``flag`` gave; None: asks for it now.
        """
        if not bool(self.flag() if flag is None else flag):
            return
        for wrong, error in self._doubts:
            if bool(wrong) and (found := error()) is not None:
                raise found


_pending: ContextVar[Pending | None] = ContextVar("pending", default=None)


def waits() -> bool:
    """Whether refusals are collected here, so that what is refused goes on for a while."""
    return _pending.get() is not None


@contextmanager
def pending(found: Pending) -> Iterator[None]:
    """Within, ``refuse`` notes in ``found`` what it has to refuse."""
    before = _pending.set(found)
    try:
        yield
    finally:
        _pending.reset(before)


def refuse(wrong: Tensor, error: Callable[[], Exception | None]) -> None:
    """Raise ``error()`` if anything in ``wrong`` is True: at once, or later, within ``pending``.

    ``error`` may find that all is well after all, and give None.
    """
    if torch.compiler.is_compiling():  # a traced program asks its numbers nothing
        return
    found = _pending.get()
    if found is not None:
        found.add(wrong.any(), error)
    elif bool(wrong.any()) and (reason := error()) is not None:
        raise reason


def refuse_unless_finite(total: Tensor, error: Callable[[], Exception | None]) -> None:
    """``refuse`` for a sum, which is NaN or infinite if one of its terms is."""
    if torch.compiler.is_compiling():
        return
    found = _pending.get()
    if found is not None:
        found.add(~total.isfinite(), error)
    elif not math.isfinite(total.item()) and (reason := error()) is not None:
        raise reason
