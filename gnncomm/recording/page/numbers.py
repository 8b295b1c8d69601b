"""Arrays as few bytes that a browser reads: small numbers, differences over time, deflate."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_INTEGERS = (np.uint8, np.int8, np.uint16, np.int16, np.int32)
_HALF_MAX = 65504.0
_PICTURES = 1 << 25
"""Bytes of pictures in the memory of a browser."""
_LEVELS = 32_000
"""Steps from the lowest to the highest coordinate of a world without cells."""


@dataclass(frozen=True)
class Packed:
    """One array: how to read it, and its bytes. ``value = number * scale + offset``."""

    kind: str
    """``bit``, or a type of numpy without its byte order (little): ``u1``, ``i2``, ``f2``, ..."""
    shape: tuple[int, ...]
    data: bytes
    steps: bool = False
    """Along the first axis stand differences to the row before."""
    scale: float = 1.0
    offset: float = 0.0

    @property
    def head(self) -> dict[str, Any]:
        """What the page must know to read ``data``."""
        known = {"kind": self.kind, "shape": list(self.shape), "bytes": len(self.data)}
        more = {"steps": self.steps, "scale": self.scale, "offset": self.offset}
        return known | {
            name: value for name, value in more.items() if value != Packed.__dataclass_fields__[name].default
        }


def packed(array: Array, *, steps: bool = False, half: bool = True) -> Packed:
    """Booleans as bits, whole numbers to the bit in the smallest type that holds them, others as 16-bit floats.

    Floats beyond the range of 16 bits, and those that are no numbers, stay as they are, with 32 bits.

    Args:
        array: booleans, integers (beyond 32 bits they become floats), or floats.
        steps: store differences along the first axis: smaller where rows change little. Whole numbers only.
        half: False keeps 32 bits of floats.
    """
    if array.dtype == np.bool_:
        return Packed("bit", array.shape, deflated(np.packbits(array, bitorder="little").tobytes()))
    if not is_whole(array):
        low, high = array.min(initial=0), array.max(initial=0)
        kind = np.float16 if half and low >= -_HALF_MAX and high <= _HALF_MAX else np.float32
        return _of(array.astype(kind), array.shape, steps=False)
    return _of(_smallest(array), array.shape, steps=steps)


def packed_places(array: Array) -> Packed:
    """Coordinates: cells to the bit, others to 1/32,000 of the space between the lowest and the highest."""
    if is_whole(array):
        return packed(array, steps=True)
    low, high = float(array.min()), float(array.max())
    scale = (high - low) / _LEVELS or 1.0
    whole = np.rint((array.astype(np.float64) - low) / scale).astype(np.int16)
    return _of(whole, array.shape, steps=True, scale=scale, offset=low)


def packed_shades(array: Array) -> Packed:
    """A background in 256 shades from its lowest to its highest number; once, where it stays the same."""
    same = bool((array == array[:1]).all())
    low, high = float(array.min()), float(array.max())
    scale = (high - low) / 255 or 1.0
    shades = np.rint((array[: 1 if same else None].astype(np.float64) - low) / scale).astype(np.uint8)
    return _of(shades, shades.shape, steps=True, scale=scale, offset=low)


def packed_pictures(array: Array) -> Packed:
    """``[T, height, width, 3]`` bytes, every second, third, ... point where all together are larger than that."""
    stride = 1
    while array[:, ::stride, ::stride].size > _PICTURES:
        stride += 1
    return packed(array[:, ::stride, ::stride], steps=True)


def is_whole(array: Array) -> bool:
    """Whether each number is an integer of at most 31 bits."""
    if array.dtype == np.uint8:
        return True
    inside = (array > np.float32(-(2**31))) & (array < np.float32(2**31))  # the lowest integer has no absolute value
    return bool((inside & (array == np.rint(array))).all())


def deflated(raw: bytes) -> bytes:
    """Raw deflate, for ``DecompressionStream("deflate-raw")``; equal bytes give equal bytes."""
    press = zlib.compressobj(9 if len(raw) < 1 << 20 else 6, zlib.DEFLATED, -15)
    return press.compress(raw) + press.flush()


def _of(array: Array, shape: tuple[int, ...], *, steps: bool, scale: float = 1.0, offset: float = 0.0) -> Packed:
    if steps:  # wraps around where a difference does not fit, and so does the sum in the browser
        array = np.concatenate([array[:1], array[1:] - array[:-1]])
    size = array.dtype.itemsize
    planes = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).view(np.uint8).reshape(-1, size).T
    return Packed(
        f"{array.dtype.kind}{size}", tuple(shape), deflated(planes.tobytes()), steps, float(scale), float(offset)
    )


def _smallest(array: Array) -> Array:
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    return array.astype(next(kind for kind in _INTEGERS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max))
