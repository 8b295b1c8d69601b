"""MASIA: what was heard tells the state, and its own future."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnncomm.layers.masia import MASIAComm
from gnncomm.learn import Rollout, Term
from gnncomm.learn.losses import Terms, masked_mean
from gnncomm.learn.returns import team_mean
from gnncomm.methods.losses.base import MethodLoss, inbox_of, joint_action, lasting, part, perceptron, shown_state
from gnncomm.policy import CommPolicy, Evaluation


class MASIALoss(MethodLoss):
    r"""Self-supervised aggregation (Guan et al. 2022, NeurIPS 35, sections 3.2 and 3.3; weights and widths of the
    released code).

    With z the code that an agent makes of its inbox, s the state, a the joint action, r the team's reward, and
    :math:`\hat z_t = z_t`, :math:`\hat z_{t+k} = \hat z_{t+k-1} + f(\hat z_{t+k-1}, a_{t+k-1})`:

    .. math::
        \text{masia\_state} = \tfrac1S \lVert D z_t - s_t \rVert^2, \qquad
        \text{masia\_latent} = \sum_{k=0}^{K} \lVert q(p(\hat z_{t+k})) - \mathrm{sg}(p(z_{t+k})) \rVert^2, \qquad
        \text{masia\_reward} = \sum_{k=0}^{K} (g(\hat z_{t+k}) - r_{t+k})^2

    each the mean over those who live at both ends of the prediction, in one episode. sg: no gradient (the released code
    copies encoder and p into a target now and then).

    Args:
        policy: with a layer ``masia``.
        num_agents: N.
        state_dim: S of the state, or of all observations side by side where the environment shows none.
        steps: K.
        width: of the hidden layers.
        projected: width of p and q.
        state, latent, reward: weights.
    """

    wants_state = True

    def __init__(
        self,
        policy: CommPolicy,
        num_agents: int,
        state_dim: int,
        steps: int = 2,
        width: int = 64,
        projected: int = 32,
        state: float = 1.0,
        latent: float = 1.0,
        reward: float = 1.0,
    ) -> None:
        super().__init__(policy)
        code = part(self.layer(MASIAComm), MASIAComm, "masia", "comm").lin_gate.out_features
        self.steps, self.weights = steps, {"state": state, "latent": latent, "reward": reward}
        self.decode = nn.Linear(code, state_dim)
        self.project, self.predict = perceptron(code, width, projected), perceptron(projected, width, projected)
        self.of_code = perceptron(code, width, width)
        self.of_action = perceptron(num_agents * policy.num_actions, width, width)
        self.advance, self.foresee = perceptron(2 * width, width, code), perceptron(code, width, 1)

    def codes(self, evaluation: Evaluation, rollout: Rollout) -> Tensor:
        """``[T, B, N, C]``: z."""
        layer, now = part(self.layer(MASIAComm), MASIAComm, "masia", "comm"), self.flat(rollout)
        rows = evaluation.rows.flatten(0, 1)
        code: Tensor = layer.encode(inbox_of(layer, rows, self.said(rows, now), self.policy.reachable(now)))
        return code.view(*rollout.done.shape, *code.shape[1:])

    def forward(self, evaluation: Evaluation, rollout: Rollout) -> Terms:
        code, alive = self.codes(evaluation, rollout), rollout.timestep.alive
        error = (self.decode(code) - shown_state(rollout.timestep).unsqueeze(-2)).square().mean(-1)
        target, reward_TB1 = self.project(code).detach(), team_mean(rollout.reward, rollout.paid).unsqueeze(-1)
        acted = self.of_action(joint_action(rollout, self.policy.num_actions)).unsqueeze(-2)
        latent = foreseen = error.new_zeros(())
        for k in range(min(self.steps + 1, len(alive))):
            if k:
                code = code[:-1]
                before = torch.cat(
                    [self.of_code(code), acted[k - 1 : k - 1 + len(code)].expand(*code.shape[:3], -1)], -1
                )
                code = code + self.advance(before)
            mask = lasting(rollout, k)
            latent = latent + masked_mean((self.predict(self.project(code)) - target[k:]).square().sum(-1), mask)
            foreseen = foreseen + masked_mean((self.foresee(code).squeeze(-1) - reward_TB1[k:]).square(), mask)
        return {
            "masia_state": Term(masked_mean(error, alive), self.weights["state"]),
            "masia_latent": Term(latent, self.weights["latent"]),
            "masia_reward": Term(foreseen, self.weights["reward"]),
        }
