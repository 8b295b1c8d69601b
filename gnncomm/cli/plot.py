"""``gnncomm plot RUN ...``: learning curves, one for each configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import tyro

from gnncomm.cli.console import make_console
from gnncomm.cli.parse import output_file, parse
from gnncomm.compare.curves import band, curve_of, smoothed
from gnncomm.compare.groups import Group, Run, apart, find, grouped
from gnncomm.compare.statistics import Floats
from gnncomm.config import require_ranges
from gnncomm.errors import ConfigError
from gnncomm.recording.curves import POINTS, learning_curves
from gnncomm.recording.figure import figure_suffixes

Curve = tuple[Floats, Floats]


@dataclass(frozen=True)
class PlotArgs:
    """Draw how trainings went, side by side. Runs of one configuration but for the seed are one curve with a band."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm plot runs/first runs/second --figure both.svg",
        "gnncomm plot runs/first --metric bits_per_agent_step",
    )

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN ...")]
    """Runs, or directories of many seeds."""
    figure: Annotated[str, tyro.conf.arg(metavar="FILE")] = "curves.png"
    """PNG, PDF or SVG to draw into."""
    metric: str = "success"
    """Which metric, as it is named in metrics.jsonl."""
    x: Literal["steps", "wall"] = "steps"
    """Over environment steps, or the time that training took."""
    average: Literal["mean", "iqm"] = "mean"
    """What is drawn of many seeds, with its 95 % bootstrap interval."""
    smooth: int = 1
    """Draw the mean of the last so many updates, and say so."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("Expected at least one run directory to plot, got none.")
        require_ranges(self, {"smooth": (1, 2**20)})


def run(words: list[str]) -> int:
    args = parse(PlotArgs, words, "gnncomm plot")
    figure = output_file(args.figure, *figure_suffixes())
    curves: dict[str, Curve] = {}
    bands: dict[str, Curve] = {}
    behind: dict[str, list[Curve]] = {}
    groups = apart(grouped(find(args.runs)))
    for group in groups:
        seeds = [_curve(each, args) for each in group.runs]
        name = _name(group)
        if len(seeds) == 1:
            curves[name] = seeds[0]
        else:
            found = band(seeds, args.average)
            curves[name], bands[name], behind[name] = (found.x, found.y), (found.low, found.high), seeds
    xlabel = "environment steps"
    if args.x == "wall":
        unit, scale = _unit(curves.values())
        xlabel = f"{unit} of training"
        curves, bands = ({name: (x * scale, y) for name, (x, y) in curves.items()}, bands)
        behind = {name: [(x * scale, y) for x, y in seeds] for name, seeds in behind.items()}
    learning_curves(
        curves,
        figure,
        title=args.metric,
        xlabel=xlabel,
        ylabel=_drawn(args, bool(bands), any(len(x) > POINTS for x, _ in curves.values())),
        percent=args.metric == "success",
        bands=bands,
        behind=behind,
    )
    make_console().print(f"figure in {figure}", soft_wrap=True)
    return 0


def _curve(each: Run, args: PlotArgs) -> Curve:
    x, y = curve_of(each, args.metric, args.x)
    return x, smoothed(y, args.smooth) if args.smooth > 1 else y


def _unit(curves: Iterable[Curve]) -> tuple[str, float]:
    """In which hours are drawn, and how many of it are one."""
    longest = max(float(x[-1]) for x, _ in curves)
    return ("hours", 1.0) if longest >= 2 else ("minutes", 60.0) if longest >= 1 / 30 else ("seconds", 3600.0)


def _name(group: Group) -> str:
    """What stands at the end of its curve: who, of how many seeds, and how many of them still have to train."""
    label = group.label if len(group.label) <= 28 else f"{group.label[:13]}...{group.label[-12:]}"
    seeds = f" (n={len(group.runs)})" if len(group.runs) > 1 else ""
    begun = sum(not each.is_finished for each in group.runs)
    return f"{label}{seeds}" + (f", {begun if seeds else ''} unfinished".replace("  ", " ") if begun else "")


def _drawn(args: PlotArgs, seeds: bool, long: bool) -> str:
    """What was done to the numbers."""
    told = (
        [f"{'IQM' if args.average == 'iqm' else 'mean'} of seeds, 95 % bootstrap, single seeds pale"] if seeds else []
    )
    told += [f"each point the mean of the last {args.smooth} updates"] if args.smooth > 1 else []
    told += [f"long curves as {POINTS} means, single values pale"] if long else []
    return "; ".join(told) or "each update"
