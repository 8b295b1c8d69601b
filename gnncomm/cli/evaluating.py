"""What ``gnncomm eval`` does once its options are read: measure, keep, show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from gnncomm.cli.console import make_console
from gnncomm.cli.eval import EvalArgs
from gnncomm.cli.parse import output_file
from gnncomm.compare import keep
from gnncomm.compare.outcomes import FILE
from gnncomm.errors import ConfigError, UnsafePathError
from gnncomm.evaluation import DEFAULT_SEED, Report, evaluate
from gnncomm.evaluation.report import percent
from gnncomm.run import Trained
from gnncomm.seeds import SUMMARY, Seeds, planned
from gnncomm.store import safe_run_path, write_json_atomic


def run(args: EvalArgs) -> int:
    """Measure as ``args`` say; the exit code."""
    console, many = make_console(), planned(args.run)
    if many is not None:
        return _all_seeds(args, many, console)
    report, target = _measured(args, console)[0], args.json
    show(report, console)
    if target:
        console.print(f"numbers in {target}", soft_wrap=True)
    return 0


def _measured(args: EvalArgs, console: Console) -> tuple[Report, dict[str, Any]]:
    """One run: measured, kept, and not yet shown; and what of it was not as in training."""
    trained, changes = args.load(console)
    target = output_file(args.json) if args.json else None
    outcomes = output_file(args.outcomes, ".npz") if args.outcomes else None
    report = _evaluated(trained, args.episodes, args.seed, not args.sample)
    if target is not None:
        write_json_atomic(target, told(report, changes))
    if outcomes is not None:
        keep(report, outcomes, trained.config.env.settings, trained.env_steps)
    elif not changes:
        _keep_in_run(report, trained, safe_run_path(args.run, parents=True), console)
    return report, changes


def _all_seeds(args: EvalArgs, many: Seeds, console: Console) -> int:
    """Every seed on the same episodes, and what they come to."""
    if args.outcomes:
        raise ConfigError("outcomes: expected one run for this file, got many seeds, each of which keeps its own.")
    target, reports = output_file(args.json) if args.json else None, {}
    for seed in many.seeds:
        if not (many.folder(seed) / "config.json").is_file():
            console.print(f"seed {seed} was not begun", soft_wrap=True)
            continue
        reports[seed] = _measured(replace(args, run=str(many.folder(seed)), json=""), console)
    summary = many.summary({seed: report.to_dict() for seed, (report, _) in reports.items()})
    if target is not None:
        write_json_atomic(target, summary | {"reports": {str(seed): told(*each) for seed, each in reports.items()}})
    if not any(changes for _, changes in reports.values()):
        write_json_atomic(many.path / SUMMARY, summary)
    show_seeds(summary, console)
    if target is not None:
        console.print(f"numbers in {target}", soft_wrap=True)
    return 0


def measure(trained: Trained, episodes: int, folder: Path, console: Console) -> Report:
    """Evaluate a run and keep its numbers and episodes in it, before anything is shown."""
    report = _evaluated(trained, episodes, DEFAULT_SEED, True)
    _keep_in_run(report, trained, folder, console, may_fail=False)
    return report


def _evaluated(trained: Trained, episodes: int, seed: int, greedy: bool) -> Report:
    return evaluate(trained.policy, trained.evaluation_env(episodes), episodes=episodes, seed=seed, greedy=greedy)


def _keep_in_run(report: Report, trained: Trained, folder: Path, console: Console, *, may_fail: bool = True) -> None:
    """``eval.json`` and ``eval.npz``: the last evaluation of a team as it was trained."""
    try:
        write_json_atomic(folder / "eval.json", report.to_dict())
        keep(report, folder / FILE, trained.config.env.settings, trained.env_steps)
    except (OSError, UnsafePathError) as error:
        if not may_fail:
            raise
        console.print(f"not kept in {folder}: {getattr(error, 'strerror', None) or error}", soft_wrap=True)


def told(report: Report, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON form, with what was not as in training."""
    return report.to_dict() | ({"overrides": dict(overrides)} if overrides else {})


def show_seeds(summary: Mapping[str, Any], console: Console) -> None:
    """A line for each seed, and for each number over seeds."""
    for seed, values in summary["seeds"].items():
        line = ", ".join(f"{name} {'n/a' if value is None else format(value, '.3f')}" for name, value in values.items())
        console.print(f"seed {seed}: {line}", soft_wrap=True)
    for name, value in summary["over_seeds"].items():
        between = f"{value['low']:.3f} to {value['high']:.3f}"
        console.print(f"{name}: {value['mean']:.3f}, 95 % over seeds {between}", soft_wrap=True)


def show(report: Report, console: Console) -> None:
    """The table, or a line for each policy where it does not fit, and the remarks."""
    table = report.table()
    table.caption = None
    if console.width >= (table.min_width or 0):
        console.print(table)
    else:
        console.print(report.title(), soft_wrap=True)
        for name, arm in report.arms.items():
            returns = ", ".join(f"{of} {one.mean:+.3f}" for of, one in (arm.teams or {"return": arm.returns}).items())
            numbers = f"{percent(arm.success.mean)} success, {arm.length.mean:.2f} steps, {returns}"
            console.print(f"{report.label(name)}: {numbers}", soft_wrap=True)
    for remark in report.remarks():
        console.print(remark, soft_wrap=True)
