"""What is no tensor, graph or number of the right kind is refused by one clear error at every public door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnncomm import topology
from gnncomm.errors import ConfigError, DtypeError, GnnCommError, GraphError, ShapeError
from gnncomm.graph import CommGraph
from gnncomm.layers import AttentionComm, CommLayer, MeanComm
from gnncomm.layers.names import LAYERS, make_layer
from gnncomm.topology import Full, KNearest, Radius, Ring

ADJACENCY = torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=torch.bool)
EDGES = torch.tensor([[0, 1, 2], [1, 2, 0]])
GRAPH = CommGraph.from_dense(ADJACENCY)
ALIVE = torch.ones(1, 3, dtype=torch.bool)
POS = torch.rand(1, 3, 2)
ROWS = torch.randn(1, 3, 8)
X = ROWS[0]
LAYER = AttentionComm(8, 8)

NO_TENSORS: dict[str, Callable[[Tensor], Any]] = {
    "numpy": lambda x: x.numpy(),
    "list": lambda x: x.tolist(),
    "sparse": lambda x: x.to_sparse(),
    "complex": lambda x: x.to(torch.complex64),
    "text": lambda x: "ring",
    "networkx": lambda x: nx.path_graph(3),
}
DOORS: dict[str, tuple[Tensor, Callable[[Any], Any]]] = {
    "from_dense": (ADJACENCY, CommGraph.from_dense),
    "from_dense weight": (torch.rand(3, 3), lambda x: CommGraph.from_dense(ADJACENCY, weight=x)),
    "from_neighbors": (EDGES[0].unsqueeze(1), CommGraph.from_neighbors),
    "from_neighbors present": (ADJACENCY[:, :1], lambda x: CommGraph.from_neighbors(EDGES[0].unsqueeze(1), x)),
    "from_edge_index": (EDGES, lambda x: CommGraph.from_edge_index(x, 3)),
    "from_edge_index attr": (torch.rand(3, 2), lambda x: CommGraph.from_edge_index(EDGES, 3, attr=x)),
    "with_features": (torch.rand(1, 3, 3), lambda x: GRAPH.with_features(weight=x)),
    "keep": (ADJACENCY[None], GRAPH.keep),
    "among": (ALIVE, GRAPH.among),
    "only": (ALIVE[:, 0], GRAPH.only),
    "select": (EDGES[0, :1], GRAPH.select),
    "to_data": (ROWS, GRAPH.to_data),
    "alive of a static topology": (ALIVE, Full()),
    "alive of a geometric topology": (ALIVE, lambda x: Radius(0.5)(x, POS)),
    "pos": (POS, lambda x: KNearest(1)(ALIVE, x)),
    "key": (EDGES[0, :1], lambda x: topology.resolve("erdos_renyi:p=0.5")(ALIVE, key=x)),
    "h over a graph": (ROWS, lambda x: LAYER(x, GRAPH)),
    "h over edges": (X, lambda x: LAYER(x, EDGES)),
    "edge_index of a layer": (EDGES, lambda x: LAYER(X, x)),
    "edge_weight of a layer": (torch.rand(3), lambda x: LAYER(X, EDGES, edge_weight=x)),
}


@pytest.mark.parametrize("kind", NO_TENSORS)
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_tensor_is_refused_by_its_name(door: str, kind: str) -> None:
    value, enter = DOORS[door]
    enter(value)
    wrong = NO_TENSORS[kind](value)
    with pytest.raises(GnnCommError) as refusal:
        enter(wrong)
    told = str(refusal.value)
    assert "expected" in told
    assert (type(wrong).__name__ if not isinstance(wrong, Tensor) else kind if kind == "complex" else "layout") in told


@pytest.mark.parametrize("door", ["from_dense", "from_neighbors", "from_edge_index", "alive of a static topology"])
def test_edges_without_values_are_refused(door: str) -> None:
    value, enter = DOORS[door]
    with pytest.raises(GnnCommError, match="device meta"):
        enter(value.to("meta"))


@pytest.mark.parametrize(
    ("edges", "match"),
    [
        (torch.tensor([[0, 3], [1, 0]]), "sender 3"),
        (torch.tensor([[0, -1], [1, 0]]), "sender -1"),
        (torch.tensor([[0, 1], [1, 7]]), "receiver 7"),
        (EDGES.float(), "int64"),
        (EDGES.t(), "transposed"),
        (EDGES[0], r"\[2, E\]"),
    ],
)
@pytest.mark.parametrize("name", LAYERS)
def test_edges_of_plain_pyg_are_checked(name: str, edges: Tensor, match: str) -> None:
    with pytest.raises(GraphError, match=match):
        make_layer(name, 8)(X, edges)


def test_edges_of_plain_pyg_may_be_int32() -> None:
    assert torch.equal(LAYER(X, EDGES.int()), LAYER(X, EDGES))


@pytest.mark.parametrize(
    ("graph", "match"),
    [
        (nx.path_graph(3), "from_networkx"),
        (Data(edge_index=EDGES), "from_data"),
        ("ring", "resolve"),
        (None, "NoneType"),
    ],
)
def test_other_graphs_are_named_with_the_remedy(graph: Any, match: str) -> None:
    with pytest.raises(GraphError, match=match):
        LAYER(X, graph)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", LAYERS)
def test_rows_in_another_type_are_refused(name: str, dtype: torch.dtype) -> None:
    layer = make_layer(name, 8)
    for call in (lambda: layer(ROWS.to(dtype), GRAPH), lambda: layer(X.to(dtype), EDGES)):
        with pytest.raises(DtypeError, match=r"works in torch\.float32"):
            call()


def test_features_beside_a_graph_are_refused() -> None:
    with pytest.raises(GraphError, match="with_features"):
        LAYER(ROWS, GRAPH, edge_weight=torch.rand(3))


def test_features_of_other_edges_are_refused() -> None:
    with pytest.raises(GraphError, match=r"edge_weight .*\[E=3\]"):
        LAYER(X, EDGES, edge_weight=torch.rand(4))


@pytest.mark.parametrize("other", ["ring", None, 3])
def test_topologies_and_graphs_combine_with_their_like(other: Any) -> None:
    for operation in (lambda: Full() | other, lambda: Full() & other):
        with pytest.raises(ConfigError, match="Topologies combine with topologies"):
            operation()
    for operation in (lambda: GRAPH | other, lambda: GRAPH & other):
        with pytest.raises(GraphError, match="Graphs combine with graphs"):
            operation()


@pytest.mark.parametrize(
    "make",
    [
        lambda: KNearest(2.5),
        lambda: KNearest(True),
        lambda: KNearest("2"),
        lambda: Ring("1"),
        lambda: Radius("far"),
        lambda: Radius(True),
        lambda: Radius(1.0, ensure_connected=1),
        lambda: Full(self_loops="yes"),
        lambda: Full().every(2.5),
        lambda: topology.ErdosRenyi("0.5"),
        lambda: topology.SmallWorld(2, 0.5, seed="1"),
    ],
)
def test_settings_of_another_kind_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(ConfigError, match=r"expected (int|float|bool), got"):
        make()


def test_numbers_of_numpy_are_numbers() -> None:
    assert KNearest(np.int64(2)) == KNearest(2)
    assert Radius(np.float32(0.5)).r == 0.5


@pytest.mark.parametrize(("key", "step"), [(torch.tensor([1.5]), 0), (1.5, 0), (None, 1.5), (None, True)])
def test_keys_and_steps_are_integers(key: Any, step: Any) -> None:
    with pytest.raises(DtypeError):
        topology.resolve("erdos_renyi:p=0.5,seed=1")(ALIVE, key=key, step=step)


@pytest.mark.parametrize("count", [True, 2.0, "3", None])
def test_the_number_of_agents_is_an_int(count: Any) -> None:
    with pytest.raises(GraphError, match="num_agents is a number"):
        CommGraph.from_edge_index(EDGES[:, :0], count)


@pytest.mark.parametrize("weight", ["0.5", torch.tensor(0.5), [1.0]])
def test_weights_of_networkx_that_are_no_numbers_are_named(weight: Any) -> None:
    graph = nx.DiGraph()
    graph.add_edge(0, 1, weight=weight)
    with pytest.raises(GraphError, match=f"no number but {type(weight).__name__}"):
        CommGraph.from_networkx(graph, weight="weight")
    graph.add_edge(0, 1, weight=np.float32(0.5))
    assert CommGraph.from_networkx(graph, weight="weight").edge_weight.tolist() == [0.5]


def test_data_of_another_kind_is_refused() -> None:
    with pytest.raises(GraphError, match="Data or Batch"):
        CommGraph.from_data({"edge_index": EDGES})


# ---- layers of users ----


class Silent(CommLayer):
    """Has no ``send``."""


class Wide(MeanComm):
    def send(self, h: Tensor) -> Tensor:
        return torch.cat([h, h], -1)


class Nosy(MeanComm):
    def message(self, msg_j: Tensor, q_i: Tensor) -> Tensor:
        return msg_j + q_i


def test_a_missing_send_is_named() -> None:
    with pytest.raises(ConfigError, match="Silent says nothing: write send"):
        Silent(8, 8, 8)(ROWS, GRAPH)


@pytest.mark.parametrize("call", [lambda layer: layer(ROWS, GRAPH), lambda layer: layer(X, EDGES)])
def test_a_send_of_the_wrong_width_is_named(call: Callable[[CommLayer], Tensor]) -> None:
    with pytest.raises(ShapeError, match=r"Wide: expected messages from send .* 8\] .* 16\]"):
        call(Wide(8, 8))


def test_a_hook_that_asks_for_what_is_not_passed_is_named() -> None:
    with pytest.raises(ConfigError, match=r"Nosy\.message asks for 'q_i'.*h_i"):
        Nosy(8, 8)
