"""Layers that attend to what each edge makes of a message: its features enter keys and values."""

from __future__ import annotations

from torch import Tensor
from torch_geometric.typing import OptTensor

from gnncomm.graph import CommGraph
from gnncomm.layers.base import CommLayer
from gnncomm.layers.edge_features import expected_features
from gnncomm.layers.weighing import Attention, edges_of


class EdgeAttendingComm(CommLayer):
    r"""Base of them: :math:`c_i = \sum_j w_{ji} \alpha_{ji} v_{ji}` with values :math:`v_{ji}` of message and edge.

    Subclasses set ``edge_dim``, the width of the features, and write ``_weigh`` and ``message(value, alpha,
    edge_weight)`` beside the hooks of every layer.
    """

    def _weigh(self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_attr: OptTensor) -> tuple[Tensor, Tensor]:
        """Values ``[E, heads, d]`` and alpha ``[E, heads]`` of messages ``[S, M]`` for receivers ``[R, Q]``."""
        raise NotImplementedError

    def edge_inbox(
        self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_attr: OptTensor, edge_weight: OptTensor
    ) -> Tensor:
        edge_attr = expected_features(self, self.edge_dim, edge_index, edge_attr, msg)
        value, alpha = self._weigh(msg, query, edge_index, edge_attr)
        # propagate_type: (value: Tensor, alpha: Tensor, edge_weight: OptTensor)
        inbox: Tensor = self.propagate(
            edge_index, value=value, alpha=alpha, edge_weight=edge_weight, size=(msg.shape[0], query.shape[0])
        )
        return inbox

    def attention(
        self,
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = None,
        edge_weight: OptTensor = None,
        msg: OptTensor = None,
    ) -> Attention:
        r""":math:`\alpha` of every edge: ``(edge_index [2, E], alpha [E, heads])``; each inbox sums to 1."""
        edge_index, edge_attr, _ = edges_of(h, graph, edge_attr, edge_weight)
        rows = h.reshape(-1, self.in_channels)
        _, alpha = self._weigh(self.send(rows) if msg is None else msg, self.query(rows), edge_index, edge_attr)
        return edge_index, alpha
