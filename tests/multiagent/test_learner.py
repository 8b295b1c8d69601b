"""The learner and the loop written out by hand choose the same, and the learner learns to use what it is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm import Agent, CommunicationGraph, MultiAgentLearner, random
from gnncomm.deploy import Inbox
from gnncomm.envs import MultiAgentEnv
from gnncomm.errors import ConfigError, NonFiniteError, ShapeError, StateError
from gnncomm.learn import PPOConfig
from gnncomm.topology import Ring


def learner(**changes: Any) -> MultiAgentLearner:
    settings = {"num_agents": 4, "state_dim": 3, "action_dim": 5, "hidden": 16, "horizon": 40, "segment": 5}
    made = MultiAgentLearner(**settings | changes)
    torch.nn.init.normal_(made.policy.actor.weight, generator=torch.Generator().manual_seed(1))
    return made


def observation(episode: int, step: int) -> Tensor:
    agent, number = torch.arange(4).unsqueeze(-1), torch.arange(3)
    return random.normal(7, episode, step, agent, number)


def by_hand(agents: list[Agent], graph: CommunicationGraph, obs: Tensor) -> list[int]:
    """The loop of the design note."""
    for agent, message in zip(agents, graph.exchange(agents), strict=True):
        agent.update_beliefs(message)
    return [agent.select_action(seen) for agent, seen in zip(agents, obs, strict=True)]


@pytest.mark.parametrize(
    ("topology", "comm"),
    [
        ("full", "attention"),
        ("ring", "mean"),
        ("line", "gatv2"),
        ("empty", "attention"),
        ("full & ring | star", "mean"),
        ("full", "gatv2"),
    ],
)
def test_the_loop_by_hand_chooses_what_step_chooses(topology: str, comm: str) -> None:
    """Four episodes of different lengths, 31 steps in all: before the first update of the weights."""
    joint, separate = learner(topology=topology, comm=comm), learner(topology=topology, comm=comm)
    graph = CommunicationGraph(4, topology=topology)
    chosen: list[tuple[int, ...]] = []
    for episode, length in enumerate((9, 4, 12, 6)):
        for step in range(length):
            obs = observation(episode, step)
            wanted = joint.step(obs).tolist()
            joint.update(torch.zeros(4), done=step == length - 1)
            assert by_hand(separate.agents, graph, obs) == wanted
            chosen.append(tuple(wanted))
        for agent in separate.agents:
            agent.reset()
    assert len(set(chosen)) > 20, "agents that always do the same show nothing"


def test_the_loop_by_hand_follows_the_learner_through_its_updates() -> None:
    """The agents of a learner stand where it stands, with the weights it has now."""
    team = learner(topology="ring", horizon=10)
    graph = CommunicationGraph(4, topology="ring")
    updates = 0
    for step in range(45):
        obs = observation(0, step)
        learns = step > 0 and step % 10 == 0
        wanted = None if learns else by_hand(team.agents, graph, obs)
        action = team.step(obs).tolist()  # learns when the horizon is full, and then acts with the new weights
        updates += learns
        assert wanted is None or action == wanted
        team.update(torch.full((4,), float(step % 3)), done=step % 7 == 6)
    assert team.learner.updates == updates == 4


def test_messages_reach_only_who_hears() -> None:
    """On a line 0 - 1 - 2 - 3 what agent 0 saw is with agent 1 a step later, and with agent 3 after three."""
    beliefs: list[list[Tensor]] = []
    for shift in (0.0, 5.0):
        team = learner(topology="line")
        graph = CommunicationGraph(4, topology="line")
        seen = []
        for step in range(4):
            obs = observation(0, step)
            obs[0] += shift if step == 0 else 0.0
            by_hand(team.agents, graph, obs)
            seen.append(torch.stack([agent.beliefs.clone() for agent in team.agents]))
        beliefs.append(seen)
    differs = [[not a[i].equal(b[i]) for i in range(4)] for a, b in zip(*beliefs, strict=True)]
    assert differs == [[i <= step for i in range(4)] for step in range(4)]


def matching(team: MultiAgentLearner, episodes: int, seed: int) -> float:
    """Agent 0 sees one of two signs at the first step; at the second, agent 1 must name it. The share of successes."""
    solved = 0
    for episode in range(episodes):
        sign = int(random.integers(seed, 2, episode))
        blank = torch.zeros(2, 3)
        blank[:, 2] = 1
        first = blank.clone()
        first[0, sign] = 1
        team.step(first)
        team.update([0.0, 0.0])
        right = int(team.step(blank)[1]) == sign
        solved += right
        team.update([float(right)] * 2, done=True)
    return solved / episodes


@pytest.mark.slow
def test_the_team_learns_to_tell_and_to_listen() -> None:
    shared = {"num_agents": 2, "state_dim": 3, "action_dim": 2, "hidden": 16, "horizon": 200, "segment": 4}
    ppo = PPOConfig(lr=1e-2, lr_schedule="constant", minibatches=2)
    team = MultiAgentLearner(ppo=ppo, **shared)  # type: ignore[arg-type]
    matching(team, 1000, seed=1)
    assert matching(team, 100, seed=2) > 0.9
    deaf = MultiAgentLearner(topology="empty", ppo=ppo, **shared)  # type: ignore[arg-type]
    matching(deaf, 150, seed=1)
    assert abs(matching(deaf, 100, seed=2) - 0.5) < 4 * (0.25 / 100) ** 0.5


def run(team: MultiAgentLearner, env: MultiAgentEnv, episodes: int, tell: bool) -> list[list[int]]:
    actions = []
    for _ in range(episodes):
        observations, done = env.reset(), False
        while not done:
            action = team.step(observations)
            actions.append(action.tolist())
            observations, rewards, done = env.step(action)
            team.update(rewards, done) if tell else team.update(rewards)
    return actions


@pytest.mark.parametrize("tell", [True, False])
def test_the_loop_of_the_design_note_runs_and_is_a_function_of_its_seed(tell: bool) -> None:
    def once(seed: int) -> tuple[list[list[int]], dict[str, float], list[Tensor]]:
        env = MultiAgentEnv(num_agents=3, grid_size=5, max_steps=15)
        team = MultiAgentLearner(3, env.state_dim, env.action_dim, hidden=8, horizon=30, segment=10, seed=seed)
        return run(team, env, 3, tell), team.metrics, [p.detach().clone() for p in team.policy.parameters()]

    actions, metrics, weights = once(0)
    again, metrics_again, weights_again = once(0)
    assert actions == again
    assert metrics == metrics_again
    assert metrics, "it must have learned something"
    assert all(a.equal(b) for a, b in zip(weights, weights_again, strict=True))
    assert once(1)[0] != actions


def test_done_ends_the_return_and_clears_the_beliefs() -> None:
    team = learner()
    team.step(observation(0, 0))
    team.update(torch.zeros(4))
    assert any(agent.beliefs.any() for agent in team.agents)
    team.step(observation(0, 1))
    team.update(torch.zeros(4), done=True)
    assert not any(agent.beliefs.any() for agent in team.agents)
    assert [agent.episode for agent in team.agents] == [1] * 4
    assert [agent.time for agent in team.agents] == [0] * 4


def test_what_the_learner_learns_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time becomes [segment, horizon / segment]; each segment begins where the one before it ended."""
    team = learner(horizon=6, segment=3)
    rollouts: list[Any] = []

    def keep(rollout: Any) -> dict[str, float]:
        rollouts.append(rollout)
        return {}

    monkeypatch.setattr(team.learner, "update", keep)
    for step in range(7):
        team.step(torch.full((4, 3), float(step)))
        team.update(torch.full((4,), 10.0 + step), done=step == 1)
    (rollout,) = rollouts
    assert rollout.timestep.obs[..., 0, 0].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert rollout.reward[..., 0].tolist() == [[10, 13], [11, 14], [12, 15]]
    assert rollout.done.tolist() == [[False, False], [True, False], [False, False]]
    assert rollout.discount[..., 2].tolist() == [[1, 1], [0, 1], [1, 1]]
    assert rollout.timestep.first.tolist() == [[True, False], [False, False], [True, False]]
    assert rollout.next_value[:-1].equal(rollout.value[1:])
    assert rollout.next_value[-1, 0].equal(rollout.value[0, 1]), "the next segment goes on where this one ends"
    assert not rollout.state.memory[0].any()
    assert rollout.state.memory[1].any()
    evaluation = team.policy.unroll(rollout.timestep, rollout.action, rollout.state)
    torch.testing.assert_close(evaluation.log_prob, rollout.log_prob, rtol=1e-5, atol=1e-6)


