"""Level-based foraging: rules and quirks by hand, laws, floors, ceiling, bad settings."""

from __future__ import annotations

import json
import math
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from gnncomm.envs.foraging.foraging import Foraging
from gnncomm.envs.foraging.placing import Placing
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.types import TimeStep

FLOORS = json.loads((Path(__file__).parents[1] / "golden" / "envs" / "floors.json").read_text())
NONE, NORTH, SOUTH, WEST, EAST, LOAD = range(6)


def put(
    players: list[tuple[int, int]], levels: list[int], food: dict[tuple[int, int], int], **settings: Any
) -> tuple[Foraging, TimeStep]:
    """One environment with these things in it."""
    env = Foraging(num_agents=len(players), max_food=max(len(food), 1), **{"size": 6, **settings})
    env.reset(seed=0)
    state, stride = env.state_dict(), env.grid.stride
    numbers = {
        "player": [row * stride + column for row, column in players],
        "level": levels,
        "food": [row * stride + column for row, column in food] or [0],
        "food_level": list(food.values()) or [0],
    }
    state |= {f"state.{name}": torch.tensor([one], dtype=torch.int32) for name, one in numbers.items()}
    state["state.spawned"] = torch.tensor([sum(food.values())], dtype=torch.int32)
    return env, env.load_state_dict(state)


def act(env: Foraging, *actions: int) -> TimeStep:
    return env.step(torch.tensor([actions]))


def places(step: TimeStep) -> list[list[float]]:
    assert step.pos is not None
    found: list[list[float]] = step.pos[0].tolist()
    return found


def test_moves_stop_at_borders_and_food() -> None:
    env, step = put([(0, 0), (5, 5), (2, 1)], [1, 1, 1], {(2, 2): 2})
    mask = step.action_mask
    assert mask is not None
    assert mask[0].int().tolist() == [[1, 0, 1, 0, 1, 0], [1, 1, 0, 1, 0, 0], [1, 1, 1, 1, 0, 1]]
    assert places(act(env, NORTH, SOUTH, EAST)) == [[0, 0], [5, 5], [2, 1]]
    assert places(act(env, WEST, EAST, NORTH)) == [[0, 0], [5, 5], [1, 1]]


def test_several_who_head_for_one_cell_stay() -> None:
    env, _ = put([(0, 1), (0, 3), (4, 4)], [1, 1, 1], {(3, 1): 2})
    assert places(act(env, EAST, WEST, NONE)) == [[0, 1], [0, 3], [4, 4]]
    assert places(act(env, EAST, NONE, NONE)) == [[0, 2], [0, 3], [4, 4]]
    assert places(act(env, EAST, NONE, NONE)) == [[0, 2], [0, 3], [4, 4]]  # it is taken by one who stays
    assert places(act(env, EAST, WEST, NONE)) == [[0, 3], [0, 2], [4, 4]]  # a swap is none of these
    assert places(act(env, WEST, WEST, NONE)) == [[0, 2], [0, 1], [4, 4]]  # into a cell that is being left


def test_two_players_can_end_on_one_cell() -> None:
    """B leaves for (0, 2), where C heads, too, so B stays; A, alone in heading for B's cell, arrives there."""
    env, _ = put([(0, 0), (0, 1), (0, 3)], [1, 1, 1], {(3, 1): 2})
    assert places(act(env, EAST, EAST, WEST)) == [[0, 1], [0, 1], [0, 3]]
    assert places(act(env, NONE, NONE, NONE)) == [[0, 1], [0, 1], [0, 3]]
    assert places(act(env, WEST, NONE, NONE)) == [[0, 0], [0, 1], [0, 3]]


def test_loading_needs_the_levels() -> None:
    env, _ = put([(1, 2), (2, 1), (5, 5)], [1, 2, 3], {(2, 2): 3, (4, 4): 1}, penalty=0.25)
    alone = act(env, NONE, LOAD, LOAD)  # level 2 < 3; the third stands beside no food
    assert alone.reward.tolist() == [[0, -0.25, 0]]
    both = act(env, LOAD, LOAD, NORTH)
    third = torch.tensor([1 * 3, 2 * 3, 0], dtype=torch.float64) / (3 * 4)
    assert torch.equal(both.reward[0], third.to(torch.float32))
    assert env.state_dict()["state.food_level"].tolist() == [[0, 1]]
    assert env.scene().active["food"].tolist() == [[False, True]]
    assert not bool(both.terminated)
    last = act(env, EAST, NONE, LOAD)
    assert last.reward.tolist() == [[0, 0, 0.25]]
    assert bool(last.terminated)
    assert bool(last.success)
    assert float(third.sum()) + 0.25 == 1.0
    assert last.discount.tolist() == [[0, 0, 0]]


