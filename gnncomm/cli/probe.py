"""``gnncomm probe RUN``: what do they say, and who listens?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console

from gnncomm.cli.console import make_console
from gnncomm.cli.elsewhere import ElsewhereArgs
from gnncomm.cli.parse import output_file, parse
from gnncomm.config import require_ranges
from gnncomm.probe import ProbeReport, probe, probe_figure
from gnncomm.recording import figure_suffixes
from gnncomm.store import write_json_atomic


@dataclass(frozen=True)
class ProbeArgs(ElsewhereArgs):
    """Measure what the messages of a trained team say, what can be read out of them, and whose actions they change."""

    episodes: int = 500
    """Episodes to look at."""
    json: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """File to write the numbers to."""
    figure: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """PNG, PDF or SVG to draw into."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"episodes": (30, 10**7)})


def run(words: list[str]) -> int:
    args = parse(ProbeArgs, words, "gnncomm probe")
    console = make_console()
    trained, _ = args.load(console)
    numbers = output_file(args.json) if args.json else None
    figure = output_file(args.figure, *figure_suffixes()) if args.figure else None
    report = probe(trained.policy, trained.evaluation_env(args.episodes), args.episodes, args.seed, not args.sample)
    if numbers is not None:
        write_json_atomic(numbers, report.to_dict() | ({"overrides": args.overrides} if args.overrides else {}))
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
