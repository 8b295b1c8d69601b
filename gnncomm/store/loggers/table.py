"""Tables with a row for each update, for spreadsheets; and the one that every run has of its times."""

from __future__ import annotations

import csv
import io
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gnncomm.errors import CheckpointCorruptError, ConfigError
from gnncomm.store.files import read_regular, require_unlinked, write_atomic, write_error
from gnncomm.store.metrics import MetricValue

TIMES = "times.csv"
_MAX_BYTES = 1 << 30


class CsvLogger:
    """A table with one row for each update, in a file for spreadsheets. The columns are those of the first row.

    Args:
        folder: where; by name this is the run directory.
        file: what it is called there, ``NAME.csv``.

    Raises:
        ConfigError: another ending: files of other kinds are the run's own, and a run of somebody else's may say this.
    """

    def __init__(self, folder: str | Path, file: str = "metrics.csv") -> None:
        if not file.endswith(".csv") or file == TIMES:
            raise ConfigError(
                f"csv:file: expected a name that ends in .csv, not {TIMES}, got {file!r}. Choose another."
            )
        self.path = Path(folder) / file
        self._columns: list[str] = []

    def log(self, step: int, metrics: Mapping[str, MetricValue]) -> None:
        """Append a row; a new metric, which is rare, gives the table another column.

        Raises:
            CheckpointError: the disk did not take it (exit code 74).
        """
        row = {"step": step, **metrics}
        if not self._columns:
            self._columns = list((self._rows() or [row])[0])
        if not row.keys() <= set(self._columns) or not self.path.exists():
            self._columns = list(dict.fromkeys([*self._columns, *row]))
            self._write([*self._rows(), row])
            return
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
            with os.fdopen(handle, "a", encoding="utf-8", newline="") as file:
                file.write(self._text([row]))
        except OSError as error:
            raise write_error(self.path, error) from error

    def rewind(self, step: int) -> None:
        """Keep the rows up to ``step``.

        Raises:
            CheckpointCorruptError: no such table, of which nothing is touched.
        """
        require_unlinked(self.path)
        if self.path.exists():
            try:
                kept = [row for row in self._rows() if int(row["step"]) <= step]
            except (csv.Error, KeyError, TypeError, ValueError) as error:
                raise CheckpointCorruptError(
                    f"{self.path}: expected a table with whole numbers in a column step, got another. Move it away."
                ) from error
            self._columns = list(kept[0]) if kept else []
            if kept:
                self._write(kept)
            else:
                self.path.unlink()

    def close(self) -> None:
        """Nothing is open between two rows."""

    def _rows(self) -> list[dict[str, Any]]:
        """What the file holds, without a last row that was not finished."""
        if not self.path.exists():
            return []
        text = read_regular(self.path, _MAX_BYTES).decode("utf-8", errors="replace")
        whole = text[: text.rfind("\n") + 1]
        return list(csv.DictReader(io.StringIO(whole, newline="")))

    def _write(self, rows: list[dict[str, Any]]) -> None:
        header = ",".join(self._columns) + "\n"
        try:
            write_atomic(self.path, (header + self._text(rows)).encode())
        except OSError as error:
            raise write_error(self.path, error) from error

    def _text(self, rows: list[dict[str, Any]]) -> str:
        text = io.StringIO()
        table = csv.DictWriter(text, self._columns, restval="", lineterminator="\n")
        table.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
        return text.getvalue()

    def __repr__(self) -> str:
        return f"CsvLogger({str(self.path)!r})"


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value


class Clock:
    """How long a run was trained: ``times.csv`` in its directory, with a row for each update.

    Times are no function of the settings, so they stand beside ``metrics.jsonl``, which is. ``seconds`` are those of
    all processes that trained the run, of each from when its training began or went on.

    Args:
        folder: the run directory; None keeps nothing.
        step: where the training begins, or goes on: later rows are dropped.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self._table = None if folder is None else _Times(folder)
        self._first, self._before = step, 0.0 if self._table is None else self._table.gone_by(step)
        self._begun = time.monotonic()

    def tick(self, step: int) -> dict[str, float]:
        """The times of an update that ends at ``step``, kept."""
        gone = time.monotonic() - self._begun
        speed = (step - self._first) / max(gone, 1e-9)
        found = {"seconds": self._before + gone, "env_steps_per_second": speed}
        if self._table is not None:
            self._table.log(step, found)
        return found


class _Times(CsvLogger):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / TIMES

    def gone_by(self, step: int) -> float:
        """Seconds of training up to ``step``; later rows are dropped, and a table that is none of ours is."""
        try:
            self.rewind(step)
            return max((float(row["seconds"]) for row in self._rows()), default=0.0)
        except (CheckpointCorruptError, csv.Error, KeyError, TypeError, ValueError):
            self.path.unlink()
            self._columns = []
            return 0.0
