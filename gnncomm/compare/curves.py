"""How runs learned, from their logs: one metric of each over steps or hours, and what a group of seeds comes to."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gnncomm.compare.groups import Run
from gnncomm.compare.statistics import Floats, bootstrap, iqm
from gnncomm.errors import CheckpointCorruptError, ConfigError, did_you_mean
from gnncomm.store import RunDir
from gnncomm.store.files import read_regular
from gnncomm.store.loggers.table import TIMES

POINTS = 60
"""Of a curve over seeds."""
WINDOW = 5
"""Updates over which a running metric is averaged before it counts as having reached something."""
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Band:
    """A statistic over seeds at common places, with its 95 % interval."""

    x: Floats
    y: Floats
    low: Floats
    high: Floats


def curve_of(run: Run, metric: str, x: Literal["steps", "wall"] = "steps") -> tuple[Floats, Floats]:
    """Where, and how much: environment steps or hours, and one metric of a run where it has some.

    Raises:
        ConfigError: the run has no such metric, or no times. CheckpointCorruptError: what stands in its log is no
            number.
    """
    lines = RunDir.open(run.path).metrics()
    if not lines:
        raise ConfigError(f"{run.name} has no metrics: expected a run of gnncomm train after its first update.")
    known = sorted({name for line in lines for name in line} - {"env_steps"})
    if metric not in known:
        raise ConfigError(f"{run.name} has no metric {metric!r}. {did_you_mean(metric, known)}")
    found = []
    for number, line in enumerate(lines, start=1):
        if line.get(metric) is not None:
            place = f"{run.path}/metrics.jsonl, line {number}"
            found.append((_finite(line, "env_steps", place), _finite(line, metric, place)))
    if not found:
        raise ConfigError(
            f"{run.name}: {metric!r} has no value: no episode has ended yet, or its environment knows no such thing. "
            "Train longer, or plot another: --metric return."
        )
    xs, ys = np.array(found, dtype=np.float64).T
    return (xs if x == "steps" else _hours(run, xs)), ys


def smoothed(y: Floats, window: int) -> Floats:
    """The mean of the last ``window`` values up to each, of as many as there are at the beginning."""
    total = np.concatenate([[0.0], np.cumsum(y)])
    last = np.arange(1, len(y) + 1)
    first = np.maximum(0, last - window)
    smooth: Floats = (total[last] - total[first]) / (last - first)
    return smooth


def reached(x: Floats, y: Floats, threshold: float, *, fewer_is_better: bool = False) -> float | None:
    """The first of ``x`` at which the mean of the last ``WINDOW`` of ``y`` is as good as ``threshold``; None: never."""
    if len(y) < WINDOW:
        return None
    mean = np.convolve(y, np.full(WINDOW, 1 / WINDOW), "valid")
    good = mean <= threshold + 1e-9 if fewer_is_better else mean >= threshold - 1e-9
    return float(x[WINDOW - 1 :][good][0]) if good.any() else None


def band(curves: Sequence[tuple[Floats, Floats]], average: Literal["mean", "iqm"] = "mean") -> Band:
    """What seeds come to where all of them have values: at ``POINTS`` places, between which each goes straight.

    The interval is that of the bootstrap over seeds, see ``statistics.bootstrap``.
    """
    low, high = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    if not low <= high:
        raise ConfigError("Expected seeds with values at the same places, got none: train the later ones longer.")
    at = np.linspace(low, high, min(POINTS, max(len(x) for x, _ in curves)))
    table = np.array([np.interp(at, x, y) for x, y in curves])  # [R, P]
    statistic = iqm if average == "iqm" else _mean
    found = [bootstrap(column, statistic, 1000) for column in table.T]
    return Band(at, *(np.array([getattr(each, end) for each in found]) for end in ("mean", "low", "high")))


def _mean(scores: Floats) -> Any:
    return scores.mean(-1)


def _hours(run: Run, steps: Floats) -> Floats:
    """Hours of training at each of ``steps``, over all processes that trained the run."""
    file = run.path / TIMES
    if not file.exists():
        raise ConfigError(f"{run.name}: expected the times of its updates in {TIMES}, got none. Plot it over steps.")
    text = read_regular(file, _MAX_BYTES).decode("utf-8", errors="replace")
    try:
        rows = list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline="")))
        at, seconds = np.array([(float(row["step"]), float(row["seconds"])) for row in rows]).T
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise CheckpointCorruptError(f"{file}: expected numbers in columns step and seconds, got others.") from error
    hours: Floats = np.interp(steps, at, seconds / 3600)
    return hours


def _finite(line: Mapping[str, Any], name: str, place: str) -> float:
    value = line.get(name)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 10**300:
        return float(value)
    kind = "nothing" if value is None else type(value).__name__
    got = "one that is too large" if kind in ("int", "float") else kind
    raise CheckpointCorruptError(f"{place}: expected a number for {name!r}, got {got}.")