def test_an_agent_stands_alone() -> None:
    agent = Agent(3, 5, seed=2)
    assert agent.beliefs.shape == (64,)
    assert not agent.beliefs.any()
    actions = {agent.select_action(torch.randn(3)) for _ in range(40)}
    assert actions <= set(range(5))
    assert len(actions) > 1
    before = agent.beliefs.clone()
    assert before.any()
    message = Agent(3, 5, index=1, seed=2).message()
    agent.update_beliefs(message)
    agent.select_action([0.1, 0.2, 0.3])
    assert not agent.beliefs.equal(before)
    agent.reset()
    assert not agent.beliefs.any()


def test_one_message_several_and_an_inbox_are_the_same_thing() -> None:
    message = torch.randn(2, len(Agent(3, 5).message()))
    chosen = []
    for form in (message, Inbox.of(message)):
        agent = Agent(3, 5)
        agent.update_beliefs(form)
        agent.select_action(torch.ones(3))
        chosen.append(agent.beliefs)
    assert chosen[0].equal(chosen[1])
    alone, listed = Agent(3, 5), Agent(3, 5)
    alone.update_beliefs(message[0])
    listed.update_beliefs(message[:1])
    for agent in (alone, listed):
        agent.select_action(torch.ones(3))
    assert alone.beliefs.equal(listed.beliefs)
    assert not alone.beliefs.equal(chosen[0])


