"""Critics of joint actions: what COMA and MADDPG judge an agent's action by. They exist in training only."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from gnncomm.errors import ShapeError
from gnncomm.host import one_hot
from gnncomm.policy.critic import Critic, LocalCritic
from gnncomm.policy.encoder import Encoder, living_obs
from gnncomm.types import TimeStep


class JointCritic(Critic):
    r"""Values of actions, given those of all others, from the joint observation and the environment's state.

    With :math:`x_j = \mathrm{encoder}(o_j)`, one-hot actions :math:`u_j` and state s (where the environment tells one)

    .. math::
        z_i = W_o x_i + W_j [x_1, ..., x_N] + W_s s + e_i, \qquad
        V_i = v^T f(z_i), \qquad Q_i = W_q f\Big(z_i + \sum_{j \ne i} U_j u_j\Big)

    and f two layers with ReLU. Q has a number for each action of i (Foerster et al. 2018, COMA, section 4), or, with
    ``own``, a single one, with :math:`U_i u_i` in the sum, too (Lowe et al. 2017, MADDPG). V knows no action: it is the
    value of a state after which nothing was decided yet. The dead enter as zeros.

    Args:
        num_agents, obs_dim, num_actions, state_dim: sizes of the team; 0: no state.
        hidden: width of the layers.
        own: see above.
    """

    looks = True

    def __init__(
        self, num_agents: int, obs_dim: int, num_actions: int, state_dim: int = 0, hidden: int = 128, own: bool = False
    ) -> None:
        super().__init__()
        self.num_agents, self.num_actions, self.hidden, self.with_own = num_agents, num_actions, hidden, own
        self.encoder = Encoder(obs_dim, hidden)
        self.own = nn.Linear(hidden, hidden)
        self.joint = nn.Linear(num_agents * hidden, hidden, bias=False)
        self.state = nn.Linear(state_dim, hidden, bias=False) if state_dim else None
        self.agent = nn.Parameter(0.1 * torch.randn(num_agents, hidden))
        self.action = nn.Parameter(torch.randn(num_agents, num_actions, hidden) / num_agents**0.5)
        self.within = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, 1)
        self.head = nn.Linear(hidden, 1 if own else num_actions)

    def another(self, in_channels: int) -> LocalCritic:  # type: ignore[override]  # of rows that nothing acts on yet
        return LocalCritic(self.hidden, in_channels)

    def forward(self, features: Tensor, alive: Tensor, timestep: TimeStep | None = None) -> Tensor:
        assert timestep is not None  # a critic that looks is shown what there is
        value: Tensor = self.value(self._layers(self._rows(timestep, alive))).squeeze(-1)
        return value.to(features)

    def q(self, timestep: TimeStep, action: Tensor, mine: Tensor | None = None) -> Tensor:
        """``[..., N, A]``, or ``[..., N]`` with ``own``.

        Args:
            timestep: ``[..., ]``.
            action: ``[..., N, A]`` one-hot, of all.
            mine: what each agent does itself in place of its row of ``action``.
        """
        alive = timestep.alive
        said = torch.where(alive.unsqueeze(-1), torch.einsum("...na,nah->...nh", action, self.action), 0.0)
        rows = self._rows(timestep, alive) + said.sum(-2, keepdim=True)  # crosses rows: training only
        if not self.with_own:
            rows = rows - said
        elif mine is not None:
            rows = rows - said + torch.einsum("...na,nah->...nh", mine, self.action)
        found: Tensor = self.head(self._layers(rows))
        return found.squeeze(-1) if self.with_own else found

    def one_hot(self, action: Tensor) -> Tensor:
        """What ``q`` takes, ``[..., N, A]``, of actions ``[..., N]``."""
        return one_hot(action, self.num_actions, self.agent)

    def _layers(self, rows: Tensor) -> Tensor:
        return torch.relu(self.within(torch.relu(rows)))

    def _rows(self, timestep: TimeStep, alive: Tensor) -> Tensor:
        if alive.shape[-1] != self.num_agents:
            raise ShapeError(
                f"This critic was built for {self.num_agents} agents, got {alive.shape[-1]}: use another learner for "
                "teams of changing size."
            )
        obs, mine = living_obs(timestep.obs, alive), self.agent.dtype
        obs = obs.to(mine) if isinstance(obs, Tensor) else replace(obs, value=obs.value.to(mine))
        seen = torch.where(alive.unsqueeze(-1), self.encoder(obs), 0.0)
        rows: Tensor = self.own(seen) + self.joint(seen.flatten(-2)).unsqueeze(-2) + self.agent
        if self.state is None:
            return rows
        if timestep.state is None:
            raise ShapeError("This critic sees the environment's state: expected timestep.state [..., S], got none.")
        whole: Tensor = self.state(timestep.state.to(mine))
        return rows + whole.unsqueeze(-2)
