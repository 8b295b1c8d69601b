"""One agent in the middle."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import ConfigError, GraphError
from gnncomm.topology.static import StaticTopology


@dataclass(frozen=True)
class Star(StaticTopology):
    """Agent ``center`` hears all others, and all others hear it and nobody else.

    Raises:
        GraphError: ``center`` is no agent.
    """

    center: int = 0

    def __post_init__(self) -> None:
        if self.center < 0:
            raise ConfigError(f"Star.center is an agent: expected center >= 0, got {self.center}.")

    def edges(self, num_agents: int) -> tuple[Tensor, Tensor]:
        if self.center >= num_agents:
            raise GraphError(f"Star.center is an agent: expected center < {num_agents}, got {self.center}.")
        agent_N = torch.arange(num_agents)
        leaf_L = agent_N[agent_N != self.center]
        center_L = torch.full_like(leaf_L, self.center)
        return torch.cat([leaf_L, center_L]), torch.cat([center_L, leaf_L])
