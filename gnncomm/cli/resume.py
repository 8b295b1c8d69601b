"""``gnncomm resume RUN``: go on with a training as it was begun."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import tyro

from gnncomm import environments
from gnncomm.cli.parse import most_threads, parse
from gnncomm.config import require_ranges
from gnncomm.errors import ConfigError
from gnncomm.learn.config import MAX_STEPS


@dataclass(frozen=True)
class ResumeArgs:
    """Continue a run from its newest good checkpoint, as it was begun, bit for bit as if it had never stopped."""

    EXAMPLES: ClassVar[tuple[str, ...]] = ("gnncomm resume runs/first", "gnncomm resume runs/first --steps 3000000")

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    steps: int = 0
    """Environment steps in all, another end than was planned; 0 goes on as planned."""
    episodes: int = 1000
    """Episodes of the evaluation afterwards; 0 for none."""
    threads: int = 0
    """Threads of torch; 0 leaves its own choice."""
    trust_env: bool = False
    """Run code of another package that the run names as its environment."""

    def __post_init__(self) -> None:
        require_ranges(self, {"threads": (0, most_threads()), "episodes": (0, 10**9), "steps": (0, MAX_STEPS)})


def run(words: list[str]) -> int:
    args = parse(ResumeArgs, words, "gnncomm resume")
    import torch

    from gnncomm.cli.training import go, go_many
    from gnncomm.learn.parts import require_given
    from gnncomm.run import config_of
    from gnncomm.seeds import planned, resume_seeds

    many = planned(args.run)
    config = config_of(args.run) if many is None else many.config
    require_given(config, {}, every=True, begun=True)
    if not args.trust_env:
        environments.require_trust(config.env.id, config.env.settings)
    if many is not None:
        if args.steps:
            raise ConfigError("steps: many seeds go on as they were planned. Leave --steps out.")
        return go_many(partial(resume_seeds, args.run), args.run, config, max(1, args.threads), trust_env=True)
    if args.threads:
        torch.set_num_threads(args.threads)
    return go(config.replace(steps=args.steps) if args.steps else config, args.run, args.episodes, resume=True)
