"""Traffic Junction: rules by hand, what the clean form mends, laws, floors, the planner, bad settings."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gnncomm.envs.traffic_junction.roads import LEVELS, roads
from gnncomm.envs.traffic_junction.traffic_junction import TrafficDraws, TrafficJunction, TrafficState
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ActionError, ConfigError
from gnncomm.testing import check_env
from gnncomm.types import SparseObs

FLOORS = json.loads((Path(__file__).parents[1] / "golden" / "envs" / "floors.json").read_text())["traffic_junction"]
GAS, BRAKE = 0, 1


def place(env: TrafficJunction, route: int, along: int) -> int:
    return int(env._tables.first_route[route]) + along


def cars(env: TrafficJunction, *slots: tuple[int, int] | None, wait: int = 1, braked: bool = False) -> TrafficState:
    """One environment; each slot holds (route, cells behind it), or is free."""
    held = [0 if slot is None else place(env, *slot) for slot in slots]
    held += [0] * (env.num_agents - len(held))
    at = torch.tensor([held])
    return TrafficState(at, torch.where(at > 0, wait, 0), torch.full_like(at, braked).bool(), torch.tensor([False]))


def arrivals(env: TrafficJunction, **arms: tuple[float, float]) -> TrafficDraws:
    """Arms that let a car in (``a0=(share of the free slots, share of the routes)``); the others do not."""
    A = len(env._tables.entry)
    chance, slot, route = torch.ones(1, A), torch.zeros(1, A), torch.zeros(1, A)
    for name, (one, other) in arms.items():
        a = int(name[1:])
        chance[0, a], slot[0, a], route[0, a] = 0.0, one, other
    return TrafficDraws(chance, slot, route)


def act(env: TrafficJunction, *actions: int) -> Tensor:
    return torch.tensor([[*actions] + [GAS] * (env.num_agents - len(actions))])


def test_gas_drives_brake_waits_and_the_end_frees_the_slot() -> None:
    env = TrafficJunction()
    before = cars(env, (0, 2), (1, 1), (0, 6), wait=3)
    after, reward, flags = env.transition(before, act(env, GAS, BRAKE, GAS), arrivals(env))
    assert after.place.tolist() == [[place(env, 0, 3), place(env, 1, 1), 0, 0, 0]]
    assert after.wait.tolist() == [[4, 4, 0, 0, 0]]
    assert after.braked.tolist() == [[False, True, False, False, False]]
    assert reward.tolist() == [pytest.approx([-0.04, -0.04, 0, 0, 0])]
    assert env.positions(after)[0, :3].tolist() == [[3, 3], [3, 1], [0, 0]]
    assert env.alive(after).tolist() == [[True, True, False, False, False]]
    assert bool(flags.success)
    assert not bool(flags.terminated)
    assert flags.entered is not None
    assert not bool(flags.entered.any())


def test_a_crash_costs_ten_and_is_remembered_while_nobody_is_removed() -> None:
    env = TrafficJunction()
    together, reward, flags = env.transition(cars(env, (0, 2), (1, 2)), act(env), arrivals(env))
    assert reward[0].tolist() == pytest.approx([-10.02, -10.02, 0, 0, 0])
    assert not bool(flags.success)
    again, reward, _ = env.transition(together, act(env, BRAKE, BRAKE), arrivals(env))
    assert reward[0].tolist() == pytest.approx([-10.03, -10.03, 0, 0, 0])
    apart, reward, flags = env.transition(again, act(env, GAS, BRAKE), arrivals(env))
    assert reward[0].tolist() == pytest.approx([-0.04, -0.04, 0, 0, 0])
    assert not bool(flags.success)
    assert bool(apart.failed)
    assert bool(env.alive(apart)[0, :2].all())


def test_arms_take_the_share_of_what_is_free_one_after_the_other() -> None:
    env = TrafficJunction(level="medium")
    before = cars(env, None, (0, 3), None, (3, 3))  # free: 0 2 4 5 6 7 8 9
    draws = arrivals(env, a0=(0.3, 0.5), a2=(0.3, 0.99), a3=(0.99, 0.0))
    after, _, flags = env.transition(before, act(env), draws)
    # arm 0: number 2 of 0 2 4 5 6 7 8 9; arm 2: number 2 of 0 2 5 6 7 8 9; arm 3: number 5 of 0 2 6 7 8 9
    expected = [0] * 10
    expected[1], expected[3] = place(env, 0, 4), place(env, 3, 4)
    expected[4], expected[5], expected[9] = place(env, 1, 0), place(env, 8, 0), place(env, 9, 0)
    assert after.place.tolist() == [expected]
    assert after.wait[0, [4, 5, 9]].tolist() == [0, 0, 0]
    assert flags.entered is not None
    assert flags.entered[0].nonzero().flatten().tolist() == [4, 5, 9]


def test_a_full_map_lets_nobody_in() -> None:
    env = TrafficJunction(num_agents=2)
    after, _, _ = env.transition(cars(env, (0, 1)), act(env), arrivals(env, a0=(0, 0), a1=(0, 0)))
    assert after.place.tolist() == [[place(env, 0, 2), place(env, 0, 0)]]
    after, _, _ = env.transition(after, act(env, BRAKE, BRAKE), arrivals(env, a0=(0, 0), a1=(0, 0)))
    assert after.place.tolist() == [[place(env, 0, 2), place(env, 0, 0)]]


def test_slots_and_routes_are_uniform() -> None:
    env = TrafficJunction(num_envs=20_000, level="medium", add_rate=1.0)
    step = env.reset(seed=3)
    step = env.step(torch.zeros(20_000, 10, dtype=torch.int64))
    assert torch.equal(step.alive.sum(1), torch.full((20_000,), 4))
    state = env._state
    assert state is not None
    for slot in range(10):
        share = step.alive[:, slot].float().mean()
        assert float(share) == pytest.approx(0.4, abs=5 * (0.24 / 20_000) ** 0.5)
    counts = torch.bincount(state.place[state.place > 0], minlength=169)[env._tables.first_route] / 20_000
    assert int((counts > 0).sum()) == 12
    assert bool(((counts - 1 / 3).abs() < 5 * (2 / 9 / 20_000) ** 0.5).all())


def window(obs: Tensor, env: TrafficJunction, head: int = 2) -> list[dict[int, float]]:
    """The counts of each cell of the window that are not zero."""
    cells = obs[head:].view((2 * env.vision + 1) ** 2, -1)
    return [{int(k): float(cell[k]) for k in cell.nonzero()} for cell in cells]


def observe(env: TrafficJunction, state: TrafficState) -> Tensor:
    flat, sparse = env.observe(state, "flat"), env.observe(state, "sparse")
    assert isinstance(flat, Tensor)
    assert isinstance(sparse, SparseObs)
    assert torch.equal(sparse.to_flat(), flat)
    return flat


def test_observation_by_hand() -> None:
    env = TrafficJunction(vision=1)
    obs = observe(env, cars(env, (0, 2), (1, 2), (1, 3), (1, 3), braked=True))
    assert obs[0, 0, :2].tolist() == [1, 0]
    assert obs[0, 1, :2].tolist() == [1, 1]
    # the first car is at (2, 3); the crossing (3, 3), number 10, holds two
    outside = {12: 1.0}
    expected = [outside, {8: 1.0}, outside, outside, {9: 1.0, 14: 1.0}, outside]
    assert window(obs[0, 0], env) == [*expected, {2: 1.0, 14: 1.0}, {10: 1.0, 14: 2.0}, {4: 1.0}]
    assert not bool(obs[0, 4].any())
    assert env.obs_dim == 137


def test_observation_widths_of_the_published_sizes() -> None:
    widths = {"easy": (17, 137), "medium": (61, 533), "hard": (149, 1325)}
    for level, wanted in widths.items():
        assert tuple(TrafficJunction(level=level, vision=v).obs_dim for v in (0, 1)) == wanted


def test_scalar_vocabulary_by_hand() -> None:
    env = TrafficJunction(vocabulary="scalar", vision=1)
    obs = observe(env, cars(env, (1, 2)))
    assert obs[0, 0, :4].tolist() == pytest.approx([0, 1, 3 / 6, 2 / 6])
    nothing: dict[int, float] = {}
    road = {0: 1.0}
    assert window(obs[0, 0], env, 4) == [nothing, nothing, road, road, {0: 1.0, 1: 1.0}, road, nothing, nothing, road]


def test_far_sight_leaves_the_grid() -> None:
    env = TrafficJunction(level="hard", dim=9, vision=9, num_agents=3)
    obs = observe(env, cars(env, (0, 0)))  # (0, 1): rows -9 ... 9, columns -8 ... 10
    cells = window(obs[0, 0], env)
    assert sum(cell == {72: 1.0} for cell in cells) == 19 * 19 - len(roads("hard", 9).numbers) - 1
    assert cells[9 * 19 + 8] == {72: 1.0, 74: 2.0}  # the corner, with two ghosts


def test_vocabulary_collision_of_easy_and_its_mending() -> None:
    """The last two cells of the vertical road, (5, 3) and (6, 3): outside, and a number never used elsewhere."""
    faithful = TrafficJunction()
    assert window(observe(faithful, cars(faithful, (0, 5)))[0, 0], faithful) == [{12: 1.0, 14: 1.0}]
    assert window(observe(faithful, cars(faithful, (0, 6)))[0, 0], faithful) == [{13: 1.0, 14: 1.0}]
    for level in LEVELS:
        clean = TrafficJunction(level=level, faithful=False)
        seen = set()
        for route, cells in enumerate(roads(level, clean.dim).routes):
            for along, cell in enumerate(cells):
                kinds = window(observe(clean, cars(clean, (route, along)))[0, 0], clean)[0]
                number = min(kinds)
                assert kinds == {number: 1.0, clean._tables.num_cells - 1: 1.0}
                seen.add((cell, number))
        assert len(seen) == len({cell for cell, _ in seen}) == len({number for _, number in seen})
        assert len(seen) == clean._tables.num_cells - 2


def test_ghosts_and_their_mending() -> None:
    for faithful, ghosts in ((True, 11.0), (False, 0.0)):
        env = TrafficJunction(level="hard", dim=9, num_agents=12, vision=1, faithful=faithful)
        corner = window(observe(env, cars(env, (3, 1)))[0, 0], env)[0]  # at (1, 1), which sees (0, 0)
        assert corner.get(env.obs_dim // 9 - 1, 0.0) == ghosts


def test_entry_onto_a_car_and_its_mending() -> None:
    for faithful, slots in ((True, [0, 1]), (False, [0])):
        env = TrafficJunction(faithful=faithful)
        after, _, flags = env.transition(cars(env, (0, 0)), act(env, BRAKE), arrivals(env, a0=(0, 0)))
        assert after.place[0].nonzero().flatten().tolist() == slots
        assert bool(flags.success) == (not faithful)


def test_last_action_of_the_car_before_and_its_mending() -> None:
    for faithful in (True, False):
        env = TrafficJunction(faithful=faithful)
        before = cars(env, (0, 2), braked=True)
        after, _, _ = env.transition(before, act(env), arrivals(env, a1=(0, 0)))
        assert after.braked.tolist() == [[False, faithful, True, True, True]]


def test_a_slot_is_taken_at_once_or_rests() -> None:
    for faithful, held in ((True, [1, 0]), (False, [0, 1])):
        env = TrafficJunction(faithful=faithful, num_agents=2)
        after, reward, flags = env.transition(cars(env, (0, 6)), act(env), arrivals(env, a1=(0, 0)))
        assert (after.place[0] > 0).int().tolist() == held
        assert after.wait.tolist() == [[0, 0]]
        assert reward.tolist() == [[0, 0]]
        assert flags.entered is not None
        assert flags.entered[0].int().tolist() == held


def test_a_rate_of_zero() -> None:
    for faithful, count in ((True, 1), (False, 0)):
        env = TrafficJunction(faithful=faithful, add_rate=0.0)
        after, _, _ = env.transition(cars(env), act(env), arrivals(env, a1=(0, 0)))  # a draw of exactly 0
        assert int((after.place > 0).sum()) == count


def test_discount_ends_where_a_row_passes_on() -> None:
    env = TrafficJunction(num_envs=200, num_agents=2, add_rate=1.0)
    now = env.reset(seed=0)
    refilled = 0
    while not bool(now.done.any()):
        was_alive = now.alive
        now = env.step(torch.zeros(200, 2, dtype=torch.int64))
        assert now.entered is not None
        assert torch.equal(now.discount, (now.alive & ~now.entered).float())
        assert bool((now.entered <= now.alive).all())
        assert bool((now.entered | ~now.alive | was_alive).all())  # nobody comes to life without entering
        refilled += int((now.entered & was_alive).sum())
    assert refilled > 100


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("faithful", [True, False])
def test_random_play_keeps_count(level: str, faithful: bool) -> None:
    """Cars neither appear nor vanish but by the rules, and stay on their routes."""
    env = TrafficJunction(num_envs=32, level=level, faithful=faithful, add_rate=0.3, observation="sparse")
    now, tables = env.reset(seed=5), env._tables
    assert not bool(now.alive.any())
    for _ in range(env.max_steps):
        before = env._state
        assert before is not None
        action = env.floor_action(now.key)
        now = env.step(action)
        after = env._state
        assert after is not None
        assert now.entered is not None
        moved = tables.after[before.place * 2 + action * (before.place > 0)]
        assert torch.equal(torch.where(now.entered, 0, after.place), moved)
        assert bool(torch.isin(after.place[now.entered], tables.first_route).all())
        assert bool((now.entered.sum(1) <= len(tables.entry)).all())
        met = (after.place > 0)[:, :, None] & (now.pos[:, :, None] == now.pos[:, None]).all(-1)  # type: ignore[index]
        met = met & (after.place > 0)[:, None] & ~torch.eye(env.num_agents, dtype=torch.bool)
        reward = torch.where(after.place > 0, -0.01 * after.wait - 10.0 * met.any(-1), 0.0)
        assert torch.allclose(now.reward, reward)
        assert isinstance(now.obs, SparseObs)
        assert bool((now.obs.to_flat().any(-1) <= now.alive).all())
    assert bool(now.truncated.all())
    assert not bool(now.terminated.any())


def test_lanes_are_one_way() -> None:
    """No step of a route is the reverse of a step of any other, so that cars cannot swap cells."""
    for level, published in LEVELS.items():
        routes = roads(level, published.dim).routes
        steps = {step for cells in routes for step in itertools.pairwise(cells)}
        assert not steps & {(there, here) for here, there in steps}
        assert all(abs(r - s) + abs(c - d) == 1 for (r, c), (s, d) in steps)


def test_slots_are_exchangeable() -> None:
    """Cars in other slots: the same transition, observation and plan, in the other order."""
    env = TrafficJunction(num_envs=32, level="hard", vision=1, add_rate=0.3)
    now = env.reset(seed=2)
    for _ in range(25):
        now = env.step(env.floor_action(now.key))
    state, action = env._state, env.floor_action(now.key)
    assert state is not None
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    other = TrafficState(state.place[:, order], state.wait[:, order], state.braked[:, order], state.failed)
    quiet = TrafficDraws(torch.ones(32, 8), torch.zeros(32, 8), torch.zeros(32, 8))
    one, reward, _ = env.transition(state, action, quiet)
    two, reward_other, _ = env.transition(other, action[:, order], quiet)
    assert torch.equal(one.place[:, order], two.place)
    assert torch.equal(reward[:, order], reward_other)
    assert torch.equal(observe(env, state)[:, order], observe(env, other))


def play(policy: str, episodes: int, **settings: Any) -> tuple[float, float]:
    """(share of successes, mean of the return summed over agents)"""
    env = TrafficJunction(num_envs=episodes, observation="sparse", **settings)
    now = env.reset(seed=7)
    total = torch.zeros(episodes)
    constant = torch.full((episodes, env.num_agents), BRAKE if policy == "always_brake" else GAS)
    while not bool(now.done.any()):
        if policy == "random":
            action = env.floor_action(now.key)
        else:
            action = env.ceiling_action() if policy == "planner" else constant
        now = env.step(action)
        total += now.reward.sum(1)
    return float(now.success.float().mean()), float(total.mean())


@pytest.mark.parametrize("which", FLOORS)
def test_floors_agree_with_the_reference(which: str) -> None:
    """Both sides are estimates: they agree within 4 standard errors of their difference."""
    level, rate = which.split("_")[0], float(which.rpartition("rate")[2])
    episodes = 2000 if level != "hard" else 500
    for policy, recorded in FLOORS[which].items():
        success, total = play(policy, episodes, level=level, add_rate=rate)
        reference = recorded["success"]
        p, n = (success * episodes + 1) / (episodes + 2), reference["n"]
        error = (p * (1 - p) * (1 / n + 1 / episodes)) ** 0.5
        assert abs(success - reference["mean"]) < 4 * error, policy
        wanted = recorded["return_sum_agents"]
        spread = wanted["ci95"] / 1.96 * (1 + n / episodes) ** 0.5
        assert abs(total - wanted["mean"]) < 4 * spread, policy


@pytest.mark.parametrize(("level", "least"), [("easy", 0.998), ("medium", 0.998), ("hard", 0.998)])
def test_planner(level: str, least: float) -> None:
    success, total = play("planner", 1000, level=level)
    assert success >= least
    assert total > 10 * FLOORS_RETURN[level]


FLOORS_RETURN = {level: -0.01 * numbers.max_steps * numbers.num_agents for level, numbers in LEVELS.items()}


def test_planner_yields_to_who_blocks_an_entry() -> None:
    env = TrafficJunction()
    state = cars(env, (0, 2), (1, 2), (1, 1), (1, 0))
    assert env.solve(state).tolist() == [[BRAKE, GAS, GAS, GAS, GAS]]


def test_clean_form_braking_for_ever_is_no_crash() -> None:
    success, total = play("always_brake", 200, faithful=False)
    assert success == 1.0
    assert total < play("planner", 200, faithful=False)[1]


def test_adjust_changes_the_rate_and_nothing_else() -> None:
    env = TrafficJunction(num_envs=500, add_rate=0.0, faithful=False)
    now = env.reset(seed=1)
    now = env.step(env.floor_action(now.key))
    assert not bool(now.alive.any())
    env.adjust(add_rate=1.0)
    now = env.step(env.floor_action(now.key))
    assert torch.equal(now.alive.sum(1), torch.full((500,), 2))
    assert int(now.step[0]) == 2
    with pytest.raises(ConfigError, match="adjust: expected one of"):
        env.adjust(vision=1)
    with pytest.raises(ConfigError, match=r"add_rate: expected a finite number"):
        env.adjust(add_rate=1.5)


@pytest.mark.parametrize(
    ("settings", "form"),
    [({"faithful": False}, "flat"), ({"vocabulary": "scalar"}, "sparse"), ({"level": "medium"}, "flat")],
)
def test_laws(settings: dict[str, Any], form: str) -> None:
    check_env(lambda n: TrafficJunction(n, observation=form, max_steps=15, add_rate=0.4, **settings), long=0)


def test_central_state_and_scene() -> None:
    env = TrafficJunction()
    env.reset()
    assert env.state_dim == 7 * 5 + 1
    seen = env.central(cars(env, (1, 3), wait=4))[0]
    # row, column, route, share of the route, alive, last action, age
    assert seen[:7].tolist() == pytest.approx([0.5, 0.5, 1, 0.5, 1, 0, 0.2])
    assert not bool(seen[7:].any())
    scene = env.describe(cars(env, (1, 3)))
    assert scene.field is not None
    assert int(scene.field.sum()) == 13
    assert scene.agents[0, 0].tolist() == [3, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"level": "eazy"}, "level: expected one of .*easy"),
        ({"dim": 7}, "dim: expected an even number of at least 4"),
        ({"dim": 2}, "dim: expected an integer of at least 4"),
        ({"dim": 6, "vision": 3}, "at least 4 . vision = 7 on easy, got 6"),
        ({"level": "medium", "dim": 15}, "dim: expected an even number"),
        ({"level": "hard", "dim": 20}, "dim: expected a multiple of 3, at least 9, got 20"),
        ({"level": "hard", "dim": 6}, "dim: expected a multiple of 3, at least 9, got 6"),
        ({"level": "hard", "vision": 19}, "vision: expected an integer .* at most 18"),
        ({"vision": -1}, "vision: expected"),
        ({"vision": 1.0}, "vision: expected"),
        ({"add_rate": 1.01}, "add_rate: expected a finite number"),
        ({"add_rate": -0.1}, "add_rate: expected a finite number"),
        ({"add_rate": float("nan")}, "add_rate: expected a finite number"),
        ({"add_rate": "fast"}, "add_rate: expected a number"),
        ({"num_agents": 0}, "num_agents: expected"),
        ({"max_steps": 0}, "max_steps: expected"),
        ({"vocabulary": "words"}, "vocabulary: expected one of"),
        ({"faithful": 1}, "faithful: expected True or False"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrafficJunction(**settings)


def test_action_2_is_refused_and_free_slots_are_ignored() -> None:
    env = TrafficJunction(num_envs=1, add_rate=1.0)
    env.reset(seed=0)
    now = env.step(torch.full((1, 5), 99))  # nobody is there yet
    held = int(now.alive[0].nonzero()[0])
    with pytest.raises(ActionError, match=f"got 2 from agent {held}"):
        env.step(torch.full((1, 5), 2))


def test_draws_are_three_numbers_of_one_hash() -> None:
    env = TrafficJunction(level="hard")
    key = torch.arange(500) * 7919
    drawn = env.draws(key, torch.full((500,), 3))
    for part in drawn.tensors().values():
        assert part.shape == (500, 8)
        assert bool(((part >= 0) & (part < 1)).all())
        assert float(part.mean()) == pytest.approx(0.5, abs=5 * (1 / 12 / 4000) ** 0.5)
    pairs = torch.corrcoef(torch.stack([x.flatten() for x in drawn.tensors().values()]))
    assert float((pairs - torch.eye(3)).abs().max()) < 5 / 4000**0.5
    bits = random.bits(key, torch.full((500,), 3), torch.arange(8)[:, None])
    assert torch.equal(drawn.chance, ((bits >> 40) & (2**24 - 1)).float().t() * 2.0**-24)
