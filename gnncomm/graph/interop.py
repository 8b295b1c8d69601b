"""networkx in and out, torch_geometric out: agents keep their numbers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from numbers import Real
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from gnncomm.errors import GraphError


def node_order(graph: nx.Graph, agents: Sequence[Hashable] | None) -> list[Hashable]:
    """The node that is agent 0, 1, ...: ``agents``, or ``0 .. N-1`` when the graph's nodes are exactly that.

    networkx lists nodes in the order in which edges named them, so taking that order would swap agents silently.
    """
    nodes = list(graph.nodes)
    if agents is None:
        if nodes == list(range(len(nodes))):
            return nodes
        raise GraphError(
            f"The order of agents is unclear: expected nodes 0 .. {len(nodes) - 1} in this order, got {_short(nodes)}. "
            "Say which node is agent 0, 1, ... with agents=[...], for example agents=sorted(graph)."
        )
    order = list(agents)
    if len(set(order)) != len(order):
        raise GraphError(f"agents names a node twice: expected each of {_short(nodes)} once, got {_short(order)}.")
    if set(order) != set(nodes):
        odd = [node for node in order if node not in graph] or [node for node in nodes if node not in set(order)]
        raise GraphError(
            f"agents lists every node once: expected an order of {_short(nodes)}, got {_short(order)}; "
            f"{odd[0]!r} is on one side only."
        )
    return order


def edges_of_networkx(
    graph: nx.Graph, agents: Sequence[Hashable] | None, weight: str | None
) -> tuple[Tensor, int, Tensor | None]:
    """Edges ``[2, E]``, number of agents and weights ``[E]`` (or None) of a Graph or DiGraph."""
    if not isinstance(graph, nx.Graph):
        raise GraphError(f"Expected a networkx Graph or DiGraph, got {type(graph).__name__}.")
    if graph.is_multigraph():
        raise GraphError(
            f"Parallel edges have no meaning here: expected Graph or DiGraph, got {type(graph).__name__}. "
            "Use nx.DiGraph(graph), which merges them."
        )
    order = node_order(graph, agents)
    number = {node: place for place, node in enumerate(order)}
    pairs = [(number[s], number[r], data) for s, r, data in graph.edges(data=True)]
    if not graph.is_directed():
        pairs += [(r, s, data) for s, r, data in pairs if s != r]
    edges_2E = torch.tensor([pair[:2] for pair in pairs], dtype=torch.int64).reshape(-1, 2).t()
    if weight is None:
        return edges_2E, len(order), None
    strengths = [_strength(data, weight, f"Edge {order[s]!r} -> {order[r]!r}") for s, r, data in pairs]
    return edges_2E, len(order), torch.tensor(strengths, dtype=torch.float32)


def _strength(data: dict[str, Any], weight: str, edge: str) -> float:
    if weight not in data:
        raise GraphError(f"{edge} has no weight: expected a number under {weight!r}, got {data}.")
    value = data[weight]
    if isinstance(value, Real):
        return float(value)
    raise GraphError(
        f"{edge} has a weight that is no number but {type(value).__name__} ({value!r}): expected a number under "
        f"{weight!r}. Use float(...)."
    )


def networkx_of_edges(
    edges_2E: Tensor,
    num_agents: int,
    attr_ED: Tensor | None,
    weight_E: Tensor | None,
    agents: Sequence[Hashable] | None,
) -> nx.DiGraph:
    """A DiGraph whose nodes are ``agents`` (``0 .. N-1``) in this order; edges carry ``weight`` and ``attr``."""
    order: list[Hashable] = list(range(num_agents)) if agents is None else list(agents)
    if len(order) != num_agents or len(set(order)) != num_agents:
        raise GraphError(f"agents names the agents: expected {num_agents} different names, got {_short(order)}.")
    graph = nx.DiGraph()
    graph.add_nodes_from(order)
    attrs = None if attr_ED is None else attr_ED.tolist()
    weights = None if weight_E is None else weight_E.tolist()
    for place, (sender, receiver) in enumerate(edges_2E.t().tolist()):
        data: dict[str, Any] = {}
        if attrs is not None:
            data["attr"] = attrs[place]
        if weights is not None:
            data["weight"] = weights[place]
        graph.add_edge(order[sender], order[receiver], **data)
    return graph


def edges_of_data(data: Any) -> tuple[Tensor, int, int, Tensor | None, Tensor | None]:
    """``edge_index``, num_agents, num_graphs, ``edge_attr`` and ``edge_weight`` of a torch_geometric Data or Batch."""
    if not hasattr(data, "num_nodes") or not hasattr(data, "edge_index"):
        raise GraphError(f"Expected a torch_geometric Data or Batch with edge_index, got {type(data).__name__}.")
    nodes = int(data.num_nodes or 0)
    batch_V: Tensor | None = getattr(data, "batch", None)
    if batch_V is None:
        num_agents, num_graphs = nodes, 1
    else:
        if bool((batch_V[1:] < batch_V[:-1]).any()):
            raise GraphError("batch is unsorted: expected the nodes of each graph in one block, 0 0 .. 1 1 .. .")
        sizes = torch.bincount(batch_V).tolist()
        if len(set(sizes)) > 1:
            raise GraphError(
                f"The graphs of a batch share their number of agents: expected one size, got {_short(sizes)}. "
                "CommGraph.from_batch(data) fills them up with agents that have no edges."
            )
        num_agents, num_graphs = (sizes[0], len(sizes)) if sizes else (0, 0)
    edges = data.edge_index if data.edge_index is not None else torch.empty(2, 0, dtype=torch.int64)
    return edges, num_agents, num_graphs, getattr(data, "edge_attr", None), getattr(data, "edge_weight", None)


def _short(items: Sequence[object]) -> str:
    """The first few items, for messages."""
    text = ", ".join(repr(item) for item in items[:8])
    return f"[{text}, ...]" if len(items) > 8 else f"[{text}]"
