"""``gnncomm replay RUN``: one episode, recorded and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gnncomm.cli.console import make_console
from gnncomm.cli.parse import output_file, parse
from gnncomm.config import require_ranges
from gnncomm.learn import MAX_SEED
from gnncomm.record import Episode, episode_video, figure_suffixes, record, trajectory_figure
from gnncomm.run import Trained, load
from gnncomm.store import safe_run_path


@dataclass(frozen=True)
class ReplayArgs:
    """Record an episode of a trained team and draw its trajectories and messages."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    figure: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """PNG, PDF or SVG to draw into."""
    episode: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """File (.npz) to keep the recorded episode in."""
    video: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """MP4 or GIF to film the episode in."""
    seed: int = 0
    """Seed of the episode."""
    trust_env: bool = False
    """Run code of another package that the run names as its environment."""

    def __post_init__(self) -> None:
        require_ranges(self, {"seed": (0, MAX_SEED - 1)})


def run(words: list[str]) -> int:
    args = parse(ReplayArgs, words, "gnncomm replay")
    console = make_console()
    trained = load(args.run, trust_env=args.trust_env)
    figure = output_file(
        args.figure or str(safe_run_path(args.run, parents=True) / "trajectories.png"), *figure_suffixes()
    )
    kept = output_file(args.episode, ".npz") if args.episode else None
    film = output_file(args.video, ".mp4", ".gif") if args.video else None
    episode = draw(trained, figure, args.seed)
    if kept is not None:
        episode.save(kept)
    if film is not None:
        episode_video(episode, film)
    for what, file in {"figure": figure, "episode": kept, "video": film}.items():
        if file is not None:
            console.print(f"{what} in {file}", soft_wrap=True)
    return 0


def draw(trained: Trained, figure: Path, seed: int) -> Episode:
    """Record one episode and draw it into ``figure``."""
    episode = record(trained.policy, trained.make_env(1), seed=seed)
    trajectory_figure(episode, figure)
    return episode
