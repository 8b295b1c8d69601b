"""The names that stand for objects: what a run can make again by itself is kept so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gnncomm import channel, codec, environments, schedule, topology
from gnncomm.errors import GnnCommError
from gnncomm.layers import CommStack, make_rounds
from gnncomm.layers import names as layers
from gnncomm.learn.fingerprint import Fingerprint
from gnncomm.policy import CommPolicy
from gnncomm.policy.names import CRITICS, ENCODERS, MEMORIES
from gnncomm.registry import Registry
from gnncomm.types import VectorEnv

Settings = dict[str, Any]
"""Of a ``TrainConfig``."""


def names_of(part: str, env: VectorEnv, policy: CommPolicy) -> Settings | None:
    """The settings that stand for a part, and of which the very same is made; None where there are none."""
    if part != "env":
        return names_within(part, policy, env.num_agents)
    try:
        return _env(env)
    except GnnCommError:
        return None


def names_within(part: str, policy: CommPolicy, num_agents: int) -> Settings | None:
    """The same for a part of a policy."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return _comm(policy) if part == "comm" else _plain(part, policy, num_agents)
    except GnnCommError:
        return None


def name_of(part: str, policy: CommPolicy, num_agents: int | None = None) -> str | None:
    """The name of a part of the wire, None where there is none."""
    try:
        found: str = _plain(part, policy, num_agents)[part]
    except GnnCommError:
        return None
    return found


def _plain(part: str, policy: CommPolicy, num_agents: int | None) -> Settings:
    """A part with a registry of its own. Raises a GnnCommError where it has no name."""
    wire, sizes = policy.wire, {"hidden": policy.hidden, "num_agents": num_agents, "obs_dim": policy.obs_dim}
    if part == "scheduler":
        sizes["in_channels"] = policy.hidden
    tables: dict[str, tuple[Registry[Any], Any]] = {
        "topology": (topology.REGISTRY, wire.topology),
        "scheduler": (schedule.REGISTRY, wire.scheduler),
        "codec": (codec.REGISTRY, wire.codec),
        "channel": (channel.REGISTRY, wire.channel),
        "memory": (MEMORIES, policy.memory),
        "encoder": (ENCODERS, policy.encoder),
        "critic": (CRITICS, policy.critic),
    }
    if part not in tables:
        raise GnnCommError(f"{part} has no names.")
    registry, thing = tables[part]
    text = registry.spec_of(thing, **sizes)
    return {"algo" if part == "critic" else part: _proved(text, thing, lambda: registry.resolve(text, **sizes))}


def _comm(policy: CommPolicy) -> Settings:
    rounds, hidden = policy.comm.rounds, policy.hidden
    texts = [layers.spec_of(layer, **layers.sizes_of(hidden)) for layer in rounds]
    text = texts[0] if len(set(texts)) == 1 else " >> ".join(texts)
    shared = len(set(rounds)) < len(rounds)
    same = _proved(text, policy.comm, lambda: CommStack(make_rounds(text, hidden, len(rounds), shared), nn.Tanh()))
    return {"comm": same, "share_rounds": shared}


def _env(env: VectorEnv) -> Settings:
    settings = vars(env).get("config", {})
    if environments.is_foreign(env.id) or not all(isinstance(value, (int, float, str)) for value in settings.values()):
        raise GnnCommError(f"{env.id} is not made by name.")
    if of_environment(environments.make(env.id, 1, **settings)) != of_environment(env):
        raise GnnCommError(f"{env.id} names another environment.")
    return {"env.id": env.id, "env.settings": dict(settings)}


def of_environment(env: VectorEnv) -> Fingerprint:
    """Its class and settings, and the sizes that a policy is built for."""
    settings = {name: str(value) for name, value in sorted(vars(env).get("config", {}).items())}
    sizes = {name: str(getattr(env, name)) for name in ("obs_dim", "num_actions", "num_agents", "max_steps")}
    whole = Fingerprint.of(env)
    return Fingerprint(whole.kind, settings | sizes, code=whole.code)


def _proved(text: str, thing: object, make: Callable[[], object]) -> str:
    """``text``, if ``thing`` is what is made of it."""
    if Fingerprint.of(make()) != Fingerprint.of(thing):
        raise GnnCommError(f"{text} names another thing.")
    return text
