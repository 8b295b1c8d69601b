"""REINFORCE over whole episodes, as IC3Net and CommNet are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gnncomm.config import require_ranges
from gnncomm.errors import ConfigError
from gnncomm.host import refuse
from gnncomm.learn.gradient import GradientLearner, Means, Metrics
from gnncomm.learn.learner import Experience
from gnncomm.learn.losses import LossFunction, Term, explained_variance, joined, total
from gnncomm.learn.returns import gae, team_share
from gnncomm.learn.rollout import Rollout, parted, require_divisor
from gnncomm.learn.settings import GradientConfig, OptimizerName
from gnncomm.policy import CommPolicy, Evaluation

_STEPS, _PROCESSES = 500, 16
"""Of a batch of the released training: whole episodes until each of the processes has so many steps."""


@dataclass(frozen=True)
class ReinforceConfig(GradientConfig):
    """REINFORCE with a baseline over whole episodes, exactly as IC3Net and CommNet are trained."""

    UNIT: ClassVar[tuple[str, ...]] = (*GradientConfig.UNIT, "shared_reward")
    NOT_NEGATIVE: ClassVar[tuple[str, ...]] = (*GradientConfig.NOT_NEGATIVE, "value_coef", "entropy")

    lr: float = 1e-3
    """Learning rate."""
    lr_schedule: Literal["constant", "linear"] = "constant"
    """"linear" goes to zero at the end of training."""
    optimizer: OptimizerName = "rmsprop"
    """adam, or rmsprop."""
    alpha: float = 0.97
    """Decay of the mean square of RMSprop."""
    eps: float = 1e-6
    """Added to the root of the mean square, so that nothing is divided by zero."""
    max_grad_norm: float = 0.0
    """Gradients are scaled down to this norm; 0 leaves them as they are."""
    gamma: float = 1.0
    """Discount per step."""
    shared_reward: float = 0.0
    """Share of the team mean in each agent's return (mean_ratio): 0 individual (IC3Net), 1 cooperative (CommNet)."""
    value_coef: float = 0.01
    """Weight of the value loss."""
    entropy: float = 0.0
    """Weight of the entropy bonus."""
    detach_gap: int = 10
    """Steps over which gradients go back; 0: the whole episode."""
    faithful: bool = False
    """Learn from who lives after a step, as the released code does, and not from who acted in it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"detach_gap": (0, 2**20)}, "learner.")

    def learner(self, policy: CommPolicy, *, losses: Sequence[LossFunction] = (), **told: Any) -> Reinforce:
        return Reinforce(policy, self, losses=losses, **told)

    def suited(self, max_steps: int) -> dict[str, Any]:
        return {"num_envs": _PROCESSES * -(-_STEPS // max_steps), "rollout": max_steps}


class Reinforce(GradientLearner[ReinforceConfig]):
    r"""REINFORCE with a learned baseline (Williams 1992), as released with IC3Net (Singh, Jain and Sukhbaatar 2019).

    All environments begin an episode with the rollout, which has as many steps as an episode can have: so a batch is
    one whole episode of each, played by the policy that learns from it. What follows an episode that ended early is not
    learned from. With the returns :math:`C`, of the team's mean, and :math:`I`, of one's own until one has finished,

    .. math::
        R_t = s C_t + (1 - s) I_t, \qquad C_t = \bar r_t + \gamma C_{t+1}, \qquad I_t = r_t + \gamma d_t I_{t+1}

    .. math::
        L = \frac{1}{\mathrm{steps}} \sum_{t, i\ \mathrm{alive}} \Big[ -(R_t - V_t) \log \pi(a_t) -
        (R_t - b_t) \log \pi(g_t) + c \big( (V_t - R_t)^2 + (b_t - R_t)^2 \big) \Big]

    V and b are constants in the first two terms; g are the scheduler's choices, b their baselines (the released code
    takes V, which there does not know g yet). It is a sum over agents, divided by the steps of environments. Nothing is
    normalised or clipped. The end of an episode ends all returns, a time limit, too.

    ``faithful``: a row counts where it lives after the step, so that the last action of who arrives is dropped, and who
    comes is charged for what the row did before.
    """

    Config = ReinforceConfig

    def __init__(
        self,
        policy: CommPolicy,
        config: ReinforceConfig | None = None,
        total_updates: int = 1,
        seed: int = 0,
        *,
        length: int = 20,
        losses: Sequence[LossFunction] = (),
    ) -> None:
        super().__init__(policy, config, total_updates, seed, length=length, losses=losses)
        gap = self.config.detach_gap
        self.chunk = gap if 0 < gap < length else 0
        require_divisor("detach_gap", self.chunk, length)
        self.experience = Experience(length, chunk=self.chunk, fresh=True, after=self.config.faithful)

    def _improve(self, rollout: Rollout) -> Metrics:
        within_TB = rollout.done.cumsum(0) - rollout.done.long() == 0
        too_short = ConfigError(
            f"learner: REINFORCE learns from whole episodes, and one did not end within rollout={len(within_TB)} "
            "steps: expected rollout of at least max_steps of the environment. Set rollout."
        )
        refuse(~rollout.done.any(0), lambda: too_short)
        return_TBN = returns(rollout, self._team, self.config.gamma, self.config.shared_reward)
        counts_TBN = within_TB.unsqueeze(-1) & self._counting(rollout)
        played, parts = rollout, [return_TBN, counts_TBN]
        if self.chunk:
            count = len(within_TB) // self.chunk
            played, parts = rollout.chunks(), [parted(part, count) for part in parts]
        now = self.policy.unroll(played.timestep, played.action, played.state, played.choice)
        terms, means = self._losses(now, played, parts[0], parts[1], within_TB.sum()), Means()
        means.add({name: term.value for name, term in terms.items()})
        explained = explained_variance(now.value.detach(), *parts)
        told = {"explained_variance": explained, "episode_return": return_TBN[0].mean()}
        means.add({"grad_norm": self._step(total(terms)), **told})
        return means.tensors()

    def _counting(self, rollout: Rollout) -> Tensor:
        """``[T, B, N]``: whose decision in a step is learned from."""
        return rollout.timestep.alive if rollout.after is None else rollout.after.alive

    @property
    def _team(self) -> Tensor | None:
        return None if self.policy.teams is None else self.policy.teams.index

    def _losses(
        self, now: Evaluation, rollout: Rollout, return_TBN: Tensor, counts_TBN: Tensor, steps: Tensor
    ) -> dict[str, Term]:
        def summed(x: Tensor) -> Tensor:
            return torch.where(counts_TBN, x, 0.0).sum() / steps

        config, return_TBN1 = self.config, return_TBN.unsqueeze(-1)
        score = (return_TBN - now.value.detach()) * now.log_prob
        own = {
            "policy_loss": Term(-summed(score)),
            "value_loss": Term(summed((now.value - return_TBN).square()), config.value_coef),
            "entropy": Term(summed(now.entropy), -config.entropy),
            "wire_cost": Term(summed(now.cost)),
        }
        if now.baseline.shape[-1]:
            choices = ((return_TBN1 - now.baseline.detach()) * now.choice_log_prob).sum(-1)
            errors = (now.baseline - return_TBN1).square().sum(-1)
            own |= {"choice_loss": Term(-summed(choices)), "baseline_loss": Term(summed(errors), config.value_coef)}
        return joined([own, *(loss(now, rollout) for loss in self._others)])


def returns(rollout: Rollout, team: Tensor | None, gamma: float, share: float) -> Tensor:
    """``[T, B, N]``: what is to come until the episode ends, see ``Reinforce``."""
    alive_TBN, nothing = rollout.timestep.alive, torch.zeros_like(rollout.reward)
    own_TBN = torch.where(rollout.paid | alive_TBN, rollout.reward, 0.0)
    mine_TBN = torch.where(alive_TBN, rollout.discount, 1.0)
    mean_TBN = team_share(rollout.reward, rollout.paid, team)
    common = gae(mean_TBN, nothing, nothing, torch.ones_like(nothing), rollout.done, gamma, 1.0)
    individual = gae(own_TBN, nothing, nothing, mine_TBN, rollout.done, gamma, 1.0)
    return share * common + (1 - share) * individual
