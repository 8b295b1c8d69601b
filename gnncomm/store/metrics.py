"""The metrics of a run: ``metrics.jsonl``, one JSON object a line, cut back on resume so that each step stands once."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gnncomm.errors import CheckpointCorruptError, DtypeError
from gnncomm.store import strict_json
from gnncomm.store.files import read_regular, write_all

MetricValue = bool | int | float | str | None

_MAX_BYTES = 4 << 30


class MetricsLog:
    """An append-only file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def position(self) -> int:
        """Bytes written so far."""
        return os.lstat(self.path).st_size if os.path.lexists(self.path) else 0

    def append(self, metrics: Mapping[str, MetricValue]) -> None:
        """Add one line. NaN and infinity become null: JSON has no word for them.

        Raises:
            DtypeError: a value that is no number, text, boolean or None; nothing is written.
            OSError: the line could not be written; none of it is in the file.
        """
        raw = strict_json.dump({name: _plain(name, value) for name, value in metrics.items()}, indent=None)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        handle = os.open(self.path, flags, 0o644)
        try:
            before = os.fstat(handle).st_size
            try:
                write_all(handle, raw)
            except OSError as error:
                os.ftruncate(handle, before)
                raise OSError(error.errno, error.strerror, str(self.path)) from error
        finally:
            os.close(handle)

    def flush(self) -> None:
        """Make every line durable."""
        if self.position:
            self.truncate(self.position)

    def truncate(self, position: int) -> None:
        """Forget what was written after ``position``.

        Raises:
            CheckpointCorruptError: the file is shorter, or no line ends there: it is not the log it was.
        """
        if position == 0 and not os.path.lexists(self.path):
            return
        size = self.position
        if not 0 <= position <= size:
            raise CheckpointCorruptError(f"{self.path} is damaged: expected at least {position} bytes, got {size}.")
        handle = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if position and os.pread(handle, 1, position - 1) != b"\n":
                raise CheckpointCorruptError(f"{self.path} is damaged: expected the end of a line at byte {position}.")
            os.ftruncate(handle, position)
            os.fsync(handle)
        finally:
            os.close(handle)

    def cut_torn_line(self) -> None:
        """Remove a last line that a kill left unfinished."""
        if self.position:
            self.truncate(read_regular(self.path, _MAX_BYTES).rfind(b"\n") + 1)

    def read(self) -> list[dict[str, Any]]:
        """All complete lines.

        Raises:
            CheckpointCorruptError: a line that is not JSON; names its number.
        """
        if not os.path.lexists(self.path):
            return []
        lines = read_regular(self.path, _MAX_BYTES).split(b"\n")[:-1]  # what follows the last newline is unfinished
        return [self._parse(number, line) for number, line in enumerate(lines, start=1)]

    def _parse(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            entry = strict_json.parse(line)
        except (strict_json.MalformedJsonError, strict_json.ForbiddenJsonError) as error:
            raise CheckpointCorruptError(f"{self.path} is damaged in line {number}: {error}.") from error
        if not isinstance(entry, dict):
            raise CheckpointCorruptError(f"{self.path} is damaged in line {number}: expected an object.")
        return entry


def _plain(name: str, value: MetricValue) -> MetricValue:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise DtypeError(
        f"Metric {name!r}: expected a number, text, boolean or None, got {type(value).__name__}. Use .item()."
    )
