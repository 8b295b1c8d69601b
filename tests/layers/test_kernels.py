"""Kernels against the edge form of the same layer: values, gradients, chunks, broken messages; when they step back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.typing import OptTensor

from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import AttentionComm, CommLayer, MeanComm
from gnncomm.layers.kernels import Round, plain_forms
from gnncomm.layers.kernels import round as rounds
from gnncomm.layers.kernels.full import FoldedMean
from gnncomm.topology import Empty, Exponential, Full, KNearest, Line, Ring

B, N, F = 8, 9, 6  # more rows than those which are done without kernels where there is nothing to derive


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


GRAPHS: dict[str, tuple[Callable[[], CommGraph], str, str]] = {
    "full": (lambda: Full()(alive()), "DenseAttention", "FullMean"),
    "full with loops": (lambda: Full(self_loops=True)(alive()), "DenseAttention", "FullMean"),
    "ring": (lambda: Ring(1)(alive()), "ShiftAttention", "ShiftMean"),
    "wide ring": (lambda: Ring(2)(alive()), "DenseAttention", "DenseMean"),
    "two agents": (lambda: Full()(alive(B, 2)), "ShiftAttention", "FullMean"),
    "exponential of 20": (lambda: Exponential()(alive(B, 20)), "ShiftAttention", "ShiftMean"),
    "one graph each, dense": (lambda: pairs(Layout.DENSE, True), "DenseAttention", "DenseMean"),
    "one for all, dense": (lambda: pairs(Layout.DENSE, False), "DenseAttention", "DenseMean"),
    "one graph each, regular": (lambda: pairs(Layout.REGULAR, True), "GatherAttention", "GatherMean"),
    "one for all, regular": (lambda: pairs(Layout.REGULAR, False), "GatherAttention", "GatherMean"),
    "nearest of 70": (
        lambda: KNearest(3)(alive(B, 70), torch.rand(B, 70, 2)).to_layout(Layout.REGULAR),
        "GatherAttention",
        "GatherMean",
    ),
    "one graph each, sparse": (lambda: pairs(Layout.SPARSE, True), "SegmentAttention", "SegmentMean"),
    "one for all, sparse": (lambda: pairs(Layout.SPARSE, False), "SegmentAttention", "SegmentMean"),
    "nobody, sparse": (lambda: Empty()(alive()).to_layout(Layout.SPARSE), "SegmentAttention", "SegmentMean"),
}
LAYERS: dict[str, Callable[[], CommLayer]] = {
    "attention": lambda: AttentionComm(F, 8, heads=2, key_channels=3, value_channels=5),
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


@pytest.mark.parametrize("chunk_rows", [4, 20, 10**6])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("case", GRAPHS)
def test_a_kernel_says_what_the_edges_say(
    case: str, name: str, chunk_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "CHUNK_ROWS", chunk_rows)
    make, attends, means = GRAPHS[case]
    graph, layer = make(), build(name)
    h = rows(B, graph.num_agents)
    kernel = layer.kernel(graph, h)
    assert type(kernel).__name__ == (attends if name == "attention" else means)
    assert_same(results(layer, h, layer(h, graph)), results(layer, h, edge_form(layer, h, graph)))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("case", GRAPHS)
def test_delivered_messages_are_what_is_read(case: str, name: str) -> None:
    """``receive`` with messages that are not what ``send`` would say, and their gradient."""
    graph, layer = GRAPHS[case][0](), build(name)
    h = rows(B, graph.num_agents)
    msg = layer.send(rows(B, graph.num_agents, seed=5)).detach().requires_grad_()
    quiet = [p for p in layer.parameters() if p is not getattr(layer.lin_send, "weight", None)]

    def both(out: Tensor) -> list[Tensor]:
        probe = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).sin().view(out.shape)
        return [out.detach(), *torch.autograd.grad((out * probe).sum(), [h, msg, *quiet])]

    with plain_forms():
        want = both(layer.receive(h, msg, graph))
    assert_same(both(layer.receive(h, msg, graph)), want)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("case", ["full", "ring", "one graph each, regular", "one for all, sparse"])
def test_derivatives_by_differences(case: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "CHUNK_ROWS", 2 * N)
    graph, layer = GRAPHS[case][0](), build(name)
    h = rows()
    assert torch.autograd.gradcheck(lambda x: layer(x, graph), (h,), fast_mode=True)


@pytest.mark.parametrize("graded", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("case", GRAPHS)
def test_a_kernel_says_what_the_plain_form_says(
    case: str, name: str, dtype: torch.dtype, graded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both types, with and without a derivative, for the rows themselves and for messages from a wire."""
    calls = [calls_of(Round, monkeypatch), calls_of(FoldedMean, monkeypatch)]
    graph, layer = GRAPHS[case][0](), build(name).to(dtype)
    many = B if graph.num_graphs > 1 else -(-(rounds.FEW_ROWS + 1) // graph.num_agents)
    h = rows(many, graph.num_agents).detach().to(dtype).requires_grad_(graded)
    msg = layer.send(rows(many, graph.num_agents, seed=5).detach().to(dtype)).detach().requires_grad_(graded)

    def both() -> list[Tensor]:
        with torch.set_grad_enabled(graded):
            direct, wired = layer(h, graph), layer.receive(h, msg, graph)
        if not graded:
            return [direct, wired]
        probe = torch.linspace(-1, 2, direct.numel(), dtype=dtype).sin().view(direct.shape)
        inputs = [h, msg, *layer.parameters()]
        return [direct, wired, *torch.autograd.grad(((direct + 2 * wired) * probe).sum(), inputs)]

    got, taken = both(), sum(map(len, calls))
    assert taken == 2, "both by a kernel"
    with plain_forms():
        want = both()
    assert sum(map(len, calls)) == taken
    atol = 1e-10 if dtype == torch.float64 else 2e-4 if graded else 1e-5
    for one, other in zip(got, want, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one, other, rtol=atol, atol=atol)


def test_few_rows_are_done_without_kernels_where_nothing_is_derived(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, layer, h = calls_of(Round, monkeypatch), build("attention"), rows(1, rounds.FEW_ROWS + 1).detach()
    with torch.no_grad():
        layer(h[:, 1:], Full()(alive(1, rounds.FEW_ROWS)))
        assert not calls
        layer(h, Full()(alive(1, rounds.FEW_ROWS + 1)))
        assert len(calls) == 1


# ---- messages that are not finite ----


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("case", GRAPHS)
def test_a_broken_message_reaches_those_who_hear_it(case: str, name: str, value: float) -> None:
    graph, layer = GRAPHS[case][0](), build(name)
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


def calls_of(function: type[torch.autograd.Function], monkeypatch: pytest.MonkeyPatch) -> list[None]:
    calls: list[None] = []
    run = function.apply

    def counted(*args: object) -> object:
        calls.append(None)
        return run(*args)  # type: ignore[no-untyped-call]  # torch

    monkeypatch.setattr(function, "apply", counted)
    return calls


def doubled(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
    return 2 * out


def test_a_hook_on_a_part_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, layer, graph, h = calls_of(Round, monkeypatch), build("attention"), Full()(alive()), rows()
    layer(h, graph)
    assert len(calls) == 1
    plain = layer(h, graph) - layer.lin_self(h)
    layer.lin_inbox.register_forward_hook(doubled)
    torch.testing.assert_close(layer(h, graph) - layer.lin_self(h), 2 * plain)
    assert len(calls) == 2


def test_a_parametrised_part_is_heard() -> None:
    layer, graph, h = build("mean"), Full()(alive()), rows()
    nn.utils.parametrizations.weight_norm(layer.lin_inbox)
    with torch.no_grad():
        layer.lin_inbox.parametrizations.weight.original0.mul_(3.0)
    torch.testing.assert_close(layer(h, graph), edge_form(layer, h, graph))


@pytest.mark.parametrize("function", [Round, FoldedMean])
def test_kernels_step_back_where_they_do_not_fit(
    function: type[torch.autograd.Function], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = calls_of(function, monkeypatch)
    layer, graph, h = build("attention" if function is Round else "mean"), Full()(alive()), rows()
    want = layer(h, graph).detach()
    assert len(calls) == 1
    with plain_forms():
        out = layer(h, graph)
        first = torch.autograd.grad(out.square().sum(), h, create_graph=True)[0]
        assert torch.autograd.grad(first.square().sum(), h)[0].isfinite().all(), "twice differentiable"
    torch.testing.assert_close(out.detach(), want)
    transformed = torch.func.grad(lambda x: layer(x, graph).square().sum())(h.detach())
    torch.testing.assert_close(transformed, first.detach())
    single = layer.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = single(h.detach().float(), graph)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.double(), want, rtol=0.05, atol=0.05)
    assert len(calls) == 1


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
@pytest.mark.parametrize("case", [case for case in GRAPHS if case != "nearest of 70"])
def test_second_derivatives_by_differences(case: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rows and of all parameters, by every kernel; "nearest of 70" is the kernel of "regular" with more agents."""
    calls, graph, layer = calls_of(Round, monkeypatch), GRAPHS[case][0](), build(name)
    folded = calls_of(FoldedMean, monkeypatch)
    h = rows(2 if graph.num_graphs == 1 else graph.num_graphs, graph.num_agents)
    parameters = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradgradcheck(loss(layer, graph), (h, *parameters), fast_mode=True)
    assert calls or folded, "not by a kernel"


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("case", ["full", "ring", "one graph each, regular", "one for all, sparse"])
def test_every_way_to_ask_for_second_derivatives(case: str, name: str) -> None:
    graph, layer = GRAPHS[case][0](), build(name)
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
@pytest.mark.parametrize("case", ["full", "ring", "one for all, sparse"])
def test_many_gradients_at_once(case: str, name: str) -> None:
    graph, layer = GRAPHS[case][0](), build(name)
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
    """The gradient of a slope with respect to parameters, against the same in operations of PyTorch alone."""
    layer, h, graph = build(name), rows(), Full()(alive())

    def penalty() -> list[Tensor]:
        (slope,) = torch.autograd.grad(layer(h, graph).square().sum(), h, create_graph=True)
        return list(torch.autograd.grad(slope.square().sum(), list(layer.parameters()), allow_unused=True))

    got = penalty()
    with plain_forms():
        want = penalty()
    for one, other in zip(got, want, strict=True):
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


@pytest.mark.parametrize("case", [case for case in GRAPHS if case != "nobody, sparse"])
def test_scores_beyond_all_numbers_are_no_empty_inbox(case: str) -> None:
    """Scores of minus infinity to everyone: undefined shares on every path, not silence."""
    graph = GRAPHS[case][0]()
    layer = AttentionComm(F, 8, heads=1, key_channels=1, value_channels=5).double()
    h = torch.ones(B, graph.num_agents, F, dtype=torch.float64)
    with torch.no_grad():
        layer.lin_query.weight.fill_(1e200)
        layer.lin_send.weight[:1].fill_(-1e200)
    out = layer(h, graph)
    with plain_forms():
        want = layer(h, graph)
    hears = (graph.in_degree.expand(B, -1) > 0).unsqueeze(-1).expand_as(want)
    assert want[hears].isnan().all()
    assert want[~hears].isfinite().all()
    torch.testing.assert_close(out, want, equal_nan=True)
