"""Each pair by chance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.random import stream, uniform
from gnncomm.shapes import Bool, Int
from gnncomm.topology.drawn import DrawnTopology


@dataclass(frozen=True)
class ErdosRenyi(DrawnTopology):
    """Each pair of agents hears each other with probability ``p``.

    Gilbert 1959, "Random Graphs". Agents i < j are joined iff ``uniform(stream(key, "erdos_renyi"), i, j) < p``: who is
    joined at p is joined at every larger p.
    """

    p: float

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ConfigError(f"ErdosRenyi.p is a probability: expected 0 <= p <= 1, got {self.p}.")

    def draw(self, key: Int[Tensor, " U"], num_agents: int) -> Bool[Tensor, "U N N"]:
        agent_N = torch.arange(num_agents, device=key.device)
        low_NN = torch.minimum(agent_N.unsqueeze(0), agent_N.unsqueeze(1))
        high_NN = torch.maximum(agent_N.unsqueeze(0), agent_N.unsqueeze(1))
        draw_UNN = uniform(stream(key, "erdos_renyi").view(-1, 1, 1), low_NN, high_NN)
        return (draw_UNN < self.p) & (low_NN != high_NN)
