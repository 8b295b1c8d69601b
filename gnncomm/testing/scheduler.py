"""The laws of a scheduler: it takes edges away, and knows what its ``decider`` says."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.graph import CommGraph
from gnncomm.schedule import Decider, Schedule, Scheduler, Situation
from gnncomm.testing.law import require, require_bits
from gnncomm.topology import Gossip
from gnncomm.types import Moment

_LAW = "schedule"
_ROW = ("environment", "agent")
ENVS = 3
STEPS = 4


@torch.no_grad()
def check_scheduler(scheduler: Scheduler, msg_channels: int = 8, num_agents: int = 5) -> None:
    """What every scheduler promises, for one of your own, too; ``check_policy`` tries it in a team.

    Works on a copy, in float64, in the mode that it is in, over some steps of which each finds the state of the last.

    * It adds no edge, and decides the same again; an environment alone is decided alike.
    * An edge reads the rows that ``decider`` says: ``nobody``'s, its ``sender``'s, its ``receiver``'s and what was
      announced, or what was ``announced`` alone. Only the ``team`` may read all.
    * What is read of a sender, and what it carries on, is made of its own rows.

    Args:
        scheduler: yours or ours.
        msg_channels: M; rows are ``scheduler.in_channels`` wide, or as wide.
        num_agents: N.

    Raises:
        LawError: names the law, the tensor and the agent.
    """
    subject = copy.deepcopy(scheduler).double()
    width = msg_channels if scheduler.in_channels is None else scheduler.in_channels
    state = torch.zeros(ENVS, num_agents, subject.carried_dim(msg_channels), dtype=torch.float64)
    for step in range(STEPS):
        now = _situation(step, width, msg_channels, num_agents, state)
        want: Schedule = subject(now)
        _check_edges(subject, now, want)
        _check_alone(subject, now, want)
        _check_rows(subject, now, want)
        state = want.state


def _situation(step: int, width: int, msg_channels: int, num_agents: int, state: Tensor) -> Situation:
    def rows(number: int, channels: int) -> Tensor:
        count = torch.arange(ENVS * num_agents * channels)
        return random.normal(number, step, count, dtype=torch.float64).view(ENVS, num_agents, channels)

    key, alive = torch.arange(ENVS), torch.ones(ENVS, num_agents, dtype=torch.bool)
    graph = Gossip(2)(alive, step=torch.full_like(key, step), key=key)
    moment = Moment(key, torch.full_like(key, step), 0, rows(11, 2), alive)
    return Situation(rows(12, width), rows(13, msg_channels), graph, state, moment, key=0)


def _check_edges(scheduler: Scheduler, now: Situation, want: Schedule) -> None:
    extra = (want.graph.dense & ~now.graph.dense).nonzero()
    if len(extra):
        env, sender, receiver = extra[0].tolist()
        require(False, _LAW, f"environment {env}: {sender} -> {receiver} is used, which the topology does not give.")
    _require_same(want, scheduler(now), torch.ones_like(want.graph.dense), "it was decided again")


def _check_alone(scheduler: Scheduler, now: Situation, want: Schedule) -> None:
    row = torch.tensor([ENVS - 1])
    graph, moment = now.graph.select(row), now.moment.select(row)
    got: Schedule = scheduler(Situation(now.h[row], now.msg[row], graph, now.state[row], moment, now.key))
    why = "the last environment was alone"
    require_bits(_LAW, "edges", got.graph.dense, want.graph.dense[row], _ROW, why)


def _check_rows(scheduler: Scheduler, now: Situation, want: Schedule) -> None:
    decider, num_agents = scheduler.decider, now.h.shape[1]
    if decider is Decider.TEAM:
        return
    announced = scheduler.announce(now.h)
    for agent in range(num_agents):
        mine = (torch.arange(num_agents) == agent).view(1, -1, 1)
        edges = torch.zeros_like(want.graph.dense)
        if decider is Decider.RECEIVER:
            edges[:, :, agent] = True
        elif decider is Decider.SENDER:
            edges[:, agent] = True
        else:
            edges[:] = True
        own = mine if decider in (Decider.SENDER, Decider.RECEIVER) else torch.zeros_like(mine)
        for factor in (torch.nan, 1e3):
            spoilt = replace(
                now,
                h=torch.where(own, now.h, factor * now.h),
                msg=torch.where(mine, now.msg, factor * now.msg),
                state=torch.where(mine, now.state, factor * now.state),
                announced=announced,
            )
            why = f"only rows changed that a decision of {decider} does not read"
            _require_same(want, scheduler(spoilt), edges, why)
            if decider in (Decider.NOBODY, Decider.SENDER):
                got: Schedule = scheduler(spoilt)
                why = f"only the messages and rows of others than agent {agent} were other ones"
                require_bits(_LAW, "what is read", got.msg[:, agent], want.msg[:, agent], _ROW[:1], why)
                require_bits(_LAW, "what is carried on", got.state[:, agent], want.state[:, agent], _ROW[:1], why)


def _require_same(want: Schedule, got: Schedule, edges: Tensor, why: str) -> None:
    def used(graph: CommGraph) -> Tensor:
        return graph.dense & edges

    require_bits(_LAW, "edges", used(got.graph), used(want.graph), ("environment", "sender", "receiver"), why)
