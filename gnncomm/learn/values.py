"""What learners of values share: mixers, exploration, whose reward a value is of, and lambda returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from gnncomm.config import require_ranges
from gnncomm.errors import ConfigError
from gnncomm.learn.gradient import GradientLearner
from gnncomm.learn.losses import LossFunction
from gnncomm.learn.returns import gae, team_share
from gnncomm.learn.rollout import Rollout
from gnncomm.learn.settings import GradientConfig
from gnncomm.policy import Actions, CommPolicy, EpsilonGreedy, Evaluation, Mixer, NoMixer
from gnncomm.policy.names import MIXERS
from gnncomm.types import TeamSpec

STATELESS = ("none", "vdn")
"""Mixers that look at nothing but the values of the agents."""


@dataclass(frozen=True)
class ValueConfig(GradientConfig):
    """Settings that all learners of values have."""

    UNIT: ClassVar[tuple[str, ...]] = ("gamma", "epsilon", "epsilon_end", "shared_reward")

    mixer: str = "none"
    """Makes the value of the team of those of its agents: none, vdn, qmix, qplex or graph; qmix:embed=16."""
    epsilon: float = 1.0
    """How often an agent explores at the beginning."""
    epsilon_end: float = 0.05
    """And at the end of the exploration; linear in between."""
    epsilon_steps: int = 50_000
    """Environment steps, over all environments, in which it falls."""
    shared_reward: float = 1.0
    """Without a mixer: share of the team mean in each agent's reward, 0 individual, 1 common. With one it is common."""
    layer_norm: bool = False
    """Whether encoders normalise what enters their ReLU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"epsilon_steps": (1, 2**53)}, "learner.")

    @property
    def looks_at_state(self) -> bool:
        return self.mixer.partition(":")[0] not in STATELESS

    def actions(self, spec: TeamSpec) -> Actions:
        if spec.box is not None:
            raise ConfigError(
                f"learner: {self.name} learns a value for each of A actions, but those of this environment are numbers "
                "within bounds: expected another learner, for instance ppo."
            )
        return EpsilonGreedy(spec.num_actions, self.epsilon)

    def critic(self, spec: TeamSpec) -> Mixer:
        sizes = {name: getattr(spec, name) for name in ("num_agents", "obs_dim", "num_actions", "state_dim")}
        mixer: Mixer = MIXERS.resolve(self.mixer, **sizes)
        return mixer

    def for_encoder(self) -> dict[str, Any]:
        return {"layer_norm": self.layer_norm}


V = TypeVar("V", bound=ValueConfig)


class ValueLearner(GradientLearner[V]):
    """A learner of :math:`Q_i(o_i, a)`, the ``logits`` of a policy whose actions are ``EpsilonGreedy``.

    The mixer is the critic of the policy, so that ``value`` and ``next_value`` of a rollout are the values of the best
    actions, mixed: those of the team, in the row of each of its agents, or those of each agent where nothing is mixed.
    """

    actions: EpsilonGreedy
    mixer: Mixer

    def __init__(
        self,
        policy: CommPolicy,
        config: V | None = None,
        total_updates: int = 1,
        seed: int = 0,
        *,
        length: int = 20,
        losses: Sequence[LossFunction] = (),
    ) -> None:
        if not (isinstance(policy.actions, EpsilonGreedy) and isinstance(policy.critic, Mixer)):
            raise ConfigError(
                f"{type(self).__name__} learns values: expected a policy with EpsilonGreedy actions and a Mixer as "
                f"critic, got {type(policy.actions).__name__} and {type(policy.critic).__name__}. Name the learner in "
                "the configuration (learner=...), or give CommPolicy both."
            )
        self.actions, self.mixer = policy.actions, policy.critic
        self.alone = isinstance(policy.critic, NoMixer)
        """Whether each agent learns for itself."""
        if policy.teams is not None and not self.alone:
            raise ConfigError(
                f"learner.mixer: expected one team, whose values are mixed, got {list(policy.teams.names)}: set it to "
                "none."
            )
        super().__init__(policy, config, total_updates, seed, length=length, losses=losses)
        policy.train()  # one that was loaded would not explore
        self.actions.epsilon.fill_(self.config.epsilon)

    def _explore(self, rollout: Rollout) -> None:
        """How often the next rollout explores."""
        config, played = self.config, torch.as_tensor(self.number, dtype=torch.float64) + 1
        share = (played * rollout.done.numel() / config.epsilon_steps).clamp(max=1.0)
        self.actions.epsilon.copy_(config.epsilon + (config.epsilon_end - config.epsilon) * share)

    def _earned(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Reward and discount ``[T, B, N]`` of what the values are of.

        Alone, an agent has its own discount, and its own reward with a share of that of the team. The return of a team
        goes on until its episode terminates, whoever dies.
        """
        teams = self.policy.teams
        shared = team_share(rollout.reward, rollout.paid, None if teams is None else teams.index)
        alive, share = rollout.timestep.alive, self.config.shared_reward
        discount = torch.where(alive, rollout.discount, 0.0)
        if self.alone:
            own = (1 - share) * torch.where(alive, rollout.reward, 0.0) + share * shared
            return torch.where(alive, own, 0.0), discount
        goes_on = ~rollout.done | (discount != 0).any(-1)
        return shared, goes_on.unsqueeze(-1).to(discount).expand_as(discount)

    def _counts(self, alive: Tensor) -> Tensor:
        """``[T, B, N]``: whose values are fitted."""
        return alive if self.alone else torch.ones_like(alive)

    def _of_actions(self, now: Evaluation, rollout: Rollout) -> Tensor:
        """``[T, B, N]``: values of the actions taken, mixed."""
        best = now.logits.amax(-1)
        q = now.logits.gather(-1, rollout.action.unsqueeze(-1)).squeeze(-1)
        mixed: Tensor = self.mixer(q, best, rollout.action, rollout.timestep, now.heard)
        return mixed

    def _next_value(self, value: Tensor, rollout: Rollout) -> Tensor:
        """``[T, B, N]``: the values of the best actions after each step, from ``value`` before it.

        Where an episode was cut, and after the last step, as the policy that played them said: nobody else saw them.
        """
        said, lives = rollout.next_value, rollout.timestep.alive & (rollout.discount != 0)
        alive = rollout.timestep.alive
        left = rollout.done.unsqueeze(-1).expand_as(alive)
        if self.alone:
            left = left.clone()
            left[:-1] |= ~alive[1:]
        else:  # one number, in the rows of all who live on
            of_team = torch.where(lives, said, -torch.inf).amax(-1, keepdim=True)
            said = torch.where(lives.any(-1, keepdim=True), of_team, said[..., :1]).expand_as(said)
        return torch.cat([torch.where(left[:-1], said[:-1], value[1:]), said[-1:]])


def lambda_returns(
    reward: Tensor, value: Tensor, next_value: Tensor, discount: Tensor, done: Tensor, gamma: float, lam: float
) -> Tensor:
    r"""Returns of the greedy policy, ``[T, B, N]`` (Peng's Q(lambda); Gallici et al. 2025, section 4).

    .. math:: G_t = r_t + \gamma d_t ((1 - \lambda) V_{t+1} + \lambda G_{t+1})

    with :math:`V_{t+1}` alone where the episode ended with the step, or the rollout. Arguments as for ``gae``, of which
    this is the other half: :math:`G_t = V_t + A_t`.
    """
    return value + gae(reward, value, next_value, discount, done, gamma, lam)