def test_rewards_that_are_not_normalised() -> None:
    env, _ = put([(1, 2), (2, 1)], [1, 2], {(2, 2): 3, (4, 4): 1}, normalize_reward=False)
    assert act(env, LOAD, LOAD).reward.tolist() == [[3, 6]]


def test_nobody_loads_what_is_gone_and_its_cell_is_free() -> None:
    env, _ = put([(1, 2), (2, 1)], [1, 1], {(2, 2): 1, (4, 4): 1}, penalty=1.0)
    act(env, LOAD, NONE)
    step = act(env, LOAD, EAST)
    assert step.reward.tolist() == [[0, 0]]
    assert places(step) == [[1, 2], [2, 2]]


def test_the_time_limit_truncates() -> None:
    env, step = put([(0, 0)], [1], {(2, 2): 1}, max_steps=2)
    act(env, NONE)
    step = act(env, NONE)
    assert (bool(step.terminated), bool(step.truncated), bool(step.success)) == (False, True, False)
    assert step.discount.tolist() == [[1]]


def test_an_episode_without_food_ends_at_once() -> None:
    env, _ = put([(0, 0)], [1], {})
    assert bool(act(env, NONE).terminated)


def test_observation_by_hand() -> None:
    """Sight 1. A in the corner sees cells up to (1, 1), and players up to 2 cells from its corner."""
    _, step = put([(0, 0), (2, 2), (3, 3)], [1, 2, 2], {(1, 1): 3, (2, 4): 2, (4, 3): 1}, sight=1)
    assert isinstance(step.obs, Tensor)
    missing = [-1, -1, 0]
    assert step.obs[0, 0].tolist() == [1, 1, 3, *missing, *missing, 0, 0, 1, 2, 2, 2, *missing]  # B is 2 cells away
    assert step.obs[0, 1].tolist() == [0, 0, 3, *missing, *missing, 1, 1, 2, 2, 2, 2, *missing]  # A is above its window
    assert step.obs[0, 2].tolist() == [0, 2, 2, 2, 1, 1, *missing, 1, 1, 2, 0, 0, 2, *missing]
    _, step = put([(0, 0), (2, 2)], [1, 2], {(1, 1): 3}, observe_agent_levels=False)
    assert isinstance(step.obs, Tensor)
    assert step.obs[0].tolist() == [[1, 1, 3, 0, 0, 2, 2], [1, 1, 3, 2, 2, 0, 0]]


def test_wide_sight_is_the_general_rule() -> None:
    """The short way for players that see everything gives what the general one does."""
    env = Foraging(num_envs=64, num_agents=4, max_food=4)
    env.reset(seed=3)
    for _ in range(5):
        env.step(env.ceiling_action())
        planes = env._planes(env._current("test"))
        assert env._seeing.everything
        assert torch.equal(env._seeing._near(*planes), env._seeing(*planes))


def test_large_grids_are_packed_in_more_bits() -> None:
    small: dict[str, Any] = {
        "size": 40,
        "num_agents": 3,
        "max_food": 3,
        "sight": 5,
        "max_player_level": 3,
        "num_envs": 32,
    }
    narrow, wide = Foraging(**small), Foraging(**{**small, "max_food_level": 9, "max_player_level": [3, 3, 1000]})
    assert narrow._seeing.dtype == torch.int32
    large = Foraging(**{**small, "size": 400, "max_player_level": 1000})
    assert large._seeing.dtype == torch.int64
    assert wide._seeing.dtype == torch.int32
    narrow.reset(seed=1)
    state = narrow._current("test")
    planes = narrow._planes(state)
    expected = narrow._seeing(*planes)
    narrow._seeing.dtype, narrow._seeing._unseen = torch.int64, 1 << 62
    assert torch.equal(narrow._seeing(*planes), expected)


