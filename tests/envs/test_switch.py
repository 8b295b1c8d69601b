"""The switch riddle: rules by hand, the one-bit protocol that is optimal for three, and the exact value of silence."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from gnncomm.envs.switch import Switch, SwitchDraws, SwitchState, relay_edges
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_matrix
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.topology import FromFunction, Radius

NONE, TELL, OFF, ON = range(4)
EPISODES = 20_000


def state(called: int, been: list[int], previous: int = -1, on: bool = False, day: int = 0, n: int = 3) -> SwitchState:
    return SwitchState(
        torch.tensor([called]),
        torch.tensor([previous]),
        torch.tensor([[i in been for i in range(n)]]),
        torch.tensor([on]),
        torch.tensor([day]),
        torch.tensor([False]),
    )


def play(env: Switch, now: SwitchState, action: list[int], tomorrow: int = 0) -> tuple[SwitchState, Tensor, bool, bool]:
    after, reward, flags = env.transition(now, torch.tensor([action]), SwitchDraws(torch.tensor([tomorrow])))
    return after, reward[0], bool(flags.terminated), bool(flags.success)


def test_telling_the_truth_and_a_lie() -> None:
    env = Switch()
    _, reward, ended, success = play(env, state(2, [0, 1, 2]), [NONE, NONE, TELL])
    assert (reward.tolist(), ended, success) == ([1.0] * 3, True, True)
    _, reward, ended, success = play(env, state(2, [0, 2]), [NONE, NONE, TELL])
    assert (reward.tolist(), ended, success) == ([-1.0] * 3, True, False)


def test_only_who_is_in_the_room_acts() -> None:
    env = Switch(medium="switch")
    after, reward, ended, _ = play(env, state(2, [0, 1, 2]), [TELL, ON, NONE], tomorrow=1)
    assert (reward.tolist(), ended, after.on.tolist()) == ([0.0] * 3, False, [False])
    assert (after.called.tolist(), after.previous.tolist(), after.day.tolist()) == ([1], [2], [1])
    mask = env.allowed(state(1, [1]))
    assert mask[0].tolist() == [[True, False, False, False], [True] * 4, [True, False, False, False]]


def test_who_is_called_has_been() -> None:
    env = Switch()
    after, *_ = play(env, state(0, [0]), [NONE] * 3, tomorrow=2)
    assert after.been.tolist() == [[True, False, True]]
    _, reward, _, _ = play(env, state(0, [0, 1]), [TELL, NONE, NONE], tomorrow=2)
    assert reward.tolist() == [-1.0] * 3, "who comes tomorrow does not count today"


def test_the_switch_turns_and_stays() -> None:
    env = Switch(medium="switch")
    for before, action, expected in itertools.product((False, True), (NONE, OFF, ON), (None,)):
        expected = {NONE: before, OFF: False, ON: True}[action]
        assert play(env, state(1, [1], on=before), [OFF, action, OFF])[0].on.tolist() == [expected]


def test_the_deadline_ends_it_with_nothing() -> None:
    env = Switch(max_steps=6)
    assert play(env, state(0, [0, 1, 2], day=4), [NONE] * 3)[2] is False
    _, reward, ended, success = play(env, state(0, [0, 1, 2], day=5), [NONE] * 3)
    assert (reward.tolist(), ended, success) == ([0.0] * 3, True, False)
    assert play(env, state(0, [0, 1, 2], day=5), [TELL, NONE, NONE])[1].tolist() == [1.0] * 3


def test_observations_by_hand() -> None:
    plain = Switch().observe(state(1, [1]), "flat")
    assert isinstance(plain, Tensor)
    assert plain[0].tolist() == [[0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    lit = Switch(medium="switch").observe(state(1, [1], on=True), "flat")
    assert isinstance(lit, Tensor)
    assert lit[0].tolist() == [[0, 1, 0, 0, 0], [1, 0, 1, 0, 1], [0, 0, 0, 1, 0]]


def test_positions_let_today_meet_yesterday() -> None:
    env = Switch(num_agents=4)
    pos = env.positions(state(2, [0, 2], previous=0, n=4))
    assert pos[0].tolist() == [[0, 1], [2, 2], [0, 0], [2, 6]]
    same = env.positions(state(2, [2], previous=2, n=4))
    assert same[0].tolist() == [[2, 0], [2, 2], [0, 0], [2, 6]], (
        "called twice: it is in the room, nobody in the corridor"
    )
    alive = torch.ones(1, 4, dtype=torch.bool)
    both = torch.zeros(4, 4, dtype=torch.bool)
    both[0, 2] = both[2, 0] = True
    assert torch.equal(Radius(r=1.0)(alive, pos).dense[0], both)
    one_way = FromFunction(relay_edges)(alive, pos).dense[0]
    assert one_way.nonzero().tolist() == [[0, 2]]
    assert not bool(FromFunction(relay_edges)(alive, same).dense.any())
    with pytest.raises(ConfigError, match="expected the positions"):
        relay_edges(alive, None, 0, None)


def test_calls_are_uniform_and_independent() -> None:
    env = Switch(num_envs=EPISODES)
    env.reset(seed=2)
    first = env.state_dict()["state.called"]
    env.step(torch.zeros(EPISODES, 3, dtype=torch.int64))
    second = env.state_dict()["state.called"]
    share = torch.bincount(3 * first + second, minlength=9) / EPISODES
    assert bool(((share - 1 / 9).abs() < 4 * 0.32 / EPISODES**0.5).all())


def all_called(n: int, days: int) -> float:
    return sum(len(set(seq)) == n for seq in itertools.product(range(n), repeat=days)) / n**days


def mean_return(env: Switch, choose: Any) -> tuple[float, float]:
    """Mean return of an agent and success rate of ``choose(called, on, been before, day) -> action`` in the room."""
    step = env.reset(seed=4)
    been = torch.zeros(env.num_envs, env.num_agents, dtype=torch.bool)
    running, total, won = torch.ones(env.num_envs, dtype=torch.bool), torch.zeros(env.num_envs), 0
    for day in range(env.max_steps):
        assert isinstance(step.obs, Tensor)
        called = step.obs[:, :, 0].argmax(1)
        lit = step.obs[:, :, -1].any(1) if env.has_switch else torch.zeros_like(running)
        knows = been.gather(1, called[:, None]).squeeze(1)
        been = been.scatter(1, called[:, None], True)
        action = torch.zeros(env.num_envs, env.num_agents, dtype=torch.int64)
        step = env.step(action.scatter(1, called[:, None], choose(lit, knows, day)[:, None]))
        total += torch.where(running, step.reward[:, 0], 0.0)
        won += int((running & step.success).sum())
        running &= ~step.done
        step = env.reset(where=step.done) if bool(step.done.any()) and day + 1 < env.max_steps else step
    return float(total.mean()), won / env.num_envs


def test_one_bit_is_enough_for_three() -> None:
    """On = two have been here: as good as seeing everything, and never a lie."""

    def protocol(lit: Tensor, knows: Tensor, day: int) -> Tensor:
        if day == 0:
            return torch.zeros_like(lit, dtype=torch.int64)
        return torch.where(knows, NONE, torch.where(lit, TELL, ON))

    best = all_called(3, 6)
    assert best == 540 / 729
    mean, success = mean_return(Switch(num_envs=EPISODES, medium="switch"), protocol)
    assert mean == pytest.approx(success), "no lie"
    assert abs(success - best) < 4 * 0.44 / EPISODES**0.5


@pytest.mark.parametrize("n", [2, 3, 4])
def test_one_that_sees_everything_reaches_the_optimum(n: int) -> None:
    env = Switch(num_envs=EPISODES, num_agents=n)
    step = env.reset(seed=5)
    won, running = torch.zeros(EPISODES, dtype=torch.bool), torch.ones(EPISODES, dtype=torch.bool)
    for _ in range(env.max_steps):
        step = env.step(env.ceiling_action())
        won |= running & step.success
        running &= ~step.done
        if bool(running.any()):
            step = env.reset(where=step.done)
    assert abs(float(won.float().mean()) - all_called(n, env.max_steps)) < 4 * 0.5 / EPISODES**0.5


Tell = tuple[int, tuple[bool, ...]]
"""Prisoner, and on which of the days so far it was in the room."""


def situation(days: tuple[int, ...]) -> Tell:
    return days[-1], tuple(called == days[-1] for called in days)


def value_of(n: int, days: int, tells: set[Tell]) -> float:
    """Exact expected return where prisoners tell in the situations ``tells``."""
    total = 0
    for sequence in itertools.product(range(n), repeat=days):
        first = next((t for t in range(1, days + 1) if situation(sequence[:t]) in tells), None)
        total += 0 if first is None else 1 if len(set(sequence[:first])) == n else -1
    return total / n**days


def best_silence(n: int, days: int) -> tuple[float, set[Tell]]:
    """The best that prisoners can do who know their own days only, as an integer program.

    One binary for each situation (tell there or not), and for each history of calls "told here", which is 1 where its
    situation tells and no shorter history has told.
    """
    histories = [p for t in range(1, days + 1) for p in itertools.product(range(n), repeat=t)]
    situations = sorted({situation(p) for p in histories})
    column = {s: k for k, s in enumerate(situations)}
    told = {p: len(situations) + k for k, p in enumerate(histories)}
    cost, rows, low, high = np.zeros(len(situations) + len(histories)), [], [], []
    for p in histories:
        here, tells = (told[p], 1.0), (column[situation(p)], -1.0)
        earlier = [(told[p[:t]], 1.0) for t in range(1, len(p))]
        for terms, bounds in (
            ([here, tells], (-np.inf, 0)),
            ([here, *earlier], (-np.inf, 1)),
            ([here, tells, *earlier], (0, np.inf)),
        ):
            rows.append(terms)
            low.append(bounds[0])
            high.append(bounds[1])
        cost[told[p]] = -(1 if len(set(p)) == n else -1) / n ** len(p)
    where = [(r, c, v) for r, terms in enumerate(rows) for c, v in terms]
    matrix = coo_matrix(([v for *_, v in where], ([r for r, *_ in where], [c for _, c, _ in where])))
    whole = np.arange(len(cost)) < len(situations)
    found = milp(cost, constraints=LinearConstraint(matrix.tocsr(), low, high), integrality=whole, bounds=Bounds(0, 1))
    assert found.status == 0, found.message
    return -found.fun, {s for s in situations if found.x[column[s]] > 0.5}


@pytest.mark.parametrize(("n", "days"), [(2, 2), (2, 3)])
def test_the_integer_program_agrees_with_all_policies(n: int, days: int) -> None:
    histories = [p for t in range(1, days + 1) for p in itertools.product(range(n), repeat=t)]
    situations = sorted({situation(p) for p in histories})
    policies = itertools.chain.from_iterable(itertools.combinations(situations, k) for k in range(len(situations) + 1))
    best = max(value_of(n, days, set(policy)) for policy in policies)
    assert best_silence(n, days)[0] == pytest.approx(best)


def test_the_exact_value_of_silence_for_three() -> None:
    """390 / 729: what no team without messages and without switch can beat, and one reaches."""
    best, tells = best_silence(3, 6)
    assert best * 729 == pytest.approx(390)
    assert value_of(3, 6, tells) == pytest.approx(best)
    env = Switch(num_envs=EPISODES)
    step = env.reset(seed=6)
    past, running, total = [], torch.ones(EPISODES, dtype=torch.bool), torch.zeros(EPISODES)
    for day in range(6):
        assert isinstance(step.obs, Tensor)
        past.append(step.obs[:, :, 0].bool())
        own = (torch.stack(past, -1).long() * 2 ** torch.arange(day + 1)).sum(-1)
        table = torch.zeros(3, 2 ** (day + 1), dtype=torch.int64)
        for who, days in tells:
            if len(days) == day + 1:
                table[who, sum(2**t for t, inside in enumerate(days) if inside)] = 1
        step = env.step(table[torch.arange(3), own])
        total += torch.where(running, step.reward[:, 0], 0.0)
        running &= ~step.done
        if day < 5:
            step = env.reset(where=step.done)
    assert abs(float(total.mean()) - best) < 4 * 0.9 / EPISODES**0.5


def test_days_by_default() -> None:
    assert [Switch(num_agents=n).max_steps for n in (2, 3, 4, 10)] == [2, 6, 10, 34]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_agents": 1}, "num_agents: expected an integer of at least 2"),
        ({"num_agents": 3.0}, "num_agents: expected an integer"),
        ({"medium": "message"}, "Did you mean 'messages'"),
        ({"medium": True}, "medium: expected one of"),
        ({"max_steps": 0}, "max_steps: expected"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Switch(**settings)
