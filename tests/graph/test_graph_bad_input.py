"""Graphs that are none are refused, and the message says which edge, what was expected, what to do."""

from __future__ import annotations

from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor

from gnncomm.errors import DeviceError, GnnCommError, GraphError, ShapeError
from gnncomm.graph import CommGraph


def edges(*pairs: tuple[int, int]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t()


EYE = torch.eye(3, dtype=torch.bool)
NAN = float("nan")


@pytest.mark.parametrize(
    ("edge_index", "words"),
    [
        pytest.param(edges((0, 1), (7, 2)), ["Edge 1", "sender 7", "< 4"], id="row 1, sender out of range"),
        pytest.param(edges((0, 1), (1, 4)), ["Edge 1", "receiver 4", "< 4"], id="row 2, receiver out of range"),
        pytest.param(edges((-1, 1)), ["Edge 0", "sender -1", "0 <="], id="row 3, negative"),
        pytest.param(edges((0, 1), (1, 2), (2, 3)).t(), ["[3, 2]", "[2, E]", "transposed"], id="row 4, transposed"),
        pytest.param(torch.tensor([0, 1]), ["[2]", "[2, E]", "from_edge_list"], id="row 4, one axis"),
        pytest.param(edges((0, 1)).float(), ["float32", "int64", ".long()"], id="row 6, float"),
        pytest.param(edges((0, 1)).to(torch.uint8), ["uint8", "int64"], id="row 8, uint8"),
        pytest.param(edges((0, 1)).bool(), ["torch.bool", "int64"], id="row 8, bool"),
        pytest.param(edges((0, 1), (1, 2), (0, 1)), ["0 -> 1", "more than once", "coalesce"], id="row 9, duplicate"),
    ],
)
def test_bad_edge_index(edge_index: Tensor, words: list[str]) -> None:
    with pytest.raises(GraphError) as caught:
        CommGraph.from_edge_index(edge_index, num_agents=4)
    assert all(word in str(caught.value) for word in words), caught.value
    assert isinstance(caught.value, ValueError)


def test_a_transposed_pair_of_edges_is_why_from_edge_list_exists() -> None:
    """Row 5: [2, 2] may be either; from_edge_list cannot be misread."""
    graph = CommGraph.from_edge_list([(0, 1), (2, 3)], num_agents=4)
    assert graph.edge_index.tolist() == [[0, 2], [1, 3]]
    assert CommGraph.from_edge_list([], num_agents=4).num_edges == 0


@pytest.mark.parametrize("pairs", [[(0, 1, 2)], [(0.0, 1.0)], ["01"], [(0,)], [3]])
def test_from_edge_list_wants_pairs_of_integers(pairs: Any) -> None:
    with pytest.raises(GraphError, match="Edge 0 is no pair"):
        CommGraph.from_edge_list(pairs, num_agents=4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8])
def test_no_edges_of_any_type(dtype: torch.dtype) -> None:
    """Row 7: torch.empty(2, 0) is float, and means that nobody is in range."""
    graph = CommGraph.from_edge_index(torch.empty(2, 0, dtype=dtype), num_agents=4)
    assert graph.num_edges == 0
    assert graph.edge_index.dtype == torch.int64
    assert graph.in_degree.tolist() == [[0, 0, 0, 0]]


def test_int32_is_accepted() -> None:
    """Row 8."""
    graph = CommGraph.from_edge_index(edges((0, 1)).int(), num_agents=4)
    assert graph.edge_index.dtype == torch.int64


def test_coalesce_keeps_one_edge() -> None:
    """Row 9; features of a repeated edge have no rule."""
    doubled = edges((0, 1), (1, 2), (0, 1))
    graph = CommGraph.from_edge_index(doubled, num_agents=4, coalesce=True)
    assert graph.edge_index.tolist() == [[0, 1], [1, 2]]
    with pytest.raises(GraphError, match="more than once"):
        CommGraph.from_edge_index(doubled, num_agents=4, coalesce=True, weight=torch.ones(3))


