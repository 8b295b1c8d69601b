"""MAIC: incentives that a receiver draws from what it hears."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.typing import OptPairTensor, OptTensor  # noqa: F401  PyG compiles `propagate` with them

from gnncomm.layers.attending import AttendingComm


class MAICComm(AttendingComm):
    r"""The incentives of MAIC (Yuan, Wang, Zhang, Wang, Zhang, Guan, Yu and Zhou 2022, "Multi-Agent Incentive
    Communication via Decentralized Teammate Modeling", AAAI, section 4), between agents without numbers.

    With a model :math:`z = g(h)` of L numbers, made by each agent of its own row,

    .. math::
        \alpha_{ji} = \mathrm{softmax}_{j \in \mathcal{N}(i)} (W_q h_j \cdot W_k z_i / \sqrt{d}), \qquad
        h'_i = \sum_{j \in \mathcal{N}(i)} w_{ji} \alpha_{ji} f(h_i, z_j)

    ``CommStack`` adds this to the row, so a linear head W adds :math:`W h'_i` to its values: an incentive for each
    action, as in the paper, where f has one output for each action.

    The paper's sender j has a model :math:`z_{ji}` of each teammate i, by number, and scores with it. That needs
    weights for every number in the team, and messages that name their receiver; here the sender's model is one for
    all, and the score takes the receiver's own. As in the released code f reads the receiver's row. Attention sums to
    one over the senders that i hears; there it is over the receivers of j. z is its mean; for noise on what is sent
    take the codec ``bottleneck``. Attention is not cut in execution.

    On the wire: L + d numbers, z first.

    Args:
        in_channels: F.
        out_channels: F'.
        latent_channels: L.
        key_channels: d.
        width: of the hidden layers of g and f.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        latent_channels: int = 8,
        key_channels: int = 32,
        width: int = 64,
    ) -> None:
        super().__init__(in_channels, out_channels, latent_channels + key_channels, 1, key_channels, own=False)
        self.latent_channels = latent_channels
        self.model = nn.Sequential(nn.Linear(in_channels, width), nn.LeakyReLU(), nn.Linear(width, latent_channels))
        self.incentive = nn.Sequential(
            nn.Linear(in_channels + latent_channels, width), nn.LeakyReLU(), nn.Linear(width, out_channels)
        )
        self.lin_query = nn.Linear(in_channels, key_channels)
        self.lin_key = nn.Linear(latent_channels, key_channels)

    def send(self, h: Tensor) -> Tensor:
        return torch.cat([self.model(h), self.lin_query(h)], -1)

    def ask(self, h: Tensor) -> Tensor:
        asked: Tensor = self.lin_key(self.model(h))
        return asked

    def query(self, h: Tensor) -> Tensor:
        return torch.cat([self.ask(h), h], -1)

    def parts(self, msg: Tensor) -> tuple[Tensor, Tensor]:
        latent, query = msg.split([self.latent_channels, self.key_channels], -1)
        return query.unsqueeze(-2), latent.unsqueeze(-2)

    def edge_inbox(
        self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_attr: OptTensor, edge_weight: OptTensor
    ) -> Tensor:
        edges, latent, alpha, weight = self._weigh(msg, query, edge_index, edge_weight)
        # propagate_type: (msg: OptPairTensor, h: OptPairTensor, alpha: Tensor, edge_weight: OptTensor)
        inbox: Tensor = self.propagate(
            edges,
            msg=(latent.flatten(1), None),
            h=(None, query[:, self.key_channels :]),
            alpha=alpha,
            edge_weight=weight,
            size=(msg.shape[0], query.shape[0]),
        )
        return inbox

    def message(self, msg_j: Tensor, h_i: Tensor, alpha: Tensor, edge_weight: OptTensor) -> Tensor:
        weight = alpha if edge_weight is None else alpha * edge_weight.view(-1, 1)
        incentive: Tensor = weight * self.incentive(torch.cat([h_i, msg_j], -1))
        return incentive

    def _weigh(
        self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_weight: OptTensor
    ) -> tuple[Tensor, Tensor, Tensor, OptTensor]:
        return super()._weigh(msg, query[:, : self.key_channels], edge_index, edge_weight)

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        return inbox
