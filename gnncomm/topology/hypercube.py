"""Agents at the corners of a cube of many dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.topology.static import StaticTopology


@dataclass(frozen=True)
class Hypercube(StaticTopology):
    """Agent i hears those whose number differs from i in one bit.

    Where N is no power of 2 the missing corners are left out; the rest stays connected, because clearing the highest
    bit of i always gives an agent.
    """

    def edges(self, num_agents: int) -> tuple[Tensor, Tensor]:
        bit_D = 2 ** torch.arange((num_agents - 1).bit_length())
        receiver_ND = torch.arange(num_agents).unsqueeze(-1).expand(-1, len(bit_D))
        sender_ND = receiver_ND ^ bit_D
        real_ND = sender_ND < num_agents
        return sender_ND[real_ND], receiver_ND[real_ND]
