"""Who hears whom at one instant, in one or many environments.

``sender -> receiver`` everywhere: ``edge_index[0]`` sends, ``edge_index[1]`` receives, ``dense[g, sender, receiver]``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import networkx as nx
import torch
from torch import Tensor

from gnncomm.errors import GraphError, ShapeError
from gnncomm.graph import checks, interop, views
from gnncomm.graph.build import BuiltGraph
from gnncomm.graph.stored import Layout
from gnncomm.host import may_ask

if TYPE_CHECKING:
    import torch_geometric.data

__all__ = ["CommGraph", "Layout"]


class CommGraph(BuiltGraph):
    """A batch of G communication graphs over N agents each; ``G = 1`` means the same graph in every environment.

    Exactly one native storage is set:

    * dense: ``adjacency`` bool ``[G, N, N]`` (sender, receiver)
    * regular: ``neighbor_index`` int64 ``[G, N, k]``, the senders that each receiver hears, and ``neighbor_present``
      bool ``[G, N, k]`` (None: all). Slots without an edge point at the receiver itself.
    * sparse: ``sparse_edges`` int64 ``[2, E]`` over nodes ``g * N + n``, sorted by (graph, receiver, sender)

    Edge features follow the native layout: ``attr`` is ``[G, N, N, D]``, ``[G, N, k, D]`` or ``[E, D]``, ``weight`` the
    same without D. Both are differentiable; their entries where there is no edge are 0. Equal sets of edges
    give bit-equal ``edge_index``, whatever they were built from. A self-loop is an edge like any other: nothing in
    the library adds one on its own, so an agent hears itself only where its graph says so.

    Build with ``from_dense``, ``from_neighbors``, ``from_edge_index``, ``from_edge_list``, ``from_networkx`` or
    ``from_data``, which check their input; the bare constructor trusts it.
    """

    def to_layout(self, layout: Layout | str) -> CommGraph:
        """The same graph stored in ``layout``."""
        target = Layout(layout)
        if target is self.layout:
            return self
        graph = CommGraph(
            self.num_agents,
            self.num_graphs,
            target,
            adjacency=self.dense if target is Layout.DENSE else None,
            neighbor_index=self.neighbors if target is Layout.REGULAR else None,
            neighbor_present=self.present if target is Layout.REGULAR else None,
            sparse_edges=self.edge_index if target is Layout.SPARSE else None,
            loops=self.loops,
        )
        if self.layout is Layout.REGULAR:
            graph.kept("_slots_of_receivers", lambda: (self.neighbors, self.present))
        if self.attr is None and self.weight is None:
            return graph
        return graph.with_features(self._features_in(graph, "attr"), self._features_in(graph, "weight"))

    def _features_in(self, graph: CommGraph, name: Literal["attr", "weight"]) -> Tensor | None:
        """``attr`` or ``weight`` at the places of ``graph``, the same edges in another layout."""
        value: Tensor | None = getattr(self, name)
        if value is None:
            return None
        if (self.layout, graph.layout) == (Layout.DENSE, Layout.REGULAR):
            return value[graph.endpoints()]
        if (self.layout, graph.layout) == (Layout.REGULAR, Layout.DENSE):
            return views.dense_features(value, self.neighbors, self.present)
        of_edge: Tensor | None = getattr(self, f"edge_{name}")
        assert of_edge is not None
        return of_edge.new_zeros(*graph.shape, *of_edge.shape[1:]).index_put(self._slots(graph.layout), of_edge)

    def with_features(self, attr: Tensor | None = None, weight: Tensor | None = None) -> CommGraph:
        """The same edges with these features, in the native layout, and no others.

        Values are trusted (a learned weight is checked by the loss); entries without an edge become 0.
        """
        checks.as_tensors(attr=attr, weight=weight)
        present = self.adjacency if self.layout is Layout.DENSE else self.neighbor_present
        lead = tuple(self.shape)
        for name, value, axes in (("attr", attr, len(lead) + 1), ("weight", weight, len(lead))):
            if value is not None and (value.dim() != axes or tuple(value.shape[: len(lead)]) != lead):
                raise GraphError(
                    f"{name} follows the {self.layout} layout: expected {[*lead, *['D'] * (axes - len(lead))]}, "
                    f"got {checks.shape_of(value)}."
                )
        if present is not None:
            attr, weight = views.zero_where_absent(attr, present), views.zero_where_absent(weight, present)
        return replace(self, attr=attr, weight=weight)

    def to(self, device: torch.device | str) -> CommGraph:
        """The same graph on ``device``."""
        if torch.device(device) == self.device:
            return self
        return self._map_storage(lambda x: x.to(device))

    def _map_storage(self, change: Callable[[Tensor], Tensor], num_graphs: int | None = None) -> CommGraph:
        def changed(value: Tensor | None) -> Tensor | None:
            return None if value is None else change(value)

        return CommGraph(
            self.num_agents,
            self.num_graphs if num_graphs is None else num_graphs,
            self.layout,
            changed(self.adjacency),
            changed(self.neighbor_index),
            changed(self.neighbor_present),
            changed(self.sparse_edges),
            changed(self.attr),
            changed(self.weight),
            self.loops,
        )

    def without_loops(self) -> CommGraph:
        """The same graph, known to have no self-loops; whoever calls knows."""
        return replace(self, loops=False)

    def expand(self, num_graphs: int) -> CommGraph:
        """``num_graphs`` graphs out of one; dense and regular layouts share memory."""
        checks.check_batch("num_graphs", num_graphs, self.num_graphs)
        if num_graphs == self.num_graphs:
            return self
        if self.num_graphs != 1:
            raise ShapeError(f"Only one graph can be spread: expected num_graphs={self.num_graphs}, got {num_graphs}.")
        if self.layout is not Layout.SPARSE:
            graph = self._map_storage(lambda x: x.expand(num_graphs, *x.shape[1:]), num_graphs)
            graph._remember_origin(self)
            return graph
        position_E = torch.arange(self.edge_index.shape[1], device=self.device).repeat(num_graphs)
        edges_2E = views.repeat_edges(self.edge_index, num_graphs, self.num_agents)
        return self._sparse_rows(position_E, edges_2E, num_graphs)

    def select(self, index: Tensor) -> CommGraph:
        """The graphs ``index`` (integers ``[S]`` or bool ``[G]``) of the batch, in this order.

        A graph that all environments share stays as it is.
        """
        checks.as_tensor("index", index)
        if self.num_graphs == 1:
            return self
        rows = index.nonzero().squeeze(-1) if index.dtype == torch.bool else index
        if self.layout is not Layout.SPARSE:
            return self._map_storage(lambda x: x.index_select(0, rows), len(rows))
        position_E, edges_2E = views.rows_of_graphs(self.edge_index, self.num_graphs, self.num_agents, rows)
        return self._sparse_rows(position_E, edges_2E, len(rows))

    def _sparse_rows(self, position_E: Tensor, edges_2E: Tensor, num_graphs: int) -> CommGraph:
        return CommGraph(
            self.num_agents,
            num_graphs,
            Layout.SPARSE,
            sparse_edges=edges_2E,
            attr=None if self.attr is None else self.attr[position_E],
            weight=None if self.weight is None else self.weight[position_E],
            loops=self.loops,
        )

    def keep(self, mask: Tensor) -> CommGraph:
        """The edges where ``mask`` is True.

        ``mask`` is bool in the native layout (``[G, N, N]``, ``[G, N, k]``, ``[E]``; entries without an edge are
        ignored). For a graph that all environments share it may have B rows (``[B, N, N]``, ``[B, N, k]``,
        ``[B, E]``), and the result has B graphs.
        """
        checks.as_tensor("mask", mask)
        if mask.dtype != torch.bool:
            raise GraphError(f"mask says which edges stay: expected bool, got {mask.dtype}.")
        if self.layout is Layout.SPARSE:
            return self._keep_sparse(mask)
        if mask.dim() != 3 or mask.shape[1:] != self.shape[1:]:
            raise ShapeError(
                f"mask follows the {self.layout} layout: expected {[f'{self.num_graphs} or B', *self.shape[1:]]}, "
                f"got {checks.shape_of(mask)}. graph.endpoints() has the axes."
            )
        checks.check_batch("mask", mask.shape[0], self.num_graphs)
        spread = self.expand(mask.shape[0]) if self.num_graphs == 1 else self
        if spread.adjacency is not None:
            kept = replace(spread, adjacency=spread.adjacency & mask)
        else:
            present = spread.present & mask
            index = views.own_where_absent(spread.neighbors, present)
            kept = replace(spread, neighbor_index=index, neighbor_present=present)
        return kept if self.attr is None and self.weight is None else kept.with_features(spread.attr, spread.weight)

    def _keep_sparse(self, mask: Tensor) -> CommGraph:
        edges = self.edge_index.shape[1]
        shared = self.num_graphs == 1 and mask.dim() == 2
        if mask.shape[-1:] != (edges,) or not (shared or mask.dim() == 1):
            rows = f"[{edges}] or [B, {edges}]" if self.num_graphs == 1 else f"[{edges}]"
            raise ShapeError(f"mask follows the sparse layout: expected {rows}, got {checks.shape_of(mask)}.")
        if not shared:
            position_E = mask.nonzero().squeeze(-1)
            return self._sparse_rows(position_E, self.edge_index[:, position_E], self.num_graphs)
        graph_E, position_E = mask.nonzero(as_tuple=True)
        return self._sparse_rows(position_E, self.edge_index[:, position_E] + graph_E * self.num_agents, mask.shape[0])

    def keep_where(
        self,
        sender: Tensor | None = None,
        receiver: Tensor | None = None,
        pair: Tensor | None = None,
        self_loops: bool = True,
    ) -> CommGraph:
        """The edges j -> i where ``sender[b, j]``, ``receiver[b, i]`` and ``pair[b, j, i]`` are True, in any layout.

        Args:
            sender: bool ``[B, N]``, or ``[1, N]`` for all graphs; None: everyone.
            receiver: the same.
            pair: bool ``[B, N, N]`` or ``[1, N, N]`` (sender, receiver).
            self_loops: what an agent says to itself stays as it is; False: it is judged as any other edge.

        Raises:
            ShapeError: masks of other agents. GraphError: not bool.
        """
        given = {"sender": sender, "receiver": receiver, "pair": pair}
        masks = {
            name: checks.as_agent_mask(name, mask, self.num_agents) for name, mask in given.items() if mask is not None
        }
        for name, mask in masks.items():
            checks.check_batch(name, len(mask), self.num_graphs)
        rows = max([self.num_graphs, *map(len, masks.values())])
        graph, j, i = self.endpoints(rows)
        chosen = torch.ones((), dtype=torch.bool, device=self.device)
        for name, mask in masks.items():
            place = {"sender": (graph, j), "receiver": (graph, i), "pair": (graph, j, i)}[name]
            chosen = chosen & mask.expand(rows, *mask.shape[1:])[place]
        chosen = chosen | (j == i) if self_loops else chosen
        return self.keep(chosen.expand(self.places(rows)))

    def among(self, alive: Tensor) -> CommGraph:
        """The edges between two living agents; ``alive`` is bool ``[B, N]``. Unchanged when all are alive."""
        checks.as_tensor("alive", alive)
        if alive.dtype != torch.bool or alive.dim() != 2 or alive.shape[1] != self.num_agents:
            raise ShapeError(
                f"alive marks agents: expected bool [B, {self.num_agents}], got {alive.dtype} {checks.shape_of(alive)}."
            )
        checks.check_same_device(self._storage, alive=alive)
        checks.check_batch("alive", alive.shape[0], self.num_graphs)
        if may_ask(alive.device) and bool(alive.all()):
            return self
        if alive.shape[0] == 1:
            alive = alive.expand(self.num_graphs, -1)
        graph, sender, receiver = self.endpoints(alive.shape[0])
        return self.keep(alive[graph, sender] & alive[graph, receiver])

    def only(self, on: Tensor) -> CommGraph:
        """The graphs of the environments where ``on`` (bool ``[B]``) is True; no edges elsewhere."""
        checks.as_tensor("on", on)
        if on.dtype != torch.bool or on.dim() != 1:
            raise ShapeError(f"on marks environments: expected bool [B], got {on.dtype} {checks.shape_of(on)}.")
        checks.check_same_device(self._storage, on=on)
        checks.check_batch("on", len(on), self.num_graphs)
        if may_ask(on.device) and bool(on.all()):
            return self
        if len(on) == 1:
            on = on.expand(self.num_graphs)
        graph, _, _ = self.endpoints(len(on))
        return self.keep(on[graph].expand(self.places(len(on))))

    def with_self_loops(self) -> CommGraph:
        """Every agent hears itself, too. New loops get weight 1; there is no rule for their ``attr`` (GraphError)."""
        if self.attr is not None:
            raise GraphError("A self-loop has no attr here: expected a graph without attr. Add loops before attr.")
        node_V = torch.arange(self.num_graphs * self.num_agents, device=self.device)
        loops_2V = torch.stack([node_V, node_V])
        known_V = torch.isin(
            views.edge_ids(loops_2V, self.num_agents), views.edge_ids(self.edge_index, self.num_agents)
        )
        edges_2E = torch.cat([self.edge_index, loops_2V[:, ~known_V]], dim=1)
        weight_E = self.edge_weight
        if weight_E is not None:
            weight_E = torch.cat([weight_E, weight_E.new_ones(edges_2E.shape[1] - len(weight_E))])
        graph = CommGraph.from_edge_index(edges_2E, self.num_agents, self.num_graphs, weight=weight_E, validate=False)
        return graph.to_layout(self.layout)

    def __or__(self, other: CommGraph) -> CommGraph:
        """Edges of either graph. Both must be without features: there is no rule for an edge that has two weights."""
        mine, theirs = self._matched(other)
        for graph in (mine, theirs):
            if graph.attr is not None or graph.weight is not None:
                raise GraphError("a | b has no rule for features: expected none. Use with_features() to drop them.")
        if Layout.DENSE in (mine.layout, theirs.layout):
            either, loops = mine.dense | theirs.dense, mine.loops or theirs.loops
            return CommGraph(self.num_agents, mine.num_graphs, Layout.DENSE, adjacency=either, loops=loops)
        edges = torch.cat([mine.edge_index, theirs.edge_index], dim=1)
        union = CommGraph.from_edge_index(edges, self.num_agents, mine.num_graphs, coalesce=True, validate=False)
        return union.to_layout(mine.layout if mine.layout is theirs.layout else Layout.SPARSE)

    def __and__(self, other: CommGraph) -> CommGraph:
        """Edges of both graphs, in the layout of ``self`` and with its features."""
        mine, theirs = self._matched(other)
        graph, sender, receiver = mine.endpoints()
        if theirs.layout is Layout.DENSE:
            return mine.keep(theirs.dense[graph, sender, receiver])
        ids = (graph * self.num_agents + receiver) * self.num_agents + sender
        return mine.keep(torch.isin(ids, views.edge_ids(theirs.edge_index, self.num_agents)))

    def __invert__(self) -> CommGraph:
        """The edges between different agents that are missing here; dense, without features."""
        own_NN = torch.eye(self.num_agents, dtype=torch.bool, device=self.device)
        return CommGraph.from_dense(~(self.dense | own_NN), validate=False).without_loops()

    def _matched(self, other: CommGraph) -> tuple[CommGraph, CommGraph]:
        """Both with the same number of graphs."""
        if not isinstance(other, CommGraph):
            raise GraphError(f"Graphs combine with graphs: expected a CommGraph, got {type(other).__name__}.")
        if other.num_agents != self.num_agents:
            raise GraphError(f"Graphs over other agents: expected {self.num_agents} agents, got {other.num_agents}.")
        checks.check_same_device(self._storage, other=other._storage)
        checks.check_batch("The other graph", other.num_graphs, self.num_graphs)
        count = other.num_graphs if self.num_graphs == 1 else self.num_graphs
        return self.expand(count), other.expand(count)

    def reach(self, hops: int) -> Tensor:
        """``[G, N, N]`` bool: who can influence whom within ``hops`` rounds (sender, receiver), itself included."""
        if hops < 0:
            raise GraphError(f"hops counts rounds: expected hops >= 0, got {hops}.")
        return views.reach_of_dense(self.dense, hops)

    def to_networkx(self, graph: int = 0, agents: Sequence[Hashable] | None = None) -> nx.DiGraph:
        """Graph number ``graph`` as a DiGraph with the nodes ``0 .. N-1``, or ``agents``, in this order.

        Edges carry ``weight`` (float) and ``attr`` (list) where the graph has them.
        """
        if not 0 <= graph < self.num_graphs:
            raise GraphError(f"No graph {graph}: expected 0 <= graph < {self.num_graphs}.")
        one = self.select(torch.tensor([graph], device=self.device))
        return interop.networkx_of_edges(one.edge_index, self.num_agents, one.edge_attr, one.edge_weight, agents)

    def to_data(self, x: Tensor | None = None) -> torch_geometric.data.Batch:
        """A torch_geometric Batch of the G graphs with ``edge_index``, ``edge_attr``, ``edge_weight``.

        ``x [G, N, F]`` becomes the node features; a graph that all environments share is repeated for each row of x.
        """
        from torch_geometric.data import Batch, Data

        checks.as_tensors(x=x)
        if x is not None and (x.dim() != 3 or x.shape[1] != self.num_agents):
            raise ShapeError(f"x belongs to agents: expected [G, {self.num_agents}, F], got {checks.shape_of(x)}.")
        spread = self if x is None else self.expand(x.shape[0])
        items = []
        for number in range(spread.num_graphs):
            one = spread.select(torch.tensor([number], device=self.device))
            item = Data(x=None if x is None else x[number], edge_index=one.edge_index, num_nodes=self.num_agents)
            if one.attr is not None:
                item.edge_attr = one.edge_attr
            if one.weight is not None:
                item.edge_weight = one.edge_weight
            items.append(item)
        return Batch.from_data_list(items)