def test_duplicate_neighbors() -> None:
    """Row 9, regular layout; an absent slot repeats nothing."""
    neighbors = torch.tensor([[1, 1], [0, 2], [0, 1]])
    with pytest.raises(GraphError, match="1 -> 0 is given more than once"):
        CommGraph.from_neighbors(neighbors)
    present = torch.tensor([[True, False], [True, True], [True, True]])
    assert CommGraph.from_neighbors(neighbors, present).num_edges == 5


@pytest.mark.parametrize(
    "build",
    [
        lambda: CommGraph.from_edge_list([(1, 1), (0, 1)], 2),
        lambda: CommGraph.from_dense(torch.tensor([[0, 1], [0, 1]])),
        lambda: CommGraph.from_neighbors(torch.tensor([[0, 0], [0, 1]]), torch.tensor([[False, False], [True, True]])),
    ],
)
def test_a_self_loop_is_an_edge_like_any_other(build: Any) -> None:
    """Row 10: kept as given, never added."""
    graph = build()
    assert graph.edge_index.tolist() == [[0, 1], [1, 1]]
    assert graph.in_degree.tolist() == [[0, 2]]


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([10, 30, 20], ["[10, 30, 20]", "agents="]),
        ([2, 0, 1], ["[2, 0, 1]", "0 .. 2", "agents=sorted(graph)"]),
        (["a", "b"], ["['a', 'b']", "agents="]),
        (range(9, -1, -1), ["..."]),
    ],
)
def test_networkx_nodes_are_never_renumbered_silently(nodes: Any, words: list[str]) -> None:
    """Rows 11, 12, 13."""
    graph = nx.Graph()
    graph.add_nodes_from(nodes)
    with pytest.raises(GraphError) as caught:
        CommGraph.from_networkx(graph)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("agents", "words"),
    [
        ([0, 1], ["2 is on one side only"]),
        ([0, 1, 2, 3], ["3 is on one side only"]),
        ([0, 1, 1], ["twice"]),
        ([], ["0 is on one side only"]),
    ],
)
def test_networkx_agents_name_every_node_once(agents: Any, words: list[str]) -> None:
    with pytest.raises(GraphError) as caught:
        CommGraph.from_networkx(nx.path_graph(3), agents=agents)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("kind", [nx.MultiGraph, nx.MultiDiGraph])
def test_networkx_multigraphs_are_refused(kind: type[nx.Graph]) -> None:
    """Row 13."""
    with pytest.raises(GraphError, match=kind.__name__):
        CommGraph.from_networkx(nx.path_graph(3, create_using=kind))


@pytest.mark.parametrize("value", [None, "heavy", NAN, -1.0, float("inf")])
def test_networkx_weights_are_numbers(value: Any) -> None:
    """Row 14, from networkx."""
    graph = nx.path_graph(3)
    nx.set_edge_attributes(graph, 1.0, "w")
    graph.edges[1, 2]["w"] = value
    with pytest.raises(GraphError):
        CommGraph.from_networkx(graph, weight="w")
    with pytest.raises(GraphError, match="no weight"):
        CommGraph.from_networkx(graph, weight="other")


@pytest.mark.parametrize(
    ("feature", "word"),
    [
        ({"weight": torch.tensor([1.0, NAN])}, "nan"),
        ({"weight": torch.tensor([1.0, float("inf")])}, "inf"),
        ({"weight": torch.tensor([1.0, -0.5])}, "-0.5"),
        ({"weight": torch.ones(3)}, "[3]"),
        ({"weight": torch.ones(2, 1)}, "[2, 1]"),
        ({"weight": torch.ones(2, dtype=torch.int64)}, "int64"),
        ({"attr": torch.ones(2)}, "[2, 'D']"),
        ({"attr": torch.full((2, 4), NAN)}, "nan"),
    ],
)
def test_bad_edge_features(feature: dict[str, Tensor], word: str) -> None:
    """Row 14."""
    with pytest.raises(GraphError) as caught:
        CommGraph.from_edge_index(edges((0, 1), (1, 2)), num_agents=4, **feature)
    assert word in str(caught.value)


