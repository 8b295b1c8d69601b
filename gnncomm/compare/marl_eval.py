"""The JSON that marl-eval reads: metrics of all seeds over training, and of their last evaluation.

Form: ``{env: {task: {algorithm: {run: {"step_1": {"step_count": int, metric: [..]}, ..., "absolute_metrics": {metric:
[..]}}}}}}``. Source: Gorsane et al. 2022, "Towards a standardised performance evaluation protocol for cooperative MARL"
(arXiv:2209.10485), and its package's README. Its absolute metric is that of the best checkpoint; ours is of the last
one, which needs no choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gnncomm.compare.comparison import Comparison, Team
from gnncomm.compare.curves import curve_of
from gnncomm.compare.statistics import Floats
from gnncomm.errors import ConfigError

POINTS = 20
"""Of a training, which is cut into so many equal parts."""
METRICS = {"success": "success", "return": "return", "episode_length": "length"}
"""As they are called in this JSON, and in ``metrics.jsonl``."""
_KEPT = {"success": "success", "return": "return", "episode_length": "steps"}
LAST = "absolute_metrics"


def export(comparison: Comparison) -> dict[str, Any]:
    """All methods of a comparison; its environment is env and task.

    A step holds the mean of a running metric over its part of the training; parts in which some seed finished no
    episode are left out of all.

    Raises:
        ConfigError: methods with different numbers of seeds, which marl-eval would cut to the smallest.
    """
    steps = int(comparison.protocol["run.steps"])
    teams = [team for method in comparison.methods for team in method.teams]
    series = {team.run.path: _series(team, steps) for team in teams}
    whole = np.isfinite(np.stack(list(series.values()))).all((0, 1))  # [POINTS]
    env, _, task = str(comparison.protocol["env"]).partition("/")
    algorithms = {
        method.group.label.upper().replace(",", ";"): {
            f"seed_{team.run.seed}": _run(team, series[team.run.path], whole, steps) for team in method.teams
        }
        for method in comparison.methods
    }
    data = {env: {(task or env).lower(): algorithms}}
    complaints = diagnose(data)
    if complaints:
        raise ConfigError(f"--marl-eval: {'; '.join(complaints)}. Compare methods with as many seeds each.")
    return data


def diagnose(data: Mapping[str, Any]) -> list[str]:
    """What marl-eval's ``DiagnoseData`` would mend or complain about, one line each; empty if nothing.

    All tasks have the same algorithms, all algorithms as many runs, all runs as many steps (with the absolute metrics),
    all steps the same metrics; names of tasks and metrics are in lower case, of algorithms in upper case and without
    commas; numbers are finite lists, and of a ``step_count`` whole.
    """
    found: list[str] = []
    for env, tasks in data.items():
        algorithms = {tuple(sorted(each)) for each in tasks.values()}
        runs = {len(each) for task in tasks.values() for each in task.values()}
        every = [run for task in tasks.values() for each in task.values() for run in each.values()]
        lengths, steps = {len(run) for run in every}, [(name, step) for run in every for name, step in run.items()]
        metrics = {tuple(sorted(step.keys() - {"step_count"})) for _, step in steps}
        for what, values in (("algorithms", algorithms), ("numbers of runs", runs), ("numbers of steps", lengths)):
            if len(values) > 1:
                found.append(f"{env}: expected the same {what} everywhere, got {sorted(map(str, values))}")
        if len(metrics) > 1:
            found.append(f"{env}: expected the same metrics in every step, got {sorted(metrics)}")
        found += [f"task {name!r} is not in lower case" for name in tasks if name != name.lower()]
        found += [f"metric {name!r} is not in lower case" for each in metrics for name in each if name != name.lower()]
        names = {name for task in tasks.values() for name in task}
        found += [f"algorithm {name!r} is not in upper case" for name in sorted(names) if name != name.upper()]
        found += [f"algorithm {name!r} has a comma" for name in sorted(names) if "," in name]
        if any(LAST not in run for run in every):
            found.append(f"{env}: expected {LAST} in every run")
        found += [f"{env}: {name} holds something else than finite numbers" for name, step in steps if not _sound(step)]
    return found


def _sound(step: Mapping[str, Any]) -> bool:
    counts = [value for name, value in step.items() if name == "step_count"]
    lists = [value for name, value in step.items() if name != "step_count"]
    return all(type(value) is int for value in counts) and all(
        isinstance(value, list) and value and np.isfinite(value).all() for value in lists
    )


def _series(team: Team, steps: int) -> Floats:
    """``[metrics, POINTS]``: means over equal parts of the training, NaN where no episode ended."""
    found = np.full((len(METRICS), POINTS), np.nan)
    for row, logged in zip(found, METRICS.values(), strict=True):
        x, y = curve_of(team.run, logged)
        part = np.minimum(np.ceil(x / steps * POINTS).astype(int) - 1, POINTS - 1).clip(0)
        for place in np.unique(part):
            row[place] = y[part == place].mean()
    return found


def _run(team: Team, series: Floats, whole: Any, steps: int) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for number, place in enumerate(np.flatnonzero(whole), start=1):
        values = {name: [float(series[row, place])] for row, name in enumerate(METRICS)}
        told[f"step_{number}"] = {"step_count": int((place + 1) * steps / POINTS), **values}
    return told | {LAST: {name: team.kept.of(kept).tolist() for name, kept in _KEPT.items()}}
