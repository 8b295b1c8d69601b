"""What PPO and A2C share: rewards, returns and advantages of a rollout, and the terms of their losses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from gnncomm.errors import ConfigError
from gnncomm.learn import credit
from gnncomm.learn.gradient import GradientLearner, Metrics
from gnncomm.learn.learner import Experience
from gnncomm.learn.losses import (
    LossFunction,
    Targets,
    Term,
    choice_terms,
    explained_variance,
    joined,
    masked_mean,
    normalised,
    value_loss,
)
from gnncomm.learn.returns import ReturnNorm, Stream, after_death, gae, left, team_share
from gnncomm.learn.rollout import Rollout, parted, require_divisor
from gnncomm.learn.settings import ActorCriticConfig
from gnncomm.policy import CommPolicy, Evaluation

A = TypeVar("A", bound=ActorCriticConfig)


class ActorCritic(GradientLearner[A]):
    """Targets and loss terms; a subclass says how the policy is improved by an advantage, and in which steps."""

    def __init__(
        self,
        policy: CommPolicy,
        config: A | None = None,
        total_updates: int = 1,
        seed: int = 0,
        *,
        length: int = 20,
        losses: Sequence[LossFunction] = (),
    ) -> None:
        super().__init__(policy, config, total_updates, seed, length=length, losses=losses)
        config = self.config
        require_divisor("chunk", config.chunk, length)
        counterfactual = config.choice_credit == "counterfactual"
        if counterfactual:
            credit.require_credit(policy)
        self.experience = Experience(length, chunk=1 if counterfactual else config.chunk)
        if config.team_reward_after_death and policy.teams is not None:
            raise ConfigError(
                f"learner.team_reward_after_death: expected one team, got {list(policy.teams.names)}: set it to False."
            )
        self._graph = {id(parameter) for parameter in policy.scheduler.graph_parameters()}
        if config.graph_every and not self._graph:
            raise ConfigError(
                f"learner.graph_every={config.graph_every} trains a learned graph in passes of its own, but the "
                f"scheduler {type(policy.scheduler).__name__} has none: expected LearnedStatic, or 0."
            )

    def _modules(self) -> Mapping[str, nn.Module]:
        self.return_norm = ReturnNorm(self.config.norm_rate)
        return {"returns": self.return_norm}

    def _schedules(self) -> Mapping[str, float]:
        first, last = self.config.entropy, self.config.entropy_end
        return {"entropy": -(first + (last - first) * min(self._progress, 1.0))}

    @abstractmethod
    def _policy_loss(self, log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
        """A scalar: goes down as what has an advantage gets likelier."""

    def _value_loss(self, value: Tensor, old_value: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return value_loss(value, old_value, target, mask, None, self.config.huber)

    def _prepared(self, rollout: Rollout) -> tuple[Rollout, Targets]:
        """What is learned from, in chunks where they are asked for, and its targets, of the whole."""
        targets = self._targets(rollout)
        chunk = self.config.chunk
        if not chunk:
            return rollout, targets
        if rollout.starts is not None and self.experience.chunk != chunk:
            every = torch.arange(0, len(rollout.done), chunk, device=rollout.done.device)
            rollout = replace(rollout, starts=rollout.starts.select(every))
        count = len(rollout.done) // chunk
        return rollout.chunks(), targets.map(lambda value: parted(value, count) if value.dim() else value)

    def _team_rewards(self, rollout: Rollout) -> Metrics:
        """Mean reward of a step for each team, where there are several: the mean of all says nothing of opponents."""
        teams = self.policy.teams
        if teams is None:
            return {}
        share_TBN = team_share(rollout.reward, rollout.paid, teams.index, len(teams.names))
        return {f"reward_{name}": share_TBN[..., teams.first(name)].mean() for name in teams.names}

    def _stream(self, rollout: Rollout) -> Stream:
        """Rewards as they are shared, and values as returns; the dead leave here: their rows are zero from now on."""
        config, alive_TBN = self.config, rollout.timestep.alive
        share = config.shared_reward
        read = (rollout.reward, rollout.value, rollout.discount)
        reward_TBN, value_TBN, discount_TBN = (torch.where(alive_TBN, x, 0.0) for x in read)
        next_value_TBN = torch.where(discount_TBN != 0, rollout.next_value, 0.0)
        teams = self.policy.teams
        team = (None,) if teams is None else (teams.index, len(teams.names))
        reward_TBN = (1 - share) * reward_TBN + share * team_share(rollout.reward, rollout.paid, *team)
        if config.normalise_returns:
            value_TBN, next_value_TBN = self.return_norm.restore(value_TBN), self.return_norm.restore(next_value_TBN)
        return Stream(reward_TBN, value_TBN, next_value_TBN, discount_TBN, rollout.done)

    def _advantage(self, stream: Stream, rollout: Rollout) -> Tensor:
        """``[T, B, N]``, of what ``stream`` values."""
        config, timestep = self.config, rollout.timestep
        if config.team_reward_after_death:
            stream = after_death(stream, timestep.alive, timestep.entered, config.shared_reward)
        else:  # an agent that was cut while others go on is bootstrapped, and not paid for what they do
            stream = stream._replace(done=left(rollout.done, timestep.alive))
        return gae(*stream, config.gamma, config.lam)

    def _targets(self, rollout: Rollout) -> Targets:
        config, alive_TBN, stream = self.config, rollout.timestep.alive, self._stream(rollout)
        advantage_TBN = self._advantage(stream, rollout)
        # The return of a step holds no value of that step, so it is right for every decision that was made in it.
        return_TBN = advantage_TBN + stream.value
        choice_advantage = self._choice_advantage(rollout, return_TBN)
        explained = explained_variance(stream.value, return_TBN, alive_TBN)
        target_TBN = return_TBN
        if config.normalise_returns and config.norm_every == "rollout":
            target_TBN = self._normalised(return_TBN, alive_TBN)
        if config.normalise_advantages:
            advantage_TBN = normalised(advantage_TBN, alive_TBN)
        return Targets(advantage_TBN, choice_advantage, target_TBN, explained)

    def _choice_advantage(self, rollout: Rollout, return_TBN: Tensor) -> Tensor:
        config, alive_TBN1 = self.config, rollout.timestep.alive.unsqueeze(-1)
        by_return = config.choice_credit == "return"
        if by_return:
            baseline = torch.where(alive_TBN1, rollout.baseline, 0.0)
            baseline = self.return_norm.restore(baseline) if config.normalise_returns else baseline
            found = return_TBN.unsqueeze(-1) - baseline
        else:
            found = credit.of_messages(self.policy, rollout)
        if not config.normalise_advantages:
            return found
        return normalised(found, alive_TBN1.expand_as(found), by_return)  # 0 for whoever is silent stays 0

    def _normalised(self, return_TBN: Tensor, mask_TBN: Tensor) -> Tensor:
        self.return_norm.update(return_TBN, mask_TBN)
        return self.return_norm.normalise(return_TBN)

    def _losses(self, now: Evaluation, rollout: Rollout, targets: Targets) -> dict[str, Term]:
        config, mask = self.config, rollout.timestep.alive
        if config.normalise_returns and config.norm_every == "minibatch":
            targets = replace(targets, value=self._normalised(targets.value, mask))
        own = {
            "policy_loss": Term(self._policy_loss(now.log_prob, rollout.log_prob, targets.advantage, mask)),
            "value_loss": Term(self._value_loss(now.value, rollout.value, targets.value, mask), config.value_coef),
            "entropy": Term(masked_mean(now.entropy, mask), self.scheduled["entropy"]),
            "wire_cost": Term(masked_mean(now.cost, mask)),
        }
        choices = choice_terms(now, rollout, targets, self._policy_loss, self._value_loss, config.value_coef)
        return joined([own, choices, *(loss(now, rollout) for loss in self._others)])

    def _resting(self, epoch: int, epochs: int) -> list[nn.Parameter]:
        """What this pass over a rollout leaves alone."""
        every = self.config.graph_every
        if not every:
            return []
        graph_turn = (self.number * epochs + epoch) % every == every - 1
        return [parameter for parameter in self._trained if (id(parameter) in self._graph) != graph_turn]
