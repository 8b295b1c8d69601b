"""ConvComm equals the convolution, and refuses what does not work behind the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import ConvComm
from gnncomm.topology import Full

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
    torch.testing.assert_close(out.flatten(0, 1), wide)
    assert edges.equal(same)
    assert alpha.equal(expected)
    torch.testing.assert_close(alpha[edges[1] == 1].sum(0), torch.ones(2))
    assert layer(rows, edges, return_attention_weights=True)[1][1].equal(alpha)


def test_a_convolution_without_attention_has_none_to_return() -> None:
    layer = ConvComm(pyg.SAGEConv(4, 4))
    with pytest.raises(ConfigError, match=r"SAGEConv.* has no attention to return"):
        layer(torch.randn(1, 2, 4), CommGraph.from_edge_list([(0, 1)], 2), return_attention_weights=True)


# ---- over whole graphs ----

B, N = 3, 9
FORMS: dict[str, Callable[[], pyg.MessagePassing]] = {
    "gatv2": lambda: pyg.GATv2Conv(F, 3, 2, add_self_loops=False, residual=True),
    "gatv2, heads averaged": lambda: pyg.GATv2Conv(F, 3, 2, False, add_self_loops=False, share_weights=True),
    "gatv2, features": lambda: pyg.GATv2Conv(F, 3, 2, add_self_loops=False, edge_dim=2),
    "transformer": lambda: pyg.TransformerConv(F, 3, 2, beta=True),
    "transformer, features": lambda: pyg.TransformerConv(F, 3, 2, edge_dim=2),
    "sage": lambda: pyg.SAGEConv(F, 5, project=True, normalize=True),
    "graph": lambda: pyg.GraphConv(F, 5),
    "graph, mean": lambda: pyg.GraphConv(F, 5, aggr="mean"),
    "gin": lambda: pyg.GINConv(nn.Linear(F, 5), train_eps=True),
}


def conv_layer(name: str, dtype: torch.dtype = torch.float64) -> ConvComm:
    torch.manual_seed(2)
    return ConvComm(FORMS[name](), in_channels=F).to(dtype)


def graphs(name: str) -> list[CommGraph]:
    """Full, of each environment its own with an empty inbox and few senders, and the same by neighbours."""
    generator = torch.Generator().manual_seed(4)
    few = torch.rand(B, N, N, generator=generator) < 0.18
    few[:, :, 4] = False
    found = [Full()(torch.ones(1, N, dtype=torch.bool)), CommGraph.from_dense(few)]
    assert 2 * found[1].neighbors.shape[-1] <= N
    found.append(found[1].to_layout(Layout.REGULAR))
    features = [torch.randn(*graph.shape, 2, dtype=torch.float64, generator=generator) for graph in found]
    weights = [torch.rand(graph.shape, dtype=torch.float64, generator=generator) for graph in found]
    rich, weighted = "features" in name, "graph" in name
    pairs = zip(found, features, weights, strict=True)
    return [
        graph.with_features(
            attr.requires_grad_() if rich else None, weight.requires_grad_() if weighted and graph is found[1] else None
        )
        for graph, attr, weight in pairs
    ]


def by_edges(layer: ConvComm, h: Tensor, graph: CommGraph) -> Tensor:
    """What the convolution itself says."""
    spread = graph.expand(len(h))
    rows, given = h.flatten(0, 1), {"edge_attr": spread.edge_attr, "edge_weight": spread.edge_weight}
    out: Tensor = layer.conv((rows, rows), spread.edge_index, **{k: v for k, v in given.items() if v is not None})
    return out.view(*h.shape[:2], -1)


def derived(out: Tensor, *inputs: Tensor) -> list[Tensor]:
    probe = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).sin().view(out.shape)
    return [out.detach(), *torch.autograd.grad((out * probe).sum(), inputs)]


@pytest.mark.parametrize("name", FORMS)
def test_a_whole_graph_says_what_the_convolution_says(name: str) -> None:
    """Values and gradients: of rows, weights, and features and weights of edges."""
    layer = conv_layer(name)
    for graph in graphs(name):
        h = torch.randn(B, N, F, dtype=torch.float64, requires_grad=True)
        given = [value for value in (graph.attr, graph.weight) if value is not None]
        inputs = [h, *layer.parameters(), *given]
        for one, other in zip(
            derived(layer(h, graph), *inputs), derived(by_edges(layer, h, graph), *inputs), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["gatv2", "gatv2, features", "transformer, features", "sage"])
def test_no_edge_is_walked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast form is the one that was compared; and what may have been changed is asked by edges."""
    layer = conv_layer(name)
    chosen, h = graphs(name)[:2], torch.randn(B, N, F, dtype=torch.float64)
    with torch.no_grad():
        layer.conv.aggr_module.register_forward_hook(lambda *call: calls.append(1))
        calls: list[int] = []
        layer(h, chosen[0])
        assert calls  # a hook on a part of PyG's: by edges
        layer.conv.aggr_module._forward_hooks.clear()
        calls.clear()
        monkeypatch.setattr(nn.Module, "__call__", counted(layer.conv.aggr_module, calls))
        for graph in chosen:
            layer(h, graph)
        assert not calls


