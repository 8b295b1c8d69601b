"""``.npz`` files from strangers: a zip of ``.npy`` arrays, read without pickle and without trust in its claims."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

MAX_ARRAYS = 1000


class BadNpzError(ValueError):
    """Bytes that are no ``.npz`` file of plain arrays."""


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
            names = [member.filename.removesuffix(".npy") for member in members]
            if len(set(names)) < len(names):
                raise BadNpzError("Two arrays have the same name.")
            return {name: _array(name, archive.read(member)) for name, member in zip(names, members, strict=True)}
    except BadNpzError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise BadNpzError(f"The file is damaged or no .npz file ({error}).") from error


def _array(name: str, data: bytes) -> NDArray[Any]:
    """The array of one ``.npy`` member."""
    stream = io.BytesIO(data)
    try:
        version = npy.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"format {version}")
        shape, _, dtype = npy.read_array_header_1_0(stream)
    except ValueError as error:
        raise BadNpzError(f"The array {name!r} has no readable header ({error}).") from error
    if dtype.hasobject or dtype.kind not in "biuf":
        raise BadNpzError(f"Expected plain numbers in the array {name!r}, got {dtype}: it is not opened.")
    if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise BadNpzError(f"The array {name!r} has another size than its header claims.")
    stream.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    return array
