"""Heads' outputs to actions: distributions, drawing, probabilities. A ``LocalAgent`` calls the same functions."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gnncomm import random
from gnncomm.errors import ActionMaskError, DtypeError, ShapeError
from gnncomm.host import refuse
from gnncomm.policy.groups import PerAgent
from gnncomm.types import Box, TeamSpec

_NODES = 16
"""Of the quadrature of an entropy; its error is below 0.001 for standard deviations up to 1."""
_EDGE = 1e-6
"""Actions nearer to a bound than this part of half their range count as so near."""


class Actions(Protocol):
    """A family of distributions over actions, told by ``width`` numbers (``logits``) that an actor gives.

    Rows do not know each other: everything is ``[..., N, width]`` to ``[..., N]``. A module with these members can be
    given to ``CommPolicy(actions=...)``.
    """

    @property
    def width(self) -> int:
        """P."""
        ...

    def choose(self, logits: Tensor, key: int | Tensor | None, episode: Tensor, step: Tensor, agent: Tensor) -> Tensor:
        """An action for each row, a pure function of (key, episode, step, agent); without key the one to bet on."""
        ...

    def log_prob(self, logits: Tensor, action: Tensor) -> Tensor: ...

    def entropy(self, logits: Tensor) -> Tensor: ...

    def check(self, action: Tensor, rows: tuple[int, ...]) -> None:
        """Refuse what is no tensor of actions for ``rows`` (ShapeError, DtypeError)."""
        ...

    def masked(self, logits: Tensor, action_mask: Tensor, alive: Tensor) -> Tensor:
        """``logits`` of what is allowed (ActionMaskError)."""
        ...


def actions_of(spec: TeamSpec) -> Categorical | TanhGaussian:
    """The usual distribution over the actions of ``spec``."""
    return Categorical(spec.num_actions) if spec.box is None else TanhGaussian(spec.box)


class Categorical(nn.Module):
    """One of ``width`` actions: int64 ``[..., N]`` with probability ``softmax(logits)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def choose(self, logits: Tensor, key: int | Tensor | None, episode: Tensor, step: Tensor, agent: Tensor) -> Tensor:
        return choose_action(logits, key, episode, step, agent)

    def log_prob(self, logits: Tensor, action: Tensor) -> Tensor:
        return logits.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self, logits: Tensor) -> Tensor:
        log_probs = logits.log_softmax(-1)
        # Chosen before the product: exp(-inf) * -inf has no gradient. A masked action contributes nothing.
        finite = torch.where(logits == -torch.inf, 0.0, log_probs)
        return -(log_probs.exp() * finite).sum(-1)

    def check(self, action: Tensor, rows: tuple[int, ...]) -> None:
        if action.shape != rows:
            raise ShapeError(f"Expected action [T, B, N] = {list(rows)}, got {list(action.shape)}.")
        if action.dtype != torch.int64:
            raise DtypeError(f"Expected actions of torch.int64, got {action.dtype}: use action.long().")

    def masked(self, logits: Tensor, action_mask: Tensor, alive: Tensor) -> Tensor:
        return mask_logits(logits, action_mask, alive)


