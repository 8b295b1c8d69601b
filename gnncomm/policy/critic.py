"""Value functions. The critic decides whether PPO is IPPO (local) or MAPPO (central)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from gnncomm.errors import ShapeError
from gnncomm.policy.groups import PerGroup
from gnncomm.registry import Remembers
from gnncomm.types import Group, SparseObs, TimeStep


class Critic(nn.Module):
    """What is expected of each agent's return. It exists in training only, so it may look at the rows of others.

    A critic that ``looks`` is shown the time step, too, with as many leading axes as the features.
    """

    looks: ClassVar[bool] = False
    hidden: int  # width of the features that it is made for, unless it is told another

    @abstractmethod
    def another(self, in_channels: int) -> Self:
        """One of the same kind for features of width ``in_channels``, with weights of its own."""

    @abstractmethod
    def forward(self, features: Tensor, alive: Tensor, timestep: TimeStep | None = None) -> Tensor:
        """``[..., N, F]`` and ``alive [..., N]`` -> ``[..., N]``; rows of the dead may hold anything."""


class LocalCritic(Remembers, Critic):
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
        return LocalCritic(self.hidden, in_channels)

    def forward(self, features: Tensor, alive: Tensor, timestep: TimeStep | None = None) -> Tensor:
        value: Tensor = self.net(features).squeeze(-1)
        return value


class CentralCritic(Remembers, Critic):
    """:math:`V_i = w^T ReLU(W_o z_i + W_j [z_1, ..., z_N])`: the joint features (MAPPO, Yu et al. 2022, section 3).

    Dead agents enter as zeros (death masking, section 5.5 of the paper). Bound to ``num_agents``.

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
        return CentralCritic(self.hidden, self.num_agents, in_channels)

    def forward(self, features: Tensor, alive: Tensor, timestep: TimeStep | None = None) -> Tensor:
        if features.shape[-2] != self.num_agents:
            raise ShapeError(
                f"This central critic was built for {self.num_agents} agents, got {features.shape[-2]}: "
                "use a local critic for teams of changing size."
            )
        # Crosses rows: the critic exists in training only.
        joint = torch.where(alive.unsqueeze(-1), features, 0.0).flatten(-2)
        value: Tensor = self.head(self.own(features) + self.joint(joint).unsqueeze(-2)).squeeze(-1)
        return value


class GroupCritic(Critic):
    """A critic for each group of agents.

    Args:
        groups: each agent is a member of one.
        parts: the critics.
        seen: the agents whose rows each critic is given, members among them; the members if None.
    """

    def __init__(
        self, groups: Sequence[Group], parts: Sequence[Critic], seen: Sequence[tuple[int, ...]] | None = None
    ) -> None:
        super().__init__()
        self.each, self.hidden = PerGroup(groups, parts), parts[0].hidden
        self.looks = any(part.looks for part in parts)  # type: ignore[misc]  # of this one
        self.seen = tuple(group.members for group in groups) if seen is None else tuple(seen)
        for number, (rows, group) in enumerate(zip(self.seen, groups, strict=True)):
            self.register_buffer(f"rows{number}", torch.tensor(rows), persistent=False)
            own = torch.tensor([rows.index(member) for member in group.members])
            self.register_buffer(f"own{number}", own, persistent=False)

    @property
    def parts(self) -> list[Critic]:
        return [part for part in self.each.parts if isinstance(part, Critic)]

    def another(self, in_channels: int) -> GroupCritic:
        return GroupCritic(self.each.groups, [part.another(in_channels) for part in self.parts], self.seen)

    def forward(self, features: Tensor, alive: Tensor, timestep: TimeStep | None = None) -> Tensor:
        values = []
        for number, part in enumerate(self.parts):
            rows = getattr(self, f"rows{number}")
            shown = _of_agents(timestep, rows) if part.looks and timestep is not None else None
            value = part(features.index_select(-2, rows), alive.index_select(-1, rows), shown)
            values.append(value.index_select(-1, getattr(self, f"own{number}")))
        return self.each.together(values, -1)


def _of_agents(timestep: TimeStep, rows: Tensor) -> TimeStep:
    """What a critic looks at, of some agents."""
    obs, pos = timestep.obs, timestep.pos
    if isinstance(obs, SparseObs):
        obs = replace(obs, index=obs.index.index_select(-2, rows), value=obs.value.index_select(-2, rows))
    else:
        obs = obs.index_select(-2, rows)
    pos = None if pos is None else pos.index_select(-2, rows)
    return replace(timestep, obs=obs, pos=pos, alive=timestep.alive.index_select(-1, rows))
