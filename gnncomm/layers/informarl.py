"""InforMARL: what was heard is embedded together with its distance, then attended to."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch_geometric.typing import OptTensor
from torch_geometric.utils import softmax

from gnncomm.errors import ConfigError
from gnncomm.layers.base import CommLayer
from gnncomm.layers.edge_attending import EdgeAttendingComm
from gnncomm.layers.edge_features import expected_features


class EmbedComm(CommLayer):
    r"""The embedding convolution of Nayak et al. 2023, `Scalable Multi-Agent Reinforcement Learning through Intelligent
    Information Aggregation <https://arxiv.org/abs/2211.02127>`_ (InforMARL).

    .. math::
        h'_i = f([h_i, 0]) + \sum_{j \in \mathcal{N}(i)} w_{ji} f([h_j, e_{ji}])

    with :math:`f` two layers of (linear, relu, layer norm) and the edge features :math:`e_{ji}`, the distance in the
    paper (``relative_features(graph, pos, vector=False)``); 0 stands for that of an agent to itself. In the released
    code the first term is absent (a quirk, see ``gnncomm.bench.reference``), both layers share one norm, and a
    learned embedding of the entity's type joins the row; here all are agents. On the wire: the row.

    Args:
        in_channels: F.
        out_channels: F'.
        edge_dim: D of the edge features; 0 for none.
    """

    def __init__(self, in_channels: int, out_channels: int, edge_dim: int = 0) -> None:
        if edge_dim < 0:
            raise ConfigError(f"EmbedComm: expected edge_dim >= 0, got {edge_dim}.")
        super().__init__(in_channels, out_channels, in_channels, aggr="sum")
        self.edge_dim, self.embedding = edge_dim, Embedding(in_channels, out_channels, edge_dim)

    def send(self, h: Tensor) -> Tensor:
        return h

    def query(self, h: Tensor) -> Tensor:
        return h[..., :0]

    def edge_inbox(
        self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_attr: OptTensor, edge_weight: OptTensor
    ) -> Tensor:
        edge_attr = expected_features(self, self.edge_dim, edge_index, edge_attr, msg)
        return super().edge_inbox(msg, query, edge_index, edge_attr, edge_weight)

    def message(self, msg_j: Tensor, edge_attr: OptTensor, edge_weight: OptTensor) -> Tensor:
        embedded: Tensor = self.embedding(msg_j, edge_attr)
        return embedded if edge_weight is None else edge_weight.view(-1, 1) * embedded

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        own: Tensor = self.embedding(h, None)
        return own + inbox


class InforMARLComm(EdgeAttendingComm):
    r"""Embedding and graph transformer of InforMARL in one exchange.

    .. math::
        x_{ji} = f([h_j, e_{ji}]), \quad x_i = f([h_i, 0]), \qquad
        \alpha_{ji} = \mathrm{softmax}_j (q_i \cdot W_k x_{ji} / \sqrt{d}), \qquad
        h'_i = W_s x_i + \big\Vert_{\text{heads}} \sum_j w_{ji} \alpha_{ji} W_v x_{ji}

    Nayak et al. 2023, `Scalable Multi-Agent Reinforcement Learning through Intelligent Information Aggregation
    <https://arxiv.org/abs/2211.02127>`_, has the embedding convolution (``EmbedComm``) and then graph transformers
    (``ConvComm(TransformerConv(..., edge_dim=1))``), one exchange each. Here the receiver embeds every message with its
    distance and attends over the embeddings, so that one layer makes a round and several layers several; the distance
    enters keys and values through the embedding alone. Keys have no bias, since no softmax sees it. On the wire: the
    row.

    Args:
        in_channels: F.
        out_channels: F', a multiple of ``heads``.
        heads: of the attention.
        edge_dim: D of the edge features; 0 for none.
    """

    def __init__(self, in_channels: int, out_channels: int, heads: int = 4, edge_dim: int = 0) -> None:
        if heads < 1 or out_channels % heads or edge_dim < 0:
            raise ConfigError(
                f"InforMARLComm: expected heads that divide out_channels={out_channels} and edge_dim >= 0, got "
                f"heads={heads}, edge_dim={edge_dim}."
            )
        super().__init__(in_channels, out_channels, in_channels, aggr="sum")
        self.heads = heads
        self.edge_dim, self.embedding = edge_dim, Embedding(in_channels, out_channels, edge_dim)
        self.lin_query = nn.Linear(out_channels, out_channels)
        self.lin_key = nn.Linear(out_channels, out_channels, bias=False)
        self.lin_value = nn.Linear(out_channels, out_channels)
        self.lin_self = nn.Linear(out_channels, out_channels)

    def send(self, h: Tensor) -> Tensor:
        return h

    def query(self, h: Tensor) -> Tensor:
        query: Tensor = self.lin_query(self.embedding(h, None))
        return query

    def _weigh(self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_attr: OptTensor) -> tuple[Tensor, Tensor]:
        sender_E, receiver_E = edge_index
        embedded = self.embedding(msg[sender_E], edge_attr)
        key, value = (lin(embedded).unflatten(-1, (self.heads, -1)) for lin in (self.lin_key, self.lin_value))
        asked = query.unflatten(-1, (self.heads, -1))[receiver_E]
        score = (asked * key).sum(-1) / math.sqrt(key.shape[-1])
        return value, softmax(score, receiver_E, num_nodes=query.shape[0])

    def message(self, value: Tensor, alpha: Tensor, edge_weight: OptTensor) -> Tensor:
        weight = alpha if edge_weight is None else alpha * edge_weight.view(-1, 1)
        return (weight.unsqueeze(-1) * value).flatten(1)

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        combined: Tensor = self.lin_self(self.embedding(h, None)) + inbox
        return combined


class Embedding(nn.Module):
    """f: two layers of (linear, relu, layer norm) on a row and the features of its edge.

    None for the features: 0, those of an agent to itself.
    """

    def __init__(self, in_channels: int, out_channels: int, edge_dim: int) -> None:
        super().__init__()
        self.edge_dim = edge_dim
        self.lin_row = nn.Linear(in_channels, out_channels)
        self.lin_edge = nn.Linear(edge_dim, out_channels, bias=False) if edge_dim else None
        self.rest = nn.Sequential(
            nn.ReLU(),
            nn.LayerNorm(out_channels),
            nn.Linear(out_channels, out_channels),
            nn.ReLU(),
            nn.LayerNorm(out_channels),
        )

    def forward(self, row: Tensor, edge_attr: OptTensor) -> Tensor:
        """``[..., F], [..., D] -> [..., F']``."""
        hidden = self.lin_row(row)
        if self.lin_edge is not None and edge_attr is not None:
            hidden = hidden + self.lin_edge(edge_attr)
        embedded: Tensor = self.rest(hidden)
        return embedded
