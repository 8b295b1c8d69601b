"""Compiled, exported and transformed layers say what eager ones say, and an absent edge isolates in all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from _pytest.mark.structures import ParameterSet
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import CommLayer
from gnncomm.layers.names import LAYERS, make_layer

F, N, B = 8, 6, 2
RECURRENT = {"dcc", "expocomm_one_peer"}  # torch has no rule for a batch of forward derivatives of its GRU cell
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")  # ... nor one for a batch of the cell

FAST = {"attention", "mean", "masia", "maic"}
"""Every kind of dense form and of edge form; to compile all layers takes minutes."""

Call = Callable[[Tensor], Tensor]


class Over(nn.Module):
    """A layer over one graph."""

    def __init__(self, layer: CommLayer, graph: CommGraph) -> None:
        super().__init__()
        self.layer, self.graph = layer, graph

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.layer(h, self.graph)
        return out


def compiled(layer: CommLayer, graph: CommGraph, h: Tensor) -> Call:
    torch.compiler.reset()
    run: Call = torch.compile(Over(layer, graph), backend="aot_eager")
    return run


def exported(layer: CommLayer, graph: CommGraph, h: Tensor) -> Call:
    return torch.export.export(Over(layer, graph), (h,)).module()


def traced(layer: CommLayer, graph: CommGraph, h: Tensor) -> Call:
    run: Call = make_fx(Over(layer, graph))(h)
    return run


def batched(layer: CommLayer, graph: CommGraph, h: Tensor) -> Call:
    return lambda x: torch.vmap(Over(layer, graph))(torch.stack([h, x]))[1]


def ensemble(layer: CommLayer, graph: CommGraph, h: Tensor) -> Call:
    state = dict(layer.named_parameters())
    two = {name: torch.stack([torch.zeros_like(value), value]) for name, value in state.items()}

    def run(x: Tensor) -> Tensor:
        out: Tensor = torch.vmap(lambda one: torch.func.functional_call(layer, one, (x, graph)))(two)[1]
        return out

    return run


MODES: dict[str, Callable[[CommLayer, CommGraph, Tensor], Call]] = {
    "compiled": compiled,
    "exported": exported,
    "make_fx": traced,
    "vmap": batched,
    "ensemble": ensemble,
}


def cases() -> list[ParameterSet]:
    """Modes and layers; what takes long, for a few layers unless slow tests are asked for."""
    return [
        pytest.param(
            mode, name, marks=pytest.mark.slow if mode in ("compiled", "exported") and name not in FAST else ()
        )
        for mode in MODES
        for name in LAYERS
    ]


UNTRACEABLE = {"masia"}  # its largest inbox is a number read off the edges


def adjacency() -> Tensor:
    """Agent 4 hears nobody, agent 1 hears 0 only, and nobody hears 5."""
    draw = torch.rand(B, N, N, generator=torch.Generator().manual_seed(3)) < 0.5
    draw[:, :, 4] = False
    draw[:, :, 1] = False
    draw[:, 0, 1] = True
    draw[:, 5] = False
    return draw


def graph_of(layout: Layout | str) -> CommGraph:
    graph = CommGraph.from_dense(adjacency()).to_layout(layout)
    assert graph.edge_index.numel()  # a static graph has been looked at before it is compiled
    return graph


def rows() -> Tensor:
    return torch.randn(B, N, F, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def build(name: str) -> CommLayer:
    torch.manual_seed(1)
    return make_layer(name, F).double().eval()


@pytest.mark.every(2)
@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize(("mode", "name"), cases())
def test_a_mode_says_what_eager_says_and_isolates(mode: str, name: str, layout: Layout) -> None:
    if mode == "make_fx" and name in UNTRACEABLE:
        pytest.skip("reads a number off the edges")
    layer, graph, h = build(name), graph_of(layout), rows()
    call = MODES[mode](layer, graph, h)
    want = layer(h, graph)
    torch.testing.assert_close(call(h), want, rtol=0, atol=1e-12)
    spoilt = h.clone()
    spoilt[:, 0] = torch.nan
    spoilt[:, 5] = torch.inf
    out, hears = call(spoilt), adjacency()[:, 0].clone()
    hears[:, [0, 5]] = True  # their own rows
    torch.testing.assert_close(out[~hears], want[~hears], rtol=0, atol=1e-12)
    assert not out[hears].isfinite().all(-1).any()


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_for_each_sample(name: str, layout: Layout) -> None:
    layer, graph, h = build(name), graph_of(layout), torch.stack([rows(), rows().flip(1), -rows()])
    state = dict(layer.named_parameters())

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(layer, parameters, (x, graph))
        return out.square().sum()

    together = torch.vmap(torch.func.grad(loss), (None, 0))(state, h)
    for sample in range(len(h)):
        alone = torch.autograd.grad(layer(h[sample], graph).square().sum(), list(state.values()))
        for name_of, value in zip(state, alone, strict=True):
            torch.testing.assert_close(together[name_of][sample], value, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("name", LAYERS)
def test_jacobians_by_every_road(name: str, layout: Layout) -> None:
    layer, graph, h = build(name), graph_of(layout), rows()

    def first(x: Tensor) -> Tensor:
        out: Tensor = layer(x, graph)[:, 1]
        return out

    want = torch.autograd.functional.jacobian(first, h)
    assert want[:, :, :, 2:].abs().max() == 0, "agent 1 hears agent 0 only"
    torch.testing.assert_close(torch.autograd.functional.jacobian(first, h, vectorize=True), want)
    torch.testing.assert_close(torch.func.jacrev(first)(h), want)
    torch.testing.assert_close(torch.func.jvp(first, (h,), (h,))[1], torch.einsum("bfcng,cng->bf", want, h))
    if name not in RECURRENT:
        torch.testing.assert_close(torch.func.jacfwd(first)(h), want)


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ("attention", "mean") else pytest.mark.slow) for name in LAYERS]
)
def test_compiled_in_one_piece(name: str, layout: Layout) -> None:
    """No break of the graph, forward and backward, in a graph that nobody has looked at."""
    if name == "gat" and layout is not Layout.SPARSE:
        pytest.skip("GATConv asks whether there are edges, whose number is not known while it is compiled")
    torch.compiler.reset()
    layer, graph = build(name), CommGraph.from_dense(adjacency()).to_layout(layout)
    mine, theirs = rows().requires_grad_(), rows().requires_grad_()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):  # edges of a matrix: as many as there are
        out = torch.compile(layer, backend="aot_eager", fullgraph=True)(mine, graph)
    want = layer(theirs, graph)
    torch.testing.assert_close(out, want, rtol=0, atol=1e-12)
    out.square().sum().backward(), want.square().sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=1e-10)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, while inductor is imported
@pytest.mark.parametrize("name", ["attention", "mean"])
def test_compiled_by_inductor(name: str) -> None:
    torch.compiler.reset()
    layer, graph, h = build(name), graph_of("dense"), rows()
    call = torch.compile(layer, fullgraph=True)
    torch.testing.assert_close(call(h, graph), layer(h, graph), rtol=0, atol=1e-10)
    h[:, 0] = torch.nan
    torch.testing.assert_close(call(h, graph), layer(h, graph), rtol=0, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize("mode", ["compiled", "exported", "make_fx"])
def test_nothing_traced_is_kept_in_a_graph(mode: str) -> None:
    graph, layer, h = CommGraph.from_dense(adjacency()), build("attention"), rows()
    MODES[mode](layer, graph, h)(h)
    twin = CommGraph.from_dense(adjacency())
    assert type(graph.edge_index) is Tensor
    assert graph.edge_index.equal(twin.edge_index)
    assert graph.in_degree.equal(twin.in_degree)


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("name", LAYERS)
def test_the_type_is_that_of_the_rows(name: str, layout: Layout) -> None:
    """Whatever type new tensors have by default; and that of autocast where it is on."""
    layer, graph, h = build(name).float(), graph_of(layout), rows().float()
    want = layer(h, graph)
    torch.set_default_dtype(torch.float64)
    try:
        got = layer(h, graph)
    finally:
        torch.set_default_dtype(torch.float32)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, want)
