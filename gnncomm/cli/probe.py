"""``gnncomm probe RUN``: what do they say, and who listens?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import tyro

from gnncomm.cli.elsewhere import ElsewhereArgs
from gnncomm.cli.parse import parse
from gnncomm.config import require_ranges


@dataclass(frozen=True)
class ProbeArgs(ElsewhereArgs):
    """Measure what the messages of a trained team say, what can be read out of them, and whose actions they change."""

    EXAMPLES: ClassVar[tuple[str, ...]] = (
        "gnncomm probe runs/first",
        "gnncomm probe runs/first --episodes 2000 --json first.json --figure first.svg",
    )

    episodes: int = 500
    """Episodes to look at."""
    json: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """File to write the numbers to."""
    figure: Annotated[str, tyro.conf.arg(metavar="FILE")] = ""
    """PNG, PDF or SVG to draw into."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"episodes": (30, 10**7)})


def run(words: list[str]) -> int:
    args = parse(ProbeArgs, words, "gnncomm probe")
    from gnncomm.cli import probing  # what probes needs torch, what shows options does not

    return probing.run(args)
