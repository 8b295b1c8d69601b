"""One training, described: a tree of components, whose leaves are plain values. What ``config.json`` of a run holds."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

from gnncomm import environments
from gnncomm.config import require_ranges, require_types, to_json
from gnncomm.config.data import decode_fields, encode_fields
from gnncomm.errors import ConfigError, did_you_mean
from gnncomm.learn.fingerprint import Fingerprint
from gnncomm.learn.settings import LearnerConfig, PPOConfig

MAX_SEED, MAX_STEPS = 2**62, 2**53
"""Seeds are below the first: environments and episodes are counted on from a seed, and the sum is still one."""

DEFAULT_SEED = 0
"""Of evaluations, in Python and on the command line. Whatever the seeds, their episodes occur in no training."""

Setting = bool | int | float | str | None

VERSION = 2
"""Of what settings mean, raised when the same ones give another training. 2: environments, which in 1 had the seeds
``seed + b``, have seeds of their own for every training; so do evaluation and recording."""


MEASURED = ("success", "return", "length")
"""What an evaluation says of a team: the more the better, but for the length."""

OBJECTS = "Objects are given to the training: train(config, {name}=...)."


@dataclass(frozen=True)
class EnvConfig:
    """The environments."""

    id: str = "predator_prey"
    """Environment, see ``gnncomm list``."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """Settings of the environment that differ from its defaults."""
    curriculum: Mapping[str, str] = field(default_factory=dict)
    """Settings of the environment that change in training, for instance add_rate linear:start=0.1,end=0.3."""
    observation: Literal["flat", "sparse"] = "sparse"
    """Form of the observations; same result, other speed."""
    num_envs: int = 256
    """Environments that run side by side."""

    def __post_init__(self) -> None:
        require_types(self, "env.")
        require_ranges(self, {"num_envs": (1, 2**24)}, "env.")
        for name, value in self.settings.items():
            if isinstance(value, int) and abs(value) >= 2**31:
                raise ConfigError(
                    f"env.settings.{name} must be a number within 2^31, got one of {value.bit_length()} bits."
                )
            if name in ("id", *environments.COMMON):
                raise ConfigError(
                    f"env.settings: expected settings of the environment, got {name!r}, which is one of the training. "
                    f"Set {'run.device' if name == 'device' else f'env.{name}'} instead."
                )


@dataclass(frozen=True)
class PolicyConfig:
    """The agents: from what they observe to what they do."""

    encoder: str = "linear"
    """From observations to rows: linear, mlp:layers=2, grid:shape=3x8x8, entities:count=4,width=3."""
    comm: str = "attention"
    """Communication layer, for instance attention, attention:heads=2, mean, mean >> gatv2 (two rounds); or none."""
    rounds: int = 1
    """Rounds of communication per step, each with its own weights."""
    share_rounds: bool = False
    """Use the same weights in every round."""
    integration: Literal["previous", "before", "after"] = "after"
    """Communication on the memory of the step before, before the memory, or after it."""
    memory: str = "gru"
    """What an agent remembers: none, gru or lstm."""
    hidden: int = 64
    """Width of a row."""
    agent_id: bool = False
    """Whether agents that share weights see their number."""
    share: Literal["all", "group", "none"] = "group"
    """Who has the same weights: all agents, those of a group (all, where the environment has no groups), or nobody."""
    algo: str = "ippo"
    """PPO with a local critic (ippo), a central one (mappo), or another by its name."""
    critic: Literal["features", "observation", "state", "graph"] = "features"
    """What the critic reads: the actor's features, or by a trunk of its own observations, these and the environment's
    state, or the observations in a graph network over the topology."""
    losses: str = ""
    """What parts learn beside the learner's own loss, by name: masia, maic + tmc:smooth=1; see gnncomm list losses."""

    def __post_init__(self) -> None:
        require_types(self, "policy.", OBJECTS)
        require_ranges(self, {"rounds": (1, 64), "hidden": (1, 2**16)}, "policy.")


@dataclass(frozen=True)
class WireConfig:
    """What is between a sender and a receiver."""

    topology: str = "full"
    """Who could hear whom, for instance full, ring, knn:k=4, radius:r=2."""
    scheduler: str = "always"
    """Who does talk, for instance always, gate:price=0.01, topk:k=2, event:delta=0.1."""
    codec: str = "float32"
    """What is on the wire, for instance float32, int4, keep_largest:k=8, dithered:delta=0.1,price=0.001."""
    channel: str = "ideal"
    """What the medium does, for instance ideal, loss:p=0.2, delay:steps=1 + burst:p=0.1."""

    def __post_init__(self) -> None:
        require_types(self, "wire.", OBJECTS)


