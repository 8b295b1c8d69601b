"""Parts that are not the same for all agents: weights by group, and who belongs to which team."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Self

import torch
from torch import Tensor, nn

from gnncomm.errors import ConfigError
from gnncomm.policy.encoder import ReadsSparse, encoded
from gnncomm.policy.memory import Memory
from gnncomm.types import Group, Observation, SparseObs, TeamSpec

MOST_APART = 4096
"""Agents with weights of their own, or teams."""

Share = Literal["all", "team", "group", "none"]
"""Who has the same weights: all agents, those of a team or of a group (all, where there are none), or nobody."""


def groups_of(spec: TeamSpec, share: Share) -> tuple[Group, ...]:
    """Agents by the weights that they share; none where all share them."""
    if share == "all":
        return ()
    if share == "group":
        return spec.groups
    if spec.num_agents > MOST_APART:
        raise ConfigError(f"share={share!r}: expected at most {MOST_APART} agents, got {spec.num_agents}.")
    whole = Group("", tuple(range(spec.num_agents)), spec.obs_dim, spec.num_actions)
    if share == "team":
        rows = {team: [g.members for g in spec.groups if g.team == team] for team in (g.team for g in spec.groups)}
        return tuple(replace(whole, name=team, team=team, members=sum(each, ())) for team, each in rows.items())
    return tuple(
        replace(group, name=f"{group.name}{member}", members=(member,))
        for group in spec.groups or (whole,)
        for member in group.members
    )


class PerAgent(nn.Module):
    """A part of a policy that knows the agents by their places on the axis N of its rows."""

    def of_agent(self, index: int) -> nn.Module:
        """What agent ``index`` needs of it, for one row: the same weights, not copied."""
        raise NotImplementedError

    def twin(self, **buffers: Tensor) -> Self:
        """The same but for ``buffers``."""
        twin = copy.copy(self)
        twin._buffers = {**self._buffers, **buffers}
        return twin


class PerGroup(PerAgent):
    """The rows of each group through a part of its own; the only loop is over groups.

    Args:
        groups: each of N agents is a member of one.
        parts: the modules, one for each group; those of rows know nothing of groups.
    """

    order: Tensor

    def __init__(self, groups: Sequence[Group], parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.groups, self.parts = tuple(groups), nn.ModuleList(parts)
        for number, group in enumerate(self.groups):
            self.register_buffer(f"members{number}", torch.tensor(group.members), persistent=False)
        members = [member for group in self.groups for member in group.members]
        self.register_buffer("order", torch.tensor(members).argsort(), persistent=False)

    def of_agent(self, index: int) -> nn.Module:
        number, place = self._place(index)
        part = self.parts[number]
        return part.of_agent(place) if isinstance(part, PerAgent) else part

    def _place(self, index: int) -> tuple[int, int]:
        """The group of an agent, and its place there."""
        return next((n, group.members.index(index)) for n, group in enumerate(self.groups) if index in group.members)

    def rows(self, number: int, value: Tensor, dim: int = -2) -> Tensor:
        """Those of group ``number``."""
        return value.index_select(dim, getattr(self, f"members{number}"))

    def together(self, values: Sequence[Tensor], dim: int = -2) -> Tensor:
        """What the groups gave, in the order of the agents."""
        return torch.cat(list(values), dim).index_select(dim, self.order)


class GroupEncoder(PerGroup, ReadsSparse):
    """``[..., N, D]`` -> ``[..., N, H]``: each group reads the first so many numbers that are its own."""

    def of_agent(self, index: int) -> nn.Module:
        return _Narrow(super().of_agent(index), self.groups[self._place(index)[0]].obs_dim)

    def forward(self, obs: Observation) -> Tensor:
        rows = []
        for number, part in enumerate(self.parts):
            if isinstance(obs, SparseObs):
                mine: Observation = replace(obs, index=self.rows(number, obs.index), value=self.rows(number, obs.value))
            else:
                mine = self.rows(number, obs)
            rows.append(encoded(part, _narrow(mine, self.groups[number].obs_dim)))
        return self.together(rows)


class _Narrow(ReadsSparse):
    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder, self.width = encoder, width

    def forward(self, obs: Observation) -> Tensor:
        return encoded(self.encoder, _narrow(obs, self.width))


def _narrow(obs: Observation, width: int) -> Observation:
    return replace(obs, width=width) if isinstance(obs, SparseObs) else obs[..., :width]


class GroupActor(PerGroup):
    """``[..., N, H]`` -> ``[..., N, P]``, ``-inf`` for what is no action of the group.

    Args:
        groups, parts: see ``PerGroup``.
        width: P.
    """

    def __init__(self, groups: Sequence[Group], parts: Sequence[nn.Module], width: int) -> None:
        super().__init__(groups, [_Wide(part, width) for part in parts])

    def forward(self, features: Tensor) -> Tensor:
        return self.together([part(self.rows(number, features)) for number, part in enumerate(self.parts)])


class _Wide(nn.Module):
    def __init__(self, actor: nn.Module, width: int) -> None:
        super().__init__()
        self.actor, self.width = actor, width

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.actor(features)
        return nn.functional.pad(logits, (0, self.width - logits.shape[-1]), value=-torch.inf)


class GroupMemory(Memory, PerAgent):
    """A memory of one kind with weights for each group; rows are those of N agents, environment by environment."""

    def __init__(self, groups: Sequence[Group], parts: Sequence[Memory]) -> None:
        super().__init__(parts[0].hidden)
        self.state_dim = parts[0].state_dim
        self.each = PerGroup(groups, parts)

    def of_agent(self, index: int) -> nn.Module:
        return self.each.of_agent(index)

    @property
    def _first(self) -> Memory:
        first = self.each.parts[0]
        assert isinstance(first, Memory)
        return first

    def output(self, state: Tensor) -> Tensor:
        return self._first.output(state)

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        out, after = self._through("step", (x, state), (0, 0))
        return out, after

    def unroll(self, x_TRH: Tensor, state_RS: Tensor, first_TR: Tensor) -> tuple[Tensor, Tensor]:
        out, after = self._through("unroll", (x_TRH, state_RS, first_TR), (1, 0, 1))
        return out, after

    def _through(self, verb: str, values: tuple[Tensor, ...], axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Each group's rows through its memory; ``axes`` says which axis of the values counts rows."""
        each, num_agents = self.each, len(self.each.order)
        apart = [value.unflatten(axis, (-1, num_agents)) for value, axis in zip(values, axes, strict=True)]
        outs, states = [], []
        for number, part in enumerate(each.parts):
            mine = [each.rows(number, value, axis + 1) for value, axis in zip(apart, axes, strict=True)]
            rows = [value.flatten(axis, axis + 1) for value, axis in zip(mine, axes, strict=True)]
            out, state = getattr(part, verb)(*rows)
            outs.append(out.unflatten(axes[0], (-1, mine[0].shape[axes[0] + 1])))
            states.append(state.unflatten(0, (-1, mine[0].shape[axes[0] + 1])))
        out = each.together(outs, axes[0] + 1).flatten(axes[0], axes[0] + 1)
        return out, each.together(states, 1).flatten(0, 1)
