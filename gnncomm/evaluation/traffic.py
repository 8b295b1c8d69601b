"""What a team puts on the wire."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gnncomm.layers import CommStack
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
    beta: float = 0.0
    r"""Share of the largest budget that is used, one row of the policy to everyone else: see ``Traffic``."""

    def to_dict(self) -> dict[str, float]:
        return {
            "bits_per_agent_step": self.bits_per_agent_step,
            "edges_per_step": self.edges_per_step,
            "rounds": self.rounds,
            "beta": self.beta,
        }

    def __str__(self) -> str:
        rounds = f"{self.rounds} round{'s' if self.rounds > 1 else ''}"
        bits, edges = _number(self.bits_per_agent_step, 1), _number(self.edges_per_step, 2)
        beta = _number(self.beta, 3)
        return f"On the wire: {bits} bits per agent and step, {edges} messages read per step, {rounds}, beta {beta}."


def _number(value: float, digits: int) -> str:
    """At most ``digits`` decimals, and none where they are zero."""
    return f"{value:,.{digits}f}".rstrip("0").removesuffix(".")


class Traffic:
    r"""Counts what is on the wire in counted episodes.

    The budget joins sparsity, rounds and the width of messages in one number for each agent, as SLIM asks for (Canesse,
    Goupil, Read and Vanier 2026, arXiv:2605.21085), here as

    .. math:: \beta = \sum_k \frac{E_k}{n (n - 1)} \cdot \frac{M_k}{H}

    with the :math:`E_k` messages read in round k among n living agents, of :math:`M_k` numbers, where a row of the
    policy has H. 1: everyone hears everyone's whole row once a step. What a codec saves is in the bits.

    Args:
        comm: the rounds of the policy.
    """

    def __init__(self, comm: CommStack) -> None:
        self.widths = [layer.msg_channels / comm.in_channels for layer in comm.rounds]
        self._bits = self._edges = self._agent_steps = self._steps = self._beta = 0.0

    def count(self, talk: Talk, alive: Tensor, counted: Tensor) -> None:
        """Add what was said in a step in the environments ``counted [B]``; ``alive [B, N]``."""
        alive = alive & counted.unsqueeze(-1)
        self._bits += float(talk.bits.double()[alive].sum())
        self._agent_steps += int(alive.sum())
        self._steps += int(counted.sum())
        pairs_B = (alive.sum(-1) * (alive.sum(-1) - 1)).clamp(min=1)
        for arrivals, width in zip(talk.arrivals, self.widths, strict=True):
            for arrival in arrivals:
                read_B = arrival.graph.in_degree.sum(-1).expand(len(counted))
                self._edges += float(read_B[counted].sum())
                self._beta += width * float((read_B / pairs_B)[counted].sum())

    def use(self) -> WireUse:
        """The averages so far."""
        steps, rounds = max(self._steps, 1), len(self.widths)
        return WireUse(self._bits / max(self._agent_steps, 1), self._edges / steps, rounds, self._beta / steps)
