"""Chemical: teams, sources, sensors and the field that goes with them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from gnncomm.envs.chemical.chemical import Chemical
from gnncomm.envs.chemical.diffusion import diffuse_step
from torch import Tensor

from gnncomm import envs, random

UP, RIGHT, DOWN, LEFT, STAY = range(5)


def placed(pos: list[list[int]], source: list[list[int]], **settings: Any) -> Chemical:
    """One environment with the given places, the field in their steady state."""
    env = Chemical(num_agents=len(pos), num_sources=len(source), **settings)
    env.reset(seed=0)
    state = env.state_dict()
    state["state.pos"], state["state.source"] = torch.tensor([pos]), torch.tensor([source])
    state["state.field"] = sum(env._plume_CHW[row * env.dim + column] for row, column in source)[None]
    env.load_state_dict(state)
    return env


def test_a_team_neutralises_and_one_alone_does_not() -> None:
    env = placed([[2, 2], [2, 4], [9, 9]], [[2, 3], [7, 7]], time_cost=0.01)
    alone = env.step(torch.tensor([[RIGHT, STAY, STAY]]))
    assert alone.reward[0].tolist() == pytest.approx([-0.01] * 3)
    assert env.scene().active["source"].tolist() == [[True, True]]
    together = env.step(torch.tensor([[STAY, LEFT, STAY]]))
    assert together.reward[0].tolist() == pytest.approx([0.99] * 3)
    assert env.scene().active["source"].tolist() == [[False, True]]
    assert env.scene().finished.tolist() == [[True, True, False]]
    assert not bool(together.done)
    again = env.step(torch.tensor([[STAY, STAY, STAY]]))  # a source is paid for once
    assert again.reward[0].tolist() == pytest.approx([-0.01] * 3)


def test_all_neutralised_terminates_with_success() -> None:
    env = placed([[0, 1], [0, 1], [5, 4], [5, 4]], [[0, 0], [5, 5]], time_cost=0.25)
    step = env.step(torch.tensor([[LEFT, LEFT, RIGHT, RIGHT]]))
    assert step.reward.tolist() == [[1.75] * 4]
    assert bool(step.terminated & step.success & ~step.truncated)
    assert step.discount.tolist() == [[0.0] * 4]


@pytest.mark.parametrize("team", [1, 3])
def test_team_size_is_a_setting(team: int) -> None:
    env = placed([[1, 0]] * 3, [[0, 0]], team=team)
    action = torch.full((1, 3), DOWN)
    for member in range(team):
        assert bool(env.scene().active["source"])
        action = torch.full((1, 3), STAY)
        action[0, member] = UP
        step = env.step(action)
    assert bool(step.success)


def test_moves_stop_at_the_border() -> None:
    env = placed([[0, 0], [9, 9], [0, 9], [9, 0]], [[5, 5]])
    assert env.step(torch.tensor([[UP, RIGHT, RIGHT, LEFT]])).pos.tolist() == [[[0, 0], [9, 9], [0, 9], [9, 0]]]
    assert env.step(torch.tensor([[LEFT, DOWN, UP, DOWN]])).pos.tolist() == [[[0, 0], [9, 9], [0, 9], [9, 0]]]
    assert env.step(torch.tensor([[DOWN, LEFT, STAY, RIGHT]])).pos.tolist() == [[[1, 0], [9, 8], [0, 9], [9, 1]]]


def test_observation_by_hand_without_noise() -> None:
    env = placed([[3, 6], [0, 9]], [[3, 5], [8, 8]], noise=0.0, floor_noise=0.0, gain=50.0)
    obs = env.step(torch.tensor([[LEFT, STAY]])).obs
    assert isinstance(obs, Tensor)
    field = env.scene().field
    assert field is not None
    expected = torch.zeros(2, 8)
    for agent, (row, column, action) in enumerate([(3, 5, LEFT), (0, 9, STAY)]):
        expected[agent, 0] = math.log1p(50.0 * float(field[0, row, column])) / math.log1p(50.0)
        expected[agent, 1], expected[agent, 2], expected[agent, 3 + action] = row / 9, column / 9, 1.0
    assert torch.allclose(obs[0], expected, rtol=1e-6)
    first = env.reset().obs
    assert isinstance(first, Tensor)
    assert not bool(first[..., 3:].any())


def test_what_agents_see_of_others_and_sources_is_the_local_concentration_only() -> None:
    """Same cell, same field, other sources and other agents elsewhere: same observation."""
    here = placed([[4, 4], [0, 0]], [[9, 9]], noise=0.0, floor_noise=0.0)
    there = placed([[4, 4], [7, 2]], [[0, 3]], noise=0.0, floor_noise=0.0)
    state = there.state_dict()
    state["state.field"] = here.state_dict()["state.field"]
    state["state.active"] = torch.zeros(1, 1, dtype=torch.bool)
    there.load_state_dict(state)
    idle = here.state_dict()
    idle["state.active"] = torch.zeros(1, 1, dtype=torch.bool)
    here.load_state_dict(idle)
    one, other = (env.step(torch.full((1, 2), STAY)).obs for env in (here, there))
    assert isinstance(one, Tensor)
    assert isinstance(other, Tensor)
    assert torch.equal(one[0, 0], other[0, 0])


def test_field_follows_the_equation_and_stops_being_fed() -> None:
    env = placed([[2, 3], [2, 3], [9, 0]], [[2, 3], [7, 7]], wind=(0.2, 0.0), decay=0.3, noise=0.0, floor_noise=0.0)
    field = env.scene().field
    assert field is not None
    q = torch.zeros(1, 10, 10)
    q[0, 7, 7] = 1.0  # the source at (2, 3) is neutralised before the field moves
    for _ in range(env.substeps):
        field = diffuse_step(field, q, env.medium)
    obs = env.step(torch.full((1, 3), STAY)).obs
    after = env.scene().field
    assert after is not None
    assert torch.equal(after, field)
    assert isinstance(obs, Tensor)
    assert float(obs[0, 0, 0]) == pytest.approx(math.log1p(100 * float(field[0, 2, 3])) / math.log1p(100))


def test_field_of_untouched_sources_stands_still() -> None:
    env = Chemical(num_envs=8)
    env.reset(seed=3)
    before = env.scene().field
    for _ in range(10):
        step = env.step(torch.full((8, 5), STAY))
    after = env.scene().field
    assert before is not None
    assert after is not None
    assert not bool(step.success.any())
    assert torch.allclose(after, before, rtol=1e-4, atol=1e-6)


def test_noise_has_the_stated_size() -> None:
    """True reading c: mean c, standard deviation hypot(noise c, floor_noise); log scale undone."""
    env = Chemical(num_envs=4000, num_agents=2, num_sources=1, noise=0.1, floor_noise=0.02, gain=10.0, decay=0.1)
    readings, true = [], []
    step = env.reset(seed=0)
    for _ in range(3):
        step = env.step(torch.full((4000, 2), STAY))
        obs, field, pos = step.obs, env.scene().field, step.pos
        assert isinstance(obs, Tensor)
        assert field is not None
        assert pos is not None
        readings.append(torch.expm1(obs[..., 0] * math.log1p(10.0)) / 10.0)
        true.append(field.flatten(1).gather(1, (pos[..., 0] * 10 + pos[..., 1]).long()))
    reading, concentration = torch.stack(readings), torch.stack(true)
    clear = concentration > 0.1  # far from where the reading is cut off at 0
    error = (reading - concentration)[clear] / torch.hypot(0.1 * concentration, torch.tensor(0.02))[clear]
    assert error.numel() > 2000
    assert abs(float(error.mean())) < 4 / error.numel() ** 0.5
    assert float(error.std()) == pytest.approx(1.0, abs=4 / (2 * error.numel()) ** 0.5)
    steps = torch.where(clear.all(0), reading - concentration, 0.0)
    assert abs(float(torch.corrcoef(steps.flatten(1))[0, 1])) < 0.05  # noise of different steps is independent


def test_planner_and_random_are_far_apart() -> None:
    env = Chemical(num_envs=2000)
    lengths = {}
    for policy in ("random", "planner"):
        step = env.reset(seed=5)
        running, success = torch.ones(2000, dtype=torch.bool), torch.zeros(2000, dtype=torch.bool)
        length = torch.zeros(2000)
        while bool(running.any()):
            step = env.step(env.floor_action(step.key) if policy == "random" else env.ceiling_action())
            length += running
            success |= running & step.success
            running &= ~step.done
            if bool(step.done.any()):
                step = env.reset(where=step.done)
        lengths[policy] = float(length.mean())
        assert float(success.float().mean()) == (1.0 if policy == "planner" else pytest.approx(0.001, abs=0.004))
    assert lengths["planner"] < 11 < 49 < lengths["random"]


@pytest.mark.parametrize("boundary", ["periodic", "absorb"])
def test_other_boundaries_and_shapes_run(boundary: str) -> None:
    env = Chemical(num_envs=3, dim=7, num_agents=3, num_sources=4, team=3, boundary=boundary, wind=[0.3, -0.2])
    step = env.reset(seed=0)
    for _ in range(60):
        if bool(step.done.any()):
            step = env.reset(where=step.done)
        step = env.step(env.ceiling_action())
        field = env.scene().field
        assert field is not None
        assert bool((field >= 0).all())
        assert bool(torch.isfinite(field).all())


def test_shaping_pays_for_the_change_of_the_own_reading() -> None:
    plain, shaped = (envs.make("chemical", num_envs=16, shaping=value) for value in (0.0, 2.0))
    before, twin = plain.reset(seed=3), shaped.reset(seed=3)
    assert isinstance(before.obs, torch.Tensor)
    for step in range(10):
        action = random.integers(random.stream(5, "walk"), 5, torch.arange(16)[:, None], torch.arange(5), step)
        after, twin = plain.step(action), shaped.step(action)
        rise_BN = after.obs[..., 0] - before.obs[..., 0]
        torch.testing.assert_close(twin.reward - after.reward, 2.0 * rise_BN)
        assert bool((rise_BN != 0).any())
        before = after
