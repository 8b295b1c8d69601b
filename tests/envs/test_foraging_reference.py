"""Side by side with the package lbforaging: rules step by step, and where episodes begin as distributions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency
from torch import Tensor

from envs.foraging import Foraging

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    reference = pytest.importorskip("lbforaging.foraging.environment")

STEPS = 1010
CONFIGS: dict[str, dict[str, Any]] = {
    "8x8-3p-3f": {},
    "8x8-2p-3f-coop": {"num_agents": 2, "force_coop": True},
    "8x8-3p-3f-s2": {"sight": 2},
    "10x10-4p-2f-coop-s2": {"size": 10, "num_agents": 4, "max_food": 2, "sight": 2, "force_coop": True},
    "5x5-4p-1f": {"size": 5, "num_agents": 4, "max_food": 1},
    "6x6-6p-2f-s1-penalty": {"size": 6, "num_agents": 6, "max_food": 2, "sight": 1, "penalty": 0.1},
    "6x9-3p-4f-raw": {"size": 6, "columns": 9, "max_food": 4, "sight": 3, "normalize_reward": False},
    "7x7-levels": {
        "size": 7,
        "max_player_level": [1, 2, 3],
        "min_food_level": [1, 2],
        "max_food_level": [2, 4],
        "max_food": 2,
    },
    "8x8-blind-levels": {"observe_agent_levels": False, "sight": 4, "max_player_level": 5, "penalty": 0.05},
    "3x3-1p-1f": {"size": 3, "num_agents": 1, "max_food": 1, "sight": 0},
}


def theirs(env: Foraging) -> Any:
    config = env.config
    made = reference.ForagingEnv(
        players=env.num_agents,
        min_player_level=config["min_player_level"],
        max_player_level=config["max_player_level"],
        min_food_level=config["min_food_level"],
        max_food_level=config["max_food_level"],
        field_size=(env.rows, env.columns),
        max_num_food=env.max_food,
        sight=env.sight,
        max_episode_steps=env.max_steps,
        force_coop=config["force_coop"],
        normalize_reward=env.normalize_reward,
        observe_agent_levels=env.observe_agent_levels,
        penalty=env.penalty,
    )
    if env.rows != env.columns:  # it exchanges the bounds of y and x, and then refuses its own observations
        wide = reference.gym.spaces.Box(-np.inf, np.inf, made.observation_space[0].shape, np.float32)
        made.observation_space = reference.gym.spaces.Tuple([wide] * env.num_agents)
    return made


def saved(env: Foraging, other: Any) -> dict[str, Tensor]:
    """Our saved state with the field and players of theirs."""
    state = env.state_dict()
    cells = np.argwhere(other.field > 0)
    food = np.zeros((env.max_food, 2), dtype=np.int64)
    food[: len(cells)] = cells
    level = other.field[food[:, 0], food[:, 1]]
    place = np.array([player.position for player in other.players])
    parts = {
        "player": place[:, 0] * env.grid.stride + place[:, 1],
        "level": [player.level for player in other.players],
        "food": food[:, 0] * env.grid.stride + food[:, 1],
        "food_level": level,
    }
    state |= {f"state.{name}": torch.tensor(np.array(part, dtype=np.int32))[None] for name, part in parts.items()}
    state["state.spawned"] = torch.tensor([int(other.field.sum())], dtype=torch.int32)
    return state


def field(env: Foraging) -> np.ndarray[Any, Any]:
    scene, state = env.scene(), env.state_dict()
    made = np.zeros((env.rows, env.columns), dtype=np.int64)
    for (row, column), level in zip(
        scene.entities["food"][0].long().tolist(), state["state.food_level"][0].tolist(), strict=True
    ):
        made[row, column] += level
    return made


def some_action(generator: np.random.Generator, mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Uniform over all six, or over those at hand with loading preferred, so that food is eaten, too."""
    anything = generator.integers(0, 6, len(mask))
    wise = np.array([5 if row[5] else generator.choice(np.flatnonzero(row)) for row in mask])
    return np.where(generator.random(len(mask)) < 0.5, anything, wise)


