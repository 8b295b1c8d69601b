"""What an evaluation says: as numbers, as JSON, as a table, in one sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from gnncomm.evaluation.play import Outcomes
from gnncomm.evaluation.statistics import Difference, Interval, mean_interval, wilson
from gnncomm.evaluation.traffic import WireUse

SCHEMA = 2
"""Version of the JSON form; raised when a key changes its meaning or goes."""

ARMS = ("trained", "muted", "shuffled", "floor", "ceiling")
_NAMES = {
    "trained": "trained",
    "muted": "messages muted",
    "shuffled": "messages shuffled",
    "floor": "floor (no skill)",
    "ceiling": "ceiling (sees all)",
}


@dataclass(frozen=True)
class Arm:
    """How one of the five policies did."""

    success: Interval
    """NaN where the environment knows no success."""
    returns: Interval
    length: Interval
    teams: Mapping[str, Interval] = field(default_factory=dict)
    """Returns of each of several teams, whose mean says nothing of opponents."""

    @classmethod
    def of(cls, outcomes: Outcomes, judged: bool = True) -> Arm:
        """Wilson's interval for success, where the environment ``judged`` of it, Student's t for the others."""
        return cls(
            wilson(int(outcomes.success.sum()), len(outcomes.success)) if judged else Interval(*[math.nan] * 3),
            mean_interval(outcomes.returns),
            mean_interval(outcomes.length.double()),
            {name: mean_interval(returns) for name, returns in outcomes.teams.items()},
        )

    def to_dict(self) -> dict[str, dict[str, float | None]]:
        named = {"success": self.success, "return": self.returns, "length": self.length}
        named |= {f"return_{name}": returns for name, returns in self.teams.items()}
        return {name: _interval(value) for name, value in named.items()}


@dataclass(frozen=True)
class Report:
    """The trained team, its two controls, and the environment's floor and ceiling, over the same episodes.

    ``gain`` is the mean paired difference of returns, trained minus shuffled, ``gains`` the same for each of several
    teams; ``wire`` what the trained team says.
    """

    env: str
    episodes: int
    seed: int
    greedy: bool
    trained: Arm
    muted: Arm
    shuffled: Arm
    floor: Arm
    gain: Difference
    without_partner: float
    """Share of the shuffled team's messages that no other episode had one for, so that they stayed as they were."""
    wire: WireUse
    ceiling: Arm | None = None
    """None where the environment knows no policy that sees everything."""
    ceiling_kind: str = "reference"
    """``"optimal"`` where no policy does better than the ceiling; else ``"reference"``: a trained team may beat it."""
    gains: Mapping[str, Difference] = field(default_factory=dict)
    outcomes: Mapping[str, Outcomes] = field(default_factory=dict, repr=False, compare=False)
    """How each of the episodes went, by the name of the policy; not in the JSON."""

    @property
    def arms(self) -> dict[str, Arm]:
        """Those that were played, by name."""
        found = {name: getattr(self, name) for name in ARMS}
        return {name: arm for name, arm in found.items() if arm is not None}

    @property
    def channel_used(self) -> bool:
        """Whether the 95 % interval of the gain is above zero; of several teams, that of one of them."""
        return any(gain.interval.low > 0 for gain in self.gains.values() or [self.gain])

    def to_dict(self) -> dict[str, Any]:
        """The JSON form as Python values, see ``to_json``."""
        gains = {"": self.gain, **{f"_{name}": gain for name, gain in self.gains.items()}}
        return {
            "schema": SCHEMA,
            "env": self.env,
            "episodes": self.episodes,
            "seed": self.seed,
            "greedy": self.greedy,
            **{name: arm.to_dict() for name, arm in self.arms.items()},
            **({} if self.ceiling is None else {"ceiling_kind": self.ceiling_kind}),
            **{f"communication_gain{name}": gain.mean for name, gain in gains.items()},
            **{
                f"communication_gain_interval{name}": {"low": gain.interval.low, "high": gain.interval.high}
                for name, gain in gains.items()
            },
            "channel_used": self.channel_used,
            "without_partner": self.without_partner,
            "wire": self.wire.to_dict(),
        }

    def to_json(self) -> str:
        """The report as JSON text.

        Keys: ``schema`` (2), ``env`` (id), ``episodes``, ``seed``, ``greedy``; ``trained``, ``muted``, ``shuffled``,
        ``floor`` and, where there is one, ``ceiling``, each with ``success`` (share; null where the environment knows
        none), ``return`` (rewards summed over time, averaged over agents) and ``length`` (steps), each
        ``{"mean", "low", "high"}`` with a 95 % interval; with it ``ceiling_kind`` (``"optimal"``, or ``"reference"``: a
        good player that may be beaten);
        ``communication_gain`` (number) and ``communication_gain_interval`` (``{"low", "high"}``), in units of return;
        where there are several teams the same with ``_TEAM`` (``return_TEAM``, ``communication_gain_TEAM``, ...);
        ``channel_used`` (bool: that interval is above zero, that of a team where there are several);
        ``without_partner`` (share of shuffled messages that stayed as they were);
        ``wire`` (``bits_per_agent_step``, ``edges_per_step``, ``rounds``, see ``WireUse``).
        """
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def table(self) -> Table:
        """One row for each policy; +- is half of the 95 % interval."""
        table = Table(title=self.title(), caption="\n".join(self.remarks()), min_width=72)
        table.add_column("policy")
        teams = list(self.trained.teams)
        for column in (
            "success",
            "95 %",
            "steps",
            *(["return"] if not teams else [f"return {team}" for team in teams]),
        ):
            table.add_column(column, justify="right")
        order = ("ceiling", "trained", "shuffled", "muted", "floor")
        for name, arm in ((name, self.arms[name]) for name in order if name in self.arms):
            table.add_row(
                self.label(name),
                percent(arm.success.mean).replace("%", " %"),
                "" if math.isnan(arm.success.mean) else f"{100 * arm.success.low:.1f} – {100 * arm.success.high:.1f}",
                f"{arm.length.mean:.2f} ± {arm.length.half_width:.2f}",
                *(f"{one.mean:+.3f} ± {one.half_width:.3f}" for one in (arm.teams.values() or [arm.returns])),
                style="bold" if name == "trained" else "",
            )
        return table

    def title(self) -> str:
        """What was played."""
        return f"{self.env}, {self.episodes} episodes"

    def label(self, arm: str) -> str:
        """What ``arm`` is called where people read it."""
        return "reference (sees all)" if (arm, self.ceiling_kind) == ("ceiling", "reference") else _NAMES[arm]

    def remarks(self) -> list[str]:
        """The sentences that belong to the table: the verdict, the wire, and what could not be shuffled."""
        found = [*map(self.verdict, self.gains or [""]), str(self.wire)]
        if self.without_partner:
            share = f"{100 * self.without_partner:.1f} %"
            found.append(f"{share} of the shuffled messages had no partner in another episode and stayed as they were.")
        return found

    def verdict(self, team: str = "") -> str:
        """Whether the messages matter, in one sentence; to ``team``, of several."""
        found = self.gains.get(team, self.gain)
        gain, interval, of = f"{found.mean:+.3f}", found.interval, f" of {team}" if team else ""
        if interval.low > 0:
            return (
                f"Communication{of} gains {gain} ± {interval.half_width:.3f} return per episode over shuffled messages."
            )
        return (
            f"CHANNEL UNUSED: communication{of} gains {gain} return per episode over shuffled messages; the 95 % "
            f"interval from {interval.low:+.3f} to {interval.high:+.3f} "
            f"{'holds' if interval.high >= 0 else 'lies below'} zero."
        )


def _interval(value: Interval) -> dict[str, float | None]:
    known = not math.isnan(value.mean)
    return (
        {"mean": value.mean, "low": value.low, "high": value.high} if known else dict.fromkeys(("mean", "low", "high"))
    )


def percent(share: float | None) -> str:
    """A share, for people, where there is one."""
    return "n/a" if share is None or math.isnan(share) else f"{share:.1%}"
