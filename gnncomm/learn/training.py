"""A training in progress, as a value that can be saved between any two updates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError
from gnncomm.learn.build import build_policy
from gnncomm.learn.config import VERSION, TrainConfig
from gnncomm.learn.curriculum import Curriculum
from gnncomm.learn.ppo import PPO
from gnncomm.learn.rollout import begin, collect
from gnncomm.types import TimeStep, VectorEnv

Groups = dict[str, dict[str, Tensor]]
"""Tensors by name, in groups: one file of a checkpoint each."""


class Training:
    """Environments, policy and learner, advanced one update at a time.

    Everything random is a function of the seed and of counters, so the tensors and counters of ``state`` are all that
    the future depends on.

    Raises:
        ConfigError: settings of an earlier version, which meant another training.
    """

    def __init__(self, config: TrainConfig, env: VectorEnv) -> None:
        if config.version != VERSION:
            raise ConfigError(
                f"version: expected settings of version {VERSION}, got version {config.version}, with which the same "
                f"settings gave another training. Set version={VERSION} to train anew, or use the gnncomm that wrote "
                "them."
            )
        self.config, self.env = config, env
        self.policy = build_policy(config, env)
        self.curriculum = Curriculum(config.curriculum, env)
        self.learner = PPO(self.policy, config.ppo, config.updates, config.seed)
        self.curriculum.apply(env, 0.0)
        seed_B = random.seeds("train", config.seed, torch.arange(env.num_envs, device=env.device))
        self.carry, self.tally = begin(env, self.policy, seed_B)

    @property
    def finished(self) -> bool:
        return self.learner.updates >= self.config.updates

    @property
    def env_steps(self) -> int:
        return self.learner.updates * self.config.rollout * self.config.num_envs

    def advance(self) -> dict[str, float]:
        """Collect one rollout, learn from it, and say how it went."""
        in_force = self.curriculum.apply(self.env, self.learner.updates / self.config.updates)
        rollout, self.carry = collect(
            self.env, self.policy, self.carry, self.config.rollout, self.config.seed, self.tally
        )
        losses = self.learner.update(rollout)
        counts = {"update": self.learner.updates, "env_steps": self.env_steps}
        return counts | in_force | self.tally.flush() | losses

    def state(self) -> tuple[Groups, dict[str, Any]]:
        """``(tensors by group, counters)``: what a checkpoint holds."""
        groups = {
            "model": dict(self.policy.state_dict()),
            "optimizer": self._slots(),
            "returns": dict(self.learner.return_norm.state_dict()),
            "env": self.env.state_dict(),
            "carry": self.carry.tensors() | {"running_return": self.tally.running_return},
        }
        return groups, {"updates": self.learner.updates, "env_steps": self.env_steps}

    def _slots(self) -> dict[str, Tensor]:
        """What Adam keeps of every parameter, by its number; zeros for one without a gradient so far, as Adam begins.

        So a checkpoint always has the same tensors, and one that is missing is missed.
        """
        optimizer = self.learner.optimizer
        slots: dict[str, Tensor] = {}
        for index, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
            kept = optimizer.state.get(parameter) or {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
            slots |= {f"{index}.{name}": value for name, value in kept.items()}
        return slots

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]], counters: Mapping[str, Any]) -> TimeStep:
        """Continue from what ``state`` gave; whoever calls has checked that names and shapes are the same.

        Returns:
            What the environments show now.
        """
        self.policy.load_state_dict(dict(groups["model"]))
        self.learner.return_norm.load_state_dict(dict(groups["returns"]))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in groups["optimizer"].items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = value.clone()
        whole = self.learner.optimizer.state_dict()
        self.learner.optimizer.load_state_dict(whole | {"state": slots})
        self.learner.updates = int(counters["updates"])
        self.curriculum.apply(self.env, max(self.learner.updates - 1, 0) / self.config.updates)
        shown = self.env.load_state_dict(groups["env"])
        carry = {name: value.to(self.env.device, copy=True) for name, value in groups["carry"].items()}
        self.carry = self.carry.with_tensors(carry)
        self.tally.running_return = carry["running_return"]
        return shown
