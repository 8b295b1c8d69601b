"""From a configuration to an environment, a policy and a learner: the one place where names become things."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from gnncomm import channel, codec, environments, schedule, topology
from gnncomm.channel import Channel
from gnncomm.codec import Codec
from gnncomm.errors import ConfigError
from gnncomm.layers import NONE, CommLayer, CommStack, make_rounds
from gnncomm.learn.config import VERSION, TrainConfig
from gnncomm.learn.learner import Learner
from gnncomm.learn.losses import LossFunction
from gnncomm.learn.parts import NO_PARTS, Parts, is_made
from gnncomm.learn.resources import require_weights
from gnncomm.learn.rows import RowParts
from gnncomm.policy import CommPolicy, Memory, has_state, with_state
from gnncomm.registry import registry_of
from gnncomm.schedule import Scheduler
from gnncomm.topology import Empty, Topology
from gnncomm.types import TeamSpec, VectorEnv
from gnncomm.wire import Wire


def build(config: TrainConfig, parts: Parts = NO_PARTS) -> tuple[VectorEnv, CommPolicy, Learner]:
    """What ``config`` describes, ready for ``Training``; ``parts`` are objects that take the place of names.

    Raises:
        ConfigError: settings of an earlier version, which meant another training, or that do not fit together.
    """
    if config.run.version != VERSION:
        raise ConfigError(
            f"run.version: expected settings of version {VERSION}, got version {config.run.version}, with which the "
            f"same settings gave another training. Set version={VERSION} to train anew, or use the gnncomm that wrote "
            "them."
        )
    if "learner" not in parts:
        config.learner.require_fit(config.env.num_envs)
    env = make_env(config, parts)
    config = config.replace(num_envs=env.num_envs)
    policy = build_policy(config, env, parts)
    if "weights" in parts:  # before the learner looks at the policy, of which it may keep a copy
        begin_with(policy, parts["weights"])
    return env, policy, build_learner(config, policy, parts, TeamSpec.of(env))


def begin_with(policy: CommPolicy, trained: CommPolicy) -> None:
    """Give ``policy`` the weights of ``trained``: of all that acts and talks, and of the critic as far as it fits.

    A critic of another shape begins anew: it exists in training only, and a central one knows its number of agents.

    Raises:
        ConfigError: something that acts or talks does not fit; names it, with both shapes.
    """
    mine, theirs, differ = policy.state_dict(), trained.state_dict(), unlike(policy, trained)
    if acts := [name for name in differ if not name.startswith(_TRAINING_ONLY)]:
        lines = "; ".join(f"{name}: expected {differ[name][0]}, got {differ[name][1]}" for name in acts[:8])
        raise ConfigError(
            f"weights: {len(acts)} of what acts and talks do not fit: {lines}. Begin from a team with the same "
            "observations, actions and parts of the policy."
        )
    fitting = {name: theirs[name].to(value.device) for name, value in mine.items() if name not in differ}
    policy.load_state_dict({**mine, **fitting})


def unlike(policy: CommPolicy, trained: CommPolicy) -> dict[str, tuple[str, str]]:
    """The tensors that the two have in other shapes, by name."""
    mine, theirs = policy.state_dict(), trained.state_dict()
    shapes = {name: (_shape(mine.get(name)), _shape(theirs.get(name))) for name in {**mine, **theirs}}
    return {name: both for name, both in shapes.items() if both[0] != both[1]}


_TRAINING_ONLY = ("critic.", "baselines.")


def _shape(value: Tensor | None) -> str:
    return "nothing" if value is None else str(list(value.shape))


def make_env(config: TrainConfig, parts: Parts = NO_PARTS) -> VectorEnv:
    """The environments that ``config`` names. Whoever calls vouches for code that it names, see ``gnncomm.load``."""
    env = _make_env(config, parts)
    known = registry_of("loss")
    wanted = any(getattr(known.find(name), "wants_state", False) for name in map(_name, loss_texts(config)))
    wanted = (wanted or config.learner.looks_at_state) and has_state(env)
    return with_state(env) if config.policy.critic == "state" or wanted else env


def loss_texts(config: TrainConfig) -> list[str]:
    """The losses that ``config`` names, one by one."""
    return [text.strip() for text in config.policy.losses.split(" + ") if text.strip()]


def _name(text: str) -> str:
    return text.partition(":")[0]


def _make_env(config: TrainConfig, parts: Parts) -> VectorEnv:
    if "env" in parts:
        own = config.env
        told = {"num_envs": own.num_envs, "device": config.run.device, "observation": own.observation}
        env: VectorEnv = _made("env", parts["env"], VectorEnv, **told, **own.settings)
        return env
    return environments.make(
        config.env.id, config.env.num_envs, config.run.device, config.env.observation, **dict(config.env.settings)
    )


def build_losses(config: TrainConfig, policy: CommPolicy, spec: TeamSpec) -> list[LossFunction]:
    """The losses that ``config`` names for ``policy``, with weights drawn from ``config.run.seed``."""
    width = spec.state_dim or spec.num_agents * spec.obs_dim
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        sizes = {"policy": policy, "num_agents": spec.num_agents, "state_dim": width}
        return [registry_of("loss").resolve(text, **sizes) for text in loss_texts(config)]


def build_learner(config: TrainConfig, policy: CommPolicy, parts: Parts, spec: TeamSpec) -> Learner:
    """The learner that ``config`` describes for ``policy``, which plays in teams like ``spec``."""
    told: dict[str, Any] = {"total_updates": config.updates, "seed": config.run.seed, "length": config.run.rollout}
    if "learner" in parts:
        if config.policy.losses:
            raise ConfigError(
                f"losses: expected none beside a learner that is given as an object, got {config.policy.losses!r}. "
                "Give them to your learner."
            )
        learner: Learner = _made("learner", parts["learner"], Learner, policy, **told)
        return learner
    config.learner.require_fit(config.env.num_envs)
    losses = [*build_losses(config, policy, spec), *parts.get("losses", ())]
    return config.learner.learner(policy, losses=losses, **told)


def build_policy(config: TrainConfig, env: VectorEnv, parts: Parts = NO_PARTS) -> CommPolicy:
    """The policy that ``config`` describes for ``env``, with weights drawn from ``config.run.seed``."""
    return assemble(config, TeamSpec.of(env), parts)


def assemble(config: TrainConfig, spec: TeamSpec, parts: Parts = NO_PARTS) -> CommPolicy:
    """The policy that ``config`` describes for observations, actions and groups like these.

    ``comm="none"`` keeps the layers and takes the topology ``Empty()``: the same capacity, nothing on the wire.
    """
    silent = config.policy.comm == NONE and "comm" not in parts
    if config.run.device != "meta" and not parts.keys() & {"policy", "encoder", "actor"}:
        require_weights(config, spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        if "policy" in parts:
            sizes = spec.obs_dim, spec.num_actions, spec.num_agents
            given: CommPolicy = _made("policy", parts["policy"], CommPolicy, *sizes)
            return _placed(given, config.run.device)
        comm = _comm(config.replace(comm="mean") if silent else config, parts)
        hidden, num_agents, wire = comm.in_channels, spec.num_agents, config.wire
        rows = RowParts(config, spec, hidden)

        def part(name: str, kind: type, named: Callable[[], Any], *told: Any) -> Any:
            return _made(name, parts[name], kind, *told) if name in parts else named()  # type: ignore[literal-required]

        critic = part("critic", nn.Module, rows.critic, hidden)  # weights are drawn in this order
        policy = CommPolicy(
            spec.obs_dim,
            spec.num_actions,
            comm,
            part("memory", Memory, rows.memory, hidden),
            config.policy.integration,
            Wire(
                part("topology", Topology, lambda: Empty() if silent else topology.resolve(wire.topology)),
                part("scheduler", Scheduler, lambda: schedule.resolve(wire.scheduler, hidden, num_agents), hidden),
                part("codec", Codec, lambda: codec.resolve(wire.codec)),
                part("channel", Channel, lambda: channel.resolve(wire.channel)),
            ),
            critic,
            encoder=part("encoder", nn.Module, rows.encoder, spec.obs_dim, hidden),
            actor=part("actor", nn.Module, rows.actor, hidden, rows.actions.width),
            actions=rows.actions,
            teams=rows.teams,
        )
    return _placed(policy, config.run.device)


def _placed(policy: CommPolicy, device: str) -> CommPolicy:
    """On ``device``; one that is made without memory for its tensors has none to move."""
    if lazy := [name for name, value in policy.named_parameters() if isinstance(value, UninitializedParameter)]:
        raise ConfigError(
            f"{lazy[0]}: expected parts of a known width, got a lazy one, whose weights nobody could save or load "
            "before it was used. A class or function is told the widths, as in encoder(obs_dim, hidden)."
        )
    return policy if torch.get_default_device().type == "meta" else policy.to(device)


def _comm(config: TrainConfig, parts: Parts) -> CommStack:
    """The rounds of communication."""
    given = parts.get("comm")
    if isinstance(given, CommStack):
        return given
    own = config.policy
    rounds = own.rounds
    if given is None or isinstance(given, str):
        layers = make_rounds(given or own.comm, own.hidden, rounds, own.share_rounds)
    elif isinstance(given, Sequence):
        layers = [_made("comm", layer, CommLayer, own.hidden, own.hidden) for layer in given]
    elif isinstance(given, nn.Module) and not isinstance(given, CommLayer):
        raise ConfigError(
            f"comm: expected a CommLayer, got {type(given).__name__}, which does not say what is on the wire. A "
            "convolution of torch_geometric becomes one with ConvComm(conv); others derive from CommLayer."
        )
    elif isinstance(given, CommLayer) and rounds > 1 and not own.share_rounds:
        raise ConfigError(
            f"comm: expected a layer for each of rounds={rounds}, got one. Give a list of layers, a class that makes "
            "them, or share_rounds=True."
        )
    else:
        count = 1 if own.share_rounds else rounds
        layers = [_made("comm", given, CommLayer, own.hidden, own.hidden) for _ in range(count)]
        layers *= rounds // count
    return CommStack(layers, nn.Tanh())


def _made(name: str, given: Any, kind: type, *told: Any, **settings: Any) -> Any:
    """``given``, or what it makes where it is a class or function.

    Raises:
        ConfigError: neither is a ``kind``, or the class or function takes other arguments.
    """
    if is_made(given, kind) or not callable(given):
        made = given
    else:
        try:
            made = given(*told, **settings)
        except TypeError as error:
            words = [type(value).__name__ if isinstance(value, nn.Module) else repr(value) for value in told]
            call = ", ".join([*words, *(f"{key}={value!r}" for key, value in settings.items())])
            raise ConfigError(f"{name}: expected what can be called as {name}({call}), got: {error}.") from error
    if not isinstance(made, kind):
        missing = [item for item in dir(kind) if not item.startswith("_") and not hasattr(made, item)]
        lacks = f" without {', '.join(missing[:5])}" if missing and getattr(kind, "_is_protocol", False) else ""
        raise ConfigError(
            f"{name}: expected a {kind.__name__}, or a class or function that makes one, got "
            f"{type(made).__name__}{lacks}."
        )
    return made
