"""Named tensors to bytes and back, in the safetensors format, with no way to smuggle code or huge sizes in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from gnncomm.errors import CheckpointError, CheckpointMismatchError, NonFiniteError, UnsafeContentError
from gnncomm.store import strict_json

MAX_HEADER_BYTES = 1 << 20
"""Limit for the table of names and shapes: about 10,000 tensors."""

_DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
}
_METADATA = "__metadata__"
_MAX_AXES = 16


def encode(tensors: Mapping[str, Tensor], source: str) -> bytes:
    """The safetensors file of ``tensors``. Views and shared tensors are stored in full, each under its own name.

    Raises:
        CheckpointError: a tensor that the format does not hold (sparse, complex, quantised, without data), or a name
            it reserves; also more names than a header of 1 MiB holds.
    """
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str) or name == _METADATA:
            raise CheckpointError(f"{source}: {name!r} cannot name a tensor. Choose another name.")
        if not isinstance(tensor, Tensor) or tensor.dtype not in _DTYPES or tensor.layout != torch.strided:
            got = f"{tensor.layout} {tensor.dtype}" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise CheckpointError(
                f"{source}: {name!r} is {got}; expected a dense tensor of {', '.join(_DTYPES.values())}."
            )
        if tensor.is_meta:
            raise CheckpointError(f"{source}: {name!r} is on the meta device and has no data. Materialise it first.")
        plain[name] = tensor.detach().to("cpu", copy=True).contiguous()
    raw = safetensors.save(plain)
    if int.from_bytes(raw[:8], "little") > MAX_HEADER_BYTES:
        raise CheckpointError(f"{source}: {len(plain)} tensors need a header above {MAX_HEADER_BYTES} bytes.")
    return raw


def decode(raw: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file that was read already.

    Raises:
        UnsafeContentError: header too large, duplicate names, unknown types, or shapes that do not fit the bytes.
    """
    header_bytes = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or header_bytes > min(MAX_HEADER_BYTES, len(raw) - 8):
        raise UnsafeContentError(f"{path}: its header claims {header_bytes} bytes of {len(raw)}. Refused.")
    try:
        header = strict_json.parse(raw[8 : 8 + header_bytes])
    except (strict_json.MalformedJsonError, strict_json.ForbiddenJsonError) as error:
        raise UnsafeContentError(f"{path}: its header is refused: {error}.") from error
    if not isinstance(header, dict):
        raise UnsafeContentError(f"{path}: its header is refused: not an object.")
    for name, entry in header.items():
        if name == _METADATA:
            continue
        if not isinstance(entry, dict) or entry.get("dtype") not in _DTYPES.values():
            raise UnsafeContentError(f"{path}: tensor {name!r} has a type that gnncomm does not write. Refused.")
        if not _is_shape(entry.get("shape")):
            raise UnsafeContentError(f"{path}: tensor {name!r} has a shape that no tensor can have. Refused.")
    try:
        return safetensors.load(raw)
    except SafetensorError as error:
        raise UnsafeContentError(f"{path}: refused by safetensors: {error}.") from error


def _is_shape(shape: Any) -> bool:
    """Up to ``_MAX_AXES`` sizes whose strides fit into 64 bits; torch computes these also where an axis is empty."""
    if not isinstance(shape, list) or len(shape) > _MAX_AXES or not all(type(size) is int for size in shape):
        return False
    return all(size >= 0 for size in shape) and math.prod(max(size, 1) for size in shape) < 2**59


def require_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Refuse NaN and infinity.

    Raises:
        NonFiniteError: names the first such tensor and how many of its entries are not finite.
    """
    for name, tensor in tensors.items():
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise NonFiniteError(
                f"{source}: expected finite numbers, got NaN or infinity in {bad} of {tensor.numel()} entries "
                f"of {name!r}."
            )


def require_match(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str) -> None:
    """Refuse tensors that do not fit what they are loaded into.

    Raises:
        CheckpointMismatchError: lists every missing, unexpected or differing tensor, with both shapes and types.
    """
    lines = [f"missing {name!r}" for name in expected if name not in found]
    lines += [f"unexpected {name!r}" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        ours, theirs = (f"{tuple(x.shape)} {_DTYPES.get(x.dtype, x.dtype)}" for x in (expected[name], found[name]))
        if ours != theirs:
            lines.append(f"{name!r}: expected {ours}, got {theirs}")
    if lines:
        raise CheckpointMismatchError(f"{source} does not fit: {'; '.join(sorted(lines))}.")
