"""The single-environment interface."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gnncomm.envs.frame.note import _EASIER

from gnncomm import envs
from gnncomm.envs import MultiAgentEnv
from gnncomm.errors import ActionError, ConfigError, StateError


def test_the_loop_of_the_note() -> None:
    env = MultiAgentEnv(num_agents=5, grid_size=10)
    assert (env.num_agents, env.state_dim, env.action_dim) == (5, 8, 5)
    assert env.success is None
    for _ in range(2):
        observations, done, steps = env.reset(), False, 0
        assert observations.shape == (5, 8)
        while not done:
            observations, rewards, done = env.step(env.env.ceiling_action()[0])
            assert observations.shape == (5, 8)
            assert rewards.shape == (5,)
            assert type(done) is bool
            steps += 1
        assert env.success is True
        assert 1 < steps < 50


@pytest.mark.parametrize("scenario", envs.names())
def test_every_scenario_agrees_with_the_batched_environment(scenario: str) -> None:
    """Same seed and actions: the same numbers, over two episodes of each class and the first steps of each setting."""
    whole, config = "/" not in scenario, envs.make(scenario).config  # type: ignore[attr-defined]
    settings = {"max_steps": 12} if whole and "max_steps" in config else {}
    settings |= {} if whole else {"num_agents": config["num_agents"]}
    env = MultiAgentEnv(scenario=scenario, seed=7, **settings)
    twin = envs.make(scenario, num_envs=1, **{**_EASIER.get(scenario, {}), "num_agents": 5, **settings})
    for episode in range(2 if whole else 1):
        step = twin.reset(seed=7) if episode == 0 else twin.reset()
        observations = env.reset()
        assert torch.equal(observations, step.obs[0])
        done = False
        while not done and (whole or int(step.step) < 3):
            action = twin.floor_action(step.key)
            observations, rewards, done = env.step(action[0])
            step = twin.step(action)
            assert torch.equal(observations, step.obs[0])
            assert torch.equal(rewards, step.reward[0])
            assert done == bool(step.done)
        assert env.success == (bool(step.success) if done else None)


def test_seed_none_is_seed_zero() -> None:
    assert torch.equal(MultiAgentEnv().reset(), MultiAgentEnv(seed=0).reset())
    assert not torch.equal(MultiAgentEnv().reset(), MultiAgentEnv(seed=1).reset())


def test_kinds_of_actions() -> None:
    outcomes = []
    for kind in (list, tuple, np.array, torch.tensor, lambda a: np.array(a, dtype=np.int32)):
        env = MultiAgentEnv(seed=3)
        env.reset()
        outcomes.append(env.step(kind([0, 1, 2, 3, 4]))[0])
    assert all(torch.equal(outcomes[0], other) for other in outcomes[1:])


@pytest.mark.parametrize(
    "actions",
    [[0, 1, 2, 3], [0, 1, 2, 3, 5], [0, 1, 2, 3, -1], [0.0] * 5, [True] * 5, [[0]] * 5, [[0], [1, 2]], "up", None, 3],
)
def test_bad_actions(actions: Any) -> None:
    env = MultiAgentEnv()
    env.reset()
    with pytest.raises(ActionError, match="expected"):
        env.step(actions)


def test_step_after_the_end() -> None:
    env = MultiAgentEnv(scenario="relay")
    env.reset()
    assert env.step([0] * 5)[2] is True
    with pytest.raises(StateError):
        env.step([0] * 5)


def test_grid_size_is_each_scenarios_own() -> None:
    assert MultiAgentEnv(3, 7, "predator_prey").env.config["dim"] == 7  # type: ignore[attr-defined]
    assert MultiAgentEnv(3, 7).env.config["dim"] == 7  # type: ignore[attr-defined]
    assert MultiAgentEnv(3, None, "relay").num_agents == 3
    with pytest.raises(ConfigError, match="grid_size: expected None for 'relay'"):
        MultiAgentEnv(3, 7, "relay")
    with pytest.raises(ConfigError, match="dim"):
        MultiAgentEnv(3, 0)
    with pytest.raises(ConfigError, match="Did you mean 'chemical'"):
        MultiAgentEnv(scenario="chemica")
    with pytest.raises(ConfigError, match="Did you mean 'team'"):
        MultiAgentEnv(tean=2)


def test_a_reset_in_the_middle_begins_the_next_episode() -> None:
    env = MultiAgentEnv()
    first = env.reset()
    env.step([4] * 5)
    assert not torch.equal(env.reset(), first)
    assert "Chemical" in repr(env)
    assert bool(env.timestep.first)


def test_reset_by_seed() -> None:
    """Episodes are those of an environment that was made with the seed, and go on from there."""
    env, other = MultiAgentEnv(seed=1), MultiAgentEnv(seed=5)
    env.reset()
    env.step([4] * 5)
    assert torch.equal(env.reset(seed=5), other.reset())
    assert torch.equal(env.reset(), other.reset())
    fresh = MultiAgentEnv()
    assert torch.equal(fresh.reset(seed=1), MultiAgentEnv(seed=1).reset())


def test_it_can_be_seen() -> None:
    """In the 5 x 5 world of two blind predators each stands where its row of the picture says."""
    env = MultiAgentEnv(2, 5, "predator_prey", seed=3)
    env.reset()
    text = env.render()
    assert isinstance(text, str)
    grid = [line for line in text.splitlines() if line][:5]
    place = env.env.scene().agents[0].long().tolist()
    symbols = [grid[row].replace(" ", "")[column] for row, column in place]
    assert symbols == ["0", "1"] or place[0] == place[1]
    picture = env.render("array", cell=8)
    assert isinstance(picture, np.ndarray)
    assert (picture.shape, picture.dtype) == ((40, 40, 3), np.uint8)
    (row, column), (other_row, other_column) = place
    middle = [picture[8 * y + 4, 8 * x + 4].tolist() for y, x in ((row, column), (other_row, other_column))]
    assert middle == [[0, 114, 178], [213, 94, 0]], "the colours of agents 0 and 1"
    with pytest.raises(ConfigError, match="mode"):
        env.render("human")
    with pytest.raises(ConfigError, match="cell"):
        env.render("array", cell=1)


def test_many_of_the_same() -> None:
    env = MultiAgentEnv(3, 6, "predator_prey", vision=0)
    many = env.vector(7)
    assert (many.num_envs, many.num_agents) == (7, 3)
    assert many.config == env.env.config  # type: ignore[attr-defined]


def test_an_end_by_the_clock_is_told_from_one_by_the_rules() -> None:
    env = MultiAgentEnv(2, 9, max_steps=3)
    env.reset()
    assert [(env.step([4, 4])[2], env.truncated) for _ in range(3)] == [(False, False), (False, False), (True, True)]
    env.reset()
    assert not env.truncated
    relay = MultiAgentEnv(scenario="relay")
    relay.reset()
    assert relay.step([0] * 5)[2]
    assert not relay.truncated
