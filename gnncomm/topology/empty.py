"""Nobody hears anybody."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.topology.static import StaticTopology


@dataclass(frozen=True)
class Empty(StaticTopology):
    """No edges: the baseline without communication."""

    aliases = ("none",)

    def edges(self, num_agents: int) -> tuple[Tensor, Tensor]:
        nobody = torch.empty(0, dtype=torch.int64)
        return nobody, nobody
