"""``gnncomm train ENV``: train, measure, draw."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from rich.console import Console

from gnncomm import environments, methods
from gnncomm.cli import faults
from gnncomm.cli.console import make_console
from gnncomm.cli.eval import measure, show
from gnncomm.cli.parse import most_threads, parse
from gnncomm.cli.progress import TrainingProgress
from gnncomm.cli.replay import draw
from gnncomm.cli.signals import StopSignal
from gnncomm.errors import ConfigError
from gnncomm.learn import VERSION, TrainConfig
from gnncomm.learn.fingerprint import Fingerprint
from gnncomm.learn.parts import require_given
from gnncomm.learn.settings import require_ranges
from gnncomm.run import Trained, config_of, default_config, load, train
from gnncomm.store import safe_run_path


@dataclass(frozen=True)
class TrainArgs(TrainConfig):
    """Train a team that talks, measure it beside its controls, and draw an episode."""

    env: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENV")] = "predator_prey"
    """Environment, see ``gnncomm list``. Its own recommended settings become the defaults below."""
    out: Annotated[str, tyro.conf.arg(metavar="RUN")] = ""
    """Run directory; default runs/ENV-COMM-SEED."""
    resume: bool = False
    """Continue the run in --out from its newest good checkpoint."""
    overwrite: bool = False
    """Replace the run in --out."""
    loggers: tuple[str, ...] = ()
    """Further places for the metrics, with times: csv."""
    threads: int = 0
    """Threads of torch; 0 leaves its own choice."""
    episodes: int = 1000
    """Episodes of the evaluation afterwards; 0 for none."""
    trust_env: bool = False
    """With --resume: run code of another package that the run names and the command does not."""
    version: tyro.conf.Suppress[tyro.conf.Fixed[int]] = VERSION
    given: tyro.conf.Suppress[tyro.conf.Fixed[Mapping[str, Fingerprint]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"threads": (0, most_threads()), "episodes": (0, 10**9)})
        if self.resume and self.overwrite:
            raise ConfigError("Expected --resume or --overwrite, got both: continue the run, or replace it.")
        if self.episodes == 1:
            raise ConfigError("episodes must be 0, for no evaluation, or at least 2, for an interval, got 1.")


def run(words: list[str]) -> int:
    args = _parse(words)
    config = TrainConfig(**_settings(args))
    console = make_console()
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
                loggers=args.loggers,
            )
        if stop():
            console.print(
                f"stopped; saved in {out} at {training.env_steps:,} steps; continue with --resume", soft_wrap=True
            )
            return stop.exit_code
    if progress.first_step is None:
        console.print(f"{out} is already complete: {training.env_steps:,} steps", soft_wrap=True)
    else:
        speed = f"{progress.steps_per_second:,.0f} steps/s"
        console.print(f"{training.env_steps:,} steps, {speed}, kept in {out}", soft_wrap=True)
    if args.episodes:
        _look(out, args.episodes, config.seed, console)
    return 0


def _look(out: str, episodes: int, seed: int, console: Console) -> None:
    """Measure and draw: both files are written before anything is shown, and a figure that fails loses nothing."""
    trained, folder = load(out, trust_env=True), safe_run_path(out)  # this very command trained in it
    report = measure(trained, episodes, folder / "eval.json", console)
    drawn = _try_to_draw(trained, folder / "trajectories.png", seed)
    show(report, console)
    console.print(drawn, soft_wrap=True)


def _try_to_draw(trained: Trained, figure: Path, seed: int) -> str:
    """A line that says where the figure is, or why there is none: the training is done and kept either way."""
    try:
        draw(trained, figure, seed)
    except (*faults.EXPECTED, *faults.UNEXPECTED) as error:
        if faults.wants_debug():
            raise
        return f"no figure: {faults.one_line(faults.explain(error)[0])}"
    return f"figure in {figure}"


def _parse(words: list[str]) -> TrainArgs:
    """Twice: environment and method first, then everything, with the recipe of both as default.

    A method stands for its parts: what is kept in the run names these. A run that is resumed has settings already:
    they are the defaults then, and only what the command names may run code.
    """
    first = parse(TrainArgs, [word for word in words if word not in ("-h", "--help")], "gnncomm train", _NOTHING_SAID)
    env, method = first.env or TrainArgs.env, methods.resolve(first.comm) if first.comm in methods.names() else None
    resumed = first.resume and not first.overwrite and not {"-h", "--help"} & set(words)
    out = first.out or run_name(env, first.comm, first.seed)
    known = config_of(out) if resumed else default_config(env)
    require_given(known, {}, every=True)
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
