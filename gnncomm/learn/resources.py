"""What a training will take at least, told before it is taken."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gnncomm import environments
from gnncomm.errors import ResourceError
from gnncomm.learn.config import TrainConfig
from gnncomm.types import TeamSpec

_FLOAT = 4
_COPIES = 7
"""Of each weight: itself, its gradient, Adam's two moments, and the copies of three of these that an update goes back
to when it fails."""
_ROWS = 8
"""Rows of the hidden width that an update keeps for each agent and step: the encoder's, the gates' of the memory, what
was sent, heard and made of it."""
_SMALL = 2**26
"""Numbers in the rows of a rollout below which nothing is looked at: such a training fits anywhere."""


def require_memory(config: TrainConfig) -> None:
    """Refuse a training that cannot fit into the memory of this machine. The estimate is a lower bound.

    Raises:
        ResourceError: says what the environments, the rollout and the weights need, and what there is.
    """
    rows = config.env.num_envs * config.run.rollout * _agents(config)
    kept = config.learner.keeps(config.env.num_envs)
    if rows * config.policy.hidden < _SMALL and config.policy.hidden <= 4096 and not kept:
        return
    need = {
        "weights": _weights(config),
        "rollout": config.learner.at_once(rows) * config.policy.hidden * _ROWS * _FLOAT,
    }
    have = memory_of(config.run.device)
    if sum(need.values()) <= have and not environments.is_foreign(config.env.id):
        need |= _with_environments(config)
    _require(need, have)


def require_weights(config: TrainConfig, spec: TeamSpec) -> None:
    """Refuse a policy whose first and last layer cannot fit.

    Raises:
        ResourceError: as above.
    """
    own = config.policy
    read = spec.obs_dim if own.encoder.partition(":")[0] in ("linear", "mlp") else 0
    need = {
        f"weights for {spec.obs_dim:,} numbers to observe": read,
        f"for {spec.num_actions:,} actions": spec.num_actions,
    }
    _require(
        {name: width * own.hidden * _FLOAT * _COPIES for name, width in need.items()}, memory_of(config.run.device)
    )


def _require(need: Mapping[str, int], have: int) -> None:
    total = sum(need.values())
    if total > have:
        parts = ", ".join(f"{name} {size_of(value)}" for name, value in need.items())
        raise ResourceError(
            f"Expected a training that fits into {size_of(have)} of memory, got one that needs at least "
            f"{size_of(total)} ({parts}). Choose a smaller num_envs, rollout or hidden, "
            f"{'or a smaller learner.buffer' if need.get('replay') else 'or more learner.minibatches'}."
        )


def _agents(config: TrainConfig) -> int:
    """As many as the settings ask for; one where they say nothing."""
    asked = config.env.settings.get("num_agents", 1)
    return max(asked, 1) if isinstance(asked, int) else 1


def _weights(config: TrainConfig) -> int:
    """Those of the memory cell and of the layers, of which each has two matrices at least."""
    own = config.policy
    matrices = {"gru": 6, "lstm": 8}.get(own.memory, 0) + 2 * (1 if own.share_rounds else own.rounds)
    return matrices * own.hidden**2 * _FLOAT * _COPIES


def _with_environments(config: TrainConfig) -> dict[str, int]:
    """Seen on a single environment: its state, and what a rollout keeps of each of its steps."""
    env = environments.make(config.env.id, 1, "cpu", config.env.observation, **dict(config.env.settings))
    seen = sum(_bytes(value) for value in env.reset(seed=0).tensors().values())
    state = sum(_bytes(value) for value in env.state_dict().values())
    rows = config.env.num_envs * config.run.rollout * env.num_agents
    episodes = config.learner.keeps(config.env.num_envs)
    return {
        "environments": config.env.num_envs * state,
        "rollout": config.env.num_envs * config.run.rollout * seen
        + config.learner.at_once(rows) * config.policy.hidden * _ROWS * _FLOAT,
        "replay": episodes * (env.max_steps + 1) * seen,
    }


def memory_of(device: str) -> int:
    """Bytes of memory in all: of the card, or of the machine and what this process may have of it."""
    if device.startswith("cuda") and torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(torch.device(device)).total_memory)
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")] if hasattr(os, "sysconf") else [2**62]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        file = Path("/sys/fs/cgroup", name)
        text = file.read_text().strip() if file.is_file() else ""
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def _bytes(value: Tensor) -> int:
    return value.numel() * value.element_size()


def size_of(count: int) -> str:
    """``count`` bytes in words."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,} bytes"
