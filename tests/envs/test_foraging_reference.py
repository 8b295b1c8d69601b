"""Side by side with the package lbforaging: rules step by step, and where episodes begin as distributions."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from gnncomm.envs.foraging.foraging import Foraging, ForagingState
from scipy.stats import chi2_contingency

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    reference = importlib.import_module("lbforaging.foraging.environment")

STEPS = 1500
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


Moment = dict[str, Any]


def moment(env: Foraging, other: Any, food: np.ndarray[Any, Any], seen: Any) -> Moment:
    """Everything that is to be compared, of their environment now; ``food`` are the cells of this episode."""
    return {
        "pos": np.array([player.position for player in other.players]),
        "level": np.array([player.level for player in other.players]),
        "food": food,
        "food_level": other.field[food[:, 0], food[:, 1]],
        "spawned": int(other._food_spawned),
        "mask": [[action in other._valid_actions[player] for action in reference.Action] for player in other.players],
        "obs": np.stack(seen),
        "left": int(other.field.sum()),
        "t": other.current_step,
    }


def some_action(generator: np.random.Generator, mask: list[list[bool]]) -> list[int]:
    """Uniform over all six, or over those at hand with loading preferred, so that food is eaten, too."""
    wise = [5 if row[5] else int(generator.choice(np.flatnonzero(row))) for row in mask]
    return [int(generator.integers(0, 6)) if generator.random() < 0.5 else one for one in wise]


def played(env: Foraging, steps: int) -> tuple[list[Moment], list[Moment], dict[str, list[Any]]]:
    """Their moments before and after each of ``steps`` random steps, and what was done and given in between."""
    generator, seed, done = np.random.default_rng(0), 0, True
    before: list[Moment] = []
    after: list[Moment] = []
    between: dict[str, list[Any]] = {"action": [], "reward": [], "done": []}
    for _ in range(steps):
        if done:
            other = theirs(env)  # a second reset of one instance would remember where the players were
            seen, _ = other.reset(seed=seed)
            cells = np.argwhere(other.field > 0)
            food = np.zeros((env.max_food, 2), dtype=np.int64)
            food[: len(cells)] = cells
            now, seed = moment(env, other, food, seen), seed + 1
        before.append(now)
        action = some_action(generator, now["mask"])
        seen, reward, done, truncated, _ = other.step(action)
        assert not truncated
        now = moment(env, other, food, seen)
        after.append(now)
        for name, value in (("action", action), ("reward", reward), ("done", done)):
            between[name].append(value)
    return before, after, between


def state_of(env: Foraging, moments: list[Moment]) -> ForagingState:
    together = {
        name: np.array([one[name] for one in moments]) for name in ("pos", "level", "food", "food_level", "spawned")
    }
    numbers = (
        together["pos"][..., 0] * env.grid.stride + together["pos"][..., 1],
        together["level"],
        together["food"][..., 0] * env.grid.stride + together["food"][..., 1],
        together["food_level"],
        together["spawned"],
    )
    return ForagingState(*(torch.tensor(number.astype(np.int32)) for number in numbers))


@pytest.mark.parametrize("name", CONFIGS)
def test_step_by_step(name: str) -> None:
    """15,000 random steps in all: from each of their states our next state and all that is said of it are theirs."""
    env = Foraging(**CONFIGS[name])
    before, after, between = played(env, STEPS)
    action = torch.tensor(between["action"])
    ended = torch.tensor(between["done"])
    time = torch.tensor([one["t"] for one in after])
    new, reward, flags = env.transition(state_of(env, before), action, env.draws(time, time))
    for key, expected in state_of(env, after).tensors().items():
        assert torch.equal(new.tensors()[key], expected), key
    theirs_reward = np.array(between["reward"], dtype=np.float64).astype(np.float32)
    assert reward.dtype == torch.float32
    assert np.array_equal(reward.numpy(), theirs_reward)
    assert flags.terminated.tolist() == [one["left"] == 0 for one in after]
    assert torch.equal(ended, flags.terminated | (time >= env.max_steps))
    for state, moments in ((state_of(env, before), before), (new, after)):
        flat = env.observe(state, "flat")
        assert np.array_equal(np.asarray(flat), np.stack([one["obs"] for one in moments]))
        assert env.allowed(state).tolist() == [one["mask"] for one in moments]
        assert env.positions(state).tolist() == [one["pos"].tolist() for one in moments]
    assert int(ended.sum()) > STEPS / 51 - 1
    assert (theirs_reward > 0).any() or env.config["force_coop"]


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
