"""What a user of torch_geometric expects of any layer: pairs, unknown widths, batches, clear refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.nn import HeteroConv
from torch_geometric.typing import OptTensor

from gnncomm.errors import ConfigError, GnnCommError, GraphError, ShapeError
from gnncomm.graph import CommGraph, unpad
from gnncomm.layers import AttentionComm, Attentive, CommLayer, CommStack, ConvComm, HetGPPOComm, MeanComm
from gnncomm.layers.names import LAYERS, make_layer

F, S, R = 8, 3, 4
ACROSS = torch.tensor([[0, 2, 1, 0, 2], [0, 0, 1, 3, 3]])  # three senders, four receivers, of whom 2 hears nobody
EDGES = torch.tensor([[0, 1, 2, 3, 0, 2], [1, 2, 3, 0, 2, 0]])


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, F, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def build(name: str) -> CommLayer:
    torch.manual_seed(1)
    return make_layer(name, F).double()


# ---- two kinds of nodes ----


@pytest.mark.parametrize("name", LAYERS)
def test_between_two_kinds_of_nodes(name: str) -> None:
    """As one graph that holds both kinds, whose edges lead from the first to the second."""
    layer, source, target = build(name), rows(S), rows(R, seed=1)
    out = layer((source, target), ACROSS)
    whole = layer(torch.cat([source, target]), ACROSS + torch.tensor([[0], [S]]))
    torch.testing.assert_close(out, whole[S:])
    kinds = ("a", "to", "b"), ("b", "of", "b"), ("b", "back", "a")
    hetero = HeteroConv({kind: copy.deepcopy(layer) for kind in kinds}, aggr="sum")
    found = hetero({"a": source, "b": target}, dict(zip(kinds, (ACROSS, EDGES, ACROSS.flip(0)), strict=True)))
    torch.testing.assert_close(found["b"], out + layer(target, EDGES))
    torch.testing.assert_close(found["a"], layer((target, source), ACROSS.flip(0)))


def test_a_mean_between_two_kinds_by_hand() -> None:
    layer = MeanComm(1, 1)
    with torch.no_grad():
        layer.lin_self.weight.fill_(10.0), layer.lin_self.bias.zero_(), layer.lin_inbox.weight.fill_(1.0)
    out = layer((torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [0.0], [0.0], [2.0]])), ACROSS)
    assert out.flatten().tolist() == [12.0, 2.0, 0.0, 22.0]


def test_attention_between_two_kinds() -> None:
    layer = build("attention")
    _, (edges, alpha) = layer((rows(S), rows(R, seed=1)), ACROSS, return_attention_weights=True)
    assert edges.equal(ACROSS)
    sums = torch.zeros(R, layer.heads, dtype=torch.float64).index_add(0, edges[1], alpha)
    torch.testing.assert_close(sums, torch.tensor([1.0, 1.0, 0.0, 1.0]).double().view(-1, 1).expand(-1, layer.heads))


@pytest.mark.parametrize(
    ("h", "edges", "kind", "words"),
    [
        ((rows(S), None), ACROSS, ShapeError, r"expected \(x_source \[S, F\], x_target \[R, F\]\), got .*None"),
        ((rows(S), rows(R)[:, :5]), ACROSS, ShapeError, r"expected h \[\.\.\., F=8\], got \(4, 5\)"),
        ((rows(R), rows(S)), ACROSS, GraphError, r"Edge 3 has receiver 3: expected 0 <= index < 3"),
        ((rows(S), rows(R)), CommGraph.from_edge_index(EDGES, 4), ShapeError, "a pair of rows"),
    ],
)
def test_pairs_that_do_not_fit(h: tuple[Tensor, Tensor], edges: Tensor, kind: type[GnnCommError], words: str) -> None:
    with pytest.raises(kind, match=words):
        build("mean")(h, edges)


# ---- widths ----

WIDTHS_ALIKE = {"TransformerComm", "CommFormerComm", "ExpoOnePeerComm", "DCCComm"}
LAZY = {name: kind for name in LAYERS if (kind := type(make_layer(name, F))) is not ConvComm}


def of_width(name: str, width: int) -> CommLayer:
    kind: Any = LAZY[name]
    layer: CommLayer = kind(width) if kind.__name__ in WIDTHS_ALIKE else kind(width, 12)
    return layer


@pytest.mark.parametrize("name", LAZY)
def test_a_width_that_the_first_rows_tell(name: str) -> None:
    lazy, twin = of_width(name, -1), of_width(name, -1)
    optimiser = torch.optim.SGD(lazy.parameters(), 0.1)  # before there is anything in them
    lazy, x = lazy.double(), rows(R)
    assert lazy.in_channels == -1
    torch.manual_seed(3)
    out = lazy(x, EDGES)
    torch.manual_seed(3)
    want = of_width(name, F).double()
    assert out.equal(want(x, EDGES))
    assert (lazy.in_channels, lazy.out_channels, lazy.msg_channels) == (F, want.out_channels, want.msg_channels)
    twin.load_state_dict(want.state_dict())
    assert twin.double()(x, EDGES).equal(out)
    out.square().sum().backward()
    optimiser.step()
    assert not lazy(x, EDGES).equal(out), "the optimiser holds other parameters"


def test_a_stack_of_unknown_widths() -> None:
    stack = CommStack([MeanComm(-1, 5), AttentionComm(-1, 8)])
    assert stack(torch.randn(4, 3), EDGES).shape == (4, 8)
    assert [layer.in_channels for layer in stack.rounds] == [3, 5]


# ---- many rows for each node ----


@pytest.mark.parametrize("name", LAYERS)
def test_rows_of_many_environments_share_an_edge_index(name: str) -> None:
    layer, h = build(name), rows(2, 3, R)
    want = torch.stack([torch.stack([layer(x, EDGES) for x in some]) for some in h])
    torch.testing.assert_close(layer(h, EDGES), want)


def test_weights_and_attention_of_a_shared_edge_index() -> None:
    layer, h, weight = build("attention"), rows(2, R), torch.rand(EDGES.shape[1])
    out, (edges, alpha) = layer(h, EDGES, edge_weight=weight, return_attention_weights=True)
    second, (_, alone) = layer(h[1], EDGES, edge_weight=weight, return_attention_weights=True)
    torch.testing.assert_close(out[1], second)
    assert edges[:, 6:].equal(EDGES + R)
    torch.testing.assert_close(alpha[6:], alone)


# ---- batches of graphs of different sizes ----


def batch() -> Batch:
    """Graphs of 4, 1, 0 and 3 nodes; the second has no edge."""
    sizes = {4: EDGES, 1: EDGES[:, :0], 0: EDGES[:, :0], 3: torch.tensor([[2, 0], [0, 1]])}
    return Batch.from_data_list(
        [
            Data(rows(n, seed=n), edges, edge_weight=torch.rand(edges.shape[1]), num_nodes=n)
            for n, edges in sizes.items()
        ]
    )


@pytest.mark.parametrize("name", LAYERS)
def test_a_batch_of_unequal_graphs_and_back(name: str) -> None:
    layer, data = build(name), batch()
    graph, x, mask = CommGraph.from_batch(data)
    assert (graph.num_graphs, graph.num_agents, mask.sum(1).tolist()) == (4, 4, [4, 1, 0, 3])
    assert unpad(x, mask).equal(data.x)
    assert x[~mask].abs().sum() == 0
    weighs = name not in ("gat", "gatv2", "sage", "transformer")
    if not weighs:
        graph = graph.with_features()
    got = unpad(layer(x, graph), mask)
    torch.testing.assert_close(got, layer(data.x, data.edge_index, edge_weight=data.edge_weight if weighs else None))


def test_a_batch_without_rows_is_refused() -> None:
    with pytest.raises(GraphError, match="expected a Batch with x"):
        CommGraph.from_batch(Batch.from_data_list([Data(edge_index=EDGES, num_nodes=4)]))
    with pytest.raises(GraphError, match=r"CommGraph\.from_batch\(data\) fills them up"):
        CommGraph.from_data(batch())


# ---- nothing is ignored ----

READ = {"embedding", "hetgppo", "informarl", "dcc"}


@pytest.mark.parametrize("name", LAYERS)
def test_features_of_edges_are_read_or_refused(name: str) -> None:
    layer, attr = build(name), torch.rand(EDGES.shape[1], 2).double()
    graph = CommGraph.from_edge_index(EDGES, 4, attr=attr)
    for call in (lambda: layer(rows(4), EDGES, attr), lambda: layer(rows(1, 4), graph)):
        with pytest.raises(ConfigError, match="features"):
            call()
    if name in READ:
        reading = make_layer(f"{name}:edge_dim=2", F).double()
        assert not torch.allclose(reading(rows(4), EDGES, attr), reading(rows(4), EDGES, 2 * attr))


def test_a_stack_hands_features_to_the_rounds_that_read_them() -> None:
    stack = CommStack([MeanComm(F, F), HetGPPOComm(F, F, edge_dim=2)]).double()
    attr = torch.rand(EDGES.shape[1], 2).double()
    out = stack(rows(4), EDGES, attr)
    assert not torch.allclose(out, stack(rows(4), EDGES, 2 * attr))
    torch.testing.assert_close(stack(rows(4)[None], CommGraph.from_edge_index(EDGES, 4, attr=attr))[0], out)
    with pytest.raises(ConfigError, match="MeanComm reads no features of edges, got some of width 2"):
        CommStack([MeanComm(F, F)] * 2).double()(rows(4), EDGES, attr)


@pytest.mark.filterwarnings("ignore:Sparse")
def test_sparse_matrices_are_told_what_to_become() -> None:
    adj_t = torch.sparse_coo_tensor(EDGES.flip(0), torch.ones(EDGES.shape[1]), (4, 4)).to_sparse_csr()
    with pytest.raises(GraphError, match=r"got a tensor of layout torch.sparse_csr.*to_edge_index\(adj_t\.t\(\)\)"):
        build("mean")(rows(4), adj_t)

    class SparseTensor:
        """As torch_sparse has it."""

    with pytest.raises(GraphError, match=r"got SparseTensor\. Use torch\.stack\(adj_t\.t\(\)\.coo\(\)\[:2\]\)"):
        build("mean")(rows(4), SparseTensor())


# ---- layers of one's own ----


class Own(CommLayer):
    """Says whom it listens to."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, channels)

    def send(self, h: Tensor) -> Tensor:
        return h

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        return h + inbox


