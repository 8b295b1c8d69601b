"""A training in progress, as a value that can be saved between any two updates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self, Unpack

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError
from gnncomm.host import Pending, pending
from gnncomm.learn import graphs
from gnncomm.learn.build import build
from gnncomm.learn.config import TrainConfig
from gnncomm.learn.curriculum import Adjustable, Curriculum
from gnncomm.learn.gradient import GradientLearner
from gnncomm.learn.graphs import Record, Recorded
from gnncomm.learn.learner import Groups, Learner, Prepares
from gnncomm.learn.parts import Parts, described, taken
from gnncomm.learn.rollout import Carry, EpisodeTally, Rollout, begin, collect, played
from gnncomm.policy import CommPolicy
from gnncomm.types import Held, TimeStep, VectorEnv


class Training:
    """Environments, policy and learner, advanced one update at a time.

    Everything random is a function of the seed and of counters, so the tensors and counters of ``state`` are all that
    the future depends on.

    Args:
        env: environments; their running episodes are given up.
        policy: who plays in them.
        learner: improves ``policy``.
        updates: how many in all.
        seed: of the environments and of the draws of actions.
        curriculum: settings of ``env`` -> schedule, by name or as an object.

    Raises:
        ConfigError: parts that do not fit together.
    """

    def __init__(
        self,
        env: VectorEnv,
        policy: CommPolicy,
        learner: Learner,
        *,
        updates: int,
        seed: int = 0,
        curriculum: Mapping[str, Any] | None = None,
    ) -> None:
        _require_fit(env, policy, learner)
        self.env, self.policy, self.learner, self.updates, self.seed = env, policy, learner, updates, seed
        self.curriculum = Curriculum(curriculum or {}, env)
        self.curriculum.apply(env, 0.0)
        seed_B = random.seeds("train", seed, torch.arange(env.num_envs, device=env.device))
        self.carry, self.tally = begin(env, policy, seed_B)
        self._recorded: Recorded[tuple[Any, ...]] | None = None
        self.precision = "highest"
        """Inside products of float32 matrices, see ``torch.set_float32_matmul_precision``."""
        if isinstance(learner, Prepares):
            learner.prepare(self.carry.timestep, env.max_steps)

    @classmethod
    def of(cls, config: TrainConfig, **parts: Unpack[Parts]) -> Self:
        """The training that ``config`` describes, with ``parts`` in place of names; see ``Parts``.

        Raises:
            ConfigError: settings of an earlier version, which meant another training, or parts that do not fit.
        """
        return cls.described(*taken(config, parts))[0]

    @classmethod
    def described(cls, config: TrainConfig, objects: Parts) -> tuple[Self, TrainConfig]:
        """The training of these objects, and what of it a file can say."""
        env, policy, learner = build(config, objects)
        config = described(config, objects, env, policy, learner)
        training = cls(
            env, policy, learner, updates=config.updates, seed=config.run.seed, curriculum=config.env.curriculum
        )
        training.precision = _PRECISIONS[config.run.precision]
        if config.run.graphs == "auto" and policy.like.device.type == "cuda":
            training.record(graphs.cuda)
        return training, config

    @property
    def finished(self) -> bool:
        return self.learner.updates >= self.updates

    @property
    def steps_per_update(self) -> int:
        """Environment steps, over all environments."""
        return self.learner.experience.length * self.env.num_envs

    @property
    def env_steps(self) -> int:
        return self.learner.updates * self.steps_per_update

    def collect(self) -> Rollout:
        """Let the policy play on for as long as the learner wants to see."""
        with _products(self.precision):
            return self._collected()

    def _collected(self) -> Rollout:
        wanted = self.learner.experience
        if wanted.fresh and self.learner.updates:
            everywhere = torch.ones_like(self.carry.timestep.first)
            self.carry = replace(self.carry, timestep=self.env.reset(where=everywhere))
            self.tally.running_return = torch.zeros_like(self.tally.running_return)
        if self._recorded is not None and isinstance(self.env, Held):
            return self._collect_recorded(self._recorded, self.env)
        told = (self.carry, wanted.length, self.seed, self.tally)
        rollout, self.carry = collect(self.env, self.policy, *told, keep_after=wanted.after, chunk=wanted.chunk)
        return rollout

    def record(self, how: Record) -> None:
        """From now on rollouts and updates run as graphs, where they can; the numbers stay the same."""
        self._recorded = Recorded(self._played, how)
        if isinstance(self.learner, GradientLearner):
            self.learner.record(how)

    @property
    def graphs(self) -> dict[str, str]:
        """What runs as a graph now, or why it never will: ``recorded``, ``not yet``, or a reason."""
        found = {"rollout": self._recorded}
        if isinstance(self.learner, GradientLearner):
            found["update"] = self.learner.recorded
        why = "" if isinstance(self.env, Held) else f"{self.env.id} does not say what tensors it holds"
        return {name: "off" if which is None else why or str(which) for name, which in found.items()}

    def _played(self, inputs: tuple[Any, Carry, Tensor, Tensor, str]) -> tuple[Any, ...]:
        """``collect`` as a function of all that a step replaces."""
        assert isinstance(self.env, Held)
        held, carry, running_return, sums, _ = inputs
        self.env.hold(held)
        tally, found, wanted = EpisodeTally(running_return, sums), Pending(), self.learner.experience
        with torch.no_grad(), pending(found):
            rollout, carry = played(
                self.env, self.policy, carry, wanted.length, self.seed, tally, wanted.after, wanted.chunk
            )
        return rollout, carry, self.env.held(), tally.running_return, tally.sums, found, found.flag()

    def _collect_recorded(self, recorded: Recorded[tuple[Any, ...]], env: Held) -> Rollout:
        settings = repr(self.env.config) if isinstance(self.env, Adjustable) else ""  # others are another graph
        inputs = (env.held(), self.carry, self.tally.running_return, self.tally.sums, settings)
        rollout, self.carry, held, self.tally.running_return, self.tally.sums, found, flag = recorded(inputs)
        env.hold(held)
        found.settle(flag)
        own: Rollout = rollout.map(torch.clone) if recorded.recorded else rollout
        return own

    def advance(self) -> dict[str, float]:
        """Collect experience, learn from it, and say how it went."""
        in_force = self.curriculum.apply(self.env, self.learner.updates / self.updates)
        with self._own_chance():
            rollout = self.collect()
            with _products(self.precision):
                metrics = self.learner.update(rollout)
        counts: dict[str, float] = {"update": self.learner.updates, "env_steps": self.env_steps}
        counts |= in_force | self.tally.flush()
        return counts | _numbers(self.learner, metrics, counts)

    @contextmanager
    def _own_chance(self) -> Iterator[None]:
        """What parts of a user's draw from torch's own generators (a dropout) is a function of seed and update, too."""
        card = [self.env.device] if self.env.device.type == "cuda" else []
        with torch.random.fork_rng(card):
            torch.manual_seed(int(random.bits(random.stream(self.seed, "torch"), self.learner.updates)))
            yield

    def state(self) -> tuple[Groups, dict[str, Any]]:
        """``(tensors by group, counters)``: what a checkpoint holds."""
        groups = {
            "model": dict(self.policy.state_dict()),
            "env": self.env.state_dict(),
            "carry": self.carry.tensors() | {"running_return": self.tally.running_return},
        }
        learned, counters = self.learner.state()
        if taken := groups.keys() & learned.keys():
            raise ConfigError(
                f"{type(self.learner).__name__}.state: expected groups of its own, got {', '.join(sorted(taken))}, "
                "which are the training's. Rename yours."
            )
        return groups | learned, counters | {"env_steps": self.env_steps}

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]], counters: Mapping[str, Any]) -> TimeStep:
        """Continue from what ``state`` gave; whoever calls has checked that names and shapes are the same.

        Returns:
            What the environments show now.
        """
        self.policy.load_state_dict(dict(groups["model"]))
        self.learner.restore(groups, counters)
        self.curriculum.apply(self.env, max(self.learner.updates - 1, 0) / self.updates)
        shown = self.env.load_state_dict(groups["env"])
        carry = {name: value.to(self.env.device, copy=True) for name, value in groups["carry"].items()}
        self.carry = self.carry.with_tensors(carry)
        self.tally.running_return = carry["running_return"]
        if self._recorded is not None:
            self._recorded.forget()
        return shown


_PRECISIONS = {"float32": "highest", "tf32": "high", "bf16": "medium"}


@contextmanager
def _products(precision: str) -> Iterator[None]:
    """Within, products of float32 matrices are as precise as that."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _numbers(learner: Learner, metrics: Mapping[str, float], taken: Mapping[str, float]) -> dict[str, float]:
    """``metrics``, if they are numbers by names of their own."""
    given = metrics.items() if isinstance(metrics, Mapping) else [("", metrics)]
    for name, value in given:
        if not name or not isinstance(name, str) or not isinstance(value, (int, float)) or name in taken:
            what = f"{name!r}, which is the training's" if name in taken else f"{name!r}: {type(value).__name__}"
            raise ConfigError(
                f"{type(learner).__name__}.update: expected metrics, numbers by names of their own, got {what}. Give "
                "{'mine': float(value)}."
            )
    return dict(metrics)


def _require_fit(env: VectorEnv, policy: CommPolicy, learner: Learner) -> None:
    if learner.policy is not policy:
        raise ConfigError("Training: expected a learner of the policy that plays, got one of another policy.")
    if learner.experience.kind != "rollout":
        raise ConfigError(
            f"{type(learner).__name__}: expected to learn from kind='rollout', got {learner.experience.kind!r}."
        )
    if (policy.obs_dim, policy.num_actions) != (env.obs_dim, env.num_actions):
        raise ConfigError(
            f"Training: expected a policy for obs_dim={env.obs_dim} and num_actions={env.num_actions}, those of the "
            f"environment, got {policy.obs_dim} and {policy.num_actions}."
        )
