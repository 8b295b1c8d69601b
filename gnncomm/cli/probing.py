"""What ``gnncomm probe`` does once its options are read."""

from __future__ import annotations

from rich.console import Console

from gnncomm.cli.console import make_console
from gnncomm.cli.parse import output_file
from gnncomm.cli.probe import ProbeArgs
from gnncomm.probe import ProbeReport, probe, probe_figure
from gnncomm.recording import figure_suffixes
from gnncomm.store import write_json_atomic


def run(args: ProbeArgs) -> int:
    """Probe as ``args`` say; the exit code."""
    console = make_console()
    trained, changes = args.load(console)
    numbers = output_file(args.json) if args.json else None
    figure = output_file(args.figure, *figure_suffixes()) if args.figure else None
    report = probe(trained.policy, trained.evaluation_env(args.episodes), args.episodes, args.seed, not args.sample)
    if numbers is not None:
        write_json_atomic(numbers, report.to_dict() | ({"overrides": changes} if changes else {}))
    if figure is not None:
        probe_figure(report, figure)
    show(report, console)
    for what, file in {"numbers": numbers, "figure": figure}.items():
        if file is not None:
            console.print(f"{what} in {file}", soft_wrap=True)
    return 0


def show(report: ProbeReport, console: Console) -> None:
    """The tables, or where they do not fit only what they come to."""
    for table in report.tables():
        if console.width >= console.measure(table).minimum:
            console.print(table)
    for line in report.verdict():
        console.print(line, soft_wrap=True)
    console.print(str(report.wire), soft_wrap=True)
