"""``gnncomm plot RUN ...``: learning curves, one for each configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import tyro

from gnncomm.cli.parse import parse
from gnncomm.config import require_ranges
from gnncomm.errors import ConfigError


@dataclass(frozen=True)
class PlotArgs:
    """Draw how trainings went, side by side. Runs of one configuration but for the seed are one curve with a band."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm plot runs/first runs/second --figure both.svg",
        "gnncomm plot runs/seeds --metric bits_per_agent_step --x wall --smooth 5",
    )

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN ...")]
    """Runs, or directories of many seeds."""
    figure: Annotated[str, tyro.conf.arg(metavar="FILE")] = "curves.png"
    """PNG, PDF or SVG to draw into."""
    metric: str = "success"
    """Which metric, as it is named in metrics.jsonl."""
    x: Literal["steps", "wall"] = "steps"
    """Over environment steps, or the time that training took."""
    average: Literal["mean", "iqm"] = "mean"
    """What is drawn of many seeds, with its 95 % bootstrap interval."""
    smooth: int = 1
    """Draw the mean of the last so many updates, and say so."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("Expected at least one run directory to plot, got none.")
        require_ranges(self, {"smooth": (1, 2**20)})


def run(words: list[str]) -> int:
    args = parse(PlotArgs, words, "gnncomm plot")
    from gnncomm.cli import plotting  # what reads runs needs torch, what shows options does not

    return plotting.run(args)
