"""Settings of learners by gradients, as data: nothing here needs torch, so that the command line knows them at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gnncomm.config import require_ranges, require_types
from gnncomm.config.data import decode_fields
from gnncomm.errors import ConfigError
from gnncomm.registry import registry_of, scalar

if TYPE_CHECKING:
    from torch import nn

    from gnncomm.learn.learner import Learner
    from gnncomm.learn.losses import LossFunction
    from gnncomm.learn.ppo import PPO
    from gnncomm.policy import Actions, CommPolicy
    from gnncomm.types import TeamSpec

OptimizerName = Literal["adam", "radam", "rmsprop"]


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
        from gnncomm.policy import actions_of

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
        from gnncomm.learn.learner import Learner

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


@dataclass(frozen=True)
class GradientConfig(LearnerConfig):
    """Settings that all learners by gradients have."""

    UNIT: ClassVar[tuple[str, ...]] = ("gamma",)
    """Settings within [0, 1]."""
    POSITIVE: ClassVar[tuple[str, ...]] = ("lr", "eps")
    """Finite numbers above 0."""
    NOT_NEGATIVE: ClassVar[tuple[str, ...]] = ("max_grad_norm",)
    """Finite numbers of at least 0."""

    lr: float = 1e-3
    """Learning rate."""
    lr_schedule: Literal["constant", "linear"] = "linear"
    """"linear" goes to zero at the end of training."""
    optimizer: OptimizerName = "adam"
    """adam, radam or rmsprop."""
    alpha: float = 0.99
    """Decay of the mean square of RMSprop."""
    eps: float = 1e-5
    """Added to the root of the mean square, so that nothing is divided by zero."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this norm; 0 leaves them as they are."""
    gamma: float = 0.99
    """Discount per step."""

    def __post_init__(self) -> None:
        require_types(self, "learner.")
        for name in (*self.UNIT, "alpha"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"learner.{name} must be within [0, 1], got {getattr(self, name)}.")
        for name in self.POSITIVE:
            if not 0.0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"learner.{name} must be a positive finite number, got {getattr(self, name)}.")
        for name in self.NOT_NEGATIVE:
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"learner.{name} must be a finite number >= 0, got {getattr(self, name)}.")


@dataclass(frozen=True)
class MinibatchConfig(GradientConfig):
    """Settings of learners that pass over a rollout several times, in minibatches."""

    epochs: int = 4
    """Passes over a rollout."""
    minibatches: int = 4
    """Minibatches per pass; each is a set of environments (of chunks, where there are some)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"epochs": (1, 10**6), "minibatches": (1, 2**24)}, "learner.")

    def at_once(self, rows: int) -> int:
        return rows // self.minibatches

    def require_fit(self, num_envs: int) -> None:
        if self.minibatches > num_envs:
            raise ConfigError(
                f"learner.minibatches={self.minibatches} is more than num_envs={num_envs}: a minibatch is a set of "
                "environments."
            )


@dataclass(frozen=True)
class ActorCriticConfig(GradientConfig):
    """Settings of an actor with a critic."""

    UNIT: ClassVar[tuple[str, ...]] = (*GradientConfig.UNIT, "lam", "shared_reward", "norm_rate")
    NOT_NEGATIVE: ClassVar[tuple[str, ...]] = (
        *GradientConfig.NOT_NEGATIVE,
        "entropy",
        "entropy_end",
        "value_coef",
        "huber",
    )

    lam: float = 0.95
    """Lambda of generalised advantage estimation; 1: all steps of the rollout (n-step returns)."""
    entropy: float = 0.01
    """Weight of the entropy bonus at the beginning."""
    entropy_end: float = 0.001
    """Weight of the entropy bonus at the end; linear in between."""
    value_coef: float = 0.5
    """Weight of the value loss."""
    huber: float = 0.0
    """Errors of the value beyond this count linearly (MAPPO: 10); 0: all are squared."""
    shared_reward: float = 0.5
    """Share of the team mean in each agent's reward: 0 individual, 1 common."""
    team_reward_after_death: bool = False
    """Whether an agent that died goes on receiving that share until the episode ends, as sacrifice needs."""
    normalise_returns: bool = True
    """Train the critic on returns of running mean 0 and variance 1."""
    norm_rate: float = 0.01
    """Weight of the newest returns in these running moments (MAPPO: 1e-5)."""
    norm_every: Literal["rollout", "minibatch"] = "rollout"
    """When returns enter the moments: once, or before each step with those of its minibatch, as in MAPPO's code."""
    normalise_advantages: bool = True
    """Scale the advantages of each rollout to mean 0 and variance 1."""
    choice_credit: Literal["return", "counterfactual"] = "return"
    """What a choice to talk is judged by: the return, or what the values of others lose without its message (SCoUT)."""
    chunk: int = 0
    """Steps over which gradients go back: a rollout is cut into chunks of so many; 0 cuts nothing."""
    graph_every: int = 0
    """Every n-th pass over a rollout trains the learned graph alone, the others the rest; 0 trains all together."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"graph_every": (0, 10**6), "chunk": (0, 2**20)}, "learner.")


@dataclass(frozen=True)
class PPOConfig(MinibatchConfig, ActorCriticConfig):
    """Proximal policy optimisation: IPPO with a local critic, MAPPO with a central one; the default."""

    POSITIVE: ClassVar[tuple[str, ...]] = (*ActorCriticConfig.POSITIVE, "clip")

    clip: float = 0.2
    """Clipping range of the probability ratio, and of the value around the old one."""
    value_clip: bool = True
    """Clip the change of the value (Schulman et al. 2017 released code)."""

    def learner(self, policy: CommPolicy, *, losses: Sequence[LossFunction] = (), **told: Any) -> PPO:
        from gnncomm.learn.ppo import PPO

        return PPO(policy, self, losses=losses, **told)
