"""``compare``: methods over seeds, each trained and measured alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnncomm.compare import outcomes
from gnncomm.compare.curves import curve_of, reached
from gnncomm.compare.groups import Group, Run, find, grouped
from gnncomm.compare.outcomes import METRICS, Kept
from gnncomm.compare.statistics import (
    Floats,
    Test,
    bootstrap,
    detectable,
    holm,
    over_seeds,
    paired_test,
    probability_of_improvement,
    unpaired_test,
)
from gnncomm.errors import ConfigError, did_you_mean
from gnncomm.evaluation import Interval, wilson

SCHEMA = 1
"""Version of the JSON form."""
THRESHOLD = {"success": 0.9}
"""Where nothing else is said."""
_LOGGED = {"success": "success", "return": "return", "steps": "length"}


@dataclass(frozen=True)
class Team:
    """A run, what its evaluation says, and when it had learned."""

    run: Run
    kept: Kept
    score: float
    """The mean of the metric over episodes."""
    reached: float | None
    """Environment steps to the threshold; None: not reached, or there is none."""


@dataclass(frozen=True)
class Method:
    """The seeds of one configuration in numbers."""

    group: Group
    teams: tuple[Team, ...]
    mean: float
    mean_interval: Interval | None
    """Student's; None of a single seed."""
    iqm: Interval
    """With the stratified bootstrap."""
    worst: float
    gain: float
    """Communication gain, in return: mean over seeds."""

    @property
    def scores(self) -> Floats:
        """``[R]``."""
        return np.array([team.score for team in self.teams])

    @property
    def channel(self) -> Interval:
        """The share of seeds that use their channel, with Wilson's interval."""
        return wilson(sum(team.kept.report["channel_used"] for team in self.teams), len(self.teams))

    @property
    def steps_to_threshold(self) -> list[float]:
        """Of those that reached it."""
        return [team.reached for team in self.teams if team.reached is not None]


@dataclass(frozen=True)
class Against:
    """One method beside the first."""

    method: Method
    first: Method
    improves: Interval
    """Probability that a seed of the method is better than one of the first."""
    test: Test | None
    """None where one of them has too few seeds."""
    adjusted: float | None
    """p after Holm's correction for all that are compared with the first."""


@dataclass(frozen=True)
class Comparison:
    """Methods, the first of which the others are compared with."""

    metric: str
    threshold: float | None
    protocol: Mapping[str, Any]
    """What is the same of all: environment, steps, episodes."""
    methods: tuple[Method, ...]
    against: tuple[Against, ...]
    left_out: tuple[str, ...]
    """Runs that are not counted, and why: one line each."""

    @property
    def fewer_is_better(self) -> bool:
        return self.metric == "steps"

    def power(self) -> str:
        """What so many seeds can find, in one sentence."""
        first = self.methods[0]
        fewest = min(self.methods[1:] or self.methods, key=lambda method: len(method.teams))
        n, m = len(first.teams), len(fewest.teams)
        if min(n, m) < 2:
            return f"{m} and {n} seeds say nothing of how much seeds differ: train 5 of each at least."
        size, spread = detectable(n, m), self._spread()
        here = f", here {size * spread:.3g} in {self.metric}" if spread > 0 else ""
        return (
            f"{m} and {n} seeds find a difference of {size:.1f} standard deviations between seeds{here} (t-test, 5 %, "
            f"power 0.8); smaller ones are likely to be missed{': take this as screening' if min(n, m) < 10 else ''}."
        )

    def _spread(self) -> float:
        """The standard deviation between seeds of a method, pooled."""
        within = [
            np.var(method.scores, ddof=1) * (len(method.teams) - 1) for method in self.methods if method.teams[1:]
        ]
        freedom = sum(len(method.teams) - 1 for method in self.methods)
        return float(np.sqrt(sum(within) / freedom)) if freedom else 0.0


def compare(names: Iterable[str], metric: str = "success", threshold: float | None = None) -> Comparison:
    """Compare the methods whose runs are named; the first one named is what the others are compared with.

    Runs of one configuration but for the seed are one method. A directory of many seeds stands for all of them.

    Args:
        names: runs that were trained to their end and evaluated.
        metric: ``success``, ``return`` or ``steps`` (of which fewer are better), the mean over the episodes of the
            evaluation.
        threshold: of steps to threshold, which are the first after which the running metric, averaged over the last
            ``curves.WINDOW`` updates, is as good; 0.9 of success if not given.

    Raises:
        ConfigError: another metric; runs in different environments, with different budgets, or evaluated otherwise,
            which names what differs; one seed twice; nothing to compare.
        CheckpointError: no run of that name, or one that is damaged.
    """
    if metric not in METRICS:
        raise ConfigError(f"metric: expected one of an evaluation, got {metric!r}. {did_you_mean(metric, METRICS)}")
    level = THRESHOLD.get(metric) if threshold is None else threshold
    left_out: list[str] = []
    teams = {team.run: team for team in _teams(find(names), metric, level, left_out)}
    protocol = _same(list(teams.values()), left_out)
    groups = grouped(list(teams))
    for group in groups:
        _require_no_seed_twice(group)
    fewer = metric == "steps"
    methods = tuple(_method(group, tuple(teams[run] for run in group.runs), fewer) for group in groups)
    return Comparison(metric, level, protocol, methods, _against(methods, metric), tuple(left_out))


