"""Proximal policy optimisation for teams: IPPO with a local critic, MAPPO with a central one."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError, NonFiniteError
from gnncomm.learn.returns import ReturnNorm, Stream, after_death, gae, team_share
from gnncomm.learn.rollout import Rollout
from gnncomm.learn.settings import require_ranges, require_types
from gnncomm.policy import CommPolicy, Evaluation
from gnncomm.shapes import Bool, Float
from gnncomm.types import Batch


@dataclass(frozen=True)
class PPOConfig:
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
    """Share of the mean of its own team in each agent's reward: 0 individual, 1 common."""
    team_reward_after_death: bool = False
    """Whether an agent that died goes on receiving that share until the episode ends, as sacrifice needs."""
    normalise_returns: bool = True
    """Train the critic on returns of running mean 0 and variance 1."""
    normalise_advantages: bool = True
    """Scale the advantages of each rollout to mean 0 and variance 1."""
    graph_every: int = 0
    """Every n-th pass over a rollout trains the learned graph alone, the others the rest; 0 trains all together."""

    def __post_init__(self) -> None:
        require_types(self, "ppo.")
        unit = {"gamma": self.gamma, "lam": self.lam, "shared_reward": self.shared_reward}
        for name, value in unit.items():
            if not 0.0 <= value <= 1.0:
                raise ConfigError(f"ppo.{name} must be within [0, 1], got {value}.")
        positive = {"lr": self.lr, "clip": self.clip, "max_grad_norm": self.max_grad_norm}
        for name, value in positive.items():
            if not 0.0 < value < float("inf"):
                raise ConfigError(f"ppo.{name} must be a positive finite number, got {value}.")
        for name, value in {
            "entropy": self.entropy,
            "entropy_end": self.entropy_end,
            "value_coef": self.value_coef,
        }.items():
            if not 0.0 <= value < float("inf"):
                raise ConfigError(f"ppo.{name} must be a finite number >= 0, got {value}.")
        require_ranges(self, {"graph_every": (0, 10**6), "epochs": (1, 10**6), "minibatches": (1, 2**24)}, "ppo.")


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x where mask is True; 0 where nothing is."""
    return torch.where(mask, x, 0.0).sum() / mask.sum().clamp(min=1)


def normalised(x: Tensor, mask: Tensor) -> Tensor:
    """x of mean 0 and variance 1 where mask is True."""
    centred = x - masked_mean(x, mask)
    return centred / (masked_mean(centred.square(), mask).sqrt() + 1e-8)


def policy_loss(
    log_prob: Float[Tensor, "*any"],
    old_log_prob: Float[Tensor, "*any"],
    advantage: Float[Tensor, "*any"],
    mask: Bool[Tensor, "*any"],
    clip: float,
) -> Float[Tensor, ""]:
    r"""Clipped surrogate (Schulman et al. 2017, eq. 7), negated: :math:`-\min(\rho A, \mathrm{clip}(\rho) A)`."""
    # The ratio of the dead is 1 by choice, before exp: theirs may be anything.
    ratio = torch.where(mask, log_prob - old_log_prob, 0.0).exp()
    advantage = torch.where(mask, advantage, 0.0)
    return -masked_mean(torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage), mask)


def value_loss(
    value: Float[Tensor, "*any"],
    old_value: Float[Tensor, "*any"],
    target: Float[Tensor, "*any"],
    mask: Bool[Tensor, "*any"],
    clip: float | None,
) -> Float[Tensor, ""]:
    """Half the squared error, the larger of plain and clipped around the old value where ``clip`` is given."""
    # Chosen before the square: theirs may be anything, and 0 * nan is no gradient.
    value, old_value, target = (torch.where(mask, x, 0.0) for x in (value, old_value, target))
    error = (value - target).square()
    if clip is not None:
        near = old_value + (value - old_value).clamp(-clip, clip)
        error = torch.maximum(error, (near - target).square())
    return 0.5 * masked_mean(error, mask)


@dataclass(frozen=True)
class Targets(Batch):
    """What a rollout says of its decisions."""

    advantage: Tensor  # [T, B, N] of the actions
    choice_advantage: Tensor  # [T, B, N, K] of the scheduler's choices in each round
    value: Tensor  # [T, B, N] what critic and baselines should have said


class PPO:
    """Learner: ``update(rollout) -> metrics`` is its only verb.

    Args:
        policy: what is trained, in place.
        config: settings.
        total_updates: how many updates a training has, for the schedules.
        seed: names the stream of minibatch permutations, a pure function of (seed, update, epoch).
    """

    def __init__(self, policy: CommPolicy, config: PPOConfig, total_updates: int, seed: int = 0) -> None:
        self.policy, self.config, self.total_updates, self.seed = policy, config, total_updates, seed
        self.return_norm = ReturnNorm().to(policy.like.device)
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=config.lr, eps=1e-5, fused=True)
        self.updates = 0
        if config.team_reward_after_death and policy.teams is not None:
            raise ConfigError(
                f"ppo.team_reward_after_death: expected one team, got {list(policy.teams.names)}: set it to False."
            )
        self._graph = {id(parameter) for parameter in policy.scheduler.graph_parameters()}
        if config.graph_every and not self._graph:
            raise ConfigError(
                f"ppo.graph_every={config.graph_every} trains a learned graph in passes of its own, but the scheduler "
                f"{type(policy.scheduler).__name__} has none: expected LearnedStatic, or ppo.graph_every=0."
            )

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Improve the policy by one rollout. Rows of dead agents may hold anything; they are never read.

        Raises:
            NonFiniteError: what a living agent got or thought (names step, environment and agent), the loss, or the
                gradient is not finite. Parameters, optimiser and normaliser are then those from before the update.
        """
        rollout.require_finite()
        modules = (self.policy, self.return_norm)
        before = copy.deepcopy([module.state_dict() for module in modules])
        optimizer_before = copy.deepcopy(self.optimizer.state_dict())
        try:
            return self._improve(rollout)
        except NonFiniteError:
            for module, state in zip(modules, before, strict=True):
                module.load_state_dict(state)
            self.optimizer.load_state_dict(optimizer_before)
            raise

    def _improve(self, rollout: Rollout) -> dict[str, float]:
        config = self.config
        progress = self.updates / max(self.total_updates, 1)
        self._set_lr(progress)
        entropy_coef = config.entropy + (config.entropy_end - config.entropy) * min(progress, 1.0)
        targets = self._targets(rollout)
        sums: dict[str, float] = {}
        num_envs = rollout.done.shape[1]
        for epoch in range(config.epochs):
            draw = random.bits(self.seed, self.updates, epoch, torch.arange(num_envs, device=rollout.done.device))
            for chunk in draw.argsort().tensor_split(min(config.minibatches, num_envs)):
                mine = rollout.environments(chunk)
                evaluation = self.policy.unroll(mine.timestep, mine.action, mine.state, mine.choice)
                losses = self._losses(evaluation, mine, targets.select(chunk, dim=1))
                loss = losses["policy_loss"] + config.value_coef * losses["value_loss"]
                loss = loss - entropy_coef * losses["entropy"] + losses["wire_cost"]
                if "choice_loss" in losses:
                    loss = loss + losses["choice_loss"] + config.value_coef * losses["baseline_loss"]
                losses["grad_norm"] = self._step(loss, self._resting(epoch))
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + float(value.detach())
        self.updates += 1
        count = config.epochs * min(config.minibatches, num_envs)
        means = {name: total / count for name, total in sums.items()} | self._team_rewards(rollout)
        return means | {"lr": self.optimizer.param_groups[0]["lr"]}

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
        target_TBN = return_TBN
        if config.normalise_returns:
            self.return_norm.update(return_TBN[alive_TBN])
            target_TBN = self.return_norm.normalise(return_TBN)
        if config.normalise_advantages:
            advantage_TBN = normalised(advantage_TBN, alive_TBN)
            choice_advantage = normalised(choice_advantage, alive_TBN.unsqueeze(-1).expand_as(choice_advantage))
        return Targets(advantage_TBN, choice_advantage, target_TBN)

    def _losses(self, now: Evaluation, rollout: Rollout, targets: Targets) -> dict[str, Tensor]:
        mask, clip = rollout.timestep.alive, self.config.clip
        value_clip = clip if self.config.value_clip else None
        with torch.no_grad():
            log_ratio = torch.cat(
                [(now.log_prob - rollout.log_prob).unsqueeze(-1), now.choice_log_prob - rollout.choice_log_prob], -1
            )
            log_ratio = torch.where(mask.unsqueeze(-1), log_ratio, 0.0)
            joint = log_ratio.sum(-1)
        losses = {
            "policy_loss": policy_loss(now.log_prob, rollout.log_prob, targets.advantage, mask, clip),
            "value_loss": value_loss(now.value, rollout.value, targets.value, mask, value_clip),
            "entropy": masked_mean(now.entropy, mask),
            "wire_cost": masked_mean(now.cost, mask),
            # Schulman's k3 estimator, >= 0 by construction.
            "approx_kl": masked_mean(joint.exp() - 1 - joint, mask),
            "clip_fraction": masked_mean(((log_ratio.exp() - 1).abs() > clip).float().mean(-1), mask),
        }
        if now.baseline.shape[-1]:
            losses |= _choice_losses(now, rollout, targets, clip, value_clip)
        return losses

    def _resting(self, epoch: int) -> list[torch.nn.Parameter]:
        """What this pass over a rollout leaves alone."""
        every = self.config.graph_every
        if not every:
            return []
        graph_turn = (self.updates * self.config.epochs + epoch) % every == every - 1
        return [parameter for parameter in self.policy.parameters() if (id(parameter) in self._graph) != graph_turn]

    def _step(self, loss: Tensor, resting: list[torch.nn.Parameter]) -> Tensor:
        self.optimizer.zero_grad()
        loss.backward()
        for parameter in resting:
            parameter.grad = None  # Adam passes over it, moments included
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.max_grad_norm)
        if not bool(loss.isfinite() & norm.isfinite()):
            broken = [
                name for name, p in self.policy.named_parameters() if p.grad is not None and not p.grad.isfinite().all()
            ]
            self.optimizer.zero_grad()
            raise NonFiniteError(
                f"Update {self.updates}: expected a finite loss and gradient, got loss {float(loss.detach()):g}, "
                f"gradient norm {float(norm):g} (first parameter: {broken[0] if broken else 'none'}). Nothing was "
                "applied; lower the learning rate or look for the cause in rewards and observations."
            )
        self.optimizer.step()
        return norm

    def _set_lr(self, progress: float) -> None:
        factor = max(1.0 - progress, 0.0) if self.config.lr_schedule == "linear" else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * factor


def _choice_losses(
    now: Evaluation, rollout: Rollout, targets: Targets, clip: float, value_clip: float | None
) -> dict[str, Tensor]:
    """As those of the action, with the probabilities and baselines of the scheduler's choices; summed over rounds."""
    mask, policy_losses, value_losses = rollout.timestep.alive, [], []
    for k in range(now.baseline.shape[-1]):
        log_prob, old_log_prob = now.choice_log_prob[..., k], rollout.choice_log_prob[..., k]
        policy_losses.append(policy_loss(log_prob, old_log_prob, targets.choice_advantage[..., k], mask, clip))
        baseline, old_baseline = now.baseline[..., k], rollout.baseline[..., k]
        value_losses.append(value_loss(baseline, old_baseline, targets.value, mask, value_clip))
    return {"choice_loss": torch.stack(policy_losses).sum(), "baseline_loss": torch.stack(value_losses).sum()}