@pytest.mark.parametrize("sight", [8, 2])
def test_players_are_interchangeable(sight: int) -> None:
    """Permute players and actions: positions, rewards, masks and each player's own entries come permuted."""
    env, other = (Foraging(num_envs=32, sight=sight, penalty=0.1) for _ in range(2))
    env.reset(seed=5)
    for order in permutations(range(3)):
        state = env.state_dict()
        index = list(order)
        state |= {f"state.{name}": state[f"state.{name}"][:, index] for name in ("player", "level")}
        other.reset(seed=5)
        other.load_state_dict(state)
        action = torch.where(torch.rand(32, 3, generator=torch.manual_seed(index[0])) < 0.3, 5, env.ceiling_action())
        if bool((env.scene().active["food"].sum(1) == 0).any()):
            break
        one, two = env.step(action), other.step(action[:, index])
        for name in ("pos", "reward", "action_mask"):
            assert torch.equal(one.tensors()[name][:, index], two.tensors()[name])
        own = slice(0, 12)
        assert torch.equal(one.obs[:, index, own], two.obs[..., own])  # type: ignore[index]
        if bool(one.done.any()):
            break


def play(env: Foraging, policy: str) -> dict[str, Tensor]:
    """One episode in each environment."""
    step = env.reset(seed=20_000)
    running = torch.ones(env.num_envs, dtype=torch.bool)
    found = {name: torch.zeros(env.num_envs) for name in ("steps", "return_sum_agents", "all_food_collected")}
    while bool(running.any()):
        step = env.step(env.floor_action(step.key) if policy == "random" else env.ceiling_action())
        found["steps"] += running
        found["return_sum_agents"] += torch.where(running, step.reward.sum(1), 0.0)
        found["all_food_collected"] += running & step.done & step.success
        running &= ~step.done
        if bool(step.done.any()):
            step = env.reset(where=step.done)
    return found


@pytest.mark.parametrize("name", FLOORS["level_based_foraging"])
def test_floors_agree_with_the_reference(name: str) -> None:
    protocol = name.removeprefix("Foraging-").removesuffix("-v3") + "-v0"
    found = play(Foraging(num_envs=4096, observation="sparse", **Foraging.protocols[protocol]), "random")
    for what, mine in found.items():
        recorded = FLOORS["level_based_foraging"][name]["random"][what]
        ends = recorded["ci95_wilson"] if "ci95_wilson" in recorded else [recorded["mean"] + recorded["ci95"]]
        half = max(abs(end - recorded["mean"]) for end in ends)
        error = math.hypot(float(mine.std()) / math.sqrt(len(mine)), half / 1.96)
        assert abs(float(mine.mean()) - recorded["mean"]) <= 4 * error + 1e-3, (what, float(mine.mean()), recorded)


@pytest.mark.parametrize("protocol", ["8x8-2p-3f-coop-v0", "8x8-3p-3f-v0", "10x10-4p-2f-coop-s2-v0"])
def test_ceiling_eats_everything(protocol: str) -> None:
    found = play(Foraging(num_envs=128, **Foraging.protocols[protocol]), "planner")
    assert bool((found["all_food_collected"] == 1).all())
    assert float(found["steps"].mean()) < 25
    assert torch.allclose(found["return_sum_agents"], torch.ones(128), atol=1e-6)  # everything eaten gives 1 in all


def test_beginnings_keep_the_rules() -> None:
    env = Foraging(num_envs=2000, size=7, num_agents=5, max_food=4, min_food_level=2, max_player_level=3)
    env.reset(seed=0)
    state, scene = env.state_dict(), env.scene()
    food, there = scene.entities["food"], scene.active["food"]
    assert bool(((food >= 1) & (food <= 5)).all(-1)[there].all())
    apart = (food[:, :, None] - food[:, None]).abs()
    both = there[:, :, None] & there[:, None] & ~torch.eye(4, dtype=torch.bool)
    assert int(apart.sum(-1)[both].min()) == 3
    everyone = torch.cat([scene.agents, food], 1)
    same = (everyone[:, :, None] == everyone[:, None]).all(-1).sum((1, 2))
    assert bool((same[there.all(1)] == 9).all())
    most = state["state.level"].sort(1).values[:, :3].sum(1, keepdim=True)
    level = state["state.food_level"]
    assert bool(((level >= 2) & (level <= most))[there].all())
    assert torch.equal(level.sum(1), state["state.spawned"])
    assert set(state["state.level"].flatten().tolist()) == {1, 2, 3}
    assert bool((there.sum(1) < 4).any())


def test_forced_cooperation_takes_the_highest_level() -> None:
    env = Foraging(num_envs=200, num_agents=4, force_coop=True, max_player_level=4)
    env.reset(seed=0)
    state = env.state_dict()
    most = state["state.level"].sort(1).values[:, :3].sum(1, keepdim=True)
    assert torch.equal(state["state.food_level"], most.expand(-1, 3))