class EpsilonGreedy(Categorical):
    r"""One of ``width`` actions by their values: ``logits`` are :math:`Q(a)`, ``-inf`` where an action is not allowed.

    .. math::
        \pi(a) = (1 - \epsilon) [a = \arg\max_b Q(b)] + \epsilon / n, \qquad n \text{ actions are allowed}

    Explores while the policy trains and a key names the draws; in evaluation mode it is greedy, whatever the key. So
    are the agents that run on their own. The probabilities have no gradient.

    Args:
        width: A.
        epsilon: how often it explores; a tensor that is saved with the policy, set by whoever trains it.
    """

    epsilon: Tensor

    def __init__(self, width: int, epsilon: float = 1.0) -> None:
        super().__init__(width)
        self.register_buffer("epsilon", torch.tensor(float(epsilon)))

    def choose(self, logits: Tensor, key: int | Tensor | None, episode: Tensor, step: Tensor, agent: Tensor) -> Tensor:
        best = logits.argmax(-1)
        if key is None or not self.training:
            return best
        explores = random.uniform(random.stream(key, "explore"), episode, step, agent) < self.epsilon
        allowed = torch.where(logits == -torch.inf, logits, torch.zeros_like(logits))
        return torch.where(explores, choose_action(allowed, key, episode, step, agent), best)

    def log_prob(self, logits: Tensor, action: Tensor) -> Tensor:
        """``-inf`` for what it would not do; NaN where a value is NaN or infinity."""
        return self._probabilities(logits).gather(-1, action.unsqueeze(-1)).squeeze(-1).log()

    def entropy(self, logits: Tensor) -> Tensor:
        probabilities = self._probabilities(logits)
        entropy: Tensor = -torch.special.xlogy(probabilities, probabilities).sum(-1)
        return entropy

    def _probabilities(self, logits: Tensor) -> Tensor:
        logits = logits.detach()
        best, action = logits.max(-1, keepdim=True)
        allowed = (logits != -torch.inf).to(logits.dtype)
        epsilon = self.epsilon.to(logits.dtype) if self.training else logits.new_zeros(())
        greedy = torch.zeros_like(logits).scatter(-1, action, 1.0)
        mixed = (1 - epsilon) * greedy + epsilon * allowed / allowed.sum(-1, keepdim=True)
        return torch.where(best.isfinite(), mixed, torch.nan)


