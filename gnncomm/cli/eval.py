"""``gnncomm eval RUN``: the trained team beside its controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import tyro

from gnncomm.cli.elsewhere import ElsewhereArgs
from gnncomm.cli.parse import parse
from gnncomm.config import require_ranges


@dataclass(frozen=True)
class EvalArgs(ElsewhereArgs):
    """Measure a trained team, the same team muted and with shuffled messages, and the floor and ceiling policies."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm eval runs/first --json first.json",
        "gnncomm eval runs/first --checkpoint best --episodes 5000",
        "gnncomm eval runs/first --num-agents 6 --channel loss:p=0.3",
    )

    episodes: int = 1000
    """Episodes of each."""
    json: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """File to write the numbers to."""
    outcomes: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """File (.npz) to keep how each episode went in; of a team as it was trained, the run keeps it otherwise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"episodes": (2, 10**9)})


def run(words: list[str]) -> int:
    args = parse(EvalArgs, words, "gnncomm eval")
    from gnncomm.cli import evaluating  # what measures needs torch, what shows options does not

    return evaluating.run(args)
