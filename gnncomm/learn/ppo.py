"""Proximal policy optimisation for teams: IPPO with a local critic, MAPPO with a central one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gnncomm.config import require_ranges
from gnncomm.errors import ConfigError
from gnncomm.learn.gradient import GradientConfig, GradientLearner, Means, Metrics
from gnncomm.learn.losses import (
    LossFunction,
    Targets,
    Term,
    choice_terms,
    drift,
    explained_variance,
    joined,
    masked_mean,
    normalised,
    policy_loss,
    total,
    value_loss,
)
from gnncomm.learn.returns import ReturnNorm, Stream, after_death, gae, team_share
from gnncomm.learn.rollout import Rollout
from gnncomm.policy import CommPolicy, Evaluation


@dataclass(frozen=True)
class PPOConfig(GradientConfig):
    """Settings of PPO."""

    UNIT: ClassVar[tuple[str, ...]] = ("gamma", "lam", "shared_reward")
    POSITIVE: ClassVar[tuple[str, ...]] = ("lr", "eps", "clip")
    NOT_NEGATIVE: ClassVar[tuple[str, ...]] = ("max_grad_norm", "entropy", "entropy_end", "value_coef")

    lam: float = 0.95
    """Lambda of generalised advantage estimation."""
    clip: float = 0.2
    """Clipping range of the probability ratio, and of the value around the old one."""
    epochs: int = 4
    """Passes over a rollout."""
    minibatches: int = 4
    """Minibatches per pass; each is a set of environments."""
    entropy: float = 0.01
    """Weight of the entropy bonus at the beginning."""
    entropy_end: float = 0.001
    """Weight of the entropy bonus at the end; linear in between."""
    value_coef: float = 0.5
    """Weight of the value loss."""
    value_clip: bool = True
    """Clip the change of the value (Schulman et al. 2017 released code)."""
    shared_reward: float = 0.5
    """Share of the team mean in each agent's reward: 0 individual, 1 common."""
    team_reward_after_death: bool = False
    """Whether an agent that died goes on receiving that share until the episode ends, as sacrifice needs."""
    normalise_returns: bool = True
    """Train the critic on returns of running mean 0 and variance 1."""
    normalise_advantages: bool = True
    """Scale the advantages of each rollout to mean 0 and variance 1."""
    graph_every: int = 0
    """Every n-th pass over a rollout trains the learned graph alone, the others the rest; 0 trains all together."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ranges(self, {"graph_every": (0, 10**6), "epochs": (1, 10**6), "minibatches": (1, 2**24)}, "learner.")

    def learner(self, policy: CommPolicy, *, losses: Sequence[LossFunction] = (), **told: Any) -> PPO:
        return PPO(policy, self, losses=losses, **told)

    def at_once(self, rows: int) -> int:
        return rows // self.minibatches

    def require_fit(self, num_envs: int) -> None:
        if self.minibatches > num_envs:
            raise ConfigError(
                f"learner.minibatches={self.minibatches} is more than num_envs={num_envs}: a minibatch is a set of "
                "environments."
            )


class PPO(GradientLearner[PPOConfig]):
    """The ``Learner`` of IPPO and MAPPO."""

    Config = PPOConfig

    def __init__(
        self,
        policy: CommPolicy,
        config: PPOConfig | None = None,
        total_updates: int = 1,
        seed: int = 0,
        *,
        length: int = 20,
        losses: Sequence[LossFunction] = (),
    ) -> None:
        super().__init__(policy, config, total_updates, seed, length=length, losses=losses)
        if self.config.team_reward_after_death and policy.teams is not None:
            raise ConfigError(
                f"learner.team_reward_after_death: expected one team, got {list(policy.teams.names)}: set it to False."
            )
        self._graph = {id(parameter) for parameter in policy.scheduler.graph_parameters()}
        if self.config.graph_every and not self._graph:
            raise ConfigError(
                f"learner.graph_every={self.config.graph_every} trains a learned graph in passes of its own, but the "
                f"scheduler {type(policy.scheduler).__name__} has none: expected LearnedStatic, or 0."
            )

    def _modules(self) -> Mapping[str, nn.Module]:
        self.return_norm = ReturnNorm()
        return {"returns": self.return_norm}

    def _schedules(self) -> dict[str, float]:
        first, last = self.config.entropy, self.config.entropy_end
        return {"entropy": -(first + (last - first) * min(self._progress, 1.0))}

    def _improve(self, rollout: Rollout) -> Metrics:
        config, means = self.config, Means()
        targets = self._targets(rollout)
        for epoch, chunk in self._minibatches(rollout, config.epochs, config.minibatches):
            mine = rollout.environments(chunk)
            evaluation = self.policy.unroll(mine.timestep, mine.action, mine.state, mine.choice)
            terms = self._losses(evaluation, mine, targets.select(chunk, dim=1))
            means.add({name: term.value for name, term in terms.items()} | drift(evaluation, mine, config.clip))
            means.add({"grad_norm": self._step(total(terms), self._resting(epoch))})
        return means.tensors() | self._team_rewards(rollout) | {"explained_variance": targets.explained}

    def _team_rewards(self, rollout: Rollout) -> dict[str, Tensor]:
        """Mean reward of a step for each team, where there are several: the mean of all says nothing of opponents."""
        teams = self.policy.teams
        if teams is None:
            return {}
        share_TBN = team_share(rollout.reward, rollout.paid, teams.index, len(teams.names))
        return {f"reward_{name}": share_TBN[..., teams.first(name)].mean() for name in teams.names}

    def _targets(self, rollout: Rollout) -> Targets:
        config, alive_TBN = self.config, rollout.timestep.alive
        share = config.shared_reward
        # The dead leave here: their rows are zero from now on, whatever they were.
        read = (rollout.reward, rollout.value, rollout.discount)
        reward_TBN, value_TBN, discount_TBN = (torch.where(alive_TBN, x, 0.0) for x in read)
        next_value_TBN = torch.where(discount_TBN != 0, rollout.next_value, 0.0)
        teams = self.policy.teams
        team = (None,) if teams is None else (teams.index, len(teams.names))
        reward_TBN = (1 - share) * reward_TBN + share * team_share(rollout.reward, rollout.paid, *team)
        baseline = torch.where(alive_TBN.unsqueeze(-1), rollout.baseline, 0.0)
        if config.normalise_returns:
            restore = self.return_norm.restore
            value_TBN, next_value_TBN, baseline = restore(value_TBN), restore(next_value_TBN), restore(baseline)
        stream = Stream(reward_TBN, value_TBN, next_value_TBN, discount_TBN, rollout.done)
        if config.team_reward_after_death:
            stream = after_death(stream, alive_TBN, rollout.timestep.entered, share)
        advantage_TBN = gae(*stream, config.gamma, config.lam)
        # The return of a step holds no value of that step, so it is right for every decision that was made in it.
        return_TBN = advantage_TBN + value_TBN
        choice_advantage = return_TBN.unsqueeze(-1) - baseline
        explained = explained_variance(value_TBN, return_TBN, alive_TBN)
        target_TBN = return_TBN
        if config.normalise_returns:
            self.return_norm.update(return_TBN, alive_TBN)
            target_TBN = self.return_norm.normalise(return_TBN)
        if config.normalise_advantages:
            advantage_TBN = normalised(advantage_TBN, alive_TBN)
            choice_advantage = normalised(choice_advantage, alive_TBN.unsqueeze(-1).expand_as(choice_advantage))
        return Targets(advantage_TBN, choice_advantage, target_TBN, explained)

    def _losses(self, now: Evaluation, rollout: Rollout, targets: Targets) -> dict[str, Term]:
        config, mask = self.config, rollout.timestep.alive
        clip, value_clip = config.clip, config.clip if config.value_clip else None
        own = {
            "policy_loss": Term(policy_loss(now.log_prob, rollout.log_prob, targets.advantage, mask, clip)),
            "value_loss": Term(
                value_loss(now.value, rollout.value, targets.value, mask, value_clip), config.value_coef
            ),
            "entropy": Term(masked_mean(now.entropy, mask), self.scheduled["entropy"]),
            "wire_cost": Term(masked_mean(now.cost, mask)),
        }
        choices = choice_terms(now, rollout, targets, clip, value_clip, config.value_coef)
        return joined([own, choices, *(loss(now, rollout) for loss in self._others)])

    def _resting(self, epoch: int) -> list[torch.nn.Parameter]:
        """What this pass over a rollout leaves alone."""
        every = self.config.graph_every
        if not every:
            return []
        graph_turn = (self.number * self.config.epochs + epoch) % every == every - 1
        return [parameter for parameter in self._trained if (id(parameter) in self._graph) != graph_turn]
