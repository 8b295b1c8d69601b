"""Parallelised Q-learning: values from rollouts of many environments, without replay and without target networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from gnncomm.learn.gradient import Means, Metrics
from gnncomm.learn.losses import (
    LossFunction,
    Targets,
    Term,
    choice_terms,
    explained_variance,
    joined,
    masked_mean,
    normalised,
    policy_loss,
    total,
    value_loss,
)
from gnncomm.learn.rollout import Rollout
from gnncomm.learn.settings import MinibatchConfig, OptimizerName
from gnncomm.learn.values import ValueConfig, ValueLearner, lambda_returns
from gnncomm.policy import CommPolicy, Evaluation


@dataclass(frozen=True)
class PQNConfig(MinibatchConfig, ValueConfig):
    """PQN: Q-learning from rollouts by lambda returns, without replay or target network, with any mixer."""

    UNIT: ClassVar[tuple[str, ...]] = (*ValueConfig.UNIT, "lam")
    POSITIVE: ClassVar[tuple[str, ...]] = (*ValueConfig.POSITIVE, "clip")
    NOT_NEGATIVE: ClassVar[tuple[str, ...]] = (*ValueConfig.NOT_NEGATIVE, "entropy", "baseline_coef")

    optimizer: OptimizerName = "radam"
    """adam, radam or rmsprop."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm; 0 leaves them as they are."""
    layer_norm: bool = True
    """Whether encoders normalise what enters their ReLU."""
    lam: float = 0.65
    """Lambda of the returns: 0 looks one step ahead, 1 to the end."""
    clip: float = 0.2
    """Clipping range of the probability ratio of what a scheduler samples."""
    entropy: float = 0.01
    """Weight of the entropy of what a scheduler samples."""
    baseline_coef: float = 0.5
    """Weight of the loss of its baselines."""

    def learner(self, policy: CommPolicy, *, losses: Sequence[LossFunction] = (), **told: Any) -> PQN:
        return PQN(policy, self, losses=losses, **told)


class PQN(ValueLearner[PQNConfig]):
    r"""PQN (Gallici et al. 2025, arXiv 2407.04811), with any mixer, for teams that talk.

    .. math:: L = \frac{1}{|M|} \sum_M (Q_t - G_t)^2

    with the lambda returns G of the present network, through which no gradient passes. What a scheduler samples is
    learned beside it, as PPO does, with G for its return.
    """

    Config = PQNConfig

    def _improve(self, rollout: Rollout) -> Metrics:
        config, means = self.config, Means()
        reward, discount = self._earned(rollout)
        for _, chunk in self._minibatches(rollout, config.epochs, config.minibatches):
            mine = rollout.environments(chunk)
            now = self.policy.unroll(mine.timestep, mine.action, mine.state, mine.choice)
            terms, explained = self._losses(now, mine, reward[:, chunk], discount[:, chunk])
            means.add({name: term.value for name, term in terms.items()} | {"explained_variance": explained})
            means.add({"q": masked_mean(now.value, mine.timestep.alive), "grad_norm": self._step(total(terms))})
        self._explore(rollout)
        return means.tensors() | {"epsilon": self.actions.epsilon}

    def targets(self, now: Evaluation, rollout: Rollout, reward: Tensor, discount: Tensor) -> Tensor:
        """The lambda returns ``[T, B, N]`` of the present network."""
        value = now.value.detach()
        after = torch.where(discount != 0, self._next_value(value, rollout), 0.0)
        return lambda_returns(reward, value, after, discount, rollout.done, self.config.gamma, self.config.lam)

    def _losses(
        self, now: Evaluation, rollout: Rollout, reward: Tensor, discount: Tensor
    ) -> tuple[dict[str, Term], Tensor]:
        """Terms, and how much of the targets the values foresaw."""
        alive, target = rollout.timestep.alive, self.targets(now, rollout, reward, discount)
        counts = self._counts(alive)
        value = self._of_actions(now, rollout)
        error = torch.where(counts, value - target, 0.0)
        own = {
            "q_loss": Term(masked_mean(error.square(), counts)),
            "wire_cost": Term(masked_mean(now.cost, alive)),
        }
        terms = joined([own, self._choices(now, rollout, target), *(loss(now, rollout) for loss in self._others)])
        return terms, explained_variance(value.detach(), target, counts)

    def _choices(self, now: Evaluation, rollout: Rollout, target: Tensor) -> dict[str, Term]:
        """Of what the scheduler samples; nothing where it samples nothing."""
        config, alive = self.config, rollout.timestep.alive
        advantage = torch.where(alive.unsqueeze(-1), target.unsqueeze(-1) - rollout.baseline, 0.0)
        advantage = normalised(advantage, alive.unsqueeze(-1).expand_as(advantage))
        targets = Targets(torch.zeros_like(target), advantage, target, target.new_zeros(()))
        policy = partial(policy_loss, clip=config.clip)
        terms = choice_terms(now, rollout, targets, policy, partial(value_loss, clip=None), config.baseline_coef)
        return terms and terms | {"entropy": Term(masked_mean(now.entropy, alive), -config.entropy)}
