"""ExpoComm: what an agent passes on tells the state, or which step it is of."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from gnncomm import random
from gnncomm.learn import Rollout, Term
from gnncomm.learn.losses import Terms, masked_mean
from gnncomm.methods.losses.base import MethodLoss, perceptron, shown_state
from gnncomm.policy import CommPolicy, Evaluation


class ExpoCommLoss(MethodLoss):
    r"""Grounding of messages (Li, Wang, Bai and Zhang 2025, ICLR, section 4.3; constants of
    the released code).

    With :math:`m_i` the row after communication, which an agent says next, and :math:`\hat m = m / \lVert m \rVert`,

    .. math::
        \text{state: } \tfrac1S \lVert \mathrm{MLP}(m_i^t) - s^t \rVert^2, \qquad
        \text{contrast: } -\log \frac{e^{\hat m_i^t \cdot \hat m_j^t / \tau}}
            {e^{\hat m_i^t \cdot \hat m_j^t / \tau} + \sum_n e^{\hat m_i^t \cdot \hat m_n / \tau}}

    where j is another agent of the same step, and n runs over agents at other steps of the same environment; both are
    drawn. The released code draws one step t for a batch, and scales the contrast by the size of the other losses.

    Args:
        policy: of any kind.
        state_dim: S, as for ``masia``.
        form: ``state`` or ``contrast``, which needs no state.
        negatives: how many n.
        temperature: :math:`\tau`.
        width: of the hidden layer of the MLP.
        grounding: weight.
    """

    wants_state = True

    def __init__(
        self,
        policy: CommPolicy,
        state_dim: int,
        form: Literal["state", "contrast"] = "state",
        negatives: int = 20,
        temperature: float = 0.07,
        width: int = 64,
        grounding: float = 0.1,
    ) -> None:
        super().__init__(policy)
        self.negatives, self.temperature, self.grounding = negatives, temperature, grounding
        self.decode: nn.Module | None = perceptron(policy.hidden, width, state_dim) if form == "state" else None

    def forward(self, evaluation: Evaluation, rollout: Rollout) -> Terms:
        features = evaluation.features
        if self.decode is None:
            return {"expocomm_contrast": Term(self._contrast(normalize(features, dim=-1), rollout), self.grounding)}
        error = (self.decode(features) - shown_state(rollout.timestep).unsqueeze(-2)).square().mean(-1)
        return {"expocomm_state": Term(masked_mean(error, rollout.timestep.alive), self.grounding)}

    def _contrast(self, unit_TBNH: Tensor, rollout: Rollout) -> Tensor:
        steps, envs, agents = rollout.timestep.alive.shape
        if steps < 2 or agents < 2:
            return unit_TBNH.new_zeros(())
        alive, now = rollout.timestep.alive, rollout.timestep
        key, step = random.stream(now.key, "contrast").unsqueeze(-1), now.step.unsqueeze(-1)
        me, env = torch.arange(agents, device=alive.device), torch.arange(envs, device=alive.device)
        time = torch.arange(steps, device=alive.device).view(-1, 1, 1)
        other = (me + 1 + random.integers(key, agents - 1, step, me, 0)) % agents
        near = (unit_TBNH * _picked(unit_TBNH, time, env.view(-1, 1), other)).sum(-1)
        number = torch.arange(self.negatives, device=alive.device)
        key, step, time = key.unsqueeze(-1), step.unsqueeze(-1), time.unsqueeze(-1)
        when = (time + 1 + random.integers(key, steps - 1, step, me.unsqueeze(-1), 1, number)) % steps
        who = random.integers(key, agents, step, me.unsqueeze(-1), 2, number)
        place = env.view(-1, 1, 1)
        far = (unit_TBNH.unsqueeze(-2) * _picked(unit_TBNH, when, place, who)).sum(-1)
        far = torch.where(alive[when, place, who], far / self.temperature, -torch.inf)
        near = near / self.temperature
        surprise = torch.cat([near.unsqueeze(-1), far], -1).logsumexp(-1) - near
        return masked_mean(surprise, alive & alive.gather(-1, other))


def _picked(x: Tensor, time: Tensor, env: Tensor, agent: Tensor) -> Tensor:
    return x[time, env, agent]
