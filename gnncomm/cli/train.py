"""``gnncomm train ENV``: train, measure, draw."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace

import torch
import tyro
from rich.console import Console

from gnncomm.cli.eval import show_report
from gnncomm.cli.parse import at_least, parse
from gnncomm.cli.progress import TrainingProgress
from gnncomm.cli.replay import draw
from gnncomm.cli.signals import StopSignal
from gnncomm.learn import VERSION, TrainConfig
from gnncomm.methods import METHODS
from gnncomm.run import default_config, load, train
from gnncomm.store import safe_run_path


@dataclass(frozen=True)
class TrainArgs(TrainConfig):
    """Train a team that talks, measure it beside its controls, and draw an episode."""

    env: tyro.conf.Positional[str] = "predator_prey"
    """Environment, see ``gnncomm list``. Its own recommended settings become the defaults below."""
    out: str = ""
    """Run directory; default runs/ENV-COMM-SEED."""
    resume: bool = False
    """Continue the run in --out from its newest good checkpoint."""
    overwrite: bool = False
    """Replace the run in --out."""
    threads: int = 0
    """Threads of torch; 0 leaves its own choice."""
    episodes: int = 1000
    """Episodes of the evaluation afterwards; 0 for none."""
    version: tyro.conf.Suppress[tyro.conf.Fixed[int]] = VERSION

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, threads=0, episodes=0)


def run(words: list[str]) -> int:
    args = _parse(words)
    config = TrainConfig(**{item.name: getattr(args, item.name) for item in fields(TrainConfig)})
    console = Console(highlight=False)
    if args.threads:
        torch.set_num_threads(args.threads)
    out = args.out or run_name(config.env, config.comm, config.seed)
    total = config.updates * config.num_envs * config.rollout
    with StopSignal() as stop:
        with TrainingProgress(console, total) as progress:
            training = train(
                config,
                out,
                resume=args.resume,
                overwrite=args.overwrite,
                observer=progress,
                stop=stop,
                notice=progress.say,
            )
        if stop():
            console.print(f"stopped; saved in {out} at {training.env_steps:,} steps; continue with --resume")
            return stop.exit_code
    if progress.first_step is None:
        console.print(f"{out} is already complete: {training.env_steps:,} steps")
    else:
        console.print(f"{training.env_steps:,} steps, {progress.steps_per_second:,.0f} steps/s, kept in {out}")
    if args.episodes:
        trained = load(out)
        folder = safe_run_path(out)
        show_report(trained, args.episodes, folder / "eval.json", console)
        draw(trained, folder / "trajectories.png", seed=config.seed, console=console)
    return 0


def _parse(words: list[str]) -> TrainArgs:
    """Twice: environment and method first, then everything, with the recipe of both as default.

    A method stands for its parts: what is kept in the run names these.
    """
    first = parse(TrainArgs, [word for word in words if word not in ("-h", "--help")], "gnncomm train")
    recipe, method = default_config(first.env), METHODS.get(first.comm)
    if method is not None:
        recipe = method.config(recipe)
    default = TrainArgs(**{item.name: getattr(recipe, item.name) for item in fields(TrainConfig)})
    args = parse(TrainArgs, words, "gnncomm train", default)
    if method is None:
        return args
    out = args.out or run_name(args.env, method.name, args.seed)
    return replace(args, comm=method.settings["comm"], out=out)


def run_name(env: str, comm: str, seed: int) -> str:
    """Where a run lies unless it is told."""
    tail = f"-{comm.split(':')[0]}-{seed}"
    return f"runs/{re.sub('[^A-Za-z0-9._-]', '-', env)[: 64 - len(tail)]}{tail}"
