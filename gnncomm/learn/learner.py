"""What a learner is: a value that improves a policy, and that can be saved between any two updates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from gnncomm.config.data import decode_fields
from gnncomm.errors import ConfigError
from gnncomm.learn.rollout import Rollout
from gnncomm.policy import Actions, CommPolicy, actions_of
from gnncomm.registry import registry_of, scalar
from gnncomm.types import TeamSpec, TimeStep

Groups = dict[str, dict[str, Tensor]]
"""Tensors by name, in groups: one file of a checkpoint each."""


@dataclass(frozen=True)
class Experience:
    """What a learner asks for before each update."""

    length: int
    """T: steps of every environment between two updates."""
    kind: Literal["rollout"] = "rollout"
    """``rollout``: these steps as the policy played them, once, as a ``Rollout``."""
    chunk: int = 0
    """Say what was remembered before every so many steps, see ``Rollout.chunks``; 0: before the first alone."""
    fresh: bool = False
    """Begin new episodes in all environments with each rollout."""
    after: bool = False
    """Whether the rollout shows what came after each step, too (``Rollout.after``)."""


@runtime_checkable
class Learner(Protocol):
    """Improves ``policy``, in place, by the experience that it asks for.

    ``state`` gives all that the next updates depend on beside the weights of the policy, and ``restore`` takes it back;
    a fresh learner's has the same groups, names, shapes and types, so that a checkpoint can be checked before it is
    taken. So whoever trains, saves and resumes knows nothing of optimisers.
    """

    policy: CommPolicy
    updates: int
    """How many were made."""

    @property
    def experience(self) -> Experience:
        """What ``update`` takes; the same in every update."""
        ...

    def update(self, experience: Rollout) -> dict[str, float]:
        """Learn from it, and say how it went.

        Raises:
            NonFiniteError: NaN or infinity; policy and learner are then those from before the update.
        """
        ...

    def state(self) -> tuple[Groups, dict[str, Any]]:
        """``(tensors by group, counters)``; the counters are JSON, and ``updates`` is one of them."""
        ...

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]], counters: Mapping[str, Any]) -> None:
        """Continue from what ``state`` gave, among other groups and counters.

        Raises:
            CheckpointMismatchError: numbers that no such learner can have.
        """
        ...


@runtime_checkable
class Prepares(Protocol):
    """A learner that has to know what will be shown before the first update, to make room for it."""

    def prepare(self, shown: TimeStep, max_steps: int) -> None:
        """``shown [B, ...]``: the first time step, and how long an episode is at most."""
        ...


@dataclass(frozen=True)
class LearnerConfig:
    """Settings of a learner that has a name. As data: an object with its ``name`` (ppo, if it has none) and these."""

    def learner(self, policy: CommPolicy, *, losses: Sequence[Any] = (), **told: Any) -> Learner:
        """The learner for ``policy``, told ``total_updates``, ``seed`` and ``length``, with further ``losses``."""
        raise NotImplementedError(f"{type(self).__name__}.learner")

    @property
    def looks_at_state(self) -> bool:
        """Whether time steps are to show the state of an environment that tells one."""
        return False

    def actions(self, spec: TeamSpec) -> Actions:
        """The distribution over actions that it trains."""
        return actions_of(spec)

    def critic(self, spec: TeamSpec) -> nn.Module | None:
        """Its critic; None: the one that the settings of the policy name."""
        return None

    def for_encoder(self) -> Mapping[str, Any]:
        """Settings that an encoder gets where it has them and its text leaves them open."""
        return {}

    def require_fit(self, num_envs: int) -> None:
        """Refuse what so many environments do not allow."""

    def suited(self, max_steps: int) -> dict[str, Any]:
        """Settings of a training with episodes of so many steps at most in which it does not go by the recipe."""
        return {}

    def keeps(self, num_envs: int) -> int:
        """How many whole episodes it keeps."""
        return 0

    def at_once(self, rows: int) -> int:
        """How many of so many rows of experience are in one backward pass."""
        return rows

    @property
    def name(self) -> str:
        """What it is called.

        Raises:
            ConfigError: nothing.
        """
        name: str | None = registry_of("learner").name_of(type(self))
        if name is None:
            raise ConfigError(
                f"learner: expected settings of a learner that has a name, got {type(self).__name__}. Give it one: "
                f'gnncomm.register("learner", "mine", {type(self).__name__}).'
            )
        return name

    def to_data(self) -> dict[str, Any]:
        return {"name": self.name, **{item.name: getattr(self, item.name) for item in fields(self)}}

    @classmethod
    def of_data(cls, data: Mapping[str, Any], path: str = "learner") -> LearnerConfig:
        given = dict(data)
        name = given.pop("name", "ppo")
        if not isinstance(name, str):
            raise ConfigError(f"{path}.name: expected the name of a learner, got {name!r}.")
        known = registry_of("learner")
        kind = known.find(name) if name in known.names() else None  # a policy can be loaded without its learner
        if isinstance(kind, type) and issubclass(kind, LearnerConfig):
            made: LearnerConfig = decode_fields(kind, given, path)
            return made
        return NamedLearner(name, given)

    def named(self, text: str) -> LearnerConfig:
        """Settings that a text names; where it names this kind, these with what it says."""
        made, said = LearnerConfig.of(text), text.partition(":")[2]
        if type(made) is not type(self) or made.name != self.name or isinstance(made, NamedLearner):
            return made
        return replace(self, **{key: getattr(made, key) for key in re.findall(r"(\w+)=", said)})

    @classmethod
    def of(cls, value: LearnerConfig | str) -> LearnerConfig:
        """Settings as they are, or those that a text names: ``ppo:lr=1e-4``."""
        if not isinstance(value, str):
            return value
        name, _, rest = value.partition(":")
        kind = registry_of("learner").find(name)
        if isinstance(kind, type) and issubclass(kind, LearnerConfig):
            made: LearnerConfig = registry_of("learner").resolve(value)
            return made
        said = dict(part.partition("=")[::2] for part in filter(None, rest.split(",")))
        return NamedLearner(name, {key: scalar(text) for key, text in said.items()})


@dataclass(frozen=True)
class NamedLearner(LearnerConfig):
    """A registered learner without settings of a type of its own: a class or function that makes one."""

    name: str = ""
    settings: Mapping[str, bool | int | float | str] = field(default_factory=dict)

    def learner(self, policy: CommPolicy, *, losses: Sequence[Any] = (), **told: Any) -> Learner:
        if losses:
            raise ConfigError(f"losses: expected none with the learner {self.name!r}, got {len(losses)}.")
        said = ",".join(
            f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in self.settings.items()
        )
        made = registry_of("learner").resolve(f"{self.name}:{said}" if said else self.name, policy=policy, **told)
        if not isinstance(made, Learner):
            raise ConfigError(f"learner: expected {self.name!r} to be a learner, got {type(made).__name__}.")
        return made

    def to_data(self) -> dict[str, Any]:
        return {"name": self.name, **self.settings}
