"""Every way in which torch_geometric lets a user change a layer is honoured on every path, fast or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.nn.aggr import MaxAggregation, MeanAggregation, SumAggregation

from gnncomm.errors import ShapeError
from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import AttentionComm, CommLayer, ConvComm, MeanComm, fused
from gnncomm.layers.names import LAYERS, make_layer

F, N, B = 8, 6, 3

HOOKS = {
    "propagate_forward_pre": lambda module, inputs: (*inputs[:2], {name: _twice(x) for name, x in inputs[2].items()}),
    "propagate_forward": lambda module, inputs, out: 3 * out,
    "message_forward_pre": lambda module, inputs: ({name: _twice(x) for name, x in inputs[0].items()},),
    "message_forward": lambda module, inputs, out: 3 * out,
    "aggregate_forward_pre": lambda module, inputs: ({**inputs[0], "index": inputs[0]["index"] * 0},),
    "aggregate_forward": lambda module, inputs, out: 3 * out,
}
UNUSED = {
    *("message_and_aggregate_forward_pre", "message_and_aggregate_forward"),  # of sparse matrices only
    *("edge_update_forward_pre", "edge_update_forward"),  # no layer has edge updates
}


def _twice(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_twice(each) for each in value)
    return 2 * value if isinstance(value, Tensor) and value.is_floating_point() else value


def graph_of(layout: Layout | str) -> CommGraph:
    adjacency = torch.rand(B, N, N, generator=torch.Generator().manual_seed(3)) < 0.5
    adjacency[:, :, 4] = False
    return CommGraph.from_dense(adjacency).to_layout(layout)


def rows() -> Tensor:
    return torch.randn(B, N, F, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def build(name: str) -> CommLayer:
    torch.manual_seed(1)
    return make_layer(name, F).double()


def edge_form(layer: CommLayer, h: Tensor, graph: CommGraph) -> Tensor:
    out: Tensor = layer(h.flatten(0, 1), graph.expand(len(h)).edge_index)
    return out.view(*h.shape[:2], -1)


def changeable(layer: CommLayer) -> MessagePassing:
    """Whose messages are passed: those of the convolution inside, where there is one."""
    return layer.conv if isinstance(layer, ConvComm) else layer


def assert_honoured(layer: CommLayer, before: Tensor) -> None:
    """The same change on all paths, and a change."""
    h = rows()
    want = edge_form(layer, h, graph_of("sparse"))
    assert not torch.allclose(want, before), "the test changes nothing"
    for layout in Layout:
        for mode in (torch.enable_grad(), torch.no_grad()):
            with mode:
                torch.testing.assert_close(layer(h, graph_of(layout)), want, rtol=0, atol=1e-10)
                graph = graph_of(layout)
                torch.testing.assert_close(layer.receive(h, layer.send(h), graph), want, rtol=0, atol=1e-10)


def test_the_list_of_hooks_is_complete() -> None:
    methods = {name[len("register_") : -len("_hook")] for name in dir(MessagePassing) if name.startswith("register_")}
    known = {name[len("register_") : -len("_hook")] for name in dir(nn.Module) if name.startswith("register_")}
    assert {name for name in methods - known if name} == {*HOOKS, *UNUSED}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_hook_is_called_and_honoured_over_every_layout(name: str, hook: str) -> None:
    layer, h, calls = build(name), rows(), []
    before = edge_form(layer, h, graph_of("sparse"))

    def counted(*args: Any) -> Any:
        calls.append(None)
        return HOOKS[hook](*args)  # type: ignore[operator]  # of two or three arguments

    handle = getattr(changeable(layer), f"register_{hook}_hook")(counted)
    assert_honoured(layer, before)
    assert len(calls) == 1 + 2 * 2 * len(Layout)
    handle.remove()
    torch.testing.assert_close(layer(h, graph_of("dense")), before, rtol=0, atol=1e-10)


def _halved_message(layer: MessagePassing) -> None:
    kept = layer.message
    layer.message = lambda **inputs: 0.5 * kept(**inputs)  # type: ignore[method-assign]


def _doubled_update(layer: MessagePassing) -> None:
    layer.update = lambda inputs, **_: 2 * inputs  # type: ignore[method-assign]


def _turned_aggregate(layer: MessagePassing) -> None:
    kept = layer.aggregate
    layer.aggregate = lambda inputs, **more: -kept(inputs, **more)  # type: ignore[method-assign]


def _largest(layer: MessagePassing) -> None:
    layer.aggr_module = MaxAggregation()


def _hook_on_aggregation(layer: MessagePassing) -> None:
    layer.aggr_module.register_forward_hook(lambda module, args, out: 3 * out)


def _explained(layer: MessagePassing) -> None:
    layer.explain = True
    edges = graph_of("sparse").num_edges
    layer._edge_mask = torch.linspace(-1, 1, edges, dtype=torch.float64)
    layer._loop_mask = torch.ones(edges, dtype=torch.bool)


CHANGES: dict[str, Callable[[MessagePassing], None]] = {
    "message": _halved_message,
    "update": _doubled_update,
    "aggregate": _turned_aggregate,
    "aggr_module": _largest,
    "hook on aggr_module": _hook_on_aggregation,
    "explain": _explained,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", LAYERS)
def test_what_is_changed_on_an_instance_is_honoured_over_every_layout(name: str, change: str) -> None:
    layer = build(name)
    before = edge_form(layer, rows(), graph_of("sparse"))
    CHANGES[change](changeable(layer))
    assert_honoured(layer, before)


OWN_HOOKS = ["send", "query", "combine"]


@pytest.mark.parametrize("hook", OWN_HOOKS)
@pytest.mark.parametrize("name", ["attention", "mean", "graph_filter", "transformer_block", "magic"])
def test_own_hooks_replaced_on_an_instance_are_honoured(name: str, hook: str) -> None:
    layer = build(name)
    before = edge_form(layer, rows(), graph_of("sparse"))
    kept = getattr(layer, hook)
    setattr(layer, hook, lambda *args: 2 * kept(*args))
    if hook == "query" and name in ("mean", "graph_filter"):
        return  # they ask nothing
    assert_honoured(layer, before)


def _frozen(layer: nn.Module) -> None:
    layer.lin_inbox.forward = lambda x: torch.zeros(*x.shape[:-1], F, dtype=x.dtype)


def _bias_put_in(layer: nn.Module) -> None:
    layer.lin_inbox = nn.Linear(layer.lin_inbox.in_features, F, dtype=torch.float64)


def _hook_on_send(layer: nn.Module) -> None:
    layer.lin_send.register_forward_hook(lambda module, args, out: 2 * out)


@pytest.mark.parametrize("change", [_frozen, _bias_put_in, _hook_on_send])
@pytest.mark.parametrize("name", ["attention", "mean"])
def test_what_is_changed_in_a_part_is_honoured(name: str, change: Callable[[nn.Module], None]) -> None:
    layer = build(name)
    before = edge_form(layer, rows(), graph_of("sparse"))
    change(layer)
    assert_honoured(layer, before)


def test_a_hook_on_all_modules_is_honoured() -> None:
    layer = build("attention")
    before = edge_form(layer, rows(), graph_of("sparse"))

    def double(module: nn.Module, args: Any, out: Any) -> Any:
        return 2 * out if isinstance(module, nn.Linear) else None

    handle = nn.modules.module.register_module_forward_hook(double)
    try:
        assert_honoured(layer, before)
    finally:
        handle.remove()


# ---- subclasses ----


class Quiet(MeanComm):
    """Hooks of its own only through a helper that no list of names could know."""

    def reset_parameters(self) -> None:
        super().reset_parameters()

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)
        self.aggr_module = MaxAggregation()


class Plain(AttentionComm):
    """Nothing is changed, nor is anything said."""


class Named(AttentionComm):
    """Nothing is changed, and the dense form is said to hold."""

    dense_inbox = AttentionComm.dense_inbox


class Sharper(AttentionComm):
    """Scores are doubled, the dense form would not know."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return 2 * super().score(query, key)


