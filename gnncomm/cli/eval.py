"""``gnncomm eval RUN``: the trained team beside its controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from gnncomm.cli.console import make_console
from gnncomm.cli.parse import output_file, parse
from gnncomm.config import require_ranges
from gnncomm.evaluate import DEFAULT_SEED, Report, evaluate
from gnncomm.learn import MAX_SEED
from gnncomm.run import Trained, load
from gnncomm.store import write_json_atomic


@dataclass(frozen=True)
class EvalArgs:
    """Measure a trained team, the same team muted and with shuffled messages, and the floor and ceiling policies."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    episodes: int = 1000
    """Episodes of each."""
    seed: int = DEFAULT_SEED
    """Seed of the episodes, the same for all. Whatever it is, they are not those of training."""
    sample: bool = False
    """Sample actions instead of taking the most likely ones."""
    topology: str = ""
    """Another topology than in training."""
    scheduler: str = ""
    """Another scheduler than in training; one without weights."""
    codec: str = ""
    """Another codec than in training."""
    channel: str = ""
    """Another channel than in training."""
    json: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """File to write the numbers to."""
    trust_env: bool = False
    """Run code of another package that the run names as its environment."""

    def __post_init__(self) -> None:
        require_ranges(self, {"episodes": (2, 10**9), "seed": (0, MAX_SEED - 1)})


def run(words: list[str]) -> int:
    args = parse(EvalArgs, words, "gnncomm eval")
    console = make_console()
    trained = load(args.run, trust_env=args.trust_env)
    names = ("topology", "scheduler", "codec", "channel")
    overrides = {name: value for name in names if (value := getattr(args, name))}
    target = output_file(args.json) if args.json else None
    report = measure(trained, args.episodes, target, console, args.seed, not args.sample, overrides)
    show(report, console)
    if target is not None:
        console.print(f"numbers in {target}", soft_wrap=True)
    return 0


def measure(
    trained: Trained,
    episodes: int,
    json_file: Path | None,
    console: Console,
    seed: int = DEFAULT_SEED,
    greedy: bool = True,
    overrides: Mapping[str, str] | None = None,
) -> Report:
    """Evaluate on a wire with ``overrides`` and write the JSON; nothing that is shown comes before what is kept."""
    for line in trained.rejected:
        console.print(f"passed over {line}", soft_wrap=True)
    if overrides:
        trained = trained.with_wire(**overrides)
        changed = ", ".join(f"{name} {value}" for name, value in overrides.items())
        console.print(f"zero-shot, not trained on this wire: {changed}", soft_wrap=True)
    env = trained.evaluation_env(episodes)
    report = evaluate(trained.policy, env, episodes=episodes, seed=seed, greedy=greedy)
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
            numbers = f"{arm.success.mean:.1%} success, {arm.length.mean:.2f} steps, return {arm.returns.mean:+.3f}"
            console.print(f"{report.label(name)}: {numbers}", soft_wrap=True)
    for remark in report.remarks():
        console.print(remark, soft_wrap=True)