class TanhGaussian(PerAgent):
    r"""A numbers, each within its bounds: float ``[..., N, A]``, a squashed Gaussian (Haarnoja et al. 2018, app. C).

    With the two halves of ``logits``, :math:`\mu` and :math:`\rho`, for each number

    .. math::
        u \sim \mathcal{N}(\mu, \sigma), \qquad \sigma = \mathrm{softplus}(\rho + c) + 10^{-3}, \qquad
        a = l + (h - l) \frac{\tanh u + 1}{2}

    .. math::
        \log p(a) = \log \mathcal{N}(u; \mu, \sigma) - \log(1 - \tanh^2 u) - \log \frac{h - l}{2}

    summed over the numbers. c is such that :math:`\rho = 0` means a standard deviation of 0.5 (Andrychowicz et al.
    2021, section 3.2). The action to bet on is that of :math:`u = \mu`. The probability is read from the action alone,
    so that a recorded one has the probability that it was drawn with; an action within 1e-6 of a bound (as a part of
    half the range) counts as so near. The entropy has no closed form: :math:`E[\log(1 - \tanh^2 u)]` is taken by
    Gauss-Hermite quadrature with 16 nodes, which is differentiable and draws nothing.

    Args:
        box: bounds l and h of each agent; numbers whose bounds are equal are constants and count nowhere.
    """

    low: Tensor
    reach: Tensor
    nodes: Tensor
    weights: Tensor

    def __init__(self, box: Box) -> None:
        super().__init__()
        alike = len(set(zip(box.low, box.high, strict=True))) == 1
        low, high = (torch.tensor(side[0] if alike else side, dtype=torch.float32) for side in (box.low, box.high))
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        values = {
            "low": low,
            "reach": (high - low) / 2,
            "nodes": torch.tensor(nodes, dtype=torch.float32),
            "weights": torch.tensor(weights / weights.sum(), dtype=torch.float32),
        }
        for name, value in values.items():
            self.register_buffer(name, value, persistent=False)

    @property
    def width(self) -> int:
        return 2 * self.low.shape[-1]

    def of_agent(self, index: int) -> TanhGaussian:
        if self.low.dim() == 1:
            return self
        return self.twin(low=self.low[index], reach=self.reach[index])

    def _moments(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = logits.chunk(2, -1)
        return mean, nn.functional.softplus(raw + math.log(math.expm1(0.5 - 1e-3))) + 1e-3

    def choose(self, logits: Tensor, key: int | Tensor | None, episode: Tensor, step: Tensor, agent: Tensor) -> Tensor:
        mean, std = self._moments(logits)
        if key is not None:
            dim = torch.arange(mean.shape[-1], device=mean.device)
            counters = (counter.unsqueeze(-1) for counter in (episode, step, agent))
            dtype = torch.float64 if mean.dtype == torch.float64 else torch.float32
            noise = random.normal(random.stream(key, "action"), *counters, dim, dtype=dtype)
            mean = mean + std * noise.to(mean.dtype)
        return self.low + self.reach * (mean.tanh() + 1)

    def log_prob(self, logits: Tensor, action: Tensor) -> Tensor:
        mean, std = self._moments(logits)
        free = self.reach > 0
        squashed = (action - self.low) / torch.where(free, self.reach, 1.0) - 1
        u = squashed.clamp(-1 + _EDGE, 1 - _EDGE).atanh()
        of_u = -0.5 * ((u - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
        each = of_u - _log_slope(u) - torch.where(free, self.reach, 1.0).log()
        return torch.where(free, each, 0.0).sum(-1)

    def entropy(self, logits: Tensor) -> Tensor:
        mean, std = self._moments(logits)
        free = self.reach > 0
        slope = _log_slope(mean.unsqueeze(-1) + std.unsqueeze(-1) * self.nodes) @ self.weights
        each = 0.5 * math.log(2 * math.pi * math.e) + std.log() + slope + torch.where(free, self.reach, 1.0).log()
        return torch.where(free, each, 0.0).sum(-1)

    def check(self, action: Tensor, rows: tuple[int, ...]) -> None:
        wanted = (*rows, self.low.shape[-1])
        if action.shape != wanted:
            raise ShapeError(f"Expected action [T, B, N, A] = {list(wanted)}, got {list(action.shape)}.")
        if not action.is_floating_point():
            raise DtypeError(f"Expected actions that are floating-point numbers, got {action.dtype}.")

    def masked(self, logits: Tensor, action_mask: Tensor, alive: Tensor) -> Tensor:
        raise ActionMaskError(
            "Expected no action mask where actions are numbers within bounds, got one: leave action_mask None."
        )


def _log_slope(u: Tensor) -> Tensor:
    """``log(1 - tanh(u)^2)``, also where the tanh is 1."""
    return 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))


def chances(actions: Actions, logits: Tensor, num_actions: int) -> Tensor:
    """``[..., N, A]``: how likely each of A choices is, from the numbers ``[..., N, P]`` that tell the distribution."""
    each = torch.arange(num_actions, device=logits.device).view(-1, *[1] * (logits.dim() - 1))
    every = each.expand(num_actions, *logits.shape[:-1])
    return actions.log_prob(logits.expand(num_actions, *logits.shape), every).exp().movedim(0, -1)


def choose_action(logits: Tensor, key: int | Tensor | None, episode: Tensor, step: Tensor, agent: Tensor) -> Tensor:
    """One action ``[...]`` for each row of ``logits [..., A]``: sampled by the Gumbel trick, or the best if no ``key``.

    The draw is a pure function of (key, episode, step, agent, action); ``episode``, ``step`` and ``agent`` are integers
    that broadcast to ``[...]``.
    """
    if key is None:
        return logits.argmax(-1)
    action = torch.arange(logits.shape[-1], device=logits.device)
    counters = (counter.unsqueeze(-1) for counter in (episode, step, agent))
    return (logits + random.gumbel(random.stream(key, "action"), *counters, action)).argmax(-1)


def mask_logits(logits: Tensor, action_mask: Tensor, alive: Tensor) -> Tensor:
    """``-inf`` where an action is not allowed; the dead may do anything (it is ignored)."""
    if action_mask.dtype != torch.bool or action_mask.shape != logits.shape:
        raise ActionMaskError(
            f"Expected a bool action mask {tuple(logits.shape)}, got {action_mask.dtype} {tuple(action_mask.shape)}."
        )
    stuck = ~action_mask.any(-1)
    wrong = stuck & alive

    def nothing_allowed() -> ActionMaskError:
        *lead, agent = wrong.nonzero()[0].tolist()
        return ActionMaskError(
            f"Agent {agent} of environment {lead[-1]} has no allowed action"
            f"{f' at step {lead[0]} of the rollout' if len(lead) > 1 else ''}: "
            "allow at least one (for instance 'stay'), or mark the agent as not alive."
        )

    refuse(wrong, nothing_allowed)
    return torch.where(action_mask | stuck.unsqueeze(-1), logits, -torch.inf)
