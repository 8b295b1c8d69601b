"""Deep Q-learning from a replay of whole episodes with target networks: IQL, VDN, QMIX and QPLEX as published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gnncomm.learn.gradient import Metrics
from gnncomm.learn.losses import LossFunction, Term, explained_variance, joined, masked_mean, total
from gnncomm.learn.replay import Episodes
from gnncomm.learn.replaying import ReplayConfig, ReplayLearner, as_played
from gnncomm.learn.rollout import Rollout
from gnncomm.learn.settings import OptimizerName
from gnncomm.learn.values import ValueConfig, ValueLearner
from gnncomm.policy import CommPolicy, Evaluation


@dataclass(frozen=True)
class DQNConfig(ValueConfig, ReplayConfig):
    """Deep Q-learning from a replay of whole episodes, with any mixer; PyMARL's constants (Samvelyan et al. 2019)."""

    lr: float = 5e-4
    """Learning rate."""
    lr_schedule: Literal["constant", "linear"] = "constant"
    """"linear" goes to zero at the end of training."""
    optimizer: OptimizerName = "rmsprop"
    """adam, radam or rmsprop."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm; 0 leaves them as they are."""
    double: bool = True
    """Whether the next action is chosen by the network that is trained, and valued by the target."""

    def learner(self, policy: CommPolicy, *, losses: Sequence[LossFunction] = (), **told: Any) -> DQN:
        return DQN(policy, self, losses=losses, **told)


@dataclass(frozen=True)
class IQLConfig(DQNConfig):
    """IQL: each agent learns for itself (Tan 1993)."""


@dataclass(frozen=True)
class VDNConfig(DQNConfig):
    """VDN: the value of the team is the sum of those of its agents (Sunehag et al. 2018)."""

    mixer: str = "vdn"
    """Makes the value of the team of those of its agents."""


@dataclass(frozen=True)
class QMIXConfig(DQNConfig):
    """QMIX: a monotonic mixer with weights made of the state (Rashid et al. 2018)."""

    mixer: str = "qmix"
    """Makes the value of the team of those of its agents."""


@dataclass(frozen=True)
class QPLEXConfig(DQNConfig):
    """QPLEX: duplex dueling mixers (Wang et al. 2021)."""

    mixer: str = "qplex"
    """Makes the value of the team of those of its agents."""


class DQN(ValueLearner[DQNConfig], ReplayLearner[DQNConfig]):
    r"""Q-learning on whole episodes with double Q (van Hasselt et al. 2016) and a mixer, in the form of PyMARL.

    .. math::
        y_t = r_t + \gamma d_t \, \bar{Mix}(\bar Q(o_{t+1}, a^*), s_{t+1}), \qquad
        a_i^* = \arg\max_a Q_i(o_{t+1}, a), \qquad L = \frac{1}{|M|} \sum_M (Mix(Q(o_t, a_t), s_t) - y_t)^2

    The bar marks the target network. M are all steps of the episodes: where one terminated d is 0, where its time was
    up its last observation is bootstrapped from. Memories begin with the episode, and messages are said again, over
    the same wire. The mixer's state of that last observation is known, too.
    """

    Config = DQNConfig

    def _improve(self, rollout: Rollout) -> Metrics:
        metrics = super()._improve(rollout)
        self._explore(rollout)
        return metrics | {"epsilon": self.actions.epsilon}

    def _learn(self, episodes: Episodes, step: int) -> dict[str, Tensor]:
        terms, explained = self._losses(episodes)
        told = {"grad_norm": self._step(total(terms)), "explained_variance": explained}
        return {name: term.value for name, term in terms.items()} | told

    def _losses(self, episodes: Episodes) -> tuple[dict[str, Term], Tensor]:
        """Terms, and how much of the targets the values foresaw."""
        timestep, action = episodes.timestep, episodes.action
        padded = torch.cat([action, torch.zeros_like(action[:1])])
        state = self.policy.initial_state(*timestep.alive.shape[1:])
        now = self.policy.unroll(timestep, padded, state)
        with torch.no_grad():
            then = self.target.policy.unroll(timestep, padded, state)
        target, rollout = self.targets(now, then, episodes), as_played(now, episodes, state)
        judged = now.map(lambda value: value[:-1])
        counts = self._counting(episodes)
        value = self._of_actions(judged, rollout)
        error = torch.where(counts, value - target, 0.0)
        alive = rollout.timestep.alive
        own = {
            "q_loss": Term(masked_mean(error.square(), counts)),
            "wire_cost": Term(masked_mean(judged.cost, alive)),
        }
        terms = joined([own, *(loss(judged, rollout) for loss in self._others)])
        return terms, explained_variance(value.detach(), target, counts)

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
