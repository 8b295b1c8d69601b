"""Laws 1 to 4 for communication layers: permutation, locality, independence of environments, empty inboxes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing

from gnncomm import random
from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import CommLayer, CommStack
from gnncomm.testing.cases import Case, cases, large_cases, normal
from gnncomm.testing.law import LawError, require, require_bits, require_close, require_finite, require_untouched

CommModule = CommLayer | CommStack

_ROW = ("environment", "agent")


def check_layer(
    layer: CommModule,
    num_agents: int = 5,
    num_envs: int = 2,
    edge_dim: int = 0,
    weighted: bool = False,
    seed: int = 0,
    training: bool | None = None,
) -> None:
    """Laws 1 to 4 over random, directed-line, full and empty graphs, static and one per environment, and N = 1.

    Works on copies, in float64, and for what needs no tolerance in float32 as well. Tried are both modes, few agents
    with all laws, and up to 12 agents and 40 environments with rows of very different size.

    Args:
        layer: a ``CommLayer`` or ``CommStack``, yours or ours.
        num_agents, num_envs: sizes of the small trials; at least 3 and 2.
        edge_dim: D of the edge features that the layer expects, 0 for none.
        weighted: whether the graphs carry edge weights; then they must have an effect.
        seed: of the trials.
        training: the mode; None: both. A dropout breaks determinism in training mode: ``training=False``.

    Raises:
        LawError: names the law, the tensor, the agent, the graph and the mode.
    """
    check_compiled(layer)
    channels = layer.in_channels
    for mode in (True, False) if training is None else (training,):
        subject = copy.deepcopy(layer).double().train(mode)
        for case in cases(channels, num_agents, num_envs, edge_dim, weighted, seed):
            with _named(case, mode):
                _check_case(subject, case)
        for case in large_cases(channels, edge_dim, weighted, seed):
            with _named(case, mode):
                _check_large(subject, case)
                _check_exact(copy.deepcopy(layer).float().train(mode), case.to(torch.float32))


@contextmanager
def _named(case: Case, training: bool) -> Iterator[None]:
    try:
        yield
    except LawError as broken:
        broken.add_note(f"graph: {case.name}, {case.graph!r}; {'training' if training else 'evaluation'} mode")
        raise


def check_compiled(layer: CommModule) -> None:
    """Every hook gets what it asks for: PyG compiled ``propagate`` for the class itself.

    Where it cannot (``ptr`` without its type, a class whose name begins its parent's), PyG runs the parent's
    ``propagate``, which passes what the parent's hooks ask for, without a word.
    """
    for module in layer.modules():
        if isinstance(module, MessagePassing):
            name, compiled = type(module).__name__, type(module).propagate.__module__
            message = (
                f"{name} runs {compiled}, which is that of a parent: annotate every parameter of the hooks of {name} "
                "(Tensor, OptTensor, int | None)."
            )
            own = compiled.endswith(f"{name}_propagate") or compiled == type(module).__module__
            require(own, "compiled hooks", message)


def _check_case(layer: CommModule, case: Case) -> None:
    h, graph = case.h, case.graph
    check_determinism(layer, h, graph)
    check_gradient_mode(layer, h, graph)
    check_empty_inbox(layer, h, graph)
    check_batch_independence(layer, h, graph)
    for layout in Layout:
        laid = graph.to_layout(layout)
        check_poison(layer, h, laid)
        check_jacobian(layer, h, laid)
    check_split_brain(layer, h, graph)
    check_permutation(layer, h, graph)
    check_edge_order(layer, h, graph)
    check_layouts_agree(layer, h, graph)
    if graph.weight is not None:
        check_weights(layer, h, graph)


def _check_large(layer: CommModule, case: Case) -> None:
    """What does not take a pass for each pair of agents."""
    h, graph = case.h, case.graph
    _check_exact(layer, case)
    check_gradient_mode(layer, h, graph)
    check_jacobian(layer, h, graph)
    check_split_brain(layer, h[:2], graph.select(torch.arange(2)))
    check_permutation(layer, h, graph)


def _check_exact(layer: CommModule, case: Case) -> None:
    """The laws that hold to the bit, in any type."""
    check_determinism(layer, case.h, case.graph)
    check_poison(layer, case.h, case.graph)
    check_others_untouched(layer, case.h, case.graph)


def _probe(shape: torch.Size) -> Tensor:
    """A fixed direction that no sensible gradient is orthogonal to."""
    return normal(tuple(shape), 7)


def _out_and_gradient(
    layer: Callable[[Tensor, CommGraph], Tensor], h: Tensor, graph: CommGraph
) -> tuple[Tensor, Tensor]:
    leaf = h.clone().requires_grad_()
    out: Tensor = layer(leaf, graph)
    (gradient,) = torch.autograd.grad((out * _probe(out.shape)).sum(), leaf)
    return out.detach(), gradient


def _orders(count: int, key: int) -> tuple[Tensor, Tensor]:
    """Two permutations: the reversal, which turns every pair around, and a random one."""
    return torch.arange(count).flip(0), random.uniform(key, torch.arange(count)).argsort()


@torch.no_grad()
def check_permutation(layer: CommModule, h: Tensor, graph: CommGraph) -> None:
    """Law 1: permute the agents in, and the outputs come permuted."""
    dense, out = graph.to_layout(Layout.DENSE), layer(h, graph)
    for order in _orders(h.shape[1], 11):
        attr, weight = (None if value is None else value[:, order][:, :, order] for value in (dense.attr, dense.weight))
        moved = CommGraph.from_dense(dense.dense[:, order][:, :, order], attr, weight)
        why = f"the agents came in the order {order.tolist()}, and the outputs should come in that order"
        require_close("permutation", "output", layer(h[:, order], moved), out[:, order], _ROW, why)


@torch.no_grad()
def check_edge_order(layer: CommModule, h: Tensor, graph: CommGraph) -> None:
    """Law 1: ``layer(x, edge_index)`` with the edges in any order equals ``layer(h, graph)``."""
    spread, want = graph.expand(h.shape[0]), layer(h, graph)
    for order in _orders(spread.num_edges, 12):
        features = [None if value is None else value[order] for value in (spread.edge_attr, spread.edge_weight)]
        out: Tensor = layer(h.flatten(0, 1), spread.edge_index[:, order], *features)
        why = "the same edges came in another order"
        require_close("edge order", "output", out.view(*h.shape[:2], -1), want, _ROW, why)


def check_layouts_agree(layer: CommModule, h: Tensor, graph: CommGraph) -> None:
    """Law 1: dense, regular and sparse graphs, shared or one for each environment, and the same edges as plain PyG has
    them, give equal values and gradients."""
    edges = graph.expand(h.shape[0])

    def plain(rows: Tensor, _: CommGraph) -> Tensor:
        out: Tensor = layer(rows.flatten(0, 1), edges.edge_index, edges.edge_attr, edges.edge_weight)
        return out.view(*rows.shape[:2], -1)

    want, want_gradient = _out_and_gradient(plain, h, graph)
    for layout in Layout:
        for laid in (graph.to_layout(layout), graph.to_layout(layout).expand(h.shape[0])):
            got, gradient = _out_and_gradient(layer, h, laid)
            why = f"the graph is stored {layout} for {laid.num_graphs} environment(s) instead of plain edges"
            require_close("layouts", "output", got, want, _ROW, why)
            require_close("layouts", "gradient", gradient, want_gradient, _ROW, why)


@torch.no_grad()
def check_poison(layer: CommModule, h: Tensor, graph: CommGraph) -> None:
    """Law 2: NaN in every row that cannot reach agent i in K rounds leaves row i untouched."""
    clean = layer(h, graph)
    reaches = graph.reach(len(layer.rounds)).expand(h.shape[0], -1, -1)
    for i in range(h.shape[1]):
        poisoned = torch.where(reaches[:, :, i].unsqueeze(-1), h, torch.nan)
        why = f"only rows that cannot reach agent {i} in {len(layer.rounds)} round(s) were changed, to NaN"
        require_untouched("poison", f"output of agent {i}", layer(poisoned, graph)[:, i], clean[:, i], _ROW[:1], why)


POINTS = 4
"""At a single point a derivative may vanish by chance: behind a rectifier, at a saturated softmax."""


def check_jacobian(layer: CommModule, h: Tensor, graph: CommGraph) -> None:
    """Law 2: d out_i / d h_j is exactly zero outside the K-hop in-neighbourhood of i, not zero somewhere inside.

    Tried at ``h`` and, while nothing is heard, at multiples of it.
    """
    rounds, reach_GNN, sensitivity = len(layer.rounds), graph.reach(len(layer.rounds)), torch.zeros(())
    for point in range(POINTS):
        leaf = (h * (1 + point) * (-1) ** point).requires_grad_()
        out: Tensor = layer(leaf, graph)
        projected = (out * _probe(out.shape[-1:]).to(out.dtype)).sum((0, 2))
        rows = [torch.autograd.grad(row, leaf, retain_graph=True)[0].abs().sum(-1) for row in projected]
        sensitivity = sensitivity + torch.stack(rows, -1)
        require_outside(sensitivity, reach_GNN, "h", rounds)
        if require_heard(sensitivity, reach_GNN, "h", final=point == POINTS - 1):
            return


def require_outside(sensitivity_BNN: Tensor, reach_GNN: Tensor, name: str, rounds: int) -> None:
    """Zero where j does not reach i: ``[B, sender j, receiver i]``."""
    outside = (sensitivity_BNN != 0) & ~reach_GNN
    if bool(outside.any()):
        env, j, i = outside.nonzero()[0].tolist()
        raise LawError(
            "the jacobian",
            f"the output of agent {i} changes with {name} of agent {j} (derivative {sensitivity_BNN[env, j, i]:.3g}, "
            f"environment {env}), which cannot reach it in {rounds} round(s).",
        )


def require_heard(sensitivity_BNN: Tensor, reach_GNN: Tensor, name: str, final: bool = True) -> bool:
    """Whether it is not zero at some other j that reaches i, if there is one; LawError where it has to be by now."""
    others = reach_GNN & ~torch.eye(reach_GNN.shape[-1], dtype=torch.bool, device=reach_GNN.device)
    heard = bool((sensitivity_BNN.masked_fill(~others, 0.0) != 0).any()) or not bool(others.any())
    require(
        heard or not final,
        "the jacobian",
        f"no output depends on {name} of any neighbour, though messages arrive: nothing is communicated.",
    )
    return heard


@torch.no_grad()
def check_split_brain(layer: CommModule, h: Tensor, graph: CommGraph) -> None:
    """Law 2: ``send`` on one row and ``hear`` with one inbox give what all rows at once gave."""
    stack = CommStack([layer], residual=False) if isinstance(layer, CommLayer) else layer
    want = layer(h, graph)
    for b, rows in enumerate(h):
        one = graph.select(torch.tensor([b])) if graph.num_graphs > 1 else graph
        alone = list(rows)
        for each in stack.rounds:
            messages = torch.stack([each.send(row) for row in alone])
            alone = [stack.merge(row, _heard(each, row, i, messages, one)) for i, row in enumerate(alone)]
        why = "each agent computed its row alone, from its own row and the messages that reached it"
        require_close("split-brain", f"output in environment {b}", torch.stack(alone), want[b], _ROW[1:], why)


def _heard(layer: CommLayer, row: Tensor, receiver: int, messages: Tensor, graph: CommGraph) -> Tensor:
    sender_E, receiver_E = graph.edge_index
    arrives = receiver_E == receiver
    attr, weight = graph.edge_attr, graph.edge_weight
    return layer.hear(
        row,
        messages[sender_E[arrives]],
        None if attr is None else attr[arrives],
        None if weight is None else weight[arrives],
    )


@torch.no_grad()
def check_batch_independence(layer: CommModule, h: Tensor, graph: CommGraph) -> None:
    """Law 3: a batch of environments equals one by one, and NaN in one leaves the others bit-equal."""
    together = layer(h, graph)
    for b in range(h.shape[0]):
        alone = layer(h[b : b + 1], graph.select(torch.tensor([b])))
        why = f"environment {b} was computed without the others"
        require_close("batch independence", "output", alone[0], together[b], _ROW[1:], why)
    check_others_untouched(layer, h, graph)


@torch.no_grad()
def check_others_untouched(layer: CommModule, h: Tensor, graph: CommGraph) -> None:
    """Law 3: NaN in some environments leaves the others untouched (each in turn, or the odd and the even of many)."""
    together, number = layer(h, graph), torch.arange(h.shape[0])
    groups = [number == b for b in range(len(h))] if len(h) <= 4 else [number % 2 == 0, number % 2 == 1]
    for kept in groups:
        spoilt = layer(torch.where(kept.view(-1, 1, 1), h, torch.nan), graph)
        why = "only other environments were changed, to NaN"
        require_untouched("batch independence", "output", spoilt[kept], together[kept], _ROW, why)


def check_gradient_mode(layer: CommModule, h: Tensor, graph: CommGraph) -> None:
    """Laws 1 to 4 hold where gradients are recorded if they hold where none are: the values are the same."""
    with torch.no_grad():
        want = layer(h, graph)
    with torch.enable_grad():
        got = layer(h.clone().requires_grad_(), graph).detach()
    require_close("gradient mode", "output", got, want, _ROW, "the same rows, with and without gradients")
    with torch.inference_mode():
        strided = layer(torch.stack([h, h], -1)[..., 0], graph)
    require_close("gradient mode", "output", strided, want, _ROW, "the same rows in inference mode, not contiguous")


def check_weights(layer: CommModule, h: Tensor, graph: CommGraph) -> None:
    """Edge weights have an effect: not all derivatives are 0; and where all are 1, it is as if there were none."""
    weight = graph.weight
    if weight is None or not bool((graph.dense & ~torch.eye(graph.num_agents, dtype=torch.bool)).any()):
        return
    acts = False
    for point in range(POINTS):
        leaf = weight.detach().clone().requires_grad_()
        rows = (h * (1 + point) * (-1) ** point).requires_grad_()
        out: Tensor = layer(rows, graph.with_features(graph.attr, leaf))
        (gradient,) = torch.autograd.grad((out * _probe(out.shape)).sum(), leaf, allow_unused=True)
        acts = acts or (gradient is not None and bool((gradient != 0).any()))
    message = "no output depends on the weight of any edge: multiply the message by it, or refuse graphs with weights."
    require(acts, "edge weights", message)
    with torch.no_grad():
        ones = layer(h, graph.with_features(graph.attr, torch.ones_like(weight)))
        none = layer(h, graph.with_features(graph.attr, None))
    require_close("edge weights", "output", ones, none, _ROW, "all edges weigh 1, which is as if they had no weights")


@torch.no_grad()
def check_zero_weights(layer: CommModule, h: Tensor, graph: CommGraph) -> None:
    """Where all edges weigh 0, it is as if there were none. Not for layers that attend to themselves and gate after
    the softmax: there the attention that a message got is not given back."""
    assert graph.weight is not None
    silent = layer(h, graph.with_features(graph.attr, torch.zeros_like(graph.weight)))
    nobody = layer(h, graph.only(torch.zeros(1, dtype=torch.bool)))
    require_close("edge weights", "output", silent, nobody, _ROW, "all edges weigh 0, which is as if there were none")


def check_empty_inbox(layer: CommModule, h: Tensor, graph: CommGraph) -> None:
    """Law 4: finite values and gradients, also of the parameters; who hears nothing computes what it computes alone."""
    leaf = h.clone().requires_grad_()
    out: Tensor = layer(leaf, graph)
    require_finite("empty inboxes", "output", out.detach(), _ROW, "the rows are finite")
    inputs = {"h": leaf, **{name: p for name, p in layer.named_parameters() if p.requires_grad}}
    gradients = torch.autograd.grad(out.sum(), list(inputs.values()), allow_unused=True)
    for name, gradient in zip(inputs, gradients, strict=True):
        if gradient is not None:
            require_finite("empty inboxes", f"gradient of {name}", gradient, (), "rows and weights are finite")
    if graph.num_edges == 0:
        alone = torch.zeros(1, 1, 1, dtype=torch.bool)
        nobody = CommGraph.from_dense(alone, *_no_features(graph))
        rows = layer(h.detach().flatten(0, 1).unsqueeze(1), nobody).view(out.shape)
        why = "an agent with an empty inbox should compute what it computes alone"
        require_close("empty inboxes", "output", rows.detach(), out.detach(), _ROW, why)


def _no_features(graph: CommGraph) -> tuple[Tensor | None, Tensor | None]:
    attr = None if graph.attr is None else graph.attr.new_zeros(1, 1, 1, graph.attr.shape[-1])
    return attr, None if graph.weight is None else graph.weight.new_zeros(1, 1, 1)


@torch.no_grad()
def check_determinism(layer: CommModule, h: Tensor, graph: CommGraph) -> None:
    """Law 6: the same rows give the same bits, and a forward pass changes nothing in the layer."""
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    first, second = layer(h, graph), layer(h, graph)
    require_bits("determinism", "output", second, first, _ROW, "the same call was made twice")
    for name, value in layer.state_dict().items():
        require_bits("determinism", name, value, before[name], (), "a forward pass must not change the layer")
