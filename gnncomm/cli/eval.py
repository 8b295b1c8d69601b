"""``gnncomm eval RUN``: the trained team beside its controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from gnncomm.cli.parse import at_least, output_file, parse
from gnncomm.evaluate import DEFAULT_SEED, Report, evaluate
from gnncomm.run import Trained, load
from gnncomm.store import write_json_atomic


@dataclass(frozen=True)
class EvalArgs:
    """Measure a trained team, the same team muted and with shuffled messages, and the floor and ceiling policies."""

    run: tyro.conf.Positional[str]
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
    json: str = ""
    """File to write the numbers to."""

    def __post_init__(self) -> None:
        at_least(self, episodes=1, seed=0)


def run(words: list[str]) -> int:
    args = parse(EvalArgs, words, "gnncomm eval")
    console = Console(highlight=False)
    trained = load(args.run)
    names = ("topology", "scheduler", "codec", "channel")
    overrides = {name: value for name in names if (value := getattr(args, name))}
    target = output_file(args.json) if args.json else None
    show_report(trained, args.episodes, target, console, args.seed, not args.sample, overrides)
    return 0


def show_report(
    trained: Trained,
    episodes: int,
    json_file: Path | None,
    console: Console,
    seed: int = DEFAULT_SEED,
    greedy: bool = True,
    overrides: Mapping[str, str] | None = None,
) -> Report:
    """Evaluate, on a wire with ``overrides``, print the table and the verdict, and write the JSON."""
    for line in trained.rejected:
        console.print(f"passed over {line}", soft_wrap=True)
    if overrides:
        trained = trained.with_wire(**overrides)
        changed = ", ".join(f"{name} {value}" for name, value in overrides.items())
        console.print(f"zero-shot, not trained on this wire: {changed}", soft_wrap=True)
    env = trained.evaluation_env(episodes)
    report = evaluate(trained.policy, env, episodes=episodes, seed=seed, greedy=greedy)
    console.print(report.table())
    if json_file is not None:
        write_json_atomic(json_file, report.to_dict() | ({"overrides": dict(overrides)} if overrides else {}))
        console.print(f"numbers in {json_file}")
    return report
