"""HetGPPO: messages made from the sender's row and from where it is seen."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.typing import OptTensor

from gnncomm.errors import ConfigError
from gnncomm.layers.base import CommLayer
from gnncomm.layers.edge_features import expected_features


class HetGPPOComm(CommLayer):
    r"""The edge convolution of Bettini, Shankar and Prorok 2023, `Heterogeneous Multi-Robot Reinforcement Learning
    <https://arxiv.org/abs/2301.07137>`_ (HetGPPO), with one set of weights.

    .. math::
        m_{ji} &= W_2 \, \phi(W_1 h_j + W_e \epsilon_{ji} + b_1) + b_2, \qquad
        c_i = \operatorname{agg}_j w_{ji} m_{ji} \\
        h'_i &= D_2 \, \phi(D_1 [h_i, c_i] + d_1) + d_2

    with tanh for :math:`\phi` and the edge features :math:`\epsilon_{ji}` of the graph, which ``relative_features``
    makes of positions and velocities: :math:`[p_j - p_i, \lVert p_j - p_i \rVert, v_j - v_i]`. The receiver measures
    them, and the topology ``full.relative()`` has the first two. Without edge features (``edge_dim=0``) the term is
    absent.

    In the released code every agent may have weights of its own, and raw observations are sent for the receiver's
    network to encode; here the sender multiplies by :math:`W_1`, which is the same with one set of weights. The last
    :math:`\phi` of the decoder is the caller's. On the wire: M numbers.

    Args:
        in_channels: F.
        out_channels: F'.
        msg_channels: M, width of the message network; None: F'.
        edge_dim: D of the edge features.
        aggr: ``sum``, ``mean`` or ``max``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        msg_channels: int | None = None,
        edge_dim: int = 0,
        aggr: str = "sum",
    ) -> None:
        if edge_dim < 0 or aggr not in ("sum", "mean", "max"):
            raise ConfigError(f"HetGPPOComm: expected edge_dim >= 0 and sum, mean or max, got {edge_dim}, {aggr!r}.")
        super().__init__(in_channels, out_channels, out_channels if msg_channels is None else msg_channels, aggr)
        self.edge_dim = edge_dim
        self.lin_send = nn.Linear(in_channels, self.msg_channels, bias=False)
        self.lin_edge = nn.Linear(edge_dim, self.msg_channels, bias=False) if edge_dim else None
        self.bias = nn.Parameter(torch.zeros(self.msg_channels))
        self.lin_message = nn.Linear(self.msg_channels, self.msg_channels)
        self.decoder = nn.Sequential(
            nn.Linear(in_channels + self.msg_channels, out_channels), nn.Tanh(), nn.Linear(out_channels, out_channels)
        )

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.zeros_(self.bias)

    def send(self, h: Tensor) -> Tensor:
        sent: Tensor = self.lin_send(h)
        return sent

    def query(self, h: Tensor) -> Tensor:
        return h[..., :0]

    def edge_inbox(
        self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_attr: OptTensor, edge_weight: OptTensor
    ) -> Tensor:
        edge_attr = expected_features(self, self.edge_dim, edge_index, edge_attr, msg)
        return super().edge_inbox(msg, query, edge_index, edge_attr, edge_weight)

    def message(self, msg_j: Tensor, edge_attr: OptTensor, edge_weight: OptTensor) -> Tensor:
        hidden = msg_j + self.bias
        if self.lin_edge is not None:
            hidden = hidden + self.lin_edge(edge_attr)
        said: Tensor = self.lin_message(hidden.tanh())
        return said if edge_weight is None else edge_weight.view(-1, 1) * said

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(torch.cat([h, inbox], -1))
        return decoded
