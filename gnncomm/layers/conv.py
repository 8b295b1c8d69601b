"""Any PyG convolution as a communication layer."""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import OptTensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers.base import CommLayer
from gnncomm.layers.certain import remember
from gnncomm.layers.conv_forms import over_graph
from gnncomm.layers.edge_features import expected_features
from gnncomm.layers.generated import remove_file
from gnncomm.layers.weighing import Attention, edges_of


class ConvComm(CommLayer):
    r"""A bipartite PyG convolution behind the wire: :math:`h'_i = \mathrm{conv}((m, h), E)_i`.

    The convolution sees the messages as its source nodes and the receivers' rows as its target nodes, so it can only
    mix what was delivered. Works with every PyG convolution that takes a pair ``(x_source, x_target)``: SAGEConv,
    GraphConv, GATConv, GATv2Conv, TransformerConv, GINConv, GINEConv, GeneralConv, and others. Not with GCNConv and
    its relatives, whose normalisation reads the degree of the sender, which no receiver knows.

    On the wire: the sender's row (M = F), or ``W_m h_j`` where ``msg_channels`` is given (the convolution must then
    be bipartite in its widths: ``in_channels=(M, F)``).

    Args:
        conv: the convolution, without self-loops of its own (``add_self_loops=False`` where it has the option).
        in_channels: F; read from ``conv.in_channels`` where the convolution has it.
        out_channels: F'; read off a probe with two nodes.
        msg_channels: M.
        edge_dim: D, the width of the edge features that the convolution expects (0 for none).
    """

    def __init__(
        self,
        conv: MessagePassing,
        in_channels: int | None = None,
        msg_channels: int | None = None,
        edge_dim: int | None = None,
    ) -> None:
        name = type(conv).__name__
        if getattr(conv, "add_self_loops", False):  # PyG has no common interface for this option
            raise ConfigError(
                f"ConvComm needs a convolution without self-loops of its own: use {name}(..., add_self_loops=False), "
                "and a graph with self-loops if agents shall hear themselves."
            )
        width = in_channels if in_channels is not None else _declared_width(conv)
        edge_width = edge_dim if edge_dim is not None else (getattr(conv, "edge_dim", None) or 0)
        sent = width if msg_channels is None else msg_channels
        out_channels = _probe(conv, sent, width, edge_width)
        super().__init__(width, out_channels, sent)
        remove_file(type(conv))
        remember(conv)
        self.conv, self.edge_dim = conv, edge_width
        self.lin_send = nn.Identity() if msg_channels is None else nn.Linear(width, msg_channels, bias=False)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.conv.reset_parameters()
        if isinstance(self.lin_send, nn.Linear):
            self.lin_send.reset_parameters()

    def send(self, h: Tensor) -> Tensor:
        sent: Tensor = self.lin_send(h)
        return sent

    @property
    def weighs(self) -> bool:
        """Whether there is attention to return."""
        return "return_attention_weights" in inspect.signature(self.conv.forward).parameters

    def attention(
        self,
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = None,
        edge_weight: OptTensor = None,
        msg: OptTensor = None,
    ) -> Attention:
        r""":math:`\alpha` of every edge as the convolution says it: ``(edge_index [2, E], alpha [E, heads])``."""
        edge_index, edge_attr, _ = edges_of(h, graph, edge_attr, edge_weight)
        rows = h.reshape(-1, self.in_channels)
        extra = {} if edge_attr is None else {"edge_attr": edge_attr}
        _, found = self.conv(
            (self.send(rows) if msg is None else msg, rows), edge_index, return_attention_weights=True, **extra
        )
        attention: Attention = found
        return attention

    def edge_inbox(
        self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_attr: OptTensor, edge_weight: OptTensor
    ) -> Tensor:
        edge_attr = expected_features(self, self.edge_dim, edge_index, edge_attr, msg)
        if edge_weight is not None and "edge_weight" not in inspect.signature(self.conv.forward).parameters:
            raise ConfigError(
                f"{type(self.conv).__name__} takes no edge weights, but the graph has some: choose a convolution that "
                "does (GraphConv), give them as edge features, or drop them with graph.with_features(attr=graph.attr)."
            )
        return _apply(self.conv, msg, query, edge_index, edge_attr, edge_weight)

    def dense_inbox(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> Tensor | None:
        width = 0 if graph.attr is None else graph.attr.shape[-1]
        return over_graph(self.conv, msg_GNM, query_GNQ, graph) if width == self.edge_dim else None

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        return inbox

    def __repr__(self) -> str:
        return f"ConvComm({self.conv!r}, msg_channels={self.msg_channels})"


def _apply(
    conv: MessagePassing,
    msg: Tensor,
    rows: Tensor,
    edge_index: Tensor,
    edge_attr: OptTensor,
    edge_weight: OptTensor = None,
) -> Tensor:
    features = {"edge_attr": edge_attr, "edge_weight": edge_weight}
    extra = {name: value for name, value in features.items() if value is not None}
    out: Tensor = conv((msg, rows), edge_index, **extra)
    return out


def _declared_width(conv: MessagePassing) -> int:
    declared = getattr(conv, "in_channels", None)  # absent in GINConv and GINEConv
    width = declared[-1] if isinstance(declared, tuple) else declared
    if not isinstance(width, int) or width < 1:
        raise ConfigError(f"{type(conv).__name__} does not tell its input width: give ConvComm(conv, in_channels=F).")
    return width


def _probe(conv: MessagePassing, sent: int, width: int, edge_width: int) -> int:
    """The output width, from two senders and one receiver; refuses convolutions that are not bipartite."""
    edge_index = torch.tensor([[0, 1], [0, 0]])
    edge_attr = torch.zeros(2, edge_width) if edge_width else None
    training = conv.training
    conv.eval()
    try:
        with torch.no_grad():
            out = _apply(conv, torch.zeros(2, sent), torch.zeros(1, width), edge_index, edge_attr)
    except (AttributeError, AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{type(conv).__name__} does not work behind the wire: it cannot take 2 messages of width {sent} and one "
            f"receiver of width {width} as (x_source, x_target) ({error}). Choose a bipartite convolution such as "
            "SAGEConv, GraphConv, GATv2Conv or TransformerConv, with matching in_channels."
        ) from error
    finally:
        conv.train(training)
    return int(out.shape[-1])
