"""``gnncomm compare RUN ...``: methods over seeds."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from gnncomm.cli.console import make_console
from gnncomm.cli.parse import output_file, parse
from gnncomm.compare import compare
from gnncomm.compare.text import latex, lines, remarks, tables, to_dict
from gnncomm.errors import ConfigError
from gnncomm.store import write_json_atomic

NARROW = 96
"""Columns that the tables need."""


@dataclass(frozen=True)
class CompareArgs:
    """Compare methods over seeds, on the same episodes. Runs of one configuration but for the seed are one method."""

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN ...")]
    """Runs, or directories of many seeds; the first method is what the others are compared with."""
    metric: Literal["success", "return", "steps"] = "success"
    """What is compared: the mean over the episodes of the evaluation; of steps fewer are better."""
    threshold: float | None = None
    """Of steps to threshold, in the running metric; 0.9 of success, else none."""
    json: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """File to write all numbers to."""
    marl_eval: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """File to write the JSON of marl-eval to."""
    latex: bool = False
    """Print the table as LaTeX instead."""
    figure: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """PNG, PDF or SVG to draw into."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("Expected runs to compare, got none: gnncomm compare runs/a runs/b.")


def run(words: list[str]) -> int:
    args = parse(CompareArgs, words, "gnncomm compare")
    console = make_console(120)
    found = compare(args.runs, args.metric, args.threshold)
    written = {}
    if args.json:
        written["numbers"] = output_file(args.json)
        write_json_atomic(written["numbers"], to_dict(found))
    if args.marl_eval:
        from gnncomm.compare.marl_eval import export

        data, written["marl-eval"] = export(found), output_file(args.marl_eval)
        write_json_atomic(written["marl-eval"], data)
    if args.figure:
        from gnncomm.compare.figure import comparison_figure
        from gnncomm.recording import figure_suffixes

        written["figure"] = output_file(args.figure, *figure_suffixes())
        comparison_figure(found, written["figure"])
    if args.latex:
        sys.stdout.write(latex(found))
        return 0
    if console.width >= NARROW:
        for table in tables(found):
            console.print(table)
    else:
        for line in lines(found):
            console.print(line, soft_wrap=True)
    for line in remarks(found):
        console.print(line, soft_wrap=True)
    for what, file in written.items():
        console.print(f"{what} in {file}", soft_wrap=True)
    return 0
