"""What ``gnncomm compare`` does once its options are read."""

from __future__ import annotations

import sys
from pathlib import Path

from gnncomm.cli.compare import CompareArgs
from gnncomm.cli.console import make_console
from gnncomm.cli.parse import output_file
from gnncomm.compare import Comparison, compare
from gnncomm.compare.text import latex, lines, remarks, tables, to_dict
from gnncomm.recording import record
from gnncomm.run import load
from gnncomm.store import write_json_atomic

NARROW = 96
"""Columns that the tables need."""


def run(args: CompareArgs) -> int:
    """Compare as ``args`` say; the exit code."""
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
    if args.html:
        written["page"] = _page(args, found)
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


def _page(args: CompareArgs, found: Comparison) -> Path:
    """One episode of two teams, side by side."""
    from gnncomm.recording.page import compare_page

    file, methods = output_file(args.html, ".html", ".htm"), found.methods[:2]
    teams = [load(method.teams[0].run.path, trust_env=args.trust_env) for method in methods]
    titles = [method.group.label for method in methods]
    if len(teams) == 1:
        teams, titles = [teams[0], teams[0].with_wire(topology="empty")], [titles[0], f"{titles[0]}, messages muted"]
    first, second = (record(team.policy, team.make_env(1), seed=args.seed) for team in teams)
    return compare_page(first, second, file, (titles[0], titles[1]))
