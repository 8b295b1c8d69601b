"""Who is left when edges go, and how far words travel."""

from __future__ import annotations

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnncomm.errors import GraphError
from gnncomm.graph import CommGraph, Layout
from gnncomm.random import uniform

LAYOUTS = list(Layout)


def random_graph(num_agents: int, num_graphs: int, density: float, seed: int) -> CommGraph:
    g, s, r = torch.meshgrid(*(torch.arange(n) for n in (num_graphs, num_agents, num_agents)), indexing="ij")
    return CommGraph.from_dense(uniform(seed, g, s, r) < density)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_endpoints_place_every_edge(layout: Layout) -> None:
    graph = random_graph(5, 3, 0.4, seed=1).to_layout(layout)
    g, s, r = torch.broadcast_tensors(*graph.endpoints())
    assert g.shape == graph.shape
    there = graph.dense[g, s, r] if layout is Layout.DENSE else torch.ones_like(g, dtype=torch.bool)
    if layout is Layout.REGULAR:
        there = graph.present
        assert torch.equal(s[~there], r[~there]), "a slot without an edge never points at another agent"
    nodes = torch.stack([g * 5 + s, g * 5 + r])[:, there]
    assert set(map(tuple, nodes.t().tolist())) == set(map(tuple, graph.edge_index.t().tolist()))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("num_graphs", [1, 4])
def test_keep_is_a_subset_that_carries_its_features(layout: Layout, num_graphs: int) -> None:
    """A graph shared by all environments becomes one of its own in each of four."""
    graph = random_graph(6, num_graphs, 0.5, seed=2).to_layout(layout)
    code = torch.stack(torch.broadcast_tensors(*graph.endpoints()), dim=-1).float()
    graph = graph.with_features(attr=code)
    g, s, r = graph.endpoints(4)
    stays = uniform(3, g, s, r) < 0.5
    kept = graph.keep(stays)
    truth = graph.dense.expand(4, -1, -1) & (uniform(3, *CommGraph.from_dense(graph.dense).endpoints(4)) < 0.5)
    assert kept.num_graphs == 4
    assert kept.layout is layout
    assert torch.equal(kept.dense, truth)
    assert torch.equal(kept.edge_index, CommGraph.from_dense(truth).edge_index)
    assert kept.edge_attr is not None
    assert torch.equal(kept.edge_attr[:, 1:].long(), (kept.edge_index % 6).t())
    weighted = graph.with_features(weight=torch.ones(graph.shape)).keep(stays)
    assert weighted.weight is not None
    assert weighted.weight.sum() == kept.num_edges, "0 where the edge is gone"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_many_agents(layout: Layout) -> None:
    """Large enough for the algorithms that torch keeps for large arrays."""
    graph = random_graph(150, 2, 0.3, seed=4)
    other = graph.to_layout(layout)
    for last in LAYOUTS:
        again = other.to_layout(last)
        assert torch.equal(again.edge_index, graph.edge_index)
        assert torch.equal(again.dense, graph.dense)
        senders = again.neighbors.masked_fill(~again.present, 150)
        assert torch.equal(senders, senders.sort(dim=-1).values)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_graph_spread_over_environments_and_thinned(layout: Layout) -> None:
    graph = CommGraph.from_dense(torch.ones(3, 3)).to_layout(layout).expand(2)
    assert torch.equal(graph.edge_index, CommGraph.from_dense(torch.ones(2, 3, 3)).edge_index)
    left = graph.among(torch.tensor([[True, False, True], [True, True, True]]))
    assert left.edge_index.tolist() == CommGraph.from_dense(left.dense).edge_index.tolist()
    assert left.num_edges == 4 + 9


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_dead_neither_send_nor_receive(layout: Layout) -> None:
    graph = CommGraph.from_dense(torch.ones(4, 4)).to_layout(layout)
    alive = torch.tensor([[True, True, False, True], [False] * 4, [True] * 4])
    left = graph.among(alive)
    assert left.num_graphs == 3
    assert torch.equal(left.dense, alive.unsqueeze(-1) & alive.unsqueeze(-2))
    assert left.in_degree.tolist() == [[3, 3, 0, 3], [0] * 4, [4] * 4]
    assert graph.among(torch.ones(7, 4, dtype=torch.bool)) is graph
    batch = graph.expand(3)
    assert batch.among(torch.ones(3, 4, dtype=torch.bool)) is batch
    once = batch.among(alive[:1])
    assert torch.equal(once.dense, (alive[:1, :, None] & alive[:1, None]).expand(3, -1, -1))


