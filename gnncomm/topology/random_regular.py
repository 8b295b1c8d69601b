"""Random friends, the same number for everyone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from gnncomm.errors import ConfigError, GraphError
from gnncomm.random import stream, uniform
from gnncomm.shapes import Bool, Int
from gnncomm.topology.drawn import DrawnTopology


@dataclass(frozen=True)
class RandomRegular(DrawnTopology):
    """Every agent hears ``k`` others, which hear it too; otherwise by chance.

    Steger and Wormald 1999, "Generating Random Regular Graphs Quickly": each agent has k open ends; the open ends are
    shuffled and paired, pairs that make a new link are kept, the others are shuffled again; where no new link is
    possible the draw starts over. Close to uniform over all k-regular graphs. With k >= N - 1 everyone hears everyone.

    Raises:
        GraphError: N k is odd: there is no such graph.
    """

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(
                f"RandomRegular.k counts neighbours: expected k >= 1, got {self.k}. Use Empty() for none."
            )

    def draw(self, key: Int[Tensor, " U"], num_agents: int) -> Bool[Tensor, "U N N"]:
        own_NN = torch.eye(num_agents, dtype=torch.bool, device=key.device)
        if self.k >= num_agents - 1:
            return (~own_NN).expand(len(key), -1, -1)
        if num_agents * self.k % 2:
            raise GraphError(
                f"RandomRegular needs an even number of ends: expected N * k even, got {num_agents} * {self.k}. "
                "Change k by one."
            )
        key_U = stream(key, "random_regular")
        if 2 * self.k >= num_agents:  # few are left out: pairing would start over for ever
            return ~_paired(key_U, num_agents, num_agents - 1 - self.k) & ~own_NN
        return _paired(key_U, num_agents, self.k)


def _paired(key_U: Tensor, num_agents: int, k: int) -> Tensor:
    links_UNN = torch.zeros(len(key_U), num_agents, num_agents, dtype=torch.bool, device=key_U.device)
    row_U = torch.arange(len(key_U), device=key_U.device)
    for attempt in count():
        row_U = row_U[(links_UNN[row_U].sum(1) < k).any(1)]
        if not len(row_U):
            return links_UNN
        links_UNN[row_U] = _paired_once(links_UNN[row_U], key_U[row_U], attempt, k)
    raise AssertionError("count() ends")


def _paired_once(links_UNN: Tensor, key_U: Tensor, attempt: int, k: int) -> Tensor:
    """The open ends, shuffled and joined where that makes a new link; from the beginning where none is possible."""
    num_agents = links_UNN.shape[1]
    own_NN = torch.eye(num_agents, dtype=torch.bool, device=key_U.device)
    willing_UN = links_UNN.sum(1) < k
    possible_UNN = willing_UN.unsqueeze(1) & willing_UN.unsqueeze(2) & ~links_UNN & ~own_NN
    links_UNN = links_UNN & possible_UNN.flatten(1).any(1).view(-1, 1, 1)
    # Closed ends come last, so that the open ones, an even number, pair with each other.
    end_S = torch.arange(num_agents * k, device=key_U.device)
    owner_S = end_S // k
    closed_US = end_S % k >= k - links_UNN.sum(1)[:, owner_S]
    score_US = uniform(key_U.unsqueeze(-1), attempt, end_S, dtype=torch.float64)
    order_US = torch.where(closed_US, 2.0, score_US).argsort(-1)
    one_UQ, other_UQ = owner_S[order_US[:, 0::2]], owner_S[order_US[:, 1::2]]
    kept_UQ = ~closed_US.gather(1, order_US[:, 1::2]) & (one_UQ != other_UQ)
    graph_E = torch.arange(len(key_U), device=key_U.device).unsqueeze(-1).expand_as(one_UQ)[kept_UQ]
    links_UNN[graph_E, one_UQ[kept_UQ], other_UQ[kept_UQ]] = True  # a pair drawn twice is one link
    return links_UNN | links_UNN.transpose(1, 2)
