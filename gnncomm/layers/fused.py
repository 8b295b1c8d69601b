"""Attention by torch's fused form, and derivatives of what torch cannot derive twice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from gnncomm.host import at_hand, may_ask


def may_fuse(query: Tensor, msg: Tensor) -> bool:
    """Whether ``attend`` serves: eager, in one type, and no score of a query with a message is beyond it.

    The fused form adds minus infinity where there is no edge, which is no edge for finite scores only.
    """
    if not at_hand(query, msg) or torch.is_autocast_enabled(msg.device.type):
        return False
    if not may_ask(msg.device):
        return True  # asking the device takes longer than it is worth
    return bool((query.detach().norm() * msg.detach().norm()).isfinite())  # as Cauchy and Schwarz say


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """``softmax(query key^T / sqrt(d) + bias) value``: ``[*, R, d], [*, S, d], [*, S, V], [*, R, S] -> [*, R, V]``.

    ``bias`` is 0 where there is an edge and minus infinity elsewhere; each receiver has an edge. Eager only.
    """
    out: Tensor = _Attend.apply(query, key, value, bias)  # type: ignore[no-untyped-call]
    return out


def _written_out(bias: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    score = query @ key.transpose(-1, -2) / math.sqrt(key.shape[-1])
    return (score + bias).softmax(-1) @ value


class _Attend(torch.autograd.Function):
    """The fused form with its own derivative; where that is to be derived again, that of the form written out."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        inputs = query, key, value
        apart = [x.detach().requires_grad_(needed) for x, needed in zip(inputs, ctx.needs_input_grad[:3], strict=True)]
        with torch.enable_grad():
            out = scaled_dot_product_attention(apart[0], apart[1], apart[2], attn_mask=bias)
        ctx.save_for_backward(*inputs)
        ctx.bias, ctx.fused = bias, (apart, out)
        return out.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), inputs, wanted = grads, ctx.saved_tensors, ctx.needs_input_grad[:3]
        if must_be_derivable(grad):
            return *derived(partial(_written_out, ctx.bias), inputs, wanted, grad), None
        apart, out = ctx.fused
        sources = [x for x in apart if x.requires_grad]
        found = iter(torch.autograd.grad(out, sources, grad, retain_graph=True))
        return *(next(found) if needed else None for needed in wanted), None


def must_be_derivable(grad: Tensor) -> bool:
    """Whether a derivative is asked for that will be derived itself (``create_graph``), or many of them at once.

    The forward pass was eager then, or it would have been written out; only its derivative is transformed.
    """
    # torch has no public name for: this is a batch of gradients (``is_grads_batched``, ``jacobian(vectorize=True)``)
    return torch.is_grad_enabled() or not at_hand(grad) or torch._C._functorch.is_legacy_batchedtensor(grad)


def derived(
    function: Callable[..., Tensor], inputs: Sequence[Tensor | None], wanted: Sequence[bool], grad: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients of ``function`` at ``inputs``, by PyTorch: they can be derived again where that is asked for."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # copies in name only: what else depends on an input is no part of its gradient here
        apart = [None if x is None else x.view_as(x) for x in inputs]
        out = function(*apart)
    sources = [x for x, needed in zip(apart, wanted, strict=True) if needed and x is not None]
    found = iter(torch.autograd.grad(out, sources, grad, create_graph=again, allow_unused=True))
    return tuple(next(found) if needed and x is not None else None for x, needed in zip(apart, wanted, strict=True))
