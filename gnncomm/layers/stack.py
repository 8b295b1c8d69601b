"""Several rounds of communication, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers.base import CommLayer


class CommStack(nn.Module):
    r"""K rounds over one graph: :math:`h^{(k)} = h^{(k-1)} + \sigma(\mathrm{layer}_k(h^{(k-1)}, G))`.

    The addition is left out where ``residual`` is False or the widths differ. The same layer may stand for several
    rounds (shared weights, as in TarMAC): ``CommStack([layer] * 2)``. Features of edges go to the
    rounds that read them.

    Args:
        layers: one for each round; widths must follow on each other.
        activation: :math:`\sigma`; None for the identity.
        residual: whether a round adds to the row or replaces it.
    """

    def __init__(self, layers: Sequence[CommLayer], activation: nn.Module | None = None, residual: bool = True) -> None:
        super().__init__()
        if not layers:
            raise ConfigError("CommStack needs at least one layer; for no communication use the topology Empty().")
        for before, after in pairwise(layers):
            if -1 not in (before.out_channels, after.in_channels) and before.out_channels != after.in_channels:
                raise ConfigError(f"CommStack cannot pass {before!r} on to {after!r}: the widths differ.")
        self.layers = nn.ModuleList(dict.fromkeys(layers))
        self._order = [list(self.layers).index(layer) for layer in layers]
        self.activation = nn.Identity() if activation is None else activation
        self.residual = residual

    @property
    def in_channels(self) -> int:
        return self.rounds[0].in_channels

    @property
    def out_channels(self) -> int:
        return self.rounds[-1].out_channels

    @property
    def rounds(self) -> tuple[CommLayer, ...]:
        """The layer of each round."""
        return tuple(self.layers[index] for index in self._order)  # type: ignore[misc]  # ModuleList is untyped

    def merge(self, h: Tensor, received: Tensor) -> Tensor:
        """The row after a round, from the row before and what the layer returned: own rows only."""
        new: Tensor = self.activation(received)
        return h + new if self.residual and h.shape[-1] == new.shape[-1] else new

    def forward(
        self,
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: Tensor | None = None,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        some_read = any(layer.reads_features for layer in self.rounds)  # else the first one says so
        for layer in self.rounds:
            read, attr = graph, edge_attr
            if some_read and not layer.reads_features:
                read = graph.with_features(weight=graph.weight) if isinstance(graph, CommGraph) else graph
                attr = None
            h = self.merge(h, layer(h, read, attr, edge_weight))
        return h


def shifts(
    taps: int, signal: int, between: int, out_channels: int, make: Callable[[int, int, bool], CommLayer]
) -> CommStack:
    """A filter of K taps as K - 1 rounds, each with one exchange; ``make(in_channels, out_channels, last)`` each.

    Raises:
        ConfigError: fewer than two taps.
    """
    if taps < 2:
        raise ConfigError(f"A graph filter needs an exchange: expected taps >= 2, got {taps}.")
    widths = [signal, *[between] * (taps - 2), out_channels]
    layers = [make(*pair, k == taps - 2) for k, pair in enumerate(pairwise(widths))]
    return CommStack(layers, residual=False)
