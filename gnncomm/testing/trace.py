"""What happened on the wire, seen from outside: what topology and scheduler gave, whatever the channel says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gnncomm.graph import CommGraph
from gnncomm.policy import CommPolicy, Decision, PolicyState
from gnncomm.schedule import Decider, Schedule
from gnncomm.types import TimeStep


@dataclass(frozen=True)
class Seen:
    """One step of a team."""

    now: TimeStep
    decision: Decision
    could: Tensor  # [B, N, N] bool: who could hear whom (topology), and each agent itself
    schedules: tuple[Schedule, ...]  # of each round

    def talked(self) -> list[Tensor]:
        """``[B, N, N]`` bool for each round: edges that both topology and scheduler gave."""
        return [self.could & dense_of(schedule.graph, self.could) for schedule in self.schedules]

    def arrived(self, of_any_age: bool) -> list[Tensor]:
        """``[B, N, N]`` bool for each round: edges over which the channel says that something arrived.

        What was said in the round, or with ``of_any_age`` anything.
        """
        talk = self.decision.talk
        return [dense_of(graph, self.could) for graph in (talk.graphs if of_any_age else talk.fresh)]

    def heard(self, decider: Decider) -> list[Tensor]:
        """``[B, N, N]`` bool for each round: edges over which something that was said now may have come.

        Where rows decide who talks, it tells something that an old or false message arrives.
        """
        arrived = self.arrived(of_any_age=decider is not Decider.NOBODY)
        return [talked & came for talked, came in zip(self.talked(), arrived, strict=True)]


def play(policy: CommPolicy, steps: Sequence[TimeStep], state: PolicyState, key: int | None = None) -> Iterator[Seen]:
    """Let ``policy`` decide ``steps``, one after the other, from ``state`` on."""
    for now in steps:
        with _schedules(policy.wire.scheduler) as schedules:
            decision = policy.act(now, state, key)
        graph = policy.wire.topology(now.alive, now.pos, now.step, now.key)
        own = torch.eye(now.alive.shape[1], dtype=torch.bool, device=now.alive.device)
        could = own | graph.dense.expand(len(now.alive), -1, -1)
        yield Seen(now, decision, could, tuple(schedules))
        state = decision.state


@contextmanager
def _schedules(scheduler: nn.Module) -> Iterator[list[Schedule]]:
    found: list[Schedule] = []

    def keep(_module: nn.Module, _inputs: Any, output: Schedule) -> None:
        found.append(output)

    handle = scheduler.register_forward_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


def dense_of(graph: CommGraph, like: Tensor) -> Tensor:
    """``[B, N, N]`` bool."""
    return graph.dense.expand_as(like)


def spread(taint: Tensor, edges: Sequence[Tensor]) -> Tensor:
    """``[B, N, R]`` after the rounds ``edges`` (bool ``[B, N, N]`` each), from ``taint [B, N, R]`` before them."""
    for edge in edges:
        taint = taint | ((edge.transpose(1, 2).float() @ taint.float()) > 0)
    return taint
