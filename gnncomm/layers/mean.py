"""CommNet: the mean of what was heard."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.typing import OptTensor

from gnncomm.graph import CommGraph
from gnncomm.layers.base import CommLayer


class MeanComm(CommLayer):
    r"""The communication step of CommNet (Sukhbaatar, Szlam and Fergus 2016,
    `Learning Multiagent Communication with Backpropagation <https://arxiv.org/abs/1605.07736>`_, section 3, eq. 2-3).

    .. math::
        h'_i = W_h h_i + W_c \frac{1}{|\mathcal{N}(i)|} \sum_{j \in \mathcal{N}(i)} w_{ji} m_j + b

    with :math:`\mathcal{N}(i)` the senders whose messages reached i, :math:`m_j = h_j` (or :math:`W_m h_j` where
    ``msg_channels`` is given) and the edge weights :math:`w_{ji} = 1` unless the graph has some. The paper's
    non-linearity is the caller's (``CommStack`` applies one). On the wire: M numbers.

    Args:
        in_channels: F.
        out_channels: F'.
        msg_channels: M; None sends the row as it is (M = F).
    """

    def __init__(self, in_channels: int, out_channels: int, msg_channels: int | None = None) -> None:
        super().__init__(in_channels, out_channels, in_channels if msg_channels is None else msg_channels, aggr="mean")
        self.lin_send = nn.Identity() if msg_channels is None else nn.Linear(in_channels, msg_channels, bias=False)
        self.lin_self = nn.Linear(in_channels, out_channels)
        self.lin_inbox = nn.Linear(self.msg_channels, out_channels, bias=False)

    def send(self, h: Tensor) -> Tensor:
        sent: Tensor = self.lin_send(h)
        return sent

    def message(self, msg_j: Tensor, edge_weight: OptTensor) -> Tensor:
        return msg_j if edge_weight is None else edge_weight.view(-1, 1) * msg_j

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        combined: Tensor = self.lin_self(h) + self.lin_inbox(inbox)
        return combined

    def dense_inbox(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> Tensor:
        share_GNN = graph.shares(msg_GNM.dtype)
        return torch.matmul(share_GNN if graph.weight is None else share_GNN * graph.weight.transpose(1, 2), msg_GNM)
