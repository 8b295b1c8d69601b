"""What a layer is given from outside, told as expected, got, do: edges of plain PyG, and hooks of a user's class."""

from __future__ import annotations

from typing import Any

import networkx as nx
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import OptTensor

from gnncomm.errors import ConfigError, DeviceError, GraphError, ShapeError
from gnncomm.graph import checks, views
from gnncomm.host import at_hand

_ALWAYS = {
    "index",
    "ptr",
    "dim_size",
    "size",
    "size_i",
    "size_j",
    "edge_index",
    "edge_index_i",
    "edge_index_j",
    "adj_t",
}


def check_pair(layer: MessagePassing, h: Any) -> tuple[Tensor, ...]:
    """The rows of ``h``: one tensor, or those of senders and of receivers.

    Raises:
        ShapeError: something else.
    """
    if not isinstance(h, tuple):
        return (h,)
    if len(h) != 2 or not all(isinstance(rows, Tensor) and rows.dim() == 2 for rows in h):
        got = [list(rows.shape) if isinstance(rows, Tensor) else rows for rows in h]
        raise ShapeError(
            f"{type(layer).__name__} between two kinds of nodes: expected (x_source [S, F], x_target [R, F]), got "
            f"{got}. A receiver needs a row of its own: give zeros where it has none."
        )
    return h


def edges_over(
    h: Tensor, edge_index: Tensor, attr: OptTensor, weight: OptTensor
) -> tuple[Tensor, OptTensor, OptTensor]:
    """Edges, features and weights over all rows of ``h [*lead, N, F]``: the same for each entry of ``lead``."""
    if h.dim() == 2:
        return edge_index, attr, weight
    count, nodes = h.shape[:-2].numel(), h.shape[-2]
    attr = None if attr is None else attr.repeat(count, 1)
    weight = None if weight is None else weight.repeat(count)
    return views.repeat_edges(edge_index, count, nodes), attr, weight


def check_edges(layer: MessagePassing, h: Any, graph: Any, attr: OptTensor, weight: OptTensor) -> Tensor:
    """``edge_index [2, E]`` int64 over the rows ``h [*lead, N, F]``, or from the first to the second of a pair.

    The values of features are trusted, as PyG does.

    Raises:
        GraphError: something else, edges to rows that are not there, features of other edges.
        DeviceError: on another device than the rows.
    """
    if not isinstance(graph, Tensor) or graph.layout != torch.strided:
        name = type(layer).__name__
        raise GraphError(f"{name} expected edge_index [2, E] or a CommGraph, got {_kind_of(graph)}.{_remedy(graph)}")
    checks.as_tensor("edge_index", graph)
    checks.check_edge_shape(graph)
    edges = checks.as_indices(graph, "edge_index") if graph.dtype != torch.int64 else graph
    source, target = (h, h) if isinstance(h, Tensor) else h
    for rows in (source, target):
        if edges.device != rows.device:
            raise DeviceError(f"h is on {rows.device} but edge_index on {edges.device}: move one with .to(device).")
        if rows.dim() < 2:
            raise GraphError(f"edge_index is over rows: expected h [V, F], got {tuple(rows.shape)}.")
    if at_hand(target, edges):
        _check_ends(edges, source.shape[-2], target.shape[-2])
    for title, value, axes in (("edge_attr", attr, 2), ("edge_weight", weight, 1)):
        if value is None:
            continue
        checks.as_tensor(title, value)
        if value.dim() != axes or value.shape[0] != edges.shape[1]:
            lead = ", D" if axes == 2 else ""
            raise GraphError(
                f"{title} belongs to the edges: expected [E={edges.shape[1]}{lead}], got {checks.shape_of(value)}."
            )
    return edges


def _check_ends(edges: Tensor, sources: int, targets: int) -> None:
    if sources == targets:
        checks.check_edges_in_range(edges, sources, 1)
        return
    for end_E, title, count in zip(edges, ("sender", "receiver"), (sources, targets), strict=True):
        wrong = ((end_E < 0) | (end_E >= count)).nonzero()
        if len(wrong):
            edge = int(wrong[0])
            raise GraphError(f"Edge {edge} has {title} {int(end_E[edge])}: expected 0 <= index < {count}, its rows.")


def _kind_of(graph: object) -> str:
    return f"a tensor of layout {graph.layout}" if isinstance(graph, Tensor) else type(graph).__name__


def _remedy(graph: object) -> str:
    if isinstance(graph, Tensor):  # what PyG calls adj_t: receivers are its rows
        return " Use torch_geometric.utils.to_edge_index(adj_t.t()), which gives edge_index and weights."
    if type(graph).__name__ == "SparseTensor":
        return " Use torch.stack(adj_t.t().coo()[:2]), and coo()[2] as edge_weight."
    if isinstance(graph, nx.Graph):
        return " Use CommGraph.from_networkx(graph)."
    if isinstance(graph, Data):
        return " Use data.edge_index, or CommGraph.from_data(data)."
    return " Use torch.as_tensor(edges), or a topology: gnncomm.topology.resolve('ring')(alive)."


def check_hooks(layer: MessagePassing, plain: bool) -> None:
    """Every argument that the hooks of ``layer`` ask for is one that its messages are passed with.

    ``plain``: it passes them as the base does, with nothing of the sender but what was sent.

    Nothing is asked of a class whose source is not at hand (typed into a console), nor twice of one with the same
    hooks: reading its text took most of the time in which a layer is made.

    Raises:
        ConfigError: names the hook and the argument; PyG would fail with a NameError of code that it wrote.
    """
    cls = type(layer)
    hooks = cls.message, cls.aggregate, cls.update, cls.forward
    if vars(cls).get("_checked") == hooks:
        return
    try:
        passed = set(layer._get_propagate_signature().param_dict)
    except OSError:
        return
    for hook in ("message", "aggregate", "update"):
        for name in layer.inspector.get_param_names(hook):
            stem = name[:-2] if name.endswith(("_i", "_j")) else name
            nobodys = plain and name in ("h_j", "msg_i")
            if not nobodys and (name in _ALWAYS or stem in passed):
                continue
            known = [f"{each}_j" if each == "msg" else f"{each}_i" if each == "h" else each for each in sorted(passed)]
            raise ConfigError(
                f"{type(layer).__name__}.{hook} asks for {name!r}, which no message is passed with: expected of "
                f"{', '.join(known)}. What was sent is msg_j, what query says of the receiver is h_i; the sender's "
                "own row stays with the sender: what the receiver shall know of it, send(h) says."
            )
    cls._checked = hooks
