"""Hallway: the rules by hand, and what agents without messages can reach, by enumeration of all they can do."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from gnncomm.envs.hallway import Hallway, HallwayDraws, HallwayState
from torch import Tensor

from gnncomm.errors import ConfigError

STAY, TOWARDS, AWAY = 0, 1, 2
EPISODES = 20_000


def state(distance: list[int], stuck: list[bool] | None = None, active: tuple[bool, ...] = (True,)) -> HallwayState:
    return HallwayState(
        torch.tensor([distance]),
        torch.tensor([stuck or [False] * len(distance)]),
        torch.tensor([active]),
        torch.zeros(1, len(active), dtype=torch.bool),
    )


def play(env: Hallway, now: HallwayState, action: list[int]) -> tuple[HallwayState, list[float], bool, bool]:
    quiet = HallwayDraws(torch.empty(1, 0, dtype=torch.int64), torch.zeros_like(now.stuck))
    after, reward, flags = env.transition(now, torch.tensor([action]), quiet)
    return after, reward[0].tolist(), bool(flags.terminated), bool(flags.success)


def test_moves_stop_at_both_ends() -> None:
    env = Hallway(lengths="2,3,4")
    after, reward, ended, _ = play(env, state([2, 3, 2]), [AWAY, AWAY, STAY])
    assert after.distance.tolist() == [[2, 3, 2]]
    assert (reward, ended) == ([0.0] * 3, False)
    assert play(env, state([1, 2, 3]), [AWAY, AWAY, TOWARDS])[0].distance.tolist() == [[2, 3, 2]]


def test_all_at_once_win_and_fewer_lose() -> None:
    env = Hallway(lengths="2,3", win_reward=10.0)
    after, reward, ended, success = play(env, state([1, 1]), [TOWARDS, TOWARDS])
    assert after.distance.tolist() == [[0, 0]]
    assert (reward, ended, success) == ([10.0, 10.0], True, True)
    for action in ([TOWARDS, STAY], [STAY, TOWARDS], [TOWARDS, AWAY]):
        _, reward, ended, success = play(env, state([1, 1]), action)
        assert (reward, ended, success) == ([0.0, 0.0], True, False)
    assert play(env, state([1, 2]), [STAY, TOWARDS])[2:] == (False, False)


def test_who_is_stuck_stays() -> None:
    env = Hallway(lengths="3,3")
    after, reward, ended, success = play(env, state([1, 1], stuck=[False, True]), [TOWARDS, TOWARDS])
    assert after.distance.tolist() == [[0, 1]]
    assert (reward, ended, success) == ([0.0, 0.0], True, False)
    assert play(env, state([2, 2], stuck=[True, False]), [AWAY, AWAY])[0].distance.tolist() == [[2, 3]]


def test_groups_win_one_after_the_other() -> None:
    env = Hallway(lengths="2,2|3,3")
    two = state([1, 1, 2, 1], active=(True, True))
    after, reward, ended, success = play(env, two, [TOWARDS, TOWARDS, TOWARDS, STAY])
    assert (reward, ended, success) == ([1.0] * 4, False, False)
    assert after.active.tolist() == [[False, True]]
    final, reward, ended, success = play(env, after, [AWAY, AWAY, TOWARDS, TOWARDS])
    assert final.distance.tolist() == [[0, 0, 0, 0]], "a group that is done does not move"
    assert (reward, ended, success) == ([1.0] * 4, True, True)


def test_groups_that_win_together_pay_one_and_a_half_times() -> None:
    env = Hallway(lengths="2|3|4", win_reward=2.0)
    after, reward, ended, success = play(env, state([1, 1, 4], active=(True,) * 3), [TOWARDS, TOWARDS, STAY])
    assert reward == [2.0 * 2 - 1.5 * 2 * 2.0] * 3
    assert after.won.tolist() == [[False] * 3]
    assert not ended
    for _ in range(3):
        after, reward, ended, success = play(env, after, [STAY, STAY, TOWARDS])
        assert (reward, ended) == ([0.0] * 3, False)
    after, reward, ended, success = play(env, after, [STAY, STAY, TOWARDS])
    assert (reward, ended, success) == ([2.0] * 3, True, False)


def test_one_group_may_fail_while_another_goes_on() -> None:
    env = Hallway(lengths="2,2|3,3")
    after, reward, ended, _ = play(env, state([1, 1, 2, 2], active=(True, True)), [TOWARDS, STAY, STAY, STAY])
    assert (reward, ended, after.active.tolist()) == ([0.0] * 4, False, [[False, True]])
    both = play(env, state([1, 1, 1, 1], active=(True, True)), [TOWARDS, STAY, TOWARDS, STAY])
    assert both[1:] == ([0.0] * 4, True, False)


def test_observations_by_hand() -> None:
    plain = Hallway(lengths="2,3", slip=0.0).observe(state([2, 1]), "flat")
    assert isinstance(plain, Tensor)
    assert plain[0].tolist() == [[0, 0, 1, 0, 1, 0], [0, 1, 0, 0, 0, 1]]
    slippery = Hallway(lengths="2|3", slip=0.5).observe(state([2, 1], [False, True], (True, False)), "flat")
    assert isinstance(slippery, Tensor)
    assert slippery[0].tolist() == [[0, 0, 1, 0, 1, 0, 1, 0], [0, 1, 0, 0, 0, 1, 0, 1]]
    scalar = Hallway(lengths="2,3", slip=0.0, encoding="scalar").observe(state([2, 1]), "flat")
    assert isinstance(scalar, Tensor)
    assert scalar[0].tolist() == [[2], [1]]
    groups = Hallway(lengths="2|3", slip=0.0, encoding="scalar").observe(state([0, 3], None, (False, True)), "flat")
    assert isinstance(groups, Tensor)
    assert groups[0].tolist() == [[0, 0], [3, 1]]


def test_starts_are_uniform_and_slips_come_at_their_rate() -> None:
    env = Hallway(num_envs=EPISODES, lengths="2,5", slip=0.3)
    env.reset(seed=3)
    saved = env.state_dict()
    for agent, length in enumerate((2, 5)):
        share = torch.bincount(saved["state.distance"][:, agent], minlength=length + 1) / EPISODES
        assert share[0] == 0
        assert bool(((share[1:] - 1 / length).abs() < 4 * 0.5 / EPISODES**0.5).all())
    env.step(torch.zeros(EPISODES, 2, dtype=torch.int64))
    later = env.state_dict()["state.stuck"]
    for stuck in (saved["state.stuck"], later):
        assert abs(float(stuck.float().mean()) - 0.3) < 4 * 0.46 / (2 * EPISODES) ** 0.5
    assert abs(float((saved["state.stuck"] & later).float().mean()) - 0.09) < 4 * 0.29 / (2 * EPISODES) ** 0.5


def entry_times(length: int, horizon: int, slip: float) -> Tensor:
    """``[policies, horizon]``: P(enter at t) for every deterministic choice by (t, distance); stuck agents stay."""
    move = {d: [m for m in (0, -1, 1) if 0 <= d + m <= length] for d in range(1, length + 1)}
    tables: dict[int, list[tuple[float, ...]]] = {d: [()] for d in range(length + 1)}
    tables[0] = [()]
    for left in range(1, horizon + 1):
        nothing, now = (0.0,) * (left - 1), {0: [(0.0,) * left]}
        for d, moves in move.items():
            found = set()
            for m in moves:
                # a different plan may follow each outcome: staying here because stuck, or having moved
                for stuck, moved in itertools.product(tables[d], tables[d + m] if d + m else [nothing]):
                    entered = (1 - slip) * (d + m == 0)
                    rest = (slip * a + (1 - slip) * b * (d + m != 0) for a, b in zip(stuck, moved, strict=True))
                    found.add((entered, *(round(x, 12) for x in rest)))
            now[d] = sorted(found)
        tables = now
    starts = itertools.product(*(tables[d] for d in range(1, length + 1)))
    return torch.unique(torch.tensor([[sum(x) / length for x in zip(*plan, strict=True)] for plan in starts]), dim=0)


@pytest.mark.parametrize(("lengths", "horizon"), [((1, 1), 4), ((1, 2), 3), ((2, 2), 3)])
def test_no_team_without_messages_beats_the_bound(lengths: tuple[int, int], horizon: int) -> None:
    """Success is sum_t p_1(t) p_2(t): the best of all pairs of plans is the exact optimum."""
    for slip in (0.0, 0.25, 0.5):
        one, two = (entry_times(length, horizon, slip) for length in lengths)
        best = float((one @ two.T).max())
        bound = Hallway(lengths="{},{}".format(*lengths), slip=slip).silent_limit
        assert best <= bound + 1e-6
        if slip == 0:
            assert best == pytest.approx(1.0), "an agreed time is enough where nobody slips"
        if lengths == (1, 1):  # all tries of the agreed time and after it: the sum that the bound is the limit of
            tries = sum((1 - slip) ** 2 * slip ** (2 * k) for k in range(horizon))
            assert best == pytest.approx(tries, abs=1e-6)


def silent(env: Hallway, now: HallwayState, t: int, deadline: int) -> Tensor:
    """Wait at the door, and enter from ``deadline`` on."""
    return ((now.distance > 1) | torch.tensor(t >= deadline)).long()


def success_of_an_agreed_time(deadline: int, **settings: Any) -> float:
    env = Hallway(num_envs=EPISODES, **settings)
    step = env.reset(seed=5)
    won, running = torch.zeros(EPISODES, dtype=torch.bool), torch.ones(EPISODES, dtype=torch.bool)
    t = 0
    while bool(running.any()):
        step = env.step(silent(env, env._current("test"), t, deadline))
        won |= running & step.success & step.done
        running &= ~step.done
        t += 1
        step = env.reset(where=step.done) if bool(step.done.any()) else step
    return float(won.float().mean())


def test_an_agreed_time_solves_it_only_without_slips() -> None:
    assert success_of_an_agreed_time(3, lengths="3,4", slip=0.0) == 1.0
    for lengths, bound in (("3,4", 0.5625 / 0.9375), ("2,3,4", 0.421875 / 0.984375)):
        env = Hallway(lengths=lengths, slip=0.25)
        assert env.silent_limit == pytest.approx(bound)
        late = success_of_an_agreed_time(20, lengths=lengths, slip=0.25, max_steps=60)
        assert abs(late - bound) < 4 * 0.5 / EPISODES**0.5, "late enough for all to be there: the bound is reached"
        assert success_of_an_agreed_time(4, lengths=lengths, slip=0.25, max_steps=60) < bound - 0.03


@pytest.mark.parametrize("settings", [{}, *Hallway.protocols.values()])
def test_one_that_sees_everything_succeeds(settings: dict[str, Any]) -> None:
    env = Hallway(num_envs=2000, **settings)
    step = env.reset(seed=7)
    won = torch.zeros(2000, dtype=torch.bool)
    while not bool(step.done.all()):
        step = env.step(torch.where(step.done[:, None], STAY, env.ceiling_action()))
        won |= step.done & step.success
        if bool(step.done.any()) and not bool(won.all()):
            step = env.reset(where=step.done)
        if bool(won.all()):
            break
    assert float(won.float().mean()) > 0.999


def test_default_time_limits() -> None:
    assert Hallway(lengths="6,6", slip=0.0).max_steps == 16
    assert Hallway(lengths="2,6,10", slip=0.0).max_steps == 20
    assert Hallway(lengths="4,6", slip=0.25).max_steps == 29  # 16 / 0.5625 = 28.4
    assert Hallway(lengths="4,6", slip=0.25).config == Hallway().config
    assert Hallway(num_agents=5).config["lengths"] == "4,6,4,6,4"
    assert Hallway(lengths="3,5|4,6,10", num_agents=5).num_agents == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lengths": "4,6", "num_agents": 3}, "num_agents: expected the 2 of lengths='4,6'"),
        ({"num_agents": 0}, "num_agents: expected an integer"),
        ({"num_agents": "2"}, "num_agents: expected an integer"),
        ({"num_agents": 2.0, "lengths": "4,6"}, "num_agents: expected"),
        ({"lengths": "4,0"}, "lengths: expected whole numbers"),
        ({"lengths": "4,,6"}, "lengths: expected whole numbers"),
        ({"lengths": "4|"}, "lengths: expected whole numbers"),
        ({"lengths": ""}, "lengths: expected whole numbers"),
        ({"lengths": "4,6\n"}, "lengths: expected whole numbers"),
        ({"lengths": "four"}, "lengths: expected whole numbers"),
        ({"lengths": 46}, "lengths: expected whole numbers"),
        ({"lengths": [4, 6]}, "lengths: expected whole numbers"),
        ({"slip": 1.0}, r"slip: expected a finite number in \[0.0, 0.9\]"),
        ({"slip": -0.1}, "slip: expected a finite number"),
        ({"slip": float("nan")}, "slip: expected a finite number"),
        ({"slip": "0.2"}, "slip: expected a number"),
        ({"encoding": "one_hot"}, "Did you mean 'onehot'"),
        ({"win_reward": 0.0}, "win_reward: expected"),
        ({"max_steps": 0}, "max_steps: expected"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Hallway(**settings)
