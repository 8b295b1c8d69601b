"""Agents that fail: they fall silent, go deaf, or lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gnncomm.channel.base import Arrival, Channel, Delivery
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.random import stream, uniform
from gnncomm.types import Moment


@dataclass(frozen=True)
class _Failing(Channel):
    agents: int | float = 1
    at: int = 0

    def __post_init__(self) -> None:
        name = type(self).__name__
        if isinstance(self.agents, float) and not 0 <= self.agents <= 1:
            raise ConfigError(
                f"{name}.agents: expected a count such as 1 or a share from 0.0 to 1.0, got {self.agents}."
            )
        if self.agents < 0:
            raise ConfigError(f"{name}.agents: expected a count of at least 0, got {self.agents}.")
        if self.at < 0:
            raise ConfigError(f"{name}.at is a step of the episode: expected at >= 0, got {self.at}.")

    def failing(self, num_agents: int, moment: Moment) -> Tensor:
        """``[B, N]`` bool: agents that fail in this episode and have begun to.

        They come first in an order of the agents that is drawn with the episode's key. So more ``agents`` fail as well,
        and all kinds of failure strike the same ones. A share (float) is rounded to the nearest count.
        """
        count = round(self.agents * num_agents) if isinstance(self.agents, float) else self.agents
        score_BN = uniform(
            stream(moment.key, "failing").unsqueeze(-1),
            torch.arange(num_agents, device=moment.key.device),
            dtype=torch.float64,
        )
        rank_BN = score_BN.argsort(dim=-1, stable=True).argsort(-1)
        return (rank_BN < count) & (moment.step >= self.at).unsqueeze(-1)


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
        return graph.keep_where(sender=~self.failing(graph.num_agents, moment))


@dataclass(frozen=True)
class Deaf(_Failing):
    """Some agents no longer hear anyone, from step ``at`` of the episode on; for the rest see ``Silent``."""

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        if self.agents == 0:
            return graph
        return graph.keep_where(receiver=~self.failing(graph.num_agents, moment))


@dataclass(frozen=True)
class Crashed(_Failing):
    """Some agents neither send nor hear, from step ``at`` on: silent and deaf. They still act, on their own.

    What a crashed body does is the environment's business; for the rest see ``Silent``.
    """

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        if self.agents == 0:
            return graph
        works = ~self.failing(graph.num_agents, moment)
        return graph.keep_where(sender=works, receiver=works)


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

    def carried_dim(self, msg_channels: int, num_agents: int) -> int:
        return msg_channels if self.agents and self.kind == "replay" else 0

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        if self.agents == 0:
            return Delivery((Arrival(msg, graph),), state)
        lies = self.failing(graph.num_agents, moment)
        if self.kind == "replay":
            state = torch.where((moment.step == 0).view(-1, 1, 1), msg, state)
        honest = Arrival(msg, graph.keep_where(sender=~lies))
        lie = Arrival(
            self._lie(msg, state), graph.keep_where(sender=lies, self_loops=False), fresh=self.kind in ("flip", "scale")
        )
        return Delivery((honest, lie), state)

    def _lie(self, msg: Tensor, first: Tensor) -> Tensor:
        if self.kind == "flip":
            return -msg
        if self.kind == "scale":
            return self.factor * msg
        return torch.full_like(msg, self.value) if self.kind == "constant" else first
