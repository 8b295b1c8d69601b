"""How one batch of graphs lies in memory, and what can be read off it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

import torch
from torch import Tensor

from gnncomm.graph import checks, views
from gnncomm.host import is_tracing

T = TypeVar("T")


class Layout(StrEnum):
    """How edges lie in memory. The meaning of a graph does not depend on it."""

    DENSE = "dense"
    REGULAR = "regular"
    SPARSE = "sparse"


class _View(Generic[T]):
    """What can be read off a graph, kept in its ``__dict__`` once it was.

    Not ``functools.cached_property``, whose lock torch cannot compile.
    """

    def __init__(self, compute: Callable[[StoredGraph], T]) -> None:
        self.compute, self.name, self.__doc__ = compute, compute.__name__, compute.__doc__

    def __get__(self, graph: StoredGraph, owner: type | None = None) -> T:
        return graph.kept(self.name, lambda: self.compute(graph))


@dataclass(frozen=True, eq=False, repr=False)
class StoredGraph:
    """The tensors behind ``CommGraph``, where they are explained, and their views in the other layouts."""

    num_agents: int
    num_graphs: int
    layout: Layout
    adjacency: Tensor | None = None
    neighbor_index: Tensor | None = None
    neighbor_present: Tensor | None = None
    sparse_edges: Tensor | None = None
    attr: Tensor | None = None
    weight: Tensor | None = None
    loops: bool = True
    """Whether an agent may hear itself; False where it is known that none does."""

    def kept(self, name: str, compute: Callable[[], T]) -> T:
        """``compute()``, which depends on the edges alone, done once for this graph and ``name``."""
        if is_tracing():
            return compute()
        if name not in self.__dict__:
            # A static graph may be looked at first in inference mode and later in training, where autograd refuses
            # to save tensors that were made in inference mode.
            with torch.inference_mode(False):
                self.__dict__[name] = compute()
        value: T = self.__dict__[name]
        return value

    def shares(self, dtype: torch.dtype) -> Tensor:
        """``[G, N, N]`` (receiver, sender): 1 over the in-degree where there is an edge, else 0; rows are means."""

        def compute() -> Tensor:
            hears_GNN = self.ones(dtype)
            return hears_GNN / hears_GNN.sum(-1, keepdim=True).clamp(min=1.0)

        return self.kept(f"shares {dtype}", compute)

    def ones(self, dtype: torch.dtype) -> Tensor:
        """``[G, N, N]`` (receiver, sender): 1 where there is an edge, else 0; rows are sums."""
        return self.kept(f"ones {dtype}", lambda: self.dense.transpose(1, 2).to(dtype))

    @_View
    def dense(self) -> Tensor:
        """``[G, N, N]`` bool (sender, receiver)."""
        if self.adjacency is not None:
            return self.adjacency
        pairs = self.num_graphs * self.num_agents**2
        checks.check_memory(f"A dense graph of {self.num_agents} agents", pairs, "Keep the layout sparse or regular.")
        if self.neighbor_index is not None:
            return views.dense_of_neighbors(self.neighbor_index, self.neighbor_present)
        return views.dense_of_edges(self.edge_index, self.num_graphs, self.num_agents)

    @_View
    def edge_index(self) -> Tensor:
        """``[2, E]`` int64 over nodes ``g * N + n``, sorted by (graph, receiver, sender)."""
        if self.sparse_edges is not None:
            return self.sparse_edges
        if "_origin" in self.__dict__:
            return views.repeat_edges(self.__dict__["_origin"].edge_index, self.num_graphs, self.num_agents)
        if self.neighbor_index is not None:
            return views.edges_of_neighbors(self.neighbor_index, self.neighbor_present)
        assert self.adjacency is not None
        return views.edges_of_dense(self.adjacency)

    @_View
    def _slots_of_receivers(self) -> tuple[Tensor, Tensor]:
        if self.neighbor_index is not None:
            index = self.neighbor_index
            present = self.neighbor_present
            return index, torch.ones_like(index, dtype=torch.bool) if present is None else present
        if self.adjacency is not None:
            return views.neighbors_of_dense(self.adjacency)
        return views.neighbors_of_edges(self.edge_index, self.num_graphs, self.num_agents)

    @property
    def neighbors(self) -> Tensor:
        """``[G, N, k]`` int64: the senders that each receiver hears; meaningful where ``present``."""
        return self._slots_of_receivers[0]

    @property
    def present(self) -> Tensor:
        """``[G, N, k]`` bool: the slot of ``neighbors`` holds an edge."""
        return self._slots_of_receivers[1]

    @property
    def mask(self) -> Tensor:
        """bool that broadcasts to ``shape``: the places of the native layout that hold an edge."""
        if self.layout is Layout.SPARSE:
            return torch.ones((), dtype=torch.bool, device=self.device)
        return self.dense if self.layout is Layout.DENSE else self.present

    @property
    def edge_attr(self) -> Tensor | None:
        """``[E, D]`` in the order of ``edge_index``."""
        return None if self.attr is None else self.attr[self._slots(self.layout)]

    @property
    def edge_weight(self) -> Tensor | None:
        """``[E]`` in the order of ``edge_index``."""
        return None if self.weight is None else self.weight[self._slots(self.layout)]

    @_View
    def batch(self) -> Tensor:
        """``[E]`` int64: the graph of each edge."""
        return self.edge_index[1] // self.num_agents

    @_View
    def in_degree(self) -> Tensor:
        """``[G, N]`` int64: how many agents (itself included where there is a self-loop) each agent hears."""
        if self.layout is Layout.REGULAR:
            return self.present.sum(-1)
        if self.layout is Layout.DENSE:
            return self.dense.sum(1)
        return self._count(self.edge_index[1])

    @_View
    def out_degree(self) -> Tensor:
        """``[G, N]`` int64: how many agents hear each agent."""
        return self.dense.sum(2) if self.layout is Layout.DENSE else self._count(self.edge_index[0])

    @_View
    def num_edges(self) -> int:
        """Edges in all stored graphs together; a graph shared by all environments counts once."""
        return int(self.in_degree.sum())

    @_View
    def shifts(self) -> tuple[int, ...] | None:
        """The offsets o if agent i hears exactly i + o modulo N, in every graph (circulant graphs), else None.

        Known for graphs that all environments share only.
        """
        if self.num_graphs != 1 or self.num_edges == 0:
            return None
        sender_E, receiver_E = self.edge_index
        degree = self.num_edges // self.num_agents
        if degree * self.num_agents != self.num_edges or bool((self.in_degree != degree).any()):
            return None
        offset_Nk = ((sender_E - receiver_E) % self.num_agents).view(self.num_agents, degree).sort(1).values
        return tuple(offset_Nk[0].tolist()) if bool((offset_Nk == offset_Nk[0]).all()) else None

    @property
    def device(self) -> torch.device:
        """Where the edges are."""
        return self._storage.device

    @property
    def shape(self) -> torch.Size:
        """The axes of the native layout: ``[G, N, N]``, ``[G, N, k]`` or ``[E]``."""
        return self._storage.shape[1:] if self.layout is Layout.SPARSE else self._storage.shape

    @property
    def _storage(self) -> Tensor:
        for tensor in (self.adjacency, self.neighbor_index, self.sparse_edges):
            if tensor is not None:
                return tensor
        raise AssertionError("a graph without storage")

    def _remember_origin(self, one: StoredGraph) -> None:
        """This is ``one`` graph spread over environments, whose edges are cheaper to repeat than to find again.

        Not a field, so that copies with other edges (``replace``) do not inherit it.
        """
        self.__dict__["_origin"] = one

    def _count(self, nodes_E: Tensor) -> Tensor:
        shape = (self.num_graphs, self.num_agents)
        return torch.bincount(nodes_E, minlength=self.num_graphs * self.num_agents).view(shape)

    def _slots(self, layout: Layout) -> tuple[Tensor, ...]:
        """Where ``layout`` keeps the features of each edge of ``edge_index``."""
        if layout is Layout.REGULAR:
            return self.present.nonzero(as_tuple=True)
        if layout is Layout.SPARSE:
            return (torch.arange(self.edge_index.shape[1], device=self.device),)
        sender_E, receiver_E = self.edge_index % self.num_agents
        return self.batch, sender_E, receiver_E

    def places(self, num_graphs: int) -> torch.Size:
        """What ``endpoints(num_graphs)`` broadcast to: the shape of a decision about every edge."""
        if self.layout is Layout.SPARSE:
            return torch.Size((num_graphs, *self.shape)) if self.num_graphs == 1 else self.shape
        return torch.Size((num_graphs, *self.shape[1:]))

    def endpoints(self, num_graphs: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Graph, sender and receiver (agents ``0 .. N-1``) of each place of the native layout, as int64 that broadcast.

        Dense: ``[G, 1, 1]``, ``[1, N, 1]``, ``[1, 1, N]``; regular: ``[G, 1, 1]``, ``[G, N, k]``, ``[1, N, 1]``;
        sparse: ``[E]`` each. ``num_graphs = B`` spreads a graph that all environments share: G becomes B, and in the
        sparse layout the three broadcast to ``[B, E]``. The result indexes per-environment data (``key[graph]``) and
        has the shape of the mask that ``keep`` takes.
        """
        if num_graphs is not None:
            checks.check_batch("num_graphs", num_graphs, self.num_graphs)
        spread = self.num_graphs if num_graphs is None or self.num_graphs != 1 else num_graphs
        graph_G11 = torch.arange(spread, device=self.device).view(-1, 1, 1)
        agent_N = torch.arange(self.num_agents, device=self.device)
        if self.layout is Layout.DENSE:
            return graph_G11, agent_N.view(1, -1, 1), agent_N.view(1, 1, -1)
        if self.layout is Layout.REGULAR:
            return graph_G11, self.neighbors, agent_N.view(1, -1, 1)
        sender_E, receiver_E = self.edge_index % self.num_agents
        if num_graphs is not None and self.num_graphs == 1:
            return graph_G11.view(-1, 1), sender_E, receiver_E
        return self.batch, sender_E, receiver_E

    def __repr__(self) -> str:
        shared = " (shared by all environments)" if self.num_graphs == 1 else ""
        features = "".join(
            f", {name}={checks.shape_of(value)}"
            for name, value in (("attr", self.attr), ("weight", self.weight))
            if value is not None
        )
        return (
            f"CommGraph({self.num_graphs} graph(s){shared} of {self.num_agents} agents, "
            f"{self.num_edges} edges, {self.layout}{features})"
        )
