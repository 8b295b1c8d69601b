"""Stag hunt: moving, catching and roaming by hand, and what can never happen in random play."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gnncomm.envs.stag_hunt import StagHunt, StagHuntDraws, StagHuntState
from torch import Tensor

from gnncomm.errors import ConfigError

RIGHT, DOWN, LEFT, UP, STAY, CATCH = range(6)
Place = tuple[int, int]


def build(dim: int = 5, agents: int = 2, stags: int = 1, hares: int = 0, **more: Any) -> StagHunt:
    return StagHunt(dim=dim, num_agents=agents, num_stags=stags, num_hares=hares, **more)


def state(
    pos: list[Place], prey: list[Place], hunting: list[bool] | None = None, left: list[bool] | None = None
) -> StagHuntState:
    return StagHuntState(
        torch.tensor([pos]),
        torch.tensor([hunting or [True] * len(pos)]),
        torch.tensor([prey]),
        torch.tensor([left or [True] * len(prey)]),
    )


def play(
    env: StagHunt,
    now: StagHuntState,
    action: list[int],
    first: list[int] | None = None,
    turn: list[float] | None = None,
) -> tuple[StagHuntState, float, bool]:
    """One step; ``first`` ranks hunters, then prey (the largest goes first), ``turn`` says where prey goes."""
    draws = StagHuntDraws(
        torch.empty(1, 0, dtype=torch.int64),
        torch.tensor([first or list(range(100, 100 - env.num_agents - env.num_prey, -1))]),
        torch.tensor([turn or [0.0] * env.num_prey]),
    )
    after, reward, flags = env.transition(now, torch.tensor([action]), draws)
    assert len(set(reward[0].tolist())) == 1, "one reward for all"
    assert torch.equal(flags.terminated, flags.success)
    return after, float(reward[0, 0]), bool(flags.terminated)


def test_hunters_move_and_the_border_stops_them() -> None:
    env = build(agents=4)
    now = state([(2, 2), (0, 4), (4, 4), (4, 0)], [(0, 0)])
    assert play(env, now, [RIGHT, RIGHT, DOWN, LEFT])[0].pos.tolist() == [[[2, 3], [0, 4], [4, 4], [4, 0]]]
    assert play(env, now, [DOWN, UP, LEFT, STAY])[0].pos.tolist() == [[[3, 2], [0, 4], [4, 3], [4, 0]]]
    assert play(env, now, [UP, CATCH, STAY, UP])[0].pos.tolist() == [[[1, 2], [0, 4], [4, 4], [3, 0]]]


def test_taken_cells_stop_hunters_even_if_they_are_left_now() -> None:
    env = build(agents=3)
    now = state([(2, 1), (2, 2), (1, 3)], [(2, 3)])
    after = play(env, now, [RIGHT, UP, DOWN])[0]
    assert after.pos.tolist() == [[[2, 1], [1, 2], [1, 3]]], "a hunter that leaves, and a stag"


def test_of_two_that_want_a_cell_the_first_gets_it() -> None:
    env = build(agents=2)
    now = state([(2, 1), (2, 3)], [(0, 0)])
    assert play(env, now, [RIGHT, LEFT], first=[9, 5, 0])[0].pos.tolist() == [[[2, 2], [2, 3]]]
    assert play(env, now, [RIGHT, LEFT], first=[5, 9, 0])[0].pos.tolist() == [[[2, 1], [2, 2]]]
    blocked = state([(2, 1), (2, 3)], [(0, 0)], hunting=[True, False])
    assert play(env, blocked, [RIGHT, LEFT], first=[5, 9, 0])[0].pos.tolist() == [[[2, 2], [2, 3]]], (
        "who left wants none"
    )


def test_two_catch_a_stag_and_leave_with_it() -> None:
    env = build(agents=4, stags=2)
    now = state([(2, 1), (1, 2), (0, 0), (4, 4)], [(2, 2), (4, 0)])
    after, reward, ended = play(env, now, [CATCH, CATCH, STAY, STAY])
    assert (reward, ended) == (10.0, False)
    assert after.left.tolist() == [[False, True]]
    assert after.hunting.tolist() == [[False, False, True, True]]
    assert not bool(env.observe(after, "flat")[0, :2].any())  # type: ignore[index]  # the flat form
    stays = [[False] * 4 + [True, False]] * 2
    assert env.allowed(after)[0, :2].tolist() == stays
    again, reward, _ = play(env, after, [RIGHT, CATCH, RIGHT, LEFT])
    assert again.pos[0, :2].tolist() == [[2, 1], [1, 2]]
    assert reward == 0.0


@pytest.mark.parametrize("penalty", [0.0, -1.25, -2.0])
def test_one_alone_is_punished(penalty: float) -> None:
    env = build(penalty=penalty, step_reward=-0.5)
    after, reward, ended = play(env, state([(2, 1), (1, 2)], [(2, 2)]), [CATCH, STAY])
    assert (reward, ended) == (penalty - 0.5, False)
    assert bool(after.left.all() & after.hunting.all())
    far = state([(2, 1), (1, 2)], [(4, 4)])
    assert play(env, far, [CATCH, CATCH])[1] == -0.5, "catching next to nothing does nothing"
    diagonal = state([(1, 1), (3, 3)], [(2, 2)])
    assert play(env, diagonal, [CATCH, CATCH])[1] == -0.5


def test_each_stag_that_is_missed_costs() -> None:
    env = build(agents=1, stags=2, hares=1)
    assert play(env, state([(2, 2)], [(2, 1), (2, 3), (0, 0)]), [CATCH])[1] == -4.0


def test_whoever_has_caught_counts_for_no_other() -> None:
    """Hunter 1 stands between two stags, 0 next to the first and 2 next to the second: the order of prey decides."""
    env = build(agents=3, stags=2)
    now = state([(2, 0), (2, 2), (2, 4)], [(2, 1), (2, 3)])
    after, reward, ended = play(env, now, [CATCH] * 3, first=[0, 0, 0, 9, 5])
    assert (reward, after.left.tolist()) == (10.0 - 2.0, [[False, True]])
    assert after.hunting.tolist() == [[False, False, True]]
    assert ended, "one hunter catches no stag"
    after, reward, _ = play(env, now, [CATCH] * 3, first=[0, 0, 0, 5, 9])
    assert (reward, after.left.tolist()) == (8.0, [[True, False]])
    pair = state([(2, 2), (1, 2), (0, 0)], [(2, 1), (2, 3)])
    assert play(env, pair, [CATCH, CATCH, STAY])[1] == -4.0, "hunter 1 is next to neither, hunter 0 alone next to both"


def test_three_catch_one_and_all_leave() -> None:
    env = build(agents=4, stags=2)
    now = state([(2, 1), (1, 2), (2, 3), (4, 4)], [(2, 2), (4, 0)])
    after, reward, ended = play(env, now, [CATCH, CATCH, CATCH, STAY])
    assert (reward, ended, after.hunting.tolist()) == (10.0, True, [[False, False, False, True]])


def test_a_hare_needs_one() -> None:
    env = build(agents=2, stags=1, hares=1)
    after, reward, ended = play(env, state([(2, 1), (4, 4)], [(0, 0), (2, 2)]), [CATCH, STAY])
    assert (reward, after.left.tolist(), ended) == (1.0, [[True, False]], True)
    both = play(
        build(agents=3, stags=1, hares=1), state([(2, 1), (4, 4), (4, 3)], [(0, 0), (2, 2)]), [CATCH, STAY, STAY]
    )
    assert both[2] is False


def test_touching_is_catching_without_leaving() -> None:
    env = build(agents=2, stags=2, capture="touch", penalty=-1.25, step_reward=-0.1)
    assert env.num_actions == 5
    after, reward, ended = play(env, state([(2, 0), (0, 2)], [(2, 2), (4, 4)]), [RIGHT, DOWN])
    assert reward == pytest.approx(10.0 - 0.1)
    assert (after.left.tolist(), after.hunting.tolist(), ended) == ([[False, True]], [[True, True]], False)
    assert play(env, state([(2, 0), (0, 0)], [(2, 2), (4, 4)]), [RIGHT, STAY])[1] == pytest.approx(-1.35)


def test_prey_roams_to_free_cells_only() -> None:
    env = build(dim=3, agents=1, stags=1, hares=1)
    centre = state([(0, 1)], [(1, 1), (1, 0)])  # up is a hunter, left a hare: right and down are free
    ends = [play(env, centre, [STAY], turn=[u, 0.99])[0].prey[0, 0].tolist() for u in (0.0, 0.49, 0.5, 0.99)]
    assert ends == [[1, 2], [1, 2], [2, 1], [2, 1]]
    shut_in = state([(0, 1)], [(0, 0), (1, 0)])
    assert play(env, shut_in, [STAY], turn=[0.5, 0.0])[0].prey[0, 0].tolist() == [0, 0]
    after_move = play(env, state([(0, 2)], [(1, 1), (2, 0)]), [LEFT], turn=[0.99, 0.0])[0]
    assert after_move.pos[0, 0].tolist() == [0, 1]
    assert after_move.prey[0, 0].tolist() == [1, 0], "the hunter is where it went to: right, down and left are free"


def test_of_two_prey_that_want_a_cell_the_first_gets_it() -> None:
    env = build(dim=5, agents=1, stags=2)
    now = state([(4, 4)], [(0, 0), (0, 2)])  # right, and (right, down, left): 0.9 is left
    assert play(env, now, [STAY], first=[0, 9, 5], turn=[0.0, 0.9])[0].prey.tolist() == [[[0, 1], [0, 2]]]
    assert play(env, now, [STAY], first=[0, 5, 9], turn=[0.0, 0.9])[0].prey.tolist() == [[[0, 0], [0, 1]]]
    gone = state([(4, 4)], [(0, 0), (0, 2)], left=[True, False])
    after = play(env, gone, [STAY], first=[0, 5, 9], turn=[0.0, 0.9])[0]
    assert after.prey.tolist() == [[[0, 1], [0, 2]]], "prey that was caught wants none, and stays where it was"


def test_cells_of_those_who_left_are_free() -> None:
    env = build(dim=3, agents=4, stags=2)
    now = state([(0, 1), (1, 0), (2, 1), (2, 2)], [(1, 1), (0, 2)])
    after, reward, _ = play(env, now, [CATCH, CATCH, STAY, STAY], turn=[0.0, 0.9])
    assert reward == 10.0
    assert after.prey[0, 1].tolist() == [0, 1], "where a hunter stood that left in this step"


def test_hunters_that_left_want_no_cell() -> None:
    """Hunter 0 left from (2, 3) long ago; hunter 1 goes there from (2, 2), whoever would go first."""
    env = build(dim=5, agents=2, stags=1)
    now = state([(2, 3), (2, 2)], [(0, 0)], [False, True])
    for first in ([9, 5, 1], [5, 9, 1]):
        assert play(env, now, [STAY, 0], first=first)[0].pos[0, 1].tolist() == [2, 3]


def test_who_left_is_not_drawn() -> None:
    env = build(dim=5, agents=2, stags=1, num_envs=1)
    env.reset(seed=0)
    env.load_state_dict({**env.state_dict(), **state([(2, 3), (4, 4)], [(0, 0)], [False, True]).tensors("state.")})
    assert env.render("text").splitlines()[2] == ". . . . ."  # type: ignore[union-attr]
    assert env.scene().present.tolist() == [[False, True]]  # type: ignore[union-attr]


def test_observation_by_hand() -> None:
    env = build(dim=5, agents=3, stags=1, hares=1, vision=1, coordinates=True)
    seen = env.observe(state([(0, 0), (0, 1), (4, 4)], [(1, 1), (3, 4)]), "flat")
    assert isinstance(seen, Tensor)
    grid = seen[0, :, :-2].view(3, 3, 3, 3)
    assert grid.nonzero().tolist() == [
        [0, 1, 1, 0],  # itself in the middle
        [0, 1, 2, 0],
        [0, 2, 2, 1],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
        [1, 2, 1, 1],
        [2, 0, 1, 2],
        [2, 1, 1, 0],
    ]
    assert seen[0, :, -2:].tolist() == [[0, 0], [0, 0.25], [1, 1]]
    gone = env.observe(state([(0, 0), (0, 1), (4, 4)], [(1, 1), (3, 4)], [True, False, True], [False, True]), "flat")
    assert isinstance(gone, Tensor)
    assert gone[0, 0, :-2].view(3, 3, 3).nonzero().tolist() == [[1, 1, 0]]
    assert not bool(gone[0, 1].any())


def test_mask_by_hand() -> None:
    env = build(dim=3, agents=2)
    mask = env.allowed(state([(0, 0), (1, 1)], [(1, 2)]))
    assert mask[0].tolist() == [[True, True, False, False, True, False], [True, True, True, True, True, True]]


@pytest.mark.parametrize("capture", ["catch", "touch"])
def test_random_play_keeps_the_rules(capture: str) -> None:
    """Nobody shares a cell, moves are at most one cell, prey never comes back, and prey that can move does."""
    env = build(dim=5, agents=5, stags=3, hares=2, capture=capture, num_envs=256, max_steps=60)
    step = env.reset(seed=1)
    before = env._current("test")
    rolled = 0
    for t in range(60):
        step = env.step(env.floor_action(step.key + t))
        now = env._current("test")
        cells = torch.cat([now.pos, now.prey], 1)
        there = torch.cat([now.hunting, now.left], 1)
        assert bool(((cells >= 0) & (cells < 5)).all())
        same = (cells[:, :, None] == cells[:, None]).all(-1) & there[:, :, None] & there[:, None]
        assert not bool((same & ~torch.eye(10, dtype=torch.bool)).any())
        assert bool(((now.pos - before.pos).abs().sum(-1) <= 1).all())
        assert bool(((now.prey - before.prey).abs().sum(-1) <= 1).all())
        assert not bool((now.left & ~before.left).any() | (now.hunting & ~before.hunting).any())
        rolled += int(((now.prey != before.prey).any(-1) & now.left).sum())
        if bool(step.done.any()):
            step = env.reset(where=step.done)
        before = env._current("test")
    assert rolled > 1000


def test_prey_turns_every_way_equally_often() -> None:
    env = build(dim=9, agents=1, stags=1, num_envs=8000)
    env.reset(seed=2)
    middle = env._current("test").with_tensors(
        {
            "pos": torch.zeros(8000, 1, 2, dtype=torch.int64),
            "prey": torch.full((8000, 1, 2), 4),
            "hunting": torch.ones(8000, 1, dtype=torch.bool),
            "left": torch.ones(8000, 1, dtype=torch.bool),
        }
    )
    draws = env.draws(env._key, env._step + 1)
    after, _, _ = env.transition(middle, torch.full((8000, 1), STAY), draws)
    ways, counts = after.prey.view(-1, 2).unique(dim=0, return_counts=True)
    assert ways.tolist() == [[3, 4], [4, 3], [4, 5], [5, 4]]
    assert bool(((counts / 8000 - 0.25).abs() < 4 * 0.433 / 8000**0.5).all())


@pytest.mark.parametrize("settings", [{}, *StagHunt.protocols.values()])
def test_one_that_sees_everything_catches_all_that_can_be_caught(settings: dict[str, Any]) -> None:
    env = StagHunt(num_envs=64, **settings)
    step = env.reset(seed=3)
    won, total, running = torch.zeros(64, dtype=torch.bool), torch.zeros(64), torch.ones(64, dtype=torch.bool)
    while bool(running.any()):
        step = env.step(env.ceiling_action())
        total += torch.where(running, step.reward[:, 0], 0.0)
        won |= running & step.success
        running &= ~step.done
        if bool(step.done.any()) and bool(running.any()):
            step = env.reset(where=step.done)
    assert float(won.float().mean()) > 0.95
    most = 10 * min(env.num_stags, env.num_agents // 2) if env.leave else 10 * env.num_stags
    assert float(total.mean()) > 0.75 * most


def test_adjust_changes_the_punishment_in_flight() -> None:
    env = build(num_envs=1)
    env.reset(seed=0)
    env.adjust(penalty=-0.5)
    assert env.config["penalty"] == -0.5
    assert play(env, state([(2, 1), (1, 2)], [(2, 2)]), [CATCH, STAY])[1] == -0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 1}, "dim: expected an integer of at least 2"),
        ({"num_stags": 0}, "expected prey"),
        ({"dim": 4, "num_agents": 9}, r"at most dim \* dim = 16 in all, got 9, 8 and 0"),
        ({"num_agents": 0}, "num_agents: expected"),
        ({"num_hares": -1}, "num_hares: expected"),
        ({"vision": 11}, "vision: expected an integer of at least 0 and at most 10"),
        ({"capture": "hunt"}, "capture: expected one of"),
        ({"penalty": 1.0}, "penalty: expected a finite number"),
        ({"step_reward": 0.1}, "step_reward: expected a finite number"),
        ({"stag_reward": -1.0}, "stag_reward: expected"),
        ({"hare_reward": float("inf")}, "hare_reward: expected"),
        ({"coordinates": 1}, "coordinates: expected True or False"),
        ({"max_steps": 0}, "max_steps: expected"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StagHunt(**settings)
