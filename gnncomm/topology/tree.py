"""Agents in a tree."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.topology.static import StaticTopology


@dataclass(frozen=True)
class Tree(StaticTopology):
    """Agent i > 0 and its parent (i - 1) // ``branching`` hear each other; agent 0 is the root."""

    branching: int = 2

    def __post_init__(self) -> None:
        if self.branching < 1:
            raise ConfigError(f"Tree.branching counts children: expected branching >= 1, got {self.branching}.")

    def edges(self, num_agents: int) -> tuple[Tensor, Tensor]:
        child_P = torch.arange(1, num_agents)
        parent_P = (child_P - 1) // self.branching
        return torch.cat([child_P, parent_P]), torch.cat([parent_P, child_P])
