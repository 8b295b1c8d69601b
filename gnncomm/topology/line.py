"""Agents in a row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.topology.static import StaticTopology


@dataclass(frozen=True)
class Line(StaticTopology):
    """Agent i hears i - 1 and i + 1 where they exist: what agent 0 says takes N - 1 rounds to the last agent."""

    def edges(self, num_agents: int) -> tuple[Tensor, Tensor]:
        left_P = torch.arange(num_agents - 1)
        return torch.cat([left_P, left_P + 1]), torch.cat([left_P + 1, left_P])
