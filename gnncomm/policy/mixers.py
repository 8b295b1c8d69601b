"""Mixers: the value of a team's actions, made of what each agent thinks of its own. They exist in training only."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from gnncomm.config import require_ranges
from gnncomm.errors import ShapeError
from gnncomm.host import one_hot
from gnncomm.policy.critic import Critic, LocalCritic
from gnncomm.policy.encoder import living_obs
from gnncomm.policy.trunks import require_state
from gnncomm.registry import Remembers
from gnncomm.types import SparseObs, TimeStep

_WIDTH = (1, 1024)


class Mixer(Remembers, nn.Module):
    """The critic of a policy whose ``logits`` are values: a value of each agent's team for each agent.

    Increasing in the value of each agent, so that the best joint action is made of everyone's best (IGM, Son et al.
    2019): agents act by their own values, and the value of the team after best actions is that of ``best``. It may look
    at the rows of others. The dead have no part: their columns stay where they are and count nothing.

    Shapes:
        q: ``[..., N]`` of the actions taken, best: of each agent's best allowed action, action: int64, those taken;
        timestep: with as many leading axes; heard: bool ``[..., N, N]`` (sender, receiver), who heard whom in some
        round of the step, where the mixer ``hears``. -> ``[..., N]``, the same for all of a team.
    """

    hears: ClassVar[bool] = False

    def another(self, in_channels: int) -> Critic:
        """A critic of features, for the baselines of what a scheduler samples."""
        return LocalCritic(in_channels, in_channels)

    @abstractmethod
    def mix(self, q: Tensor, best: Tensor, action: Tensor, timestep: TimeStep, heard: Tensor) -> Tensor:
        """``[...]`` or ``[..., N]``, of values that are 0 in rows of the dead."""

    def forward(self, q: Tensor, best: Tensor, action: Tensor, timestep: TimeStep, heard: Tensor) -> Tensor:
        q, best = (torch.where(timestep.alive, value, 0.0) for value in (q, best))
        mixed = self.mix(q, best, action, timestep, heard)
        return mixed if mixed.dim() == q.dim() else mixed.unsqueeze(-1).expand_as(q)


class NoMixer(Mixer):
    """:math:`Q_i`: each agent learns for itself (IQL, Tan 1993)."""

    def mix(self, q: Tensor, best: Tensor, action: Tensor, timestep: TimeStep, heard: Tensor) -> Tensor:
        return q


class VDN(Mixer):
    """The values of all agents, added up (Sunehag et al. 2018, eq. 4)."""

    def mix(self, q: Tensor, best: Tensor, action: Tensor, timestep: TimeStep, heard: Tensor) -> Tensor:
        return q.sum(-1)


class StateMixer(Mixer):
    """A mixer with weights made of s: the state that the time step shows, else the joint observation of the living.

    Args:
        num_agents: N; its columns are those of the agents, so a team has a fixed size.
        obs_dim: D of an agent's observation.
        state_dim: S of ``timestep.state``; 0: s is ``[o_1, ..., o_N]``, zeros for the dead.
    """

    def __init__(self, num_agents: int, obs_dim: int, state_dim: int = 0) -> None:
        super().__init__()
        self.num_agents, self.obs_dim, self.state_dim = num_agents, obs_dim, state_dim
        self.width = state_dim or num_agents * obs_dim

    def state(self, timestep: TimeStep, like: Tensor) -> Tensor:
        """s: ``[..., width]``."""
        if timestep.alive.shape[-1] != self.num_agents:
            raise ShapeError(
                f"{type(self).__name__} was built for {self.num_agents} agents, got {timestep.alive.shape[-1]}: use "
                "vdn or graph for teams of changing size."
            )
        if self.state_dim:
            return require_state(timestep, self.state_dim).to(like)
        return _flat(timestep, like).flatten(-2)


class QMIX(StateMixer):
    r"""Monotonic in each :math:`Q_i`, with weights that depend on s (Rashid et al. 2018, section 4).

    .. math::
        Q_{tot} = |w(s)|^T \, \mathrm{ELU}(|W(s)| \, Q + b(s)) + V(s)

    W and w come from ``Linear-ReLU-Linear``, b from ``Linear``, V from ``Linear-ReLU-Linear`` with ``embed`` inside, as
    in the released code.

    Args:
        embed: width of the mixing layer.
        hyper: width inside the networks that make W and w.
    """

    def __init__(self, num_agents: int, obs_dim: int, state_dim: int = 0, embed: int = 32, hyper: int = 64) -> None:
        super().__init__(num_agents, obs_dim, state_dim)
        self.embed, self.hyper = embed, hyper
        require_ranges(self, {"embed": _WIDTH, "hyper": _WIDTH}, "mixer qmix: ")
        self.hyper_w1 = _mlp(self.width, hyper, num_agents * embed)
        self.hyper_b1 = nn.Linear(self.width, embed)
        self.hyper_w2 = _mlp(self.width, hyper, embed)
        self.value = _mlp(self.width, embed, 1)

    def mix(self, q: Tensor, best: Tensor, action: Tensor, timestep: TimeStep, heard: Tensor) -> Tensor:
        s = self.state(timestep, q)
        w1 = self.hyper_w1(s).abs().unflatten(-1, (self.num_agents, self.embed))
        inside = nn.functional.elu((q.unsqueeze(-2) @ w1).squeeze(-2) + self.hyper_b1(s))
        mixed: Tensor = (inside * self.hyper_w2(s).abs()).sum(-1) + self.value(s).squeeze(-1)
        return mixed


class QPLEX(StateMixer):
    r"""Any function whose best joint action is made of everyone's best: duplex dueling (Wang et al. 2021, section 3).

    .. math::
        \tilde Q_i = w_i(s) Q_i + b_i(s), \qquad \tilde V_i = \max_a \tilde Q_i, \qquad
        Q_{tot} = \sum_i \tilde Q_i + \sum_i (\lambda_i(s, a) - 1) (\tilde Q_i - \tilde V_i)

    .. math::
        \lambda_i = \sum_{k=1}^{K} |\kappa_k(s)| \, \sigma(\phi_{k,i}(s)) \, \sigma(\psi_{k,i}(s, a)), \qquad w_i > 0

    with no gradient through the last bracket, and with a the joint action, as in the released code.

    Args:
        num_actions: A.
        heads: K.
        embed: width inside the networks that make w, b and :math:`\lambda`.
    """

    def __init__(
        self, num_agents: int, obs_dim: int, num_actions: int, state_dim: int = 0, heads: int = 10, embed: int = 64
    ) -> None:
        super().__init__(num_agents, obs_dim, state_dim)
        self.num_actions, self.heads, self.embed = num_actions, heads, embed
        require_ranges(self, {"heads": (1, 64), "embed": _WIDTH}, "mixer qplex: ")
        self.weight, self.bias = (_mlp(self.width, embed, num_agents) for _ in range(2))
        self.key = _Heads(self.width, embed, 1, heads)
        self.agents = _Heads(self.width, embed, num_agents, heads)
        self.acts = _Heads(self.width + num_agents * num_actions, embed, num_agents, heads)

    def mix(self, q: Tensor, best: Tensor, action: Tensor, timestep: TimeStep, heard: Tensor) -> Tensor:
        s, alive = self.state(timestep, q), timestep.alive
        weight, bias = self.weight(s).abs() + 1e-10, self.bias(s)
        scaled = torch.where(alive, weight * q + bias, 0.0)
        behind = torch.where(alive, weight * (q - best), 0.0).detach()
        joint = torch.where(alive.unsqueeze(-1), one_hot(action, self.num_actions, s), 0).flatten(-2)
        lead = self.acts(torch.cat([s, joint], -1)).sigmoid() * self.agents(s).sigmoid()
        lam = (lead * (self.key(s).abs() + 1e-10)).sum(-2)
        total: Tensor = scaled.sum(-1) + ((lam - 1) * behind).sum(-1)
        return total


class GraphMixer(Mixer):
    r"""Monotonic, over the graph of who heard whom in this step (CLOVER, Krishnamachari and Hu 2026, arXiv 2604.08728).

    .. math::
        h_i^0 = Q_i, \qquad h_i^k = \mathrm{ELU}\Big(|W_k(s, i)| \sum_{j \in N(i) \cup \{i\}} h_j^{k-1} + b_k(s, i)\Big)

    .. math::
        Q_{tot} = \sum_i |w(s, i)|^T h_i^K + V(s)

    N(i) is whose messages agent i read in some round, after scheduler and channel. The weights of agent i are made of
    :math:`u_i = [x_i, \bar x]` with :math:`x_i = ReLU(W o_i)` and its mean over the living (and the state, where the
    time step shows one), so that agents can be renamed, come and go. Our reading of the paper: its code is not public.

    Args:
        obs_dim: D.
        state_dim: S of ``timestep.state``; 0: it is not looked at.
        rounds: K.
        embed: width of h.
        hyper: width of x.
    """

    hears = True

    def __init__(self, obs_dim: int, state_dim: int = 0, rounds: int = 2, embed: int = 16, hyper: int = 32) -> None:
        super().__init__()
        self.obs_dim, self.state_dim, self.rounds, self.embed, self.hyper = obs_dim, state_dim, rounds, embed, hyper
        require_ranges(self, {"rounds": (1, 64), "embed": _WIDTH, "hyper": _WIDTH}, "mixer graph: ")
        self.encoder = nn.Linear(obs_dim, hyper)
        self.from_state = nn.Linear(state_dim, hyper, bias=False) if state_dim else None
        widths = [1, *[embed] * rounds]
        self.weights = nn.ModuleList(nn.Linear(2 * hyper, width * embed) for width in widths[:-1])
        self.biases = nn.ModuleList(nn.Linear(2 * hyper, embed) for _ in range(rounds))
        self.last = nn.Linear(2 * hyper, embed)
        self.value = _mlp(hyper, hyper, 1)

    def mix(self, q: Tensor, best: Tensor, action: Tensor, timestep: TimeStep, heard: Tensor) -> Tensor:
        alive_N1 = timestep.alive.unsqueeze(-1)
        x = torch.where(alive_N1, torch.relu(self.encoder(_flat(timestep, q))), 0.0)
        mean = x.sum(-2) / alive_N1.sum(-2).clamp(min=1)
        if self.from_state is not None:
            mean = torch.relu(mean + self.from_state(require_state(timestep, self.state_dim).to(q)))
        u = torch.cat([x, mean.unsqueeze(-2).expand_as(x)], -1)
        own = torch.eye(heard.shape[-1], dtype=torch.bool, device=heard.device)
        reads = ((heard | own) & alive_N1 & alive_N1.mT).to(q.dtype).mT  # [..., receiver, sender]
        h = q.unsqueeze(-1)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            w = weight(u).abs().unflatten(-1, (h.shape[-1], self.embed))
            h = nn.functional.elu(((reads @ h).unsqueeze(-2) @ w).squeeze(-2) + bias(u))
        each = torch.where(alive_N1, self.last(u).abs() * h, 0.0)
        total: Tensor = each.sum((-2, -1)) + self.value(mean).squeeze(-1)
        return total


class _Heads(nn.Module):
    """K perceptrons of three layers side by side: ``[..., width]`` -> ``[..., K, out]``."""

    def __init__(self, width: int, embed: int, out: int, heads: int) -> None:
        super().__init__()
        self.heads, self.out = heads, out
        self.net = nn.Sequential(
            nn.Linear(width, heads * embed),
            nn.ReLU(),
            nn.Unflatten(-1, (-1, 1)),
            nn.Conv1d(heads * embed, heads * embed, 1, groups=heads),
            nn.ReLU(),
            nn.Conv1d(heads * embed, heads * out, 1, groups=heads),
        )

    def forward(self, s: Tensor) -> Tensor:
        rows: Tensor = self.net(s.reshape(-1, s.shape[-1]))
        return rows.view(*s.shape[:-1], self.heads, self.out)


def _mlp(width: int, inside: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, inside), nn.ReLU(), nn.Linear(inside, out))


def _flat(timestep: TimeStep, like: Tensor) -> Tensor:
    """``[..., N, D]``: what the living observe, zeros for the rest."""
    obs = living_obs(timestep.obs, timestep.alive)
    return (obs.to_flat() if isinstance(obs, SparseObs) else obs).to(like)
