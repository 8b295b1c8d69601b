"""Graphs from outside: everything is checked and put in canonical order here."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Self

import networkx as nx
import torch
from torch import Tensor

from gnncomm.errors import GraphError
from gnncomm.graph import checks, interop, padding, views
from gnncomm.graph.stored import Layout, StoredGraph

if TYPE_CHECKING:
    import torch_geometric.data


class BuiltGraph(StoredGraph):
    """The constructors. ``validate=False`` skips the checks that read values, for input that is right by design."""

    @classmethod
    def from_dense(
        cls, adjacency: Tensor, attr: Tensor | None = None, weight: Tensor | None = None, validate: bool = True
    ) -> Self:
        """From ``[G, N, N]`` or ``[N, N]`` (sender, receiver), bool or 0 / 1; features in the same axes.

        Raises:
            GraphError: not square, values other than 0 and 1, weights at edges that are negative or not finite.
            DeviceError: tensors on different devices.
        """
        checks.as_tensors(adjacency=adjacency, attr=attr, weight=weight)
        checks.check_values("adjacency", adjacency)
        if adjacency.dim() not in (2, 3) or adjacency.shape[-1] != adjacency.shape[-2]:
            raise GraphError(
                f"adjacency is square: expected [N, N] or [G, N, N], got {checks.shape_of(adjacency)}. "
                "Axes are (sender, receiver)."
            )
        checks.check_counts(adjacency.shape[-1], adjacency.shape[0])
        checks.check_same_device(adjacency, attr=attr, weight=weight)
        edges = checks.as_bool(adjacency, "adjacency") if validate else adjacency.bool()
        if validate:
            checks.check_features(attr, weight, tuple(edges.shape), edges)
        if edges.dim() == 2:
            edges, attr, weight = edges[None], _lead(attr), _lead(weight)
        attr, weight = views.zero_where_absent(attr, edges), views.zero_where_absent(weight, edges)
        return cls(edges.shape[1], edges.shape[0], Layout.DENSE, adjacency=edges, attr=attr, weight=weight)

    @classmethod
    def from_neighbors(
        cls,
        neighbors: Tensor,
        present: Tensor | None = None,
        attr: Tensor | None = None,
        weight: Tensor | None = None,
        validate: bool = True,
    ) -> Self:
        """From the senders ``[G, N, k]`` or ``[N, k]`` that each receiver hears; ``present`` marks the real ones.

        Slots are put in ascending order of senders, features with them.

        Raises:
            GraphError: senders that are no agents, an edge given twice, features of the wrong shape or value.
            DeviceError: tensors on different devices.
        """
        checks.as_tensors(neighbors=neighbors, present=present, attr=attr, weight=weight)
        checks.check_values("neighbors", neighbors)
        if neighbors.dim() not in (2, 3):
            raise GraphError(
                f"neighbors lists senders per receiver: expected [N, k] or [G, N, k], got {checks.shape_of(neighbors)}."
            )
        checks.check_counts(neighbors.shape[-2], neighbors.shape[0])
        checks.check_same_device(neighbors, present=present, attr=attr, weight=weight)
        index = checks.as_indices(neighbors, "neighbors")
        if present is not None:
            present = checks.as_present(present, index)
        if validate:
            checks.check_senders(index, present)
            checks.check_features(attr, weight, tuple(index.shape), present)
        if index.dim() == 2:
            index, present, attr, weight = index[None], _lead(present), _lead(attr), _lead(weight)
        graph = cls._from_slots(index, present, attr, weight)
        if validate:
            checks.check_no_sender_twice(graph.neighbors, graph.neighbor_present)
        return graph

    @classmethod
    def _from_slots(
        cls, index_GNk: Tensor, present_GNk: Tensor | None, attr: Tensor | None, weight: Tensor | None
    ) -> Self:
        num_graphs, num_agents, _ = index_GNk.shape
        rank_GNk = index_GNk if present_GNk is None else index_GNk.masked_fill(~present_GNk, num_agents)
        order_GNk = rank_GNk.argsort(dim=-1, stable=True)
        index_GNk = index_GNk.gather(-1, order_GNk)
        if attr is not None:
            attr = attr.gather(-2, order_GNk.unsqueeze(-1).expand_as(attr))
        if weight is not None:
            weight = weight.gather(-1, order_GNk)
        if present_GNk is not None:
            present_GNk = present_GNk.gather(-1, order_GNk)
            index_GNk = views.own_where_absent(index_GNk, present_GNk)
            attr, weight = views.zero_where_absent(attr, present_GNk), views.zero_where_absent(weight, present_GNk)
        return cls(
            num_agents,
            num_graphs,
            Layout.REGULAR,
            neighbor_index=index_GNk,
            neighbor_present=present_GNk,
            attr=attr,
            weight=weight,
        )

    @classmethod
    def from_edge_index(
        cls,
        edge_index: Tensor,
        num_agents: int,
        num_graphs: int = 1,
        attr: Tensor | None = None,
        weight: Tensor | None = None,
        coalesce: bool = False,
        validate: bool = True,
    ) -> Self:
        """From ``[2, E]`` (senders, receivers) over nodes ``g * N + n``, in any order, as torch_geometric has it.

        ``coalesce=True`` keeps one of repeated edges; there is no rule for their features (GraphError). A transposed
        ``[2, 2]`` cannot be told from a right one: use ``from_edge_list`` for pairs.

        Raises:
            GraphError: wrong shape or type, ends that are no agents or in two graphs, an edge given twice, features of
                the wrong shape or value.
            DeviceError: tensors on different devices.
        """
        checks.as_tensors(edge_index=edge_index, attr=attr, weight=weight)
        checks.check_values("edge_index", edge_index)
        checks.check_counts(num_agents, num_graphs)
        checks.check_edge_shape(edge_index)
        checks.check_same_device(edge_index, attr=attr, weight=weight)
        edges_2E = checks.as_indices(edge_index, "edge_index")
        if validate:
            checks.check_edges_in_range(edges_2E, num_agents, num_graphs)
            checks.check_features(attr, weight, (edges_2E.shape[1],), None)
        ids_E, order_E = views.edge_ids(edges_2E, num_agents).sort(stable=True)
        edges_2E = edges_2E[:, order_E]
        if coalesce and attr is None and weight is None:
            edges_2E = views.without_repeats(edges_2E, num_agents)
        elif validate:
            checks.check_no_duplicates(ids_E, edges_2E)
        return cls(
            num_agents,
            num_graphs,
            Layout.SPARSE,
            sparse_edges=edges_2E,
            attr=None if attr is None else attr[order_E],
            weight=None if weight is None else weight[order_E],
        )

    @classmethod
    def from_edge_list(cls, edges: Sequence[tuple[int, int]], num_agents: int) -> Self:
        """From pairs ``(sender, receiver)``. Raises GraphError as ``from_edge_index`` does."""
        pairs = []
        for place, edge in enumerate(edges):
            try:
                sender, receiver = map(operator.index, edge)
            except (TypeError, ValueError):
                raise GraphError(f"Edge {place} is no pair: expected (sender, receiver), got {edge!r}.") from None
            pairs.append((sender, receiver))
        return cls.from_edge_index(torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t(), num_agents)

    @classmethod
    def from_networkx(
        cls, graph: nx.Graph, agents: Sequence[Hashable] | None = None, weight: str | None = None
    ) -> Self:
        """From a networkx Graph (each edge in both directions) or DiGraph.

        Node ``agents[i]`` becomes agent i. Without ``agents`` the nodes must be exactly ``0 .. N-1`` in this order:
        networkx keeps insertion order, so anything else would renumber agents silently. ``weight`` names the edge
        attribute to read.

        Raises:
            GraphError: the order is unclear, parallel edges, an edge without a weight that is a finite number >= 0.
        """
        edges_2E, num_agents, weight_E = interop.edges_of_networkx(graph, agents, weight)
        return cls.from_edge_index(edges_2E, num_agents, weight=weight_E)

    @classmethod
    def from_data(cls, data: torch_geometric.data.Data) -> Self:
        """From a torch_geometric Data or Batch with ``edge_index`` and, where given, ``edge_attr``, ``edge_weight``.

        Raises:
            GraphError: an unsorted ``batch``, graphs of different sizes, and all that ``from_edge_index`` refuses.
        """
        edges, num_agents, num_graphs, attr, weight = interop.edges_of_data(data)
        return cls.from_edge_index(edges, num_agents, num_graphs, attr, weight)

    @classmethod
    def from_batch(cls, data: torch_geometric.data.Data) -> tuple[Self, Tensor, Tensor]:
        """From a torch_geometric Batch of graphs of any sizes: ``(graph, x [G, N, F], mask [G, N])``.

        N is that of the largest graph. Others are filled up with agents that have no edges and rows of zeros, where
        ``mask`` is False; ``gnncomm.graph.unpad(rows, mask)`` gives the rows of the batch again. So a ``DataLoader``
        feeds layers in their dense form.

        Raises:
            GraphError: an unsorted ``batch``, no node features ``x``, and all that ``from_edge_index`` refuses.
        """
        checks.as_tensors(x=data.x, edge_index=data.edge_index)
        if data.x is None:
            raise GraphError("Rows are filled up, too: expected a Batch with x [V, F], got none. Set data.x.")
        place_V, mask_GN = padding.places_of_nodes(data)
        num_graphs, num_agents = mask_GN.shape
        node_V = mask_GN.nonzero()[:, 0] * num_agents + place_V
        edges_2E = node_V[data.edge_index]
        features = getattr(data, "edge_attr", None), getattr(data, "edge_weight", None)
        graph = cls.from_edge_index(edges_2E, num_agents, num_graphs, *features)
        return graph, padding.padded(data.x, mask_GN), mask_GN


def _lead(value: Tensor | None) -> Tensor | None:
    """With a leading axis of 1."""
    return None if value is None else value.unsqueeze(0)
