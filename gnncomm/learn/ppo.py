"""Proximal policy optimisation for teams: IPPO with a local critic, MAPPO with a central one."""

from __future__ import annotations

from torch import Tensor

from gnncomm.learn.actor_critic import ActorCritic
from gnncomm.learn.gradient import Means, Metrics
from gnncomm.learn.losses import drift, policy_loss, total, value_loss
from gnncomm.learn.rollout import Rollout
from gnncomm.learn.settings import PPOConfig


class PPO(ActorCritic[PPOConfig]):
    """The ``Learner`` of IPPO (de Witt et al. 2020) and MAPPO (Yu et al. 2022): several passes over a rollout."""

    Config = PPOConfig

    def _improve(self, rollout: Rollout) -> Metrics:
        config, means = self.config, Means()
        played, targets = self._prepared(rollout)
        for epoch, chunk in self._minibatches(played, config.epochs, config.minibatches):
            mine = played.environments(chunk)
            evaluation = self.policy.unroll(mine.timestep, mine.action, mine.state, mine.choice)
            terms = self._losses(evaluation, mine, targets.select(chunk, dim=1))
            means.add({name: term.value for name, term in terms.items()} | drift(evaluation, mine, config.clip))
            means.add({"grad_norm": self._step(total(terms), self._resting(epoch, config.epochs))})
        return means.tensors() | self._team_rewards(rollout) | {"explained_variance": targets.explained}

    def _policy_loss(self, log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
        return policy_loss(log_prob, old_log_prob, advantage, mask, self.config.clip)

    def _value_loss(self, value: Tensor, old_value: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        clip = self.config.clip if self.config.value_clip else None
        return value_loss(value, old_value, target, mask, clip, self.config.huber)
