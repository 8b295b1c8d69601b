"""DCC: what was heard updates a recurrent cell, and nothing else does."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch_geometric.typing import OptTensor
from torch_geometric.utils import softmax

from gnncomm.errors import ConfigError
from gnncomm.layers.edge_attending import EdgeAttendingComm


class DCCComm(EdgeAttendingComm):
    r"""One pass of the communication block of Ma, Luo and Pan 2021, `Learning Selective Communication for Multi-Agent
    Path Finding <https://arxiv.org/abs/2109.05413>`_ (DCC).

    .. math::
        \alpha_{ji} = \mathrm{softmax}_j (W_q \mathrm{LN}(h_i) \cdot (W_k h_j + U_k e_{ji}) / \sqrt{d}), \qquad
        c_i = \big\Vert_{\text{heads}} \sum_j w_{ji} \alpha_{ji} (W_v h_j + U_v e_{ji}), \qquad
        h'_i = \mathrm{GRUCell}(W_o c_i, h_i)

    where anything was heard, else :math:`h'_i = h_i`. The edge features :math:`e_{ji}` say where the receiver sees the
    sender: one-hot in the released code, which embeds it in 16 numbers; here any features of the graph, such as those
    of ``relative_features``. A request and its reply are two passes with the same weights: the row of the asker goes
    out, the answer comes back over the edges turned around; ``CommStack([layer] * 2, residual=False)`` on an
    undirected graph. Whom to ask is a matter of the scheduler. On the wire: the row.

    Args:
        in_channels: F, also that of the new row.
        heads: of the attention.
        head_channels: d.
        edge_dim: D of the edge features; 0 for none.
    """

    def __init__(self, in_channels: int, heads: int = 4, head_channels: int = 32, edge_dim: int = 0) -> None:
        if heads < 1 or head_channels < 1 or edge_dim < 0:
            raise ConfigError(
                "DCCComm: expected heads >= 1, head_channels >= 1 and edge_dim >= 0, got "
                f"{heads}, {head_channels}, {edge_dim}."
            )
        super().__init__(in_channels, in_channels, in_channels, aggr="sum")
        self.heads, self.head_channels, self.edge_dim = heads, head_channels, edge_dim
        width = heads * head_channels
        self.norm = nn.LayerNorm(in_channels)
        self.lin_query = nn.Linear(in_channels, width, bias=False)
        self.lin_key_value = nn.Linear(in_channels, 2 * width, bias=False)
        self.lin_edge = nn.Linear(edge_dim, 2 * width, bias=False) if edge_dim else None
        self.lin_inbox = nn.Linear(width, in_channels)
        self.cell = nn.GRUCell(in_channels, in_channels)

    def send(self, h: Tensor) -> Tensor:
        return h

    def query(self, h: Tensor) -> Tensor:
        query: Tensor = self.lin_query(self.norm(h))
        return query

    def _weigh(self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_attr: OptTensor) -> tuple[Tensor, Tensor]:
        sender_E, receiver_E = edge_index
        # Without the edge a message is the same to all who read it: work on it once.
        seen = self.lin_key_value(msg)[sender_E]
        if self.lin_edge is not None:
            seen = seen + self.lin_edge(edge_attr)
        key, value = seen.unflatten(-1, (2, self.heads, self.head_channels)).unbind(1)
        asked = query.unflatten(-1, (self.heads, -1))[receiver_E]
        score = (asked * key).sum(-1) / math.sqrt(self.head_channels)
        return value, softmax(score, receiver_E, num_nodes=query.shape[0])

    def message(self, value: Tensor, alpha: Tensor, edge_weight: OptTensor) -> Tensor:
        weight = alpha if edge_weight is None else alpha * edge_weight.view(-1, 1)
        heard = (weight.unsqueeze(-1) * value).flatten(1)
        return torch.cat([heard, torch.ones_like(heard[:, :1])], -1)  # the last number counts messages

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        rows, heard = h.reshape(-1, self.in_channels), inbox.reshape(-1, inbox.shape[-1])
        updated: Tensor = self.cell(self.lin_inbox(heard[:, :-1]), rows)
        return torch.where(heard[:, -1:] > 0, updated, rows).view(h.shape)
