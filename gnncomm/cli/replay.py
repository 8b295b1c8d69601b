"""``gnncomm replay RUN``: one episode, recorded and drawn; or one that was kept, drawn again."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import tyro

from gnncomm.cli.elsewhere import ElsewhereArgs
from gnncomm.cli.parse import parse
from gnncomm.errors import ConfigError

MUTED = "muted"
OUTPUTS = ("figure", "html", "episode", "video")
_DRAWING = (*OUTPUTS, "run", "view", "fps")
"""Options that a kept episode knows, too."""
_SLOWEST, _FASTEST = 0.01, 240


@dataclass(frozen=True)
class ReplayArgs(ElsewhereArgs):
    """Record an episode of a trained team, or take one that was kept, and show where it went and what it said."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm replay runs/first",
        "gnncomm replay runs/first --html first.html --against muted",
        "gnncomm replay runs/first --figure first.svg --view attention --video first.mp4 --seed 7",
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
        if not _SLOWEST <= self.fps <= _FASTEST:
            raise ConfigError(f"Expected --fps from {_SLOWEST} to {_FASTEST}, got {self.fps:g}.")
        if self.against and not self.html:
            raise ConfigError("against: expected --html FILE beside it, the page that shows both teams.")

    @property
    def kept(self) -> Path | None:
        """The file of a recorded episode, where ``run`` is one.

        Raises:
            ConfigError: no such file, or options that a recording would need.
        """
        from gnncomm.store.files import EX_NOINPUT, with_exit_code

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


def run(words: list[str]) -> int:
    args = parse(ReplayArgs, words, "gnncomm replay")
    from gnncomm.cli import replaying  # what draws needs torch, what shows options does not

    return replaying.run(args)
