"""Proximal policy optimisation for teams: IPPO with a local critic, MAPPO with a central one."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gnncomm import random
from gnncomm.config import require_ranges, require_types
from gnncomm.errors import ConfigError, NonFiniteError
from gnncomm.learn.learner import Experience, Groups, LearnerConfig, adam_slots, restore_adam
from gnncomm.learn.losses import (
    LossFunction,
    Targets,
    Term,
    choice_terms,
    contributions,
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
class PPOConfig(LearnerConfig):
    """Settings of PPO."""

    lr: float = 1e-3
    """Learning rate of Adam."""
    lr_schedule: Literal["constant", "linear"] = "linear"
    """"linear" goes to zero at the end of training."""
    gamma: float = 0.99
    """Discount per step."""
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
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this norm."""
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
        require_types(self, "learner.")
        unit = {"gamma": self.gamma, "lam": self.lam, "shared_reward": self.shared_reward}
        for name, value in unit.items():
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"learner.{name} must be within [0, 1], got {value}.")
        positive = {"lr": self.lr, "clip": self.clip, "max_grad_norm": self.max_grad_norm}
        for name, value in positive.items():
            if not 0.0 < value < float("inf"):
                raise ConfigError(f"learner.{name} must be a positive finite number, got {value}.")
        for name, value in {
            "entropy": self.entropy,
            "entropy_end": self.entropy_end,
            "value_coef": self.value_coef,
        }.items():
            if not 0.0 <= value < float("inf"):
                raise ConfigError(f"learner.{name} must be a finite number >= 0, got {value}.")
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


