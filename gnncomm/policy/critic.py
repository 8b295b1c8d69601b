"""Value functions. The critic decides whether PPO is IPPO (local) or MAPPO (central)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnncomm.errors import ShapeError
from gnncomm.registry import Remembers


class LocalCritic(Remembers, nn.Module):
    """:math:`V_i = w^T ReLU(W z_i)`: an agent's own features only (IPPO, de Witt et al. 2020).

    Args:
        hidden: H, width of the layer within.
        in_channels: F, width of the features; H if None.
    """

    aliases = ("ippo",)

    def __init__(self, hidden: int, in_channels: int | None = None) -> None:
        super().__init__()
        self.hidden = hidden
        self.net = nn.Sequential(nn.Linear(in_channels or hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def another(self, in_channels: int) -> LocalCritic:
        """One of the same kind for features of width ``in_channels``, with weights of its own."""
        return LocalCritic(self.hidden, in_channels)

    def forward(self, features: Tensor, alive: Tensor) -> Tensor:
        """``[..., N, F]`` and ``alive [..., N]`` -> ``[..., N]``."""
        value: Tensor = self.net(features).squeeze(-1)
        return value


class CentralCritic(Remembers, nn.Module):
    """:math:`V_i = w^T ReLU(W_o z_i + W_j [z_1, ..., z_N])`: the joint features (MAPPO, Yu et al. 2022, section 3).

    Training only. Dead agents enter as zeros (death masking, section 5.5 of the paper). Bound to ``num_agents``.

    Args:
        hidden: H, width of the layer within.
        num_agents: N.
        in_channels: F, width of the features; H if None.
    """

    aliases = ("mappo",)

    def __init__(self, hidden: int, num_agents: int, in_channels: int | None = None) -> None:
        super().__init__()
        self.hidden, self.num_agents = hidden, num_agents
        self.own = nn.Linear(in_channels or hidden, hidden)
        self.joint = nn.Linear(num_agents * (in_channels or hidden), hidden, bias=False)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(hidden, 1))

    def another(self, in_channels: int) -> CentralCritic:
        """One of the same kind for features of width ``in_channels``, with weights of its own."""
        return CentralCritic(self.hidden, self.num_agents, in_channels)

    def forward(self, features: Tensor, alive: Tensor) -> Tensor:
        """``[..., N, F]`` and ``alive [..., N]`` -> ``[..., N]``."""
        if features.shape[-2] != self.num_agents:
            raise ShapeError(
                f"This central critic was built for {self.num_agents} agents, got {features.shape[-2]}: "
                "use a local critic for teams of changing size."
            )
        # Crosses rows: the critic exists in training only.
        joint = torch.where(alive.unsqueeze(-1), features, 0.0).flatten(-2)
        value: Tensor = self.head(self.own(features) + self.joint(joint).unsqueeze(-2)).squeeze(-1)
        return value


Critic = LocalCritic | CentralCritic
