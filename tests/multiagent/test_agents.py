"""Agents on their own choose what the team chooses, whatever is between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gnncomm import Agent, CommunicationGraph, MultiAgentLearner
from gnncomm.errors import ActionMaskError, ConfigError, DtypeError, NonFiniteError, ShapeError, StateError
from gnncomm.types import Box, Group

from .worlds import Shows, lives, masks, moments, nothing, observation, places


def learner(**changes: Any) -> MultiAgentLearner:
    settings = {"num_agents": 4, "state_dim": 3, "action_dim": 5, "hidden": 8, "horizon": 40, "segment": 5}
    made = MultiAgentLearner(**settings | changes)
    torch.manual_seed(1)
    for parameter in made.policy.actor.parameters():
        torch.nn.init.normal_(parameter)
    return made


def by_hand(agents: list[Agent], graph: CommunicationGraph, obs: Any, shown: dict[str, Any]) -> list[Any]:
    """A step of agents that see before they talk, in all rounds; the same where they talk before they see."""
    where = shown.get("positions", [None] * 4)
    for agent, seen, place in zip(agents, obs, where, strict=True):
        agent.observe(seen, place)
    for _ in range(agents[0].local.num_rounds):
        for agent, inbox in zip(
            agents, graph.exchange(agents, shown.get("positions"), shown.get("alive")), strict=True
        ):
            agent.update_beliefs(inbox)
    allowed = shown.get("action_mask", [None] * 4)
    return [agent.select_action(action_mask=mask) for agent, mask in zip(agents, allowed, strict=True)]


CASES: dict[str, tuple[dict[str, Any], Shows]] = {
    "codes": ({"codec": "int4", "comm": "tarmac2", "topology": "ring"}, nothing),
    "losses": ({"channel": "loss:p=0.4 + delay:steps=1", "rounds": 2}, nothing),
    "gate": ({"scheduler": "gate", "integration": "before"}, nothing),
    "after": ({"integration": "after", "agent_id": True, "share": "none"}, masks),
    "places": ({"topology": "radius:r=1.2", "integration": "before", "rounds": 2}, places),
    "deaths": ({"comm": "mean"}, lives),
    "numbers": ({"action_dim": 2, "box": Box(((-1.0, 0.0),) * 4, ((1.0, 2.0),) * 4)}, nothing),
    "teams": ({"groups": (Group("a", (0, 2), 3, 5, "x"), Group("b", (1, 3), 2, 4, "y"))}, nothing),
}


@pytest.mark.parametrize("case", CASES)
def test_step_is_the_loop_of_the_agents(case: str) -> None:
    """Four episodes: every agent that lives chooses the same, from what it saw and what arrived."""
    settings, shows = CASES[case]
    joint, apart = learner(**settings), learner(**settings)
    graph, agents = apart.graph, apart.agents
    chosen = []
    for episode, step, last in moments(0, 19):
        obs, shown = observation(episode, step), shows(episode, step)
        alive = shown.get("alive", torch.ones(4, dtype=torch.bool))
        if step and case == "deaths":
            for agent, now, before in zip(agents, alive, shows(episode, step - 1)["alive"], strict=True):
                if now and not before:
                    agent.local.forget()
        seen = torch.where(alive.unsqueeze(-1), obs, 0.0)
        wanted = joint.step(obs, **shown)
        mine = by_hand(agents, graph, seen, shown)
        for agent in range(4):
            if alive[agent]:
                torch.testing.assert_close(torch.as_tensor(mine[agent]), wanted[agent], rtol=1e-5, atol=1e-6)
        chosen.append(str(wanted.tolist()))
        joint.update(0.0, done=last)
        if last:
            for agent in agents:
                agent.reset()
    assert len(set(chosen)) > 10, "agents that always do the same show nothing"


def test_a_broken_medium_changes_what_is_chosen() -> None:
    """The channel acts on the loop by hand, too: with all messages lost it is the loop on no graph."""
    lost, empty = learner(channel="loss:p=1.0"), learner(topology="empty")
    assert [lost.step(observation(0, 0)).tolist()] == [empty.step(observation(0, 0)).tolist()]
    agents = lost.agents
    inboxes = CommunicationGraph(4, channel="loss:p=1.0").exchange(agents)
    assert [len(inbox.msg) for inbox in inboxes] == [0] * 4
    assert [len(inbox.msg) for inbox in CommunicationGraph(4).exchange(agents)] == [3] * 4
    alive = [True, True, False, True]
    assert [len(inbox.msg) for inbox in CommunicationGraph(4).exchange(agents, alive=alive)] == [2, 2, 0, 2]
    pos = np.array([[0.0, 0], [1, 0], [2, 0], [9, 9]])
    heard = CommunicationGraph(4, "radius:r=1.5").exchange(agents, pos)
    assert [inbox.senders.tolist() for inbox in heard] == [[1], [0, 2], [1], []]


def test_agents_that_see_before_they_talk() -> None:
    agent = Agent(3, 5, integration="after", hidden=8)
    with pytest.raises(StateError, match="observation"):
        agent.message()
    agent.observe([0.0, 1.0, 2.0])
    assert agent.message().isfinite().all()
    with pytest.raises(StateError, match="observed already"):
        agent.select_action([0.0, 1.0, 2.0])
    assert 0 <= agent.select_action() < 5
    with pytest.raises(StateError, match="expected an observation"):
        agent.select_action()


def test_what_an_agent_may_do() -> None:
    agent = Agent(3, 5, hidden=8)
    only = [False, False, False, True, False]
    assert {agent.select_action([0.1, 0.2, 0.3], action_mask=only) for _ in range(9)} == {3}
    with pytest.raises(ActionMaskError):
        agent.select_action([0.1, 0.2, 0.3], action_mask=[False] * 5)
    agent.reset()
    with pytest.raises(ShapeError, match=r"D=3"):
        agent.select_action([0.1, 0.2])
    with pytest.raises(DtypeError, match="bool"):
        agent.select_action([0.1, 0.2, 0.3], action_mask=[1, 1, 1, 1, 1])


def test_a_graph_wants_the_agents_in_order() -> None:
    agents = learner().agents
    with pytest.raises(ShapeError, match="in order"):
        CommunicationGraph(4).exchange(agents[::-1])
    with pytest.raises(ShapeError, match="pos"):
        CommunicationGraph(4).exchange(agents, pos=[[0.0, 0.0]])
    with pytest.raises(ConfigError, match="Did you mean"):
        CommunicationGraph(4, channel="los:p=0.1")
    with pytest.raises(NonFiniteError):
        agents[0].select_action([float("nan")] * 3)
