"""What ``gnncomm train`` and ``resume`` do once their options are read: train, measure, draw."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from gnncomm import environments, methods
from gnncomm.cli import dry_run, faults
from gnncomm.cli.console import make_console
from gnncomm.cli.evaluating import measure, show, show_seeds
from gnncomm.cli.parse import parse, print_json, wants_help
from gnncomm.cli.progress import TrainingProgress, short
from gnncomm.cli.replaying import draw
from gnncomm.cli.signals import StopSignal
from gnncomm.cli.train import NAME, EnvArgs, TrainArgs, run_name
from gnncomm.config import to_json
from gnncomm.evaluation import Report
from gnncomm.learn.config import EnvConfig, TrainConfig
from gnncomm.learn.parts import NO_PARTS, Parts, require_given
from gnncomm.learn.settings import LearnerConfig, PPOConfig
from gnncomm.run import (
    Trained,
    config_of,
    default_config,
    load,
    loggers_of,
    read_config,
    train,
    with_learner,
    with_method,
)
from gnncomm.seeds import Seeds, train_seeds
from gnncomm.store import safe_run_path
from gnncomm.store.loggers import Loggers


def run(words: list[str]) -> int:
    """Train as ``words`` say; the exit code."""
    args = arguments(words)
    config = args.tree
    if args.print_config:
        return print_json(to_json(config))
    if args.threads:
        torch.set_num_threads(args.threads)
    out = args.out or run_name(config.env.id, config.policy.comm, config.run.seed)
    if args.dry_run:
        loggers_of(config, out)  # they are asked nothing; a name that nobody has is refused
        return dry_run.run(config, make_console())
    if args.seeds:
        numbers = [config.run.seed + number for number in range(args.seeds)]
        begin = partial(train_seeds, config, numbers, out, episodes=args.episodes)
        return go_many(begin, out, config, max(1, args.threads), trust_env=True)  # the command was asked before
    parts: Parts = {"weights": load(args.begin).policy} if args.begin else {}
    return go(config, out, args.episodes, resume=args.resume, overwrite=args.overwrite, parts=parts)


def go(
    config: TrainConfig,
    out: str,
    episodes: int,
    *,
    resume: bool = False,
    overwrite: bool = False,
    parts: Parts = NO_PARTS,
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
                **parts,
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
    show_seeds(done.summary(), console)
    if done.stopped:
        console.print(f"stopped; saved in {out}; continue with: gnncomm resume {out}", soft_wrap=True)
        return stop.exit_code
    console.print(f"{len(done.seeds)} seeds kept in {out}", soft_wrap=True)
    return 0


def _look(out: str, episodes: int, seed: int, console: Console) -> None:
    """Measure and draw: both files are written before anything is shown, and a figure that fails loses nothing."""
    trained, folder = load(out, trust_env=True), safe_run_path(out)  # this very command trained in it
    report = measure(trained, episodes, folder, console)
    drawn = _try_to_draw(trained, folder / "trajectories.png", seed)
    show(report, console)
    console.print(drawn, soft_wrap=True)
    _conclude(trained, folder, report, console)


def _conclude(trained: Trained, folder: Path, report: Report, console: Console) -> None:
    """Tell the loggers of the run what was measured and drawn."""
    measured = report.to_dict()
    results = {name: value["mean"] for name, value in measured["trained"].items()}
    figures = {"trajectories": folder / "trajectories.png"}
    told = Loggers(loggers_of(trained.config, folder), lambda text: console.print(text, soft_wrap=True))
    told.conclude(
        trained.env_steps,
        results | {"communication_gain": measured["communication_gain"]},
        {name: path for name, path in figures.items() if path.is_file()},
    )
    told.close()


def _try_to_draw(trained: Trained, figure: Path, seed: int) -> str:
    """A line that says where the figure is, or why there is none: the training is done and kept either way."""
    try:
        draw(trained, figure, seed)
    except (*faults.EXPECTED, *faults.UNEXPECTED) as error:
        if faults.wants_debug():
            raise
        return f"no figure: {faults.one_line(faults.explain(error)[0])}"
    return f"figure in {figure}"


def arguments(words: list[str]) -> TrainArgs:
    """Twice: environment, method and file first, then everything, with what these recommend or say as default.

    A method stands for its parts, and unless a learner or a file is named, for the training of its paper: what is kept
    in the run names these. Of what a file says, only what the command names, too, may run code.
    """
    learner, words = _learner(words)
    settings = LearnerConfig.of(learner) if learner is not None else _of_method(words) or _of_file(words)
    asks = wants_help(words)
    nothing_said = TrainArgs(env=EnvArgs(id=""), learner=settings)
    first = parse(TrainArgs, [word for word in words if word not in ("-h", "--help")], NAME, nothing_said)
    env, comm = first.env.id or EnvConfig.id, first.policy.comm
    resumed = first.resume and not asks
    out = first.out or run_name(env, comm, first.run.seed)
    known = _known(first, out if resumed else "", env)
    require_given(known, {}, every=True, begun=resumed or bool(first.begin))
    if not resumed and env == known.env.id:
        known = known.replace(env_settings={**known.env.settings, **first.env.settings})
    known, layer = with_method(
        known, {"comm": comm}, own=learner is None and not (first.config or first.begin), begun=resumed
    )
    if learner is not None:
        known = with_learner(known, learner)
    args = parse(TrainArgs, words, NAME, TrainArgs.of(known))
    if (resumed or first.config or first.begin) and not args.trust_env:
        spoken = environments.named_code(env, first.env.settings) if first.env.id else frozenset[str]()
        environments.require_trust(args.env.id, args.env.settings, spoken)
    if args.env.id == known.env.id:  # what the command says is added
        both = [{**getattr(known.env, name), **getattr(args.env, name)} for name in ("settings", "curriculum")]
        args = replace(args, env=replace(args.env, settings=both[0], curriculum=both[1]))
    if not layer:
        args = replace(args, policy=replace(args.policy, comm=known.policy.comm))
    return replace(args, out=out) if resumed or not layer else args


def _known(first: TrainArgs, resumed: str, env: str) -> TrainConfig:
    """What the other options change: the settings of the run or file that is named, or else the recipe."""
    if resumed or (first.begin and not first.config):
        return config_of(resumed or first.begin)
    return read_config(first.config) if first.config else default_config(env)


def _of_method(words: list[str]) -> LearnerConfig | None:
    """The learner whose settings are options because a method is trained by it."""
    if "--comm" not in words[:-1] or {"--config", "--resume", "--from"} & set(words):
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
    said = {name: words[words.index(name) + 1] for name in ("--config", "--from", "--out") if name in words[:-1]}
    if "--config" in said:
        return read_config(said["--config"]).learner
    if "--from" in said:
        return config_of(said["--from"]).learner
    return config_of(said["--out"]).learner if "--resume" in words and "--out" in said else PPOConfig()
