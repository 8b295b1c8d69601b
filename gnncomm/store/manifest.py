"""The table of contents of a checkpoint: which files, how many bytes, which SHA-256, and a hash over itself.

Hashes find accidents (a flipped bit, a torn write, files of two checkpoints mixed up). They do not find an attacker,
who can rewrite the manifest too; against him stands that nothing in a checkpoint is ever executed.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from gnncomm.errors import CheckpointCorruptError, CheckpointVersionError, UnsafeContentError
from gnncomm.store import sealed, strict_json

NAME = "manifest.json"
STATE_NAME = "state.json"
TENSORS_SUFFIX = ".safetensors"
KIND = "gnncomm.checkpoint"
FORMAT_VERSION = 1
MAX_MANIFEST_BYTES = 1 << 20
MAX_STATE_BYTES = 64 << 20
"""JSON takes about ten times its size in memory; what is large belongs into tensors."""

_FILE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\.safetensors")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SELF = "manifest_sha256"


@dataclass(frozen=True)
class FileEntry:
    """What a file must be."""

    size: int
    sha256: str

    @staticmethod
    def of(raw: bytes) -> FileEntry:
        return FileEntry(len(raw), hashlib.sha256(raw).hexdigest())

    def check(self, raw: bytes, path: Path) -> None:
        """Raises CheckpointCorruptError, naming the file, if ``raw`` is not what was written."""
        if len(raw) != self.size:
            raise CheckpointCorruptError(f"{path} is damaged: expected {self.size} bytes, got {len(raw)}.")
        found = hashlib.sha256(raw).hexdigest()
        if found != self.sha256:
            raise CheckpointCorruptError(f"{path} is damaged: expected SHA-256 {self.sha256}, got {found}.")


@dataclass(frozen=True)
class Manifest:
    """The content of ``manifest.json``."""

    step: int
    files: Mapping[str, FileEntry]
    versions: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """The one way to write this manifest: a file with other bytes was not written by ``gnncomm``."""
        data: dict[str, Any] = {
            "kind": KIND,
            "format_version": FORMAT_VERSION,
            "step": self.step,
            "versions": dict(self.versions),
            "files": {name: {"size": entry.size, "sha256": entry.sha256} for name, entry in self.files.items()},
        }
        return sealed.seal(data, _SELF)


@cache
def package_versions() -> Mapping[str, str]:
    """What wrote a file: Python, gnncomm and the packages whose versions decide bits."""
    found = {"python": platform.python_version()}
    for name in ("gnncomm", "torch", "safetensors"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"  # gnncomm run from a source tree
    return found


def parse_manifest(raw: bytes, path: Path, max_bytes: int) -> Manifest:
    """The manifest in ``raw``, refused unless each of its bytes is as written.

    Raises:
        CheckpointCorruptError: damaged, or not a manifest at all.
        CheckpointVersionError: another format version or kind.
        UnsafeContentError: duplicate keys, NaN, file names that lead outside, more than ``max_bytes`` in all.
    """
    try:
        data = strict_json.parse(raw)
    except strict_json.ForbiddenJsonError as error:
        raise UnsafeContentError(f"{path}: {error}. Refused.") from error
    except strict_json.MalformedJsonError as error:
        raise CheckpointCorruptError(f"{path} is damaged, or this is not a gnncomm checkpoint: {error}.") from error
    if not isinstance(data, dict):
        raise CheckpointCorruptError(f"{path} is damaged, or this is not a gnncomm checkpoint: not an object.")
    _check_kind(data, raw, path)
    _check_safe(data, path, max_bytes)
    if not sealed.is_sealed(raw, data, _SELF):
        raise CheckpointCorruptError(f"{path} is damaged: its bytes are not those that were written.")
    return _build(data, path)


def _check_kind(data: dict[str, Any], raw: bytes, path: Path) -> None:
    ours = {"kind": KIND, "format_version": FORMAT_VERSION}
    if all(type(data.get(key)) is type(value) and data[key] == value for key, value in ours.items()):
        return
    expected, lines = (text.replace(b",\n", b"\n").splitlines() for text in (strict_json.dump(ours), raw))
    if any(_differ_in_one_bit(line, other) for line in lines for other in expected):
        raise CheckpointCorruptError(f"{path} is damaged: one bit of its kind or version is flipped.")
    raise CheckpointVersionError(
        f"{path}: expected {KIND!r} of format version {FORMAT_VERSION}, got {str(data.get('kind'))[:80]!r} of version "
        f"{str(data.get('format_version'))[:80]}. Load it with the version of gnncomm that wrote it."
    )


def _differ_in_one_bit(left: bytes, right: bytes) -> bool:
    return len(left) == len(right) and sum((a ^ b).bit_count() for a, b in zip(left, right, strict=True)) == 1


def _check_safe(data: dict[str, Any], path: Path, max_bytes: int) -> None:
    files = data.get("files")
    if not isinstance(files, dict):
        raise CheckpointCorruptError(f"{path} is damaged: it lists no files.")
    total = 0
    largest = {STATE_NAME: MAX_STATE_BYTES}
    for name, entry in files.items():
        flipped = _FILE_NAME.fullmatch("o" + name[1:])  # one bit between "o" and "/": damage, for the hash to find
        absolute = name.startswith("/") and not flipped
        if absolute or ".." in name.split("/") or "\\" in name or "\0" in name:
            raise UnsafeContentError(f"{path} lists {name[:80]!r}, which leads out of its directory. Refused.")
        size = entry.get("size") if isinstance(entry, dict) else None
        total += size if type(size) is int and size > 0 else 0
        if type(size) is int and size > largest.get(name, size):
            raise UnsafeContentError(f"{path} claims {size} bytes for {name}; the limit is {largest[name]}. Not read.")
    if total > max_bytes:
        raise UnsafeContentError(f"{path} claims {total} bytes; the limit is {max_bytes}. Pass a larger max_bytes.")


def _build(data: dict[str, Any], path: Path) -> Manifest:
    """Only a forger gets here with other than these types: the hash over the manifest holds already."""
    step, versions = data.get("step"), data.get("versions")
    if type(step) is not int or step < 0 or not isinstance(versions, dict) or STATE_NAME not in data["files"]:
        raise UnsafeContentError(f"{path}: expected a step, versions and {STATE_NAME}. Refused.")
    files: dict[str, FileEntry] = {}
    for name, entry in data["files"].items():
        size, sha256 = (entry.get("size"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
        known = name == STATE_NAME or _FILE_NAME.fullmatch(name)
        if (
            not known
            or type(size) is not int
            or size < 0
            or not isinstance(sha256, str)
            or not _SHA256.fullmatch(sha256)
        ):
            raise UnsafeContentError(f"{path}: the entry {name[:80]!r} is not one that gnncomm writes. Refused.")
        files[name] = FileEntry(size, sha256)
    return Manifest(step, files, {str(key): str(value) for key, value in versions.items()})
