"""``gnncomm compare RUN ...``: methods over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import tyro

from gnncomm.cli.parse import parse
from gnncomm.config import require_ranges
from gnncomm.errors import ConfigError
from gnncomm.learn.config import DEFAULT_SEED, MAX_SEED


@dataclass(frozen=True)
class CompareArgs:
    """Compare methods over seeds, on the same episodes. Runs of one configuration but for the seed are one method."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm compare runs/attention runs/mean",
        "gnncomm compare runs/attention runs/mean --metric return --figure both.svg --json both.json",
        "gnncomm compare runs/attention --html muted.html",
    )

    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN ...")]
    """Runs, or directories of many seeds; the first method is what the others are compared with."""
    metric: Literal["success", "return", "steps"] = "success"
    """What is compared: the mean over the episodes of the evaluation; of steps fewer are better."""
    threshold: float | None = None
    """Of steps to threshold, in the running metric; 0.9 of success, else none."""
    json: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """File to write all numbers to."""
    marl_eval: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """File to write the JSON of marl-eval to."""
    latex: bool = False
    """Print the table as LaTeX instead."""
    figure: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """PNG, PDF or SVG to draw into."""
    html: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """Page with one episode of two teams side by side: the first seeds of two methods, or of one with and without
    messages."""
    seed: int = DEFAULT_SEED
    """Of the episode on that page."""
    trust_env: bool = False
    """With --html: run code of another package that a run names as its environment."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ConfigError("Expected runs to compare, got none: gnncomm compare runs/a runs/b.")
        require_ranges(self, {"seed": (0, MAX_SEED - 1)})


def run(words: list[str]) -> int:
    args = parse(CompareArgs, words, "gnncomm compare")
    from gnncomm.cli import comparing  # what compares needs torch, what shows options does not

    return comparing.run(args)
