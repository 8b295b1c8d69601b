"""What was said and read in environment 0, as the rounds of a policy left it: nothing is sent or carried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.typing import OptTensor

from gnncomm.channel import Arrival
from gnncomm.graph import CommGraph
from gnncomm.layers import CommLayer, CommStack
from gnncomm.layers.weighing import attends
from gnncomm.policy import Talk
from gnncomm.shapes import Float, Int


@dataclass(frozen=True)
class _Said:
    """What was said at a step that messages may still be under way from."""

    step: int
    spoke: Tensor  # [K, N]
    symbols: Tensor  # [K, N, S]
    under_way: Tensor  # [E] (round * N + sender) * N + receiver of each message that has not arrived


class Listener:
    """Hears step after step of an episode.

    Args:
        comm: the rounds.
        max_age: steps that a message is under way at most.
    """

    def __init__(self, comm: CommStack, max_age: int) -> None:
        self.comm = comm
        self._said: deque[_Said] = deque(maxlen=max_age + 1)

    def hear(self, talk: Talk, step: int) -> dict[str, NDArray[Any]]:
        """The arrays ``messages``, ``sent``, ``weight``, ``contents``, ``symbols`` and ``lost`` of one step."""
        self._said.appendleft(_said(talk, step))
        self._deliver(talk)
        read = [self._read(talk, number, step) for number in range(len(self.comm.rounds))]
        found = {name: _wide([each[name] for each in read]) for name in read[0]}
        if not talk.symbols[0].shape[-1]:
            del found["symbols"]
        return found | {"lost": self._lost(talk).cpu().numpy()}

    def _read(self, talk: Talk, number: int, step: int) -> dict[str, Tensor]:
        """What was read in one round: E messages."""
        arrivals, row_NH = _of_first(talk.arrivals[number]), talk.rows[number][0]
        sender_E, receiver_E = torch.cat([part.graph.edge_index for part in arrivals], 1)
        where = [torch.full_like(sender_E, step), torch.full_like(sender_E, number), sender_E, receiver_E]
        origins = [self._origin(part, number) for part in arrivals]
        return {
            "messages": torch.stack(where, 1),
            "sent": torch.cat([sent for sent, _ in origins]),
            "weight": _weights(self.comm.rounds[number], row_NH, arrivals).float(),
            "contents": torch.cat([part.msg[0, part.graph.edge_index[0]] for part in arrivals]).float(),
            "symbols": torch.cat([symbols for _, symbols in origins]),
        }

    def _origin(self, arrival: Arrival, number: int) -> tuple[Int[Tensor, " E"], Int[Tensor, "E S"]]:
        """When what arrived was sent, and the symbols that were written then; -1: nobody knows, or never."""
        sender_E, receiver_E = arrival.graph.edge_index
        if arrival.age >= len(self._said):
            nothing = sender_E.new_full((len(sender_E), self._said[0].symbols.shape[-1]), -1)
            return torch.full_like(sender_E, -1), nothing
        then = self._said[arrival.age]
        known_E = then.spoke[number, sender_E] | (sender_E == receiver_E)
        if not arrival.fresh and not arrival.age:
            known_E = torch.zeros_like(known_E)
        symbols_ES = torch.where(known_E.unsqueeze(-1), then.symbols[number, sender_E], -1)
        return torch.where(known_E, then.step, -1), symbols_ES

    def _deliver(self, talk: Talk) -> None:
        """What arrived is no longer under way."""
        for number, arrivals in enumerate(talk.delivered):
            for arrival in _of_first(arrivals):
                if arrival.age < len(self._said):
                    then = self._said[arrival.age]
                    left = then.under_way[~torch.isin(then.under_way, _numbered(arrival.graph, number))]
                    self._said[arrival.age] = replace(then, under_way=left)

    def _lost(self, talk: Talk) -> Int[Tensor, "L 4"]:
        """Messages that can no longer arrive, as rows (step, round, sender, receiver)."""
        if len(self._said) < (self._said.maxlen or 1):
            return talk.choice.new_zeros(0, 4)
        oldest, agents = self._said[-1], talk.h.shape[1]
        receiver, rest = oldest.under_way % agents, oldest.under_way // agents
        where = [torch.full_like(receiver, oldest.step), rest // agents, rest % agents, receiver]
        return torch.stack(where, 1)


def _said(talk: Talk, step: int) -> _Said:
    first = torch.zeros(1, dtype=torch.int64, device=talk.h.device)
    under_way = [_numbered(graph.select(first), number) for number, graph in enumerate(talk.scheduled)]
    symbols = [each[0] for each in talk.symbols]
    width = max(each.shape[1] for each in symbols)
    wide = [nn.functional.pad(each, (0, width - each.shape[1]), value=-1) for each in symbols]
    return _Said(step, torch.stack([spoke[0] for spoke in talk.spoke]), torch.stack(wide), torch.cat(under_way))


def _numbered(graph: CommGraph, number: int) -> Tensor:
    """``[E]``: a number for each edge between two agents in round ``number``."""
    sender_E, receiver_E = graph.edge_index
    numbers: Tensor = (number * graph.num_agents + sender_E) * graph.num_agents + receiver_E
    return numbers[sender_E != receiver_E]


def _of_first(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Of environment 0."""
    first = torch.zeros(1, dtype=torch.int64, device=arrivals[0].msg.device)
    return [replace(arrival, graph=arrival.graph.select(first)) for arrival in arrivals]


def _wide(parts: list[Tensor]) -> NDArray[Any]:
    """All rows, filled up with 0 (symbols: -1) to those of the widest part."""
    if parts[0].dim() == 1:
        return torch.cat(parts).cpu().numpy()
    width = max(part.shape[1] for part in parts)
    fill = 0.0 if parts[0].is_floating_point() else -1
    wide = [nn.functional.pad(part, (0, width - part.shape[1]), value=fill) for part in parts]
    return torch.cat(wide).cpu().numpy()


def _weights(layer: CommLayer, row_NF: Tensor, arrivals: Sequence[Arrival]) -> Float[Tensor, " E"]:
    """How much each message counted."""

    def joined(features: list[OptTensor]) -> OptTensor:
        given = [value.to(row_NF.dtype) for value in features if value is not None]
        return torch.cat(given) if given else None

    edges_2E = torch.cat([arrival.graph.edge_index for arrival in arrivals], 1)
    weight_E = joined([arrival.graph.edge_weight for arrival in arrivals])
    if not attends(layer):
        return row_NF.new_ones(edges_2E.shape[1]) if weight_E is None else weight_E
    # Of one sender there may be several messages: each arrival has its own copy of the senders.
    offset_E = torch.cat(
        [torch.full_like(part.graph.edge_index[0], len(row_NF) * n) for n, part in enumerate(arrivals)]
    )
    numbered_2E = torch.stack([edges_2E[0] + offset_E, edges_2E[1]])
    attr_ED = joined([arrival.graph.edge_attr for arrival in arrivals])
    msg_SM = torch.cat([arrival.msg[0] for arrival in arrivals])
    alpha_EH = layer.attention(row_NF, numbered_2E, attr_ED, weight_E, msg=msg_SM)[1]
    return alpha_EH[: edges_2E.shape[1]].mean(-1)  # what an agent gives itself comes last, and is no message
