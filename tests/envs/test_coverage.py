"""Coverage: maps, moves, rewards and observations by hand, and what must always hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gnncomm.envs.coverage import Coverage, CoverageDraws, CoverageState
from gnncomm.envs.frame import maps
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.testing import check_env
from gnncomm.types import SparseObs

STAY, RIGHT, LEFT, UP, DOWN = range(5)


def put(world: str, *cells: int, **settings: Any) -> tuple[Coverage, CoverageState]:
    """A map of dots and hashes, agents on ``cells``."""
    rows = world.split()
    free = torch.tensor([[mark == "." for row in rows for mark in row]])
    share = float(free.float().mean())
    env = Coverage(dim=len(rows), num_agents=len(cells), free=share, **{"window": 4, **settings})
    return env, env.initial(CoverageDraws(free, torch.tensor([cells])))


def go(env: Coverage, state: CoverageState, *action: int) -> tuple[CoverageState, list[float], bool, bool]:
    state, reward, flags = env.transition(state, torch.tensor([action]), env.draws(*torch.ones(2, 1).long()))
    return state, reward[0].tolist(), bool(flags.terminated), bool(flags.success)


def test_the_reset_covers_where_the_agents_begin() -> None:
    _, state = put("... ..# ...", 0, 0, 4)
    assert state.world[0].tolist() == [2, 0, 0, 0, 2, 1, 0, 0, 0, 1]
    assert state.seen[0, 2].tolist() == [0, 0, 0, 0, 2, 1, 0, 0, 0, 1]
    assert state.waiting.tolist() == [6]
    assert state.idle[0].tolist() == [0, 1, 0]  # agent 1 came second to the same cell


def test_moves_stop_at_borders_and_obstacles() -> None:
    env, state = put("... ..# ...", 0, 4, 8)
    state, reward, ended, _ = go(env, state, UP, RIGHT, UP)
    assert state.cell[0].tolist() == [0, 4, 8]
    assert (reward, ended) == ([0.0, 0.0, 0.0], False)
    for action, cell in ((RIGHT, 1), (DOWN, 4), (LEFT, 3), (UP, 0), (STAY, 0), (LEFT, 0)):
        state = go(env, state, action, STAY, STAY)[0]
        assert int(state.cell[0, 0]) == cell
    env, state = put("... ... ...", 2, 6, 8)  # nobody leaves one row for the next
    assert go(env, state, RIGHT, LEFT, RIGHT)[0].cell[0].tolist() == [2, 6, 8]


def test_the_first_on_a_cell_is_rewarded_and_the_lower_number_is_first() -> None:
    env, state = put("... ... ...", 0, 2, 7)
    state, reward, *_ = go(env, state, RIGHT, LEFT, UP)  # agents 0 and 1 meet on cell 1
    assert reward == [1.0, 0.0, 1.0]
    assert state.idle[0].tolist() == [0, 1, 0]
    assert state.seen[0, 1, 1] == 2  # it was there, too
    state, reward, *_ = go(env, state, DOWN, STAY, STAY)
    assert reward == [0.0, 0.0, 0.0]
    assert state.waiting.tolist() == [4]


def test_success_is_full_coverage() -> None:
    env, state = put("## ..", 2, window=2)
    state, reward, ended, success = go(env, state, RIGHT)
    assert (reward, ended, success) == ([1.0], True, True)


def test_patience_ends_the_episode_when_any_agent_finds_nothing_new() -> None:
    env, state = put("... ... ...", 0, 8, patience=3)
    for move, ended in ((RIGHT, False), (RIGHT, False), (DOWN, True)):  # agent 1 stands still for 3 steps
        state, reward, now, success = go(env, state, move, STAY)
        assert (reward, now, success) == ([1.0, 0.0], ended, False)
    env, state = put("... ... ...", 0, 8)
    for _ in range(30):
        state, _, ended, _ = go(env, state, STAY, STAY)
        assert not ended


def test_exclusive_agents_move_one_after_the_other() -> None:
    """Agent 0 may not enter the cell that agent 1 is about to leave; agent 1 may enter the one agent 0 has left."""
    env, state = put("... ... ...", 0, 1, exclusive=True)
    assert go(env, state, RIGHT, RIGHT)[0].cell[0].tolist() == [0, 2]
    assert go(env, state, DOWN, LEFT)[0].cell[0].tolist() == [3, 0]
    assert go(env, state, STAY, LEFT)[0].cell[0].tolist() == [0, 1]
    assert go(env, state, RIGHT, LEFT)[0].cell[0].tolist() == [0, 1]  # no swap
    env, state = put("... ... ...", 0, 2, exclusive=True)
    assert go(env, state, RIGHT, LEFT)[0].cell[0].tolist() == [1, 2]


def test_observation_by_hand() -> None:
    """Window 4: two rows and columns before the agent, one behind. The agent on cell 4 has been on cell 3."""
    env, state = put("..# ... #..", 3, 8)
    state = go(env, state, RIGHT, STAY)[0]
    seen = env.observe(state, "flat")
    assert isinstance(seen, Tensor)
    window = seen[0, 0].view(4, 4, 2)
    assert window[..., 0].tolist() == [[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 0], [1, 1, 0, 0]]
    assert window[..., 1].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    other = seen[0, 1].view(4, 4, 2)  # on cell 8, which alone it has visited
    assert other[..., 0].tolist() == [[0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    assert other[..., 1].nonzero().tolist() == [[2, 2]]


@pytest.mark.parametrize("settings", [{}, {"exclusive": True, "num_agents": 6}, {"patience": 6, "free": 1.0}])
def test_what_always_holds(settings: dict[str, Any]) -> None:
    env = Coverage(num_envs=32, observation="sparse", **settings)
    step = env.reset(seed=3)
    total = torch.zeros(32)
    for _ in range(50):
        before = env.state_dict()
        step = env.reset(where=step.done)
        total = torch.where(step.first, 0.0, total)
        step = env.step(env.floor_action(step.key))
        state = env.state_dict()
        world, cell = state["state.world"], state["state.cell"]
        total += step.reward.sum(1)
        began = torch.where(step.step == 1, env.num_free, before["state.waiting"])
        assert bool((began >= state["state.waiting"]).all())
        assert bool((world.gather(1, cell) == 2).all())
        assert torch.equal(state["state.waiting"], (world == 0).sum(1))
        assert torch.equal((world != 1).sum(1), torch.full((32,), env.num_free))
        assert torch.equal((state["state.seen"] == 2).any(1), world == 2)  # visited by all: visited by one
        assert torch.equal(step.success, (state["state.waiting"] == 0))
        assert isinstance(step.obs, SparseObs)
        assert step.obs.index.shape[-1] == env.window**2
        if env.exclusive:
            assert all(len(set(row)) == env.num_agents for row in cell.tolist())
    assert float(total.max()) > 0


def test_rewards_of_an_episode_add_up_to_the_covered_cells() -> None:
    env = Coverage(num_envs=64)
    step = env.reset(seed=1)
    start, total = env.state_dict()["state.waiting"], torch.zeros(64)
    for _ in range(env.max_steps - 1):
        step = env.step(env.floor_action(step.key))
        total += step.reward.sum(1)
    assert torch.equal(total.long(), start - env.state_dict()["state.waiting"])


def test_agents_that_do_not_share_cells_are_interchangeable() -> None:
    env = Coverage(num_envs=64, num_agents=4)
    env.reset(seed=2)
    state = env.initial(env.draws(torch.arange(64), 0))
    order = torch.tensor([2, 0, 3, 1])
    turned = CoverageState(state.world, state.seen[:, order], state.cell[:, order], state.idle[:, order], state.waiting)
    action = torch.randint(5, (64, 4), generator=torch.Generator().manual_seed(0))
    draws = env.draws(torch.arange(64), torch.ones(64).long())
    one, reward, _ = env.transition(state, action, draws)
    other, turned_reward, _ = env.transition(turned, action[:, order], draws)
    assert torch.equal(one.cell[:, order], other.cell)
    assert torch.equal(one.world, other.world)
    assert torch.equal(one.seen[:, order], other.seen)
    assert torch.equal(reward.sum(1), turned_reward.sum(1))  # who is first on a shared cell is a matter of numbers


def reachable(free: Tensor) -> Tensor:
    """Flood fill from the first free cell, by a plain queue."""
    dim = round(len(free) ** 0.5)
    queue = [int(free.nonzero()[0])]
    found = set(queue)
    for cell in queue:
        row, column = divmod(cell, dim)
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            if 0 <= r < dim and 0 <= c < dim and bool(free[r * dim + c]) and r * dim + c not in found:
                found.add(r * dim + c)
                queue.append(r * dim + c)
    return torch.tensor([cell in found for cell in range(len(free))])


@pytest.mark.parametrize(("dim", "count"), [(5, 1), (6, 22), (10, 60), (10, 97), (4, 16)])
def test_walked_maps_are_connected_and_of_the_size_asked_for(dim: int, count: int) -> None:
    free = maps.walked(torch.arange(40), dim, count)
    assert torch.equal(free.sum(1), torch.full((40,), count))
    for row in free:
        assert torch.equal(reachable(row), row)
    assert count in (1, dim * dim) or len({tuple(row) for row in free.tolist()}) > 20
    alone = torch.cat([maps.walked(torch.tensor([key]), dim, count) for key in range(40)])
    assert torch.equal(alone, free)  # more chunks of the walk for one map change nothing for another


def test_the_walk_has_the_law_of_the_one_that_stays_at_the_border() -> None:
    """Chance that a cell is free, against a plain simulation of the published generator."""
    dim, count, many = 4, 6, 4000
    free = maps.walked(torch.arange(many), dim, count).double().mean(0)
    generator = torch.Generator().manual_seed(5)
    plain = torch.zeros(dim * dim, dtype=torch.float64)
    draws = torch.randint(4, (many, 400), generator=generator).tolist()
    starts = torch.randint(dim * dim, (many,), generator=generator).tolist()
    for start, moves in zip(starts, draws, strict=True):
        row, column = divmod(start, dim)
        found = {start}
        for move in moves:
            down, right = ((0, 1), (0, -1), (-1, 0), (1, 0))[move]
            row, column = min(max(row + down, 0), dim - 1), min(max(column + right, 0), dim - 1)
            found.add(row * dim + column)
            if len(found) == count:
                break
        plain[list(found)] += 1 / many
    spread = (2 * plain * (1 - plain) / many).sqrt()
    assert bool(((free - plain).abs() < 4.5 * spread).all())


def test_agents_begin_near_each_other_on_free_cells() -> None:
    env = Coverage(num_envs=400, dim=24, num_agents=5, observation="sparse")
    pos = env.reset(seed=0).pos
    assert pos is not None
    spread = (pos - pos.mean(1, keepdim=True)).square().sum(-1).mean()
    assert 1.0 < float(spread) < 3.0  # two axes of variance 1, 4/5 of it around the mean; more beside obstacles
    state = env.state_dict()
    assert bool((state["state.world"].gather(1, state["state.cell"]) == 2).all())


def test_crowded_beginnings_find_a_place() -> None:
    """As many agents as free cells: only the fallback to the nearest free cell can place the last ones."""
    env = Coverage(num_envs=16, dim=6, num_agents=22, exclusive=True)
    env.reset(seed=0)
    assert all(len(set(row)) == 22 for row in env.state_dict()["state.cell"].tolist())
    assert not bool(env.state_dict()["state.waiting"].any())


def test_distances_are_those_of_a_queue() -> None:
    free = torch.tensor([[mark == "." for mark in "...#...##......."]])
    source = torch.zeros_like(free)
    source[0, 0] = True
    far = maps.FAR
    #   . . . #      0 1 2 .
    #   . . . #      1 2 3 .
    #   # . . .      . 3 4 5
    #   . . . .      5 4 5 6
    assert maps.distances(free, source)[0].tolist() == [0, 1, 2, far, 1, 2, 3, far, far, 3, 4, 5, 5, 4, 5, 6]
    stopped = maps.distances(free, source, at=torch.tensor([5]))[0]
    assert int(stopped[5]) == 2
    assert int(stopped[15]) == far


@pytest.mark.parametrize("settings", [{}, {"exclusive": True}, {"dim": 16, "num_agents": 5}])
def test_the_ceiling_covers_everything(settings: dict[str, Any]) -> None:
    env = Coverage(num_envs=4, observation="sparse", **settings)
    step = env.reset(seed=8)
    ended = torch.zeros(4, dtype=torch.bool)
    while not bool(ended.all()):
        step = env.step(env.ceiling_action())
        assert not bool(step.truncated.any())
        ended |= step.success
        step = env.reset(where=step.done)


@pytest.mark.parametrize(
    ("form", "settings"),
    [
        ("flat", {"exclusive": True, "num_agents": 4, "max_steps": 9}),
        ("sparse", {"dim": 5, "window": 4, "patience": 4, "max_steps": 9}),
    ],
)
def test_contract(form: str, settings: dict[str, Any]) -> None:
    check_env(lambda num_envs: Coverage(num_envs=num_envs, observation=form, **settings), long=0)


def test_protocols_carry_the_published_numbers() -> None:
    env = Coverage(**Coverage.protocols["24x24-5-v0"])
    assert (env.num_free, env.obs_dim, env.max_steps) == (346, 512, 344)
    assert Coverage().config == Coverage(**Coverage.protocols["10x10-3-v0"]).config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 5}, "window: expected an even number, got 5. Use 6"),
        ({"window": 0}, "window: expected an integer of at least 2"),
        ({"free": 0.0}, "free: expected"),
        ({"free": 1.5}, "free: expected"),
        ({"dim": 1}, "dim: expected"),
        ({"dim": 3, "num_agents": 7}, "num_agents: expected at most the 6 free cells, got 7"),
        ({"patience": 0}, "patience: expected"),
        ({"patience": 1.5}, "patience: expected"),
        ({"exclusive": 1}, "exclusive: expected True or False"),
        ({"max_steps": 0}, "max_steps: expected"),
        ({"num_agents": 0}, "num_agents: expected"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Coverage(**settings)