def test_levels_are_dealt_out() -> None:
    env = Foraging(
        num_envs=600, num_agents=2, max_food=2, min_player_level=[1, 5], max_player_level=[1, 6], max_food_level=[1, 3]
    )
    env.reset(seed=0)
    state = env.state_dict()
    pairs = {tuple(pair) for pair in state["state.level"].tolist()}
    assert pairs == {(1, 5), (1, 6), (5, 1), (6, 1)}
    assert {tuple(pair) for pair in state["state.food_level"].tolist()} == {(1, k) for k in (1, 2, 3)} | {
        (k, 1) for k in (2, 3)
    }


def test_compiled_is_the_same(python: Any, tmp_path: Path) -> None:
    """As one graph; in a process of its own, since what checks shapes under pytest cannot be traced."""
    code = """
import torch
from gnncomm.envs.foraging.foraging import Foraging
plain, fast = (Foraging(num_envs=8, sight=2, penalty=0.1, num_agents=2) for _ in range(2))
fast._proceed = torch.compile(fast._proceed, backend="eager", fullgraph=True, dynamic=False)
step, other = plain.reset(seed=0), fast.reset(seed=0)
for _ in range(5):
    action = plain.floor_action(step.key)
    step, other = plain.step(action), fast.step(action)
    assert all(torch.equal(one, other.tensors()[name]) for name, one in step.tensors().items())
print("same")
"""
    done = python.run("-c", code, folder=tmp_path)
    assert done.stdout.strip() == "same", done.stderr[-2000:]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 2}, "size: expected an integer of at least 3 and at most 500, got 2"),
        ({"size": 0}, "size: expected"),
        ({"columns": 2}, "columns: expected"),
        ({"size": 3, "num_agents": 9}, "num_agents: expected less than the 9 cells, got 9"),
        ({"num_agents": 0}, "num_agents: expected"),
        ({"max_food": 0}, "max_food: expected"),
        ({"sight": 9}, "sight: expected an integer of at least 0 and at most 8, got 9"),
        ({"sight": 1.0}, "sight: expected"),
        ({"penalty": -0.1}, "penalty: expected"),
        ({"penalty": math.nan}, "penalty: expected"),
        ({"force_coop": 1}, "force_coop: expected True or False, got 1"),
        ({"normalize_reward": "yes"}, "normalize_reward: expected"),
        ({"max_player_level": 0}, "max_player_level: expected"),
        ({"max_player_level": [1, 2]}, "max_player_level: expected one int, or 3 of them, got 2"),
        ({"max_player_level": "2"}, "max_player_level: expected"),
        ({"min_player_level": 3}, "min_player_level: expected at most max_player_level = 2, got 3"),
        ({"min_food_level": 4}, "min_food_level: expected at most 3"),
        ({"min_food_level": 2, "max_food_level": 1}, "min_food_level: expected at most max_food_level = 1, got 2"),
        ({"min_food_level": 7, "max_food_level": 8}, "min_food_level: expected at most 6, what all players together"),
        ({"force_coop": True, "max_food_level": 7}, "max_food_level: expected at most 6"),
        ({"max_steps": 0}, "max_steps: expected"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Foraging(**settings)


def test_placing_a_single_food_on_the_smallest_grid() -> None:
    placing = Placing(3, 3, (1,), (1,), (1,), None, False)
    draws = placing.draw(torch.arange(900))
    free = draws.player[:, 0] != 4
    assert torch.equal(draws.food_level[:, 0], free.long())  # the only inner cell, unless the player is on it
    counts = torch.bincount(draws.player[:, 0], minlength=9)
    assert float(((counts - 100.0) ** 2 / 100).sum()) < 31.8  # p = 1e-4 at 8 degrees of freedom


@pytest.mark.parametrize(("size", "players", "pieces"), [(3, 1, 1), (3, 3, 1), (4, 6, 2), (3, 8, 3)])
def test_the_planner_rests_where_there_is_no_food(size: int, players: int, pieces: int) -> None:
    """Where none found a place, and after the last one was eaten: no row is in the way of the others."""
    env = Foraging(num_envs=64, size=size, num_agents=players, max_food=pieces)
    step = env.reset(seed=0)
    for _ in range(6):
        action = env.ceiling_action()
        none = (env.state_dict()["state.food_level"] == 0).all(1)
        assert not bool(action[none].any())
        step = env.step(action)
        assert bool((step.terminated | ~none).all()), "an episode without food ends with its first step"
        step = env.reset(where=step.done)
    empty = Foraging(num_envs=256, size=3, num_agents=3, max_food=1)
    empty.reset(seed=0)
    assert bool((empty.state_dict()["state.food_level"] == 0).any()), "a trial without such a row shows nothing"
