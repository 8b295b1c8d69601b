"""Agents that fail: they fall silent, go deaf, or lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gnncomm.channel.base import Arrival, Channel, Delivery
from gnncomm.channel.links import Links, check_failing, failing
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.moment import Moment


@dataclass(frozen=True)
class _Failing(Channel):
    agents: int | float = 1
    at: int = 0

    def __post_init__(self) -> None:
        check_failing(type(self).__name__, self.agents, self.at)

    def failing(self, num_agents: int, moment: Moment) -> Tensor:
        """``[B, N]`` bool."""
        return failing(self.agents, self.at, num_agents, moment)


@dataclass(frozen=True)
class Silent(_Failing):
    """Some agents are no longer heard, from step ``at`` of the episode on.

    ``agents`` of them (a count, or as a float a share of the team), chosen anew for each episode; where one fails, it
    fails at every larger number, and it is the same ones that fall silent, go deaf, crash or lie.

    Raises:
        ConfigError: ``agents`` is no count and no share, or ``at`` < 0.
    """

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        if self.agents == 0:
            return graph
        links = Links(graph, moment)
        return links.keep(~self.failing(graph.num_agents, moment)[links.environment, links.sender])


@dataclass(frozen=True)
class Deaf(_Failing):
    """Some agents no longer hear anyone, from step ``at`` of the episode on; for the rest see ``Silent``."""

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        if self.agents == 0:
            return graph
        links = Links(graph, moment)
        return links.keep(~self.failing(graph.num_agents, moment)[links.environment, links.receiver])


@dataclass(frozen=True)
class Crashed(_Failing):
    """Some agents neither send nor hear, from step ``at`` on: silent and deaf. They still act, on their own.

    What a crashed body does is the environment's business; for the rest see ``Silent``.
    """

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        if self.agents == 0:
            return graph
        links, failing = Links(graph, moment), self.failing(graph.num_agents, moment)
        return links.keep(~(failing[links.environment, links.sender] | failing[links.environment, links.receiver]))


@dataclass(frozen=True)
class Byzantine(_Failing):
    """Some agents lie, from step ``at`` on, to all who hear them.

    ``kind`` says how: "flip" changes the sign of every number, "scale" multiplies by ``factor``, "constant" says
    ``value`` in every number, "replay" repeats for ever what the agent said in the same round of the first step of
    the episode. For ``agents`` see ``Silent``.

    Raises:
        ConfigError: ``agents`` is no count and no share, ``at`` < 0, an unknown kind, a number that is not finite.
    """

    kind: Literal["flip", "scale", "constant", "replay"] = "flip"
    factor: float = 10.0
    value: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("flip", "scale", "constant", "replay"):
            raise ConfigError(f"Byzantine.kind: expected flip, scale, constant or replay, got {self.kind!r}.")
        for name, number in (("factor", self.factor), ("value", self.value)):
            if not abs(number) < float("inf"):
                raise ConfigError(f"Byzantine.{name}: expected a finite number, got {number}.")

    @property
    def copies(self) -> int:
        return 2 if self.agents else 1

    def state_dim(self, msg_channels: int, num_agents: int) -> int:
        return msg_channels if self.agents and self.kind == "replay" else 0

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        if self.agents == 0:
            return Delivery((Arrival(msg, graph).as_it_came(),), state)
        links = Links(graph, moment)
        lies = self.failing(graph.num_agents, moment)[links.environment, links.sender].expand(links.shape)
        if self.kind == "replay":
            state = torch.where((moment.step == 0).view(-1, 1, 1), msg, state)
        honest = Arrival(msg, graph.keep(~lies)).as_it_came()
        lie = Arrival(self._lie(msg, state), graph.keep(lies), fresh=self.kind in ("flip", "scale"))
        return Delivery((honest, lie), state)

    def _lie(self, msg: Tensor, first: Tensor) -> Tensor:
        if self.kind == "flip":
            return -msg
        if self.kind == "scale":
            return self.factor * msg
        return torch.full_like(msg, self.value) if self.kind == "constant" else first
