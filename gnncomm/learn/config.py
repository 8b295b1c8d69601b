"""One training, described: what ``config.json`` of a run holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gnncomm import environments
from gnncomm.errors import ConfigError
from gnncomm.learn.fingerprint import Fingerprint
from gnncomm.learn.ppo import PPOConfig
from gnncomm.learn.settings import require_ranges, require_types

MAX_SEED, MAX_STEPS = 2**62, 2**53
"""Seeds are below the first: environments and episodes are counted on from a seed, and the sum is still one."""

_RANGES = {
    "rounds": (1, 64),
    "hidden": (1, 2**16),
    "num_envs": (1, 2**24),
    "rollout": (1, 2**20),
    "steps": (1, MAX_STEPS),
    "save_every": (1, MAX_STEPS),
    "seed": (0, MAX_SEED - 1),
}
_OF_THE_TRAINING = {"id": "env", **{name: name for name in environments.COMMON}}
"""What ``environments.make`` takes beside the settings of an environment -> what it is called here."""

Setting = bool | int | float | str

VERSION = 2
"""Of what settings mean, raised when the same ones give another training. 2: environments, which in 1 had the seeds
``seed + b``, have seeds of their own for every training; so do evaluation and recording."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training."""

    env: str = "predator_prey"
    """Environment, see ``gnncomm list``."""
    env_settings: Mapping[str, Setting] = field(default_factory=dict)
    """Settings of the environment that differ from its defaults."""
    curriculum: Mapping[str, str] = field(default_factory=dict)
    """Settings of the environment that change in training, for instance add_rate linear:start=0.1,end=0.3."""
    comm: str = "attention"
    """Communication layer, for instance attention, attention:heads=2, mean, mean >> gatv2 (two rounds); or none."""
    rounds: int = 1
    """Rounds of communication per step, each with its own weights."""
    share_rounds: bool = False
    """Use the same weights in every round."""
    topology: str = "full"
    """Who could hear whom, for instance full, ring, knn:k=4, radius:r=2."""
    scheduler: str = "always"
    """Who does talk, for instance always, gate:price=0.01, topk:k=2, event:delta=0.1."""
    codec: str = "float32"
    """What is on the wire, for instance float32, int4, topk:k=8, dithered:delta=0.1,price=0.001."""
    channel: str = "ideal"
    """What the medium does, for instance ideal, loss:p=0.2, delay:steps=1 + burst:p=0.1."""
    integration: Literal["previous", "before", "after"] = "after"
    """Communication on the memory of the step before, before the memory, or after it."""
    memory: str = "gru"
    """What an agent remembers: none, gru or lstm."""
    hidden: int = 64
    """Width of a row."""
    encoder: str = "linear"
    """From observations to rows: linear, mlp:layers=2, grid:shape=3x8x8, entities:count=4,width=3."""
    agent_id: bool = False
    """Whether agents that share weights see their number."""
    share: Literal["all", "group", "none"] = "group"
    """Who has the same weights: all agents, those of a group (all, where the environment has no groups), or nobody."""
    algo: str = "ippo"
    """PPO with a local critic (ippo), a central one (mappo), or another by its name."""
    critic: Literal["features", "observation", "state", "graph"] = "features"
    """What the critic reads: the actor's features, or by a trunk of its own observations, these and the environment's
    state, or the observations in a graph network over the topology."""
    observation: Literal["flat", "sparse"] = "sparse"
    """Form of the observations; same result, other speed."""
    num_envs: int = 256
    """Environments that run side by side."""
    rollout: int = 20
    """Environment steps between updates."""
    steps: int = 2_000_000
    """Environment steps in all, over all environments."""
    seed: int = 0
    """Seed of weights, environments, actions and minibatches."""
    device: str = "cpu"
    """Where tensors live."""
    save_every: int = 50
    """Updates between checkpoints."""
    version: int = VERSION
    """Of what these settings mean; kept with a run, not to be chosen: only the present one is trained."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    given: Mapping[str, Fingerprint] = field(default_factory=dict)
    """Parts that were given as objects without a name, see ``gnncomm.train``; filled in by it, not to be chosen."""

    def __post_init__(self) -> None:
        require_types(self)
        require_ranges(self, _RANGES)
        for name, value in self.env_settings.items():
            if isinstance(value, int) and abs(value) >= 2**31:
                raise ConfigError(
                    f"env_settings.{name} must be a number within 2^31, got one of {value.bit_length()} bits."
                )
            if name in _OF_THE_TRAINING:
                raise ConfigError(
                    f"env_settings: expected settings of the environment, got {name!r}, which is one of the training. "
                    f"Set {_OF_THE_TRAINING[name]!r} instead."
                )
        if not 1 <= self.version <= VERSION:
            raise ConfigError(
                f"version: expected 1 to {VERSION}, the versions of settings that this gnncomm knows, got "
                f"{self.version}. Use the gnncomm that wrote them."
            )

    @property
    def updates(self) -> int:
        """Updates in all; the last rollout is always complete."""
        return -(-self.steps // (self.num_envs * self.rollout))