@given(st.integers(1, 7), st.integers(0, 8), st.floats(0, 1), st.integers(0, 10**6))
def test_reach_is_that_of_networkx(num_agents: int, hops: int, density: float, seed: int) -> None:
    graph = random_graph(num_agents, 2, density, seed)
    for number in range(2):
        lengths = dict(nx.all_pairs_shortest_path_length(graph.to_networkx(number), cutoff=hops))
        found = {(s, r) for s, r in graph.reach(hops)[number].nonzero().tolist()}
        assert found == {(s, r) for s in lengths for r in lengths[s]}


def test_reach_by_hand() -> None:
    """0 -> 1 -> 2 -> 3: words travel one edge a round, forwards only."""
    line = CommGraph.from_edge_list([(0, 1), (1, 2), (2, 3)], 4)
    assert line.reach(0)[0].int().tolist() == torch.eye(4).int().tolist()
    assert line.reach(2)[0].int().tolist() == [[1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]
    assert torch.equal(line.reach(3), line.reach(100))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_self_loops_are_added_once(layout: Layout) -> None:
    graph = CommGraph.from_edge_list([(0, 0), (0, 1)], 3).to_layout(layout)
    looped = graph.with_self_loops()
    assert looped.layout is layout
    assert looped.edge_index.tolist() == [[0, 0, 1, 2], [0, 1, 1, 2]]
    assert torch.equal(looped.with_self_loops().edge_index, looped.edge_index)
    with pytest.raises(GraphError, match="attr"):
        graph.with_features(attr=torch.ones(*graph.shape, 1)).with_self_loops()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("target", LAYOUTS)
def test_weights_stay_differentiable(layout: Layout, target: Layout) -> None:
    """Gradient of sum of squares of the kept weights, 2 w there and 0 elsewhere; a second backward works, too."""
    graph = random_graph(4, 1, 0.6, seed=5).to_layout(layout)
    weight = torch.rand(graph.shape, dtype=torch.float64, requires_grad=True)
    for _ in range(2):
        weight.grad = None
        kept = (
            graph.with_features(weight=weight)
            .to_layout(target)
            .expand(3)
            .among(torch.tensor([[True] * 4, [False] * 4, [True, True, True, False]]))
        )
        assert kept.edge_weight is not None
        kept.edge_weight.square().sum().backward()
        g, s, r = graph.endpoints()
        times = graph.dense[g, s, r].double()
        if layout is Layout.REGULAR:
            times = graph.present.double()
        times = times + times * (s != 3) * (r != 3)
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, 2 * weight.detach() * times)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("target", LAYOUTS)
def test_views_first_seen_in_inference_mode_serve_training(layout: Layout, target: Layout) -> None:
    graph = random_graph(4, 2, 0.6, seed=6).to_layout(layout)
    with torch.inference_mode():
        _ = graph.edge_index, graph.dense, graph.neighbors, graph.batch, graph.in_degree, graph.to_layout(target)
    h = torch.rand(8, 3, requires_grad=True)
    sender, receiver = graph.edge_index
    out = torch.zeros(8, 3).index_add(0, receiver, h[sender] * graph.in_degree.view(-1)[receiver].unsqueeze(-1))
    heard = torch.where(
        graph.present.view(8, -1, 1), h.view(2, 4, 3)[graph.batch[0], graph.neighbors].view(8, -1, 3), 0
    )
    (out.sum() + heard.sum() + torch.where(graph.dense, h.sum(), 0).sum()).backward()
    assert h.grad is not None


def test_static_graphs_share_memory() -> None:
    graph = CommGraph.from_dense(torch.ones(8, 8))
    assert graph.expand(1000).dense.untyped_storage().data_ptr() == graph.dense.untyped_storage().data_ptr()
    assert graph.expand(1) is graph
    assert graph.to_layout("dense") is graph
    assert graph.to("cpu") is graph


@pytest.mark.parametrize("layout", LAYOUTS)
def test_to_another_device(layout: Layout) -> None:
    graph = random_graph(4, 2, 0.6, seed=7).to_layout(layout)
    moved = graph.with_features(weight=torch.ones(graph.shape)).to("meta")
    assert moved.device.type == "meta"
    assert moved.weight is not None
    assert moved.weight.device.type == "meta"


def test_repr_names_what_matters() -> None:
    graph = CommGraph.from_edge_list([(0, 1), (1, 0)], 3)
    assert repr(graph) == "CommGraph(1 graph(s) (shared by all environments) of 3 agents, 2 edges, sparse)"
    assert "3 graph(s) of 3 agents, 6 edges, dense, weight=[3, 3, 3]" in repr(
        graph.to_layout("dense").expand(3).with_features(weight=torch.ones(3, 3, 3))
    )
