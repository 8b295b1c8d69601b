"""Battle: blows, deaths, recovery, moves, and what enemies do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from gnncomm.envs.crowds.battle import Battle, BattleDraws, BattleState
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.testing import check_env
from gnncomm.types import SparseObs

STAY = 0
MOVES = [(-2, 0), (-1, -1), (-1, 0), (-1, 1), (0, -2), (0, -1), (0, 1), (0, 2), (1, -1), (1, 0), (1, 1), (2, 0)]
BESIDE = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
WEST, EAST, NORTH, SOUTH = (13 + BESIDE.index(side) for side in ((0, -1), (0, 1), (-1, 0), (1, 0)))
COST, HIT = -0.005, -0.005 - 0.1 + 0.2


def cells(env: Battle, places: list[tuple[int, int]]) -> Tensor:
    row, column = torch.tensor(places).T
    return env.board.cell(row, column)[None]


def build(
    agents: list[tuple[int, int]],
    enemies: list[tuple[int, int]],
    hp: list[int] | None = None,
    foe_hp: list[int] | None = None,
    **settings: Any,
) -> tuple[Battle, BattleState]:
    env = Battle(num_agents=len(agents), num_enemies=len(enemies), **{"size": 16, "vision": 2, **settings})
    health = torch.tensor([hp or [100] * len(agents)], dtype=torch.int32)
    theirs = torch.tensor([foe_hp or [100] * len(enemies)], dtype=torch.int32)
    return env, BattleState(cells(env, agents), health, cells(env, enemies), theirs, torch.zeros(1, len(agents)))


def quiet(env: Battle, count: int = 1, **changes: Any) -> BattleDraws:
    """Enemies that do nothing; the lower index has the right of way."""
    N, E = env.num_agents, env.num_enemies
    rank, noise = torch.arange(N + E, dtype=torch.int32).repeat(count, 1), torch.zeros(count, E, dtype=torch.int32)
    return replace(BattleDraws(torch.zeros(count, 0, dtype=torch.bool), rank, noise > 0, noise), **changes)


def awake(env: Battle, count: int = 1) -> BattleDraws:
    """Enemies that fight, with other random bits in each environment."""
    noise = (torch.arange(count, dtype=torch.int32) * 211)[:, None].repeat(1, env.num_enemies)
    return quiet(env, count, noise=noise, clever=torch.ones(count, env.num_enemies, dtype=torch.bool))


def play(env: Battle, state: BattleState, *action: int, **changes: Any) -> tuple[BattleState, list[float], Any]:
    after, reward, flags = env.transition(state, torch.tensor([action]), quiet(env, **changes))
    return after, reward[0].tolist(), flags


def places(env: Battle, cell: Tensor) -> list[tuple[int, ...]]:
    return [tuple(place) for place in env.board.place(cell)[0].int().tolist()]


def test_a_blow_hurts_and_pays() -> None:
    env, state = build([(5, 5), (9, 9)], [(5, 6)], foe_hp=[80])
    after, reward, flags = play(env, state, EAST, EAST)
    assert after.foe_hp.tolist() == [[61]]  # 80 - 20, then 1 back
    assert reward == pytest.approx([HIT, -0.105])  # the second strikes the air
    assert after.gain[0].tolist() == pytest.approx(reward)
    assert not bool(flags.terminated)


@pytest.mark.parametrize("action", range(13, 21))
def test_every_blow_has_its_cell(action: int) -> None:
    row, column = BESIDE[action - 13]
    env, state = build([(5, 5)], [(5 + row, 5 + column)])
    hurt = [int(play(env, state, other)[0].foe_hp) < 100 for other in range(21)]
    assert hurt == [other == action for other in range(21)]


def test_blows_spare_friends_and_walls() -> None:
    env, state = build([(1, 1), (1, 2)], [(9, 9)], hp=[50, 50])
    after, reward, _ = play(env, state, EAST, NORTH)
    assert after.hp.tolist() == [[51, 51]]
    assert reward == pytest.approx([-0.105, -0.105])


def test_recovery_stops_at_full_health_and_does_not_wake_the_dead() -> None:
    env, state = build([(5, 5), (7, 7), (9, 9)], [(1, 1)], hp=[98, 0, 100], recovery=3)
    after, reward, _ = play(env, state, STAY, EAST, STAY)
    assert after.hp.tolist() == [[100, 0, 100]]
    assert reward == pytest.approx([COST, 0.0, COST])  # the dead get nothing, whatever they do


def test_a_kill_is_shared_by_those_who_struck() -> None:
    env, state = build([(5, 5), (5, 7), (9, 9)], [(5, 6), (9, 10)], foe_hp=[40, 21])
    after, reward, _ = play(env, state, EAST, WEST, EAST)
    assert after.foe_hp.tolist() == [[0, 2]]
    assert reward == pytest.approx([HIT + 2.5, HIT + 2.5, HIT])
    again, reward, flags = play(env, after, EAST, STAY, EAST)  # the dead one is no more there to strike
    assert again.foe_hp.tolist() == [[0, 0]]
    assert reward == pytest.approx([-0.105, COST, HIT + 5])
    assert (bool(flags.terminated), bool(flags.success)) == (True, True)


def test_all_blows_fall_at_once() -> None:
    """Two kill each other; there is no winner then."""
    env, state = build([(5, 5)], [(5, 6)], hp=[20], foe_hp=[20])
    after, reward, flags = env.transition(state, torch.tensor([[EAST]]), awake(env))
    assert (after.hp.tolist(), after.foe_hp.tolist()) == ([[0]], [[0]])
    assert reward[0].tolist() == pytest.approx([HIT + 5 - 0.1])
    assert (bool(flags.terminated), bool(flags.success)) == (True, False)
    assert not bool(env.alive(after))


def test_defeat() -> None:
    env, state = build([(5, 5)], [(5, 6)], hp=[20])
    after, reward, flags = env.transition(state, torch.tensor([[2]]), awake(env))
    assert reward[0].tolist() == pytest.approx([COST - 0.1])
    assert (bool(flags.terminated), bool(flags.success)) == (True, False)
    assert places(env, after.cell) == [(5, 5)]  # the dead do not walk


@pytest.mark.parametrize("action", range(1, 13))
def test_moves(action: int) -> None:
    env, state = build([(5, 5)], [(12, 12)])
    row, column = MOVES[action - 1]
    assert places(env, play(env, state, action)[0].cell) == [(5 + row, 5 + column)]
    full, _ = build([(5, 5)], [(5 + row, 5 + column)])
    blocked = replace(state, foe=cells(env, [(5 + row, 5 + column)]))
    assert places(full, play(full, blocked, action)[0].cell) == [(5, 5)]


def test_moves_jump_stop_at_the_ring_and_enter_the_cells_of_the_fallen() -> None:
    env, state = build([(1, 1), (1, 3), (1, 5)], [(1, 4), (9, 9)], foe_hp=[20, 100])
    over = MOVES.index((0, 2)) + 1
    after, _, _ = play(env, state, STAY, over, WEST)
    assert places(env, after.cell) == [(1, 1), (1, 3), (1, 5)]  # (1, 5) is taken by a friend
    after, _, _ = play(env, state, 1, MOVES.index((0, 1)) + 1, WEST)
    assert places(env, after.cell) == [(1, 1), (1, 4), (1, 5)]  # beyond the ring is no way; the fallen left (1, 4)
    after, _, _ = play(env, replace(state, cell=cells(env, [(1, 1), (1, 3), (2, 6)])), STAY, over, STAY)
    assert places(env, after.cell) == [(1, 1), (1, 5), (2, 6)]  # over the enemy


def test_the_dead_block_nobody_and_see_nothing() -> None:
    env, state = build([(5, 5), (5, 6)], [(9, 9)], hp=[100, 0])
    after, _, _ = play(env, state, MOVES.index((0, 1)) + 1, STAY)
    assert places(env, after.cell)[0] == (5, 6)
    flat, sparse = env.observe(after, "flat"), env.observe(after, "sparse")
    assert isinstance(flat, Tensor)
    assert isinstance(sparse, SparseObs)
    assert not bool(flat[0, 1].any())
    assert not bool(sparse.value[0, 1].any())
    assert float(flat[0, 0, :50].clamp(min=0).sum()) == 1.0  # nobody but itself
    assert env.alive(after).tolist() == [[True, False]]


def test_observation_by_hand() -> None:
    env, state = build([(1, 1), (2, 3)], [(3, 2), (1, 3)], hp=[50, 25], foe_hp=[75, 0])
    state = replace(state, gain=torch.tensor([[0.5, -0.25]]))
    flat = env.observe(state, "flat")
    assert isinstance(flat, Tensor)
    team, other = flat[0, 0, :50].view(5, 5, 2).unbind(-1)
    assert team.tolist() == [[-1] * 5, [-1] * 5, [-1, -1, 0.5, 0, 0], [-1, -1, 0, 0, 0.25], [-1, -1, 0, 0, 0]]
    assert (other.nonzero().tolist(), float(other[4, 3])) == ([[4, 3]], 0.75)  # the dead enemy is not there
    assert flat[0, 0, 50:].tolist() == pytest.approx([1 / 15, 1 / 15, 0.5, 0.5])
    assert flat[0, 1, 50:].tolist() == pytest.approx([2 / 15, 3 / 15, 0.25, -0.25])
    sparse = env.observe(state, "sparse")
    assert isinstance(sparse, SparseObs)
    assert torch.equal(sparse.to_flat(), flat)


def choices(env: Battle, state: BattleState, count: int = 300) -> BattleState:
    """What fighting enemies make of the state, over many draws; agents stay."""
    many = state.map(lambda x: x.repeat(count, *[1] * (x.dim() - 1)))
    return env.transition(many, torch.zeros(count, env.num_agents, dtype=torch.int64), awake(env, count))[0]


def test_enemies_strike_the_weakest() -> None:
    env, state = build([(5, 5), (7, 7), (5, 7)], [(6, 6)], hp=[60, 40, 90], recovery=0)
    assert choices(env, state).hp.unique(dim=0).tolist() == [[60, 20, 90]]
    tied = choices(env, replace(state, hp=torch.tensor([[60, 60, 90]], dtype=torch.int32)))
    assert sorted(tied.hp.unique(dim=0).tolist()) == [[40, 60, 90], [60, 40, 90]]
    assert float((tied.hp[:, 0] == 40).float().mean()) == pytest.approx(0.5, abs=4 * (0.25 / 300) ** 0.5)
    assert choices(env, replace(state, hp=torch.tensor([[60, 0, 90]], dtype=torch.int32))).hp[
        :, 0
    ].unique().tolist() == [40]


def test_enemies_come_near() -> None:
    env, state = build([(5, 5)], [(5, 8)], vision=3)
    went = choices(env, state)
    found = {tuple(place) for place in env.board.place(went.foe)[:, 0].int().tolist()}
    assert found == {(5, 6)}  # two to the left: beside the agent; any other move leaves it at two or more
    env, state = build([(5, 5)], [(5, 9)], vision=3)  # a cell beyond what it sees, but it can tell moves that come near
    found = {tuple(place) for place in env.board.place(choices(env, state).foe)[:, 0].int().tolist()}
    assert found == {(5, 7)}
    env, state = build([(1, 1)], [(10, 10)], vision=3)
    found = {tuple(place) for place in env.board.place(choices(env, state).foe)[:, 0].int().tolist()}
    assert len(found) == 13  # nobody near: it strolls


def test_blows_and_damage_balance() -> None:
    """What an army loses is what it was dealt: blows that hit times damage, less what was beyond death."""
    env = Battle(num_envs=30, num_agents=20, recovery=0, strength=0.7)
    env.reset(seed=1)
    for _ in range(60):
        old = env._state
        assert old is not None
        action = torch.where(
            torch.rand(30, 20, generator=torch.Generator().manual_seed(7)) < 0.5, 15, env.ceiling_action()
        )
        reward = env.step(action).reward if not bool(env._outcome.terminated.any()) else None
        if reward is None:
            break
        new = env._state
        hits = old_hits(env, old, action)
        overkill = (old.foe_hp - 20 * hits).clamp(max=0).sum(1)
        assert torch.equal((old.foe_hp - new.foe_hp).sum(1), (20 * hits).sum(1).to(torch.int32) + overkill)
        kills = ((old.foe_hp > 0) & (new.foe_hp == 0)).sum(1)
        died = ((old.hp > 0) & (new.hp == 0)).sum(1)
        paid = 5 * kills + 0.2 * hits.sum(1) - 0.1 * died
        paid = paid - 0.1 * ((action > 12) & (old.hp > 0)).sum(1) - 0.005 * (old.hp > 0).sum(1)
        assert torch.allclose(reward.sum(1), paid, atol=1e-4)
    assert bool((new.foe_hp == 0).any())


def old_hits(env: Battle, state: BattleState, action: Tensor) -> Tensor:
    """Blows of living agents on each living enemy, pair by pair."""
    offset = torch.tensor([(0, 0)] * 13 + BESIDE)[action]
    aim = env.board.place(state.cell) + offset
    on = (aim[:, :, None] == env.board.place(state.foe)[:, None]).all(-1)
    striking = (action > 12) & (state.hp > 0)
    return (on & striking[..., None] & (state.foe_hp > 0)[:, None]).sum(1)


def test_random_play_keeps_the_rules() -> None:
    env = Battle(num_envs=40, num_agents=20, max_steps=60)
    env.reset(seed=5)
    for _ in range(40):
        old = env._state
        assert old is not None
        step = env.step(env.floor_action(env._key))
        new = env._state
        both, hp = torch.cat([new.cell, new.foe], 1), torch.cat([new.hp, new.foe_hp], 1)
        apart = torch.where(hp > 0, both, -1 - torch.arange(both.shape[1]))
        assert bool((apart.sort(1).values.diff(dim=1) > 0).all())  # never two living on a cell
        assert not bool(env.board.border[both].any())
        for after, before, life in ((new.cell, old.cell, new.hp), (new.foe, old.foe, new.foe_hp)):
            jump = (env.board.place(after) - env.board.place(before)).square().sum(-1)
            assert float(jump.max()) <= 4
            assert float(jump.masked_fill(life > 0, 0).max()) == 0
        assert bool(((hp >= 0) & (hp <= 100)).all())
        assert bool((new.hp[old.hp == 0] == 0).all())
        assert not bool(step.reward[old.hp == 0].any())
        assert torch.equal(step.alive, new.hp > 0)
        if bool(step.done.any()):
            env.reset(where=step.done)


def test_agents_are_interchangeable() -> None:
    env = Battle(num_envs=6, num_agents=20, strength=1.0)
    env.reset(seed=2)
    state = env._state
    assert state is not None
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    swapped = replace(state, cell=state.cell[:, order], hp=state.hp[:, order], gain=state.gain[:, order])
    for t in range(1, 16):
        draws = env.draws(env._key, torch.full((6,), t))
        rank = torch.cat([draws.rank[:, :20][:, order], draws.rank[:, 20:]], 1)
        action = torch.where(state.hp > 0, env.solve(state), 0)
        state, reward, flags = env.transition(state, action, draws)
        swapped, other, _ = env.transition(swapped, action[:, order], replace(draws, rank=rank))
        assert torch.equal(other, reward[:, order])
        assert torch.equal(swapped.cell, state.cell[:, order])
        assert torch.equal(swapped.foe_hp, state.foe_hp)
        seen, other_seen = env.observe(state, "flat"), env.observe(swapped, "flat")
        assert isinstance(seen, Tensor)
        assert isinstance(other_seen, Tensor)
        assert torch.equal(other_seen, seen[:, order])
    assert bool((state.hp < 100).any())
    assert not bool(flags.terminated.all())


def test_armies_begin_in_blocks_on_drawn_sides() -> None:
    env = Battle(num_envs=200, **Battle.protocols["20-v0"])
    env.reset(seed=0)
    assert env._state is not None
    agents, enemies = env.board.place(env._state.cell), env.board.place(env._state.foe)
    assert sorted(agents[..., 1].unique().tolist()) == [1, 3, 5, 7, 17, 19, 21, 23]
    assert agents[..., 0].unique().tolist() == [8, 10, 12, 14, 16]
    left = agents[:, 0, 1] < 12
    assert float(left.float().mean()) == pytest.approx(0.5, abs=4 * (0.25 / 200) ** 0.5)
    assert torch.equal((agents[..., 1] < 12).all(1), left)
    assert torch.equal(enemies[..., 1], 24 - agents[..., 1])
    for name, settings in Battle.protocols.items():
        env = Battle(num_agents=settings["num_agents"])
        assert env.size == settings["size"], name
        env.reset(seed=0)
        assert env._state is not None
        both = torch.cat([env._state.cell, env._state.foe], 1)
        assert both.unique().numel() == both.numel()
        assert not bool(env.board.border[both].any())


def test_armies_of_other_sizes() -> None:
    for agents, enemies in ((1, 1), (1, 7), (7, 1), (5, 3), (1000, 900)):
        env = Battle(num_agents=agents, num_enemies=enemies)
        env.reset(seed=0)
        assert env._state is not None
        both = torch.cat([env._state.cell, env._state.foe], 1)
        assert both.unique().numel() == agents + enemies
        assert not bool(env.board.border[both].any())
        env.step(env.floor_action(env._key))
    assert sum(x.numel() * x.element_size() for x in env._state.tensors().values()) < 40_000


def test_floor_and_ceiling() -> None:
    won = {}
    for policy in ("floor", "ceiling"):
        env = Battle(num_envs=32)
        step = env.reset(seed=1)
        won[policy] = torch.zeros(32, dtype=torch.bool)
        over = torch.zeros(32, dtype=torch.bool)
        while not bool(over.all()):
            step = env.step(env.floor_action(step.key) if policy == "floor" else env.ceiling_action())
            won[policy] |= step.success & step.done & ~over
            over |= step.done
            step = env.reset(where=step.done)
    assert float(won["floor"].float().mean()) < 0.05
    assert float(won["ceiling"].float().mean()) > 0.9


def test_laws() -> None:
    check_env(lambda n: Battle(num_envs=n, observation="sparse", num_agents=4, damage=40, max_steps=12), long=0)


def test_strength_can_be_a_curriculum() -> None:
    env = Battle(num_envs=2)
    env.reset(seed=0)
    env.adjust(strength=0.1)
    assert env.config["strength"] == env.strength == 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_agents": 0}, "num_agents: expected an integer of at least 1"),
        ({"num_enemies": 0}, "num_enemies: expected an integer of at least 1"),
        ({"size": 19}, r"size: expected at least 20 for armies of 9 and 9 \(blocks of 3 rows and 3 columns\), got 19"),
        ({"vision": 1}, "vision: expected an integer of at least 2"),
        ({"strength": -0.5}, "strength: expected a finite number"),
        ({"hit_points": 0}, "hit_points: expected an integer of at least 1"),
        ({"damage": 2.5}, "damage: expected an integer of at least 1"),
        ({"recovery": -1}, "recovery: expected an integer of at least 0"),
        ({"kill_reward": float("nan")}, "kill_reward: expected a finite number"),
        ({"max_steps": 0}, "max_steps: expected an integer of at least 1"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Battle(**settings)
