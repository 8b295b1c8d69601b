"""What a probe found: as numbers, as JSON, as tables, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from rich.table import Table

from gnncomm.evaluation import Interval, WireUse
from gnncomm.probe.collect import Moments

SCHEMA = 1
"""Version of the JSON form; raised when a key changes its meaning or goes."""
ALPHA = 0.05
NOTHING = 1e-4
"""A change of chances below this is none: products of other graphs round otherwise."""


@dataclass(frozen=True)
class Fact:
    """A measured number beside what chance alone gives."""

    value: float
    chance: float
    """Mean of the null."""
    chance_95: float
    """Its 95 % quantile."""
    p: float
    """How often the largest of all messages tested together would be as large by chance."""

    @property
    def real(self) -> bool:
        return self.p <= ALPHA

    def to_dict(self) -> dict[str, float]:
        return {"value": self.value, "chance": self.chance, "chance_95": self.chance_95, "p": self.p}


@dataclass(frozen=True)
class Said:
    """What one sender says in one round."""

    round: int
    sender: int
    rows: int
    """Episodes in whose moment somebody could read it."""
    entropy: float
    """Bits, of the symbols or of what stands for them."""
    exact: bool
    """Whether different messages are told apart; else they are sorted into clusters, and bits are lower bounds."""
    kinds: int
    signalling: Fact
    """Bits that it tells of what the sender observes."""
    consistency: Fact
    """Bits that it tells of what the sender does next (speaker consistency)."""

    def to_dict(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("round", "sender", "rows", "exact", "kinds")}
        facts = {"signalling": self.signalling.to_dict(), "consistency": self.consistency.to_dict()}
        return plain | {"entropy_bits": self.entropy, **facts}


@dataclass(frozen=True)
class Cell:
    """What a linear probe reads out of the messages of one sender in one round."""

    target: str
    labels: bool
    """Whether the score is a share of right answers; else it is R^2."""
    round: int
    sender: int
    rows: int
    guess: float
    """Score of a guess without the message: the most frequent label; 0 for numbers."""
    score: Fact

    @property
    def real(self) -> bool:
        """Better than by chance, and than without the message."""
        return self.score.real and self.score.value > self.guess

    def to_dict(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in ("target", "round", "sender", "rows", "guess")}
        return plain | {"kind": "accuracy" if self.labels else "r2", "score": self.score.to_dict()}


@dataclass(frozen=True)
class Listening:
    """How unlike decisions become when what is read is changed."""

    everyone: Interval | None
    """When the messages of all others are: total variation of the chances of actions, or of numbers the share of their
    range; mean over steps and receivers, interval over episodes. None: nobody ever read anything that could be."""
    divergence: float
    """The same as Kullback-Leibler divergence in nats, where it is defined; else 0."""
    pairs: list[list[float]]
    """``[J, N]`` when those of one sender are, for each receiver; NaN where nothing is to be changed."""
    divergences: list[list[float]]

    @property
    def real(self) -> bool:
        return self.everyone is not None and self.everyone.low > NOTHING

    def to_dict(self) -> dict[str, Any]:
        whole = self.everyone
        return {
            "everyone": None if whole is None else {"mean": whole.mean, "low": whole.low, "high": whole.high},
            "divergence_nats": self.divergence,
            "pairs": _plain(self.pairs),
            "pairs_divergence_nats": _plain(self.divergences),
        }


@dataclass(frozen=True)
class ProbeReport:
    """What a team says, what can be read out of it, and what it changes; see ``docs/probe.md`` for every number."""

    env: str
    episodes: int
    seed: int
    greedy: bool
    num_agents: int
    senders: tuple[int, ...]
    wire: WireUse
    said: list[Said]
    readable: list[Cell]
    exchanged: Listening
    muted: Listening
    numbers: bool
    """Whether actions are numbers."""
    moments: Moments = field(repr=False)
    """What was measured; not in the JSON."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form as Python values; see ``docs/probe.md``."""
        return {
            "schema": SCHEMA,
            "env": self.env,
            "episodes": self.episodes,
            "seed": self.seed,
            "greedy": self.greedy,
            "num_agents": self.num_agents,
            "senders": list(self.senders),
            "wire": self.wire.to_dict(),
            "messages": [said.to_dict() for said in self.said],
            "readable": [cell.to_dict() for cell in self.readable],
            "listening": {
                "unit": "share of the range" if self.numbers else "total variation",
                "exchanged": self.exchanged.to_dict(),
                "muted": self.muted.to_dict(),
            },
            "verdict": self.verdict(),
        }

    def best(self) -> list[Cell]:
        """The first message that tells most, for each target."""
        groups = groupby(self.readable, key=lambda cell: cell.target)
        return [max(cells, key=lambda cell: round(cell.score.value - cell.guess, 2)) for _, cells in groups]

    def verdict(self) -> list[str]:
        """What it comes to, in sentences."""
        if not self.said:
            return ["Nobody says anything that another could read often enough to be looked at."]
        talks = any(said.signalling.real for said in self.said)
        lines = [
            "Messages depend on what their senders see." if talks else "Messages do not depend on what senders see."
        ]
        for cell in self.best():
            where = f"agent {cell.sender}" + (f" in round {cell.round + 1}" if self.wire.rounds > 1 else "")
            if cell.real:
                lines.append(f"A receiver can read {cell.target} best from {where}: {self._score(cell)}.")
            else:
                lines.append(f"No message tells {cell.target}.")
        if self.exchanged.real or self.muted.real:
            what = "move actions by" if self.numbers else "change the chances of actions by"
            shown = self.exchanged.everyone or self.muted.everyone
            assert shown is not None  # real
            lines.append(f"Receivers listen: other messages {what} {shown.mean:.1%} on average.")
        else:
            lines.append("Nobody listens: what is read changes no decision.")
        return [*lines, "Whether that is worth anything, gnncomm eval says: this measures what is said and heard."]

    def _score(self, cell: Cell) -> str:
        if cell.labels:
            return f"{cell.score.value:.1%} right, {cell.guess:.1%} by guessing"
        return f"R² = {cell.score.value:.2f}, 0 by guessing"

    def tables(self) -> list[Table]:
        """What is said, what can be read out of it, and who listens to whom."""
        return [table for table in (self._messages(), self._targets(), self._pairs()) if table.row_count]

    def _messages(self) -> Table:
        table = Table(title="What is said", title_justify="left", caption=_CAPTION, caption_justify="left")
        for name in ("round", "sender", "entropy", "tells what it sees", "tells what it does"):
            table.add_column(name, justify="left" if name == "sender" else "right")
        for said in self.said:
            bound = "" if said.exact else "≥ "
            bits = [f"{bound}{max(said.entropy, 0):.2f} bits"]
            bits += [
                _marked(f"{max(fact.value, 0):.2f} bits", fact.real) for fact in (said.signalling, said.consistency)
            ]
            table.add_row(str(said.round + 1), f"agent {said.sender}", *bits)
        return table

    def _targets(self) -> Table:
        table = Table(
            title="What can be read out of a message", title_justify="left", caption=_READ, caption_justify="left"
        )
        for name in ("", "round", *(f"agent {sender}" for sender in self.senders), "guess"):
            table.add_column(name, justify="left" if not name else "right")
        for (target, number), cells in groupby(self.readable, key=lambda cell: (cell.target, cell.round)):
            by_sender = {cell.sender: cell for cell in cells}
            shown = [_score(by_sender[sender]) if sender in by_sender else "" for sender in self.senders]
            one = next(iter(by_sender.values()))
            mean = sum(cell.guess for cell in by_sender.values()) / len(by_sender)
            table.add_row(target, str(number + 1), *shown, f"{mean:.0%}" if one.labels else "0")
        return table

    def _pairs(self) -> Table:
        title = "What changes if a message is exchanged for one of another episode"
        table = Table(title=title, title_justify="left", caption=self._listened(), caption_justify="left")
        receivers = range(self.num_agents) if self.num_agents <= len(self.senders) else ()
        table.add_column("sender")
        for receiver in receivers:
            table.add_column(f"agent {receiver}", justify="right")
        for sender, row in zip(self.senders, self.exchanged.pairs, strict=True):
            if receivers and not all(math.isnan(value) for value in row):
                table.add_row(f"agent {sender}", *("" if math.isnan(value) else f"{value:.1%}" for value in row))
        return table

    def _listened(self) -> str:
        unit = (
            "share of its range that an action moves" if self.numbers else "total variation of the receiver's chances"
        )
        whole = [
            f"all {name}: {one.everyone.mean:.1%} [{one.everyone.low:.1%}, {one.everyone.high:.1%}]"
            for name, one in (("exchanged", self.exchanged), ("muted", self.muted))
            if one.everyone is not None
        ]
        return f"{unit}; " + "; ".join(whole)


_CAPTION = "* more than chance (p ≤ 0.05, all messages together); ≥: sorted into clusters, a lower bound"
_READ = "linear probe on episodes that it was not fitted to: share of right answers, or R²; * more than chance"


def _marked(text: str, real: bool) -> str:
    return f"{text} {'*' if real else ' '}"


def _score(cell: Cell) -> str:
    value = cell.score.value
    return _marked(f"{value:.0%}" if cell.labels else f"{max(value, 0):.2f}", cell.real)


def _plain(rows: Sequence[Sequence[float]]) -> list[list[float | None]]:
    """JSON knows no NaN."""
    return [[None if math.isnan(value) else value for value in row] for row in rows]
