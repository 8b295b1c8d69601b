"""What a method is: a name for a choice of the six parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gnncomm import deprecated
from gnncomm.errors import ConfigError, did_you_mean
from gnncomm.learn import TrainConfig
from gnncomm.learn.build import assemble
from gnncomm.learn.parts import OF_THE_POLICY, taken
from gnncomm.policy import CommPolicy
from gnncomm.types import TeamSpec


@dataclass(frozen=True)
class Method:
    """A method of the literature as a combination of parts; calling it builds the policy.

    ``settings`` are those of ``TrainConfig`` that make the method: layer, rounds, topology, scheduler, codec, channel,
    integration and memory. Any of them can be replaced, so one part is exchanged and the rest stays.
    """

    name: str
    title: str
    """As the paper writes it."""
    paper: str
    """Authors, year, title or number."""
    settings: Mapping[str, Any]
    line: str
    """What it is, in one line."""
    released: str = ""
    """Name of the recorded network of the released code, which ``gnncomm.bench.reference.released`` builds."""
    trained: str = ""
    """How its paper trains it, in words; empty for a baseline without a paper on teams."""
    learner: str = "ppo"
    """The learner here that is nearest to the paper's, with settings."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """What that training has beside ``settings``: losses, a scheduler that is taught by them, a critic."""

    @property
    def summary(self) -> str:
        """What it is, by what it is trained and how its paper trains it, in one line."""
        losses = self.training.get("losses")
        how = f"by {self.learner}{f' with the losses {losses}' if losses else ''}"
        return f"{self.line} ({how}{f'; in the paper: {self.trained}' if self.trained else ''})"

    def config(self, base: TrainConfig | None = None, *, own_training: bool = False) -> TrainConfig:
        """``base`` with the parts of this method; what the method does not say is as ``TrainConfig`` has it.

        ``own_training``: with the learner, losses and critic of its paper, too, as far as they are here; else with the
        learner of ``base``, and no losses.
        """
        plain = TrainConfig()
        known = plain if base is None else base
        settings = {name: plain[name] for name in _PARTS if name != "algo"} | {"losses": ""} | dict(self.settings)
        if own_training:
            settings |= dict(self.training) | {"learner": known.learner.named(self.learner)}
        return known.replace(**settings)

    def __call__(
        self, obs_dim: int, num_actions: int, num_agents: int, hidden: int = 64, seed: int = 0, **parts: Any
    ) -> CommPolicy:
        """The policy.

        Args:
            obs_dim: D, width of a flat observation.
            num_actions: A.
            num_agents: N; parameters depend on it only where a method's do (CommFormer).
            hidden: width of a row.
            seed: weights are drawn from it.
            parts: settings to replace, by the names of ``TrainConfig``: ``topology="ring"``, ``channel="loss:p=0.2"``;
                or objects, as ``gnncomm.train`` takes them: ``comm=GatedSum(64, 64)``.

        Raises:
            ConfigError: an unknown part, or parts that do not fit together.
        """
        if "faithful" in parts:
            sizes = (obs_dim, num_actions, num_agents, hidden, seed)
            return deprecated.released(self, sizes, parts)  # type: ignore[no-any-return]
        known = (*_PARTS, *(name for name in OF_THE_POLICY if name not in ("policy", *_PARTS)))
        unknown = sorted(set(parts) - set(known))
        if unknown:
            raise ConfigError(f"{self.name} has no part {unknown[0]!r}. {did_you_mean(unknown[0], known)}")
        named: dict[str, Any] = {name: value for name, value in parts.items() if isinstance(value, (str, int))}
        config = self.config().replace(hidden=hidden, seed=seed, **named)
        config, objects = taken(config, {name: value for name, value in parts.items() if name not in named})
        return assemble(config, TeamSpec(obs_dim, num_actions, num_agents), objects)


_PARTS = (
    "comm",
    "rounds",
    "share_rounds",
    "topology",
    "scheduler",
    "codec",
    "channel",
    "integration",
    "memory",
    "algo",
)
