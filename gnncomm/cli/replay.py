"""``gnncomm replay RUN``: one episode, recorded and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import tyro

from gnncomm.cli.console import make_console
from gnncomm.cli.elsewhere import ElsewhereArgs
from gnncomm.cli.parse import output_file, parse
from gnncomm.recording import Episode, episode_video, figure_suffixes, record, trajectory_figure
from gnncomm.run import Trained
from gnncomm.store import safe_run_path


@dataclass(frozen=True)
class ReplayArgs(ElsewhereArgs):
    """Record an episode of a trained team and draw its trajectories and messages."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm replay runs/first",
        "gnncomm replay runs/first --figure first.svg --video first.mp4 --seed 7",
    )

    figure: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """PNG, PDF or SVG to draw into."""
    episode: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """File (.npz) to keep the recorded episode in."""
    video: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """MP4 or GIF to film the episode in."""


def run(words: list[str]) -> int:
    args = parse(ReplayArgs, words, "gnncomm replay")
    console = make_console()
    trained = args.load(console)
    figure = output_file(
        args.figure or str(safe_run_path(args.run, parents=True) / "trajectories.png"), *figure_suffixes()
    )
    kept = output_file(args.episode, ".npz") if args.episode else None
    film = output_file(args.video, ".mp4", ".gif") if args.video else None
    episode = draw(trained, figure, args.seed, not args.sample)
    if kept is not None:
        episode.save(kept)
    if film is not None:
        episode_video(episode, film)
    for what, file in {"figure": figure, "episode": kept, "video": film}.items():
        if file is not None:
            console.print(f"{what} in {file}", soft_wrap=True)
    return 0


def draw(trained: Trained, figure: Path, seed: int, greedy: bool = True) -> Episode:
    """Record one episode and draw it into ``figure``."""
    episode = record(trained.policy, trained.make_env(1), seed=seed, greedy=greedy)
    trajectory_figure(episode, figure)
    return episode
