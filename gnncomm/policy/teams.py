"""Agents of different teams: no message goes from one to the other, and no reward is shared between them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gnncomm.graph import CommGraph
from gnncomm.types import Group


class Teams(nn.Module):
    """Who belongs to which team.

    Args:
        teams: name of the team of each agent.
    """

    index: Tensor

    def __init__(self, teams: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(dict.fromkeys(teams))
        index = torch.tensor([self.names.index(team) for team in teams])
        self.register_buffer("index", index, persistent=False)  # [N]
        self._first = {name: list(teams).index(name) for name in self.names}

    def within(self, graph: CommGraph) -> CommGraph:
        """The edges between agents of one team; a topology that chose its k nearest has fewer then."""
        return graph.keep_where(pair=(self.index[:, None] == self.index).unsqueeze(0))

    def first(self, name: str) -> int:
        """The first agent of a team."""
        return self._first[name]


def teams_of(groups: Sequence[Group]) -> tuple[str, ...]:
    """The team of each agent; none where there are no groups."""
    team = {member: group.team for group in groups for member in group.members}
    return tuple(team[agent] for agent in sorted(team))
