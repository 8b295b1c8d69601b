"""What each learned edge changed in the rows after a round: the gradient of its choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from gnncomm.channel import Arrival
from gnncomm.graph import CommGraph, Layout
from gnncomm.schedule.base import Trades

ROWS = 2**16
"""So many rows at most are received anew at a time."""

Receive = Callable[[Tensor, tuple[Arrival, ...]], Tensor]
"""The rows ``[B, N, H]`` after a round, from those before and what arrived."""


@dataclass(frozen=True)
class Offer:
    """What arrived, candidates that are not used among it: they have the weight 0, see ``gnncomm.schedule.choice``."""

    arrivals: tuple[Arrival, ...]
    weighted: bool  # whether the topology gave its edges weights, which then multiply
    trades: tuple[Trades | None, ...]  # of each arrival, made when it was sent

    @cached_property
    def used(self) -> tuple[Arrival, ...]:
        """What is read: an edge that is not used is none, and others have the weights that the topology gave them."""
        return tuple(replace(arrival, graph=self._open(arrival.graph)) for arrival in self.arrivals)

    def _open(self, graph: CommGraph) -> CommGraph:
        if graph.weight is None:
            return graph
        used = graph.keep(graph.weight.detach() != 0)
        return used.with_features(
            used.attr, used.weight.detach() if self.weighted and used.weight is not None else None
        )


def credited(receive: Receive, h: Tensor, offer: Offer) -> Tensor:
    """The rows after the round, with the gradient of every choice of an edge.

    A candidate j -> i that is used is left out, one that is not used is let in, and i receives again; the difference to
    its row is the gradient of the row by the candidate's weight, a constant. Row i depends on nothing but its inbox, so
    one candidate of every receiver is tried at a time: as many receptions as the largest inbox has candidates, without
    gradients of their own. Any layer will do; it need not know of weights. What a broken message (NaN) would have
    changed counts for nothing.

    Args:
        receive: a pure function.
        h: ``[B, N, F]``.
        offer: what arrived.
    """
    used = offer.used
    out = receive(h, used)
    for place, arrival in enumerate(offer.arrivals):
        weight = arrival.graph.weight
        if weight is not None and weight.requires_grad:
            trial = _Trial(receive, h.detach(), used, place, arrival.graph, offer)
            out = out + trial.credit(out.detach())
    return out


class _Trial:
    """The candidates of one arrival, tried one slot of every inbox at a time."""

    def __init__(
        self, receive: Receive, h: Tensor, used: tuple[Arrival, ...], place: int, graph: CommGraph, offer: Offer
    ) -> None:
        self.receive, self.h, self.used, self.place = receive, h, used, place
        self.layout, self.weighted = graph.layout, offer.weighted
        self.slots = graph.expand(len(h)).to_layout(Layout.REGULAR)
        assert self.slots.weight is not None
        self.weight, self.present, self.trades = self.slots.weight, self.slots.present, offer.trades[place]  # [B, N, k]
        if self.trades is not None and self.trades.own is not None:  # a choice for all, oneself excepted
            own_BN1 = self.trades.own.to(self.weight.dtype).unsqueeze(-1)
            self.weight = torch.cat([self.weight, own_BN1], -1)
            self.present = torch.cat([self.present, torch.ones_like(own_BN1, dtype=torch.bool)], -1)
        self.open = self.present & (self.weight.detach() != 0)

    def credit(self, out: Tensor) -> Tensor:
        """Zeros ``[B, N, H]`` with the gradient."""
        slope_BNk = self.weight - self.weight.detach()
        if self.weighted:  # the topology's weight is a factor of an open edge's, but not of what it changes
            slope_BNk = slope_BNk / torch.where(self.open, self.weight.detach(), 1.0)
        total = torch.zeros_like(out)
        each = max(1, ROWS // max(1, out.shape[:2].numel()))
        candidates = self.weight.shape[-1]
        for start in range(0, candidates, each):
            slots = torch.arange(start, min(start + each, candidates), device=out.device)
            change_kBNH = self._change(slots, out)
            total = total + torch.einsum("bnk,kbnh->bnh", slope_BNk[..., slots].to(out.dtype), change_kBNH)
        return total

    @torch.no_grad()
    def _change(self, slots: Tensor, out: Tensor) -> Tensor:
        """``[k, B, N, H]``: the row with the candidate in each slot, less the row without."""
        every = torch.arange(len(self.h), device=out.device).repeat(len(slots))
        graph = self.slots.select(every).keep(self._other_way(slots).flatten(0, 1))
        weight = None
        if self.weighted and graph.weight is not None:
            weight = torch.where(graph.weight != 0, graph.weight, 1.0)
        graph = graph.with_features(graph.attr, weight).to_layout(self.layout)
        arrivals = tuple(
            Arrival(arrival.msg.detach()[every], graph if place == self.place else arrival.graph.select(every))
            for place, arrival in enumerate(self.used)
        )
        changed = self.receive(self.h[every], arrivals).unflatten(0, (len(slots), -1)) - out
        open_, present = (value[..., slots].permute(2, 0, 1).unsqueeze(-1) for value in (self.open, self.present))
        changed = torch.where(open_, -changed, changed)
        return torch.where(present & changed.isfinite(), changed, 0.0)

    def _other_way(self, slots: Tensor) -> Tensor:
        """``[k, B, N, slots of an inbox]``: the open edges, had the choice in each of the slots come out otherwise."""
        index_BNk = self.slots.neighbors
        number = torch.arange(index_BNk.shape[-1], device=slots.device)
        mine_k11k, open_BNk = (slots.unsqueeze(-1) == number).view(len(slots), 1, 1, -1), self.open[..., : len(number)]
        if self.trades is None:
            return open_BNk ^ mine_k11k
        last_BNk, first_BNk = (index_BNk == end.unsqueeze(-1) for end in (self.trades.last, self.trades.first))
        closes_kBN1 = self.open[..., slots].permute(2, 0, 1).unsqueeze(-1)
        return torch.where(closes_kBN1, open_BNk & ~mine_k11k | first_BNk, open_BNk & ~last_BNk | mine_k11k)
