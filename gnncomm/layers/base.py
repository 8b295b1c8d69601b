"""What every communication layer has in common: send | wire | receive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import OptPairTensor, OptTensor  # noqa: F401  PyG compiles `propagate` with them

from gnncomm.errors import ConfigError, DeviceError, DtypeError, GraphError, ShapeError
from gnncomm.graph import CommGraph, Layout
from gnncomm.layers.kernels import Kernel, Linears, fused_round, kernels_fit

Attention = tuple[Tensor, Tensor]
"""``(edge_index [2, E], alpha [E, heads])``, as PyG's attention layers return it."""


class CommLayer(MessagePassing):
    r"""Base of all communication layers: two halves with a wire between them.

    .. code-block:: text

        m_j  = send(h_j)                          own row only
        q_i  = listen(h_i)                        own row only
        c_i  = aggregate_j message(m_j, q_i)      over the edges j -> i that the wire delivered
        h'_i = combine(h_i, c_i)                  own row and its inbox

    Nothing else may cross rows. What is sent is passed to PyG's ``propagate`` as ``msg=(m, None)`` and the receiver's
    state as ``h=(None, q)``: a hook that asks for the sender's private ``h_j`` gets ``None``.

    A layer never adds self-loops: a self-loop in the graph is an edge like any other. An empty inbox aggregates to
    zeros. Subclasses write ``send`` and ``message`` (and, where a fused form is faster, ``dense_inbox``); a hook must
    be annotated in full, since PyG compiles ``propagate`` from the text of the class.

    Args:
        in_channels: F, width of a row before.
        out_channels: F', width of a row after.
        msg_channels: M, numbers on the wire per message.
        aggr: how PyG aggregates the messages of an inbox.

    Shapes:
        h ``[*lead, N, F]`` with a ``CommGraph`` of prod(lead) graphs (or of 1, the same for all), or ``[V, F]`` with
        an ``edge_index [2, E]`` as in any PyG model; returns ``[*lead, N, F']`` or ``[V, F']``.

    Raises:
        ShapeError, DtypeError, DeviceError, GraphError: the row width, the number of agents or graphs, the type or
            the device of ``h`` does not fit the layer or the graph.
    """

    _fused: ClassVar[bool] = False  # the kernel says what the hooks say
    _whole: ClassVar[bool] = False  # ... and ``receive`` as well

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        cls._fused = _none_below(cls, "kernel", _HOOKS)
        cls._whole = cls._fused and _none_below(cls, "kernel", ["receive"])

    def __init__(self, in_channels: int, out_channels: int, msg_channels: int, aggr: str = "sum") -> None:
        for name, value in (("in", in_channels), ("out", out_channels), ("msg", msg_channels)):
            if value < 1:
                raise ConfigError(f"{type(self).__name__} needs {name}_channels >= 1, got {value}.")
        super().__init__(aggr=aggr, node_dim=0)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.msg_channels = msg_channels

    def send(self, h: Tensor) -> Tensor:
        """What each agent puts on the wire: ``[..., F] -> [..., M]``, row by row."""
        raise NotImplementedError

    def listen(self, h: Tensor) -> Tensor:
        """What each receiver brings to its inbox: ``[..., F] -> [..., Q]``, row by row."""
        return h

    def message(self, msg_j: Tensor) -> Tensor:
        return msg_j

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        """The new row from the own row and the inbox: ``[..., F], [..., I] -> [..., F']``."""
        raise NotImplementedError

    def dense_inbox(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> Tensor | None:
        """The inbox of a dense graph as matrix products, or None where a layer has only the edge form.

        ``msg`` is finite here. Senders are rows of ``graph.dense``, receivers its columns.
        """
        return None

    def kernel(self, graph: CommGraph, h: Tensor) -> Kernel | None:
        """A fast form for this graph of what ``listen``, ``message`` and ``aggregate`` say, or None.

        It is used where ``linears`` describe ``send``, ``listen`` and ``combine``, and only while none of these hooks
        is overridden by a subclass that does not override ``kernel`` as well.
        """
        return None

    def linears(self) -> Linears | None:
        """``send``, ``listen`` and ``combine`` as linear maps, where they are that."""
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
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = None,
        edge_weight: OptTensor = None,
    ) -> Tensor:
        if isinstance(graph, CommGraph):
            self.check(h, graph)
            out = self._fast(h, None, graph) if self._whole else None
            return self.receive(h, self.send(h), graph) if out is None else out
        self._check_rows(h)
        if graph.dim() != 2 or graph.shape[0] != 2:
            raise GraphError(f"Expected edge_index [2, E] or a CommGraph, got shape {tuple(graph.shape)}.")
        inbox = self.edge_inbox(self.send(h), self.listen(h), graph, like(edge_attr, h), like(edge_weight, h))
        return self.combine(h, inbox)

    def receive(self, h: Tensor, msg: Tensor, graph: CommGraph) -> Tensor:
        """Everything after the wire: ``h [*lead, N, F]`` and delivered messages ``msg [*lead, N, M]``."""
        fast = self._fast(h, msg, graph)
        if fast is not None:
            return fast
        lead = h.shape[:-1]
        if any(value is not None and value.dtype != h.dtype for value in (graph.attr, graph.weight)):
            graph = graph.with_features(like(graph.attr, h), like(graph.weight, h))
        rows, query = (lead[:-1].numel(), graph.num_agents), self.listen(h)  # a batch may be empty
        msg_GNM = msg.reshape(*rows, msg.shape[-1])
        query_GNQ = query.reshape(*rows, query.shape[-1])
        inbox = self._dense(msg_GNM, query_GNQ, graph) if graph.layout is Layout.DENSE else None
        if inbox is None:
            graph = graph.expand(msg_GNM.shape[0])
            inbox = self.edge_inbox(
                msg_GNM.flatten(0, 1), query_GNQ.flatten(0, 1), graph.edge_index, graph.edge_attr, graph.edge_weight
            )
        return self.combine(h, inbox.reshape(*lead, inbox.shape[-1]))

    def _fast(self, h: Tensor, msg: Tensor | None, graph: CommGraph) -> Tensor | None:
        """The round by a kernel; None where there is none, or where it would not be right."""
        if not self._fused or not kernels_fit(h):
            return None
        linears = self.linears()
        if linears is None or not linears.are_plain() or linears.own.weight.dtype != h.dtype:
            return None
        if msg is not None and msg.dtype != h.dtype:
            return None
        kernel = self.kernel(graph, h)
        if kernel is None:
            return None
        rows = h.reshape(-1, h.shape[-1])
        sent = rows if msg is h else None if msg is None else msg.reshape(-1, msg.shape[-1])
        out = fused_round(kernel, linears, rows, sent, graph)
        return out.view(*h.shape[:-1], out.shape[-1])

    def hear(self, h: Tensor, inbox_msg: Tensor, edge_attr: OptTensor = None, edge_weight: OptTensor = None) -> Tensor:
        """One receiver alone: its row ``h [F]`` and the ``S >= 0`` messages ``[S, M]`` that reached it -> ``[F']``."""
        num_senders = inbox_msg.shape[0]
        senders = torch.arange(num_senders, device=h.device)
        edge_index = torch.stack([senders, torch.zeros_like(senders)])
        row = h.unsqueeze(0)
        features = like(edge_attr, h), like(edge_weight, h)
        inbox = self.edge_inbox(inbox_msg, self.listen(row), edge_index, *features)
        return self.combine(row, inbox).squeeze(0)

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

    def _dense(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> Tensor | None:
        """``dense_inbox`` with messages made finite: a product with an absent edge must not carry NaN across."""
        if torch.compiler.is_compiling() or bool(msg_GNM.detach().sum().isfinite()):
            return self.dense_inbox(msg_GNM, query_GNQ, graph)
        broken_GN = ~msg_GNM.isfinite().all(-1)
        inbox = self.dense_inbox(torch.where(broken_GN.unsqueeze(-1), 0.0, msg_GNM), query_GNQ, graph)
        if inbox is None:
            return None
        hears_broken_GN = (graph.dense & broken_GN.unsqueeze(-1)).any(1)
        return torch.where(hears_broken_GN.unsqueeze(-1), torch.nan, inbox)

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
        if not h.is_floating_point():
            raise DtypeError(f"{name} expected a floating-point h, got {h.dtype}: use h.float().")
        if h.dim() < 1 or h.shape[-1] != self.in_channels:
            raise ShapeError(f"{name} expected h [..., F={self.in_channels}], got {tuple(h.shape)}.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}, msg_channels={self.msg_channels})"


_HOOKS = [
    *("send", "listen", "message", "aggregate", "update", "combine", "edge_inbox", "dense_inbox", "linears"),
    *("ask", "parts", "score", "dense_score"),  # of AttendingComm
]


def _none_below(layer: type, owner: str, names: Iterable[str]) -> bool:
    """No class below the one that defines ``owner`` defines one of ``names``."""

    def depth(name: str) -> int:
        return next((place for place, each in enumerate(layer.__mro__) if name in vars(each)), len(layer.__mro__))

    return all(depth(owner) <= depth(name) for name in names)


def like(features: OptTensor, rows: Tensor) -> OptTensor:
    """Edge features in the type of the rows: positions are float32, whatever the weights are."""
    return None if features is None else features.to(rows.dtype)
