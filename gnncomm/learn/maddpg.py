"""MADDPG: each actor climbs the value that a central critic of joint actions gives to what it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from gnncomm import random
from gnncomm.config import require_ranges
from gnncomm.errors import ConfigError
from gnncomm.learn.coma import require_discrete
from gnncomm.learn.losses import LossFunction, Term, explained_variance, joined, masked_mean, total
from gnncomm.learn.replay import Episodes
from gnncomm.learn.replaying import ReplayConfig, ReplayLearner, as_played
from gnncomm.learn.returns import team_share
from gnncomm.learn.rollout import Rollout
from gnncomm.policy import CommPolicy
from gnncomm.policy.joint import JointCritic
from gnncomm.types import TeamSpec, TimeStep


@dataclass(frozen=True)
class MADDPGConfig(ReplayConfig):
    """MADDPG: actors climb a central critic of joint actions by Gumbel-softmax, from a replay of whole episodes."""

    UNIT: ClassVar[tuple[str, ...]] = (*ReplayConfig.UNIT, "shared_reward")
    POSITIVE: ClassVar[tuple[str, ...]] = (*ReplayConfig.POSITIVE, "temperature")
    NOT_NEGATIVE: ClassVar[tuple[str, ...]] = (*ReplayConfig.NOT_NEGATIVE, "logit_coef")

    lr: float = 5e-4
    """Learning rate."""
    lr_schedule: Literal["constant", "linear"] = "constant"
    """"linear" goes to zero at the end of training."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm; 0 leaves them as they are."""
    shared_reward: float = 1.0
    """Share of the team mean in each agent's reward: 0 individual, 1 common."""
    temperature: float = 1.0
    """Of the Gumbel-softmax."""
    logit_coef: float = 1e-3
    """Weight of the mean square of the logits."""
    critic_hidden: int = 128
    """Width of the critic."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"critic_hidden": (1, 2**16)}, "learner.")

    @property
    def looks_at_state(self) -> bool:
        return True

    def critic(self, spec: TeamSpec) -> JointCritic:
        require_discrete(self.name, spec)
        sizes = (spec.num_agents, spec.obs_dim, spec.num_actions, spec.state_dim)
        return JointCritic(*sizes, self.critic_hidden, own=True)

    def learner(self, policy: CommPolicy, *, losses: Sequence[LossFunction] = (), **told: Any) -> MADDPG:
        return MADDPG(policy, self, losses=losses, **told)

    def suited(self, max_steps: int) -> dict[str, Any]:
        return {"num_envs": 64, "rollout": min(max_steps, 20)}


class MADDPG(ReplayLearner[MADDPGConfig]):
    r"""Multi-agent deep deterministic policy gradients (Lowe et al. 2017, arXiv:1706.02275) for one of A actions.

    With the critic :math:`Q_i(s, u)` (``JointCritic``), replayed joint actions u, and :math:`\tilde u_i` a sample of
    the actor, one-hot forwards and a softmax backwards (Jang et al. 2017, straight-through Gumbel-softmax)

    .. math::
        y_i = r_i + \gamma d_i \bar Q_i(s', \bar u'), \qquad L_Q = (Q_i(s, u) - y_i)^2, \qquad
        L_\pi = -Q_i(s, (\tilde u_i, u_{-i})) + c\,|logits|^2

    The bar marks target networks; :math:`\bar u'` are the likeliest actions of the target actors, whose memories have
    seen the episode from its beginning. Learned from are all steps of an episode, the last one, too: d is 0 where it
    ended by its rules, and an end by a time limit is bootstrapped from its last observation.
    """

    Config = MADDPGConfig

    def _modules(self) -> Mapping[str, nn.Module]:
        critic = self.policy.critic
        if not isinstance(critic, JointCritic) or not critic.with_own:
            raise ConfigError(
                f"MADDPG: expected a policy whose critic is a JointCritic(own=True), got {type(critic).__name__}. Name "
                "the learner in the configuration (learner='maddpg'), or give CommPolicy one."
            )
        self.critic = critic
        return super()._modules()

    def _earned(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        teams, alive, share = self.policy.teams, rollout.timestep.alive, self.config.shared_reward
        shared = team_share(rollout.reward, rollout.paid, None if teams is None else teams.index)
        reward = (1 - share) * torch.where(alive, rollout.reward, 0.0) + share * shared
        return reward, torch.where(alive, rollout.discount, 0.0)

    def _learn(self, episodes: Episodes, step: int) -> dict[str, Tensor]:
        now = episodes.timestep.map(lambda value: value[:-1])
        action, counts = self.critic.one_hot(episodes.action), self._counting(episodes)
        value, target = self.critic.q(now, action), self.targets(episodes)
        q_loss = masked_mean(torch.where(counts, value - target, 0.0).square(), counts)
        explained = explained_variance(value.detach(), target, counts)
        norms = {"critic_grad_norm": self._step(q_loss)}
        terms = self._actor_losses(episodes, now, action, counts, step)
        norms["grad_norm"] = self._step(total(terms), list(self.critic.parameters()))
        told = {"q_loss": q_loss, "explained_variance": explained}
        return told | {name: term.value for name, term in terms.items()} | norms

    def _actor_losses(
        self, episodes: Episodes, now: TimeStep, action: Tensor, counts: Tensor, step: int
    ) -> dict[str, Term]:
        padded = torch.cat([episodes.action, torch.zeros_like(episodes.action[:1])])
        state = self.policy.initial_state(*now.alive.shape[1:])
        whole = self.policy.unroll(episodes.timestep, padded, state)
        judged = whole.map(lambda value: value[:-1])
        climbed = self.critic.q(now, action, self._sampled(judged.logits, step))
        finite = torch.where(judged.logits.isfinite(), judged.logits, 0.0).square().mean(-1)
        own = {
            "policy_loss": Term(-masked_mean(climbed, counts)),
            "logit_cost": Term(masked_mean(finite, counts), self.config.logit_coef),
            "wire_cost": Term(masked_mean(judged.cost, counts)),
        }
        rollout = as_played(whole, episodes, state)
        return joined([own, *(loss(judged, rollout) for loss in self._others)])

    @torch.no_grad()
    def targets(self, episodes: Episodes) -> Tensor:
        """y ``[L, E, N]``."""
        target, after = self.target.policy, episodes.timestep.map(lambda value: value[1:])
        padded = torch.cat([episodes.action, torch.zeros_like(episodes.action[:1])])
        state = target.initial_state(*episodes.timestep.alive.shape[1:])
        logits = target.unroll(episodes.timestep, padded, state).logits[1:]
        assert isinstance(target.critic, JointCritic)
        q = target.critic.q(after, self.critic.one_hot(logits.argmax(-1)))
        return after.reward + self.config.gamma * torch.where(after.discount != 0, after.discount * q, 0.0)

    def _sampled(self, logits: Tensor, step: int) -> Tensor:
        """One-hot samples of ``softmax(logits)`` with the gradient of a softmax."""
        index = torch.arange(logits.numel(), device=logits.device).view_as(logits)
        noise = random.gumbel(random.stream(self.seed, "maddpg"), self.number, step, index, dtype=torch.float64)
        soft = ((logits + noise.to(logits)) / self.config.temperature).softmax(-1)
        return (self.critic.one_hot(soft.argmax(-1)) - soft).detach() + soft

    def _counting(self, episodes: Episodes) -> Tensor:
        """``[L, E, N]``: what is learned from. Whoever was cut while others went on has nothing to look at."""
        alive, discount = episodes.timestep.alive, episodes.timestep.discount[1:]
        return alive[:-1] & episodes.filled.unsqueeze(-1) & ((discount == 0) | alive[1:])
