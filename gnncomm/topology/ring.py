"""Agents in a circle."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.topology.static import StaticTopology


@dataclass(frozen=True)
class Ring(StaticTopology):
    """Agent i hears the ``k`` agents on each side, i - k .. i + k modulo N; never itself.

    A ring with ``2 k + 1 >= N`` is the full graph.
    """

    k: int = 1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"Ring.k counts neighbours on each side: expected k >= 1, got {self.k}. Use Empty().")

    def edges(self, num_agents: int) -> tuple[Tensor, Tensor]:
        reach = min(self.k, num_agents // 2)
        offset_K = torch.cat([torch.arange(-reach, 0), torch.arange(1, reach + 1)])
        receiver_NK = torch.arange(num_agents).unsqueeze(-1).expand(-1, len(offset_K))
        sender_NK = (receiver_NK + offset_K) % num_agents
        return sender_NK.reshape(-1), receiver_NK.reshape(-1)
