"""``gnncomm sweep ENV``: search for settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import tyro

from gnncomm.cli import train
from gnncomm.cli.parse import most_threads, parse_known, wants_help
from gnncomm.config import require_ranges


@dataclass(frozen=True)
class SweepArgs:
    """Search for settings of a training: trials of a space, by Optuna. All options of gnncomm train are taken, too."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm sweep relay --space space.json --trials 20",
        "gnncomm sweep predator_prey --space space.yaml --total 50 --workers 2 --steps 200000",
    )

    space: Annotated[str, tyro.conf.arg(metavar="FILE")]
    """What is tried, JSON or YAML: names of options, each with a list or with low, high, log and step."""
    trials: int = 0
    """Trials of this call; 0: as many as --total leaves."""
    total: int = 0
    """No more trials than these in all, whoever makes them; 0: no limit."""
    out: Annotated[str, tyro.conf.arg(metavar="DIR")] = ""
    """Directory of the sweep; default runs/sweep-ENV. Called again, it goes on."""
    metric: Literal["return", "success", "length"] = "return"
    """What is made better (length: shorter), mean over seeds, in the evaluation at the end of each training."""
    seeds: int = 2
    """Trainings of each trial, --seed and those after it."""
    episodes: int = 200
    """Of the evaluation at the end of each training; they occur in no gnncomm eval."""
    workers: int = 1
    """Trials at a time, each in a process of its own; 1 works in this one."""
    threads: int = 1
    """Of torch, of each worker."""
    prune: bool = True
    """End trials whose running metric is below the median of the others at the same step."""

    def __post_init__(self) -> None:
        ranges = {"trials": (0, 10**6), "total": (0, 10**6), "seeds": (1, 2**10), "episodes": (2, 10**6)}
        require_ranges(self, ranges | {"workers": (1, 1024), "threads": (1, most_threads())})


def run(words: list[str]) -> int:
    try:
        args, rest = parse_known(SweepArgs, words, "gnncomm sweep")
    except SystemExit as end:
        if not end.code and wants_help(words):
            train.show_help(words)  # the other half of the help
        raise
    from gnncomm.cli import sweeping  # what searches needs torch, what shows options does not

    return sweeping.run(args, rest, words)