def dense_calls(layer: CommLayer, monkeypatch: pytest.MonkeyPatch) -> int:
    calls, run = [], fused.attend
    with monkeypatch.context() as patch:
        patch.setattr(fused, "attend", lambda *args: (calls.append(None), run(*args))[1])
        layer(rows(), graph_of("dense"))
    return len(calls)


def test_a_subclass_opts_in_by_naming_the_form(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    assert dense_calls(AttentionComm(F, F).double(), monkeypatch) == 1
    assert dense_calls(Plain(F, F).double(), monkeypatch) == 0
    assert dense_calls(Named(F, F).double(), monkeypatch) == 1


def test_a_subclass_may_be_made_after_its_parent_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyG writes into a class with its first instance: what a child inherits then is no replacement."""
    torch.manual_seed(1)
    AttentionComm(F, F)
    source = "class Late(Parent):\n    dense_inbox = Parent.dense_inbox\n"
    space = {"Parent": AttentionComm, "__name__": __name__}
    exec(source, space)  # as in a console: no source to be read
    layer: CommLayer = space["Late"](F, F).double()  # type: ignore[operator]
    assert dense_calls(layer, monkeypatch) == 1


@pytest.mark.parametrize("make", [lambda: Quiet(F), lambda: Plain(F, F), lambda: Named(F, F), lambda: Sharper(F, F)])
@pytest.mark.parametrize("layout", Layout)
def test_a_subclass_says_the_same_over_every_layout(make: Callable[[], CommLayer], layout: Layout) -> None:
    torch.manual_seed(1)
    layer, h = make().double(), rows()
    want = edge_form(layer, h, graph_of("sparse"))
    torch.testing.assert_close(layer(h, graph_of(layout)), want, rtol=0, atol=1e-10)


def test_an_aggregation_of_the_same_kind_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = build("attention")
    layer.aggr_module = SumAggregation()
    assert dense_calls(layer, monkeypatch) == 1
    layer.aggr_module = MeanAggregation()
    assert dense_calls(layer, monkeypatch) == 0


@pytest.mark.parametrize("hook", ["message", "aggregate", "send", "combine"])
@pytest.mark.parametrize("name", [*LAYERS])
def test_a_method_replaced_on_a_class(name: str, hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the layer or of what it derives from, after a layer was made and used."""
    layer, h = build(name), rows()
    before = edge_form(layer, h, graph_of("sparse"))
    for owner in (type(layer), next(kind for kind in type(layer).__mro__ if hook in vars(kind))):
        method = getattr(owner, hook)
        with monkeypatch.context() as patch:
            patch.setattr(owner, hook, lambda *args, method=method, **named: 3 * method(*args, **named))
            if not isinstance(layer, ConvComm) or hook in ("send", "combine"):
                assert_honoured(layer, before)
    for layout in Layout:
        torch.testing.assert_close(layer(h, graph_of(layout)), before, rtol=0, atol=1e-10)


def test_a_fast_form_is_used_again_once_a_class_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = build("attention")
    with monkeypatch.context() as patch:
        patch.setattr(AttentionComm, "weights_inside", True)
        assert dense_calls(layer, monkeypatch) == 0
    assert dense_calls(layer, monkeypatch) == 1


def test_a_hook_says_tensor_or_none_as_python_does() -> None:
    """Without ``from __future__ import annotations`` it is an object, of which PyG could not tell the name."""

    def message(self: CommLayer, msg_j: Tensor, edge_weight: Tensor | None) -> Tensor:
        return msg_j if edge_weight is None else edge_weight.view(-1, 1) * msg_j

    message.__annotations__ = {"msg_j": Tensor, "edge_weight": Tensor | None, "return": Tensor}
    own = {"message": message, "send": lambda self, h: h, "combine": lambda self, h, inbox: inbox}
    layer = type("Weighed", (CommLayer,), {"__module__": __name__, **own})(F, F, F)
    h, edges = rows()[0], torch.tensor([[0], [1]])
    heard = torch.zeros_like(h).index_add(0, edges[1], h[:1] / 2)
    assert layer(h, edges, edge_weight=torch.full((1,), 0.5)).equal(heard)


def test_a_new_row_has_the_width_that_was_promised() -> None:
    class Narrow(MeanComm):
        def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
            return inbox[..., :3]

    with pytest.raises(ShapeError, match=rf"Narrow: .* combine .* = \[{B}, {N}, {F}\], got \[{B}, {N}, 3\]"):
        Narrow(F, F).double()(rows(), graph_of("sparse"))
