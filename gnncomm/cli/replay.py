"""``gnncomm replay RUN``: one episode, recorded and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from gnncomm.cli.parse import at_least, output_file, parse
from gnncomm.record import Episode, episode_video, record, trajectory_figure
from gnncomm.run import Trained, load
from gnncomm.store import safe_run_path


@dataclass(frozen=True)
class ReplayArgs:
    """Record an episode of a trained team and draw its trajectories and messages."""

    run: tyro.conf.Positional[str]
    """Run directory."""
    figure: str = ""
    """PNG, PDF or SVG to draw into."""
    episode: str = ""
    """File (.npz) to keep the recorded episode in."""
    video: str = ""
    """MP4 or GIF to film the episode in."""
    seed: int = 0
    """Seed of the episode."""
    trust_env: bool = False
    """Run code of another package that the run names as its environment."""

    def __post_init__(self) -> None:
        at_least(self, seed=0)


def run(words: list[str]) -> int:
    args = parse(ReplayArgs, words, "gnncomm replay")
    console = Console(highlight=False)
    trained = load(args.run, trust_env=args.trust_env)
    figure = output_file(args.figure) if args.figure else safe_run_path(args.run) / "trajectories.png"
    episode = draw(trained, figure, args.seed, console)
    if args.episode:
        episode.save(output_file(args.episode))
        console.print(f"episode in {args.episode}")
    if args.video:
        episode_video(episode, output_file(args.video))
        console.print(f"video in {args.video}")
    return 0


def draw(trained: Trained, figure: Path, seed: int, console: Console) -> Episode:
    """Record one episode and draw it into ``figure``."""
    episode = record(trained.policy, trained.make_env(1), seed=seed)
    trajectory_figure(episode, figure)
    console.print(f"figure in {figure}")
    return episode
