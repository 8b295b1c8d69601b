"""``gnncomm eval RUN``: the trained team beside its controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from gnncomm.cli.console import make_console
from gnncomm.cli.elsewhere import ElsewhereArgs
from gnncomm.cli.parse import output_file, parse
from gnncomm.config import require_ranges
from gnncomm.learn.config import DEFAULT_SEED

if TYPE_CHECKING:
    from rich.console import Console

    from gnncomm.evaluation import Report
    from gnncomm.run import Trained


@dataclass(frozen=True)
class EvalArgs(ElsewhereArgs):
    """Measure a trained team, the same team muted and with shuffled messages, and the floor and ceiling policies."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm eval runs/first --json first.json",
        "gnncomm eval runs/first --checkpoint best --episodes 5000",
        "gnncomm eval runs/first --num-agents 6 --channel loss:p=0.3",
    )

    episodes: int = 1000
    """Episodes of each."""
    json: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """File to write the numbers to."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"episodes": (2, 10**9)})


def run(words: list[str]) -> int:
    args = parse(EvalArgs, words, "gnncomm eval")
    console = make_console()
    trained = args.load(console)
    target = output_file(args.json) if args.json else None
    report = measure(trained, args.episodes, target, args.seed, not args.sample, args.overrides)
    show(report, console)
    if target is not None:
        console.print(f"numbers in {target}", soft_wrap=True)
    return 0


def measure(
    trained: Trained,
    episodes: int,
    json_file: Path | None,
    seed: int = DEFAULT_SEED,
    greedy: bool = True,
    overrides: Mapping[str, Any] | None = None,
) -> Report:
    """Evaluate and write the JSON, with the ``overrides`` that were made; nothing is shown before it is kept."""
    from gnncomm.evaluation import evaluate
    from gnncomm.store import write_json_atomic

    report = evaluate(trained.policy, trained.evaluation_env(episodes), episodes=episodes, seed=seed, greedy=greedy)
    if json_file is not None:
        write_json_atomic(json_file, report.to_dict() | ({"overrides": dict(overrides)} if overrides else {}))
    return report


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
            numbers = f"{arm.success.mean:.1%} success, {arm.length.mean:.2f} steps, {returns}"
            console.print(f"{report.label(name)}: {numbers}", soft_wrap=True)
    for remark in report.remarks():
        console.print(remark, soft_wrap=True)
