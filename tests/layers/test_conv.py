"""ConvComm equals the convolution, and refuses what does not work behind the wire."""

from __future__ import annotations

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import ConvComm

F = 4
EDGE_INDEX = torch.tensor([[1, 2, 0, 0, 1, 2], [0, 0, 1, 3, 3, 3]])
CONVS = {
    "GATv2Conv": pyg.GATv2Conv(F, 3, heads=2, add_self_loops=False),
    "GATConv": pyg.GATConv((F, F), 3, add_self_loops=False),
    "TransformerConv": pyg.TransformerConv(F, 3, heads=2),
    "SAGEConv": pyg.SAGEConv(F, 5),
    "GraphConv": pyg.GraphConv(F, 5),
    "GINConv": pyg.GINConv(nn.Linear(F, 5)),
    "GeneralConv": pyg.GeneralConv((F, F), 5),
}


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("name", CONVS)
def test_equals_the_convolution(name: str, layout: Layout) -> None:
    conv, x = CONVS[name], torch.randn(2, 4, F)
    layer = ConvComm(conv, in_channels=F)
    graph = CommGraph.from_edge_index(EDGE_INDEX, 4).to_layout(layout)
    # GATConv and GeneralConv have weights of their own for the pair.
    pair = name in ("GATConv", "GeneralConv")
    want = torch.stack([conv((rows, rows) if pair else rows, EDGE_INDEX) for rows in x])
    torch.testing.assert_close(layer(x, graph), want)
    torch.testing.assert_close(layer(x[0], EDGE_INDEX), want[0])
    assert layer.out_channels == want.shape[-1]


def test_edge_features_and_weights_reach_the_convolution() -> None:
    x, attr = torch.randn(1, 4, F), torch.randn(6, 2)
    gine = pyg.GINEConv(nn.Linear(F, F), edge_dim=2)
    layer = ConvComm(gine, in_channels=F, edge_dim=2)
    graph = CommGraph.from_edge_index(EDGE_INDEX, 4, attr=attr)
    torch.testing.assert_close(layer(x, graph)[0], gine(x[0], EDGE_INDEX, attr))
    torch.testing.assert_close(layer(x, graph.to_layout(Layout.DENSE))[0], gine(x[0], EDGE_INDEX, attr))
    conv, weight = pyg.GraphConv(F, F), torch.rand(6)
    weighted = CommGraph.from_edge_index(EDGE_INDEX, 4, weight=weight)
    torch.testing.assert_close(ConvComm(conv)(x, weighted)[0], conv(x[0], EDGE_INDEX, weight))


def test_no_edges_need_no_features() -> None:
    layer = ConvComm(pyg.GINEConv(nn.Linear(F, F), edge_dim=2), in_channels=F, edge_dim=2)
    x = torch.randn(1, 4, F)
    torch.testing.assert_close(layer(x, CommGraph.from_edge_list([], 4)), layer.conv.nn(x))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ConvComm(pyg.GCNConv(F, F)), "add_self_loops=False"),
        (lambda: ConvComm(pyg.GCNConv(F, F, add_self_loops=False)), "does not work behind the wire"),
        (lambda: ConvComm(pyg.ChebConv(F, F, K=2)), "does not work behind the wire"),
        (lambda: ConvComm(pyg.GATv2Conv(F, F)), r"GATv2Conv\(\.\.\., add_self_loops=False\)"),
        (lambda: ConvComm(pyg.GATConv(F, F, add_self_loops=True)), "add_self_loops=False"),
        (lambda: ConvComm(pyg.GINConv(nn.Linear(F, F))), "does not tell its input width"),
        (lambda: ConvComm(pyg.GINConv(nn.Linear(F, F)), in_channels=5), "does not work behind the wire"),
        (lambda: ConvComm(pyg.SAGEConv(F, F), in_channels=5), "2 messages of width 5"),
        (lambda: ConvComm(pyg.SAGEConv(F, F), msg_channels=2), "2 messages of width 2"),
        (lambda: ConvComm(pyg.SAGEConv(F, F), in_channels=0), "receiver of width 0"),
    ],
)
def test_what_cannot_work_is_refused(build: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build()  # type: ignore[operator]


def test_edge_features_must_fit() -> None:
    plain = CommGraph.from_edge_index(EDGE_INDEX, 4)
    rich = CommGraph.from_edge_index(EDGE_INDEX, 4, attr=torch.ones(6, 2))
    with pytest.raises(ConfigError, match="ConvComm reads no features of edges, got some of width 2"):
        ConvComm(pyg.SAGEConv(F, F))(torch.ones(1, 4, F), rich)
    with pytest.raises(ConfigError, match="expects edge features of width 2, got none"):
        ConvComm(pyg.GATv2Conv(F, F, add_self_loops=False, edge_dim=2))(torch.ones(1, 4, F), plain)


def test_the_probe_leaves_the_convolution_as_it_was() -> None:
    conv = pyg.GATv2Conv(F, F, add_self_loops=False, dropout=0.5)
    conv.train()
    state = {name: value.clone() for name, value in conv.state_dict().items()}
    generator = torch.get_rng_state()
    ConvComm(conv)
    assert conv.training
    assert torch.get_rng_state().equal(generator)
    assert all(value.equal(state[name]) for name, value in conv.state_dict().items())


@pytest.mark.parametrize("conv", [pyg.GATv2Conv(4, 2, 2, add_self_loops=False), pyg.TransformerConv(4, 2, 2)], ids=repr)
def test_attention_is_what_the_convolution_says(conv: pyg.MessagePassing) -> None:
    torch.manual_seed(0)
    layer, h = ConvComm(conv), torch.randn(2, 3, 4)
    graph = CommGraph.from_edge_list([(0, 1), (2, 1), (1, 0)], 3)
    out, (edges, alpha) = layer(h, graph, return_attention_weights=True)
    assert out.equal(layer(h, graph))
    rows = h.flatten(0, 1)
    wide, (same, expected) = conv((rows, rows), graph.expand(2).edge_index, return_attention_weights=True)
    assert out.flatten(0, 1).equal(wide)
    assert edges.equal(same)
    assert alpha.equal(expected)
    torch.testing.assert_close(alpha[edges[1] == 1].sum(0), torch.ones(2))
    assert layer(rows, edges, return_attention_weights=True)[1][1].equal(alpha)


def test_a_convolution_without_attention_has_none_to_return() -> None:
    layer = ConvComm(pyg.SAGEConv(4, 4))
    with pytest.raises(ConfigError, match=r"SAGEConv.* has no attention to return"):
        layer(torch.randn(1, 2, 4), CommGraph.from_edge_list([(0, 1)], 2), return_attention_weights=True)
