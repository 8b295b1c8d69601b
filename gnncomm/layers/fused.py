"""Attention by torch's fused form, and derivatives of what torch cannot derive twice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from gnncomm.graph import CommGraph
from gnncomm.host import at_hand, may_ask

T = TypeVar("T", Tensor, Tensor | None)


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


def attend_over(query_GHNK: Tensor, key_GHNK: Tensor, value_GHNV: Tensor, graph: CommGraph) -> Tensor:
    """Inboxes ``[G, heads, N, V]`` by torch's own attention, where it may be used (see ``may_fuse``)."""
    dtype = query_GHNK.dtype
    bias_G1NN, some_GN1 = graph.kept(f"bias {dtype}", lambda: _bias(graph.dense, dtype))
    inbox_GHNV = attend(query_GHNK, key_GHNK, value_GHNV, bias_G1NN)
    return inbox_GHNV if some_GN1 is None else torch.where(some_GN1.unsqueeze(1), inbox_GHNV, 0.0)


def _bias(dense_GNN: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """What is added to scores ``[G, 1, N, N]`` (receiver, sender), and who hears anyone ``[G, N, 1]``; None: all.

    An empty inbox has no softmax: it gets that of all senders, which is not used.
    """
    hears_GNN = dense_GNN.transpose(1, 2)
    some_GN1 = hears_GNN.any(-1, keepdim=True)
    bias_GNN = torch.zeros(hears_GNN.shape, dtype=dtype, device=dense_GNN.device)
    bias_GNN.masked_fill_(some_GN1 & ~hears_GNN, -torch.inf)
    return bias_GNN.unsqueeze(1), None if may_ask(some_GN1.device) and bool(some_GN1.all()) else some_GN1


def dense_softmax(score_GHNN: Tensor, hears_G1NN: Tensor, weight_G1NN: Tensor | None = None) -> Tensor:
    """Shares of each sender (last axis) in an inbox; ``weight`` multiplies the exponentials."""
    # An empty inbox has no softmax: give it a finite one, then choose zeros.
    masked_GHNN = torch.where(hears_G1NN | ~hears_G1NN.any(-1, keepdim=True), score_GHNN, -torch.inf)
    if weight_G1NN is None:
        return torch.where(hears_G1NN, masked_GHNN.softmax(-1), 0.0)
    part_GHNN = (masked_GHNN - masked_GHNN.detach().amax(-1, keepdim=True)).exp()
    part_GHNN = weight_G1NN * torch.where(hears_G1NN, part_GHNN, 0.0)
    return part_GHNN / part_GHNN.sum(-1, keepdim=True).clamp(min=tiny(score_GHNN))


def tiny(like: Tensor) -> float:
    """The smallest normal number of its type."""
    return torch.finfo(like.dtype).tiny


def of_finite(form: Callable[[Tensor], T], said_GNM: Tensor, graph: CommGraph) -> T | Tensor:
    """``form(said)`` ``[G, N, I]`` or None, of finite numbers: a product with an absent edge must not carry NaN across.

    Without a branch on values where these are not at hand (compiled, exported, transformed, on another device).
    """
    looks = at_hand(said_GNM) and may_ask(said_GNM.device)
    if looks and bool(said_GNM.detach().sum().isfinite()):
        return form(said_GNM)
    broken_GN = ~said_GNM.isfinite().all(-1)
    inbox = form(torch.where(broken_GN.unsqueeze(-1), 0.0, said_GNM))
    if inbox is None:
        return None
    hears_broken_GN = (graph.dense & broken_GN.unsqueeze(-1)).any(1)
    return torch.where(hears_broken_GN.unsqueeze(-1), torch.nan, inbox)


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
    function: Callable[..., Any],
    inputs: Sequence[Tensor | None],
    wanted: Sequence[bool],
    grad: Tensor | Sequence[Tensor],
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
