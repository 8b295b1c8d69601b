"""``gnncomm plot RUN ...``: learning curves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from gnncomm.cli.parse import output_file, parse
from gnncomm.errors import ConfigError, did_you_mean
from gnncomm.record.curves import Curve, learning_curves
from gnncomm.store import RunDir


@dataclass(frozen=True)
class PlotArgs:
    """Draw how trainings went, side by side."""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run directories."""
    figure: str = "curves.png"
    """PNG, PDF or SVG to draw into."""
    metric: str = "success"
    """Which metric, as it is named in metrics.jsonl."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("Expected at least one run directory to plot, got none.")


def run(words: list[str]) -> int:
    args = parse(PlotArgs, words, "gnncomm plot")
    curves = {Path(name).name: curve_of(name, args.metric) for name in args.runs}
    learning_curves(curves, output_file(args.figure), ylabel=args.metric, percent=args.metric == "success")
    Console(highlight=False).print(f"figure in {args.figure}")
    return 0


def curve_of(run: str, metric: str) -> Curve:
    """Environment steps and values of one metric of a run, where it has some.

    Raises:
        StateError: no run lies there. ConfigError: it has no such metric.
    """
    lines = RunDir.open(run).metrics()
    known = sorted({name for line in lines for name in line} - {"env_steps"})
    if metric not in known:
        raise ConfigError(f"{run} has no metric {metric!r}. {did_you_mean(metric, known)}")
    points = [(float(line["env_steps"]), line.get(metric)) for line in lines]
    kept = [(x, float(y)) for x, y in points if y is not None and math.isfinite(y)]
    return [x for x, _ in kept], [y for _, y in kept]
