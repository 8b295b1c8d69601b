"""Formation: shapes, places and rewards by hand, and who knows what."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from gnncomm.envs.formation import Formation, FormationDraws, FormationState
from torch import Tensor

from gnncomm.errors import ConfigError

UP, RIGHT, DOWN, LEFT, STAY = range(5)
EMPTY = torch.empty(1, 0, dtype=torch.int64)
NOTHING = FormationDraws(EMPTY, EMPTY)
Place = tuple[int, int]


def state(pos: list[Place], landmark: Place) -> FormationState:
    return FormationState(torch.tensor([pos]), torch.tensor([landmark]))


def play(env: Formation, now: FormationState, *action: int) -> tuple[list[list[int]], float, bool]:
    after, reward, flags = env.transition(now, torch.tensor([action]), NOTHING)
    assert len(set(reward[0].tolist())) == 1, "one reward for all"
    assert torch.equal(flags.terminated, flags.success)
    return after.pos[0].tolist(), float(reward[0, 0]), bool(flags.terminated)


def offsets(**settings: Any) -> list[list[int]]:
    env = Formation(dim=20, **settings)
    return (env.places(state([(0, 0)] * env.num_agents, (9, 9)))[0] - 9).tolist()


def test_shapes_by_hand() -> None:
    assert offsets(num_agents=4, shape="ring") == [[-1, 0], [0, 1], [1, 0], [0, -1]]
    assert offsets(num_agents=8, shape="ring") == [
        [-2, 0], [-1, 1], [0, 2], [1, 1], [2, 0], [1, -1], [0, -2], [-1, -1],
    ]  # fmt: skip
    assert offsets(num_agents=5, shape="ring") == [[-2, 0], [-1, 1], [1, 1], [2, 0], [0, -2]]
    assert offsets(num_agents=5, shape="line") == [[0, -2], [0, -1], [0, 0], [0, 1], [0, 2]]
    assert offsets(num_agents=4, shape="square") == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert offsets(num_agents=5, shape="square") == [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 0]]
    assert offsets(shape="0,-3;2,1") == [[0, -3], [2, 1]]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16])
def test_rings_are_rings(n: int) -> None:
    places = offsets(num_agents=n, shape="ring")
    assert len({tuple(place) for place in places}) == n
    assert {abs(row) + abs(column) for row, column in places} == {max(1, -(-n // 4))}


def test_moves_by_hand() -> None:
    env = Formation(dim=4, num_agents=5, shape="square")
    now = state([(1, 2), (0, 0), (3, 3), (2, 0), (3, 1)], (1, 2))
    assert play(env, now, UP, UP, RIGHT, LEFT, STAY)[0] == [[0, 2], [0, 0], [3, 3], [2, 0], [3, 1]]
    assert play(env, now, DOWN, RIGHT, DOWN, RIGHT, LEFT)[0] == [[2, 2], [0, 1], [3, 3], [2, 1], [3, 0]]


def test_shaping_by_hand() -> None:
    env = Formation(dim=7, shape="0,-1;0,1;1,0", shaping=3.0)
    now = state([(3, 1), (2, 4), (6, 6)], (3, 3))  # places (3, 2), (3, 4), (4, 3)
    # before: places 1 + 1 + 3, agents 1 + 1 + 5; after: places 0 + 1 + 2, agents 0 + 1 + 5; all over 2 * 3 agents * 6
    pos, reward, ended = play(env, now, RIGHT, STAY, STAY)
    assert (pos[0], ended) == ([3, 2], False)
    assert reward == pytest.approx(-0.05 + 3.0 * ((5 + 7) - (3 + 6)) / 36)
    assert play(env, state([(3, 2), (2, 4), (6, 6)], (3, 3)), LEFT, STAY, STAY)[1] == pytest.approx(
        -0.05 - 3.0 * 3 / 36
    )
    both = state([(3, 2), (3, 1), (3, 4)], (3, 3))
    assert play(env, both, STAY, RIGHT, STAY)[1:] == (pytest.approx(-0.05 + 3.0 / 36), False), (
        "two on one place fill one"
    )


def test_it_ends_when_all_places_are_filled_by_whomever() -> None:
    env = Formation(dim=7, shape="0,-1;0,1;1,0", shaping=0.0)
    for order in itertools.permutations([(3, 2), (3, 4), (4, 4)]):
        action = [LEFT if place == (4, 4) else STAY for place in order]
        _, reward, ended = play(env, state(list(order), (3, 3)), *action)
        assert (reward, ended) == (pytest.approx(0.95), True)
    assert play(env, state([(3, 2), (3, 4), (4, 4)], (3, 3)), STAY, STAY, STAY)[1:] == (pytest.approx(-0.05), False)


def test_observation_by_hand() -> None:
    env = Formation(dim=3, shape="0,0;0,1;1,0", seers=2)
    seen = env.observe(state([(0, 0), (2, 1), (1, 2)], (1, 0)), "flat")
    assert isinstance(seen, Tensor)
    own, number, mark = seen[0].split([6, 3, 6], -1)
    assert own.tolist() == [[1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 1, 0], [0, 1, 0, 0, 0, 1]]
    assert torch.equal(number, torch.eye(3))
    assert mark.tolist() == [[0, 1, 0, 1, 0, 0], [0, 1, 0, 1, 0, 0], [0] * 6]


def test_who_does_not_see_the_landmark_learns_nothing_of_it() -> None:
    env = Formation(num_envs=1, dim=8, seers=1)
    pos = [(1, 1), (2, 2), (3, 3), (4, 4)]
    one, other = (env.observe(state(pos, landmark), "flat") for landmark in ((2, 5), (6, 1)))
    assert isinstance(one, Tensor)
    assert isinstance(other, Tensor)
    assert torch.equal(one[:, 1:], other[:, 1:])
    assert not torch.equal(one[:, :1], other[:, :1])


def test_landmarks_are_uniform_where_the_shape_fits() -> None:
    env = Formation(num_envs=9000, dim=5, shape="ring")
    env.reset(seed=1)
    landmark = env.state_dict()["state.landmark"]
    cells, counts = (landmark[:, 0] * 5 + landmark[:, 1]).unique(return_counts=True)
    assert cells.tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]
    assert bool(((counts / 9000 - 1 / 9).abs() < 4 * 0.32 / 9000**0.5).all())
    corner = Formation(num_envs=50, dim=3, shape="0,0;0,2;2,0")
    corner.reset(seed=0)
    assert not bool(corner.state_dict()["state.landmark"].any()), "it fits in one way only"


def test_shaping_sums_up_to_the_distance_lost() -> None:
    env = Formation(num_envs=64, shaping=2.0)
    step = env.reset(seed=4)
    first, total = env._apart(env._current("test")), torch.zeros(64)
    for t in range(10):
        step = env.step(env.floor_action(step.key + t))
        assert not bool(step.done.any())
        total += step.reward[:, 0] + 0.05
    last = env._apart(env._current("test"))
    assert torch.allclose(total, 2.0 * (first - last), atol=1e-5)
    assert not torch.equal(first, last)
    there = state([(2, 3), (3, 4), (4, 3), (3, 2)], (3, 3))
    assert float(Formation()._apart(there)) == 0.0


@pytest.mark.parametrize("settings", [{}, *Formation.protocols.values(), {"num_agents": 8, "shape": "ring", "dim": 9}])
def test_one_that_sees_everything_succeeds(settings: dict[str, Any]) -> None:
    env = Formation(num_envs=300, **settings)
    step = env.reset(seed=2)
    won, running = torch.zeros(300, dtype=torch.bool), torch.ones(300, dtype=torch.bool)
    while bool(running.any()):
        step = env.step(env.ceiling_action())
        won |= running & step.success
        running &= ~step.done
        if bool(running.any()):
            step = env.reset(where=step.done)
    assert bool(won.all())


def test_the_ceiling_matches_everyone_with_a_place_of_its_own() -> None:
    env = Formation(dim=9, num_agents=5, shape="line")
    now = state([(0, 0)] * 5, (5, 4))
    for _ in range(20):
        now, _, flags = env.transition(now, env.solve(now), NOTHING)
    assert bool(flags.success)
    assert sorted(now.pos[0].tolist()) == [[5, column] for column in range(2, 7)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 1}, "dim: expected an integer of at least 2"),
        ({"shape": "circle"}, "shape: expected one of"),
        ({"shape": "0,1;0"}, "shape: expected one of"),
        ({"shape": 3}, "shape: expected one of"),
        ({"shape": "0,1;0,1"}, "shape: expected different offsets"),
        ({"shape": "0,1;0,2", "num_agents": 3}, "shape: expected 3 different offsets"),
        ({"shape": "0,1;0,9"}, "places that fit into 7 x 7 cells"),
        ({"num_agents": 9, "shape": "line"}, "places that fit into 7 x 7 cells"),
        ({"num_agents": 0}, "num_agents: expected"),
        ({"seers": 0}, "seers: expected an integer of at least 1 and at most 4"),
        ({"seers": 5}, "seers: expected an integer of at least 1 and at most 4"),
        ({"shaping": -0.1}, "shaping: expected"),
        ({"max_steps": 0}, "max_steps: expected"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Formation(**settings)
