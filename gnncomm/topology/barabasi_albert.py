"""The rich get richer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.random import gumbel, stream
from gnncomm.shapes import Bool, Int
from gnncomm.topology.drawn import DrawnTopology


@dataclass(frozen=True)
class BarabasiAlbert(DrawnTopology):
    """Agents arrive one by one and link to ``m`` earlier ones, each with a chance that grows with its links.

    Barabasi and Albert 1999, "Emergence of Scaling in Random Networks" (Science 286). Agents 0 .. m begin as a star
    around agent 0; agent i > m links to m different agents, drawn one after the other in proportion to their number
    of links (the m largest of ``log(links) + gumbel``: Kool, van Hoof and Welling 2019, "Stochastic Beams and Where to
    Find Them"). Agents that came early are the hubs. Both ends of a link hear each other.
    """

    m: int

    def __post_init__(self) -> None:
        if self.m < 1:
            raise ConfigError(f"BarabasiAlbert.m counts links of a newcomer: expected m >= 1, got {self.m}.")

    def draw(self, key: Int[Tensor, " U"], num_agents: int) -> Bool[Tensor, "U N N"]:
        agent_N = torch.arange(num_agents, device=key.device)
        key_U11 = stream(key, "barabasi_albert").view(-1, 1, 1)
        luck_UNN = gumbel(key_U11, agent_N.unsqueeze(-1), agent_N, dtype=torch.float64)
        older_UNN = torch.zeros(len(key), num_agents, num_agents, dtype=torch.bool, device=key.device)
        older_UNN[:, 1 : self.m + 1, 0] = True
        links_UN = (older_UNN.sum(1) + older_UNN.sum(2)).double()
        for newcomer in range(self.m + 1, num_agents):
            score_UN = links_UN[:, :newcomer].log() + luck_UNN[:, newcomer, :newcomer]
            target_Um = score_UN.topk(self.m).indices
            older_UNN[:, newcomer].scatter_(1, target_Um, True)
            links_UN.scatter_add_(1, target_Um, torch.ones_like(target_Um, dtype=torch.float64))
            links_UN[:, newcomer] = self.m
        return older_UNN | older_UNN.transpose(1, 2)
