"""Loggers that take nothing back: what was logged is not logged again, as it would be the same to the bit."""

from __future__ import annotations

import json
import math
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gnncomm.errors import GnnCommError
from gnncomm.store.config import read_data
from gnncomm.store.files import require_unlinked, scratch_name
from gnncomm.store.metrics import MetricValue


class Marked(ABC):
    """Remembers in a file of the run under which name it logs, and up to which step.

    A training that goes on repeats what it did to the bit, so a step up to the mark is passed over. The mark follows
    the row: a kill just between the two may leave that one row twice.

    Args:
        folder: the run directory.
        file: of the mark, there.
        config: settings of the training, by dotted path.
    """

    def __init__(self, folder: str | Path, file: str, config: Mapping[str, Any] | None) -> None:
        self.folder, self.config = Path(folder), dict(config or {})
        self._file = self.folder / file
        self._id, self._step = "", 0

    def rewind(self, step: int) -> None:
        self._id, self._step = self._read() if step else ("", 0)
        self._id = self._begin(self._id)
        self._write()

    def log(self, step: int, metrics: Mapping[str, MetricValue]) -> None:
        if step <= self._step:
            return
        numbers = {name: value for name, value in metrics.items() if _is_number(value)}
        self._send(step, numbers)  # type: ignore[arg-type]  # these are numbers
        self._step = step
        self._write()

    def conclude(self, step: int, results: Mapping[str, float], figures: Mapping[str, Path]) -> None:
        self._id, self._step = self._read()
        self._id = self._begin(self._id)
        self._finish(step, results, figures)

    @abstractmethod
    def _begin(self, known: str) -> str:
        """Open what is called ``known`` (empty: a new one), and say what it is called."""

    @abstractmethod
    def _send(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log a row."""

    @abstractmethod
    def _finish(self, step: int, results: Mapping[str, float], figures: Mapping[str, Path]) -> None:
        """Log what was measured and drawn at the end."""

    @abstractmethod
    def close(self) -> None:
        """Nothing is logged any more."""

    def _read(self) -> tuple[str, int]:
        """Name and step; of a file that says none, a new one."""
        require_unlinked(self._file)
        if not self._file.exists():
            return "", 0
        try:
            mark = read_data(self._file)
        except GnnCommError:
            return "", 0
        name, step = mark.get("id"), mark.get("step")
        return (name, step) if isinstance(name, str) and name.isalnum() and type(step) is int else ("", 0)

    def _write(self) -> None:
        require_unlinked(self._file)
        draft = self._file.with_name(scratch_name())
        draft.write_text(json.dumps({"id": self._id, "step": self._step}) + "\n", encoding="utf-8")
        os.replace(draft, self._file)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r})"


def new_name() -> str:
    """Nobody else's."""
    return secrets.token_hex(8)


def _is_number(value: MetricValue) -> bool:
    return isinstance(value, (bool, int, float)) and math.isfinite(value)
