"""``gnncomm plot RUN ...``: learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro

from gnncomm.cli.console import make_console
from gnncomm.cli.parse import output_file, parse
from gnncomm.errors import CheckpointCorruptError, ConfigError, did_you_mean
from gnncomm.recording.curves import Curve, learning_curves
from gnncomm.recording.figure import figure_suffixes
from gnncomm.store import RunDir


@dataclass(frozen=True)
class PlotArgs:
    """Draw how trainings went, side by side."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm plot runs/first runs/second --figure both.svg",
        "gnncomm plot runs/first --metric bits_per_agent_step",
    )

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN ...")]
    """Run directories."""
    figure: Annotated[str, tyro.conf.arg(metavar="FILE")] = "curves.png"
    """PNG, PDF or SVG to draw into."""
    metric: str = "success"
    """Which metric, as it is named in metrics.jsonl."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("Expected at least one run directory to plot, got none.")


def run(words: list[str]) -> int:
    args = parse(PlotArgs, words, "gnncomm plot")
    figure = output_file(args.figure, *figure_suffixes())
    runs = {RunDir.open(name).path.resolve(): name for name in args.runs}  # a run that is named twice is drawn once
    names = short_names(list(runs))
    curves = {names[path]: curve_of(name, args.metric) for path, name in runs.items()}
    learning_curves(curves, figure, ylabel=args.metric, percent=args.metric == "success")
    make_console().print(f"figure in {figure}", soft_wrap=True)
    return 0


def short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """The last parts of each path, as many as tell it from all others: ``a/seed0`` and ``b/seed0``."""
    names = {}
    for path in paths:
        others = [other.parts for other in paths if other != path]
        count = next(k for k in range(1, len(path.parts) + 1) if path.parts[-k:] not in [o[-k:] for o in others])
        names[path] = str(Path(*path.parts[-count:]))
    return names


def curve_of(run: str, metric: str) -> Curve:
    """Environment steps and values of one metric of a run, where it has some.

    Raises:
        StateError: no run lies there. ConfigError: it has no such metric. CheckpointCorruptError: what stands in its
            log is no number.
    """
    lines = RunDir.open(run).metrics()
    if not lines:
        raise ConfigError(f"{run} has no metrics: expected a run of gnncomm train after its first update.")
    known = sorted({name for line in lines for name in line} - {"env_steps"})
    if metric not in known:
        raise ConfigError(f"{run} has no metric {metric!r}. {did_you_mean(metric, known)}")
    xs, ys = [], []
    for number, line in enumerate(lines, start=1):
        if line.get(metric) is not None:
            place = f"{run}/metrics.jsonl, line {number}"
            xs.append(_finite(line, "env_steps", place))
            ys.append(_finite(line, metric, place))
    if not xs:
        raise ConfigError(f"{run}: {metric!r} has no value yet. Train longer, or plot another metric.")
    return xs, ys


def _finite(line: Mapping[str, Any], name: str, place: str) -> float:
    value = line.get(name)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 10**300:
        return float(value)
    kind = "nothing" if value is None else type(value).__name__
    got = "one that is too large" if kind in ("int", "float") else kind
    raise CheckpointCorruptError(f"{place}: expected a number for {name!r}, got {got}.")
