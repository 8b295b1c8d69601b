"""Where the metrics of a training go beside ``metrics.jsonl``: a file for a spreadsheet, or what a user writes."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from gnncomm.errors import CheckpointCorruptError, ConfigError
from gnncomm.registry import Registry
from gnncomm.store.files import write_atomic, write_error
from gnncomm.store.metrics import MetricValue


@runtime_checkable
class Logger(Protocol):
    """Told of every update. It also gets what no two trainings share: ``seconds`` and ``env_steps_per_second``."""

    def log(self, step: int, metrics: Mapping[str, MetricValue]) -> None:
        """Take in the metrics of an update that ends at environment step ``step``; NaN where there is no number."""
        ...

    def rewind(self, step: int) -> None:
        """Forget what came after ``step``: a training goes on from there (0: begins), and will log it again."""
        ...

    def close(self) -> None:
        """The training is over, or has failed."""
        ...


class CsvLogger:
    """A table with one row for each update, in a file for spreadsheets. The columns are those of the first row.

    Args:
        folder: where; by name this is the run directory.
        file: what it is called there, ``NAME.csv``.

    Raises:
        ConfigError: another ending: files of other kinds are the run's own, and a run of somebody else's may say this.
    """

    def __init__(self, folder: str | Path, file: str = "metrics.csv") -> None:
        if not file.endswith(".csv"):
            raise ConfigError(f"csv:file: expected a name that ends in .csv, got {file!r}. Choose another.")
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
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(self._text([row]))
        except OSError as error:
            raise write_error(self.path, error) from error

    def rewind(self, step: int) -> None:
        """Keep the rows up to ``step``.

        Raises:
            CheckpointCorruptError: no such table, of which nothing is touched.
        """
        if self.path.exists():
            try:
                kept = [row for row in self._rows() if int(row["step"]) <= step]
            except (KeyError, TypeError, ValueError) as error:
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
        text = self.path.read_text(encoding="utf-8")
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


LOGGERS: Registry[Any] = Registry("logger", object, {"csv": CsvLogger}, sizes=("folder",))
"""By name, made for a run directory: ``csv``, ``csv:file=table.csv``."""