@dataclass(frozen=True)
class RunConfig:
    """How long, where, and from which draws."""

    steps: int = 2_000_000
    """Environment steps in all, over all environments."""
    rollout: int = 20
    """Environment steps between updates."""
    seed: int = 0
    """Seed of weights, environments, actions and minibatches."""
    device: str = "cpu"
    """Where tensors live."""
    graphs: Literal["auto", "off"] = "auto"
    """On a GPU, record rollouts and updates as CUDA graphs where they can be (same numbers, faster), or never."""
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """Inside matrix products of float32: tf32 on a GPU, bf16 on a CPU that has it; faster, and other numbers."""
    save_every: int = 50
    """Updates between checkpoints."""
    eval_every: int = 0
    """Environment steps between evaluations on episodes of their own, after the update that passes them; 0: none."""
    eval_episodes: int = 100
    """Episodes of each such evaluation, always the same ones."""
    stop_at: str = ""
    """End the training when an evaluation reaches this: success=0.95, return=1.5, length=8."""
    patience: int = 0
    """End the training after so many evaluations in a row that are no better than the best; 0: never."""
    loggers: tuple[str, ...] = ()
    """Further places for the metrics, with times: csv, tensorboard, wandb, mlflow."""
    version: int = VERSION
    """Of what these settings mean; kept with a run, not to be chosen: only the present one is trained."""

    def __post_init__(self) -> None:
        require_types(self, "run.")
        ranges = {"rollout": (1, 2**20), "steps": (1, MAX_STEPS), "save_every": (1, MAX_STEPS)}
        ranges |= {"eval_every": (0, MAX_STEPS), "eval_episodes": (1, 10**6), "patience": (0, 10**9)}
        require_ranges(self, ranges | {"seed": (0, MAX_SEED - 1)}, "run.")
        goal_of(self.stop_at)
        if (self.stop_at or self.patience) and not self.eval_every:
            raise ConfigError(
                "run.eval_every: expected evaluations while training, by which stop_at and patience end it, got none. "
                "Set it to environment steps, for instance 50000."
            )
        wrong = {"tf32": "cpu", "bf16": "cuda"}.get(self.precision)
        if wrong is not None and self.device.startswith(wrong):
            raise ConfigError(
                f"run.precision: expected one that products on {self.device!r} can have, got {self.precision!r}. Use "
                f"float32, or {'bf16' if wrong == 'cpu' else 'tf32'}."
            )
        if not 1 <= self.version <= VERSION:
            raise ConfigError(
                f"run.version: expected 1 to {VERSION}, the versions of settings that this gnncomm knows, got "
                f"{self.version}. Use the gnncomm that wrote them."
            )


