"""What it means to break a law, and comparisons that say where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gnncomm.errors import GnnCommError

_EXACT = {torch.float64: 1e-10, torch.float32: 1e-4}
"""Largest difference, absolute and relative, between two orders of the same sums of a few hundred moderate numbers."""


class LawError(GnnCommError, AssertionError):
    """A law is broken. The message names the law, the tensor and the place; ``law`` is the name alone."""

    def __init__(self, law: str, message: str) -> None:
        super().__init__(f"Law of {law} broken: {message}")
        self.law = law


def place(index: Sequence[int], axes: Sequence[str]) -> str:
    """``environment 1, agent 2``; axes without a name are features."""
    names = [*axes, *["feature"] * (len(index) - len(axes))]
    return ", ".join(f"{name} {number}" for name, number in zip(names, index, strict=False)) or "the number"


def require(condition: bool | Tensor, law: str, message: str) -> None:
    """``LawError`` unless ``condition``."""
    if not bool(condition):
        raise LawError(law, message)


def require_bits(law: str, name: str, got: Tensor, want: Tensor, axes: Sequence[str], why: str) -> None:
    """Equal to the last bit; NaN equals NaN."""
    _require_form(law, name, got, want, why)
    differs = (got != want) & ~((got != got) & (want != want))
    _report(law, name, got, want, differs, axes, why, "bit-equal")


def require_close(law: str, name: str, got: Tensor, want: Tensor, axes: Sequence[str], why: str) -> None:
    """Equal up to the order of sums in their type; equal infinities are equal, and NaN equals NaN."""
    _require_form(law, name, got, want, why)
    near = _EXACT.get(want.dtype, 0.0)
    differs = ~torch.isclose(got, want, rtol=near, atol=near, equal_nan=True)
    _report(law, name, got, want, differs, axes, why, f"equal within {near:g}")


def require_untouched(law: str, name: str, got: Tensor, want: Tensor, axes: Sequence[str], why: str) -> None:
    """Equal up to rounding, 64 units in the last place of the larger of 1 and ``want``; NaN equals NaN.

    The same program on the same rows: a processor's library may still round by where in memory a tensor lies.
    """
    _require_form(law, name, got, want, why)
    near = 64 * torch.finfo(want.dtype).eps if want.is_floating_point() else 0.0
    differs = ~torch.isclose(got, want, rtol=near, atol=near, equal_nan=True)
    _report(law, name, got, want, differs, axes, why, "untouched")


def require_finite(law: str, name: str, values: Tensor, axes: Sequence[str], why: str) -> None:
    """Neither NaN nor infinity."""
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        index = bad[0].tolist()
        raise LawError(law, f"{name} is {values[tuple(index)].item()} at {place(index, axes)}: {why}.")


def require_same_tensors(
    law: str, got: Mapping[str, Tensor], want: Mapping[str, Tensor], axes: Sequence[str], why: str
) -> None:
    """The same names with the same bits."""
    missing = sorted(want.keys() ^ got.keys())
    require(not missing, law, f"{', '.join(missing)} is there only once: {why}.")
    for name, value in want.items():
        require_bits(law, name, got[name], value, axes, why)


def _require_form(law: str, name: str, got: Tensor, want: Tensor, why: str) -> None:
    if got.shape != want.shape or got.dtype != want.dtype:
        raise LawError(
            law,
            f"{name} is {got.dtype} {list(got.shape)}, expected {want.dtype} {list(want.shape)}: {why}.",
        )


def _report(
    law: str, name: str, got: Tensor, want: Tensor, differs: Tensor, axes: Sequence[str], why: str, how: str
) -> None:
    if not bool(differs.any()):
        return
    index = differs.nonzero()[0].tolist()
    at = tuple(index)
    raise LawError(
        law,
        f"{name} should be {how}, got {got[at].item()!r} instead of {want[at].item()!r} at {place(index, axes)} "
        f"({int(differs.sum())} of {differs.numel()} numbers differ): {why}.",
    )
