"""All layouts mean the same: round trips and set algebra against Python sets, over random graphs."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnncomm.graph import CommGraph, Layout

LAYOUTS = list(Layout)
Edge = tuple[int, int, int]  # graph, sender, receiver


@st.composite
def edge_sets(draw: st.DrawFn, agents: int | None = None, graphs: int | None = None) -> tuple[set[Edge], int, int]:
    num_agents = agents or draw(st.integers(1, 5))
    num_graphs = graphs or draw(st.integers(1, 3))
    every = list(product(range(num_graphs), range(num_agents), range(num_agents)))
    return set(draw(st.lists(st.sampled_from(every), max_size=len(every)))), num_agents, num_graphs


def sparse(edges: set[Edge], num_agents: int, num_graphs: int, order: int = 0) -> CommGraph:
    """Built from an arbitrary order of the edges."""
    shuffled = sorted(edges, key=lambda edge: hash((order, edge)))
    nodes = [(g * num_agents + s, g * num_agents + r) for g, s, r in shuffled]
    return CommGraph.from_edge_index(torch.tensor(nodes, dtype=torch.int64).reshape(-1, 2).t(), num_agents, num_graphs)


def edges_of(graph: CommGraph) -> set[Edge]:
    found = graph.edge_index % graph.num_agents
    listed = list(zip(graph.batch.tolist(), *found.tolist(), strict=True))
    assert len(set(listed)) == len(listed)
    assert listed == sorted(listed, key=lambda edge: (edge[0], edge[2], edge[1])), "canonical order"
    return set(listed)


def by_hand(edges: set[Edge], num_agents: int, num_graphs: int) -> Tensor:
    dense = torch.zeros(num_graphs, num_agents, num_agents, dtype=torch.bool)
    for g, s, r in edges:
        dense[g, s, r] = True
    return dense


@given(edge_sets(), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS), st.integers())
def test_views_agree(case: tuple[set[Edge], int, int], first: Layout, second: Layout, order: int) -> None:
    edges, num_agents, num_graphs = case
    truth = sparse(edges, num_agents, num_graphs)
    graph = sparse(edges, num_agents, num_graphs, order).to_layout(first).to_layout(second)
    assert graph.layout is second
    assert torch.equal(graph.edge_index, truth.edge_index)
    assert edges_of(graph) == edges
    assert torch.equal(graph.dense, by_hand(edges, num_agents, num_graphs))
    heard = {(g, int(graph.neighbors[g, r, slot]), r) for g, r, slot in graph.present.nonzero().tolist()}
    assert heard == edges
    own = torch.arange(num_agents).view(-1, 1).expand_as(graph.neighbors)
    assert torch.equal(graph.neighbors[~graph.present], own[~graph.present])
    assert torch.equal(graph.in_degree, graph.dense.sum(1))
    assert torch.equal(graph.out_degree, graph.dense.sum(2))
    assert graph.num_edges == len(edges)


@given(edge_sets(), st.sampled_from(LAYOUTS))
def test_constructors_agree(case: tuple[set[Edge], int, int], layout: Layout) -> None:
    edges, num_agents, num_graphs = case
    graph = sparse(edges, num_agents, num_graphs).to_layout(layout)
    backwards = [2] if graph.neighbors.shape[-1] else []
    for again in (
        CommGraph.from_dense(graph.dense),
        CommGraph.from_dense(graph.dense.float()),
        CommGraph.from_neighbors(graph.neighbors.flip(backwards), graph.present.flip(backwards)),
        CommGraph.from_edge_index(graph.edge_index.flip(1), num_agents, num_graphs),
        CommGraph.from_data(graph.to_data()),
    ):
        assert torch.equal(again.edge_index, graph.edge_index)
        assert torch.equal(again.dense, graph.dense)
        assert (again.num_agents, again.num_graphs) == (num_agents, num_graphs)


def coded(graph: CommGraph) -> tuple[Tensor, Tensor]:
    """A weight and attributes that say which edge they belong to, in the native layout."""
    g, s, r = torch.broadcast_tensors(*graph.endpoints())
    code = (100 * g + 10 * s + r + 1).float()
    return torch.stack([code, -code], dim=-1), code


@given(edge_sets(), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS))
def test_features_follow_their_edges(case: tuple[set[Edge], int, int], first: Layout, second: Layout) -> None:
    edges, num_agents, num_graphs = case
    bare = sparse(edges, num_agents, num_graphs).to_layout(first)
    graph = bare.with_features(*coded(bare)).to_layout(second)
    expected = [100.0 * g + 10 * s + r + 1 for g, s, r in sorted(edges, key=lambda e: (e[0], e[2], e[1]))]
    assert graph.edge_weight is not None
    assert graph.edge_attr is not None
    assert graph.edge_weight.tolist() == expected
    assert graph.edge_attr.tolist() == [[code, -code] for code in expected]
    assert graph.weight is not None
    assert graph.weight.shape == graph.shape
    assert float(graph.weight.sum()) == sum(expected), "0 where there is no edge"
    looped = graph.with_features(weight=graph.weight).with_self_loops()
    new = {(g, n, n) for g, n in product(range(num_graphs), range(num_agents))} - edges
    assert edges_of(looped) == edges | new
    assert looped.edge_weight is not None
    assert float(looped.edge_weight.sum()) == sum(expected) + len(new)


@given(
    st.integers(1, 4).flatmap(lambda n: st.tuples(edge_sets(n, 3), edge_sets(n, 3), edge_sets(n, 1))),
    st.sampled_from(LAYOUTS),
    st.sampled_from(LAYOUTS),
)
def test_algebra_is_that_of_sets(cases: tuple[tuple[set[Edge], int, int], ...], first: Layout, second: Layout) -> None:
    (a, num_agents, _), (b, _, _), (shared, _, _) = cases
    everywhere = {(g, s, r) for g in range(3) for _, s, r in shared}
    left = sparse(a, num_agents, 3).to_layout(first)
    right = sparse(b, num_agents, 3).to_layout(second)
    one = sparse(shared, num_agents, 1).to_layout(second)
    assert edges_of(left | right) == a | b
    assert edges_of(left & right) == a & b
    assert edges_of(left | one) == edges_of(one | left) == a | everywhere
    assert edges_of(left & one) == edges_of(one & left) == a & everywhere
    assert edges_of(one | one) == edges_of(one & one) == shared
    assert (one | one).num_graphs == 1
    assert (left & right).layout is first
    weighted = left.with_features(*coded(left)) & right
    assert weighted.edge_weight is not None
    assert weighted.edge_weight.sum() == sum(100 * g + 10 * s + r + 1 for g, s, r in a & b)


@given(edge_sets(graphs=3), st.sampled_from(LAYOUTS), st.lists(st.integers(0, 2), max_size=4))
def test_select_takes_graphs(case: tuple[set[Edge], int, int], layout: Layout, rows: list[int]) -> None:
    edges, num_agents, _ = case
    bare = sparse(edges, num_agents, 3).to_layout(layout)
    graph = bare.with_features(*coded(bare))
    taken = graph.select(torch.tensor(rows, dtype=torch.int64))
    assert taken.num_graphs == len(rows)
    assert edges_of(taken) == {(new, s, r) for new, old in enumerate(rows) for g, s, r in edges if g == old}
    assert taken.edge_weight is not None
    codes = [100.0 * rows[g] + 10 * s + r + 1 for g, s, r in sorted(edges_of(taken), key=lambda e: (e[0], e[2], e[1]))]
    assert taken.edge_weight.tolist() == codes
    mask = torch.tensor([True, False, True])
    assert edges_of(graph.select(mask)) == edges_of(graph.select(torch.tensor([0, 2])))


@given(edge_sets(graphs=1), st.sampled_from(LAYOUTS), st.integers(0, 4))
def test_expand_repeats_the_graph(case: tuple[set[Edge], int, int], layout: Layout, count: int) -> None:
    edges, num_agents, _ = case
    bare = sparse(edges, num_agents, 1).to_layout(layout)
    graph = bare.with_features(*coded(bare))
    spread = graph.expand(count)
    assert edges_of(spread) == {(g, s, r) for g in range(count) for _, s, r in edges}
    assert spread.edge_weight is not None
    assert graph.edge_weight is not None
    assert spread.edge_weight.tolist() == graph.edge_weight.tolist() * count
    assert graph.select(torch.tensor([0, 5, 7])) is graph, "one graph for all environments stays"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_equal_sets_of_edges_give_equal_bits(layout: Layout) -> None:
    forwards = CommGraph.from_edge_list([(2, 0), (0, 1), (1, 0)], 3).to_layout(layout)
    backwards = CommGraph.from_edge_list([(1, 0), (2, 0), (0, 1)], 3).to_layout(layout)
    assert torch.equal(forwards.edge_index, backwards.edge_index)
    assert forwards.edge_index.tolist() == [[1, 2, 0], [0, 0, 1]]
    assert torch.equal(forwards.neighbors, backwards.neighbors)
    assert forwards.neighbors.tolist() == [[[1, 2], [0, 1], [2, 2]]]
    assert forwards.present.tolist() == [[[True, True], [True, False], [False, False]]]


def test_slots_are_sorted_with_their_features() -> None:
    """Receiver 0 hears 2 (weight 5) and 1 (weight 7); receiver 1 hears 0 only; receiver 2 hears 1 and 0."""
    neighbors = torch.tensor([[2, 1], [9, 0], [1, 0]])
    present = torch.tensor([[True, True], [False, True], [True, True]])
    weight = torch.tensor([[5.0, 7.0], [8.0, 2.0], [3.0, 4.0]])
    graph = CommGraph.from_neighbors(neighbors, present, attr=weight.unsqueeze(-1), weight=weight)
    assert graph.edge_index.tolist() == [[1, 2, 0, 0, 1], [0, 0, 1, 2, 2]]
    assert graph.edge_weight is not None
    assert graph.edge_attr is not None
    assert graph.edge_weight.tolist() == [7.0, 5.0, 2.0, 4.0, 3.0]
    assert graph.edge_attr.tolist() == [[7.0], [5.0], [2.0], [4.0], [3.0]]
    assert graph.neighbors[0, 1].tolist() == [0, 1], "the absent slot of receiver 1 points at itself"
