"""One layer of ours and the stock convolutions of its kind, on one graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv, GraphConv, SAGEConv, TransformerConv

from gnncomm.bench.measure import count_flops, interleaved, peak_memory
from gnncomm.errors import GnnCommError
from gnncomm.graph import CommGraph
from gnncomm.layers import AttentionComm, CommLayer, ConvComm, MeanComm

HIDDEN, HEADS = 128, 4
KINDS = ("attention", "mean")


@dataclass(frozen=True)
class LayerRow:
    """One line of the table; times are medians of forward plus backward in milliseconds."""

    setting: str
    kind: str
    layout: str
    ours_ms: float
    stock_ms: dict[str, float]
    ratio: float
    """The faster stock convolution's time over ours."""
    share_of_bound: float
    """Time of our matrix products at the machine's rate over our time."""
    memory_ratio: float
    """Our peak of tensor memory over the lower one of the stock convolutions."""
    difference: float
    """Largest difference of our layer over the graph from its own edge form, outputs and gradients, in float64."""


def stock_of(kind: str) -> dict[str, nn.Module]:
    """The stock convolutions of a kind, by name."""
    if kind == "mean":
        return {"GraphConv": GraphConv(HIDDEN, HIDDEN, aggr="mean"), "SAGEConv": SAGEConv(HIDDEN, HIDDEN)}
    width = HIDDEN // HEADS
    return {
        "GATv2Conv": GATv2Conv(HIDDEN, width, HEADS, add_self_loops=False),
        "TransformerConv": TransformerConv(HIDDEN, width, HEADS),
    }


def ours_of(kind: str) -> CommLayer:
    """Our layer of a kind."""
    return MeanComm(HIDDEN, HIDDEN) if kind == "mean" else AttentionComm(HIDDEN, HIDDEN, HEADS)


def compare(name: str, kind: str, graph: CommGraph, num_envs: int, repeats: int, rate: float) -> LayerRow:
    """Check, then measure. ``rate`` is the machine's, in operations per second."""
    ours, stock = ours_of(kind), stock_of(kind)
    few = graph if graph.num_graphs == 1 else graph.select(torch.arange(2, device=graph.device))
    difference = check_same_function(kind, few)
    h = torch.randn(num_envs, graph.num_agents, HIDDEN, requires_grad=True)
    rows, edge_index = h.detach().flatten(0, 1).requires_grad_(), graph.expand(num_envs).edge_index
    calls = {"ours": forward_backward(ours, h, graph)}
    calls |= {title: forward_backward(conv, rows, edge_index) for title, conv in stock.items()}
    seconds = interleaved(calls, repeats)
    memory = {title: peak_memory(call) for title, call in calls.items()}
    mine = seconds.pop("ours")
    return LayerRow(
        setting=name,
        kind=kind,
        layout=str(graph.layout),
        ours_ms=1e3 * mine,
        stock_ms={title: 1e3 * value for title, value in seconds.items()},
        ratio=min(seconds.values()) / mine,
        share_of_bound=count_flops(calls["ours"]) / rate / mine,
        memory_ratio=memory.pop("ours") / min(memory.values()),
        difference=difference,
    )


def forward_backward(layer: nn.Module, x: Tensor, graph: CommGraph | Tensor) -> Callable[[], tuple[Tensor, ...]]:
    """Output, and gradients of the input and of every parameter."""
    inputs = [x, *layer.parameters()]

    def call() -> tuple[Tensor, ...]:
        out: Tensor = layer(x, graph)
        return out.detach(), *torch.autograd.grad(out, inputs, torch.ones_like(out))

    return call


def check_same_function(kind: str, graph: CommGraph) -> float:
    """The largest difference of our layer over a graph from its edge form; stock twins with our weights agree, too.

    Raises:
        GnnCommError: the two sides do not compute the same function.
    """
    h = torch.randn(2, graph.num_agents, HIDDEN, dtype=torch.float64, requires_grad=True)
    rows, edge_index = h.detach().flatten(0, 1).requires_grad_(), graph.expand(2).edge_index
    ours = ours_of(kind).double()
    difference = _difference(forward_backward(ours, h, graph)(), forward_backward(ours, rows, edge_index)())
    twin, conv = twins_of(kind)
    pairs = {"our layer over a graph and its edge form": difference}
    pairs[f"{type(twin).__name__} and {type(conv).__name__} with the same weights"] = _difference(
        forward_backward(twin, h, graph)()[:2], forward_backward(conv, rows, edge_index)()[:2]
    )
    for title, stock in stock_of(kind).items():
        wrapped = ConvComm(stock).double()
        pairs[f"ConvComm({title}) and {title}"] = _difference(
            forward_backward(wrapped, h, graph)(), forward_backward(stock, rows, edge_index)()
        )
    for who, distance in pairs.items():
        if not distance <= 1e-10:
            raise GnnCommError(
                f"Expected {who} to agree within 1e-10 on {graph!r}, got a difference of {distance:.3g}."
            )
    return difference


def twins_of(kind: str) -> tuple[CommLayer, nn.Module]:
    """A layer of ours and a stock convolution that compute the same function, by their weights."""
    if kind == "mean":
        mean, conv = MeanComm(HIDDEN, HIDDEN).double(), GraphConv(HIDDEN, HIDDEN, aggr="mean").double()
        _copy(mean.lin_inbox.weight, conv.lin_rel.weight)
        _copy(mean.lin_self.weight, conv.lin_root.weight)
        _copy(mean.lin_self.bias, conv.lin_rel.bias)
        return mean, conv
    width = HIDDEN // HEADS
    ours = AttentionComm(HIDDEN, HIDDEN, HEADS, key_channels=width).double()
    stock = TransformerConv(HIDDEN, width, HEADS, bias=False).double()
    _copy(ours.lin_send.weight, torch.cat([stock.lin_key.weight, stock.lin_value.weight]))
    _copy(ours.lin_query.weight, stock.lin_query.weight)
    _copy(ours.lin_self.weight, stock.lin_skip.weight)
    _copy(ours.lin_self.bias, torch.zeros(HIDDEN))
    _copy(ours.lin_inbox.weight, torch.eye(HIDDEN))
    return ours, stock


@torch.no_grad()
def _copy(target: Tensor, source: Tensor) -> None:
    target.copy_(source)


def _difference(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> float:
    pairs = zip(left, right, strict=True)
    return max(float((a.flatten() - b.flatten()).abs().max() / (1 + b.abs().max())) for a, b in pairs)
