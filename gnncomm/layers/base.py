"""What every communication layer has in common: send | wire | receive."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import OptPairTensor, OptTensor  # noqa: F401  PyG compiles `propagate` with them

from gnncomm import deprecated
from gnncomm.errors import ConfigError, DeviceError, DtypeError, GraphError, ShapeError
from gnncomm.graph import CommGraph, Layout, given
from gnncomm.graph.checks import as_tensor
from gnncomm.host import at_hand
from gnncomm.layers.certain import is_untouched, record, remember, speaks_for
from gnncomm.layers.fused import of_finite
from gnncomm.layers.generated import forget_namesake, name_unions, remove_file
from gnncomm.layers.inputs import check_edges, check_hooks, check_pair, edges_over
from gnncomm.layers.lazy import lazily, settle, width_of
from gnncomm.layers.weighing import Attention, attention_of, like
from gnncomm.registry import Remembers

PAIRS_PER_EDGE = 64
"""Up to so many pairs of agents for each edge, dense forms are faster; docs/speed.md has the measurements."""


class CommLayer(Remembers, MessagePassing):
    r"""Base of all communication layers: two halves with a wire between them.

    .. code-block:: text

        m_j  = send(h_j)                          own row only
        q_i  = query(h_i)                        own row only
        c_i  = aggregate_j message(m_j, q_i)      over the edges j -> i that the wire delivered
        h'_i = combine(h_i, c_i)                  own row and its inbox

    Nothing else may cross rows. What is sent is passed to PyG's ``propagate`` as ``msg=(m, None)`` and the receiver's
    state as ``h=(None, q)``: a hook that asks for the sender's private ``h_j`` gets ``None``.

    A layer never adds self-loops: a self-loop in the graph is an edge like any other. An empty inbox aggregates to
    zeros. Subclasses write ``send`` and ``message`` (and, where a fused form is faster, ``dense_inbox``); a hook must
    be annotated in full, since PyG compiles ``propagate`` from the text of the class.

    Args:
        in_channels: F, width of a row before; -1 takes that of the first rows.
        out_channels: F', width of a row after.
        msg_channels: M, numbers on the wire per message.
        aggr: how PyG aggregates the messages of an inbox.

    Shapes:
        h ``[*lead, N, F]`` with a ``CommGraph`` of prod(lead) graphs (or of 1, the same for all); returns
        ``[*lead, N, F']``. Or, as in any PyG model, with an ``edge_index [2, E]``: ``[V, F]`` returns ``[V, F']``, a
        pair ``([S, F], [R, F])`` of senders' and receivers' rows returns ``[R, F']``, and ``[*lead, N, F]`` is one
        graph of N nodes with many rows for each, the same edges for all.

    Raises:
        ShapeError, DtypeError, DeviceError, GraphError: the row width, the number of agents or graphs, the type or
            the device of ``h`` does not fit the layer or the graph.
        ConfigError: features of edges that the layer does not read, attention of a layer that has none.
    """

    _unsettled: tuple[str, dict[str, Any]] | None = None
    edge_dim: int = 0
    """D, width of the features of edges that it reads."""

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        deprecated.overridden(cls, listen="query")
        if "__init__" in vars(cls):
            cls.__init__ = lazily(cls.__init__)  # type: ignore[method-assign]
        name_unions(cls)
        record(cls)

    @lazily
    def __init__(self, in_channels: int, out_channels: int, msg_channels: int, aggr: str = "sum") -> None:
        for name, value in (("in", in_channels), ("out", out_channels), ("msg", msg_channels)):
            if value < 1:
                raise ConfigError(f"{type(self).__name__} needs {name}_channels >= 1, got {value}.")
        forget_namesake(type(self))
        super().__init__(aggr=aggr, node_dim=0)
        remove_file(type(self))
        check_hooks(self, type(self).edge_inbox is CommLayer.edge_inbox)
        self._asks_for_features = "edge_attr" in self.inspector.get_param_names("message")
        remember(self)
        self._aggregation = type(self.aggr_module)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.msg_channels = msg_channels

    def reset_parameters(self) -> None:
        """Draw the weights of all parts anew; who holds parameters itself draws them, too."""
        draw_anew(self)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        if self._unsettled is not None:
            settle(self, width_of(self, state_dict, prefix))
        super()._load_from_state_dict(state_dict, prefix, *others)

    def __setstate__(self, data: dict[str, Any]) -> None:
        super().__setstate__(data)
        remove_file(type(self))

    def send(self, h: Tensor) -> Tensor:
        """What each agent puts on the wire: ``[..., F] -> [..., M]``, row by row."""
        raise ConfigError(f"{type(self).__name__} says nothing: write send(self, h) -> [..., M={self.msg_channels}].")

    def query(self, h: Tensor) -> Tensor:
        """What each receiver brings to its inbox: ``[..., F] -> [..., Q]``, row by row."""
        return h

    listen = deprecated.method("listen", "query")

    def message(self, msg_j: Tensor) -> Tensor:
        return msg_j

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        """The new row from the own row and the inbox: ``[..., F], [..., I] -> [..., F']``."""
        name, width = type(self).__name__, self.out_channels
        raise ConfigError(f"{name} makes no new row: write combine(self, h, inbox) -> [..., F'={width}].")

    def dense_inbox(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> Tensor | None:
        """What ``message`` and ``aggregate`` say on a dense graph, as matrix products; None if there is no such form.

        ``msg`` is finite here. Senders are rows of ``graph.dense``, receivers its columns. Used for the class that
        names it in its own body only: a subclass whose hooks agree with it writes ``dense_inbox = Parent.dense_inbox``.
        """
        return None

    def message_bits(self, dtype: torch.dtype = torch.float32) -> int:
        """Bits of one message on the wire without a codec."""
        return self.msg_channels * torch.finfo(dtype).bits

    @property
    def rounds(self) -> tuple[CommLayer, ...]:
        """The layers that run one after the other, each with its own exchange of messages."""
        return (self,)

    def forward(
        self,
        h: Tensor | tuple[Tensor, Tensor],
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = None,
        edge_weight: OptTensor = None,
        return_attention_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Attention]:
        if self._unsettled is not None:
            settle(self, check_pair(self, h)[0].shape[-1])
        if not isinstance(graph, CommGraph):
            out = self._over_edges(h, graph, edge_attr, edge_weight)
        elif isinstance(h, tuple):
            raise ShapeError(
                f"A CommGraph is over one team: expected h [*lead, N={graph.num_agents}, F={self.in_channels}], got a "
                "pair of rows. Between two kinds of nodes use an edge_index [2, E]."
            )
        else:
            self.check(h, graph)
            if edge_attr is not None or edge_weight is not None:
                raise GraphError("A CommGraph brings its features: use graph.with_features(attr, weight).")
            self.check_read(graph.attr)
            out = self.receive(h, self.sent(h), graph)
        return (out, attention_of(self, h, graph, edge_attr, edge_weight)) if return_attention_weights else out

    def _over_edges(
        self, h: Tensor | tuple[Tensor, Tensor], graph: Tensor, edge_attr: OptTensor, edge_weight: OptTensor
    ) -> Tensor:
        """As any layer of PyG: rows, a pair of senders' and receivers' rows, or several rows for each node."""
        for rows in check_pair(self, h):
            self._check_rows(rows)
        edge_index = check_edges(self, h, graph, edge_attr, edge_weight)
        self.check_read(edge_attr)
        if isinstance(h, Tensor):
            edge_index, edge_attr, edge_weight = edges_over(h, edge_index, edge_attr, edge_weight)
        source, target = (h.reshape(-1, h.shape[-1]),) * 2 if isinstance(h, Tensor) else h
        msg, query = self.sent(source), self.asked(target)
        features = like(edge_attr, target), like(edge_weight, target)
        out = self.new_row(target, self.edge_inbox(msg, query, edge_index, *features))
        return out.view(*h.shape[:-1], out.shape[-1]) if isinstance(h, Tensor) else out

    @property
    def reads_features(self) -> bool:
        """Whether the features of edges have a part: ``message`` asks for ``edge_attr``, or ``edge_dim`` is not 0."""
        return self.edge_dim > 0 or self._asks_for_features

    def check_read(self, attr: OptTensor) -> None:
        """Refuse features of edges that would be ignored."""
        if attr is not None and not self.reads_features:
            raise ConfigError(
                f"{type(self).__name__} reads no features of edges, got some of width {attr.shape[-1]}: leave "
                "edge_attr out (graph.with_features(weight=graph.weight)), choose a layer with edge_dim, or let "
                "message ask for edge_attr (where edge_inbox reads them, say self.edge_dim)."
            )

    def sent(self, h: Tensor) -> Tensor:
        """What ``send`` says, if it is what is on the wire."""
        msg = self.send(h)
        shape = *h.shape[:-1], self.msg_channels
        given.require_made(self, "messages from send", "[..., M] (msg_channels)", msg, shape, h.dtype)
        return msg

    def asked(self, h: Tensor) -> Tensor:
        """What ``query`` says, if it is a row for each row."""
        query = self.query(h)
        given.require_made(self, "rows from query", "[..., Q]", query, (*h.shape[:-1], None))
        return query

    def receive(self, h: Tensor, msg: Tensor, graph: CommGraph) -> Tensor:
        """Everything after the wire: ``h [*lead, N, F]`` and delivered messages ``msg [*lead, N, M]``."""
        inbox = self._inbox(msg.flatten(0, -2), self.asked(h).flatten(0, -2), graph)
        return self.new_row(h, inbox.reshape(*h.shape[:-1], inbox.shape[-1]))

    def new_row(self, h: Tensor, inbox: Tensor) -> Tensor:
        """What ``combine`` says, if it is a row of the width that the layer promises."""
        row = self.combine(h, inbox)
        given.require_made(
            self, "rows from combine", "[..., F'] (out_channels)", row, (*h.shape[:-1], self.out_channels)
        )
        return row

    def _inbox(self, msg_VM: Tensor, query_VQ: Tensor, graph: CommGraph) -> Tensor:
        """Inboxes ``[V, I]`` over any layout."""
        if any(value is not None and value.dtype != msg_VM.dtype for value in (graph.attr, graph.weight)):
            graph = graph.with_features(like(graph.attr, msg_VM), like(graph.weight, msg_VM))
        pays = graph.layout is Layout.DENSE or (_is_crowded(graph) and at_hand(msg_VM))
        if pays and self._is_certain():
            dense, query_GNQ = _as_dense(graph), _by_graph(query_VQ, graph)
            form = partial(self.dense_inbox, query_GNQ=query_GNQ, graph=dense)
            inbox_GNI = of_finite(form, _by_graph(msg_VM, graph), dense)
            if inbox_GNI is not None:
                return inbox_GNI.flatten(0, 1)
        graph = graph.expand(msg_VM.shape[0] // graph.num_agents)
        inbox = self.edge_inbox(msg_VM, query_VQ, graph.edge_index, graph.edge_attr, graph.edge_weight)
        given.require_made(self, "inboxes", "[V, I]", inbox, (query_VQ.shape[0], None))
        return inbox

    def _is_certain(self) -> bool:
        """Whether ``dense_inbox`` says what the hooks say, as they are now."""
        kept = self.aggr_module is None or is_untouched(self.aggr_module, self._aggregation)
        return kept and speaks_for(self, "dense_inbox")

    def hear(self, h: Tensor, inbox_msg: Tensor, edge_attr: OptTensor = None, edge_weight: OptTensor = None) -> Tensor:
        """One receiver alone: its row ``h [F]`` and the ``S >= 0`` messages ``[S, M]`` that reached it -> ``[F']``."""
        num_senders = inbox_msg.shape[0]
        senders = torch.arange(num_senders, device=h.device)
        edge_index = torch.stack([senders, torch.zeros_like(senders)])
        row = h.unsqueeze(0)
        features = like(edge_attr, h), like(edge_weight, h)
        inbox = self.edge_inbox(inbox_msg, self.asked(row), edge_index, *features)
        return self.new_row(row, inbox).squeeze(0)

    def edge_inbox(
        self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_attr: OptTensor, edge_weight: OptTensor
    ) -> Tensor:
        """Inboxes ``[R, I]`` over an edge list, from messages ``[S, M]`` of S senders and queries ``[R, Q]``."""
        # propagate_type: (msg: OptPairTensor, h: OptPairTensor, edge_attr: OptTensor, edge_weight: OptTensor)
        inbox: Tensor = self.propagate(
            edge_index,
            msg=(msg, None),
            h=(None, query),
            edge_attr=edge_attr,
            edge_weight=edge_weight,
            size=(msg.shape[0], query.shape[0]),
        )
        return inbox

    def check(self, h: Tensor, graph: CommGraph) -> None:
        """Refuse an ``h`` that does not fit the layer or the graph."""
        self._check_rows(h)
        if h.dim() < 2 or h.shape[-2] != graph.num_agents:
            raise ShapeError(
                f"{type(self).__name__} expected h [*lead, N={graph.num_agents}, F={self.in_channels}] for this graph, "
                f"got {tuple(h.shape)}. The agent axis is the last but one."
            )
        num_rows = h.shape[:-2].numel()
        if graph.num_graphs not in (1, num_rows):
            raise ShapeError(
                f"{type(self).__name__} expected a graph for each of the {num_rows} leading entries of h "
                f"{tuple(h.shape)}, or one for all; got {graph.num_graphs} graphs."
            )
        if graph.device != h.device:
            raise DeviceError(f"h is on {h.device} but the graph on {graph.device}: move one with .to(device).")

    def _check_rows(self, h: Tensor) -> None:
        name = type(self).__name__
        as_tensor("h", h)
        if not h.is_floating_point():
            raise DtypeError(f"{name} expected a floating-point h, got {h.dtype}: use h.float().")
        if h.dim() < 1 or h.shape[-1] != self.in_channels:
            raise ShapeError(f"{name} expected h [..., F={self.in_channels}], got {tuple(h.shape)}.")
        weight = next(self.parameters(), None)
        if weight is not None and weight.dtype != h.dtype and not torch.is_autocast_enabled(h.device.type):
            raise DtypeError(
                f"{name} works in {weight.dtype}, got h in {h.dtype}: use h.to({weight.dtype}), or layer.to({h.dtype})."
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}, msg_channels={self.msg_channels})"


def _is_crowded(graph: CommGraph) -> bool:
    """Whether products over all pairs take less time than what is fetched and added up over each edge.

    Features would have to be laid out for all pairs.
    """
    if graph.attr is not None:
        return False
    places = graph.shape[-1] if graph.layout is Layout.SPARSE else graph.shape.numel()
    return graph.num_graphs * graph.num_agents**2 <= PAIRS_PER_EDGE * places


def _as_dense(graph: CommGraph) -> CommGraph:
    if graph.weight is not None or graph.attr is not None:
        return graph.to_layout(Layout.DENSE)
    return graph.kept("as dense", lambda: graph.to_layout(Layout.DENSE))


def _by_graph(rows_VC: Tensor, graph: CommGraph) -> Tensor:
    # explicit: a batch may be empty, and so may rows
    return rows_VC.reshape(rows_VC.shape[0] // graph.num_agents, graph.num_agents, rows_VC.shape[1])


def draw_anew(module: nn.Module) -> None:
    """``reset_parameters`` of the parts of a module, of the outermost that have it."""
    for part in module.children():
        anew = getattr(part, "reset_parameters", None)
        draw_anew(part) if anew is None else anew()