def counted(watched: nn.Module, calls: list[int]) -> Callable[..., Any]:
    plain = nn.Module.__call__

    def call(self: nn.Module, *args: Any, **named: Any) -> Any:
        calls.extend([1] * (self is watched))
        return plain(self, *args, **named)

    return call


class Doubled(pyg.GATv2Conv):
    def message(self, x_j: Tensor, alpha: Tensor) -> Tensor:
        return 2 * super().message(x_j, alpha)


def test_what_was_changed_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subclass, hooks of PyG and of torch, dropout, a replaced hook of the class: what the convolution says."""
    graph, h = Full()(torch.ones(1, N, dtype=torch.bool)), torch.randn(B, N, F, dtype=torch.float64)

    def differs(layer: ConvComm) -> None:
        out = layer(h, graph)
        torch.testing.assert_close(out, by_edges(layer, h, graph))
        assert not out.isclose(plain).any()

    torch.manual_seed(2)
    changed = ConvComm(Doubled(F, 3, 2, add_self_loops=False, residual=True)).double()
    plain = conv_layer("gatv2")(h, graph)
    changed.load_state_dict(conv_layer("gatv2").state_dict())
    differs(changed)
    hooked = conv_layer("gatv2")
    hooked.conv.register_message_forward_hook(lambda module, inputs, out: 3 * out)
    differs(hooked)
    around = conv_layer("gatv2")
    around.conv.register_forward_hook(lambda module, inputs, out: out + 1)
    differs(around)
    inside = conv_layer("gatv2")
    inside.conv.lin_r.register_forward_hook(lambda module, inputs, out: out + 1)
    inside.conv.lin_l.register_forward_hook(lambda module, inputs, out: out + 1)
    differs(inside)
    dropped = conv_layer("gatv2")
    dropped.conv.dropout = 0.9
    assert not dropped.train()(h, graph).equal(dropped(h, graph))
    torch.testing.assert_close(dropped.eval()(h, graph), plain)
    later = conv_layer("gatv2")
    monkeypatch.setattr(pyg.GATv2Conv, "message", lambda self, x_j, alpha: 5 * x_j * alpha.unsqueeze(-1))
    differs(later)


def test_gatv2_keeps_nothing_of_its_pairs() -> None:
    """What is kept for the derivative grows with rows and scores, not with what is compared for each pair."""
    layer = ConvComm(pyg.GATv2Conv(F, 32, 2, add_self_loops=False))
    graph, h = Full()(torch.ones(1, 20, dtype=torch.bool)), torch.randn(4, 20, F, requires_grad=True)
    kept: dict[int, int] = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.setdefault(x.data_ptr(), x.numel()) and x, lambda x: x
    ):
        layer(h, graph)
    assert 4 * 20 * 64 < sum(kept.values()) < 4 * 20 * 20 * 64 / 2


@pytest.mark.parametrize("name", ["gatv2, features", "transformer, features"])
def test_second_derivatives_of_whole_graphs(name: str) -> None:
    layer, graph = conv_layer(name), graphs(name)[1]
    assert graph.attr is not None

    def energy(h: Tensor, attr: Tensor) -> Tensor:
        out: Tensor = layer(h, graph.with_features(attr))
        return out.pow(2)

    h = torch.randn(B, N, F, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(energy, (h, graph.attr.detach().requires_grad_()), fast_mode=True)


@pytest.mark.parametrize("name", ["gatv2", "transformer", "graph"])
def test_what_overflows_stays_on_its_edges(name: str) -> None:
    """A message that is finite, but not what a convolution makes of it: nobody notices who does not hear it."""
    layer, h = conv_layer(name, torch.float32), torch.zeros(1, 4, F)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(10.0)
    h[0, 0] = 3e38
    out = layer(h, CommGraph.from_edge_list([(0, 1), (1, 2), (2, 3)], 4))
    assert not out[0, 1].isfinite().any()
    assert out[0, 2:].isfinite().all()


def test_bfloat16_under_autocast() -> None:
    for name in ("gatv2", "transformer", "sage"):
        layer, graph, h = conv_layer(name, torch.float32), graphs(name)[0], torch.randn(B, N, F)
        with torch.autocast("cpu", torch.bfloat16):
            low = layer(h, graph)
        torch.testing.assert_close(low.float(), layer(h, graph), rtol=0.05, atol=0.05)
