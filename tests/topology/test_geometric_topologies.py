"""Positions to graphs: growing ranges, walls, and crowds too large for N x N, against brute force."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gnncomm.errors import GraphError, NonFiniteError
from gnncomm.graph import CommGraph, Layout
from gnncomm.topology import KNearest, LineOfSight, Radius, cells, knn, line_of_sight, radius
from gnncomm.topology.geometric import distances
from gnncomm.topology.line_of_sight import visible


def all_alive(num_envs: int, num_agents: int) -> Tensor:
    return torch.ones(num_envs, num_agents, dtype=torch.bool)


def connected(graph: CommGraph, number: int, alive: Tensor) -> bool:
    living = alive[number].nonzero().flatten().tolist()
    return len(living) < 2 or bool(nx.is_strongly_connected(graph.to_networkx(number).subgraph(living)))


@given(st.integers(0, 10**6), st.integers(1, 9), st.floats(1e-3, 3), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_the_range_grows_until_all_are_connected(seed: int, num_agents: int, r: float, dying: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    pos = torch.rand(4, num_agents, 2, generator=generator) * 4
    pos[0] = pos[0].round()
    alive = torch.rand(4, num_agents, generator=generator) >= dying
    graph = Radius(r, ensure_connected=True)(alive, pos)
    for b in range(4):
        reach, times = r, 0
        while not connected(Radius(reach)(alive[b : b + 1], pos[b : b + 1]), 0, alive[b : b + 1]):
            times += 1
            reach = r * 1.1**times
        expected = Radius(reach)(alive[b : b + 1], pos[b : b + 1])
        assert torch.equal(graph.dense[b], expected.dense[0])


def test_a_connected_team_keeps_its_range() -> None:
    pos = torch.tensor([[[0.0, 0], [1, 0], [2, 0]], [[0.0, 0], [1, 0], [2.2, 0]]])
    graph = Radius(1, ensure_connected=True)(all_alive(2, 3), pos)
    assert graph.num_edges == 8
    assert torch.equal(graph.dense[0], Radius(1)(all_alive(2, 3), pos).dense[0])
    exact = torch.tensor([[[0.0, 0], [20, 0], [12, 17.5]]])  # 20, 19.2 and 21.2 apart
    assert Radius(20, ensure_connected=True)(all_alive(1, 3), exact).num_edges == 4, "20 is enough: nothing grows"
    assert Radius(19.9, ensure_connected=True)(all_alive(1, 3), exact).num_edges == 6
    far = Radius(1, ensure_connected=True)(all_alive(1, 2), torch.tensor([[[0.0, 0], [1e6, 0]]]))
    assert far.num_edges == 2


# -- line of sight --------------------------------------------------------------------------------------------------


def crosses(one: tuple[int, int], other: tuple[int, int], wall: tuple[int, int]) -> bool:
    """The segment meets the open unit square around ``wall``: slabs, in exact fractions."""
    begin, end = Fraction(0), Fraction(1)
    strict = one == other
    for a, b, w in zip(one, other, wall, strict=True):
        low, high = Fraction(2 * w - 1, 2), Fraction(2 * w + 1, 2)
        if a == b:
            if not low < a < high:
                return False
            continue
        first, last = sorted(((low - a) / (b - a), (high - a) / (b - a)))
        begin, end = max(begin, first), min(end, last)
    return begin < end or strict


maps = st.integers(1, 6).flatmap(
    lambda columns: st.lists(st.lists(st.booleans(), min_size=columns, max_size=columns), min_size=1, max_size=6)
)


@given(maps)
@settings(deadline=None, max_examples=40)
def test_walls_hide_what_exact_geometry_says(walls: list[list[bool]]) -> None:
    rows, columns = len(walls), len(walls[0])
    stones = [cell for cell in product(range(rows), range(columns)) if walls[cell[0]][cell[1]]]
    number = torch.arange(rows * columns)
    seen = visible(torch.tensor(walls), number.unsqueeze(1), number.unsqueeze(0))
    for one, other in product(product(range(rows), range(columns)), repeat=2):
        expected = not any(crosses(one, other, stone) for stone in stones)
        assert bool(seen[one[0] * columns + one[1], other[0] * columns + other[1]]) == expected
    assert torch.equal(seen, seen.t())


def test_long_lines_of_sight() -> None:
    """Every segment from the corner of a 3 x 40 and a 40 x 3 map past one stone."""
    for rows, columns in ((3, 40), (40, 3)):
        stone = (1, 17) if rows == 3 else (17, 1)
        walls = torch.zeros(rows, columns, dtype=torch.bool)
        walls[stone] = True
        number = torch.arange(rows * columns)
        seen = visible(walls, torch.tensor(0), number)
        for cell in number.tolist():
            assert bool(seen[cell]) == (not crosses((0, 0), divmod(cell, columns), stone))


def test_line_of_sight_by_hand() -> None:
    walls = ("...", ".#.", "...")
    pos = torch.tensor([[[0.0, 0], [0, 2], [2, 2], [2, 0], [1, 0], [0, 1]]])
    heard = {(s, r) for s, r in LineOfSight(9, walls)(all_alive(1, 6), pos).dense[0].nonzero().tolist()}
    hidden = {(0, 2), (1, 3), (2, 4), (2, 5), (1, 4), (3, 5)}
    touching = {(4, 5)}  # from (1, 0) to (0, 1) past the corner of the stone
    assert touching <= heard
    everyone = {(s, r) for s, r in product(range(6), repeat=2) if s != r}
    assert everyone - heard == {(s, r) for s, r in everyone if not _clear(pos, s, r)}
    assert {(0, 2), (2, 0), (1, 3), (3, 1)} <= everyone - heard
    assert hidden & heard == {(a, b) for a, b in hidden if _clear(pos, a, b)}


def _clear(pos: Tensor, one: int, other: int) -> bool:
    here, there = (tuple(int(x) for x in pos[0, agent].tolist()) for agent in (one, other))
    return not crosses((here[0], here[1]), (there[0], there[1]), (1, 1))


def test_line_of_sight_without_walls_is_a_radius() -> None:
    pos, alive = torch.rand(5, 12, 2) * 7, torch.rand(5, 12) < 0.8
    open_field = LineOfSight(2.5, torch.zeros(8, 8, dtype=torch.bool))
    assert torch.equal(open_field(alive, pos).dense, Radius(2.5)(alive, pos).dense)


def test_line_of_sight_reads_maps_of_any_kind() -> None:
    text = LineOfSight(2, ("#.", ".."))
    assert text == LineOfSight(2, torch.tensor([[True, False], [False, False]]))
    assert text == LineOfSight(2, [[True, False], [False, False]])
    assert hash(text) == hash(LineOfSight(2, ("#.", "..")))


def test_line_of_sight_from_inside_a_wall() -> None:
    pos = torch.tensor([[[0.0, 0], [0.2, 0.4], [0, 1], [1, 1]]])
    heard = LineOfSight(5, ("#.", ".."))(all_alive(1, 4), pos).dense[0].nonzero().tolist()
    assert heard == [[2, 3], [3, 2]]


def test_large_maps_are_read_without_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    walls = torch.rand(20, 30) < 0.2
    pos, alive = torch.rand(3, 15, 2) * torch.tensor([19.0, 29.0]), torch.rand(3, 15) < 0.8
    with_table = LineOfSight(9, walls)(alive, pos).dense
    monkeypatch.setattr(line_of_sight, "TABLE_UP_TO", 0)
    assert torch.equal(LineOfSight(9, walls)(alive, pos).dense, with_table)
    assert not torch.equal(with_table, Radius(9)(alive, pos).dense)


def test_line_of_sight_off_the_map() -> None:
    alive, pos = all_alive(1, 2), torch.tensor([[[0.0, 0], [0, 2.6]]])
    with pytest.raises(GraphError, match=r"within 1 rows and 3 columns, got \[0.0, 2.5999"):
        LineOfSight(5, ("...",))(alive, pos)
    alive[0, 1] = False
    assert LineOfSight(5, ("...",))(alive, pos).num_edges == 0, "where the dead are does not matter"
    with pytest.raises(GraphError, match=r"expected pos \[B, N, 2\]"):
        LineOfSight(5, ("...",))(all_alive(1, 2), torch.zeros(1, 2, 3))
    with pytest.raises(NonFiniteError, match="agent 0"):
        LineOfSight(5, ("...",))(all_alive(1, 2), torch.full((1, 2, 2), math.nan))


# -- crowds ---------------------------------------------------------------------------------------------------------


def crowd(kind: str, num_envs: int, num_agents: int, axes: int, seed: int) -> Tensor:
    """Positions that are even, on whole numbers (ties), in clumps, on a line, in one point, or far away."""
    generator = torch.Generator().manual_seed(seed)
    pos = torch.rand(num_envs, num_agents, axes, generator=generator) * 10
    if kind == "ties":
        return pos.round()
    if kind == "clumps":
        return pos / 1000 + (torch.arange(num_agents) % 3).view(1, -1, 1) * 500
    if kind == "outlier":
        pos[:, 0] = 1e6
    if kind == "line":
        pos[..., 1:] = 3.0
    if kind == "point":
        return torch.ones_like(pos)
    if kind == "far":
        return pos + 1e5
    return pos


KINDS = ["even", "ties", "clumps", "outlier", "line", "point", "far"]


@given(
    st.sampled_from(KINDS),
    st.integers(1, 3),
    st.integers(1, 60),
    st.integers(1, 4),
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.3, 1.0, 2.5, 700.0, 1e9, math.inf]),
)
@settings(deadline=None, max_examples=150)
def test_cells_are_brute_force(
    kind: str, num_envs: int, num_agents: int, axes: int, seed: int, k: int, r: float
) -> None:
    pos = crowd(kind, num_envs, num_agents, axes, seed)
    alive = torch.rand(num_envs, num_agents, generator=torch.Generator().manual_seed(seed)) < 0.8
    dense = Radius(r)(alive, pos)
    sparse = cells.within(alive, pos, torch.full((num_envs,), r))
    assert torch.equal(sparse.edge_index, dense.edge_index)
    index, present = cells.nearest(alive, pos, k)
    graph = CommGraph.from_neighbors(index, present, validate=False)
    assert torch.equal(graph.edge_index, KNearest(k)(alive, pos).edge_index)


@pytest.mark.parametrize("kind", ["even", "ties", "clumps", "outlier"])
def test_large_crowds_take_the_cells_and_mean_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pos, alive = crowd(kind, 2, 300, 2, 1), torch.rand(2, 300) < 0.9
    found = [which(alive, pos) for which in (Radius(0.7), KNearest(6), Radius(0.2, ensure_connected=True))]
    assert [graph.layout for graph in found] == [Layout.SPARSE, Layout.REGULAR, Layout.SPARSE]
    assert all(connected(found[2], b, alive) for b in range(2))
    monkeypatch.setattr(radius, "BRUTE_UP_TO", 10**9)
    monkeypatch.setattr(knn, "BRUTE_UP_TO", 10**9)
    brute = [which(alive, pos) for which in (Radius(0.7), KNearest(6), Radius(0.2, ensure_connected=True))]
    for one, other in zip(found, brute, strict=True):
        assert torch.equal(one.edge_index, other.edge_index)


def test_pieces_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pos, alive = crowd("even", 2, 200, 2, 5), torch.rand(2, 200) < 0.9
    whole = cells.within(alive, pos, torch.tensor([1.0, 2.0])), cells.nearest(alive, pos, 5)[0]
    monkeypatch.setattr(cells, "CANDIDATES", 100)
    pieces = cells.within(alive, pos, torch.tensor([1.0, 2.0])), cells.nearest(alive, pos, 5)[0]
    assert torch.equal(whole[0].edge_index, pieces[0].edge_index)
    assert torch.equal(whole[1].sort(-1).values, pieces[1].sort(-1).values)


def test_everyone_dead_in_a_large_crowd() -> None:
    alive, pos = torch.zeros(2, 600, dtype=torch.bool), torch.rand(2, 600, 2)
    for which in (Radius(1), KNearest(3), Radius(1, ensure_connected=True)):
        assert which(alive, pos).num_edges == 0
    alive[1, 5] = True
    for which in (Radius(1), KNearest(3), Radius(1, ensure_connected=True)):
        assert which(alive, pos).num_edges == 0


def test_distances_do_not_depend_on_the_batch() -> None:
    pos, alive = torch.randn(40, 30, 3), all_alive(40, 30)
    together = distances(alive, pos)
    for b in range(40):
        assert torch.equal(distances(alive[b : b + 1], pos[b : b + 1])[0], together[b])
    assert torch.equal(together, together.transpose(1, 2))
