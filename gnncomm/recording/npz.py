"""``.npz`` files from strangers: a zip of ``.npy`` arrays, read without pickle and without trust in its claims."""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnncomm.store import strict_json

MAX_ARRAYS = 1000

_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '(?P<dtype>[<>|][biuf]\d{1,2})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>|\d{1,18},|\d{1,18}(?:, \d{1,18}){1,31})\), \} *\n",
    re.DOTALL,
)


class BadNpzError(ValueError):
    """Bytes that are no ``.npz`` file of plain arrays."""


HEAD = "head"
"""The array that is JSON text."""


def packed(arrays: Mapping[str, NDArray[Any]], head: Mapping[str, Any]) -> bytes:
    """A file of arrays and of what is no array, which ``head`` says. Equal ones give equal bytes."""
    buffer = io.BytesIO()
    text = np.frombuffer(strict_json.dump(dict(head), indent=None), np.uint8)
    np.savez_compressed(buffer, **{**arrays, HEAD: text})  # type: ignore[arg-type]  # the stub takes a name for allow_pickle
    return buffer.getvalue()


def read(raw: bytes, max_bytes: int) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name.

    Raises:
        BadNpzError: no zip file, a member that is damaged, larger than it says or no array of plain numbers, or more
            than ``max_bytes`` in all.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARRAYS or sum(member.file_size for member in members) > max_bytes:
                raise BadNpzError(f"Expected at most {MAX_ARRAYS} arrays of {max_bytes} bytes in all, it claims more.")
            if any(member.compress_type not in _PACKED for member in members):
                raise BadNpzError("Expected arrays that are stored or deflated, got another compression.")
            names = [member.filename.removesuffix(".npy") for member in members]
            if len(set(names)) < len(names):
                raise BadNpzError("Two arrays have the same name.")
            return {name: _array(name, archive.read(member)) for name, member in zip(names, members, strict=True)}
    except BadNpzError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise BadNpzError(f"The file is damaged or no .npz file ({error}).") from error


def _array(name: str, data: bytes) -> NDArray[Any]:
    """The array of one ``.npy`` member, as numpy writes it: the header is matched, never evaluated."""
    found = _HEADER.match(data)
    if found is None or found.end() != 10 + int.from_bytes(data[8:10], "little"):
        raise BadNpzError(f"Expected plain numbers in the array {name!r}, got another header: it is not opened.")
    shape = tuple(int(size) for size in found["shape"].split(b",") if size.strip())
    try:
        dtype = np.dtype(found["dtype"].decode("ascii"))
    except TypeError as error:
        raise BadNpzError(f"Expected plain numbers in the array {name!r}, got {error}.") from error
    if math.prod(shape) * dtype.itemsize != len(data) - found.end():
        raise BadNpzError(f"The array {name!r} has another size than its header claims.")
    flat = np.frombuffer(data[found.end() :], dtype)
    return flat.reshape(shape, order="F" if found["fortran"] == b"True" else "C").copy()
