"""``gnncomm train ENV``: train, measure, draw."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from gnncomm import deprecated, environments, methods
from gnncomm.cli import dry_run, faults
from gnncomm.cli.console import make_console
from gnncomm.cli.eval import measure, show
from gnncomm.cli.parse import most_threads, parse, print_json
from gnncomm.cli.progress import TrainingProgress, short
from gnncomm.cli.replay import draw
from gnncomm.cli.signals import StopSignal
from gnncomm.config import require_ranges, to_json
from gnncomm.errors import ConfigError
from gnncomm.learn import VERSION, EnvConfig, LearnerConfig, PolicyConfig, PPOConfig, RunConfig, TrainConfig, WireConfig
from gnncomm.learn.config import Setting
from gnncomm.learn.parts import require_given
from gnncomm.run import Trained, config_of, default_config, load, read_config, train, with_learner, with_method
from gnncomm.seeds import Seeds, train_seeds
from gnncomm.store import safe_run_path


@dataclass(frozen=True)
class EnvArgs(EnvConfig):
    """The environments."""

    id: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="ENV")] = EnvConfig.id
    """Environment, see ``gnncomm list``. Its own recommended settings become the defaults below."""
    settings: Annotated[Mapping[str, Setting], tyro.conf.arg(name="env-settings")] = field(default_factory=dict)
    """Settings of the environment that differ from its defaults."""


@dataclass(frozen=True)
class RunArgs(RunConfig):
    """How long, where, and from which draws."""

    version: tyro.conf.Suppress[tyro.conf.Fixed[int]] = VERSION


@dataclass(frozen=True)
class TrainArgs:
    """Train a team that talks, measure it beside its controls, and draw an episode."""

    env: tyro.conf.OmitArgPrefixes[EnvArgs] = field(default_factory=EnvArgs)
    policy: tyro.conf.OmitArgPrefixes[PolicyConfig] = field(default_factory=PolicyConfig)
    wire: tyro.conf.OmitArgPrefixes[WireConfig] = field(default_factory=WireConfig)
    learner: LearnerConfig = field(default_factory=PPOConfig)
    run: tyro.conf.OmitArgPrefixes[RunArgs] = field(default_factory=RunArgs)
    config: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """Configuration (JSON or YAML, whole or in part) that the other options change; or config.json of a run."""
    out: Annotated[str, tyro.conf.arg(metavar="RUN")] = ""
    """Run directory; default runs/ENV-COMM-SEED."""
    resume: bool = False
    """Continue the run in --out from its newest good checkpoint."""
    overwrite: bool = False
    """Replace the run in --out."""
    print_config: bool = False
    """Print the configuration, as --config reads it, and do nothing else."""
    dry_run: bool = False
    """Show parts, shapes, graph and memory of the training, and do nothing else."""
    threads: int = 0
    """Threads of torch; 0 leaves its own choice."""
    seeds: int = 0
    """Train so many seeds side by side, --seed and those after it, each in a directory of its own; 0 trains one."""
    episodes: int = 1000
    """Episodes of the evaluation afterwards; 0 for none."""
    trust_env: bool = False
    """With --resume or --config: run code of another package that the file names and the command does not."""

    def __post_init__(self) -> None:
        require_ranges(self, {"threads": (0, most_threads()), "episodes": (0, 10**9), "seeds": (0, 2**16)})
        if self.seeds == 1 or (self.seeds and (self.resume or self.overwrite)):
            raise ConfigError(
                "seeds: expected 2 at least in a directory that is not there yet. Continue many seeds with gnncomm "
                "resume RUN."
            )
        if self.resume and self.overwrite:
            raise ConfigError("Expected --resume or --overwrite, got both: continue the run, or replace it.")
        if self.resume and self.config:
            raise ConfigError("Expected --resume or --config, got both: a run that is resumed has its own.")
        if self.episodes == 1:
            raise ConfigError("episodes must be 0, for no evaluation, or at least 2, for an interval, got 1.")

    @property
    def tree(self) -> TrainConfig:
        env, run = EnvConfig(**vars(self.env)), RunConfig(**vars(self.run))
        return TrainConfig(env, self.policy, self.wire, self.learner, run)

    @classmethod
    def of(cls, config: TrainConfig) -> TrainArgs:
        """The options that ``config`` would be typed as."""
        own = EnvArgs(**vars(config.env)), config.policy, config.wire, config.learner, RunArgs(**vars(config.run))
        return cls(*own)


def run(words: list[str]) -> int:
    args = _parse(deprecated.learner_options(words))
    config = args.tree
    if args.print_config:
        return print_json(to_json(config))
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.dry_run:
        return dry_run.run(config, make_console())
    out = args.out or run_name(config.env.id, config.policy.comm, config.run.seed)
    if args.seeds:
        numbers = [config.run.seed + number for number in range(args.seeds)]
        begin = partial(train_seeds, config, numbers, out, episodes=args.episodes)
        return go_many(begin, out, config, max(1, args.threads), trust_env=True)  # the command was asked before
    return go(config, out, args.episodes, resume=args.resume, overwrite=args.overwrite)


def go(
    config: TrainConfig,
    out: str,
    episodes: int,
    *,
    resume: bool = False,
    overwrite: bool = False,
    loggers: Sequence[str] = (),
) -> int:
    """Train into ``out``, then measure and draw; the exit code."""
    console = make_console()
    total = config.updates * config.env.num_envs * config.run.rollout
    with StopSignal() as stop:
        with TrainingProgress(console, total) as progress:
            training = train(
                config,
                out,
                resume=resume,
                overwrite=overwrite,
                observer=progress,
                stop=stop,
                notice=progress.say,
                loggers=loggers,
            )
        if stop():
            console.print(
                f"stopped; saved in {out} at {training.env_steps:,} steps; continue with: gnncomm resume {out}",
                soft_wrap=True,
            )
            return stop.exit_code
    if progress.first_step is None:
        console.print(f"{out} is already complete: {training.env_steps:,} steps", soft_wrap=True)
    else:
        speed = f"{progress.steps_per_second:,.0f} steps/s"
        console.print(f"{training.env_steps:,} steps, {speed}, kept in {out}", soft_wrap=True)
    if episodes:
        _look(out, episodes, config.run.seed, console)
    return 0


def go_many(begin: Callable[..., Seeds], out: str, config: TrainConfig, threads: int, trust_env: bool) -> int:
    """Train many seeds into ``out``, and show what all of them came to; the exit code."""
    console = make_console()
    total, said = config.updates * config.env.num_envs * config.run.rollout, [time.monotonic()]

    def observer(steps: Mapping[int, int]) -> None:
        if time.monotonic() - said[0] > 10:
            said[0] = time.monotonic()
            parts = [f"seed {seed}: {short(done)} / {short(total)}" for seed, done in steps.items()]
            console.print("  ".join(parts), soft_wrap=True)

    with StopSignal() as stop:
        done = begin(threads=threads, trust_env=trust_env, stop=stop, observer=observer)
    summary = done.summary()
    for seed, values in summary["seeds"].items():
        console.print(f"seed {seed}: " + ", ".join(f"{k} {v:.3f}" for k, v in values.items()), soft_wrap=True)
    for name, value in summary["over_seeds"].items():
        between = f"{value['low']:.3f} to {value['high']:.3f}"
        console.print(f"{name}: {value['mean']:.3f}, 95 % over seeds {between}", soft_wrap=True)
    if done.stopped:
        console.print(f"stopped; saved in {out}; continue with: gnncomm resume {out}", soft_wrap=True)
        return stop.exit_code
    console.print(f"{len(done.seeds)} seeds kept in {out}", soft_wrap=True)
    return 0


def _look(out: str, episodes: int, seed: int, console: Console) -> None:
    """Measure and draw: both files are written before anything is shown, and a figure that fails loses nothing."""
    trained, folder = load(out, trust_env=True), safe_run_path(out)  # this very command trained in it
    report = measure(trained, episodes, folder / "eval.json")
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
    """Twice: environment, method and file first, then everything, with what these recommend or say as default.

    A method stands for its parts, and unless a learner or a file is named, for the training of its paper: what is kept
    in the run names these. Of what a file says, only what the command names, too, may run code.
    """
    learner, words = _learner(words)
    settings = LearnerConfig.of(learner) if learner is not None else _of_method(words) or _of_file(words)
    asks = {"-h", "--help"} & set(words)
    nothing_said = TrainArgs(env=EnvArgs(id=""), learner=settings)
    first = parse(TrainArgs, [word for word in words if word not in ("-h", "--help")], "gnncomm train", nothing_said)
    env, comm = first.env.id or EnvConfig.id, first.policy.comm
    resumed = first.resume and not asks
    out = first.out or run_name(env, comm, first.run.seed)
    known = config_of(out) if resumed else read_config(first.config) if first.config else default_config(env)
    require_given(known, {}, every=True)
    if not resumed and env == known.env.id:
        known = known.replace(env_settings={**known.env.settings, **first.env.settings})
    known, layer = with_method(known, {"comm": comm}, own=learner is None and not first.config, begun=resumed)
    if learner is not None:
        known = with_learner(known, learner)
    args = parse(TrainArgs, words, "gnncomm train", TrainArgs.of(known))
    if (resumed or first.config) and not args.trust_env:
        spoken = environments.named_code(env, first.env.settings) if first.env.id else frozenset[str]()
        environments.require_trust(args.env.id, args.env.settings, spoken)
    if args.env.id == known.env.id:  # what the command says is added
        both = [{**getattr(known.env, name), **getattr(args.env, name)} for name in ("settings", "curriculum")]
        args = replace(args, env=replace(args.env, settings=both[0], curriculum=both[1]))
    if not layer:
        args = replace(args, policy=replace(args.policy, comm=known.policy.comm))
    return replace(args, out=out) if resumed or not layer else args


def _of_method(words: list[str]) -> LearnerConfig | None:
    """The learner whose settings are options because a method is trained by it."""
    if "--comm" not in words[:-1] or "--config" in words or "--resume" in words:
        return None
    name = words[words.index("--comm") + 1]
    return LearnerConfig.of(methods.resolve(name).learner) if name in methods.names() else None


def _learner(words: list[str]) -> tuple[str | None, list[str]]:
    """What ``--learner NAME`` says, whose settings are options then; and the other words."""
    if "--learner" not in words[:-1]:
        return None, words
    place = words.index("--learner")
    return words[place + 1], words[:place] + words[place + 2 :]


def _of_file(words: list[str]) -> LearnerConfig:
    """The learner whose settings are options because a file or a run names it."""
    said = {name: words[words.index(name) + 1] for name in ("--config", "--out") if name in words[:-1]}
    if "--config" in said:
        return read_config(said["--config"]).learner
    return config_of(said["--out"]).learner if "--resume" in words and "--out" in said else PPOConfig()


def run_name(env: str, comm: str, seed: int) -> str:
    """Where a run lies unless it is told."""
    tail = f"-{comm.split(':')[0]}-{seed}"
    return f"runs/{re.sub('[^A-Za-z0-9._-]', '-', env)[: 64 - len(tail)]}{tail}"
