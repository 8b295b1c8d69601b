"""``gnncomm replay RUN``: one episode, recorded and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gnncomm import environments
from gnncomm.cli.console import make_console
from gnncomm.cli.elsewhere import ElsewhereArgs
from gnncomm.cli.parse import output_file, parse
from gnncomm.errors import ConfigError
from gnncomm.recording import VIEWS, Episode, episode_video, figure_suffixes, record
from gnncomm.run import Trained
from gnncomm.store import safe_run_path

_NAMES = {"paths": "trajectories.png", "attention": "attention.png", "graph": "graph.png"}
"""Of figures that are given none, in the directory of the run."""
_FASTEST = 240


@dataclass(frozen=True)
class ReplayArgs(ElsewhereArgs):
    """Record an episode of a trained team and draw its trajectories and messages."""

    figure: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """PNG, PDF or SVG to draw into."""
    view: Literal["paths", "attention", "graph"] = "paths"
    """What to draw: where everyone went, who listened to whom, or the graph of who read whom."""
    episode: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """File (.npz) to keep the recorded episode in."""
    video: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """MP4 or GIF to film the episode in."""
    fps: Annotated[float, tyro.conf.arg(metavar="RATE")] = 2.0
    """Steps a second of the film."""
    pictures: bool = True
    """Let an environment of another library draw itself, where it can."""


def run(words: list[str]) -> int:
    args = parse(ReplayArgs, words, "gnncomm replay")
    console = make_console()
    trained = args.load(console)
    figure = output_file(
        args.figure or str(safe_run_path(args.run, parents=True) / _NAMES[args.view]), *figure_suffixes()
    )
    kept = output_file(args.episode, ".npz") if args.episode else None
    film = output_file(args.video, ".mp4", ".gif") if args.video else None
    if not 0 < args.fps <= _FASTEST:
        raise ConfigError(f"Expected --fps from above 0 to {_FASTEST}, got {args.fps:g}.")
    episode = draw(trained, figure, args.seed, not args.sample, args.view, args.pictures)
    if kept is not None:
        episode.save(kept)
    if film is not None:
        episode_video(episode, film, 1 / args.fps)
    for what, file in {"figure": figure, "episode": kept, "video": film}.items():
        if file is not None:
            console.print(f"{what} in {file}", soft_wrap=True)
    return 0


def draw(
    trained: Trained, figure: Path, seed: int, greedy: bool = True, view: str = "paths", pictures: bool = True
) -> Episode:
    """Record one episode and draw it into ``figure``; an environment of another library draws itself if it can."""
    if pictures and environments.is_foreign(trained.config.env.id):
        trained = trained.with_env(pictures=True)
    episode = record(trained.policy, trained.make_env(1), seed=seed, greedy=greedy)
    VIEWS[view](episode, figure)
    return episode
