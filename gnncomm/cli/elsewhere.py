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

    def load(self, console: Console) -> tuple[Trained, dict[str, Any]]:
        """The team, where these options put it, and what of it is not as in training; says so on ``console``."""
        from gnncomm.run import load

        trained = load(self.run, trust_env=self.trust_env, checkpoint=self.checkpoint)
        for line in trained.rejected:
            console.print(f"passed over {line}", soft_wrap=True)
        if self.checkpoint != "last":
            console.print(f"the team as it was after {trained.env_steps:,} environment steps", soft_wrap=True)
        settings = dict(self.env_settings) | ({"num_agents": self.num_agents} if self.num_agents else {})
        there = trained
        if self.env or settings:
            there = there.with_env(self.env or None, **settings)
        another = there.config.env.id != trained.config.env.id
        known = {} if another or not settings else _settings_of(trained)
        settings = {name: value for name, value in settings.items() if name not in known or known[name] != value}
        wire = {part: text for part in WIRE if (text := getattr(self, part)) and not _is_trained(trained, part, text)}
        said = {"env": self.env if another else "", "env_settings": settings, **wire}
        changes = {name: value for name, value in said.items() if value}
        if changes:
            told = ", ".join(f"{name} {value}" for name, value in changes.items())
            console.print(f"zero-shot, not trained so: {told}", soft_wrap=True)
        changes |= {} if self.checkpoint == "last" else {"checkpoint": self.checkpoint}
        return there.with_wire(**wire) if wire else there, changes


def _settings_of(trained: Trained) -> dict[str, Any]:
    """All settings of its environment, as far as they are known without another package's code."""
    from gnncomm import environments

    own = trained.config.env
    named = not environments.is_foreign(own.id) and "env" not in trained.config.given
    made = vars(trained.make_env(1)).get("config", {}) if named else {}
    return {"num_agents": trained.num_agents, **own.settings, **made}


def _is_trained(trained: Trained, part: str, text: str) -> bool:
    """Whether ``text`` is another word for the part of the wire that the team was trained with."""
    from gnncomm.learn.naming import name_of
    from gnncomm.registry import registry_of

    sizes = {"in_channels": trained.policy.hidden, "num_agents": trained.num_agents} if part == "scheduler" else {}
    known = registry_of(part)
    meant: str = known.spec_of(known.resolve(text, **sizes), **sizes)
    return meant == name_of(part, trained.policy, trained.num_agents)
