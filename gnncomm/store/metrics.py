"""The metrics of a run: ``metrics.jsonl``, one JSON object a line, cut back on resume so that each step stands once.

Each line ends in ``"crc32"``: the CRC-32 of the line before it (its eight digits) and of its own text. A flipped bit, a
line that was removed, exchanged or written by somebody else breaks the chain, and the line is named.
"""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gnncomm.errors import CheckpointCorruptError, ConfigError, DtypeError
from gnncomm.store import strict_json
from gnncomm.store.files import read_regular, write_all

MetricValue = bool | int | float | str | None

_MAX_BYTES = 4 << 30
_CRC = "crc32"
_BEGINNING = b"00000000"
_LINE = re.compile(rb'(\{.*?)(?:, )?"crc32": "([0-9a-f]{8})"\}')


class MetricsLog:
    """An append-only file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end: tuple[int, bytes] | None = None  # position, and the CRC of the line that ends there

    @property
    def position(self) -> int:
        """Bytes written so far."""
        return os.lstat(self.path).st_size if os.path.lexists(self.path) else 0

    def append(self, metrics: Mapping[str, MetricValue]) -> None:
        """Add one line. NaN and infinity become null: JSON has no word for them.

        Raises:
            DtypeError: a value that is no number, text, boolean or None; nothing is written.
            ConfigError: a metric is called ``crc32``, which is the word of the log; nothing is written.
            OSError: the line could not be written; none of it is in the file.
        """
        if _CRC in metrics:
            raise ConfigError(f"Metric {_CRC!r}: expected another name, this one is set by the log. Rename yours.")
        raw = strict_json.dump({name: _plain(name, value) for name, value in metrics.items()}, indent=None)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        handle = os.open(self.path, flags, 0o644)
        try:
            before = os.fstat(handle).st_size
            line, crc = _chained(raw.rstrip(b"\n"), self._crc_at(handle, before))
            try:
                write_all(handle, line)
            except OSError as error:
                os.ftruncate(handle, before)
                raise OSError(error.errno, error.strerror, str(self.path)) from error
            self._end = (before + len(line), crc)
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
            CheckpointCorruptError: a line that is not what was written; names its number.
        """
        if not os.path.lexists(self.path):
            return []
        *lines, rest = read_regular(self.path, _MAX_BYTES).split(b"\n")  # what follows the last newline is unfinished
        found, crc = [], _BEGINNING
        for number, line in enumerate(lines, start=1):
            crc = self._verified(number, line, crc)
            found.append(self._parse(number, line))
        if _LINE.fullmatch(rest[:-1]):
            raise CheckpointCorruptError(f"{self.path} is damaged: line {len(lines) + 1} has lost its end.")
        return found

    def _crc_at(self, handle: int, position: int) -> bytes:
        """What the line that ends at ``position`` says of itself."""
        if self._end is None or self._end[0] != position:
            tail = os.pread(handle, 12, max(position - 12, 0))  # 'xxxxxxxx"}' and a newline
            self._end = (position, tail[1:9] if re.fullmatch(rb'"[0-9a-f]{8}"\}\n', tail) else _BEGINNING)
        return self._end[1]

    def _verified(self, number: int, line: bytes, crc: bytes) -> bytes:
        found = _LINE.fullmatch(line)
        if found is None or _chained(_body(found[1]), crc)[0].rstrip(b"\n") != line:
            raise CheckpointCorruptError(
                f"{self.path} is damaged in line {number}: it is not what was written, or not where it was written."
            )
        return found[2]

    def _parse(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            entry: dict[str, Any] = strict_json.parse(line)
        except (strict_json.MalformedJsonError, strict_json.ForbiddenJsonError) as error:
            raise CheckpointCorruptError(f"{self.path} is damaged in line {number}: {error}.") from error
        del entry[_CRC]
        return entry


def _body(text: bytes) -> bytes:
    return text + b"}"


def _chained(body: bytes, before: bytes) -> tuple[bytes, bytes]:
    """The line with ``body``, a JSON object, after a line of CRC ``before``, and its own CRC."""
    crc = b"%08x" % zlib.crc32(body, zlib.crc32(before))
    separator = b"" if body == b"{}" else b", "
    return body[:-1] + separator + b'"crc32": "' + crc + b'"}\n', crc


def _plain(name: str, value: MetricValue) -> MetricValue:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise DtypeError(
        f"Metric {name!r}: expected a number, text, boolean or None, got {type(value).__name__}. Use .item()."
    )
