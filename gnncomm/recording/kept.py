"""What is kept of an episode while it is played, within a limit."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gnncomm.errors import ResourceError

MAX_BYTES = 1 << 29
"""Of all arrays of a recorded episode together, as they are in memory; on disk they are packed."""
ORDER = ("pictures", "contents", "observations", "symbols", "field", "chances", "lost", "values", "bits", "spoke")
"""What does not fit is left out, the first of these first; after them the messages of later steps."""
MESSAGES = ("messages", "sent", "weight", "contents", "symbols")
"""Rows of the same messages."""


class Kept:
    """Arrays by name, one after the other for each step.

    Raises:
        ResourceError: even without all of that, the places and rewards of agents are larger than the limit.
    """

    limit: ClassVar[int] = MAX_BYTES

    def __init__(self) -> None:
        self.left_out: list[str] = []
        self._parts: dict[str, list[NDArray[Any]]] = defaultdict(list)
        self._size = 0

    def add(self, **parts: NDArray[Any]) -> None:
        """One more part of each name that is not left out; they stand or fall together if they are of ``MESSAGES``."""
        for name, part in parts.items():
            if name not in self.left_out and not (name in MESSAGES and "messages" in self.left_out):
                self._parts[name].append(part)
                self._size += part.nbytes
        while self._size > self.limit:
            self._leave_out()

    def _leave_out(self) -> None:
        droppable = next((name for name in ORDER if name in self._parts), None)
        if droppable is not None:
            self._size -= sum(part.nbytes for part in self._parts.pop(droppable))
            self.left_out.append(droppable)
        elif self._parts["messages"]:
            self._size -= sum(self._parts[name].pop().nbytes for name in MESSAGES if name in self._parts)
            if "messages" not in self.left_out:
                self.left_out.append("messages")
        else:
            raise ResourceError(
                f"Expected an episode whose states fit into {self.limit:,} bytes, it is longer or larger: record one "
                "of fewer steps or agents."
            )

    def joined(self, name: str) -> NDArray[Any] | None:
        """All parts of ``name``, one after the other; None if there are none."""
        parts = self._parts.get(name)
        return np.concatenate(parts) if parts else None

    def stacked(self, name: str) -> NDArray[Any] | None:
        """All parts of ``name`` along a new first axis; None if there are none."""
        parts = self._parts.get(name)
        return np.stack(parts) if parts else None
