"""What ``gnncomm plot`` does once its options are read."""

from __future__ import annotations

from collections.abc import Iterable

from gnncomm.cli.console import make_console
from gnncomm.cli.parse import output_file
from gnncomm.cli.plot import PlotArgs
from gnncomm.compare.curves import band, curve_of, smoothed
from gnncomm.compare.groups import Group, Run, apart, find, grouped
from gnncomm.compare.statistics import Floats
from gnncomm.compare.text import shortened
from gnncomm.recording.curves import POINTS, learning_curves
from gnncomm.recording.figure import figure_suffixes

Curve = tuple[Floats, Floats]


def run(args: PlotArgs) -> int:
    """Draw as ``args`` say; the exit code."""
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
        ylabel=f"{_tasks(groups)}: {_drawn(args, bool(bands), any(len(x) > POINTS for x, _ in curves.values()))}",
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
    seeds = f" (n={len(group.runs)})" if len(group.runs) > 1 else ""
    begun = sum(not each.is_finished for each in group.runs)
    unfinished = f", {f'{begun} ' if seeds else ''}unfinished" if begun else ""
    return f"{shortened(group.label, 28)}{seeds}{unfinished}"


def _tasks(groups: Iterable[Group]) -> str:
    """Where they learned."""
    known = list(dict.fromkeys(run.config.env.id for group in groups for run in group.runs))
    return ", ".join(known) if len(known) <= 2 else f"{len(known)} environments"


def _drawn(args: PlotArgs, seeds: bool, long: bool) -> str:
    """What was done to the numbers."""
    told = (
        [f"{'IQM' if args.average == 'iqm' else 'mean'} of seeds, 95 % bootstrap, single seeds pale"] if seeds else []
    )
    told += [f"each point the mean of the last {args.smooth} updates"] if args.smooth > 1 else []
    told += [f"long curves as {POINTS} means, single values pale"] if long else []
    return "; ".join(told) or "each update"