def _teams(runs: Iterable[Run], metric: str, threshold: float | None, left_out: list[str]) -> Iterator[Team]:
    for run in runs:
        if not run.is_finished:
            planned = run.config.run.steps
            left_out.append(f"{run.name} is unfinished, {run.steps:,} of {planned:,} steps: gnncomm resume {run.path}")
            continue
        try:
            kept = outcomes.read(run.path / outcomes.FILE)
        except FileNotFoundError:
            left_out.append(f"{run.name} was not evaluated: gnncomm eval {run.path}")
            continue
        if kept.env_steps != run.steps:
            at = f"at {kept.env_steps:,} of {run.steps:,} steps"
            left_out.append(f"{run.name} was evaluated {at}: gnncomm eval {run.path}")
            continue
        if metric == "success" and kept.report["trained"]["success"]["mean"] is None:
            raise ConfigError(f"{run.name}: {run.config.env.id} knows no success. Compare --metric return.")
        when = None
        if threshold is not None:
            x, y = curve_of(run, _LOGGED[metric])
            when = reached(x, y, threshold, fewer_is_better=metric == "steps")
        yield Team(run, kept, float(kept.of(metric).mean()), when)


def _require_no_seed_twice(group: Group) -> None:
    seeds = [run.seed for run in group.runs]
    twice = [str(run.path) for run in group.runs if seeds.count(run.seed) > 1]
    if twice:
        raise ConfigError(
            f"Expected different seeds of {group.label}, got the same one in {', '.join(twice)}: it would count twice. "
            "Leave out all but one of them."
        )


def _same(teams: Sequence[Team], left_out: Sequence[str]) -> dict[str, Any]:
    """What all were trained and measured in.

    Raises:
        ConfigError: there are none, or they differ in it.
    """
    if not teams:
        raise ConfigError(f"Expected runs that are finished and evaluated, got none: {'; '.join(left_out)}.")
    told = [_protocol(team) for team in teams]
    differences = []
    for name in dict.fromkeys(name for each in told for name in each):
        values: dict[str, str] = {}
        for team, each in zip(teams, told, strict=True):
            values.setdefault(str(each.get(name, "as by default")) or "none", str(team.run.path))
        if len(values) > 1:
            differences.append(f"{name}: " + " and ".join(f"{value} ({run})" for value, run in values.items()))
    if differences:
        raise ConfigError(
            f"Expected runs that were trained and evaluated alike, got different {'; '.join(differences)}. Compare "
            "those that belong together, or evaluate again with gnncomm eval."
        )
    return told[0]


def _protocol(team: Team) -> dict[str, Any]:
    config, report = team.run.config, team.kept.report
    return {
        "env": report["env"],
        **{f"env.settings.{name}": value for name, value in team.kept.settings.items()},
        "run.steps": config.run.steps,
        "run.stop_at": config.run.stop_at,
        "run.patience": config.run.patience,
        "episodes": report["episodes"],
        "seed of the episodes": report["seed"],
        "greedy": report["greedy"],
    }


def _method(group: Group, teams: tuple[Team, ...], fewer: bool) -> Method:
    scores = np.array([team.score for team in teams])
    gain = float(np.mean([team.kept.report["communication_gain"] for team in teams]))
    worst = float(scores.max() if fewer else scores.min())
    return Method(group, teams, float(scores.mean()), over_seeds(scores), bootstrap(scores), worst, gain)


def _against(methods: Sequence[Method], metric: str) -> tuple[Against, ...]:
    first, others = methods[0], methods[1:]
    tests = [_test(other, first, metric) for other in others]
    adjusted = iter(holm([test.p for test in tests if test is not None]))
    better: Callable[[Floats], Floats] = np.negative if metric == "steps" else np.positive
    return tuple(
        Against(
            other,
            first,
            probability_of_improvement(better(other.scores), better(first.scores)),
            test,
            None if test is None else next(adjusted),
        )
        for other, test in zip(others, tests, strict=True)
    )


def _test(a: Method, b: Method, metric: str) -> Test | None:
    """By pairs of seeds where one has all of the other's, by pairs of episodes for two teams, else unpaired."""
    ours, theirs = ({team.run.seed: team for team in method.teams} for method in (a, b))
    both = [seed for seed in ours if seed in theirs]
    fewest = min(len(ours), len(theirs))
    if len(ours) == len(theirs) == 1:
        return paired_test(a.teams[0].kept.of(metric), b.teams[0].kept.of(metric), "episodes")
    if len(both) == fewest > 1:
        x, y = (np.array([teams[seed].score for seed in both]) for teams in (ours, theirs))
        return paired_test(x, y, "seeds")
    return unpaired_test(a.scores, b.scores) if fewest > 1 else None
