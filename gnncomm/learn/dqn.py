"""Deep Q-learning from a replay of whole episodes with target networks: IQL, VDN, QMIX and QPLEX as published."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gnncomm.config import require_ranges
from gnncomm.errors import ConfigError
from gnncomm.learn import optimizers
from gnncomm.learn.gradient import Means, Metrics
from gnncomm.learn.learner import Experience, Groups
from gnncomm.learn.losses import LossFunction, Term, joined, masked_mean, total
from gnncomm.learn.replay import Episodes, Replay
from gnncomm.learn.rollout import Rollout
from gnncomm.learn.values import ValueConfig, ValueLearner
from gnncomm.policy import CommPolicy, Evaluation
from gnncomm.types import TimeStep


@dataclass(frozen=True)
class DQNConfig(ValueConfig):
    """Settings of deep Q-learning with replay; defaults are those of PyMARL (Samvelyan et al. 2019)."""

    lr: float = 5e-4
    """Learning rate."""
    lr_schedule: Literal["constant", "linear"] = "constant"
    """"linear" goes to zero at the end of training."""
    optimizer: optimizers.Name = "rmsprop"
    """adam, radam or rmsprop."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm; 0 leaves them as they are."""
    buffer: int = 5000
    """Episodes that are kept; those under way come on top."""
    batch: int = 32
    """Episodes in a gradient step; nothing is learned before there are so many."""
    gradient_steps: int = 8
    """Gradient steps after each rollout (PyMARL: one for each episode)."""
    target_every_gradient_steps: int = 200
    """Gradient steps after which the target networks become copies of those that are trained."""
    double: bool = True
    """Whether the next action is chosen by the network that is trained, and valued by the target."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = ("buffer", "batch", "gradient_steps", "target_every_gradient_steps")
        require_ranges(self, dict.fromkeys(counts, (1, 2**31)), "learner.")
        if self.batch > self.buffer:
            raise ConfigError(
                f"learner.batch={self.batch} is more than the episodes that learner.buffer={self.buffer} keeps."
            )

    def learner(self, policy: CommPolicy, *, losses: Sequence[LossFunction] = (), **told: Any) -> DQN:
        return DQN(policy, self, losses=losses, **told)

    def require_fit(self, num_envs: int) -> None:
        if self.buffer < num_envs:
            raise ConfigError(
                f"learner.buffer={self.buffer} is less than num_envs={num_envs}: expected room for an episode of each "
                "environment."
            )

    def keeps(self, num_envs: int) -> int:
        return self.buffer + num_envs + 1


@dataclass(frozen=True)
class IQLConfig(DQNConfig):
    """Settings of IQL: each agent learns for itself (Tan 1993)."""


@dataclass(frozen=True)
class VDNConfig(DQNConfig):
    """Settings of VDN: the value of the team is the sum of those of its agents (Sunehag et al. 2018)."""

    mixer: str = "vdn"
    """Makes the value of the team of those of its agents."""


@dataclass(frozen=True)
class QMIXConfig(DQNConfig):
    """Settings of QMIX: a monotonic mixer with weights made of the state (Rashid et al. 2018)."""

    mixer: str = "qmix"
    """Makes the value of the team of those of its agents."""


@dataclass(frozen=True)
class QPLEXConfig(DQNConfig):
    """Settings of QPLEX: duplex dueling mixers (Wang et al. 2021)."""

    mixer: str = "qplex"
    """Makes the value of the team of those of its agents."""


class Target(nn.Module):
    """A policy as it was some gradient steps ago, and how many were taken."""

    steps: Tensor

    def __init__(self, policy: CommPolicy) -> None:
        super().__init__()
        self.policy = copy.deepcopy(policy).requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def follow(self, policy: CommPolicy, every: int, taken: Tensor) -> None:
        """Count a gradient step if ``taken``; after each ``every``-th become what ``policy`` is now."""
        self.steps += taken
        now = taken & (self.steps % every == 0)
        mine, theirs = self.policy.state_dict(), policy.state_dict()
        for name, value in mine.items():
            value.copy_(torch.where(now, theirs[name], value))


class DQN(ValueLearner[DQNConfig]):
    r"""Q-learning on whole episodes with double Q (van Hasselt et al. 2016) and a mixer, in the form of PyMARL.

    .. math::
        y_t = r_t + \gamma d_t \, \bar{Mix}(\bar Q(o_{t+1}, a^*), s_{t+1}), \qquad
        a_i^* = \arg\max_a Q_i(o_{t+1}, a), \qquad L = \frac{1}{|M|} \sum_M (Mix(Q(o_t, a_t), s_t) - y_t)^2

    The bar marks the target network. M are all steps of the episodes: where one terminated d is 0, where its time was
    up its last observation is bootstrapped from. Memories begin with the episode, and messages are said again, over
    the same wire. The mixer's state of that last observation is known, too.
    """

    Config = DQNConfig

    def __init__(
        self,
        policy: CommPolicy,
        config: DQNConfig | None = None,
        total_updates: int = 1,
        seed: int = 0,
        *,
        length: int = 20,
        losses: Sequence[LossFunction] = (),
    ) -> None:
        if policy.wire.scheduler.num_choices:
            raise ConfigError(
                f"DQN learns from old episodes, what {type(policy.wire.scheduler).__name__} samples is learned from "
                "new ones only: expected a scheduler that does not sample, or the learner pqn with the same mixer."
            )
        super().__init__(policy, config, total_updates, seed, length=length, losses=losses)
        self.experience = Experience(length, after=True)
        self.replay: Replay | None = None

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
                "DQN has no room for episodes yet: expected prepare(shown, max_steps) first, see Training."
            )
        return self.replay

    def _improve(self, rollout: Rollout) -> Metrics:
        config, means, replay = self.config, Means(), self._replay
        for step in range(config.gradient_steps):
            episodes = replay.sample(config.batch, self.seed, self.updates, step)
            terms = self._losses(episodes)
            means.add({name: term.value for name, term in terms.items()} | {"grad_norm": self._step(total(terms))})
            self.target.follow(self.policy, config.target_every_gradient_steps, (episodes.length > 0).any())
        replay.add(rollout, *self._earned(rollout))  # at the end, so that an update that fails leaves it as it was
        self._explore(rollout)
        counts = {"episodes_kept": replay.count.clamp(max=config.buffer), "target_steps": self.target.steps}
        return means.tensors() | counts | {"epsilon": self.actions.epsilon}

    def _losses(self, episodes: Episodes) -> dict[str, Term]:
        timestep, action = episodes.timestep, episodes.action
        padded = torch.cat([action, torch.zeros_like(action[:1])])
        state = self.policy.initial_state(*timestep.alive.shape[1:])
        now = self.policy.unroll(timestep, padded, state)
        with torch.no_grad():
            then = self.target.policy.unroll(timestep, padded, state)
        target, rollout = self.targets(now, then, episodes), _rollout(now, episodes, state)
        judged = now.map(lambda value: value[:-1])
        counts = self._counting(episodes)
        error = torch.where(counts, self._of_actions(judged, rollout) - target, 0.0)
        alive = rollout.timestep.alive
        own = {
            "q_loss": Term(masked_mean(error.square(), counts)),
            "wire_cost": Term(masked_mean(judged.cost, alive)),
        }
        return joined([own, *(loss(judged, rollout) for loss in self._others)])

    @torch.no_grad()
    def targets(self, now: Evaluation, then: Evaluation, episodes: Episodes) -> Tensor:
        """y ``[L, E, N]``, of what the trained network and the target say of ``[L + 1, E, N]``."""
        after = episodes.timestep.map(lambda value: value[1:])
        then = then.map(lambda value: value[1:])
        best, action = then.logits.max(-1)
        if self.config.double:
            action = now.logits[1:].argmax(-1)
        q = then.logits.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        value = self.target.policy.critic(q, best, action, after, then.heard)
        return after.reward + self.config.gamma * torch.where(after.discount != 0, after.discount * value, 0.0)

    def _counting(self, episodes: Episodes) -> Tensor:
        """``[L, E, N]``: whose values are fitted. An agent that was cut while others went on has nothing to look at."""
        alive, discount = episodes.timestep.alive, episodes.timestep.discount[1:]
        filled = episodes.filled.unsqueeze(-1)
        goes_on = (discount == 0) | alive[1:] if self.alone else torch.ones_like(alive[1:])
        return self._counts(alive[:-1]) & filled & goes_on


def _rollout(now: Evaluation, episodes: Episodes, state: Any) -> Rollout:
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
