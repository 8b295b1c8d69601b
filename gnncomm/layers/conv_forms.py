"""Convolutions of PyG over whole graphs: their own ``forward``, with another ``propagate`` below it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv, GINConv, GraphConv, MessagePassing, SAGEConv, TransformerConv
from torch_geometric.nn.aggr import MeanAggregation, SumAggregation
from torch_geometric.nn.dense.linear import Linear
from torch_geometric.typing import OptTensor

from gnncomm.graph import CommGraph
from gnncomm.host import at_hand, may_ask
from gnncomm.layers.certain import is_as_made, is_untouched, record
from gnncomm.layers.fused import attend_over, dense_softmax, may_fuse, of_finite
from gnncomm.layers.pairs import pair_scores


class OnGraph:
    """A convolution as its ``forward`` sees it: all is its own but ``propagate`` and ``edge_updater``.

    Rows are nodes ``[V, ...]`` of graphs ``[G, N]``.
    """

    weighs: ClassVar[bool] = False
    """Whether weights of edges have a part."""

    def __init__(self, conv: MessagePassing, graph: CommGraph) -> None:
        self.conv, self.graph = conv, graph

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["conv"], name)

    @staticmethod
    def fits(conv: MessagePassing, *rows: Tensor) -> bool:
        """Whether this form says what the convolution says, with its settings."""
        raise NotImplementedError

    def by_graph(self, rows: Tensor) -> Tensor:
        """``[V, ...] -> [G, N, ...]``."""
        split: Tensor = rows.unflatten(0, (-1, self.graph.num_agents))
        return split

    def mixed(self, mix: Callable[[Tensor], Tensor], value_VHC: Tensor) -> Tensor:
        """``mix`` of values ``[G, heads, N, C]``, by node again; what is not finite stays on its edges."""
        heads = value_VHC.shape[1]

        def form(value_GNW: Tensor) -> Tensor:
            return mix(value_GNW.unflatten(-1, (heads, -1)).transpose(1, 2)).transpose(1, 2).flatten(2)

        out = of_finite(form, self.by_graph(value_VHC).flatten(2), self.graph)
        by_head: Tensor = out.unflatten(-1, (heads, -1))
        return by_head.flatten(0, 1)


class Sums(OnGraph):
    r"""Sums and means are products: :math:`\sum_j w_{ji} x_j`, over the in-degree or not."""

    @staticmethod
    def fits(conv: MessagePassing, *rows: Tensor) -> bool:
        return is_untouched(conv.aggr_module, MeanAggregation, SumAggregation)

    def propagate(self, edge_index: Tensor, x: tuple[Tensor, Tensor], **others: Any) -> Tensor:
        graph, (sent, _) = self.graph, x
        means = type(self.conv.aggr_module) is MeanAggregation
        parts_GNN = graph.shares(sent.dtype) if means else graph.ones(sent.dtype)
        if graph.weight is not None:
            parts_GNN = parts_GNN * graph.weight.transpose(1, 2)
        return torch.matmul(parts_GNN, self.by_graph(sent)).flatten(0, 1)


class WeightedSums(Sums):
    weighs = True


class ByPairs(OnGraph):
    """GATv2: scores of pairs in blocks, then one product with what was said."""

    @staticmethod
    def fits(conv: MessagePassing, *rows: Tensor) -> bool:
        return _attends(conv, *rows)

    def edge_updater(self, edge_index: Tensor, x: tuple[Tensor, Tensor], edge_attr: OptTensor) -> Tensor:
        """``alpha [G, heads, N, N]`` (receiver, sender)."""
        conv, graph = self.conv, self.graph
        (sent, row), att = (self.by_graph(part) for part in x), conv.att[0]
        index, hears = _places(graph)
        attr = weight = None
        if conv.lin_edge is not None:
            assert graph.attr is not None
            attr, weight = graph.attr.transpose(1, 2), conv.lin_edge.weight
            if index is not None:
                attr = attr.gather(2, index.unsqueeze(-1).expand(*index.shape, attr.shape[-1]))
            attr = attr.expand(len(sent), *attr.shape[1:])
        with torch.autocast(sent.device.type, enabled=False):
            score_GNkH = pair_scores(
                sent.to(att.dtype), row.to(att.dtype), att, conv.negative_slope, index, attr, weight
            )
        alpha_GHNk = dense_softmax(score_GNkH.permute(0, 3, 1, 2), hears.unsqueeze(1))
        if index is None:
            return alpha_GHNk
        whole = alpha_GHNk.new_zeros(*alpha_GHNk.shape[:3], graph.num_agents)
        return whole.scatter_add(-1, index.unsqueeze(1).expand_as(alpha_GHNk), alpha_GHNk)

    def propagate(self, edge_index: Tensor, x: tuple[Tensor, Tensor], alpha: Tensor) -> Tensor:
        return self.mixed(lambda value_GHNC: alpha.to(value_GHNC.dtype) @ value_GHNC, x[0])


class ByProducts(OnGraph):
    r"""Scaled products: torch's own attention, or, with features of edges,
    :math:`q_i^\top (k_j + W e_{ij})` and :math:`\sum_j \alpha_{ji} (v_j + W e_{ij})` by linearity in e."""

    @staticmethod
    def fits(conv: MessagePassing, *rows: Tensor) -> bool:
        return _attends(conv, *rows)

    def propagate(self, edge_index: Tensor, query: Tensor, key: Tensor, value: Tensor, edge_attr: OptTensor) -> Tensor:
        if at_hand(query) and may_ask(query.device) and not bool(query.detach().sum().isfinite()):
            return self._of_finite(query, key, value)
        return self._heard(query, key, value)

    def _heard(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        query_GHNC, key_GHNC = (self.by_graph(part).transpose(1, 2) for part in (query, key))
        if self.conv.lin_edge is None and may_fuse(query, key):
            return self.mixed(lambda value_GHNC: attend_over(query_GHNC, key_GHNC, value_GHNC, self.graph), value)
        score_GHNN, attr_GNND = query_GHNC @ key_GHNC.transpose(-1, -2), None
        if self.conv.lin_edge is not None:
            assert self.graph.attr is not None
            attr_GNND = self.graph.attr.transpose(1, 2)
            weight_HCD = self.conv.lin_edge.weight.unflatten(0, (self.conv.heads, -1))
            asked_GNHD = torch.einsum("ghnc,hcd->gnhd", query_GHNC, weight_HCD)
            score_GHNN = score_GHNN + (asked_GNHD @ attr_GNND.transpose(-1, -2)).transpose(1, 2)
        hears_G1NN = self.graph.dense.transpose(1, 2).unsqueeze(1)
        alpha_GHNN = dense_softmax(score_GHNN / math.sqrt(self.conv.out_channels), hears_G1NN).to(value.dtype)
        out_VHC = self.mixed(lambda value_GHNC: alpha_GHNN @ value_GHNC, value)
        if attr_GNND is None:
            return out_VHC
        heard_GNHD = alpha_GHNN.transpose(1, 2) @ attr_GNND
        return out_VHC + torch.einsum("gnhd,hcd->gnhc", heard_GNHD, weight_HCD).flatten(0, 1)

    def _of_finite(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Whoever asks with what is not finite hears NaN, and the others hear what they hear without it, to the bit:
        one program for both, which a broken query would have changed for all."""
        broken_V = ~query.isfinite().flatten(1).all(-1)
        out_VHC = self._heard(torch.where(broken_V.view(-1, 1, 1), 0.0, query), key, value)
        heard_GN = self.graph.dense.any(1)
        lost_V = (self.by_graph(broken_V) & heard_GN).flatten()
        return torch.where(lost_V.view(-1, 1, 1), torch.nan, out_VHC)


