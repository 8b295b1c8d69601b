"""Pursuit: tags, flight, and what is seen of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from gnncomm.envs.crowds.pursuit import Pursuit, PursuitDraws, PursuitState
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.testing import check_env
from gnncomm.types import SparseObs

STAY, UP, RIGHT, DOWN, LEFT = range(5)
TAG_NW, TAG_N, TAG_NE, TAG_W, TAG_E, TAG_SW, TAG_S, TAG_SE = range(5, 13)
FIVE = {"size": 5, "vision": 2}  # three by three open cells, no walls


def cells(env: Pursuit, places: list[tuple[int, int]]) -> Tensor:
    row, column = torch.tensor(places).T
    return env.board.cell(row, column)[None]


def build(
    predators: list[tuple[int, int]], prey: list[tuple[int, int]], **settings: Any
) -> tuple[Pursuit, PursuitState]:
    """A map whose walls (if its size brings any) hide in the ring."""
    env = Pursuit(**{"num_agents": len(predators), "num_prey": len(prey), "size": 8, "vision": 2, **settings})
    env.reset(seed=0)
    assert env._state is not None
    walls = torch.full_like(env._state.walls, int(env.board.cell(torch.tensor(0), torch.tensor(0))))
    return env, replace(env._state, walls=walls, cell=cells(env, predators), prey=cells(env, prey))


def quiet(env: Pursuit, **changes: Any) -> PursuitDraws:
    """Prey that stay where they are; the lower index has the right of way."""
    N, P = env.num_agents, env.num_prey
    none = torch.zeros(1, 0, dtype=torch.int64)
    rank, noise = torch.arange(N + P, dtype=torch.int32)[None], torch.zeros(1, P, dtype=torch.int32)
    return replace(PursuitDraws(none, rank, noise > 0, noise), **changes)


def places(env: Pursuit, cell: Tensor) -> list[list[int]]:
    return env.board.place(cell)[0].int().tolist()


def play(env: Pursuit, state: PursuitState, *action: int, **changes: Any) -> tuple[PursuitState, list[float], Any]:
    after, reward, flags = env.transition(state, torch.tensor([action]), quiet(env, **changes))
    return after, reward[0].tolist(), flags


def test_tags_pay_and_misses_cost() -> None:
    env, state = build([(3, 3), (4, 5), (6, 6), (1, 1)], [(3, 4), (6, 5)])
    after, reward, _ = play(env, state, TAG_E, TAG_NW, TAG_N, STAY)
    assert reward == pytest.approx([0.8, 0.8, -0.2, 0.0])  # two tag the same prey, one tags the air
    assert after.tagged.tolist() == [[True, False]]
    assert after.gain[0].tolist() == pytest.approx(reward)
    assert places(env, after.cell) == [[3, 3], [4, 5], [6, 6], [1, 1]]  # who tags does not move
    again, reward, _ = play(env, after, TAG_E, STAY, TAG_W, STAY)
    assert reward == pytest.approx([0.8, 0.0, 0.8, 0.0])  # a tagged prey pays again
    assert again.tagged.tolist() == [[True, True]]


@pytest.mark.parametrize("action", range(5, 13))
def test_every_tag_has_its_cell(action: int) -> None:
    offset = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)][action - 5]
    env, state = build([(3, 3)], [(3 + offset[0], 3 + offset[1])])
    hits = [play(env, state, other)[1][0] for other in range(5, 13)]
    assert [hit > 0 for hit in hits] == [other == action for other in range(5, 13)]


def test_tags_strike_friends_and_walls_in_vain() -> None:
    env, state = build([(1, 1), (1, 2)], [(6, 6)], tag_penalty=-0.5)
    after, reward, _ = play(env, state, TAG_E, TAG_N)
    assert reward == [-0.5, -0.5]
    assert not bool(after.tagged.any())


def test_tags_come_before_moves() -> None:
    """A prey that flees in the same step is tagged; one that comes in the same step is not."""
    env, state = build([(3, 3)], [(3, 4), (3, 1)])
    flight = torch.ones(1, 2, dtype=torch.int32) * 60000  # 60000 * 9 >> 16 = 8: down and right
    after, reward, _ = play(env, state, TAG_E, noise=flight)
    assert reward == pytest.approx([0.8])
    assert places(env, after.prey) == [[4, 5], [4, 2]]
    _, reward, _ = play(env, state, TAG_SW, noise=flight)
    assert reward == pytest.approx([-0.2])


def test_steps_and_what_stops_them() -> None:
    env, state = build([(3, 3)], [(6, 6)])
    ends = [places(env, play(env, state, a)[0].cell)[0] for a in (STAY, UP, RIGHT, DOWN, LEFT)]
    assert ends == [[3, 3], [2, 3], [3, 4], [4, 3], [3, 2]]
    env, state = build([(1, 1), (1, 2), (2, 1), (6, 1)], [(6, 2)])
    after, _, _ = play(env, state, UP, LEFT, UP, RIGHT)  # ring, friend, friend, prey
    assert torch.equal(after.cell, state.cell)
    walled = replace(state, walls=torch.full_like(state.walls, int(cells(env, [(1, 3)]))))
    after, _, _ = play(env, walled, STAY, RIGHT, DOWN, UP)
    assert places(env, after.cell) == [[1, 1], [1, 2], [3, 1], [5, 1]]


def test_the_rank_decides_between_predator_and_prey() -> None:
    env, state = build([(3, 3)], [(3, 5)])
    left = torch.tensor([[4 * 7282]], dtype=torch.int32)  # the fifth of nine choices: left
    for rank, predator, prey in (((0, 1), [3, 4], [3, 5]), ((1, 0), [3, 3], [3, 4])):
        after, _, _ = play(env, state, RIGHT, noise=left, rank=torch.tensor([rank], dtype=torch.int32))
        assert (places(env, after.cell), places(env, after.prey)) == ([predator], [prey])


def flights(env: Pursuit, state: PursuitState, count: int = 300) -> dict[tuple[int, ...], float]:
    """Where the first prey goes when it flees, over many draws."""
    noise = torch.arange(count, dtype=torch.int32)[:, None] * 211
    many = state.map(lambda x: x.repeat(count, *[1] * (x.dim() - 1)))
    draws = quiet(env).map(lambda x: x.repeat(count, *[1] * (x.dim() - 1)))
    draws = replace(
        draws, noise=noise.repeat(1, env.num_prey), clever=torch.ones(count, env.num_prey, dtype=torch.bool)
    )
    after, _, _ = env.transition(many, torch.zeros(count, env.num_agents, dtype=torch.int64), draws)
    went = [tuple(place) for place in env.board.place(after.prey)[:, 0].int().tolist()]
    return {place: went.count(place) / count for place in sorted(set(went))}


def test_prey_flee_from_the_nearest_predator() -> None:
    env, state = build([(3, 3)], [(3, 4)])  # three cells are two king's moves away
    found = flights(env, state)
    assert found.keys() == {(2, 5), (3, 5), (4, 5)}
    assert all(share == pytest.approx(1 / 3, abs=4 * (2 / 9 / 300) ** 0.5) for share in found.values())
    env, state = build([(3, 3), (5, 5)], [(3, 4)])  # of those three one is near the other predator
    assert flights(env, state).keys() == {(2, 5), (3, 5)}


def test_prey_in_a_corner_stay_and_free_prey_stroll() -> None:
    env, state = build([(1, 3), (3, 1)], [(1, 1)])
    assert set(flights(env, state)) == {(1, 1)}  # all around is one move from a predator, the corner is two
    env, state = build([(6, 6)], [(2, 2)])
    assert len(flights(env, state)) == 9  # nothing within two: any of the nine
    env, state = build([(3, 3)], [(2, 2), (1, 1), (1, 2), (2, 1), (1, 3), (3, 1)])
    assert set(flights(env, state)) == {(2, 2), (2, 3), (3, 2)}  # hemmed in by its own, nothing better is open


def test_dull_prey_do_anything() -> None:
    env = Pursuit(num_envs=3000, strength=0.0, num_agents=1, num_prey=1, size=40)
    before = env.reset(seed=3)
    assert env._state is not None
    start = env.board.place(env._state.prey)
    env.step(torch.zeros(3000, 1, dtype=torch.int64))
    step = (env.board.place(env._state.prey) - start)[:, 0].int()
    assert bool((before.step == 0).all())
    counts = torch.bincount((step[:, 0] + 1) * 3 + step[:, 1] + 1, minlength=9) / 3000
    assert counts[[0, 1, 2, 3, 5, 6, 7, 8]].tolist() == pytest.approx([0.92 / 9] * 8, abs=0.025)  # walls stop some


def test_observation_by_hand() -> None:
    env, state = build([(1, 1), (2, 3)], [(3, 2), (1, 3)], max_steps=4)
    state = replace(state, tagged=torch.tensor([[True, False]]), gain=torch.tensor([[0.8, -0.2]]), t=torch.tensor([1]))
    flat = env.observe(state, "flat")
    assert isinstance(flat, Tensor)
    team, other = flat[0, 0, :50].view(5, 5, 2).unbind(-1)
    assert team.tolist() == [[-1] * 5, [-1] * 5, [-1, -1, 1, 0, 0], [-1, -1, 0, 0, 1], [-1, -1, 0, 0, 0]]
    expected = torch.zeros(5, 5)
    expected[4, 3], expected[2, 4] = 0.5, 1.0
    assert torch.equal(other, expected)
    assert flat[0, 0, 50:].tolist() == pytest.approx([1 / 7, 1 / 7, 0.8, 0.25])
    assert flat[0, 1, 50:].tolist() == pytest.approx([2 / 7, 3 / 7, -0.2, 0.25])
    sparse = env.observe(state, "sparse")
    assert isinstance(sparse, SparseObs)
    assert sparse.index.shape == (1, 2, 29)
    assert torch.equal(sparse.to_flat(), flat)


def test_walls_are_seen() -> None:
    env, state = build([(3, 3)], [(6, 6)])
    walls = torch.full_like(state.walls, int(cells(env, [(2, 4)])))
    flat = env.observe(replace(state, walls=walls), "flat")
    assert isinstance(flat, Tensor)
    team = flat[0, 0, :50].view(5, 5, 2)[..., 0]
    assert team.nonzero().tolist() == [[1, 3], [2, 2]]
    assert (float(team[1, 3]), float(team[2, 2])) == (-1.0, 1.0)


@pytest.mark.parametrize(("goal", "success"), [(1.0, False), (0.5, True), (0.0, True)])
def test_an_episode_is_a_game_of_fixed_length(goal: float, success: bool) -> None:
    env = Pursuit(num_agents=1, num_prey=2, goal=goal, max_steps=2, **FIVE)
    env.reset(seed=0)
    state = env.state_dict()
    state["state.cell"], state["state.prey"] = cells(env, [(1, 1)]), cells(env, [(1, 2), (3, 3)])
    env.load_state_dict(state)
    first = env.step(torch.tensor([[TAG_E]]))
    assert (bool(first.done), bool(first.success)) == (False, success)
    last = env.step(torch.tensor([[STAY]]))
    assert (bool(last.terminated), bool(last.truncated), bool(last.success)) == (True, False, success)
    assert last.discount.tolist() == [[0.0]]


def test_random_play_keeps_the_rules() -> None:
    env = Pursuit(num_envs=40, num_agents=12, size=16, max_steps=30)
    env.reset(seed=5)
    for _ in range(30):
        old = env._state
        assert old is not None
        action = env.floor_action(env._key)
        step = env.step(action)
        new = env._state
        everyone = torch.cat([new.cell, new.prey, new.walls], 1)
        assert bool((everyone.sort(1).values.diff(dim=1) > 0).all())  # never two on a cell
        assert not bool(env.board.border[everyone].any())
        jump = (env.board.place(new.cell) - env.board.place(old.cell)).abs()
        assert float(jump.sum(-1).max()) <= 1
        assert float((env.board.place(new.prey) - env.board.place(old.prey)).abs().max()) <= 1
        assert bool((jump.sum(-1)[action > 4] == 0).all())
        assert bool((new.tagged | ~old.tagged).all())
        hits = ((step.reward + 0.2).round() == 1) & (action > 4)
        assert torch.allclose(step.reward, hits.float() - 0.2 * (action > 4))
        assert bool((hits.any(1) | (new.tagged == old.tagged).all(1)).all())
        assert torch.equal(new.walls, old.walls)
    assert bool(step.terminated.all())


def test_agents_are_interchangeable() -> None:
    env = Pursuit(num_envs=6, num_agents=15, size=14, strength=1.0)
    env.reset(seed=2)
    state = env._state
    assert state is not None
    order = torch.randperm(15, generator=torch.Generator().manual_seed(0))
    swapped = replace(state, cell=state.cell[:, order], gain=state.gain[:, order])
    for t in range(1, 8):
        draws = env.draws(env._key, torch.full((6,), t))
        rank = torch.cat([draws.rank[:, :15][:, order], draws.rank[:, 15:]], 1)
        action = torch.randint(13, (6, 15), generator=torch.Generator().manual_seed(t))
        state, reward, _ = env.transition(state, action, draws)
        swapped, other, _ = env.transition(swapped, action[:, order], replace(draws, rank=rank))
        assert torch.equal(other, reward[:, order])
        assert torch.equal(swapped.cell, state.cell[:, order])
        assert torch.equal(swapped.prey, state.prey)
        seen, other_seen = env.observe(state, "flat"), env.observe(swapped, "flat")
        assert isinstance(seen, Tensor)
        assert isinstance(other_seen, Tensor)
        assert torch.equal(other_seen, seen[:, order])


def test_published_sizes() -> None:
    for name, (agents, prey, size) in {"25-v0": (25, 50, 45), "45-v0": (45, 90, 60), "61-v0": (61, 122, 70)}.items():
        env = Pursuit(num_agents=agents)
        assert (env.num_prey, env.size) == (prey, size)
        assert Pursuit.protocols[name] == {"num_agents": agents, "num_prey": prey, "size": size}
        assert env.num_walls == {45: 60, 60: 108, 70: 147}[size]


def test_a_thousand_predators_fit() -> None:
    env = Pursuit(num_agents=1000, observation="sparse")
    step = env.reset(seed=0)
    assert env._state is not None
    assert sum(x.numel() * x.element_size() for x in env._state.tensors().values()) < 60_000
    for _ in range(2):
        step = env.step(env.floor_action(step.key))
    assert isinstance(step.obs, SparseObs)
    assert step.obs.value.shape == (1, 1000, 85)


def test_floor_and_ceiling() -> None:
    tagged = {}
    for policy in ("floor", "ceiling"):
        env = Pursuit(num_envs=10)
        step = env.reset(seed=1)
        while not bool(step.done.any()):
            step = env.step(env.floor_action(step.key) if policy == "floor" else env.ceiling_action())
        assert env._state is not None
        tagged[policy] = float(env._state.tagged.float().mean())
    assert tagged["floor"] < 0.15
    assert tagged["ceiling"] > 0.98


def test_laws() -> None:
    check_env(lambda n: Pursuit(num_envs=n, observation="sparse", size=12, num_agents=6, max_steps=6), long=0)


def test_strength_can_be_a_curriculum() -> None:
    env = Pursuit(num_envs=2)
    env.reset(seed=0)
    env.adjust(strength=0.1)
    assert env.config["strength"] == env.strength == 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_agents": 0}, "num_agents: expected an integer of at least 1"),
        ({"num_prey": 0}, "num_prey: expected an integer of at least 1"),
        ({"size": 3}, "size: expected an integer of at least 4"),
        ({"size": 6}, r"size: expected room for 1 walls, 8 predators and 16 prey, got 16 cells.*Use a larger size"),
        ({"vision": 1}, "vision: expected an integer of at least 2"),
        ({"strength": 1.5}, "strength: expected a finite number"),
        ({"tag_penalty": 0.1}, "tag_penalty: expected a finite number"),
        ({"goal": -0.1}, "goal: expected a finite number"),
        ({"max_steps": 0}, "max_steps: expected an integer of at least 1"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Pursuit(**settings)
