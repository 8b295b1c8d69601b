"""Everyone hears everyone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.topology.static import StaticTopology


@dataclass(frozen=True)
class Full(StaticTopology):
    """Every agent hears all others: N (N - 1) edges; with ``self_loops`` itself, too: N^2."""

    self_loops: bool = False

    def edges(self, num_agents: int) -> tuple[Tensor, Tensor]:
        agent_N = torch.arange(num_agents)
        pair_P2 = torch.cartesian_prod(agent_N, agent_N).view(-1, 2)
        sender_P, receiver_P = pair_P2.unbind(1)
        kept_P = (sender_P != receiver_P) | self.self_loops
        return sender_P[kept_P], receiver_P[kept_P]