FORMS: dict[type[MessagePassing], type[OnGraph]] = {
    SAGEConv: Sums,
    GINConv: Sums,
    GraphConv: WeightedSums,
    GATv2Conv: ByPairs,
    TransformerConv: ByProducts,
}
"""The convolutions that have such a form; not their subclasses."""
for each in FORMS:
    record(each)


def over_graph(conv: MessagePassing, msg_GNM: Tensor, row_GNF: Tensor, graph: CommGraph) -> Tensor | None:
    """What ``conv`` says on a dense graph ``[G, N, F']``; None where it may say something else than such a form."""
    form = FORMS.get(type(conv))
    if form is None or not is_untouched(conv, type(conv)) or not is_as_made(conv):
        return None
    if (graph.weight is not None and not form.weighs) or not form.fits(conv, msg_GNM, row_GNF):
        return None
    where = torch.empty(2, 0, dtype=torch.int64, device=msg_GNM.device)  # forms read their graph
    out: Tensor = type(conv).forward(form(conv, graph), (msg_GNM.flatten(0, 1), row_GNF.flatten(0, 1)), where)
    split: Tensor = out.unflatten(0, msg_GNM.shape[:2])
    return split


def _attends(conv: MessagePassing, *rows: Tensor) -> bool:
    plain = conv.lin_edge is None or (is_untouched(conv.lin_edge, Linear, nn.Linear) and conv.lin_edge.bias is None)
    summed = is_untouched(conv.aggr_module, SumAggregation)
    return plain and summed and not (conv.training and conv.dropout) and at_hand(*rows)


def _places(graph: CommGraph) -> tuple[Tensor | None, Tensor]:
    """Whom each receiver may hear ``[G, N, k]`` and does ``[G, N, k]``; all agents (None) where half of them are heard.

    Looking at the numbers pays on the processor alone.
    """
    pairs = graph.num_graphs * graph.num_agents**2
    few = may_ask(graph.device) and 2 * graph.num_edges <= pairs
    if few and 2 * graph.neighbors.shape[-1] <= graph.num_agents:
        return graph.neighbors, graph.present
    return None, graph.dense.transpose(1, 2)
