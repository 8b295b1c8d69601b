"""In from networkx, out to networkx and torch_geometric: agents keep their numbers."""

from __future__ import annotations

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Batch

from gnncomm.graph import CommGraph, Layout


def test_insertion_order_is_no_order_of_agents() -> None:
    """torch_geometric's converter numbers nodes as edges name them: there b would be agent 0."""
    graph = nx.DiGraph()
    graph.add_edge("b", "a", weight=0.5)
    assert list(graph) == ["b", "a"]
    by_name = CommGraph.from_networkx(graph, agents=["a", "b"], weight="weight")
    assert by_name.edge_index.tolist() == [[1], [0]]
    assert by_name.edge_weight is not None
    assert by_name.edge_weight.tolist() == [0.5]
    assert CommGraph.from_networkx(graph, agents=["b", "a"]).edge_index.tolist() == [[0], [1]]


def test_an_undirected_edge_goes_both_ways() -> None:
    graph = nx.Graph()
    graph.add_nodes_from(range(3))
    graph.add_edge(2, 0, cost=3)
    graph.add_edge(1, 1, cost=4)
    both = CommGraph.from_networkx(graph, weight="cost")
    assert both.edge_index.tolist() == [[2, 1, 0], [0, 1, 2]]
    assert both.edge_weight is not None
    assert both.edge_weight.tolist() == [3.0, 4.0, 3.0]
    one_way = nx.DiGraph([(0, 1)])
    assert CommGraph.from_networkx(one_way).edge_index.tolist() == [[0], [1]]


@given(
    st.permutations(["ant", "bee", "cat", "dog"]),
    st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3))),
    st.randoms(use_true_random=False),
)
def test_round_trip(order: list[str], edges: set[tuple[int, int]], shuffle: object) -> None:
    """Any insertion order of nodes and edges; agents stay who they are."""
    graph = nx.DiGraph()
    listed = sorted(edges, key=lambda edge: hash((str(order), edge)))
    graph.add_weighted_edges_from((order[s], order[r], s + 4.0 * r) for s, r in listed)
    graph.add_nodes_from(reversed(order))
    comm = CommGraph.from_networkx(graph, agents=order, weight="weight")
    assert {(s, r) for s, r in comm.edge_index.t().tolist()} == edges
    back = comm.to_networkx(agents=order)
    assert list(back) == order
    assert nx.utils.graphs_equal(nx.DiGraph(back), nx.DiGraph(graph))
    plain = comm.to_networkx()
    assert list(plain) == [0, 1, 2, 3]
    again = CommGraph.from_networkx(plain, weight="weight")
    assert torch.equal(again.edge_index, comm.edge_index)
    assert comm.edge_weight is not None
    assert again.edge_weight is not None
    assert torch.equal(again.edge_weight, comm.edge_weight)


def test_each_graph_of_a_batch_leaves_alone() -> None:
    adjacency = torch.zeros(2, 3, 3)
    adjacency[0, 0, 1] = adjacency[1, 2, 0] = 1
    graph = CommGraph.from_dense(adjacency, attr=torch.arange(18.0).view(2, 3, 3, 1))
    assert list(graph.to_networkx(0).edges(data=True)) == [(0, 1, {"attr": [1.0]})]
    assert list(graph.to_networkx(1).edges(data=True)) == [(2, 0, {"attr": [15.0]})]


@pytest.mark.parametrize("layout", list(Layout))
def test_to_data_and_back(layout: Layout) -> None:
    adjacency = torch.tensor([[[0, 1], [0, 0]], [[0, 1], [1, 1]]])
    graph = CommGraph.from_dense(adjacency, weight=torch.arange(8.0).view(2, 2, 2)).to_layout(layout)
    x = torch.rand(2, 2, 5)
    batch = graph.to_data(x)
    assert isinstance(batch, Batch)
    assert batch.num_graphs == 2
    assert torch.equal(batch.x, x.view(4, 5))
    assert torch.equal(batch.edge_index, graph.edge_index)
    assert batch.batch.tolist() == [0, 0, 1, 1]
    assert batch[1].edge_weight.tolist() == [6.0, 5.0, 7.0]
    back = CommGraph.from_data(batch)
    assert torch.equal(back.edge_index, graph.edge_index)
    assert back.edge_weight is not None
    assert back.edge_weight.tolist() == [1.0, 6.0, 5.0, 7.0]
    shared = CommGraph.from_edge_list([(0, 1)], 2).to_data(x)
    assert shared.edge_index.tolist() == [[0, 2], [1, 3]]


def test_from_data_without_edges_or_batch() -> None:
    from torch_geometric.data import Data

    assert CommGraph.from_data(Data(x=torch.zeros(3, 2))).num_edges == 0
    graph = CommGraph.from_data(
        Data(x=torch.zeros(3, 2), edge_index=torch.tensor([[0], [2]]), edge_attr=torch.ones(1, 4))
    )
    assert (graph.num_agents, graph.num_graphs) == (3, 1)
    assert graph.edge_attr is not None
    assert graph.edge_attr.shape == (1, 4)
