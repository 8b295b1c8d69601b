"""Layers that say how much each message weighed: ``return_attention_weights=True``, as in PyG."""

from __future__ import annotations

from typing import Literal, overload

from torch import Tensor
from torch_geometric.typing import OptTensor

from gnncomm.graph import CommGraph
from gnncomm.layers.base import Attention, CommLayer, like


class WeighingComm(CommLayer):
    """Base of the layers with attention; subclasses write ``attention``."""

    @property
    def weighs(self) -> bool:
        """Whether there is attention to return."""
        return True

    @overload
    def forward(
        self,
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = ...,
        edge_weight: OptTensor = ...,
        return_attention_weights: Literal[False] = ...,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = ...,
        edge_weight: OptTensor = ...,
        *,
        return_attention_weights: Literal[True],
    ) -> tuple[Tensor, Attention]: ...

    def forward(
        self,
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = None,
        edge_weight: OptTensor = None,
        return_attention_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Attention]:
        out = super().forward(h, graph, edge_attr, edge_weight)
        return (out, self.attention(h, graph, edge_attr, edge_weight)) if return_attention_weights else out

    def attention(
        self,
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = None,
        edge_weight: OptTensor = None,
        msg: OptTensor = None,
    ) -> Attention:
        r""":math:`\alpha` of every edge: ``(edge_index [2, E], alpha [E, heads])``.

        ``msg [S, M]`` is what was read, by S senders that ``edge_index`` numbers; None: ``send(h)``, one for each row.
        """
        raise NotImplementedError


def edges_of(
    h: Tensor, graph: CommGraph | Tensor, edge_attr: OptTensor, edge_weight: OptTensor
) -> tuple[Tensor, OptTensor, OptTensor]:
    """``edge_index`` over all rows of ``h``, features and weights in their type, from either form of a graph."""
    edge_index = graph
    if isinstance(graph, CommGraph):
        spread = graph.expand(h.shape[:-2].numel())
        edge_index, edge_attr, edge_weight = spread.edge_index, spread.edge_attr, spread.edge_weight
    assert isinstance(edge_index, Tensor)
    return edge_index, like(edge_attr, h), like(edge_weight, h)
