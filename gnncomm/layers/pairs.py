"""Scores of GATv2 for pairs of agents: no product of matrices, so made in blocks that fit into the cache."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu
from torch_geometric.typing import OptTensor

from gnncomm.layers.fused import derived, must_be_derivable

BLOCK = {"cpu": 2**17}
"""Numbers of a block: half a MiB of float32 stays in the cache of a core. Launching is what takes time elsewhere."""


def pair_scores(
    sent_GNHC: Tensor,
    row_GNHC: Tensor,
    att_HC: Tensor,
    slope: float,
    index_GNk: OptTensor = None,
    attr_GNkD: OptTensor = None,
    weight_WD: OptTensor = None,
) -> Tensor:
    r"""``[G, N, k, heads]``: :math:`a^\top \mathrm{LeakyReLU}(s_j + r_i + W e_{ij})` of receivers i and places j.

    The place j of a receiver is ``index[g, i, j]``, or agent j where there is no index (k = N). What is compared is
    never kept, neither ``[G, N, k, heads, C]`` nor its derivative. Eager only.
    """
    sent_GNW, row_GNW = sent_GNHC.flatten(2), row_GNHC.flatten(2)
    source = None
    if index_GNk is not None:
        first_G11 = torch.arange(sent_GNW.shape[0], device=sent_GNW.device).view(-1, 1, 1) * sent_GNW.shape[1]
        source = index_GNk + first_G11
    scores: Tensor = _PairScores.apply(  # type: ignore[no-untyped-call]  # torch
        sent_GNW, row_GNW, att_HC, attr_GNkD, weight_WD, source, slope
    )
    return scores


class _PairScores(torch.autograd.Function):
    r"""With :math:`v_{ij} = \delta_{ij} \mathrm{LeakyReLU}'(u_{ij})`, sums of v over i and over j are all that the
    gradients need, that of a included: LeakyReLU(u) = u LeakyReLU'(u), and u is a sum."""

    @staticmethod
    def forward(
        ctx: Any,
        sent_GNW: Tensor,
        row_GNW: Tensor,
        att_HC: Tensor,
        attr: OptTensor,
        weight: OptTensor,
        source: OptTensor,
        slope: float,
    ) -> Tensor:
        ctx.save_for_backward(sent_GNW, row_GNW, att_HC, attr, weight, source)
        ctx.slope = slope
        heads, own = att_HC.shape
        mix_WH = torch.eye(heads, dtype=att_HC.dtype, device=att_HC.device).repeat_interleave(own, 0)
        mix_WH = mix_WH * att_HC.reshape(-1, 1)
        num_graphs, num_agents, width = row_GNW.shape
        places = num_agents if source is None else source.shape[-1]
        score = row_GNW.new_empty(num_graphs, num_agents, places, heads)
        for graphs, pair in _blocks(sent_GNW, row_GNW, attr, weight, source):
            leaky_relu(pair, slope, inplace=True)
            torch.mm(pair.view(-1, width), mix_WH, out=score[graphs].view(-1, heads))
        return score

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        sent, row, att, attr, weight, source = ctx.saved_tensors
        if must_be_derivable(grad):
            function = partial(_written_out, source, ctx.slope)
            inputs = (sent, row, att, attr, weight)
            return *derived(function, inputs, ctx.needs_input_grad[:5], grad), None, None
        width, flat_W = row.shape[-1], att.reshape(-1)
        to_row, to_sent = torch.empty_like(row), torch.zeros_like(sent)
        to_attr = None if attr is None else torch.empty(attr.shape, dtype=attr.dtype, device=attr.device)
        seen_WD = None if weight is None else torch.zeros_like(weight)
        for graphs, pair in _blocks(sent, row, attr, weight, source):
            by_head = pair.view(*pair.shape[:3], *att.shape)
            given = grad[graphs].unsqueeze(-1).expand_as(by_head)
            torch.ops.aten.leaky_relu_backward.grad_input(given, by_head, ctx.slope, False, grad_input=by_head)
            torch.sum(pair, 2, out=to_row[graphs])
            if source is None:
                torch.sum(pair, 1, out=to_sent[graphs])
            else:
                to_sent.view(-1, width).index_add_(0, source[graphs].reshape(-1), pair.view(-1, width))
            if attr is not None and weight is not None and seen_WD is not None and to_attr is not None:
                seen_WD.addmm_(pair.view(-1, width).t(), attr[graphs].reshape(-1, attr.shape[-1]))
                to_attr[graphs] = (pair.view(-1, width) @ (flat_W.unsqueeze(-1) * weight)).view_as(to_attr[graphs])
        to_att = (to_row * row).sum((0, 1)) + (to_sent * sent).sum((0, 1))
        to_weight = None
        if weight is not None and seen_WD is not None:
            to_att, to_weight = to_att + (seen_WD * weight).sum(1), seen_WD * flat_W.unsqueeze(-1)
        return to_sent * flat_W, to_row * flat_W, to_att.view_as(att), to_attr, to_weight, None, None


def _blocks(sent: Tensor, row: Tensor, attr: OptTensor, weight: OptTensor, source: OptTensor) -> Any:
    """``(graphs, pair [g, N, k, W])``: what is compared, some graphs at a time, in memory that is used again."""
    num_graphs, num_agents, width = row.shape
    places = num_agents if source is None else source.shape[-1]
    each = max(num_agents * places * width, 1)
    count = max(1, BLOCK.get(row.device.type, 2**24) // each)
    memory = row.new_empty(min(count, num_graphs), num_agents, places, width)
    for first in range(0, num_graphs, count):
        graphs = slice(first, first + count)
        pair = memory[: min(count, num_graphs - first)]
        if source is None:
            torch.add(row[graphs].unsqueeze(2), sent[graphs].unsqueeze(1), out=pair)
        else:
            torch.index_select(sent.view(-1, width), 0, source[graphs].reshape(-1), out=pair.view(-1, width))
            pair.add_(row[graphs].unsqueeze(2))
        if attr is not None and weight is not None:
            pair.view(-1, width).addmm_(attr[graphs].reshape(-1, attr.shape[-1]), weight.t())
        yield graphs, pair


def _written_out(
    source: OptTensor, slope: float, sent: Tensor, row: Tensor, att: Tensor, attr: OptTensor, weight: OptTensor
) -> Tensor:
    """The same in operations of PyTorch, whose derivative can be derived."""
    heard = sent.unsqueeze(1) if source is None else sent.flatten(0, 1)[source]
    pair = row.unsqueeze(2) + heard
    if attr is not None and weight is not None:
        pair = pair + attr @ weight.t()
    score: Tensor = (leaky_relu(pair, slope).unflatten(-1, att.shape) * att).sum(-1)
    return score