def test_features_count_where_there_is_an_edge_only() -> None:
    """NaN where there is no edge is harmless and does not stay; at an edge it is refused, in all layouts."""
    weight = torch.full((3, 3), NAN)
    weight[EYE] = 1.0
    graph = CommGraph.from_dense(EYE, weight=weight)
    assert graph.weight is not None
    assert graph.weight.tolist() == [torch.eye(3).tolist()]
    with pytest.raises(GraphError, match="nan"):
        CommGraph.from_dense(~EYE, weight=weight)
    with pytest.raises(GraphError, match="nan"):
        CommGraph.from_neighbors(torch.tensor([[1], [0]]), weight=torch.tensor([[NAN], [1.0]]))
    dense = CommGraph.from_neighbors(
        torch.tensor([[1], [0]]), torch.tensor([[False], [True]]), weight=torch.tensor([[NAN], [1.0]])
    )
    assert dense.edge_weight is not None
    assert dense.edge_weight.tolist() == [1.0]


def test_devices_are_not_mixed() -> None:
    """Row 15; the meta device stands in for another one."""
    elsewhere = torch.ones(2, device="meta")
    with pytest.raises(DeviceError, match="weight is on meta, the edges are on cpu"):
        CommGraph.from_edge_index(edges((0, 1), (1, 2)), num_agents=4, weight=elsewhere)
    graph = CommGraph.from_edge_list([(0, 1)], 2)
    with pytest.raises(DeviceError, match="alive is on meta"):
        graph.among(torch.ones(1, 2, dtype=torch.bool, device="meta"))
    with pytest.raises(DeviceError):
        graph | CommGraph.from_dense(torch.ones(2, 2, dtype=torch.bool, device="meta"), validate=False)


def test_edges_stay_within_their_graph() -> None:
    """Row 16: environments do not leak into each other."""
    assert CommGraph.from_edge_index(edges((0, 1), (3, 2)), num_agents=2, num_graphs=2).num_edges == 2
    with pytest.raises(GraphError, match=r"Edge 1 \(1 -> 2\) joins two graphs"):
        CommGraph.from_edge_index(edges((0, 1), (1, 2)), num_agents=2, num_graphs=2)


@pytest.mark.parametrize(
    ("batch", "word"), [([0, 1, 0, 1], "unsorted"), ([0, 0, 0, 1], "[3, 1]"), ([1, 1, 1, 1], "[0, 4]")]
)
def test_bad_batch_vectors(batch: list[int], word: str) -> None:
    """Row 16."""
    from torch_geometric.data import Data

    data = Data(edge_index=edges((0, 1)), num_nodes=4, batch=torch.tensor(batch))
    with pytest.raises(GraphError) as caught:
        CommGraph.from_data(data)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("adjacency", "word"),
    [
        (torch.ones(2, 3), "[2, 3]"),
        (torch.ones(3), "[3]"),
        (torch.ones(1, 1, 3, 3), "[1, 1, 3, 3]"),
        (torch.full((3, 3), 0.5), "0.5 at [0, 0]"),
        (torch.full((2, 3, 3), NAN), "nan at [0, 0, 0]"),
        (torch.full((3, 3), 2), "got 2 at"),
    ],
)
def test_bad_adjacency(adjacency: Tensor, word: str) -> None:
    """Row 17."""
    with pytest.raises(GraphError) as caught:
        CommGraph.from_dense(adjacency)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    "build",
    [
        lambda: CommGraph.from_dense(torch.empty(0, 0)),
        lambda: CommGraph.from_neighbors(torch.empty(0, 2)),
        lambda: CommGraph.from_edge_index(torch.empty(2, 0), 0),
        lambda: CommGraph.from_edge_index(torch.empty(2, 0), -1),
        lambda: CommGraph.from_networkx(nx.Graph()),
    ],
)
def test_no_agents(build: Any) -> None:
    """Row 18."""
    with pytest.raises(GraphError, match="num_agents >= 1"):
        build()


