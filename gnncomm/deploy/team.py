"""A team of local agents, run the way the world would run them: one environment, one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from gnncomm.deploy.agent import LocalAgent, LocalDecision
from gnncomm.deploy.mailbox import Flight, Mailbox
from gnncomm.errors import ShapeError, StateError
from gnncomm.graph import CommGraph
from gnncomm.policy import CommPolicy
from gnncomm.types import SparseObs, TimeStep


class Team(Sequence[LocalAgent]):
    """Agents that share the weights of a policy and nothing else, and what is in flight between them."""

    def __init__(self, policy: CommPolicy, num_agents: int) -> None:
        self.agents = tuple(LocalAgent(policy, index) for index in range(num_agents))
        self.flight: Flight = {}

    @overload
    def __getitem__(self, index: int) -> LocalAgent: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[LocalAgent, ...]: ...

    def __getitem__(self, index: int | slice) -> LocalAgent | tuple[LocalAgent, ...]:
        return self.agents[index]

    def __len__(self) -> int:
        return len(self.agents)


def team_of(policy: CommPolicy, num_agents: int) -> Team:
    """``num_agents`` agents that share the weights of ``policy`` and nothing else."""
    return Team(policy, num_agents)


def exchange(agents: Sequence[LocalAgent], mailbox: Mailbox) -> None:
    """All rounds of a step: in each, everyone posts, then everyone collects."""
    for _ in range(agents[0].num_rounds):
        for agent in agents:
            mailbox.post(agent.index, agent.say(mailbox.episode, mailbox.step))
        for agent in agents:
            agent.hear(mailbox.collect(agent.index))
        mailbox.close_round()


def run_team(
    agents: Sequence[LocalAgent], timestep: TimeStep, key: int | None = None, env: int = 0
) -> list[LocalDecision]:
    """One step of environment ``env`` of a batched time step: every agent gets its own row of it, and its messages.

    The world decides who could hear whom (topology) and what the medium does (channel), the agents decide who does
    talk (scheduler) and what they say. Agents that are not alive observe zeros and have no edges, as in
    ``CommPolicy.act``; what they decide means nothing. Agents begin a new episode where ``timestep.first``. In
    evaluation mode messages go as bytes.

    Returns:
        One decision for each agent, in the order of ``agents``.

    Raises:
        ShapeError: ``agents`` are not agents 0 .. N-1 of the environment. StateError: the channel has messages in
            flight, and ``agents`` is no ``Team``.
    """
    now = timestep.select(torch.tensor([env], device=timestep.step.device))
    num_agents = now.alive.shape[1]
    if [agent.index for agent in agents] != list(range(num_agents)):
        raise ShapeError(f"Expected the agents 0 .. {num_agents - 1} in order, got {[a.index for a in agents]}.")
    episode, step = int(now.key), int(now.step)
    for agent in agents:
        if bool(now.first):
            agent.reset()
        elif now.entered is not None and bool(now.entered[0, agent.index]):
            agent.forget()
        agent.observe(_own_row(now, agent.index), None if now.pos is None else now.pos[0, agent.index])
    wire = agents[0].policy.wire
    reachable = agents[0].policy.reachable(now)
    flight = _flight(agents, bool(now.first))
    where = None if now.pos is None else now.pos[0]
    mailbox = Mailbox(reachable, wire.channel, episode, step, flight, where, now.alive[0])
    for _ in range(agents[0].num_rounds):
        speak(agents, mailbox, reachable, key)
        for agent in agents:
            agent.hear(mailbox.collect(agent.index))
        mailbox.close_round()
    masks = now.action_mask
    return [
        agent.decide(key, episode, step, None if masks is None or not now.alive[0, i] else masks[0, i])
        for i, agent in enumerate(agents)
    ]


def speak(agents: Sequence[LocalAgent], mailbox: Mailbox, reachable: CommGraph, key: int | None = None) -> None:
    """Half a round: everyone decides whether to talk over ``reachable``, and posts; what they say can be collected.

    ``key`` names the draws of sampled decisions, None takes the most likely ones.
    """
    episode, step = mailbox.episode, mailbox.step
    announced = torch.stack([agent.announce() for agent in agents])
    mailbox.route(_joined([agent.gate(reachable, episode, step, key, announced) for agent in agents]))
    for agent in agents:
        mailbox.post(agent.index, _said(agent, agents[agent.index - 1], episode, step))


def _said(agent: LocalAgent, listener: LocalAgent, episode: int, step: int) -> Tensor:
    """What ``agent`` says as another reads it: from its bytes, but while training or where an old message is read."""
    data = None if agent.policy.training else agent.say_bytes(episode, step)
    return agent.say(episode, step) if data is None else listener.read(data, agent.index, episode, step)


def _own_row(now: TimeStep, index: int) -> Tensor | SparseObs:
    alive = now.alive[0, index]
    if isinstance(now.obs, SparseObs):
        value = torch.where(alive, now.obs.value[0, index], 0.0)
        return SparseObs(now.obs.index[0, index], value, now.obs.width)
    return torch.where(alive, now.obs[0, index], 0.0)


def _joined(outgoing: Sequence[CommGraph]) -> CommGraph:
    """One graph from the edges that each agent decided on."""

    def joined(parts: list[Tensor | None]) -> Tensor | None:
        given = [part for part in parts if part is not None]
        return torch.cat(given) if given else None

    return CommGraph.from_edge_index(
        torch.cat([graph.edge_index for graph in outgoing], dim=1),
        outgoing[0].num_agents,
        attr=joined([graph.edge_attr for graph in outgoing]),
        weight=joined([graph.edge_weight for graph in outgoing]),
    )


def _flight(agents: Sequence[LocalAgent], first: bool) -> Flight:
    """What is in flight between ``agents``."""
    if isinstance(agents, Team):
        if first:
            agents.flight.clear()
        return agents.flight
    policy = agents[0].policy
    if any(policy.wire.channel.carried_dim(layer.msg_channels, len(agents)) for layer in policy.comm.rounds):
        raise StateError(
            f"{type(policy.wire.channel).__name__} has messages in flight from step to step: expected a Team, which "
            f"keeps them, got {type(agents).__name__}. Use team_of()."
        )
    return {}
