"""Learners from a replay of whole episodes, with target networks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gnncomm.config import require_ranges
from gnncomm.errors import ConfigError
from gnncomm.graph.given import copied
from gnncomm.learn.gradient import GradientLearner, Means, Metrics
from gnncomm.learn.learner import Experience, Groups
from gnncomm.learn.losses import LossFunction
from gnncomm.learn.replay import Episodes, Replay
from gnncomm.learn.rollout import Rollout
from gnncomm.learn.settings import GradientConfig
from gnncomm.policy import CommPolicy, Evaluation, PolicyState
from gnncomm.types import TimeStep


@dataclass(frozen=True)
class ReplayConfig(GradientConfig):
    """Settings of learners from a replay."""

    buffer: int = 5000
    """Episodes that are kept; those under way come on top."""
    batch: int = 32
    """Episodes in a gradient step; nothing is learned before there are so many."""
    gradient_steps: int = 8
    """Gradient steps after each rollout."""
    target_every_gradient_steps: int = 200
    """Gradient steps after which the target networks become copies of those that are trained."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = ("buffer", "batch", "gradient_steps", "target_every_gradient_steps")
        require_ranges(self, dict.fromkeys(counts, (1, 2**31)), "learner.")
        if self.batch > self.buffer:
            raise ConfigError(
                f"learner.batch={self.batch} is more than the episodes that learner.buffer={self.buffer} keeps."
            )

    def require_fit(self, num_envs: int) -> None:
        if self.buffer < num_envs:
            raise ConfigError(
                f"learner.buffer={self.buffer} is less than num_envs={num_envs}: expected room for an episode of each "
                "environment."
            )

    def keeps(self, num_envs: int) -> int:
        return self.buffer + num_envs + 1


class Target(nn.Module):
    """A policy as it was some gradient steps ago, and how many were taken."""

    steps: Tensor

    def __init__(self, policy: CommPolicy) -> None:
        super().__init__()
        self.policy = copied("A learner of values", policy).requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def follow(self, policy: CommPolicy, every: int, taken: Tensor) -> None:
        """Count a gradient step if ``taken``; after each ``every``-th become what ``policy`` is now."""
        self.steps += taken
        now = taken & (self.steps % every == 0)
        mine, theirs = self.policy.state_dict(), policy.state_dict()
        for name, value in mine.items():
            value.copy_(torch.where(now, theirs[name], value))


R = TypeVar("R", bound=ReplayConfig)


class ReplayLearner(GradientLearner[R]):
    """Keeps what was played as whole episodes, and learns from some of them after each rollout.

    A subclass says with ``_earned`` whose reward is kept, and with ``_learn`` what is learned from a batch.
    """

    def __init__(
        self,
        policy: CommPolicy,
        config: R | None = None,
        total_updates: int = 1,
        seed: int = 0,
        *,
        length: int = 20,
        losses: Sequence[LossFunction] = (),
    ) -> None:
        if policy.wire.scheduler.num_choices:
            raise ConfigError(
                f"{type(self).__name__} learns from old episodes, what {type(policy.wire.scheduler).__name__} samples "
                "is learned from new ones only: expected a scheduler that does not sample, or a learner that does not "
                "look back, for instance ppo or pqn."
            )
        super().__init__(policy, config, total_updates, seed, length=length, losses=losses)
        self.experience = Experience(length, after=True)
        self.replay: Replay | None = None

    @abstractmethod
    def _earned(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Reward and discount ``[T, B, N]`` that are learned from."""

    @abstractmethod
    def _learn(self, episodes: Episodes, step: int) -> dict[str, Tensor]:
        """Take gradient steps, and say how it went. ``step`` counts within the update."""

    def _modules(self) -> Mapping[str, nn.Module]:
        self.target = Target(self.policy)
        return {"target": self.target}

    def prepare(self, shown: TimeStep, max_steps: int) -> None:
        """Make room for the episodes."""
        self.config.require_fit(len(shown.step))
        self.replay = Replay(shown, max_steps, self.config.buffer)

    def state(self) -> tuple[Groups, dict[str, Any]]:
        """As of all learners by gradients, and the episodes."""
        groups, counters = super().state()
        return groups | {"replay": self._replay.tensors()}, counters

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]], counters: Mapping[str, Any]) -> None:
        super().restore(groups, counters)
        self._replay.restore(groups["replay"])

    @property
    def _replay(self) -> Replay:
        if self.replay is None:
            raise ConfigError(
                f"{type(self).__name__} has no room for episodes yet: expected prepare(shown, max_steps) first, see "
                "Training."
            )
        return self.replay

    def _improve(self, rollout: Rollout) -> Metrics:
        config, means, replay = self.config, Means(), self._replay
        for step in range(config.gradient_steps):
            episodes = replay.sample(config.batch, self.seed, self.number, step)
            means.add(self._learn(episodes, step))
            self.target.follow(self.policy, config.target_every_gradient_steps, (episodes.length > 0).any())
        replay.add(rollout, *self._earned(rollout))  # at the end, so that an update that fails leaves it as it was
        kept = {"episodes_kept": replay.count.clamp(max=config.buffer), "target_steps": self.target.steps}
        return means.tensors() | kept


def as_played(now: Evaluation, episodes: Episodes, state: PolicyState) -> Rollout:
    """The episodes as a rollout that ``now`` would have played, for further terms of the loss."""
    after = episodes.timestep.map(lambda value: value[1:])
    said = now.map(lambda value: value.detach())
    steps = torch.arange(len(episodes.action), device=episodes.length.device).unsqueeze(-1)
    return Rollout(
        timestep=episodes.timestep.map(lambda value: value[:-1]),
        action=episodes.action,
        choice=now.choice_log_prob.new_zeros(*episodes.action.shape, 0).long(),
        log_prob=said.log_prob[:-1],
        choice_log_prob=said.choice_log_prob[:-1],
        value=said.value[:-1],
        baseline=said.baseline[:-1],
        reward=after.reward,
        paid=episodes.timestep.alive[:-1],
        discount=after.discount,
        done=steps + 1 == episodes.length,
        next_value=said.value[1:],
        state=state,
        after=after,
    )
