"""Each pair by chance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.random import stream, uniform
from gnncomm.shapes import Bool, Int
from gnncomm.topology.drawn import DrawnTopology

PAIRS = 2**18
"""Drawn at a time, so that what lies between two steps of a draw stays in the processor's cache."""


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
        agent_N, key_U11 = torch.arange(num_agents, device=key.device), stream(key, "erdos_renyi").view(-1, 1, 1)
        links_UNN = torch.zeros(len(key), num_agents, num_agents, dtype=torch.bool, device=key.device)
        rows = max(1, PAIRS // max(1, len(key) * num_agents))
        for first in range(0, num_agents, rows):  # a few rows at a time, each pair once
            low_R1, high_C = agent_N[first : first + rows].unsqueeze(1), agent_N[first:]
            drawn_URC = uniform(key_U11, low_R1, high_C) < self.p
            links_UNN[:, first : first + rows, first:] = drawn_URC & (low_R1 < high_C)
        return links_UNN | links_UNN.transpose(1, 2)
