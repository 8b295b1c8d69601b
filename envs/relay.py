"""Relay: the ground truth of communication. One end of a line sees a symbol, the other end must name it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, Observation, Scene, SparseObs

from .frame.base import Flags, Form, GridEnv, Settings, Sizes
from .frame.rules import Kind, ratio
from .frame.settings import choice, integer


@dataclass(frozen=True)
class RelayDraws(Batch):
    """The symbol of the episode; empty after a reset."""

    symbol: Int[Tensor, "B C"]


@dataclass(frozen=True)
class RelayState(Batch):
    """The symbol, how many steps were taken, and what was named at the end (-1 before)."""

    symbol: Int[Tensor, " B"]
    t: Int[Tensor, " B"]
    answer: Int[Tensor, " B"]


@dataclass(frozen=True)
class RelaySettings(Settings):
    """See ``Relay``."""

    num_agents: int = integer(4, 1, doc="N.")
    num_symbols: int = integer(8, 2, doc="S, at least 2.")
    steps: int = integer(1, 1, doc="Length of an episode.")
    seen: str = choice(
        "always",
        ("always", "first"),
        doc='``"always"``: agent 0 sees the symbol at every step; ``"first"``: before the first action only, '
        "so that it must be remembered.",
    )


class Relay(GridEnv[RelayState, RelayDraws]):
    """N agents on a line; agent 0 sees one of S symbols, agent N-1 must name it at the final step.

    ::

        symbol -> 0 --- 1 --- 2 --- 3 -> action      reward 1 to all if action == symbol at the final step, else 0

    Observation: the symbol one-hot (agent 0 only; all zeros for the others), the own index one-hot, and, where an
    episode has more than one step, the elapsed share t / steps. Width S + N, or S + N + 1. Sparse: 2 or 3 entries.
    Actions: the S symbols; only that of agent N-1 at the final step counts. The episode terminates there; success
    means that the symbol was named.

    **What can be reached.** The symbol is uniform, and what agents 1 ... N-1 see does not depend on it. Where nothing
    arrives, agent N-1 names a symbol that is independent of the true one and is right with probability 1/S, whatever
    it does. With K rounds of communication a step along the line, a symbol moves at most K hops a step: it can arrive
    if N - 1 <= steps * K, and then success 1 is possible; otherwise 1/S is the best. If it fails to arrive with
    probability q, and agent N-1 can tell, the best success is (1 - q) + q / S. One hop that loses messages with
    probability p has q = p; a chain of N-1 such hops, each used once, has q = 1 - (1 - p)^(N-1).

    This is the task of passing a message along a chain that graph-network studies use to measure reach, e.g. Alon and
    Yahav 2021, "On the bottleneck of graph neural networks and its practical implications", section 4 (there on trees).
    """

    id = "relay"
    settings_class = RelaySettings
    settings: RelaySettings

    def sizes(self) -> Sizes:
        n, s, steps = self.settings.num_agents, self.settings.num_symbols, self.settings.steps
        return Sizes(n, s, s + n + (steps > 1), steps)

    def build(self) -> None:
        chosen = self.settings
        self.num_symbols, self.steps, self.seen = chosen.num_symbols, chosen.steps, chosen.seen
        self._agents = torch.arange(self.num_agents, device=self.device)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> RelayDraws:
        if isinstance(t, Tensor):
            return RelayDraws(key.new_empty(key.shape[0], 0))
        return RelayDraws(random.integers(random.stream(key, "symbol"), self.num_symbols)[:, None])

    def initial(self, draws: RelayDraws) -> RelayState:
        symbol = draws.symbol[:, 0]
        return RelayState(symbol, torch.zeros_like(symbol), torch.full_like(symbol, -1))

    def transition(
        self,
        state: RelayState,
        action: Int[Tensor, "B N"],
        draws: RelayDraws,  # nothing is drawn after the reset
    ) -> tuple[RelayState, Float[Tensor, "B N"], Flags]:
        t = state.t + 1
        final = t >= self.steps
        answer = torch.where(final, action[:, -1], -1)
        solved = answer == state.symbol
        reward = solved.to(torch.float32)[:, None].repeat(1, self.num_agents)
        return RelayState(state.symbol, t, answer), reward, Flags(final, solved)

    def observe(self, state: RelayState, form: Form) -> Observation:
        shape = (state.symbol.shape[0], self.num_agents)
        visible = self._visible(state)
        index = [state.symbol[:, None].expand(shape), (self.num_symbols + self._agents).expand(shape)]
        value = [(visible[:, None] & (self._agents == 0)).to(torch.float32), torch.ones(shape, device=self.device)]
        if self.steps > 1:
            index.append(torch.full(shape, self.num_symbols + self.num_agents, device=self.device))
            value.append(ratio(state.t, self.steps)[:, None].expand(shape))
        sparse = SparseObs(torch.stack(index, -1), torch.stack(value, -1), self.obs_dim)
        return sparse if form == "sparse" else sparse.to_flat()

    def _visible(self, state: RelayState) -> Bool[Tensor, " B"]:
        """Where agent 0 sees the symbol."""
        return (state.t == 0) | (self.seen == "always")

    def positions(self, state: RelayState) -> Float[Tensor, "B N 1"]:
        return self._agents.to(torch.float32)[:, None].repeat(state.symbol.shape[0], 1, 1)

    def describe(self, state: RelayState) -> Scene:
        column = self.positions(state)
        agents = torch.cat([torch.zeros_like(column), column], -1)
        last = self._agents == self.num_agents - 1
        finished = (state.answer == state.symbol)[:, None] & last
        seen = torch.where(self._visible(state)[:, None] & (self._agents == 0), state.symbol[:, None], -1)
        told = torch.where((state.answer >= 0)[:, None] & last, state.answer[:, None], seen)
        return Scene((1, self.num_agents), agents, finished, entities={}, active={}, marks={"symbol": told})

    @property
    def ceiling_kind(self) -> Kind:
        return "optimal"

    def solve(self, state: RelayState) -> Int[Tensor, "B N"]:
        """Everyone names the symbol."""
        return state.symbol[:, None].repeat(1, self.num_agents)