@pytest.mark.parametrize("layout", ["dense", "regular", "sparse"])
def test_one_agent_alone(layout: str) -> None:
    """Row 18."""
    graph = CommGraph.from_networkx(nx.empty_graph(1)).to_layout(layout)
    assert graph.num_edges == 0
    assert graph.dense.tolist() == [[[False]]]
    assert graph.neighbors.shape == (1, 1, 0)
    assert graph.reach(3).tolist() == [[[True]]]
    assert graph.with_self_loops().edge_index.tolist() == [[0], [0]]


@pytest.mark.parametrize("layout", ["dense", "regular", "sparse"])
def test_an_empty_batch(layout: str) -> None:
    """Row 24: no environments, right shapes."""
    one = CommGraph.from_edge_list([(0, 1), (1, 2)], 3).to_layout(layout)
    none = one.among(torch.zeros(0, 3, dtype=torch.bool)).expand(0)
    none = none.select(torch.empty(0, dtype=torch.int64)) if none.num_graphs != 1 else one.expand(0)
    assert none.num_graphs == 0
    assert none.dense.shape == (0, 3, 3)
    assert none.edge_index.shape == (2, 0)
    assert none.in_degree.shape == (0, 3)
    assert none.reach(2).shape == (0, 3, 3)
    for other in ("dense", "regular", "sparse"):
        assert none.to_layout(other).num_edges == 0


@pytest.mark.parametrize("senders", [[[3], [0], [0]], [[-1], [0], [0]]])
def test_bad_neighbors(senders: list[list[int]]) -> None:
    with pytest.raises(GraphError, match=r"Receiver 0 hears agent (3|-1): expected 0 <= sender < 3"):
        CommGraph.from_neighbors(torch.tensor(senders))
    with pytest.raises(GraphError, match="present belongs to neighbors"):
        CommGraph.from_neighbors(torch.zeros(3, 1, dtype=torch.int64), torch.ones(3, 2, dtype=torch.bool))
    with pytest.raises(GraphError, match=r"\[N, k\] or \[G, N, k\]"):
        CommGraph.from_neighbors(torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize("layout", ["dense", "regular", "sparse"])
def test_masks_and_batches_of_another_size(layout: str) -> None:
    alone = CommGraph.from_edge_list([(0, 1), (1, 2)], 3).to_layout(layout)
    three = alone.expand(3)
    wrong: list[Any] = [
        lambda: three.among(torch.zeros(2, 3, dtype=torch.bool)),
        lambda: three.among(torch.zeros(3, 4, dtype=torch.bool)),
        lambda: three.among(torch.ones(3, 3)),
        lambda: three.expand(2),
        lambda: three.expand(1),
        lambda: three | alone.expand(2),
        lambda: three.endpoints(2),
        lambda: three.keep(torch.ones(2, 3, 3, dtype=torch.bool)),
        lambda: three.keep(torch.ones(5, dtype=torch.bool)),
        lambda: three.to_data(torch.zeros(2, 3, 4)),
        lambda: three.to_data(torch.zeros(3, 4, 4)),
    ]
    for call in wrong:
        with pytest.raises(ShapeError):
            call()
    mask = torch.ones(three.shape, dtype=torch.float32)
    for call in (
        lambda: three.keep(mask),
        lambda: three | CommGraph.from_edge_list([], 4),
        lambda: three & CommGraph.from_edge_list([], 4),
        lambda: three.reach(-1),
        lambda: three.to_networkx(3),
        lambda: three.to_networkx(0, agents="ab"),
        lambda: three.with_features(weight=torch.ones(7)),
        lambda: three.with_features(attr=torch.ones(three.shape)),
    ):
        with pytest.raises(GnnCommError):
            call()
