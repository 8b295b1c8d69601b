"""Gradients of what has none."""

from __future__ import annotations

from torch import Tensor


def straight_through(value: Tensor, smooth: Tensor) -> Tensor:
    """``value``, bit for bit where ``smooth`` is finite, with the gradient of ``smooth``; NaN where that is broken."""
    return value.detach() + (smooth - smooth.detach())
