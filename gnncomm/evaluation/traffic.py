"""What a team puts on the wire."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gnncomm.policy import Talk


@dataclass(frozen=True)
class WireUse:
    """What crossed the wire, on average over the steps of counted episodes."""

    bits_per_agent_step: float
    """Bits that a living agent puts on the wire in a step, all rounds and control traffic of the scheduler included."""
    edges_per_step: float
    """Messages that are read in a step by all agents of a team together, all rounds included."""
    rounds: int
    """Rounds of communication in a step."""

    def to_dict(self) -> dict[str, float]:
        return {
            "bits_per_agent_step": self.bits_per_agent_step,
            "edges_per_step": self.edges_per_step,
            "rounds": self.rounds,
        }

    def __str__(self) -> str:
        rounds = f"{self.rounds} round{'s' if self.rounds > 1 else ''}"
        bits, edges = _number(self.bits_per_agent_step, 1), _number(self.edges_per_step, 2)
        return f"On the wire: {bits} bits per agent and step, {edges} messages read per step, {rounds}."


def _number(value: float, digits: int) -> str:
    """At most ``digits`` decimals, and none where they are zero."""
    return f"{value:,.{digits}f}".rstrip("0").removesuffix(".")


class Traffic:
    """Counts what is on the wire in counted episodes."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self._bits = self._edges = self._agent_steps = self._steps = 0.0

    def count(self, talk: Talk, alive: Tensor, counted: Tensor) -> None:
        """Add what was said in a step in the environments ``counted [B]``; ``alive [B, N]``."""
        alive = alive & counted.unsqueeze(-1)
        self._bits += float(talk.bits.double()[alive].sum())
        self._agent_steps += int(alive.sum())
        self._steps += int(counted.sum())
        for arrivals in talk.arrivals:
            for arrival in arrivals:
                self._edges += float(arrival.graph.in_degree.sum(-1).expand(len(counted))[counted].sum())

    def use(self) -> WireUse:
        """The averages so far."""
        return WireUse(self._bits / max(self._agent_steps, 1), self._edges / max(self._steps, 1), self.rounds)
