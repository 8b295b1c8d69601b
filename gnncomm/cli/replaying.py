"""What ``gnncomm replay`` does once its options are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from gnncomm import environments
from gnncomm.cli.console import make_console
from gnncomm.cli.parse import output_file
from gnncomm.cli.replay import MUTED, OUTPUTS, ReplayArgs
from gnncomm.evaluation import muted
from gnncomm.recording import VIEWS, Episode, compare_page, episode_video, figure_suffixes, record, replay_page
from gnncomm.run import Trained
from gnncomm.store import safe_run_path

_NAMES = {"paths": "trajectories.png", "attention": "attention.png", "graph": "graph.png"}
"""Of figures that are given none, in the directory of the run."""


def run(args: ReplayArgs) -> int:
    """Record and draw as ``args`` say; the exit code."""
    console = make_console()
    if (kept := args.kept) is not None:
        episode = Episode.load(kept)
        files = _files(args, kept.with_suffix(".png"))
        _write(args, files, episode, partial(replay_page, episode))
    else:
        trained, _ = args.load(console)
        files = _files(args, safe_run_path(args.run, parents=True) / _NAMES[args.view])
        rival = _rival(args, trained, console) if args.against else None
        name = Path(args.run).name
        episode = _played(trained, args, name)
        page = partial(replay_page, episode)
        if rival is not None:
            other = f"{name}, muted" if args.against == MUTED else Path(args.against).name
            page = partial(compare_page, episode, _played(rival, args, other), titles=(name, other))
        _write(args, files, episode, page)
    for what, file in files.items():
        console.print(f"{'page' if what == 'html' else what} in {file}", soft_wrap=True)
    return 0


def draw(trained: Trained, figure: Path, seed: int) -> None:
    """Record one episode and draw it into ``figure``."""
    VIEWS["paths"](_played(trained, ReplayArgs("", seed=seed), ""), figure)


def _played(trained: Trained, args: ReplayArgs, title: str) -> Episode:
    """One episode; an environment of another library draws itself if it can."""
    if args.pictures and environments.is_foreign(trained.config.env.id):
        trained = trained.with_env(pictures=True)
    return record(trained.policy, trained.make_env(1), args.seed, not args.sample, title)


def _write(args: ReplayArgs, files: dict[str, Path], episode: Episode, page: Callable[[Path], Path]) -> None:
    write: dict[str, Callable[[Path], object]] = {
        "episode": episode.save,
        "figure": partial(VIEWS[args.view], episode),
        "html": page,
        "video": partial(episode_video, episode, seconds_per_step=1 / args.fps),
    }
    for name, act in write.items():
        if name in files:
            act(files[name])


def _rival(args: ReplayArgs, trained: Trained, console: Console) -> Trained:
    """The team of ``--against``, put into the environment of ``trained``: the same seed is the same episode there."""
    if args.against == MUTED:
        return replace(trained, policy=muted(trained.policy))
    (other, _), env = replace(args, run=args.against).load(console), trained.config.env
    return replace(other, config=other.config.replace(**{"env.id": env.id, "env.settings": dict(env.settings)}))


def _files(args: ReplayArgs, figure: Path) -> dict[str, Path]:
    """What is to be written, by option; ``figure`` where no file or another view is asked for.

    Raises:
        ConfigError: a name that no such file can have.
    """
    asked = {name: getattr(args, name) for name in OUTPUTS if getattr(args, name)}
    if not asked or args.view != "paths":
        asked.setdefault("figure", str(figure))
    suffixes = {"html": (".html", ".htm"), "episode": (".npz",), "video": (".mp4", ".gif")}
    return {
        name: output_file(file, *(figure_suffixes() if name == "figure" else suffixes[name]))
        for name, file in asked.items()
    }