def goal_of(text: str) -> tuple[str, float] | None:
    """What ``success=0.95`` says; None for an empty text.

    Raises:
        ConfigError: it says something else.
    """
    if not text:
        return None
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if name not in MEASURED or not math.isfinite(value):
        raise ConfigError(
            f"run.stop_at: expected {', '.join(MEASURED)} with a number, as success=0.95, got {text[:80]!r}."
        )
    return name, value


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training: ``TrainConfig.of(env="relay", comm="mean", learner=PPOConfig(lr=1e-3))``."""

    env: EnvConfig = field(default_factory=EnvConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    wire: WireConfig = field(default_factory=WireConfig)
    learner: LearnerConfig = field(default_factory=PPOConfig)
    run: RunConfig = field(default_factory=RunConfig)
    given: Mapping[str, Fingerprint] = field(default_factory=dict)
    """Parts that were given as objects without a name, see ``gnncomm.train``; filled in by it, not to be chosen."""

    def __post_init__(self) -> None:
        for item in fields(self):
            if item.name in SECTIONS and not isinstance(getattr(self, item.name), SECTIONS[item.name]):
                raise ConfigError(
                    f"{item.name}: expected {SECTIONS[item.name].__name__}, got {getattr(self, item.name)!r}. "
                    f"Leaves are set by TrainConfig.of({item.name}=...)."
                )

    @property
    def updates(self) -> int:
        """Updates in all; the last rollout is always complete."""
        return -(-self.run.steps // (self.env.num_envs * self.run.rollout))

    @classmethod
    def of(cls, **changes: Any) -> Self:
        """The defaults with ``changes``, see ``replace``."""
        return cls().replace(**changes)

    def replace(self, **changes: Any) -> Self:
        """The same with other leaves: by name (``comm="mean"``), path (``**{"learner.lr": 1e-3}``) or component.

        A component is given whole (``learner=PPOConfig(lr=1e-3)``) or in part (``learner={"lr": 1e-3}``); ``env``
        takes the id alone, too, ``learner`` a name with settings, ``ppo:lr=1e-3``, and ``env_settings`` are those of
        the environment.

        Raises:
            ConfigError: an unknown name (with a suggestion), a wrong type or a value out of range; names the path.
        """
        parts: dict[str, Any] = {}
        inner: dict[str, dict[str, Any]] = {}
        for name, value in changes.items():
            section, _, leaf = path_of(name).partition(".")
            if section == "learner" and not leaf and isinstance(value, (str, LearnerConfig)):
                parts[section] = LearnerConfig.of(value)
            elif leaf or (section == "env" and isinstance(value, str)):
                inner.setdefault(section, {})[leaf or "id"] = value
            elif isinstance(value, Mapping) and section != "given":
                inner.setdefault(section, {}).update(value)
            else:
                parts[section] = value
        for section, values in inner.items():
            base = parts.get(section, getattr(self, section))
            known = [item.name for item in fields(base)]
            for leaf in values:
                if leaf not in known:
                    raise ConfigError(f"Expected a setting of {section}, got {leaf!r}. {did_you_mean(leaf, known)}")
            parts[section] = replace(base, **values)
        return replace(self, **parts)

    def merged(self, data: Mapping[str, Any]) -> Self:
        """The same with what ``data`` says, of each component as much as it says; another learner takes its place.

        Raises:
            ConfigError: see ``gnncomm.config.from_json``.
        """
        tree = self.to_data()
        for section, values in _unfolded(data).items():
            own = tree.get(section, {}) if section != "given" else {}
            both = isinstance(values, dict) and values.get("name", own.get("name")) == own.get("name")
            tree[section] = {**own, **values} if both else values
        return self.of_data(tree)

    def __getitem__(self, name: str) -> Any:
        """A leaf by its name or path: ``config["hidden"]``, ``config["learner.lr"]``."""
        value: Any = self
        for part in path_of(name).split("."):
            value = getattr(value, part)
        return value

    def to_data(self) -> dict[str, Any]:
        return encode_fields(self)

    @classmethod
    def of_data(cls, data: Mapping[str, Any], path: str = "") -> Self:
        """A tree in which leaves of env, policy, wire and run may stand at the top, too, as all did in version 2."""
        made: Self = decode_fields(cls, _unfolded(data), path)
        return made


SECTIONS: dict[str, type] = {
    "env": EnvConfig,
    "policy": PolicyConfig,
    "wire": WireConfig,
    "learner": LearnerConfig,
    "run": RunConfig,
}
_LEAVES = {item.name: f"{name}.{item.name}" for name, kind in SECTIONS.items() for item in fields(kind)}
_LEAVES |= {"env_settings": "env.settings", "ppo": "learner"}
del _LEAVES["id"], _LEAVES["settings"]


def path_of(name: str) -> str:
    """The dotted path of a leaf or component: ``policy.comm`` for ``comm``, ``learner.lr`` and ``env`` as they are.

    Raises:
        ConfigError: there is none; suggests one.
    """
    section = name.partition(".")[0]
    if section in SECTIONS or name == "given":
        return name
    if section in _LEAVES:
        return _LEAVES[section] + name.removeprefix(section)
    raise ConfigError(f"Expected a setting of a training, got {name!r}. {did_you_mean(name, [*_LEAVES, *SECTIONS])}")


def _unfolded(data: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in data.items():
        path = "env.id" if key == "env" and isinstance(value, str) else _LEAVES.get(key, key)
        section, _, leaf = path.partition(".")
        if (not leaf and section in tree) or (leaf and not isinstance(tree.setdefault(section, {}), dict)):
            raise ConfigError(f"{key}: expected it once, got it in {section}, too. Say it in one place.")
        if not leaf:
            tree[section] = dict(value) if isinstance(value, Mapping) else value
        elif leaf in tree[section]:
            raise ConfigError(f"{key}: expected it once, got {path}, too. Say it in one place.")
        else:
            tree[section][leaf] = value
    return tree


_SINCE = {"encoder", "agent_id", "share", "critic", "losses", "loggers", "graphs", "precision"}
_SINCE |= {"eval_every", "eval_episodes", "stop_at", "patience"}
"""Leaves that came later than runs that have a hash of their settings."""
_SINCE_OF_PPO = {"optimizer", "alpha", "eps", "huber", "norm_rate", "norm_every", "choice_credit", "chunk"}
"""The same of those of PPO."""


def folded(config: TrainConfig, without: Collection[str] = ()) -> dict[str, Any]:
    """Data of ``config`` but for the paths ``without``, laid out as a run has always hashed it: leaves side by side.

    What came later is left out at its default, so a run from before has the hash that it was given.
    """
    tree, plain = to_json(config), TrainConfig().to_data()
    learner, given = tree.pop("learner"), tree.pop("given")
    name = learner.pop("name")
    if name == "ppo":
        learner = {
            leaf: v for leaf, v in learner.items() if not (leaf in _SINCE_OF_PPO and v == plain["learner"][leaf])
        }
    flat: dict[str, Any] = {"ppo": learner} if name == "ppo" else {"learner": {"name": name, **learner}}
    flat |= {"given": given} if given else {}
    names = {path: leaf for leaf, path in _LEAVES.items()} | {"env.id": "env"}
    for section, values in tree.items():
        for leaf, value in values.items():
            path = f"{section}.{leaf}"
            if path not in without and not (leaf in _SINCE and value == plain[section][leaf]):
                flat[names[path]] = value
    return flat
