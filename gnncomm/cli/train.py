"""``gnncomm train ENV``: train, measure, draw."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import tyro
from rich.console import Console

from gnncomm import environments
from gnncomm.cli.eval import show_report
from gnncomm.cli.parse import at_least, parse
from gnncomm.cli.progress import TrainingProgress
from gnncomm.cli.replay import draw
from gnncomm.cli.signals import StopSignal
from gnncomm.learn import TrainConfig
from gnncomm.methods import METHODS
from gnncomm.run import config_of, default_config, load, train
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
    trust_env: bool = False
    """With --resume: run code of another package that the run names and the command does not."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, threads=0, episodes=0)


def run(words: list[str]) -> int:
    args = _parse(words)
    config = TrainConfig(**_settings(args))
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
        trained = load(out, trust_env=True)  # this very command trained in it
        folder = safe_run_path(out)
        show_report(trained, args.episodes, folder / "eval.json", console)
        draw(trained, folder / "trajectories.png", seed=config.seed, console=console)
    return 0


def _parse(words: list[str]) -> TrainArgs:
    """Twice: environment and method first, then everything, with the recipe of both as default.

    A method stands for its parts: what is kept in the run names these. A run that is resumed has settings already:
    they are the defaults then, and only what the command names may run code.
    """
    first = parse(TrainArgs, [word for word in words if word not in ("-h", "--help")], "gnncomm train", _NOTHING_SAID)
    env, method = first.env or TrainArgs.env, METHODS.get(first.comm)
    resumed = first.resume and not first.overwrite and not {"-h", "--help"} & set(words)
    out = first.out or run_name(env, first.comm, first.seed)
    known = config_of(out) if resumed else default_config(env)
    if method is not None:
        known = method.config(known)
    args = parse(TrainArgs, words, "gnncomm train", TrainArgs(**_settings(known)))
    if resumed and not args.trust_env:
        spoken = environments.named_code(first.env, first.env_settings) if first.env else frozenset[str]()
        environments.require_trust(args.env, args.env_settings, spoken)
    if resumed or method is not None:
        return replace(args, comm=args.comm if method is None else method.settings["comm"], out=out)
    return args


def _settings(config: TrainConfig) -> dict[str, Any]:
    return {item.name: getattr(config, item.name) for item in fields(TrainConfig)}


_NOTHING_SAID = TrainArgs(env="")


def run_name(env: str, comm: str, seed: int) -> str:
    """Where a run lies unless it is told."""
    tail = f"-{comm.split(':')[0]}-{seed}"
    return f"runs/{re.sub('[^A-Za-z0-9._-]', '-', env)[: 64 - len(tail)]}{tail}"
