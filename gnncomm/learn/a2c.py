"""Advantage actor-critic: one step along the policy gradient for each rollout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gnncomm.learn.actor_critic import ActorCritic
from gnncomm.learn.gradient import Means, Metrics
from gnncomm.learn.losses import LossFunction, score_loss, total
from gnncomm.learn.rollout import Rollout
from gnncomm.learn.settings import ActorCriticConfig, OptimizerName
from gnncomm.policy import CommPolicy


@dataclass(frozen=True)
class A2CConfig(ActorCriticConfig):
    """Advantage actor-critic: one step along the policy gradient for each short rollout, n-step returns."""

    lr: float = 7e-4
    """Learning rate."""
    optimizer: OptimizerName = "rmsprop"
    """adam, or rmsprop."""
    lam: float = 1.0
    """Lambda of generalised advantage estimation; 1: all steps of the rollout (n-step returns)."""

    def learner(self, policy: CommPolicy, *, losses: Sequence[LossFunction] = (), **told: Any) -> A2C:
        return A2C(policy, self, losses=losses, **told)

    def suited(self, max_steps: int) -> dict[str, Any]:
        return {"num_envs": 64, "rollout": 5}


class A2C(ActorCritic[A2CConfig]):
    r"""The synchronous form of A3C (Mnih et al. 2016, section 4 and supplement): :math:`-A_t \log \pi(a_t)`.

    With a local critic this is IA2C, with a central one MAA2C (Papoudakis et al. 2021).
    """

    Config = A2CConfig

    def _improve(self, rollout: Rollout) -> Metrics:
        means = Means()
        played, targets = self._prepared(rollout)
        evaluation = self.policy.unroll(played.timestep, played.action, played.state, played.choice)
        terms = self._losses(evaluation, played, targets)
        means.add({name: term.value for name, term in terms.items()})
        means.add({"grad_norm": self._step(total(terms), self._resting(0, 1))})
        return means.tensors() | self._team_rewards(rollout) | {"explained_variance": targets.explained}

    def _policy_loss(self, log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
        return score_loss(log_prob, advantage, mask)
