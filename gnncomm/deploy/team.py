"""A team of local agents, run the way the world would run them: one environment, one step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gnncomm.channel import Channel
from gnncomm.deploy.agent import LocalAgent, LocalDecision
from gnncomm.deploy.mailbox import Mailbox
from gnncomm.errors import ShapeError
from gnncomm.graph import CommGraph
from gnncomm.moment import Moment
from gnncomm.policy import CommPolicy
from gnncomm.types import SparseObs, TimeStep


def team_of(policy: CommPolicy, num_agents: int) -> list[LocalAgent]:
    """``num_agents`` agents that share the weights of ``policy`` and nothing else."""
    return [LocalAgent(policy, index) for index in range(num_agents)]


def exchange(agents: Sequence[LocalAgent], mailbox: Mailbox) -> None:
    """All rounds of a step: in each, everyone posts, then everyone collects."""
    for _ in range(agents[0].num_rounds):
        for agent in agents:
            mailbox.post(agent.index, agent.say())
        for agent in agents:
            agent.hear(mailbox.collect(agent.index))
        mailbox.close_round()


def run_team(
    agents: Sequence[LocalAgent], timestep: TimeStep, key: int | None = None, env: int = 0
) -> list[LocalDecision]:
    """One step of environment ``env`` of a batched time step: every agent gets its own row of it, and its messages.

    The world decides who could hear whom (topology) and what the medium does (channel), the agents decide who does
    talk (scheduler) and what they say. Agents that are not alive observe zeros and have no edges, as in
    ``CommPolicy.act``; what they decide means nothing. Agents begin a new episode where ``timestep.first``.

    Returns:
        One decision for each agent, in the order of ``agents``.

    Raises:
        ShapeError: ``agents`` are not agents 0 .. N-1 of the environment.
    """
    now = timestep.select(torch.tensor([env], device=timestep.step.device))
    num_agents = now.alive.shape[1]
    if [agent.index for agent in agents] != list(range(num_agents)):
        raise ShapeError(f"Expected the agents 0 .. {num_agents - 1} in order, got {[a.index for a in agents]}.")
    episode, step = int(now.key), int(now.step)
    for agent in agents:
        if bool(now.first):
            agent.reset()
        agent.observe(_own_row(now, agent.index))
    wire = agents[0].policy.wire
    reachable = wire.topology(now.alive, now.pos, now.step, now.key)
    used = _joined([agent.gate(reachable, episode, step) for agent in agents])
    mailbox = _mailbox(used, wire.channel, now)
    exchange(agents, mailbox)
    masks = now.action_mask
    return [
        agent.decide(key, episode, step, None if masks is None or not now.alive[0, i] else masks[0, i])
        for i, agent in enumerate(agents)
    ]


def _own_row(now: TimeStep, index: int) -> Tensor | SparseObs:
    alive = now.alive[0, index]
    if isinstance(now.obs, SparseObs):
        value = torch.where(alive, now.obs.value[0, index], 0.0)
        return SparseObs(now.obs.index[0, index], value, now.obs.width)
    return torch.where(alive, now.obs[0, index], 0.0)


def _joined(outgoing: Sequence[CommGraph]) -> CommGraph:
    """One graph from the outgoing edges of every agent."""

    def joined(parts: list[Tensor | None]) -> Tensor | None:
        given = [part for part in parts if part is not None]
        return torch.cat(given) if given else None

    return CommGraph.from_edge_index(
        torch.cat([graph.edge_index for graph in outgoing], dim=1),
        outgoing[0].num_agents,
        attr=joined([graph.edge_attr for graph in outgoing]),
        weight=joined([graph.edge_weight for graph in outgoing]),
    )


def _mailbox(used: CommGraph, channel: Channel, now: TimeStep) -> Mailbox:
    delivered = channel.deliver(used, Moment(now.key, now.step))
    return Mailbox(delivered, channel, int(now.key), int(now.step))
