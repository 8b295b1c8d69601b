"""Agents on a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.topology.static import StaticTopology


@dataclass(frozen=True)
class Grid2D(StaticTopology):
    """Agents fill the rows of a grid one after the other; each hears those above, below, left and right.

    ``columns`` is by default the smallest number whose square is at least N. The last row may be short.
    """

    aliases = ("grid",)

    columns: int | None = None

    def __post_init__(self) -> None:
        if self.columns is not None and self.columns < 1:
            raise ConfigError(f"Grid2D.columns is a width: expected columns >= 1, got {self.columns}.")

    def edges(self, num_agents: int) -> tuple[Tensor, Tensor]:
        columns = self.columns or math.isqrt(num_agents - 1) + 1
        agent_N = torch.arange(num_agents)
        left_P = agent_N[(agent_N % columns < columns - 1) & (agent_N + 1 < num_agents)]
        upper_P = agent_N[agent_N + columns < num_agents]
        near_P, far_P = torch.cat([left_P, upper_P]), torch.cat([left_P + 1, upper_P + columns])
        return torch.cat([near_P, far_P]), torch.cat([far_P, near_P])
