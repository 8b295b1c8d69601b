"""Layers that say how much each message weighed: ``return_attention_weights=True``, as in PyG."""

from __future__ import annotations

from typing import Any, Protocol, TypeGuard, runtime_checkable

from torch import Tensor
from torch_geometric.typing import OptTensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers.inputs import edges_over

Attention = tuple[Tensor, Tensor]
"""``(edge_index [2, E], alpha [E, heads])``, as PyG's attention layers return it."""


@runtime_checkable
class Attentive(Protocol):
    """A layer that can say how its inboxes divide their attention: write this hook, and it is returned where
    ``return_attention_weights=True`` asks for it, and drawn by ``record``.

    ``attention(h [V, F], edge_index [2, E], edge_attr, edge_weight, msg=[S, M])`` for the messages ``msg`` that were
    read, of S senders that ``edge_index[0]`` numbers (None: ``send(h)``, one for each row); returns the edges in the
    same order, further ones behind them (what an agent gives itself), and ``alpha [E, heads]``.
    """

    def attention(
        self,
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = None,
        edge_weight: OptTensor = None,
        msg: OptTensor = None,
    ) -> Attention: ...


def attends(layer: object) -> TypeGuard[Attentive]:
    """Whether there is attention to ask for; ``weighs`` denies it of a layer that only may have some."""
    return isinstance(layer, Attentive) and bool(getattr(layer, "weighs", True))


def attention_of(
    layer: Any,
    h: Tensor | tuple[Tensor, Tensor],
    graph: CommGraph | Tensor,
    edge_attr: OptTensor,
    edge_weight: OptTensor,
) -> Attention:
    """What ``attention`` of the layer says of rows, or of a pair of senders' and receivers' rows.

    Raises:
        ConfigError: the layer has no such hook.
    """
    tells: object = layer
    if not attends(tells):
        raise ConfigError(
            f"{layer!r} has no attention to return: expected a layer with the hook attention(h, graph, "
            "edge_attr, edge_weight, msg), such as AttentionComm. Leave return_attention_weights out."
        )
    row, msg = (h, None) if isinstance(h, Tensor) else (h[1], layer.send(h[0]))
    found: Attention = layer.attention(row, graph, edge_attr, edge_weight, msg)
    return found


def edges_of(
    h: Tensor, graph: CommGraph | Tensor, edge_attr: OptTensor, edge_weight: OptTensor
) -> tuple[Tensor, OptTensor, OptTensor]:
    """``edge_index`` over all rows of ``h``, features and weights in their type, from either form of a graph."""
    if isinstance(graph, CommGraph):
        spread = graph.expand(h.shape[:-2].numel())
        edge_index, edge_attr, edge_weight = spread.edge_index, spread.edge_attr, spread.edge_weight
    else:
        edge_index, edge_attr, edge_weight = edges_over(h, graph, edge_attr, edge_weight)
    return edge_index, like(edge_attr, h), like(edge_weight, h)


def like(features: OptTensor, rows: Tensor) -> OptTensor:
    """Edge features in the type of the rows: positions are float32, whatever the weights are."""
    return None if features is None else features.to(rows.dtype)
