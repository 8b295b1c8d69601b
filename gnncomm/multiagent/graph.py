"""Who hears whom in a team of agents on their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gnncomm import channel as channels
from gnncomm import topology as topologies
from gnncomm.channel import Channel
from gnncomm.deploy import Flight, Inbox, Mailbox, speak
from gnncomm.errors import ConfigError, ShapeError
from gnncomm.multiagent.agents import Agent
from gnncomm.multiagent.course import floats, mask
from gnncomm.topology import Topology


class CommunicationGraph:
    """Who hears whom in a team of ``num_agents``, and what the medium does; carries one round of messages.

    What the world decides is here, what an agent decides (whether to talk, and in which code) is in its policy.

    Args:
        num_agents: N.
        topology: a ``gnncomm.topology`` object, or its name such as ``"ring"`` or ``"knn:k=2"``.
        channel: a ``gnncomm.channel`` object, or its name such as ``"loss:p=0.2"``.
    """

    def __init__(self, num_agents: int, topology: Topology | str = "full", channel: Channel | str = "ideal") -> None:
        if num_agents < 1:
            raise ConfigError(f"num_agents must be at least 1, got {num_agents}.")
        self.num_agents = num_agents
        self.topology, self.channel = topologies.resolve(topology), channels.resolve(channel)
        self._flight: Flight = {}

    @torch.no_grad()
    def exchange(
        self, agents: Sequence[Agent], pos: Any = None, alive: Any = None, greedy: bool = False
    ) -> list[Inbox]:
        """Everyone who talks sends; returns what arrived at each agent. Call it once for each round of a step.

        Args:
            agents: the agents 0 .. N-1, all at the same moment.
            pos: ``[N, P]``, for geometric topologies and media that depend on places.
            alive: ``[N]`` bool: nobody hears the others, nor do they hear. None: everybody.
            greedy: whether who decides to talk does so by what is most likely, as in ``select_action``.

        Raises:
            ShapeError: another number of agents, or not these shapes. StateError: the agents have to observe first.
        """
        if [agent.index for agent in agents] != list(range(self.num_agents)):
            raise ShapeError(
                f"This graph is for {self.num_agents} agents, got {len(agents)}: expected agents 0 .. "
                f"{self.num_agents - 1} in order, got {[agent.index for agent in agents]}."
            )
        first, count = agents[0], self.num_agents
        device = first.beliefs.device
        living = (
            torch.ones(count, dtype=torch.bool) if alive is None else mask("alive", alive, (count,), f"[N={count}]")
        )
        living = living.to(device)
        where = None if pos is None else floats("pos", pos, (count, None), f"[N={count}, P]").to(device)
        episode, step = first.moment
        if step == 0 and first.local.round == 0:
            self._flight.clear()
        place = None if where is None else where.unsqueeze(0)
        when = torch.tensor([step], device=device), torch.tensor([episode], device=device)
        reachable, teams = self.topology(living.unsqueeze(0), place, *when), first.local.policy.teams
        reachable = reachable if teams is None else teams.within(reachable)
        mailbox = Mailbox(reachable, self.channel, episode, step, self._flight, where, living)
        mailbox.round = first.local.round
        speak([agent.local for agent in agents], mailbox, reachable, None if greedy else first.seed)
        inboxes = [mailbox.collect(number) for number in range(count)]
        mailbox.close_round()
        return inboxes

    def __repr__(self) -> str:
        return f"CommunicationGraph({self.num_agents}, {self.topology!r}, {self.channel!r})"
