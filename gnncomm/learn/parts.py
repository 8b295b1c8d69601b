"""Parts of a training that are given as objects, in place of the names in its configuration."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

from torch import nn

from gnncomm.channel import Channel
from gnncomm.codec import Codec
from gnncomm.errors import ConfigError, did_you_mean
from gnncomm.layers import CommLayer, CommStack
from gnncomm.learn.config import TrainConfig
from gnncomm.learn.fingerprint import Fingerprint, said
from gnncomm.learn.gradient import GradientLearner
from gnncomm.learn.learner import Learner
from gnncomm.learn.losses import LossFunction
from gnncomm.learn.naming import names_of, of_environment
from gnncomm.learn.settings import LearnerConfig
from gnncomm.policy import CommPolicy, Critic, Memory
from gnncomm.schedule import Scheduler
from gnncomm.topology import Topology
from gnncomm.types import VectorEnv


class Parts(TypedDict, total=False):
    """What ``train``, ``load``, ``Training.of`` and methods take in place of a name.

    An object is used as it is: its weights are trained in place. A class or function makes one, with weights drawn from
    the seed of the configuration, so that the same call gives the same training. A name stands for what it names.
    """

    env: VectorEnv | Callable[..., VectorEnv] | str
    """Or a factory: ``env(num_envs=, device=, observation=, **env_settings)``."""
    policy: CommPolicy | Callable[[int, int, int], CommPolicy]
    """Or a factory: ``policy(obs_dim, num_actions, num_agents)``, as ``gnncomm.methods`` has them."""
    learner: Learner | Callable[..., Learner] | LearnerConfig | str
    """Or a factory: ``learner(policy, total_updates=, seed=, length=)``, as ``PPO``; length is ``run.rollout``."""
    losses: Sequence[LossFunction]
    """Terms beside those of PPO."""
    weights: CommPolicy
    """A trained policy from whose weights the training begins, see ``begin_with``; it stays as it is."""
    comm: CommStack | CommLayer | Sequence[CommLayer] | Callable[[int, int], CommLayer] | str
    """Or a factory: ``comm(hidden, hidden)``, called for each of ``policy.rounds``."""
    memory: Memory | Callable[[int], Memory] | str
    """Or a factory: ``memory(hidden)``."""
    encoder: nn.Module | Callable[[int, int], nn.Module] | str
    """Or a factory: ``encoder(obs_dim, hidden)``."""
    actor: nn.Module | Callable[[int, int], nn.Module]
    """Or a factory: ``actor(hidden, width)``, of so many numbers as the distribution of actions has."""
    critic: Critic | Callable[[int], Critic] | str
    """Or a factory: ``critic(hidden)``."""
    topology: Topology | Callable[[], Topology] | str
    scheduler: Scheduler | Callable[[int], Scheduler] | str
    """Or a factory: ``scheduler(hidden)``."""
    codec: Codec | Callable[[], Codec] | str
    channel: Channel | Callable[[], Channel] | str


_warn = logging.getLogger("gnncomm").warning

NO_PARTS = Parts()
"""All by name."""

OF_THE_POLICY: dict[str, Callable[[CommPolicy], Any]] = {
    "policy": lambda policy: policy,
    "comm": lambda policy: policy.comm,
    "memory": lambda policy: policy.memory,
    "encoder": lambda policy: policy.encoder,
    "actor": lambda policy: policy.actor,
    "critic": lambda policy: policy.critic,
    "topology": lambda policy: policy.wire.topology,
    "scheduler": lambda policy: policy.wire.scheduler,
    "codec": lambda policy: policy.wire.codec,
    "channel": lambda policy: policy.wire.channel,
}
"""Part -> where a policy has it. What a run needs to be loaded; the others are needed to be trained on."""

_DECIDES: dict[str, tuple[str, ...]] = {
    "env": ("env.id", "env.settings", "num_envs"),
    "policy": ("hidden", "rounds"),
    "comm": ("comm", "hidden", "rounds", "share_rounds"),
    "memory": ("memory",),
    "encoder": ("encoder",),
    "critic": ("algo",),
    "learner": ("learner", "rollout"),
    "topology": ("topology",),
    "scheduler": ("scheduler",),
    "codec": ("codec",),
    "channel": ("channel",),
}
"""Part -> settings that follow from it where it is an object."""


def taken(config: TrainConfig, parts: Mapping[str, Any]) -> tuple[TrainConfig, Parts]:
    """``config`` with the parts that are names, and those that are objects.

    Raises:
        ConfigError: a part that there is not, or parts that exclude each other.
    """
    known = Parts.__optional_keys__
    for name in parts:
        if name not in known:
            raise ConfigError(f"Expected a part of a training, got {name!r}. {did_you_mean(name, known)}")
    named = {name for name, value in parts.items() if isinstance(value, (str, LearnerConfig)) and name != "policy"}
    names = {"algo" if name == "critic" else name: parts[name] for name in named}
    objects = {name: value for name, value in parts.items() if name not in named}
    if callable(objects.get("losses")):
        raise ConfigError("losses: expected a list of losses, got one alone. Give losses=[yours].")
    inner = sorted(objects.keys() & OF_THE_POLICY.keys() - {"policy"})
    learner = objects.get("learner")
    if isinstance(learner, Learner) and is_made(learner, Learner):
        objects.setdefault("policy", learner.policy)
    if "policy" in objects and inner:
        raise ConfigError(f"Expected a policy or parts of one, got both: policy and {', '.join(inner)}. Leave one out.")
    if "learner" in objects and "losses" in objects:
        raise ConfigError("Expected a learner or losses for PPO, got both. Give the losses to your learner.")
    return config.replace(**names), objects  # type: ignore[return-value]  # the keys were looked at


def described(config: TrainConfig, parts: Parts, env: VectorEnv, policy: CommPolicy, learner: Learner) -> TrainConfig:
    """``config`` as it is with these objects: by name what has one, by fingerprint what has none."""
    found = {name: names_of(name, env, policy) for name in parts if name != "weights"}
    given = {name: value for name, value in fingerprints(parts, policy).items() if found[name] is None}
    if "env" in parts and found["env"] is None:
        given["env"] = of_environment(env)
    if "learner" in parts and not _is_plain(learner):
        given["learner"] = Fingerprint.of(learner)
    if "losses" in parts:
        given["losses"] = Fingerprint.of(tuple(parts["losses"]))
    if "weights" in parts:
        given["weights"] = Fingerprint(f"weights #{digest(parts['weights'])}")
    elif "weights" in config.given:
        given["weights"] = config.given["weights"]
    now: dict[str, Any] = {
        "env.id": env.id,
        "env.settings": config.env.settings,
        "share_rounds": config.policy.share_rounds,
        "num_envs": env.num_envs,
        "hidden": policy.hidden,
        "rounds": len(policy.comm.rounds),
        "rollout": learner.experience.length,
        "learner": learner.config if isinstance(learner, GradientLearner) else config.learner,
        **{name: _kind(get(policy)) for name, get in OF_THE_POLICY.items()},
        "comm": " >> ".join(_kind(layer) for layer in policy.comm.rounds),
        "algo": _kind(policy.critic),
    }
    for named in found.values():
        now |= named or {}
    changes: dict[str, Any] = {setting: now[setting] for name in parts for setting in _DECIDES.get(name, ())}
    return config.replace(**changes, given=given)


def digest(policy: CommPolicy) -> str:
    """Eight letters that tell the weights of ``policy`` from others."""
    found = hashlib.sha256()
    for name, value in policy.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:8]


def fingerprints(parts: Parts, policy: CommPolicy) -> dict[str, Fingerprint]:
    """Of those of ``parts`` that are in ``policy``."""
    found = {name: Fingerprint.of(get(policy)) for name, get in OF_THE_POLICY.items() if name in parts}
    if "comm" in found:
        found["comm"] = replace(found["comm"], kind=" >> ".join(said(layer) for layer in policy.comm.rounds))
    return found


def kept(old: TrainConfig, config: TrainConfig, parts: Parts) -> TrainConfig:
    """``config`` with what its objects decide taken from the run ``old``, which they have to fit."""
    theirs: dict[str, Any] = {setting: old[setting] for name in parts for setting in _DECIDES.get(name, ())}
    return config.replace(given=old.given, **theirs)


def without_weights(parts: Parts) -> Parts:
    """The same, for a training that was begun: its checkpoints hold what it began from."""
    return {name: part for name, part in parts.items() if name != "weights"}  # type: ignore[return-value]  # as above


def require_given(config: TrainConfig, parts: Parts, every: bool = False, begun: bool = False) -> None:
    """Refuse to go on without an object that the run was trained with: of its policy, or ``every``.

    Args:
        config: of the run.
        parts: what there is.
        every: also what only a training needs.
        begun: except what only its beginning needs.

    Raises:
        ConfigError: names the part, and says what to do.
    """
    for name, fingerprint in config.given.items():
        if name == "weights":
            if every and not begun and name not in parts:
                raise ConfigError(
                    f"This training began from the {fingerprint} of another run, which no file brings back: expected "
                    "that run, got nothing. Say --from RUN (weights=load(RUN).policy)."
                )
        elif name not in parts and (every or name in OF_THE_POLICY):
            resumes = f"train(config_of(run), run, resume=True, {name}=...)"
            call = resumes if name in ("learner", "losses") else f"load(run, {name}=...)"
            raise ConfigError(
                f"This run was trained with {name}={fingerprint}, an object that no name stands for and that no file "
                f"can bring back: expected it, got nothing. Give it in Python: {call}."
            )


def require_same(config: TrainConfig, found: Mapping[str, Fingerprint]) -> None:
    """Refuse objects that are not those that the run was trained with; log where their code is another one.

    Raises:
        ConfigError: says in what they differ.
    """
    for name, fingerprint in found.items():
        wanted = config.given.get(name)
        if wanted is None:
            raise ConfigError(f"{name}: expected none, as this run makes its own, got {fingerprint}. Leave {name} out.")
        if lines := wanted.differences(fingerprint):
            raise ConfigError(
                f"{name}: this run was trained with another one: {'; '.join(lines[:5])}. Give the one of the training, "
                "or train anew."
            )
        if changed := wanted.changed(fingerprint):
            _warn(
                f"{name}: the code of {', '.join(changed)} is not what it was in the training. The same weights may "
                "mean another thing with it."
            )


def is_made(given: object, kind: type) -> bool:
    """Whether ``given`` is a thing of ``kind``, and not a class or function that makes one."""
    return isinstance(given, kind) and not isinstance(given, type)


def _is_plain(learner: Learner) -> bool:
    """Whether ``config.learner`` says all of it."""
    if not isinstance(learner, GradientLearner) or learner.extra:
        return False
    return vars(type(learner)).get("Config") is type(learner.config)


def _kind(thing: object) -> str:
    return type(thing).__qualname__
