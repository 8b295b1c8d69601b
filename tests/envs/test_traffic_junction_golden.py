"""Every recorded Traffic Junction transition of the reference, bit for bit, and its road tables and curriculum.

Rewards and observations are recorded in float64 and rounded once to float32, as in ``test_predator_prey_golden.py``.
Recorded decisions become draws: slot k of the m free ones is the share (k + 1/2) / m, and so for routes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gnncomm.envs.traffic_junction.roads import LEVELS, roads
from gnncomm.envs.traffic_junction.traffic_junction import TrafficDraws, TrafficJunction, TrafficState, add_rate_at
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.types import SparseObs

GOLDEN = Path(__file__).parents[1] / "golden" / "envs"
NAMES = sorted(path.stem for path in GOLDEN.glob("tj_*_r*.npz"))
TABLES = sorted(path.stem for path in GOLDEN.glob("tj_tables_*.npz"))


@dataclass
class Trace:
    """All recorded transitions, flattened to a batch of R rows."""

    env: TrafficJunction
    before: TrafficState
    after: TrafficState
    draws: TrafficDraws
    arrays: dict[str, Any]  # [R, ...] of the step, and of the state after it
    obs: tuple[Tensor, Tensor]  # [R, N, D] before and after


def places(env: TrafficJunction, alive: Any, route: Any, along: Any) -> Tensor:
    """Places of recorded routes and positions; what a free slot still holds of the car before is dropped."""
    first = env._tables.first_route.numpy()
    return torch.tensor(np.where(alive == 1, first[np.maximum(route, 0)] + along, 0).astype(np.int64))


def shares(arrays: dict[str, Any], routes: int, slots: int) -> TrafficDraws:
    """The draws that lead to the recorded decisions."""
    spawn, slot = arrays["arm_spawn"], arrays["arm_slot"]
    chance = np.where(np.isnan(arrays["arm_u"]), 0.0, arrays["arm_u"])  # not examined: any draw must do
    share = np.zeros_like(chance)
    for row in range(len(spawn)):
        held = (arrays["alive"][row] == 1) & (arrays["completed"][row] == 0)
        free = [n for n in range(slots) if not held[n]]
        for arm in np.flatnonzero(spawn[row] == 1):
            share[row, arm] = (free.index(slot[row, arm]) + 0.5) / len(free)
            free.remove(slot[row, arm])
    route = (np.maximum(arrays["arm_route"], 0) + 0.5) / routes
    return TrafficDraws(torch.tensor(chance), torch.tensor(share), torch.tensor(route))


def load(name: str) -> Trace:
    arrays = np.load(GOLDEN / f"{name}.npz")
    config = json.loads((GOLDEN / f"{name}.json").read_text())["config"]
    env = TrafficJunction(
        level=config["difficulty"],
        dim=config["dim"],
        num_agents=config["n_agents"],
        vision=config["vision"],
        add_rate=config["add_rate"],
        vocabulary=config["vocab_type"],
        max_steps=config["T"],
    )
    episodes, steps, slots = arrays["action"].shape
    obs = np.zeros((episodes * (steps + 1) * slots, config["obs_dim"]), dtype=np.float32)
    obs[np.repeat(np.arange(len(obs)), np.diff(arrays["obs_ptr"])), arrays["obs_idx"]] = arrays["obs_val"]
    obs = obs.reshape(episodes, steps + 1, slots, -1)

    def state(at: slice) -> TrafficState:
        alive, route, along, wait, last = (
            arrays[key][:, at].reshape(-1, slots) for key in ("alive", "route_id", "route_pos", "wait", "last_act")
        )
        failed = arrays["has_failed"][:, at].reshape(-1) == 1
        return TrafficState(
            places(env, alive, route, along),
            torch.tensor(wait.astype(np.int64)),
            torch.tensor(last == 1),
            torch.tensor(failed),
        )

    step_keys = ("action", "reward", "success", "done", "completed", "info_alive", "arm_u", "arm_spawn", "arm_slot")
    flat = {key: arrays[key].reshape(episodes * steps, *arrays[key].shape[2:]) for key in (*step_keys, "arm_route")}
    later = slice(1, None)
    for key in ("loc", "cars_in_sys"):
        flat[key] = arrays[key][:, later].reshape(episodes * steps, *arrays[key].shape[2:])
    was_alive = arrays["alive"][:, :-1].reshape(-1, slots)
    before, after = state(slice(0, -1)), state(later)
    draws = shares({**flat, "alive": was_alive}, config["routes_per_arm"], slots)
    seen = tuple(torch.tensor(part.reshape(episodes * steps, slots, -1)) for part in (obs[:, :-1], obs[:, later]))
    return Trace(env, before, after, draws, flat, (seen[0], seen[1]))


@pytest.fixture(scope="module", params=NAMES)
def trace(request: pytest.FixtureRequest) -> Trace:
    return load(request.param)


def test_all_recordings_are_here() -> None:
    assert len(NAMES) == 14
    assert len(TABLES) == 4
    assert {name.split("_")[1] for name in NAMES} == set(LEVELS)


def test_transition(trace: Trace) -> None:
    action = torch.tensor(trace.arrays["action"].astype(np.int64))  # also drawn for free slots, to be ignored
    new, reward, flags = trace.env.transition(trace.before, action, trace.draws)
    for name, expected in trace.after.tensors().items():
        assert torch.equal(new.tensors()[name], expected), name
    assert reward.dtype == torch.float32
    assert np.array_equal(reward.numpy(), trace.arrays["reward"].astype(np.float32))
    assert np.array_equal(flags.success.numpy(), trace.arrays["success"] == 1)
    assert np.array_equal(flags.terminated.numpy(), trace.arrays["done"] == 1)
    assert np.array_equal(trace.env.alive(new).numpy(), trace.arrays["info_alive"] == 1)
    assert np.array_equal(trace.env.alive(new).sum(1).numpy(), trace.arrays["cars_in_sys"])
    assert np.array_equal(trace.env.positions(new).numpy(), trace.arrays["loc"])


def test_entered_is_where_cars_were_added(trace: Trace) -> None:
    action = torch.tensor(trace.arrays["action"].astype(np.int64))
    entered = trace.env.transition(trace.before, action, trace.draws)[2].entered
    assert entered is not None
    expected = torch.zeros_like(entered)
    for row, arm in zip(*np.nonzero(trace.arrays["arm_spawn"] == 1), strict=True):
        expected[row, trace.arrays["arm_slot"][row, arm]] = True
    assert torch.equal(entered, expected)


def test_observation(trace: Trace) -> None:
    for state, expected in zip((trace.before, trace.after), trace.obs, strict=True):
        flat, sparse = trace.env.observe(state, "flat"), trace.env.observe(state, "sparse")
        assert isinstance(flat, Tensor)
        assert isinstance(sparse, SparseObs)
        assert torch.equal(flat, expected)
        assert torch.equal(sparse.to_flat(), expected)


def test_recordings_hold_the_cases_that_matter() -> None:
    """A slot refilled at once, a last action taken over, a full map, a crash on an entry, ghosts in sight."""
    refilled = taken_over = full = 0
    for name in NAMES:
        trace = load(name)
        completed, alive = trace.arrays["completed"] == 1, trace.arrays["info_alive"] == 1
        refilled += (completed & alive).sum()
        taken_over += ((trace.arrays["reward"] == 0) & alive & trace.after.braked.numpy()).sum()
        full += np.isnan(trace.arrays["arm_u"]).sum()
    assert min(refilled, taken_over, full) > 50
    trace = load("tj_hard_d9_n12_v1_r0.1")
    clean = TrafficJunction(**{**trace.env.config, "faithful": False})
    assert int((trace.obs[1].amax(-1) > 3).sum()) > 10  # more cars in the corner than ever meet
    assert clean.obs_dim < trace.env.obs_dim


@pytest.mark.parametrize("name", TABLES)
def test_roads(name: str) -> None:
    arrays = np.load(GOLDEN / f"{name}.npz")
    config = json.loads((GOLDEN / f"{name}.json").read_text())["config"]
    net = roads(config["difficulty"], config["dim"])
    assert [net.size, net.size] == config["grid_shape"]
    assert net.base == config["base"]
    recorded = [
        tuple(map(tuple, cells[:length].tolist()))
        for cells, length in zip(arrays["route_cells"], arrays["route_len"], strict=True)
    ]
    assert list(net.routes) == recorded
    assert [route * net.arms // len(net.routes) for route in range(len(net.routes))] == arrays["route_arm"].tolist()
    numbers = np.full(arrays["grid_bool"].shape, net.base)
    for cell, number in net.numbers.items():
        numbers[cell] = number
    assert np.array_equal(numbers, arrays["grid_bool"])
    assert {tuple(cell) for cell in np.argwhere(arrays["grid_scalar"] == 1).tolist()} == set(net.cells)


@pytest.mark.parametrize("level", LEVELS)
def test_curriculum(level: str) -> None:
    arrays = np.load(GOLDEN / "tj_curriculum.npz")
    rates = [add_rate_at(level, int(epoch)) for epoch in arrays[f"{level}_epoch"]]
    assert rates == arrays[f"{level}_add_rate"].tolist()
    assert rates[-1] == (0.29 if level == "easy" else LEVELS[level].last_rate)


@pytest.mark.parametrize("step", [1, 3, 7])
@pytest.mark.parametrize("rates", [(0.1, 0.3), (0.02, 0.17), (0.2, 0.2), (0.3, 0.1)])
def test_curriculum_with_rates_of_ones_own_and_epochs_passed_over(rates: tuple[float, float], step: int) -> None:
    """As the published environment keeps it: a rate that each reset in a later epoch of the span moves on."""
    first, last = 20, 140
    exact, rate, latest = rates[0], rates[0], 0
    visited = range(0, 200, step)
    for epoch in visited:
        if rates[1] > rates[0] and epoch > latest:
            if first <= epoch < last:
                exact += (rates[1] - rates[0]) / (last - first)
                rate = 0.01 * (exact // 0.01)
            latest = epoch
        assert add_rate_at("easy", epoch, first, last, rates=rates, visited=visited) == rate
    assert rate == pytest.approx(rates[0] + max(rates[1] - rates[0], 0) / step, abs=0.0102)
    with pytest.raises(ConfigError, match="probabilities"):
        add_rate_at("easy", 3, rates=(0.1, 1.5))


def test_curriculum_from_epoch_0_skips_epoch_0() -> None:
    assert add_rate_at("easy", 0, 0, 8) == 0.1
    assert add_rate_at("easy", 1, 0, 8) == 0.12  # 0.125, rounded down
    with pytest.raises(ConfigError, match=r"add_rate_at: expected .*got 'eazy'"):
        add_rate_at("eazy", 3)
    with pytest.raises(ConfigError, match="got 'easy', -1"):
        add_rate_at("easy", -1)
