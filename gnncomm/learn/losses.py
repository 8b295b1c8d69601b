"""The loss of a training as named terms with weights; policies and users add their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from gnncomm.errors import ConfigError, ShapeError
from gnncomm.learn.returns import masked_mean as masked_mean
from gnncomm.learn.rollout import Rollout
from gnncomm.policy import Evaluation
from gnncomm.shapes import Bool, Float
from gnncomm.types import Batch


class Term(NamedTuple):
    """Adds ``weight * value`` to the loss; ``value`` is what is logged."""

    value: Tensor
    """A scalar."""
    weight: float | Tensor = 1.0
    """A finite number; a tensor without axes is one that changes with the training."""


Terms = Mapping[str, Term]

LossFunction = Callable[[Evaluation, Rollout], Terms]
"""Terms by name, from what the policy now thinks of recorded decisions and from what was recorded, ``[T, B, N]`` both.
Rows of the dead may hold anything: choose with ``rollout.timestep.alive``, see ``masked_mean``."""


@runtime_checkable
class Contributor(Protocol):
    """A part of a policy (layer, scheduler, codec, memory, encoder, ...: any of its modules) with terms of its own."""

    def training_losses(self, evaluation: Evaluation, rollout: Rollout) -> Terms:
        """As a ``LossFunction``."""
        ...


def contributions(policy: nn.Module) -> list[LossFunction]:
    """What the parts of ``policy`` add to the loss."""
    return [module.training_losses for module in policy.modules() if isinstance(module, Contributor)]


def joined(parts: Iterable[Terms]) -> dict[str, Term]:
    """All terms.

    Raises:
        ConfigError: two of one name, or a weight that is not finite. ShapeError: a value that is no scalar.
    """
    found: dict[str, Term] = {}
    for terms in parts:
        if not isinstance(terms, Mapping):
            raise ConfigError(f"loss: expected terms by name, {{'mine': Term(value)}}, got {type(terms).__name__}.")
        for name, term in terms.items():
            if name in found:
                raise ConfigError(f"loss: expected a name for each term, got two called {name!r}. Rename yours.")
            if not isinstance(term, Term) or not (isinstance(term.weight, Tensor) or math.isfinite(term.weight)):
                raise ConfigError(f"loss {name!r}: expected Term(value, a finite weight), got {str(term)[:80]}.")
            if term.value.dim():
                raise ShapeError(f"loss {name!r}: expected a scalar, got {list(term.value.shape)}. Take its mean.")
            found[name] = term
    return found


def total(terms: Terms) -> Tensor:
    """The sum of ``weight * value``, from first to last."""
    parts = [_weighed(term) for term in terms.values()]
    return sum(parts[1:], start=parts[0])


def _weighed(term: Term) -> Tensor:
    plain = not isinstance(term.weight, Tensor) and term.weight == 1.0
    return term.value if plain else term.weight * term.value


def normalised(x: Tensor, mask: Tensor, centre: bool = True) -> Tensor:
    """x of mean 0 and variance 1 where mask is True; without ``centre``, of mean square 1."""
    centred = x - masked_mean(x, mask) if centre else x
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


def score_loss(
    log_prob: Float[Tensor, "*any"], advantage: Float[Tensor, "*any"], mask: Bool[Tensor, "*any"]
) -> Float[Tensor, ""]:
    r"""The policy gradient (Williams 1992), negated: :math:`-A \log \pi`."""
    return -masked_mean(torch.where(mask, log_prob, 0.0) * torch.where(mask, advantage, 0.0), mask)


def huber(error: Tensor, delta: float) -> Tensor:
    """The squared error up to ``delta``, and the line that goes on from it: ``delta (2 |e| - delta)``; 0: no line."""
    square = error.square()
    return torch.where(error.abs() <= delta, square, delta * (2 * error.abs() - delta)) if delta else square


def value_loss(
    value: Float[Tensor, "*any"],
    old_value: Float[Tensor, "*any"],
    target: Float[Tensor, "*any"],
    mask: Bool[Tensor, "*any"],
    clip: float | None,
    delta: float = 0.0,
) -> Float[Tensor, ""]:
    """Half the error (see ``huber``), the larger of plain and clipped around the old value where ``clip`` is given."""
    # Chosen before the square: theirs may be anything, and 0 * nan is no gradient.
    value, old_value, target = (torch.where(mask, x, 0.0) for x in (value, old_value, target))
    error = huber(value - target, delta)
    if clip is not None:
        near = old_value + (value - old_value).clamp(-clip, clip)
        error = torch.maximum(error, huber(near - target, delta))
    return 0.5 * masked_mean(error, mask)


def explained_variance(value: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    r""":math:`1 - \mathrm{Var}(R - V) / \mathrm{Var}(R)` where mask is True: 1 perfect, 0 no better than the mean.

    NaN where the returns are all the same.
    """
    error, spread = (masked_mean((x - masked_mean(x, mask)).square(), mask) for x in (returns - value, returns))
    return torch.where(spread > 0, 1.0 - error / spread, torch.nan)


@dataclass(frozen=True)
class Targets(Batch):
    """What a rollout says of its decisions."""

    advantage: Tensor  # [T, B, N] of the actions
    choice_advantage: Tensor  # [T, B, N, K] of the scheduler's choices in each round
    value: Tensor  # [T, B, N] what critic and baselines should have said
    explained: Tensor  # [] share of the variance of the returns that the critic foresaw

    def select(self, index: Tensor, dim: int = 0) -> Self:
        rows = {name: value for name, value in self.tensors().items() if value.dim()}
        return replace(self, **{name: value.index_select(dim, index) for name, value in rows.items()})


Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def choice_terms(
    now: Evaluation, rollout: Rollout, targets: Targets, policy: Loss, value: Loss, value_coef: float
) -> dict[str, Term]:
    """As those of the action, with the probabilities and baselines of the scheduler's choices; summed over rounds.

    Nothing where the scheduler samples nothing.
    """
    mask, policy_losses, value_losses = rollout.timestep.alive, [], []
    for k in range(now.baseline.shape[-1]):
        log_prob, old_log_prob = now.choice_log_prob[..., k], rollout.choice_log_prob[..., k]
        policy_losses.append(policy(log_prob, old_log_prob, targets.choice_advantage[..., k], mask))
        value_losses.append(value(now.baseline[..., k], rollout.baseline[..., k], targets.value, mask))
    if not policy_losses:
        return {}
    return {
        "choice_loss": Term(torch.stack(policy_losses).sum()),
        "baseline_loss": Term(torch.stack(value_losses).sum(), value_coef),
    }


def drift(now: Evaluation, rollout: Rollout, clip: float) -> dict[str, Tensor]:
    """How far the policy has moved from the one that played; nothing is learned from these."""
    mask = rollout.timestep.alive
    with torch.no_grad():
        log_ratio = torch.cat(
            [(now.log_prob - rollout.log_prob).unsqueeze(-1), now.choice_log_prob - rollout.choice_log_prob], -1
        )
        log_ratio = torch.where(mask.unsqueeze(-1), log_ratio, 0.0)
        joint = log_ratio.sum(-1)
        return {
            # Schulman's k3 estimator, >= 0 by construction.
            "approx_kl": masked_mean(joint.exp() - 1 - joint, mask),
            "clip_fraction": masked_mean(((log_ratio.exp() - 1).abs() > clip).float().mean(-1), mask),
        }
