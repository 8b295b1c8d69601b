"""Layers over graphs against the edge form: values, gradients, broken messages, derivatives of derivatives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.typing import OptTensor

from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import AttentionComm, CommLayer, MeanComm
from gnncomm.topology import Empty, Exponential, Full, Line, Ring

B, N, F = 3, 9, 6


def alive(num_envs: int = B, num_agents: int = N) -> Tensor:
    return torch.ones(num_envs, num_agents, dtype=torch.bool)


def rows(num_envs: int = B, num_agents: int = N, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_envs, num_agents, F, dtype=torch.float64, generator=generator).requires_grad_()


def pairs(layout: Layout, per_env: bool) -> CommGraph:
    """Random edges with self-loops and empty inboxes."""
    draw = torch.rand(B if per_env else 1, N, N, generator=torch.Generator().manual_seed(3)) < 0.3
    draw[:, :, 4] = False
    return CommGraph.from_dense(draw).to_layout(layout)


GRAPHS: dict[str, Callable[[], CommGraph]] = {
    "full": lambda: Full()(alive()),
    "full with loops": lambda: Full(self_loops=True)(alive()),
    "wide ring": lambda: Ring(2)(alive()),
    "two agents": lambda: Full()(alive(B, 2)),
    "exponential of 20": lambda: Exponential()(alive(B, 20)),
    "one graph each, dense": lambda: pairs(Layout.DENSE, True),
    "one for all, dense": lambda: pairs(Layout.DENSE, False),
    "one graph each, regular": lambda: pairs(Layout.REGULAR, True),
    "one for all, regular": lambda: pairs(Layout.REGULAR, False),
    "one graph each, sparse": lambda: pairs(Layout.SPARSE, True),
    "one for all, sparse": lambda: pairs(Layout.SPARSE, False),
    "nobody": lambda: Empty()(alive()),
    "nobody, sparse": lambda: Empty()(alive()).to_layout(Layout.SPARSE),
}
LAYERS: dict[str, Callable[[], CommLayer]] = {
    "attention": lambda: AttentionComm(F, 8, heads=2, key_channels=3, value_channels=5),
    "attention, widths equal": lambda: AttentionComm(F, 8, heads=2, key_channels=4),
    "mean": lambda: MeanComm(F, 4),
    "mean of messages": lambda: MeanComm(F, 4, msg_channels=3),
}


def build(name: str) -> CommLayer:
    torch.manual_seed(1)
    return LAYERS[name]().double()


def results(layer: CommLayer, h: Tensor, out: Tensor, *more: Tensor) -> list[Tensor]:
    """The output, and gradients along a direction without symmetry."""
    probe = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).sin().view(out.shape)
    return [out.detach(), *torch.autograd.grad((out * probe).sum(), [h, *layer.parameters(), *more])]


def edge_form(layer: CommLayer, h: Tensor, graph: CommGraph) -> Tensor:
    out: Tensor = layer(h.flatten(0, 1), graph.expand(h.shape[0]).edge_index)
    return out.view(*h.shape[:2], -1)


def assert_same(got: list[Tensor], want: list[Tensor]) -> None:
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("case", GRAPHS)
def test_a_graph_says_what_the_edges_say(case: str, name: str, dtype: torch.dtype) -> None:
    """Of the rows' own messages and of delivered ones, with and without a derivative."""
    graph, layer = GRAPHS[case](), build(name).to(dtype)
    h = rows(B, graph.num_agents).detach().to(dtype).requires_grad_()
    msg = layer.send(rows(B, graph.num_agents, seed=5).to(dtype)).detach().requires_grad_()
    edges = graph.expand(B).edge_index

    def by_edges() -> Tensor:
        inbox = layer.edge_inbox(msg.flatten(0, 1), layer.query(h).flatten(0, 1), edges, None, None)
        return layer.combine(h, inbox.view(B, graph.num_agents, -1))

    got = results(layer, h, layer(h, graph) + 2 * layer.receive(h, msg, graph), msg)
    want = results(layer, h, edge_form(layer, h, graph) + 2 * by_edges(), msg)
    atol = 1e-10 if dtype == torch.float64 else 2e-4
    for one, other in zip(got, want, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one, other, rtol=atol, atol=atol)
    with torch.no_grad():
        torch.testing.assert_close(layer(h, graph) + 2 * layer.receive(h, msg, graph), got[0], rtol=atol, atol=atol)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("case", ["full", "one graph each, dense", "one graph each, regular"])
