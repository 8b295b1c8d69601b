"""Chemical reaction: crews, supplies, the site, and how much C is made."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from gnncomm.envs.chemical.chemical_reaction import ChemicalReaction
from gnncomm.envs.chemical.wind import react
from torch import Tensor

UP, RIGHT, DOWN, LEFT, STAY, RELEASE = range(6)
QUIET = {"noise": 0.0, "floor_noise": 0.0}


def placed(pos: list[list[int]], site: list[int], **settings: Any) -> ChemicalReaction:
    env = ChemicalReaction(num_agents=len(pos), **settings)
    env.reset(seed=0)
    state = env.state_dict()
    state["state.pos"], state["state.site"] = torch.tensor([pos]), torch.tensor([site])
    env.load_state_dict(state)
    return env


def test_release_adds_its_mass_to_the_own_species_and_uses_supply() -> None:
    """Far from the site, without decay: A and B each have exactly what was released, and C is nowhere."""
    env = placed([[0, 0], [0, 1], [7, 7]], [4, 4], supply=2, emission=1.5, decay=0.0, boundary="absorb", diffusion=0.0)
    for released in (1, 2, 2):  # the third release finds the supply spent
        env.step(torch.tensor([[RELEASE, STAY, RELEASE]]))
        field = env.state_dict()["state.field"]
        assert float(field[0, 0, 0, 0]) == pytest.approx(1.5 * released)
        assert float(field[0, 1, 7, 7]) == pytest.approx(1.5 * released)
        assert field.sum((2, 3))[0].tolist() == pytest.approx([1.5 * released, 1.5 * released, 0.0])
    assert env.state_dict()["state.supply"].tolist() == [[0, 2, 0]]
    assert env.scene().finished.tolist() == [[True, False, True]]


def test_what_is_made_in_one_cell_is_the_exact_solution() -> None:
    """No transport: one unit of A and B in the middle of the site, by the closed form."""
    env = placed([[4, 4], [4, 4]], [4, 4], diffusion=0.0, decay=0.0, boundary="absorb", rate=2.0, target=5.0)
    step = env.step(torch.tensor([[RELEASE, RELEASE]]))
    a = 0.0
    for _ in range(4):
        a += 0.25
        a = a / (1 + 2.0 * 0.25 * a)  # equal amounts: 1 / A grows by r dt
    state = env.state_dict()
    assert float(state["state.made"]) == pytest.approx(1 - a, rel=1e-5)
    assert float(state["state.field"][0, 2, 4, 4]) == pytest.approx(1 - a, rel=1e-5)
    assert step.reward[0].tolist() == pytest.approx([(1 - a) / 5.0 - 0.01] * 2, rel=1e-4)
    # left alone, it tends to the well-mixed solution of all that is there
    for _ in range(10):
        env.step(torch.tensor([[STAY, STAY]]))
    left = env.state_dict()["state.field"][0, :2, 4, 4]
    assert left.tolist() == pytest.approx([a / (1 + 2.0 * 10 * a)] * 2, rel=1e-4)


@pytest.mark.parametrize(
    ("where", "makes"), [([4, 4], True), ([3, 5], True), ([5, 3], True), ([2, 4], False), ([4, 6], False)]
)
def test_it_reacts_in_the_nine_cells_of_the_site_only(where: list[int], makes: bool) -> None:
    env = placed([where, where], [4, 4], diffusion=0.0)
    env.step(torch.tensor([[RELEASE, RELEASE]]))
    assert (float(env.state_dict()["state.made"]) > 0.1) == makes


def test_a_site_at_the_wall_is_cut_off() -> None:
    env = placed([[0, 7], [0, 7]], [0, 0], diffusion=0.0)
    env.step(torch.tensor([[RELEASE, RELEASE]]))
    assert float(env.state_dict()["state.made"]) == 0.0


@pytest.mark.parametrize("obstacles", ["none", "pillars"])
def test_both_elements_are_conserved(obstacles: str) -> None:
    """Behind closed walls, but for decay, which is small here: A + C and B + C are what was released."""
    env = ChemicalReaction(num_envs=32, decay=1e-6, obstacles=obstacles, vortex=0.3, target=1e9, supply=10)
    env.reset(seed=1)
    for t in range(25):
        env.step(env.ceiling_action() if t < 12 else env.floor_action(env._key))
    state = env.state_dict()
    mass = state["state.field"].sum((2, 3))
    released = 10.0 - state["state.supply"]
    assert torch.allclose(mass[:, 0] + mass[:, 2], released[:, :2].sum(1), rtol=1e-4)
    assert torch.allclose(mass[:, 1] + mass[:, 2], released[:, 2:].sum(1), rtol=1e-4)
    assert torch.allclose(mass[:, 2], state["state.made"], rtol=1e-4, atol=1e-5)
    assert float(mass[:, 2].min()) > 0.5
    assert bool((state["state.field"] >= 0).all())


def test_reward_of_an_episode_is_at_most_one_and_success_ends_it() -> None:
    env = ChemicalReaction(num_envs=64, time_cost=0.0)
    step = env.reset(seed=3)
    running, total = torch.ones(64, dtype=torch.bool), torch.zeros(64)
    while bool(running.any()):
        step = env.step(env.ceiling_action())
        total += torch.where(running, step.reward[:, 0], 0.0)
        assert torch.equal(step.terminated, step.success)
        running &= ~step.done
        if bool(step.done.any()):
            step = env.reset(where=step.done)
    assert torch.allclose(total, torch.ones(64), rtol=1e-5)


def test_observation_by_hand() -> None:
    env = placed([[4, 4], [4, 3], [4, 4]], [4, 4], **QUIET, gain=50.0)
    obs = env.step(torch.tensor([[RELEASE, RIGHT, RELEASE]])).obs
    assert isinstance(obs, Tensor)
    field, smell = env.state_dict()["state.field"][0], env._smell_CC[4 * 8 + 4].view(8, 8)

    def scaled(c: Tensor) -> float:
        return math.log1p(50.0 * float(c)) / math.log1p(50.0)

    for agent, (acts, left, is_a) in enumerate([(RELEASE, 7 / 8, True), (RIGHT, 1.0, True), (RELEASE, 7 / 8, False)]):
        expected = torch.zeros(15)
        expected[:3] = torch.tensor([scaled(c) for c in field[:, 4, 4]])
        expected[3] = scaled(smell[4, 4]) if is_a else 0.0
        expected[5 - is_a], expected[6], expected[7], expected[8], expected[9 + acts] = 1.0, 4 / 7, 4 / 7, left, 1.0
        assert torch.allclose(obs[0, agent], expected, rtol=1e-5), agent


def test_carriers_of_b_cannot_tell_where_the_site_is() -> None:
    """Without chemicals in the air, nothing in their rows depends on it; for carriers of A it does."""
    one, other = (placed([[2, 2], [3, 3]], site, **QUIET) for site in ([2, 2], [6, 6]))
    seen = [env.step(torch.full((1, 2), STAY)).obs for env in (one, other)]
    assert isinstance(seen[0], Tensor)
    assert isinstance(seen[1], Tensor)
    assert torch.equal(seen[0][0, 1], seen[1][0, 1])
    assert float((seen[0][0, 0] - seen[1][0, 0])[3]) > 0.1


def test_reaction_is_blind_to_the_order_of_the_species() -> None:
    a, b = torch.rand(2, 100, generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(react(a, b, 0.7), react(b, a, 0.7))
