"""What a layer is given from outside, told as expected, got, do: edges of plain PyG, and hooks of a user's class."""

from __future__ import annotations

from typing import Any

import networkx as nx
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import OptTensor

from gnncomm.errors import ConfigError, DeviceError, GraphError
from gnncomm.graph import checks
from gnncomm.graph.tracing import at_hand

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


def check_edges(layer: MessagePassing, h: Tensor, graph: Any, attr: OptTensor, weight: OptTensor) -> Tensor:
    """``edge_index [2, E]`` int64 over the rows ``h [V, F]``; the values of features are trusted, as PyG does.

    Raises:
        GraphError: something else, edges to rows that are not there, features of other edges.
        DeviceError: on another device than the rows.
    """
    if not isinstance(graph, Tensor):
        name = type(layer).__name__
        raise GraphError(
            f"{name} expected edge_index [2, E] or a CommGraph, got {type(graph).__name__}.{_remedy(graph)}"
        )
    checks.as_tensor("edge_index", graph)
    checks.check_edge_shape(graph)
    edges = checks.as_indices(graph, "edge_index") if graph.dtype != torch.int64 else graph
    if edges.device != h.device:
        raise DeviceError(f"h is on {h.device} but edge_index on {edges.device}: move one with .to(device).")
    if h.dim() != 2:
        raise GraphError(f"edge_index is over rows: expected h [V, F], got {tuple(h.shape)}. Use h.flatten(0, -2).")
    if at_hand(h, edges):
        checks.check_edges_in_range(edges, h.shape[0], 1)
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


def _remedy(graph: object) -> str:
    if isinstance(graph, nx.Graph):
        return " Use CommGraph.from_networkx(graph)."
    if isinstance(graph, Data):
        return " Use data.edge_index, or CommGraph.from_data(data)."
    return " Use torch.as_tensor(edges), or a topology: gnncomm.topology.resolve('ring')(alive)."


def check_hooks(layer: MessagePassing) -> None:
    """Every argument that the hooks of ``layer`` ask for is one that its messages are passed with.

    Nothing is asked of a class whose source is not at hand (typed into a console).

    Raises:
        ConfigError: names the hook and the argument; PyG would fail with a NameError of code that it wrote.
    """
    try:
        passed = set(layer._get_propagate_signature().param_dict)
    except OSError:
        return
    for hook in ("message", "aggregate", "update"):
        for name in layer.inspector.get_param_names(hook):
            stem = name[:-2] if name.endswith(("_i", "_j")) else name
            if name in _ALWAYS or stem in passed:
                continue
            known = [f"{each}_j" if each == "msg" else f"{each}_i" if each == "h" else each for each in sorted(passed)]
            raise ConfigError(
                f"{type(layer).__name__}.{hook} asks for {name!r}, which no message is passed with: expected of "
                f"{', '.join(known)}. What was sent is msg_j, what listen says of the receiver is h_i."
            )