def test_derivatives_by_differences(case: str, name: str) -> None:
    graph, layer = GRAPHS[case](), build(name)
    assert torch.autograd.gradcheck(lambda x: layer(x, graph), (rows(),), fast_mode=True)


def test_what_is_made_of_a_graph_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A static graph is looked at in the first call only."""
    graph, h = Full()(alive(1)), rows()
    for name in LAYERS:
        layer = build(name)
        layer(h, graph)
        known = dict(vars(graph))
        layer(h, graph)
        assert vars(graph).keys() == known.keys()
        assert all(vars(graph)[key] is value for key, value in known.items())
    assert torch.allclose(graph.shares(torch.float64), (1 - torch.eye(N, dtype=torch.float64)) / (N - 1))


# ---- messages that are not finite ----


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("case", GRAPHS)
def test_a_broken_message_reaches_those_who_hear_it(case: str, name: str, value: float) -> None:
    graph, layer = GRAPHS[case](), build(name)
    h = rows(B, graph.num_agents).detach()
    clean, spoilt = layer(h, graph), h.clone()
    spoilt[2, 1] = value
    out = layer(spoilt, graph)
    hears = graph.expand(B).to_layout(Layout.DENSE).dense[2, 1].clone()
    hears[1] = True  # its own row
    assert out[2][hears].isnan().any(-1).all()
    # not bit for bit: what was broken is done again in another way, and matrix products promise no bits
    torch.testing.assert_close(out[2][~hears], clean[2][~hears], rtol=0, atol=1e-12)
    others = torch.arange(B) != 2
    torch.testing.assert_close(out[others], clean[others], rtol=0, atol=1e-12)


def test_gradients_stop_at_a_broken_message() -> None:
    graph, layer = Line()(alive(1, 5)), build("attention")
    msg = layer.send(rows(1, 5)).detach()
    msg[0, 0] = torch.nan  # heard by agent 1 only
    h = rows(1, 5)
    out = layer.receive(h, msg, graph)
    assert out[0, 1].isnan().all()
    assert out[0, [0, 2, 3, 4]].isfinite().all()
    (gradient,) = torch.autograd.grad(out[0, 2:].sum(), h)
    assert gradient.isfinite().all()


def test_scores_beyond_the_type_stay_on_their_edges() -> None:
    """Where q k overflows for a pair without an edge, nobody notices."""
    layer = AttentionComm(2, 2, heads=1, key_channels=2)
    with torch.no_grad():
        layer.lin_query.weight.fill_(1e20)
        layer.lin_send.weight[:2].fill_(1e20)
    adjacency = torch.tensor([[[0, 1, 0], [1, 0, 0], [1, 0, 0]]], dtype=torch.bool)
    h = torch.tensor([[[1.0, 1.0], [1e-30, 0.0], [1e-30, 0.0]]])
    got, want = layer(h, CommGraph.from_dense(adjacency)), edge_form(layer, h, CommGraph.from_dense(adjacency))
    assert got.isfinite().equal(want.isfinite())


# ---- who steps back ----


class Loud(AttentionComm):
    """Says everything twice as loud."""

    def send(self, h: Tensor) -> Tensor:
        return 2 * super().send(h)


class Halved(MeanComm):
    def message(self, msg_j: Tensor, edge_weight: OptTensor) -> Tensor:
        return 0.5 * msg_j

    def dense_inbox(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> None:
        return None


class Rectified(MeanComm):
    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        return super().combine(h, inbox).relu()


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("cls", [Loud, Halved, Rectified])
def test_a_subclass_with_another_hook_is_heard(cls: type[CommLayer], layout: Layout) -> None:
    layer, h = cls(F, 4).double(), rows()  # type: ignore[call-arg]  # the constructors agree so far
    for topology in (Ring(1), Full()):
        graph = topology(alive()).to_layout(layout)
        assert_same(results(layer, h, layer(h, graph)), results(layer, h, edge_form(layer, h, graph)))


def doubled(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
    return 2 * out


def test_a_hook_on_a_part_is_heard() -> None:
    layer, graph, h = build("attention"), Full()(alive()), rows()
    plain = layer(h, graph) - layer.lin_self(h)
    layer.lin_inbox.register_forward_hook(doubled)
    torch.testing.assert_close(layer(h, graph) - layer.lin_self(h), 2 * plain)


def test_a_parametrised_part_is_heard() -> None:
    layer, graph, h = build("mean"), Full()(alive()), rows()
    nn.utils.parametrizations.weight_norm(layer.lin_inbox)
    with torch.no_grad():
        layer.lin_inbox.parametrizations.weight.original0.mul_(3.0)
    torch.testing.assert_close(layer(h, graph), edge_form(layer, h, graph))


@pytest.mark.parametrize("name", LAYERS)
def test_half_precision(name: str) -> None:
    layer, graph, h = build(name), Full()(alive()), rows()
    want, single = layer(h, graph).detach(), layer.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = single(h.detach().float(), graph)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.double(), want, rtol=0.05, atol=0.05)


# ---- derivatives of derivatives ----


def loss(layer: CommLayer, graph: CommGraph) -> Callable[..., Tensor]:
    """A curved function of rows and parameters."""
    names = [name for name, _ in layer.named_parameters()]

    def of(x: Tensor, *parameters: Tensor) -> Tensor:
        weights = dict(zip(names, parameters, strict=True))
        out: Tensor = torch.func.functional_call(layer, weights, (x, graph))
        return out

    return of


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    "case", ["full", "one graph each, dense", "one for all, regular", "one for all, sparse", "nobody"]
)
def test_second_derivatives_by_differences(case: str, name: str) -> None:
    """Of rows and of all parameters."""
    graph, layer = GRAPHS[case](), build(name)
    h = rows(2 if graph.num_graphs == 1 else graph.num_graphs, graph.num_agents)
    parameters = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradgradcheck(loss(layer, graph), (h, *parameters), fast_mode=True)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("case", ["full", "one for all, dense", "one for all, sparse"])
def test_every_way_to_ask_for_second_derivatives(case: str, name: str) -> None:
    graph, layer = GRAPHS[case](), build(name)
    h = rows(2 if graph.num_graphs == 1 else graph.num_graphs, graph.num_agents).detach()
    probe = torch.linspace(-1, 1, h.numel(), dtype=h.dtype).view(h.shape)

    def energy(x: Tensor) -> Tensor:
        out: Tensor = layer(x, graph)
        return out.pow(3).sum()

    want = torch.func.jvp(torch.func.grad(energy), (h,), (probe,))[1]
    assert want.abs().max() > 0.1
    torch.testing.assert_close(torch.autograd.functional.hvp(energy, h, probe)[1], want)
    torch.testing.assert_close(torch.autograd.functional.vhp(energy, h, probe)[1], want)
    x = h.clone().requires_grad_()
    (slope,) = torch.autograd.grad(energy(x), x, create_graph=True)
    (slope * probe).sum().backward()
    torch.testing.assert_close(x.grad, want)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("case", ["full", "one for all, dense", "one for all, sparse"])
def test_many_gradients_at_once(case: str, name: str) -> None:
    graph, layer = GRAPHS[case](), build(name)
    h = rows(2, graph.num_agents).detach()

    def some(x: Tensor) -> Tensor:
        out: Tensor = layer(x, graph)[0, :2].pow(2)
        return out

    want = torch.func.jacrev(some)(h)
    torch.testing.assert_close(torch.autograd.functional.jacobian(some, h, vectorize=True), want)
    x = h.clone().requires_grad_()
    out = some(x)
    eye = torch.eye(out.numel(), dtype=h.dtype).view(-1, *out.shape)
    (batched,) = torch.autograd.grad(out, x, eye, is_grads_batched=True, retain_graph=True)
    torch.testing.assert_close(batched.view(want.shape), want)
    later = torch.vmap(lambda v: torch.autograd.grad(out, x, v, retain_graph=True)[0])(eye)
    torch.testing.assert_close(later.view(want.shape), want)
    curved = torch.autograd.functional.hessian(lambda x: some(x).sum(), h, vectorize=True)
    torch.testing.assert_close(curved, torch.func.hessian(lambda x: some(x).sum())(h))


@pytest.mark.parametrize("name", LAYERS)
def test_a_gradient_penalty_trains_the_parameters(name: str) -> None:
    """The gradient of a slope with respect to parameters, against that of the edge form."""
    layer, h, graph = build(name), rows(), Full()(alive())

    def penalty(out: Tensor) -> list[Tensor]:
        (slope,) = torch.autograd.grad(out.square().sum(), h, create_graph=True)
        return list(torch.autograd.grad(slope.square().sum(), list(layer.parameters()), allow_unused=True))

    for one, other in zip(penalty(layer(h, graph)), penalty(edge_form(layer, h, graph)), strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other)


def test_second_derivatives_stop_at_a_broken_message() -> None:
    graph, layer = Line()(alive(1, 5)), build("attention")
    msg = layer.send(rows(1, 5)).detach()
    msg[0, 0] = torch.nan  # heard by agent 1 only
    h = rows(1, 5)
    (slope,) = torch.autograd.grad(layer.receive(h, msg, graph)[0, 2:].pow(3).sum(), h, create_graph=True)
    (curve,) = torch.autograd.grad(slope.sum(), h)
    assert curve.isfinite().all()


def test_weights_of_edges_have_gradients() -> None:
    layer, h = build("attention"), rows()
    weight = torch.full((1, N, N), 0.5, dtype=torch.float64, requires_grad=True)
    graph = Full()(alive())
    out = layer(h, CommGraph.from_dense(graph.dense, weight=weight))
    (gradient,) = torch.autograd.grad(out.sum(), weight)
    assert (gradient != 0).equal(graph.dense)


def test_rows_need_not_lie_side_by_side() -> None:
    layer, graph = build("attention"), Ring(1)(alive())
    h = rows().detach()
    strided = h.transpose(0, 1).contiguous().transpose(0, 1)
    assert not strided.is_contiguous()
    torch.testing.assert_close(layer(strided, graph), layer(h, graph))


def test_only_asked_for_gradients() -> None:
    layer, graph, h = build("attention"), Full()(alive()), rows().detach()
    (gradient,) = torch.autograd.grad(layer(h, graph).sum(), layer.lin_query.weight)
    want = torch.autograd.grad(edge_form(layer, h, graph).sum(), layer.lin_query.weight)[0]
    torch.testing.assert_close(gradient, want)


@pytest.mark.parametrize("case", [case for case in GRAPHS if "nobody" not in case])
def test_scores_beyond_all_numbers_are_no_empty_inbox(case: str) -> None:
    """Scores of minus infinity to everyone: undefined shares on every path, not silence."""
    graph = GRAPHS[case]()
    layer = AttentionComm(F, 8, heads=1, key_channels=1, value_channels=5).double()
    h = torch.ones(B, graph.num_agents, F, dtype=torch.float64)
    with torch.no_grad():
        layer.lin_query.weight.fill_(1e200)
        layer.lin_send.weight[:1].fill_(-1e200)
    out, want = layer(h, graph), edge_form(layer, h, graph)
    hears = (graph.in_degree.expand(B, -1) > 0).unsqueeze(-1).expand_as(want)
    assert want[hears].isnan().all()
    assert want[~hears].isfinite().all()
    torch.testing.assert_close(out, want, equal_nan=True)
