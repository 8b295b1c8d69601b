"""COMA: an actor is judged by what its action was worth, compared with what it does on average."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gnncomm.config import require_ranges
from gnncomm.errors import ConfigError
from gnncomm.graph.given import copied
from gnncomm.learn.actor_critic import ActorCritic
from gnncomm.learn.gradient import Means, Metrics
from gnncomm.learn.losses import LossFunction, Targets, explained_variance, masked_mean, normalised, score_loss, total
from gnncomm.learn.returns import left
from gnncomm.learn.rollout import Rollout
from gnncomm.learn.settings import ActorCriticConfig
from gnncomm.policy import CommPolicy
from gnncomm.policy.joint import JointCritic
from gnncomm.types import TeamSpec


@dataclass(frozen=True)
class COMAConfig(ActorCriticConfig):
    """COMA: a central critic of joint actions gives each agent a counterfactual baseline of its own."""

    lr: float = 5e-4
    """Learning rate."""
    lr_schedule: Literal["constant", "linear"] = "constant"
    """"linear" goes to zero at the end of training."""
    max_grad_norm: float = 10.0
    """Gradients are scaled down to this norm; 0 leaves them as they are."""
    lam: float = 0.8
    """Lambda of the returns that the critic learns."""
    shared_reward: float = 1.0
    """Share of the team mean in each agent's reward: 0 individual, 1 common."""
    normalise_returns: bool = False
    """The critic of actions learns returns as they are: no other value is accepted."""
    normalise_advantages: bool = False
    """Scale the advantages of each rollout to mean 0 and variance 1."""
    critic_hidden: int = 128
    """Width of the critic."""
    critic_steps: int = 0
    """Gradient steps of the critic for each rollout, on all of it; 0: one for each time step, the last first."""
    target_every_critic_steps: int = 200
    """Gradient steps of the critic after which the target becomes a copy of it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"critic_steps": (0, 10**6), "critic_hidden": (1, 2**16)}, "learner.")
        require_ranges(self, {"target_every_critic_steps": (1, 2**31)}, "learner.")
        if self.normalise_returns:
            raise ConfigError("learner.normalise_returns: COMA's critic learns returns as they are: set it to False.")

    @property
    def looks_at_state(self) -> bool:
        return True

    def critic(self, spec: TeamSpec) -> JointCritic:
        require_discrete(self.name, spec)
        return JointCritic(spec.num_agents, spec.obs_dim, spec.num_actions, spec.state_dim, self.critic_hidden)

    def learner(self, policy: CommPolicy, *, losses: Sequence[LossFunction] = (), **told: Any) -> COMA:
        return COMA(policy, self, losses=losses, **told)

    def suited(self, max_steps: int) -> dict[str, Any]:
        return {"num_envs": 64, "rollout": min(max_steps, 20)}


class COMA(ActorCritic[COMAConfig]):
    r"""Counterfactual multi-agent policy gradients (Foerster et al. 2018, arXiv:1705.08926).

    .. math::
        A_i = Q_i(s, u) - \sum_a \pi_i(a) Q_i(s, (a, u_{-i})), \qquad
        G_t = r_t + \gamma d_t \big( (1 - \lambda) \bar Q(s_{t+1}, u_{t+1}) + \lambda G_{t+1} \big)

    The critic Q (``JointCritic``) learns G, in which the target network :math:`\bar Q` values what was done next. Where
    the episode was cut, or the rollout ends, nobody acted next: there the value V of the state stands in, which learns
    the same returns. An end by the rules of the task has d = 0 and nothing behind it. Exploration is that of the
    policy with an entropy bonus.
    """

    Config = COMAConfig

    def _modules(self) -> Mapping[str, nn.Module]:
        critic = self.policy.critic
        if not isinstance(critic, JointCritic) or critic.with_own:
            raise ConfigError(
                f"COMA: expected a policy whose critic is a JointCritic, got {type(critic).__name__}. Name the learner "
                "in the configuration (learner='coma'), or give CommPolicy one."
            )
        self.critic, self.target = critic, copied("COMA", critic).requires_grad_(False)
        return {**super()._modules(), "target": self.target}

    def _improve(self, rollout: Rollout) -> Metrics:
        means, counts = Means(), rollout.timestep.alive
        played, targets = self._prepared(rollout)
        return_TBN, steps = self._returns(rollout), self.config.critic_steps
        every = list(reversed(range(len(counts)))) if not steps else [slice(None)] * steps
        for part in every:
            timestep = rollout.timestep.map(lambda value, part=part: value[part])  # type: ignore[misc]
            taken = _taken(self.critic.q(timestep, self.critic.one_hot(rollout.action[part])), rollout.action[part])
            loss = masked_mean((taken - return_TBN[part]).square(), counts[part])
            means.add({"critic_loss": loss, "critic_grad_norm": self._step(loss)})
        self._follow(len(every))
        evaluation = self.policy.unroll(played.timestep, played.action, played.state, played.choice)
        terms = self._losses(evaluation, played, targets)
        means.add({name: term.value for name, term in terms.items()})
        means.add({"grad_norm": self._step(total(terms), self._resting(0, 1))})
        return means.tensors() | self._team_rewards(rollout) | {"explained_variance": targets.explained}

    @torch.no_grad()
    def _targets(self, rollout: Rollout) -> Targets:
        alive = rollout.timestep.alive
        now = self.policy.unroll(rollout.timestep, rollout.action, rollout.state, rollout.choice)
        q = self.critic.q(rollout.timestep, self.critic.one_hot(rollout.action))
        advantage = counterfactual(q, now.logits.softmax(-1), rollout.action)
        if self.config.normalise_advantages:
            advantage = normalised(advantage, alive)
        return_TBN = self._returns(rollout)
        explained = explained_variance(_taken(q, rollout.action), return_TBN, alive)
        return Targets(advantage, self._choice_advantage(rollout, return_TBN), return_TBN, explained)

    @torch.no_grad()
    def _returns(self, rollout: Rollout) -> Tensor:
        """G, ``[T, B, N]``."""
        stream, alive = self._stream(rollout), rollout.timestep.alive
        q = _taken(self.target.q(rollout.timestep, self.critic.one_hot(rollout.action)), rollout.action)
        q = torch.where(alive, q, 0.0)
        unseen = left(rollout.done, alive)[:-1]
        next_q = torch.cat([torch.where(unseen, stream.next_value[:-1], q[1:]), stream.next_value[-1:]])
        return q + self._advantage(stream._replace(value=q, next_value=next_q), rollout)

    def _policy_loss(self, log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
        return score_loss(log_prob, advantage, mask)

    @torch.no_grad()
    def _follow(self, taken: int) -> None:
        """After ``taken`` more steps of the critic, as many as after every update."""
        every, before = self.config.target_every_critic_steps, self.number * taken
        now = torch.as_tensor((before + taken) // every > before // every, device=self.critic.agent.device)
        theirs = self.critic.state_dict()
        for name, value in self.target.state_dict().items():
            value.copy_(torch.where(now, theirs[name], value))


def counterfactual(q: Tensor, policy: Tensor, action: Tensor) -> Tensor:
    r"""``[..., N]``: :math:`Q(u) - \sum_a \pi(a) Q(a)`, of values and probabilities ``[..., N, A]``."""
    return _taken(q, action) - (policy * q).sum(-1)


def require_discrete(name: str, spec: TeamSpec) -> None:
    """Refuse actions that are numbers within bounds."""
    if spec.box is not None:
        raise ConfigError(
            f"learner: {name} judges one of A actions, but those of this environment are numbers within bounds: "
            "expected another learner, for instance ppo."
        )


def _taken(q: Tensor, action: Tensor) -> Tensor:
    return q.gather(-1, action.unsqueeze(-1)).squeeze(-1)
