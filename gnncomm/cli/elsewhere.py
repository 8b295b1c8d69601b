"""Options of commands that look at a trained team: as it was trained, or where it was not (zero-shot)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from gnncomm.config import require_ranges
from gnncomm.learn.config import DEFAULT_SEED, MAX_SEED, Setting

if TYPE_CHECKING:
    from rich.console import Console

    from gnncomm.run import Trained

WIRE = ("topology", "scheduler", "codec", "channel")


@dataclass(frozen=True)
class ElsewhereArgs:
    """A run, and what is not as in its training."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    checkpoint: str = "last"
    """Which of its checkpoints: last, best (by the evaluations of --eval-every), or a number of environment steps."""
    env: Annotated[str, tyro.conf.arg(metavar="ENV")] = ""
    """Another environment than in training, with observations and actions of the same widths."""
    env_settings: Mapping[str, Setting] = field(default_factory=dict)
    """Other settings of the environment than in training."""
    num_agents: int = 0
    """Another size of the team; 0 as in training."""
    topology: str = ""
    """Another topology than in training."""
    scheduler: str = ""
    """Another scheduler than in training; one without weights."""
    codec: str = ""
    """Another codec than in training."""
    channel: str = ""
    """Another channel than in training."""
    trust_env: bool = False
    """Run code of another package that the run names as its environment."""
    seed: int = DEFAULT_SEED
    """Seed of the episodes. Whatever it is, they are not those of training."""
    sample: bool = False
    """Sample actions instead of taking the most likely ones."""

    def __post_init__(self) -> None:
        require_ranges(self, {"seed": (0, MAX_SEED - 1), "num_agents": (0, 2**20)})

    @property
    def overrides(self) -> dict[str, Any]:
        """What is not as in training."""
        settings = dict(self.env_settings) | ({"num_agents": self.num_agents} if self.num_agents else {})
        said = {"env": self.env, "env_settings": settings, **{name: getattr(self, name) for name in WIRE}}
        said["checkpoint"] = "" if self.checkpoint == "last" else self.checkpoint
        return {name: value for name, value in said.items() if value}

    def load(self, console: Console) -> Trained:
        """The team, where these options put it; says on ``console`` what is not as in training."""
        from gnncomm.run import load

        trained = load(self.run, trust_env=self.trust_env, checkpoint=self.checkpoint)
        changes = {name: value for name, value in self.overrides.items() if name != "checkpoint"}
        for line in trained.rejected:
            console.print(f"passed over {line}", soft_wrap=True)
        if self.checkpoint != "last":
            console.print(f"the team as it was after {trained.env_steps:,} environment steps", soft_wrap=True)
        if not changes:
            return trained
        told = ", ".join(f"{name} {value}" for name, value in changes.items())
        wire = {name: value for name, value in changes.items() if name in WIRE}
        if changes.keys() - wire.keys():
            trained = trained.with_env(self.env or None, **changes.get("env_settings", {}))
        console.print(f"zero-shot, not trained so: {told}", soft_wrap=True)
        return trained.with_wire(**wire)
