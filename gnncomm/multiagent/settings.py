"""What a team is made of: settings and parts by name, as a training has them, and what a saved team says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gnncomm import methods
from gnncomm.checks import integer
from gnncomm.errors import ConfigError, did_you_mean
from gnncomm.layers import names as layers
from gnncomm.learn import (
    Experience,
    Fingerprint,
    GradientConfig,
    GradientLearner,
    Learner,
    LearnerConfig,
    Parts,
    PPOConfig,
    TrainConfig,
)
from gnncomm.learn.build import assemble, build_learner
from gnncomm.learn.naming import names_within
from gnncomm.learn.parts import OF_THE_POLICY, fingerprints, taken
from gnncomm.policy import CommPolicy, Integration
from gnncomm.run import with_method
from gnncomm.types import TeamSpec

DEFAULT_PPO = PPOConfig(lr=2e-3, lr_schedule="constant", gamma=0.97, entropy=0.001, entropy_end=0.001)
"""Settings with which a team learns from a single environment."""


class Settings(Parts, total=False):
    """What the policy of a team is made of: names and numbers as in ``TrainConfig``, or objects as in ``Parts``.

    ``comm`` may name a method, too (``tarmac2``), which stands for its parts.
    """

    hidden: int
    rounds: int
    share_rounds: bool
    integration: Integration | Literal["previous", "before", "after"]
    agent_id: bool
    share: Literal["all", "group", "none"]
    device: str


_OWN = ("hidden", "rounds", "share_rounds", "integration", "agent_id", "share", "device")
_LEAVES = (*_OWN, "comm", "topology", "scheduler", "codec", "channel", "memory", "encoder", "algo", "seed")
"""Of a ``TrainConfig``, those that a team has."""


@dataclass(frozen=True)
class TeamConfig:
    """A team, described: what ``config.json`` of a saved one holds."""

    team: TeamSpec
    horizon: int
    segment: int
    settings: Mapping[str, bool | int | float | str]
    learner: LearnerConfig
    given: Mapping[str, Fingerprint] = field(default_factory=dict)
    """Parts that were given as objects without a name."""
    kind: Literal["gnncomm.multiagent"] = "gnncomm.multiagent"

    def __post_init__(self) -> None:
        team, horizon, segment = self.team, self.horizon, self.segment
        integer("num_agents", team.num_agents, 1, 2**16)
        for name, value in {"state_dim": team.obs_dim, "action_dim": team.num_actions, "horizon": horizon}.items():
            integer(name, value, 1, 2**24)
        if horizon % integer("segment", segment, 1, horizon):
            raise ConfigError(f"segment must divide horizon, got {segment=}, {horizon=}.")
        for name in self.settings:
            if name not in _LEAVES:
                raise ConfigError(f"Expected a setting of a team, got {name!r}. {did_you_mean(name, _LEAVES)}")
        _require_constant(self.learner)

    @property
    def segments(self) -> int:
        """How many stand where a training has environments."""
        return self.horizon // self.segment

    def training(self) -> TrainConfig:
        """The same as a training of one update has it."""
        learner = self.learner
        if isinstance(learner, PPOConfig):
            learner = replace(learner, minibatches=min(learner.minibatches, self.segments))
        sizes = {"num_envs": self.segments, "rollout": self.segment, "steps": self.horizon}
        return TrainConfig.of(**self.settings, **sizes, learner=learner, given=self.given)

    def build(self, objects: Parts) -> tuple[CommPolicy, Learner, TeamConfig]:
        """Policy and learner, and this configuration as it is with ``objects``: by name what has one."""
        training = self.training()
        policy = assemble(training, self.team, objects)
        learner = build_learner(training, policy, objects, self.team)
        if learner.policy is not policy or learner.experience != Experience(self.segment):
            raise ConfigError(
                f"learner: expected one of this policy that asks for rollouts of segment={self.segment} steps and no "
                f"more, got {learner.experience}. Give a class or function: learner(policy, total_updates=, seed=, "
                "length=)."
            )
        if isinstance(learner, GradientLearner):
            _require_constant(learner.config)
        return policy, learner, self._described(objects, policy, learner)

    def _described(self, objects: Parts, policy: CommPolicy, learner: Learner) -> TeamConfig:
        known = {name: names_within(name, policy, self.team.num_agents) for name in objects if name in OF_THE_POLICY}
        given = {name: found for name, found in fingerprints(objects, policy).items() if known[name] is None}
        if "learner" in objects:
            given["learner"] = Fingerprint.of(learner)
        if "losses" in objects:
            given["losses"] = Fingerprint.of(tuple(objects["losses"]))
        settings = dict(self.settings) | {"hidden": policy.hidden, "rounds": len(policy.comm.rounds)}
        for named in known.values():
            settings |= named or {}
        return replace(self, settings=settings, given=given)


def asked(
    team: TeamSpec, horizon: int, segment: int, ppo: PPOConfig | None, seed: int, settings: Mapping[str, Any]
) -> tuple[TeamConfig, Parts]:
    """What somebody asks for, as a description and the objects that it does not hold.

    Raises:
        ConfigError: an unknown setting or name, or a value out of range.
    """
    own = {name: value for name, value in settings.items() if name in _OWN}
    parts = {name: value for name, value in settings.items() if name not in _OWN}
    _require_known(parts)
    if isinstance(parts.get("critic"), str):
        own["algo"] = parts.pop("critic")
    if "policy" in parts and own.keys() - {"device"}:
        raise ConfigError(
            f"Expected a policy or settings of one, got both: policy and {', '.join(sorted(own))}. Leave one out."
        )
    if isinstance(whole := parts.get("policy"), CommPolicy):
        own.setdefault("device", str(whole.like.device))
    if ppo is not None and "learner" in parts:
        raise ConfigError("Expected ppo or learner, got both. Leave one out.")
    config = TrainConfig.of(integration="previous", learner=DEFAULT_PPO if ppo is None else ppo)
    config, parts = with_method(config, parts)
    if isinstance(name := parts.get("comm"), str) and name.isidentifier():
        _require_layer(name)
    config, objects = taken(config.replace(**own, seed=seed), parts)
    leaves = {name: str(value) if isinstance(value := config[name], str) else value for name in _LEAVES}
    return TeamConfig(team, horizon, segment, leaves, config.learner), objects


def _require_constant(ppo: LearnerConfig) -> None:
    if isinstance(ppo, GradientConfig) and ppo.lr_schedule != "constant":
        raise ConfigError(
            f"This learner has no last update: expected ppo.lr_schedule='constant', got {ppo.lr_schedule!r}."
        )


def _require_layer(name: str) -> None:
    known = sorted({*layers.REGISTRY.names(), *layers.LAYERS, layers.NONE, *methods.names()})
    if name not in known:
        raise ConfigError(f"comm: expected the name of a layer or a method, got {name!r}. {did_you_mean(name, known)}")


def _require_known(parts: Mapping[str, Any]) -> None:
    known = sorted({*Parts.__optional_keys__, *_OWN} - {"env"})
    for name in parts:
        if name not in known:
            raise ConfigError(f"Expected a setting of a team, got {name!r}. {did_you_mean(name, known)}")
