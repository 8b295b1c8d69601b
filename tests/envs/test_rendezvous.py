"""Rendezvous: rules and numbers by hand, symmetry, and how long it takes those who talk and those who do not."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from gnncomm.envs.rendezvous import Rendezvous, RendezvousDraws, RendezvousState
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.types import SparseObs

UP, RIGHT, DOWN, LEFT, STAY = range(5)
NOTHING = RendezvousDraws(torch.empty(1, 0, dtype=torch.int64))
Place = tuple[int, int]


def state(*pos: Place) -> RendezvousState:
    return RendezvousState(torch.tensor([pos]))


def play(env: Rendezvous, now: RendezvousState, *action: int) -> tuple[list[list[int]], float, bool]:
    after, reward, flags = env.transition(now, torch.tensor([action]), NOTHING)
    assert len(set(reward[0].tolist())) == 1, "one reward for all"
    assert torch.equal(flags.terminated, flags.success)
    return after.pos[0].tolist(), float(reward[0, 0]), bool(flags.terminated)


def test_moves_by_hand() -> None:
    env = Rendezvous(dim=4, num_agents=5, shaping=0.0)
    middle = state(*[(1, 2)] * 4, (0, 0))
    assert play(env, middle, UP, RIGHT, DOWN, LEFT, STAY)[0] == [[0, 2], [1, 3], [2, 2], [1, 1], [0, 0]]
    corners = state((0, 0), (0, 3), (3, 3), (3, 0), (2, 2))
    assert play(env, corners, UP, RIGHT, DOWN, LEFT, STAY)[0] == [[0, 0], [0, 3], [3, 3], [3, 0], [2, 2]]
    assert play(env, corners, LEFT, UP, RIGHT, DOWN, STAY)[0] == [[0, 0], [0, 3], [3, 3], [3, 0], [2, 2]]


def test_they_meet_when_all_are_there() -> None:
    env = Rendezvous(dim=4, num_agents=3, shaping=0.0)
    _, reward, ended = play(env, state((1, 1), (1, 2), (1, 1)), STAY, LEFT, STAY)
    assert (reward, ended) == (pytest.approx(0.95), True)
    _, reward, ended = play(env, state((1, 1), (1, 3), (1, 1)), STAY, LEFT, STAY)
    assert (reward, ended) == (pytest.approx(-0.05), False)
    swap = play(env, state((1, 1), (1, 2), (1, 1)), RIGHT, LEFT, RIGHT)
    assert swap[2] is False, "to pass each other is not to meet"


def test_spread_is_the_side_of_a_square() -> None:
    env = Rendezvous(dim=6, num_agents=3, spread=1, shaping=0.0)
    assert play(env, state((1, 1), (2, 2), (2, 1)), STAY, STAY, STAY)[2] is True
    assert play(env, state((1, 1), (2, 2), (3, 1)), STAY, STAY, STAY)[2] is False
    assert play(env, state((1, 1), (1, 2), (1, 3)), STAY, STAY, STAY)[2] is False
    assert play(env, state((1, 1), (2, 2), (3, 1)), DOWN, STAY, STAY)[2] is True


def test_shaping_is_a_potential() -> None:
    """Its sum over a path is what its ends say: the smallest rectangle around the team, in parts of the grid."""
    env = Rendezvous(dim=6, num_agents=2, shaping=3.0)
    first = play(env, state((0, 0), (4, 3)), DOWN, LEFT)
    assert first[1] == pytest.approx(-0.05 + 3.0 * (7 - 5) / 10)
    away = play(env, state((1, 0), (4, 2)), UP, RIGHT)
    assert away[1] == pytest.approx(-0.05 - 3.0 * 2 / 10)
    assert play(env, state((1, 1), (1, 2)), RIGHT, STAY)[1] == pytest.approx(0.95 + 3.0 / 10)


def test_observation_by_hand() -> None:
    env = Rendezvous(dim=3, num_agents=3, vision=1)
    seen = env.observe(state((0, 0), (1, 1), (1, 1)), "flat")
    assert isinstance(seen, Tensor)
    assert seen[0, :, :6].tolist() == [[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 1, 0]]
    window = seen[0, :, 6:].view(3, 3, 3, 2)
    assert window[0, ..., 0].tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 2]], "two others on one cell, itself not counted"
    assert window[0, ..., 1].tolist() == [[1, 1, 1], [1, 0, 0], [1, 0, 0]]
    assert window[1, ..., 0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert not bool(window[1:, ..., 1].any())
    blind = Rendezvous(dim=3, num_agents=3, vision=0, coordinates=False).observe(state((0, 0), (1, 1), (1, 1)), "flat")
    assert isinstance(blind, Tensor)
    assert blind[0].tolist() == [[0, 0], [1, 0], [1, 0]]


def test_observation_against_counting() -> None:
    env = Rendezvous(num_envs=20, dim=6, num_agents=5, vision=2, observation="sparse")
    step = env.reset(seed=3)
    pos = env.state_dict()["state.pos"]
    assert isinstance(step.obs, SparseObs)
    assert step.obs.index.shape == (20, 5, 2 + 4 + 25)
    flat = step.obs.to_flat()
    for b, i in itertools.product(range(20), range(5)):
        row, col = pos[b, i].tolist()
        expected = torch.zeros(5, 5, 2)
        for r, c in itertools.product(range(-2, 3), range(-2, 3)):
            cell = [row + r, col + c]
            expected[r + 2, c + 2, 0] = sum(pos[b, j].tolist() == cell for j in range(5) if j != i)
            expected[r + 2, c + 2, 1] = not all(0 <= x < 6 for x in cell)
        assert torch.equal(flat[b, i, 12:], expected.flatten())


def test_agents_are_interchangeable() -> None:
    env = Rendezvous(num_envs=8, dim=5, num_agents=4)
    env.reset(seed=1)
    now, order = RendezvousState(env.state_dict()["state.pos"]), torch.tensor([2, 0, 3, 1])
    swapped = RendezvousState(now.pos[:, order])
    action = torch.arange(32).view(8, 4) % 5
    one, reward, _ = env.transition(now, action, NOTHING)
    other, same, _ = env.transition(swapped, action[:, order], NOTHING)
    assert torch.equal(one.pos[:, order], other.pos)
    assert torch.equal(reward, same)
    first, second = env.observe(now, "flat"), env.observe(swapped, "flat")
    assert isinstance(first, Tensor)
    assert isinstance(second, Tensor)
    assert torch.equal(first[:, order], second)


def steps_until_met(env: Rendezvous, choose: Any) -> Tensor:
    step = env.reset(seed=9)
    length = torch.zeros(env.num_envs, dtype=torch.int64)
    running = torch.ones(env.num_envs, dtype=torch.bool)
    while bool(running.any()):
        step = env.step(choose(env.state_dict()["state.pos"]))
        length += running
        assert bool((step.success[running] == step.terminated[running]).all())
        running &= ~step.done
        if bool(running.any()):
            step = env.reset(where=step.done)
    return length


def walk(pos: Tensor, goal: Tensor) -> Tensor:
    row, col = (goal - pos).unbind(-1)
    vertical = torch.where(row > 0, DOWN, UP)
    return torch.where(row != 0, vertical, torch.where(col > 0, RIGHT, torch.where(col < 0, LEFT, STAY)))


def test_the_ceiling_is_the_shortest_there_is() -> None:
    """Against all cells, and no later than those who agreed on the middle before the episode."""
    env = Rendezvous(num_envs=500, dim=7, num_agents=3)
    env.reset(seed=9)
    pos = env.state_dict()["state.pos"]
    cells = torch.cartesian_prod(torch.arange(7), torch.arange(7))
    nearest = (pos[:, :, None] - cells).abs().sum(-1).amax(1).amin(1)
    took = steps_until_met(env, lambda now: env.ceiling_action())
    assert torch.equal(took, nearest)
    middle = torch.tensor([3, 3])
    agreed = steps_until_met(env, lambda now: walk(now, middle))
    assert bool((agreed <= (pos - middle).abs().sum(-1).amax(1)).all()), "at the middle, unless they meet on the way"
    assert float(agreed.float().mean()) > float(took.float().mean()) + 0.8


@pytest.mark.parametrize("settings", [{}, *Rendezvous.protocols.values()])
def test_one_that_sees_everything_always_meets(settings: dict[str, Any]) -> None:
    env = Rendezvous(num_envs=200, **settings)
    assert int(steps_until_met(env, lambda now: env.ceiling_action()).max()) < env.max_steps / 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 1}, "dim: expected an integer of at least 2"),
        ({"num_agents": 1}, "num_agents: expected an integer of at least 2"),
        ({"dim": 2, "num_agents": 5}, r"num_agents: expected at most dim \* dim = 4, got 5"),
        ({"vision": 8}, "vision: expected an integer of at least 0 and at most 7"),
        ({"spread": 6}, "spread: expected an integer of at least 0 and at most 5"),
        ({"shaping": -1.0}, "shaping: expected a finite number"),
        ({"coordinates": "yes"}, "coordinates: expected True or False"),
        ({"max_steps": 0}, "max_steps: expected"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Rendezvous(**settings)