def test_greedy_takes_the_most_likely_action() -> None:
    agents = [Agent(3, 5, seed=seed, policy=learner().policy) for seed in range(20)]
    obs = torch.tensor([0.3, -1.0, 2.0])
    assert len({agent.select_action(obs, greedy=True) for agent in agents}) == 1
    for agent in agents:
        agent.reset()
    assert len({agent.select_action(obs) for agent in agents}) > 1


def test_calls_out_of_order() -> None:
    team = learner()
    with pytest.raises(StateError, match="step"):
        team.update(torch.zeros(4))
    team.step(torch.zeros(4, 3))
    with pytest.raises(StateError, match="twice"):
        team.step(torch.zeros(4, 3))
    team.update(torch.zeros(4))
    with pytest.raises(StateError):
        team.update(torch.zeros(4))


@pytest.mark.parametrize("bad", [torch.zeros(3, 3), torch.zeros(4, 2), torch.zeros(4), torch.zeros(1, 4, 3)])
def test_observations_of_another_shape(bad: Tensor) -> None:
    with pytest.raises(ShapeError, match="N=4, D=3"):
        learner().step(bad)


@pytest.mark.parametrize("bad", [torch.zeros(3), torch.zeros(1, 4), torch.zeros(1), [1.0]])
def test_rewards_of_another_shape(bad: Any) -> None:
    team = learner()
    team.step(torch.zeros(4, 3))
    with pytest.raises(ShapeError, match="N=4"):
        team.update(bad)
    team.update([1, 2, 3, 4])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none(value: float) -> None:
    team = learner()
    obs = torch.zeros(4, 3)
    obs[2, 1] = value
    with pytest.raises(NonFiniteError, match="2"):
        team.step(obs)
    team.step(torch.zeros(4, 3))
    with pytest.raises(NonFiniteError):
        team.update([0.0, value, 0.0, 0.0])
    team.update([0.0, 0.0, 0.0, 0.0])
    with pytest.raises(NonFiniteError):
        team.agents[0].select_action(obs[2])


@pytest.mark.parametrize(
    "changes",
    [
        {"num_agents": 0},
        {"state_dim": 0},
        {"action_dim": -1},
        {"hidden": 0},
        {"segment": 0},
        {"segment": 7},
        {"horizon": 0},
        {"comm": "atention"},
        {"topology": "rnig"},
        {"ppo": PPOConfig(lr_schedule="linear")},
    ],
)
def test_settings_out_of_range(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        learner(**changes)


def test_a_graph_is_for_its_number_of_agents() -> None:
    graph = CommunicationGraph(3, Ring())
    assert "Ring" in repr(graph)
    with pytest.raises(ShapeError, match="3 agents, got 2"):
        graph.exchange([Agent(3, 5), Agent(3, 5, index=1)])
    with pytest.raises(ConfigError):
        CommunicationGraph(0)


def test_what_is_no_rectangle_of_numbers_is_refused() -> None:
    learner = MultiAgentLearner(2, 3, 2)
    for ragged in ([[1.0, 2.0, 3.0], [1.0]], "abc", [[None] * 3] * 2):
        with pytest.raises(ShapeError, match="observations"):
            learner.step(ragged)
    learner.step(torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="rewards"):
        learner.update([1.0, [2.0]])


def test_the_number_of_threads_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        team = learner()
        team.step(torch.zeros(4, 3))
        assert torch.get_num_threads() == 2
        with pytest.raises(StateError):
            team.step(torch.zeros(4, 3))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
