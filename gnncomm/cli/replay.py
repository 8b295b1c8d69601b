"""``gnncomm replay RUN``: one episode, recorded and drawn; or one that was kept, drawn again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro
from rich.console import Console

from gnncomm import environments
from gnncomm.cli.console import make_console
from gnncomm.cli.elsewhere import ElsewhereArgs
from gnncomm.cli.parse import output_file, parse
from gnncomm.errors import ConfigError
from gnncomm.evaluation import muted
from gnncomm.recording import VIEWS, Episode, compare_page, episode_video, figure_suffixes, record, replay_page
from gnncomm.run import Trained
from gnncomm.store import safe_run_path
from gnncomm.store.files import EX_NOINPUT, with_exit_code

MUTED = "muted"
_NAMES = {"paths": "trajectories.png", "attention": "attention.png", "graph": "graph.png"}
"""Of figures that are given none, in the directory of the run."""
_OUTPUTS = ("figure", "html", "episode", "video")
_DRAWING = (*_OUTPUTS, "run", "view", "fps")
"""Options that a kept episode knows, too."""
_FASTEST = 240


@dataclass(frozen=True)
class ReplayArgs(ElsewhereArgs):
    """Record an episode of a trained team, or take one that was kept, and show where it went and what it said."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm replay runs/first --html first.html --against muted",
        "gnncomm replay runs/first --figure first.svg --video first.mp4 --seed 7",
    )

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN|EPISODE")]
    """Run directory, or a file (.npz) that --episode kept."""
    figure: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """PNG, PDF or SVG to draw into; one named for the view, in RUN, if no other file, or a view, is asked for."""
    view: Literal["paths", "attention", "graph"] = "paths"
    """What to draw: where everyone went, who listened to whom, or the graph of who read whom."""
    html: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """Page to look at step by step in a browser: one file that needs no network."""
    against: Annotated[str, tyro.conf.arg(metavar="RUN|muted")] = ""
    """With --html: another team beside it on the same episode; "muted" is the same team without messages."""
    episode: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """File (.npz) to keep the recorded episode in."""
    video: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """MP4 or GIF to film the episode in."""
    fps: Annotated[float, tyro.conf.arg(metavar="RATE")] = 2.0
    """Steps a second of the film."""
    pictures: bool = True
    """Let an environment of another library draw itself, where it can."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.fps <= _FASTEST:
            raise ConfigError(f"Expected --fps from above 0 to {_FASTEST}, got {self.fps:g}.")
        if self.against and not self.html:
            raise ConfigError("against: expected --html FILE beside it, the page that shows both teams.")

    @property
    def kept(self) -> Path | None:
        """The file of a recorded episode, where ``run`` is one.

        Raises:
            ConfigError: no such file, or options that a recording would need.
        """
        path = Path(self.run)
        if path.suffix.lower() != ".npz" or path.is_dir():
            return None
        usual = ReplayArgs(self.run)
        named = [each.name for each in fields(self) if getattr(self, each.name) != getattr(usual, each.name)]
        if spoken := [f"--{name.replace('_', '-')}" for name in named if name not in _DRAWING]:
            raise ConfigError(f"{path} is an episode as it was recorded: expected a RUN for {', '.join(spoken)}.")
        if not path.exists():
            raise with_exit_code(ConfigError(f"There is no episode {path}: expected a file of --episode."), EX_NOINPUT)
        return path

    def files(self, figure: Path) -> dict[str, Path]:
        """What is to be written, by option; ``figure`` where no file or another view is asked for.

        Raises:
            ConfigError: a name that no such file can have.
        """
        asked = {name: getattr(self, name) for name in _OUTPUTS if getattr(self, name)}
        if not asked or self.view != "paths":
            asked.setdefault("figure", str(figure))
        suffixes = {"html": (".html", ".htm"), "episode": (".npz",), "video": (".mp4", ".gif")}
        return {
            name: output_file(file, *(figure_suffixes() if name == "figure" else suffixes[name]))
            for name, file in asked.items()
        }


def run(words: list[str]) -> int:
    args = parse(ReplayArgs, words, "gnncomm replay")
    console = make_console()
    if (kept := args.kept) is not None:
        episode = Episode.load(kept)
        files = args.files(kept.with_suffix(".png"))
        _write(args, files, episode, partial(replay_page, episode))
    else:
        trained, _ = args.load(console)
        files = args.files(safe_run_path(args.run, parents=True) / _NAMES[args.view])
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