@pytest.mark.parametrize("name", CONFIGS)
def test_step_by_step(name: str) -> None:
    """10,100 random steps in all. Every episode begins where theirs does."""
    env, generator, eaten = Foraging(**CONFIGS[name]), np.random.default_rng(0), 0
    env.reset(seed=0)
    begin, done, seed = theirs(env), True, 0
    for _ in range(STEPS):
        if done:
            begin = theirs(env)  # a second reset of one instance would remember where the players were
            seen, _ = begin.reset(seed=seed)
            env.reset(seed=seed)
            step = env.load_state_dict(saved(env, begin))
            seed += 1
            assert np.array_equal(step.obs[0].numpy(), np.stack(seen))  # type: ignore[index]
        assert step.action_mask is not None
        action = some_action(generator, step.action_mask[0].numpy())
        seen, reward, done, _, _ = begin.step([int(a) for a in action])
        step = env.step(torch.tensor(action)[None])
        assert step.pos is not None
        assert step.pos[0].tolist() == [list(map(float, player.position)) for player in begin.players]
        assert np.array_equal(field(env), begin.field)
        assert step.reward.dtype == torch.float32
        assert np.array_equal(step.reward[0].numpy(), np.array(reward, dtype=np.float64).astype(np.float32))
        assert bool(step.done) == done
        assert bool(step.terminated) == (begin.field.sum() == 0)
        assert np.array_equal(step.obs[0].numpy(), np.stack(seen))  # type: ignore[index]
        mask = [[action in begin._valid_actions[player] for action in reference.Action] for player in begin.players]
        assert step.action_mask is not None
        assert step.action_mask[0].tolist() == mask
        eaten += any(one > 0 for one in reward)
    assert seed > STEPS / 51
    assert eaten > 0 or env.config["force_coop"]


SMALL: dict[str, Any] = {
    "size": 5,
    "num_agents": 2,
    "max_food": 2,
    "min_food_level": [1, 2],
    "max_player_level": [1, 3],
}
RESETS = 3000


def test_beginnings_have_the_same_distribution() -> None:
    """Cells and levels of players, cells and levels of food, and how much of it found a place."""
    env = Foraging(num_envs=4 * RESETS, **SMALL)
    env.reset(seed=0)
    state = env.state_dict()
    other = theirs(env)
    rows = []
    for seed in range(RESETS):
        for player in other.players:
            player.position = None  # otherwise the next reset avoids it
        other.reset(seed=seed)
        cells = np.argwhere(other.field > 0)
        rows.append(
            (
                tuple(int(place[0] * 5 + place[1]) for place in (player.position for player in other.players)),
                tuple(int(player.level) for player in other.players),
                tuple((int(r), int(c)) for r, c in cells),
                tuple(int(other.field[r, c]) for r, c in cells),
            )
        )
    places = env.positions(env._current("test")).long()
    food = env.scene().entities["food"].long()
    mine = []
    for b in range(env.num_envs):
        there = sorted(
            (*place, level)
            for place, level in zip(food[b].tolist(), state["state.food_level"][b].tolist(), strict=True)
            if level > 0
        )
        mine.append(
            (
                tuple(r * 5 + c for r, c in places[b].tolist()),
                tuple(state["state.level"][b].tolist()),
                tuple((r, c) for r, c, _ in there),
                tuple(level for *_, level in there),
            )
        )
    for what in (
        lambda row: row[0][0],
        lambda row: row[0][1],
        lambda row: (row[0][0] // 5 - row[0][1] // 5, row[0][0] % 5 - row[0][1] % 5),
        lambda row: row[1],
        lambda row: row[2],
        lambda row: (row[1], row[3]),
        lambda row: len(row[2]),
        lambda row: sum(cell == 6 for cell in row[0]) + 10 * sum(cell == (1, 1) for cell in row[2]),
    ):
        kinds = sorted({what(row) for row in rows + mine})
        counts = np.array([[sum(what(row) == kind for row in some) for kind in kinds] for some in (rows, mine)])
        common = counts[:, counts.sum(0) >= 30]
        rare = counts.sum(1) - common.sum(1)
        table = np.concatenate([common, rare[:, None]], 1) if rare.sum() else common
        assert len(table[0]) > 1
        assert chi2_contingency(table).pvalue > 1e-4, kinds
    assert {len(row[2]) for row in rows} == {len(row[2]) for row in mine} == {1, 2}