class Telling(Own):
    def attention(
        self,
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = None,
        edge_weight: OptTensor = None,
        msg: OptTensor = None,
    ) -> tuple[Tensor, Tensor]:
        assert isinstance(graph, Tensor)
        return graph, torch.full((graph.shape[1], 1), 0.5)


class Asking(Own):
    def message(self, msg_j: Tensor, q_i: Tensor) -> Tensor:
        return msg_j * q_i


class Prying(Own):
    def message(self, msg_j: Tensor, h_j: Tensor) -> Tensor:
        return msg_j * h_j


class Wide(Own):
    def send(self, h: Tensor) -> Tensor:
        return torch.cat([h, h], -1)


class Mute(CommLayer):
    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        return h


def test_attention_of_ones_own_layer() -> None:
    layer = Telling(F)
    assert isinstance(layer, Attentive)
    assert layer(rows(4), EDGES, return_attention_weights=True)[1][1].shape == (6, 1)
    for silent in (Own(F), build("mean")):
        with pytest.raises(ConfigError, match=r"has no attention to return: expected a layer with the hook attention"):
            silent(rows(4), EDGES, return_attention_weights=True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Asking(F), r"Asking\.message asks for 'q_i'.* what query says of the receiver is h_i"),
        (lambda: Prying(F), r"Prying\.message asks for 'h_j'.* send\(h\) says"),
        (lambda: Wide(F)(rows(4), EDGES), r"Wide: .* send .*msg_channels.* = \[4, 8\] .*got \[4, 16\]"),
        (lambda: Mute(F, F, F)(rows(4), EDGES), r"Mute says nothing: write send\(self, h\)"),
    ],
)
def test_a_wrong_hook_is_named(call: Callable[[], object], words: str) -> None:
    with pytest.raises(GnnCommError, match=words):
        call()
