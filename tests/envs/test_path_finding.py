"""Path finding: who may move, what is paid and what is seen, by hand; placing, planning, and what must always hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gnncomm.envs.frame import maps
from gnncomm.envs.path_finding import planning as path_planning
from gnncomm.envs.path_finding.path_finding import PathFinding, PathFindingDraws, PathFindingState
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.testing import check_env
from gnncomm.types import SparseObs

STAY, UP, DOWN, LEFT, RIGHT = range(5)
SYSTEMS = ("priority", "block_both", "soft")


def put(world: str, cells: list[int], goals: list[int], **settings: Any) -> tuple[PathFinding, PathFindingState]:
    """A map of dots and hashes."""
    rows = world.split()
    obstacle = torch.tensor([[mark == "#" for row in rows for mark in row]])
    env = PathFinding(dim=len(rows), num_agents=len(cells), **{"radius": 1, **settings})
    draws = PathFindingDraws(obstacle, torch.tensor([cells]), torch.tensor([goals]), torch.zeros(1, 0))
    return env, env.initial(draws)


def go(env: PathFinding, state: PathFindingState, *action: int) -> tuple[PathFindingState, list[float], bool, bool]:
    draws = env.draws(*torch.ones(2, 1).long())
    state, reward, flags = env.transition(state, torch.tensor([action]), draws)
    return state, reward[0].tolist(), bool(flags.terminated), bool(flags.success)


OPEN = "... ... ..."


@pytest.mark.parametrize(
    ("cells", "action", "priority", "block_both", "soft"),
    [
        ([0, 1], [RIGHT, RIGHT], [0, 2], [0, 2], [1, 2]),  # 0 follows 1
        ([1, 0], [RIGHT, RIGHT], [2, 1], [2, 0], [2, 1]),  # 1 follows 0
        ([0, 1], [RIGHT, LEFT], [0, 1], [0, 1], [0, 1]),  # swap
        ([0, 2], [RIGHT, LEFT], [1, 2], [0, 2], [1, 2]),  # both want the cell between
        ([2, 0], [LEFT, RIGHT], [1, 0], [2, 0], [1, 0]),
        ([0, 1], [RIGHT, STAY], [0, 1], [0, 1], [0, 1]),  # into one who stays
        ([0, 1, 4, 3], [RIGHT, DOWN, LEFT, UP], [0, 1, 4, 3], [0, 1, 4, 3], [1, 4, 3, 0]),  # a wheel
        ([0, 1, 2], [RIGHT, RIGHT, RIGHT], [0, 1, 2], [0, 1, 2], [0, 1, 2]),  # a train against the border
        ([2, 1, 0], [DOWN, RIGHT, RIGHT], [5, 2, 1], [5, 1, 0], [5, 2, 1]),  # a train that leaves
        ([0, 1, 4], [RIGHT, DOWN, UP], [0, 1, 4], [0, 1, 4], [0, 1, 4]),  # following one who swaps
        ([4, 0, 8], [STAY, UP, RIGHT], [4, 0, 8], [4, 0, 8], [4, 0, 8]),  # the border
        ([1, 3, 4], [DOWN, RIGHT, RIGHT], [1, 3, 5], [1, 3, 5], [4, 3, 5]),  # two want the cell that 2 leaves
    ],
)
def test_who_may_move(
    cells: list[int], action: list[int], priority: list[int], block_both: list[int], soft: list[int]
) -> None:
    for system, expected in zip(SYSTEMS, (priority, block_both, soft), strict=True):
        goals = [(cell + 3) % 9 for cell in cells]
        env, state = put(OPEN, cells, goals, collisions=system, on_target="nothing")
        assert go(env, state, *action)[0].cell[0].tolist() == expected, system


@pytest.mark.parametrize("system", SYSTEMS)
def test_obstacles_and_borders_stop(system: str) -> None:
    env, state = put(".#. ... ...", [0, 4], [8, 6], collisions=system)
    assert go(env, state, RIGHT, UP)[0].cell[0].tolist() == [0, 4]
    env, state = put(OPEN, [2, 3], [6, 8], collisions=system)  # nobody leaves one row for the next
    assert go(env, state, RIGHT, LEFT)[0].cell[0].tolist() == [2, 3]


@pytest.mark.parametrize("system", SYSTEMS)
def test_finished_agents_vanish(system: str) -> None:
    env, state = put(OPEN, [0, 2], [1, 0], collisions=system)
    state, reward, ended, _ = go(env, state, RIGHT, STAY)
    assert (reward, ended) == ([1.0, 0.0], False)
    assert env.alive(state).tolist() == [[False, True]]
    assert env.describe(state).finished.tolist() == [[True, False]]
    state, reward, *_ = go(env, state, STAY, LEFT)  # onto the cell where agent 0 vanished
    assert (state.cell[0].tolist(), reward) == ([1, 1], [0.0, 0.0])
    seen = env.observe(state, "flat")
    assert isinstance(seen, Tensor)
    assert not bool(seen[0, 0].any())
    assert seen[0, 1].view(3, 3, 3)[1].nonzero().tolist() == [[1, 1]]  # only itself
    state, reward, ended, success = go(env, state, STAY, LEFT)
    assert (reward, ended, success) == ([0.0, 1.0], True, True)


def test_nothing_wants_all_on_their_goals_at_once() -> None:
    env, state = put(OPEN, [0, 2], [1, 8], on_target="nothing")
    state, reward, ended, _ = go(env, state, RIGHT, DOWN)
    assert (reward, ended) == ([0.0, 0.0], False)
    state, reward, ended, _ = go(env, state, LEFT, DOWN)  # agent 0 has left its goal again
    assert (reward, ended) == ([0.0, 0.0], False)
    state, reward, ended, success = go(env, state, RIGHT, STAY)
    assert (reward, ended, success) == ([1.0, 1.0], True, True)


def test_restart_gives_goals_that_can_be_reached() -> None:
    world = "..#.. ..#.. ..#.. ..#.. ..#.."
    env, state = put(world, [0, 3], [1, 4], on_target="restart")
    found: list[set[int]] = [set(), set()]
    for key in range(300):
        pick = env.draws(torch.tensor([key]), torch.ones(1).long())
        new, reward, flags = env.transition(state, torch.tensor([[RIGHT, RIGHT]]), pick)
        assert reward.tolist() == [[1.0, 1.0]]
        assert not bool(flags.terminated)
        assert bool(flags.success)
        for agent, goal in enumerate(new.goal[0].tolist()):
            found[agent].add(goal)
    left = {row * 5 + column for row in range(5) for column in (0, 1)}
    assert found == [left - {1}, {cell + 3 for cell in left} - {4}]
    stay = go(env, state, STAY, STAY)[0]
    assert torch.equal(stay.goal, state.goal)


@pytest.mark.parametrize(
    ("rewards", "expected"), [("dcc", [-0.075, -0.5, -0.075, 0.0, 3.0]), ("scrimp", [-0.3, -2.0, -0.3, 0.0, 0.0])]
)
def test_rewards_by_hand(rewards: str, expected: list[float]) -> None:
    """Agent 0 moves, 1 runs into the border, 2 waits off its goal, 3 rests on it."""
    env, state = put(OPEN, [0, 2, 4, 7], [3, 5, 1, 8], rewards=rewards, on_target="nothing")
    state = go(env, state, STAY, STAY, STAY, RIGHT)[0]
    state, reward, *_ = go(env, state, DOWN, UP, STAY, STAY)
    assert reward == pytest.approx(expected[:4])
    state, reward, ended, _ = go(env, state, STAY, DOWN, UP, STAY)
    assert (reward, ended) == ([expected[4]] * 4, True)


def test_observation_by_hand() -> None:
    """Agent 0 in the corner: rim above and left, an obstacle, agent 1, and a goal beyond the window."""
    env, state = put(".#.. .... .... ....", [0, 5], [15, 4])
    seen = env.observe(state, "flat")
    assert isinstance(seen, Tensor)
    obstacle, agents, target = seen[0, 0].view(3, 3, 3).tolist()
    assert obstacle == [[1, 1, 1], [1, 0, 1], [1, 0, 0]]
    assert agents == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert target == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    obstacle, agents, target = seen[0, 1].view(3, 3, 3).tolist()
    assert obstacle == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert agents == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert target == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]
    env, state = put(OPEN, [0, 4], [3, 8], radius=2)  # the rim is one cell wide
    seen = env.observe(state, "flat")
    assert isinstance(seen, Tensor)
    assert seen[0, 0, :25].view(5, 5).tolist() == [
        [0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1],
        [0, 1, 0, 0, 0],
        [0, 1, 0, 0, 0],
        [0, 1, 0, 0, 0],
    ]


def test_dcc_observation_by_hand() -> None:
    """Goal of agent 0 behind a wall: the way leads down, right, right, up. Distances to it:

    6 5 0      agent 0 on the cell of 6; the obstacle is the middle one of the first row, so
    """
    env, state = put(".#. ... ...", [0, 7], [2, 3], layout="dcc", on_target="nothing")
    seen = env.observe(state, "flat")
    assert isinstance(seen, Tensor)
    others, obstacle, up, down, left, right = seen[0, 0].view(6, 3, 3).tolist()
    nothing = [[0, 0, 0]] * 3
    assert others == nothing  # agent 1 is out of sight, and it does not see itself
    assert obstacle == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]  # outside is no obstacle
    assert up == nothing
    assert down == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert left == nothing
    assert right == [[0, 0, 0], [0, 0, 0], [0, 1, 1]]
    others, obstacle, up, down, left, right = seen[0, 1].view(6, 3, 3).tolist()  # centre 7, goal 3
    assert (others, obstacle, down, right) == (nothing, nothing, nothing, nothing)
    assert up == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert left == [[0, 1, 1], [0, 1, 1], [0, 0, 0]]
    state = go(env, state, DOWN, UP)[0]
    seen = env.observe(state, "flat")
    assert isinstance(seen, Tensor)
    assert seen[0, 0].view(6, 3, 3)[0].nonzero().tolist() == [[1, 2]]


SETTINGS = [
    {"collisions": "priority"},
    {"collisions": "block_both", "on_target": "restart", "density": [0.0, 0.3, 0.5]},
    {"collisions": "soft", "on_target": "nothing", "rewards": "dcc", "layout": "dcc"},
    {"collisions": "soft", "num_agents": 12, "dim": 6, "density": 0.05, "radius": 6},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_always_holds(settings: dict[str, Any]) -> None:
    """Nobody shares a cell, enters an obstacle, jumps or swaps."""
    env = PathFinding(num_envs=48, observation="sparse", **settings)
    step = env.reset(seed=3)
    for _ in range(40):
        step = env.reset(where=step.done)
        before = env.state_dict()
        step = env.step(env.floor_action(step.key))
        after = env.state_dict()
        was, cell, there = before["state.cell"], after["state.cell"], before["state.active"]
        assert not bool(after["state.world"].gather(1, cell).any())
        row, column = (cell // env.dim - was // env.dim).abs(), (cell % env.dim - was % env.dim).abs()
        assert int((row + column).max()) <= 1
        assert torch.equal(cell[~there], was[~there])
        pair = there[:, :, None] & there[:, None] & ~torch.eye(env.num_agents, dtype=torch.bool)
        assert not bool((pair & (cell[:, :, None] == cell[:, None])).any())
        assert not bool((pair & (cell[:, :, None] == was[:, None]) & (was[:, :, None] == cell[:, None])).any())
        assert torch.equal(step.alive, after["state.active"])
        assert bool((step.reward[~there] == 0).all())


def test_block_both_treats_all_agents_alike() -> None:
    env = PathFinding(num_envs=64, num_agents=8, dim=6, collisions="block_both", on_target="nothing", rewards="dcc")
    state = env.initial(env.draws(torch.arange(64), 0))
    order = torch.tensor([5, 2, 7, 0, 1, 3, 6, 4])
    turned = PathFindingState(
        state.world,
        state.region,
        state.hint[:, order],
        *(x[:, order] for x in (state.cell, state.goal, state.active, state.reached)),
    )
    action = torch.randint(5, (64, 8), generator=torch.Generator().manual_seed(0))
    draws = env.draws(torch.arange(64), torch.ones(64).long())
    one, reward, _ = env.transition(state, action, draws)
    other, turned_reward, _ = env.transition(turned, action[:, order], draws)
    assert torch.equal(one.cell[:, order], other.cell)
    assert torch.equal(reward[:, order], turned_reward)


def test_starts_and_goals_are_different_and_connected() -> None:
    env = PathFinding(num_envs=300, dim=7, num_agents=8, density=0.35)
    env.reset(seed=0)
    state = env.state_dict()
    free = state["state.world"][:, :-3] == 0
    cells = torch.cat([state["state.cell"], state["state.goal"]], 1)
    assert all(len(set(row)) == 16 for row in cells.tolist())
    for agent in range(8):
        goal = torch.zeros_like(free).scatter_(1, state["state.goal"][:, agent : agent + 1], True)
        away = maps.distances(free, goal).gather(1, state["state.cell"][:, agent : agent + 1])
        assert bool((away < maps.FAR).all())


def test_components_are_those_of_the_distances() -> None:
    free = torch.rand(60, 81, generator=torch.Generator().manual_seed(1)) < 0.6
    region = maps.components(free, maps.neighbors(9))
    for source in range(0, 81, 7):
        here = torch.zeros_like(free)
        here[:, source] = True
        near = maps.distances(free, here) < maps.FAR
        same = (region == region[:, source : source + 1]) & free & free[:, source : source + 1]
        assert torch.equal(near, same)
    assert bool((region[~free] == 81).all())
    assert torch.equal(region.gather(1, region.clamp_max(80))[free], region[free])  # a label is a cell of its region


def test_maps_without_room_lose_obstacles() -> None:
    env = PathFinding(num_envs=50, dim=4, num_agents=8, density=0.95)  # every cell is needed
    env.reset(seed=0)
    state = env.state_dict()
    assert not bool(state["state.world"][:, :-3].any())
    env = PathFinding(num_envs=50, dim=4, num_agents=2, density=0.95)
    env.reset(seed=0)
    thinned = env.state_dict()["state.world"][:, :-3].float().mean()
    assert 0.3 < float(thinned) < 0.75


def test_density_is_that_of_the_obstacles() -> None:
    env = PathFinding(num_envs=400, dim=16, num_agents=2, density=0.3)
    env.reset(seed=0)
    share = env.state_dict()["state.world"][:, :-3].float().mean(1)
    assert abs(float(share.mean()) - 0.3) < 0.005
    assert float(share.std()) < 0.04
    env = PathFinding(num_envs=4000, dim=16, num_agents=2, density=[0.0, 0.33, 0.5])
    drawn = env._densities(torch.arange(4000))
    assert 0.0 <= float(drawn.min()) < 0.03
    assert 0.47 < float(drawn.max()) <= 0.5
    assert abs(float(drawn.mean()) - 0.83 / 3) < 0.006  # mean of a triangular distribution
    assert abs(float((drawn < 0.33).float().mean()) - 0.66) < 0.03  # its mass below the mode
    env = PathFinding(num_envs=400, dim=16, num_agents=2, density=0.3)
    env.adjust(density=0.0)
    env.reset(seed=0)
    assert not bool(env.state_dict()["state.world"][:, :-3].any())


def test_a_lonely_agent_takes_the_shortest_way() -> None:
    env = PathFinding(num_envs=64, num_agents=1, density=0.3)
    step = env.reset(seed=0)
    state = env.state_dict()
    goal = torch.zeros(64, 64, dtype=torch.bool).scatter_(1, state["state.goal"], True)
    away = maps.distances(state["state.world"][:, :-3] == 0, goal).gather(1, state["state.cell"]).squeeze(1)
    done = torch.zeros(64, dtype=torch.bool)
    while not bool(done.all()):
        step = env.step(env.ceiling_action())
        assert bool((~step.terminated | done | (step.step == away)).all())
        done |= step.terminated
        step = env.reset(where=step.done)


def test_planning_lets_others_pass() -> None:
    """A corridor with one niche: one of the two must wait in it."""
    free = torch.tensor([[mark == "." for mark in "......" + "####.#" + "######" * 4]])
    task = path_planning.Task(free, torch.tensor([[0, 5]]), torch.tensor([[5, 0]]), torch.ones(1, 2).bool(), False)
    orders = path_planning.some_orders(2, 4, torch.device("cpu"))
    cell, steps = task.cell, 0
    while bool((cell != task.goal).any()) and steps < 20:
        active = cell != task.goal
        action, solved = path_planning.first_moves(path_planning.Task(free, cell, task.goal, active, False), 30, orders)
        assert bool(solved)
        shift = torch.tensor([0, -6, 6, -1, 1])[action]
        moved = cell + shift
        assert bool(free.gather(1, moved).all())
        assert int(moved[0, 0]) != int(moved[0, 1]) or not bool(active.all())
        assert not torch.equal(moved.flip(1), cell)
        cell, steps = moved, steps + 1
    assert torch.equal(cell, task.goal)
    blocked = torch.tensor([[mark == "." for mark in "......" + "######" * 5]])
    task = path_planning.Task(blocked, torch.tensor([[0, 5]]), task.goal, torch.ones(1, 2).bool(), False)
    assert not bool(path_planning.first_moves(task, 30, orders)[1])


@pytest.mark.parametrize("settings", [{}, {"collisions": "block_both", "density": 0.3}, {"on_target": "nothing"}])
def test_the_ceiling_brings_everybody_home(settings: dict[str, Any]) -> None:
    env = PathFinding(num_envs=24, observation="sparse", **settings)
    step = env.reset(seed=8)
    done = torch.zeros(24, dtype=torch.bool)
    while not bool(done.all()):
        step = env.step(env.ceiling_action())
        assert not bool((step.truncated & ~done).any())
        done |= step.success
        step = env.reset(where=step.done)


@pytest.mark.parametrize(("form", "settings"), list(zip(["flat", "sparse", "flat"], SETTINGS[:3], strict=True)))
def test_contract(form: str, settings: dict[str, Any]) -> None:
    check_env(
        lambda n: PathFinding(num_envs=n, observation=form, max_steps=5, dim=5, num_agents=3, **settings),
        num_envs=2,
        long=0,
    )


def test_sparse_is_the_same_vector_in_the_dcc_layout() -> None:
    env = PathFinding(num_envs=32, layout="dcc", num_agents=6)
    state = env.initial(env.draws(torch.arange(32), 0))
    sparse = env.observe(state, "sparse")
    assert isinstance(sparse, SparseObs)
    flat = env.observe(state, "flat")
    assert isinstance(flat, Tensor)
    assert torch.equal(sparse.to_flat(), flat)
    assert bool(flat.any())


def test_protocols_carry_the_published_numbers() -> None:
    made = {protocol: PathFinding(**settings) for protocol, settings in PathFinding.protocols.items()}
    assert made["pogema-8x8-4-v0"].obs_dim == 3 * 11 * 11
    assert made["dcc-10x10-4-v0"].obs_dim == 6 * 9 * 9
    assert made["8x8-4-v0"].config == PathFinding().config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 3, "num_agents": 5}, "num_agents: expected at most 4 for starts and goals on 3 x 3 cells, got 5"),
        ({"density": 1.0}, "density: expected a finite number"),
        ({"density": [0.5, 0.2, 0.6]}, "density: expected low <= most likely <= high"),
        ({"density": [0.1, 0.2]}, "density: expected a number or three"),
        ({"density": "high"}, "density: expected a number or three"),
        ({"radius": 0}, "radius: expected"),
        ({"on_target": "stop"}, "on_target: expected one of"),
        ({"collisions": "sof"}, "Did you mean 'soft'"),
        ({"rewards": "dhc"}, "rewards: expected one of"),
        ({"layout": "dcc", "on_target": "restart"}, "layout: expected 'pogema' with on_target='restart', got 'dcc'"),
        ({"max_steps": 0}, "max_steps: expected"),
        ({"dim": 1}, "dim: expected"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PathFinding(**settings)