class PPO:
    """The ``Learner`` of IPPO and MAPPO.

    Args:
        policy: what is trained, in place.
        config: settings.
        total_updates: how many updates a training has, for the schedules.
        seed: names the stream of minibatch permutations, a pure function of (seed, update, epoch).
        length: T, steps of a rollout.
        losses: further terms of the loss, see ``LossFunction``; those that are modules are trained along and saved.
            Parts of the policy add theirs by themselves, see ``Contributor``.
    """

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
        config = PPOConfig() if config is None else config
        self.experience = Experience(length)
        self.policy, self.config, self.total_updates, self.seed = policy, config, total_updates, seed
        device = next(policy.parameters()).device
        self.return_norm = ReturnNorm().to(device)
        self.losses = nn.ModuleList(loss for loss in losses if isinstance(loss, nn.Module)).to(device)
        self.extra = tuple(losses)
        self._others = (*contributions(policy), *losses)
        self._trained = list(dict.fromkeys([*policy.parameters(), *self.losses.parameters()]))
        self.optimizer = torch.optim.Adam(self._trained, lr=config.lr, eps=1e-5, fused=True)
        self.updates = 0
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

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Improve the policy by one rollout. Rows of dead agents may hold anything; they are never read.

        Raises:
            NonFiniteError: what a living agent got or thought (names step, environment and agent), the loss, or the
                gradient is not finite. Parameters, optimiser and normaliser are then those from before the update.
        """
        rollout.require_finite()
        modules = (self.policy, self.return_norm, self.losses)
        before = copy.deepcopy([module.state_dict() for module in modules])
        optimizer_before = copy.deepcopy(self.optimizer.state_dict())
        try:
            return self._improve(rollout)
        except NonFiniteError:
            for module, state in zip(modules, before, strict=True):
                module.load_state_dict(state)
            self.optimizer.load_state_dict(optimizer_before)
            raise

    def state(self) -> tuple[Groups, dict[str, Any]]:
        """Adam's moments, the running moments of the returns, and weights of losses that have some."""
        groups = {"optimizer": adam_slots(self.optimizer), "returns": dict(self.return_norm.state_dict())}
        if len(self.losses):
            groups["losses"] = dict(self.losses.state_dict())
        return groups, {"updates": self.updates}

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]], counters: Mapping[str, Any]) -> None:
        """Continue from what ``state`` gave."""
        self.return_norm.load_state_dict(dict(groups["returns"]))
        if len(self.losses):
            self.losses.load_state_dict(dict(groups["losses"]))
        restore_adam(self.optimizer, groups["optimizer"])
        self.updates = int(counters["updates"])

    def _improve(self, rollout: Rollout) -> dict[str, float]:
        config = self.config
        self._set_lr()
        targets = self._targets(rollout)
        sums: dict[str, float] = {}
        num_envs = rollout.done.shape[1]
        for epoch in range(config.epochs):
            draw = random.bits(self.seed, self.updates, epoch, torch.arange(num_envs, device=rollout.done.device))
            for chunk in draw.argsort().tensor_split(min(config.minibatches, num_envs)):
                mine = rollout.environments(chunk)
                evaluation = self.policy.unroll(mine.timestep, mine.action, mine.state, mine.choice)
                terms = self._losses(evaluation, mine, targets.select(chunk, dim=1))
                seen = {name: term.value for name, term in terms.items()} | drift(evaluation, mine, config.clip)
                seen["grad_norm"] = self._step(total(terms), self._resting(epoch))
                for name, value in seen.items():
                    sums[name] = sums.get(name, 0.0) + float(value.detach())
        self.updates += 1
        count = config.epochs * min(config.minibatches, num_envs)
        means = {name: summed / count for name, summed in sums.items()} | self._team_rewards(rollout)
        return means | {"explained_variance": targets.explained, "lr": self.optimizer.param_groups[0]["lr"]}

    def _team_rewards(self, rollout: Rollout) -> dict[str, float]:
        """Mean reward of a step for each team, where there are several: the mean of all says nothing of opponents."""
        teams = self.policy.teams
        if teams is None:
            return {}
        share_TBN = team_share(rollout.reward, rollout.paid, teams.index)
        return {f"reward_{name}": float(share_TBN[..., teams.first(name)].mean()) for name in teams.names}

    def _targets(self, rollout: Rollout) -> Targets:
        config, alive_TBN = self.config, rollout.timestep.alive
        share = config.shared_reward
        # The dead leave here: their rows are zero from now on, whatever they were.
        read = (rollout.reward, rollout.value, rollout.discount)
        reward_TBN, value_TBN, discount_TBN = (torch.where(alive_TBN, x, 0.0) for x in read)
        next_value_TBN = torch.where(discount_TBN != 0, rollout.next_value, 0.0)
        team = None if self.policy.teams is None else self.policy.teams.index
        reward_TBN = (1 - share) * reward_TBN + share * team_share(rollout.reward, rollout.paid, team)
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
            self.return_norm.update(return_TBN[alive_TBN])
            target_TBN = self.return_norm.normalise(return_TBN)
        if config.normalise_advantages:
            advantage_TBN = normalised(advantage_TBN, alive_TBN)
            choice_advantage = normalised(choice_advantage, alive_TBN.unsqueeze(-1).expand_as(choice_advantage))
        return Targets(advantage_TBN, choice_advantage, target_TBN, explained)

    def _losses(self, now: Evaluation, rollout: Rollout, targets: Targets) -> dict[str, Term]:
        config, mask = self.config, rollout.timestep.alive
        clip, value_clip = config.clip, config.clip if config.value_clip else None
        entropy = config.entropy + (config.entropy_end - config.entropy) * min(self._progress, 1.0)
        own = {
            "policy_loss": Term(policy_loss(now.log_prob, rollout.log_prob, targets.advantage, mask, clip)),
            "value_loss": Term(
                value_loss(now.value, rollout.value, targets.value, mask, value_clip), config.value_coef
            ),
            "entropy": Term(masked_mean(now.entropy, mask), -entropy),
            "wire_cost": Term(masked_mean(now.cost, mask)),
        }
        choices = choice_terms(now, rollout, targets, clip, value_clip, config.value_coef)
        return joined([own, choices, *(loss(now, rollout) for loss in self._others)])

    def _resting(self, epoch: int) -> list[torch.nn.Parameter]:
        """What this pass over a rollout leaves alone."""
        every = self.config.graph_every
        if not every:
            return []
        graph_turn = (self.updates * self.config.epochs + epoch) % every == every - 1
        return [parameter for parameter in self._trained if (id(parameter) in self._graph) != graph_turn]

    def _step(self, loss: Tensor, resting: list[torch.nn.Parameter]) -> Tensor:
        self.optimizer.zero_grad()
        loss.backward()
        for parameter in resting:
            parameter.grad = None  # Adam passes over it, moments included
        norm = torch.nn.utils.clip_grad_norm_(self._trained, self.config.max_grad_norm)
        if not bool(loss.isfinite() & norm.isfinite()):
            named = [*self.policy.named_parameters(), *self.losses.named_parameters("losses")]
            broken = [name for name, p in named if p.grad is not None and not p.grad.isfinite().all()]
            self.optimizer.zero_grad()
            raise NonFiniteError(
                f"Update {self.updates}: expected a finite loss and gradient, got loss {float(loss.detach()):g}, "
                f"gradient norm {float(norm):g} (first parameter: {broken[0] if broken else 'none'}). Nothing was "
                "applied; lower the learning rate or look for the cause in rewards and observations."
            )
        self.optimizer.step()
        return norm

    @property
    def _progress(self) -> float:
        """The share of the training that is done."""
        return self.updates / max(self.total_updates, 1)

    def _set_lr(self) -> None:
        factor = max(1.0 - self._progress, 0.0) if self.config.lr_schedule == "linear" else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * factor
