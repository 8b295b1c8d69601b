"""MAIC as released."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from gnncomm.bench.reference.base import RecordedCase, Reference
from gnncomm.methods.losses.maic import attention_entropy, gaussian_kl


class Incentives(NamedTuple):
    """One step of MAIC; latents, messages and attention by sender, then receiver."""

    q: Tensor  # [B, N, A] with the incentives
    h: Tensor  # [B, N, H]
    mean: Tensor  # [B, N, N, L]
    variance: Tensor  # [B, N, N, L]
    latent: Tensor  # [B, N, N, L]
    msg: Tensor  # [B, N, N, A]
    alpha: Tensor  # [B, N, N] before the cut


class MAICNetwork(Reference):
    r"""The agents of MAIC's released code.

    Yuan, Wang, Zhang, Wang, Zhang, Guan, Yu and Zhou 2022, "Multi-Agent Incentive Communication via Decentralized
    Teammate Modeling" (AAAI), section 4. Agent i models teammate j as
    :math:`z_{ij} \sim \mathcal N(\mu_{ij}, \sigma^2_{ij})`, both from its own :math:`h_i`, and

    .. math::
        m_{ij} = f(h_j, z_{ij}) \in \mathbb R^A, \qquad
        \alpha_{ij} = \mathrm{softmax}_j(W_q h_i \cdot W_k z_{ij} / \sqrt d),\ \alpha_{ii} = 0, \qquad
        Q_j = q_j + \sum_i \alpha_{ij} m_{ij}

    In execution z is its mean and attention below 0.25 / N is cut. The mutual information term compares z with what
    another network infers from :math:`h_i` and the greedy action of j. Numbers that stand for variances go through
    exp and a floor, in both networks.

    Args:
        obs_dim: D.
        num_actions: A.
        num_agents: N; the width of the teammate model depends on it.
        hidden: H.
        width: of the small networks.
        latent: L.
        attention: d.
        floor: the least variance.

    Shapes:
        obs ``[B, N, D]``, h ``[B, N, H]``, eps ``[B, N, N, L]`` or None in execution.
    """

    title: ClassVar[str] = "MAIC"
    source: ClassVar[str] = "https://github.com/mansicer/MAIC at 2bd47d105c"
    quirks: ClassVar[dict[str, str]] = {
        "receiver_state": "the message is made of the state of its receiver; expected: of its sender",
        "over_receivers": "attention sums to one over the receivers of a sender; expected: over the senders of a "
        "receiver, so that what is received has one scale",
        "other_attention": "the entropy loss is that of scores that are not divided and include oneself; expected: of "
        "the attention that is used",
        "cut": "in execution small attention is set to zero and the rest is left; expected: the rest sums to one again",
    }

    def __init__(
        self,
        obs_dim: int,
        num_actions: int,
        num_agents: int,
        hidden: int = 64,
        width: int = 64,
        latent: int = 8,
        attention: int = 32,
        floor: float = 0.002,
        without_quirks: Collection[str] = (),
    ) -> None:
        super().__init__(without_quirks)
        self.num_actions, self.latent, self.floor = num_actions, latent, floor
        self.embed_net = _normed(hidden, width, 2 * num_agents * latent)
        self.inference_net = _normed(hidden + num_actions, width, 2 * latent)
        self.fc1, self.rnn = nn.Linear(obs_dim, hidden), nn.GRUCell(hidden, hidden)
        self.fc2 = nn.Linear(hidden, num_actions)
        self.msg_net = nn.Sequential(nn.Linear(hidden + latent, width), nn.LeakyReLU(), nn.Linear(width, num_actions))
        self.w_query, self.w_key = nn.Linear(hidden, attention), nn.Linear(latent, attention)

    def forward(self, obs: Tensor, h: Tensor, eps: Tensor | None = None) -> Incentives:
        """One step: sampled latents with the draws ``eps``, or execution."""
        rows = self.rnn(torch.relu(self.fc1(obs)).flatten(0, 1), h.flatten(0, 1))
        after_BNH = rows.view(h.shape)
        embedded_BNE = self.embed_net(rows).view(*h.shape[:2], -1)
        mean, raw = (part.unflatten(-1, (h.shape[1], self.latent)) for part in embedded_BNE.chunk(2, -1))
        variance = raw.exp().clamp(min=self.floor)
        latent = mean if eps is None else mean + variance.sqrt() * eps
        msg, alpha = self._messages(after_BNH, latent), self._attention(after_BNH, latent)
        used = alpha if eps is not None else self._cut(alpha)
        q = self.fc2(after_BNH) + (used.unsqueeze(-1) * msg).sum(1)
        return Incentives(q, after_BNH, mean, variance, latent, msg, alpha)

    def _messages(self, h_BNH: Tensor, latent_BNNL: Tensor) -> Tensor:
        of_whom = 1 if self.has("receiver_state") else 2
        state_BNNH = h_BNH.unsqueeze(of_whom).expand(*latent_BNNL.shape[:3], -1)
        msg: Tensor = self.msg_net(torch.cat([state_BNNH, latent_BNNL], -1))
        return msg

    def _scores(self, h_BNH: Tensor, latent_BNNL: Tensor) -> Tensor:
        score: Tensor = (self.w_query(h_BNH).unsqueeze(2) * self.w_key(latent_BNNL)).sum(-1)
        return score

    def _attention(self, h_BNH: Tensor, latent_BNNL: Tensor) -> Tensor:
        own_NN = torch.eye(h_BNH.shape[1], dtype=torch.bool, device=h_BNH.device)
        score_BNN = self._scores(h_BNH, latent_BNNL) / self.w_query.out_features**0.5
        score_BNN = torch.where(own_NN, -1e9, score_BNN)
        alpha = score_BNN.softmax(2 if self.has("over_receivers") else 1)
        return torch.where(own_NN, 0.0, alpha)

    def _cut(self, alpha_BNN: Tensor) -> Tensor:
        kept = torch.where(alpha_BNN < 0.25 / alpha_BNN.shape[1], 0.0, alpha_BNN)
        if self.has("cut"):
            return kept
        over = 2 if self.has("over_receivers") else 1
        return kept / kept.sum(over, keepdim=True).clamp(min=1e-12)

    def losses(self, step: Incentives) -> tuple[Tensor, Tensor]:
        """The mutual information loss and the entropy loss, without their weights."""
        num_agents = step.h.shape[1]
        greedy_BNA = one_hot(step.q.argmax(-1), self.num_actions).to(step.h)
        sender_BNNH = step.h.unsqueeze(2).expand(-1, -1, num_agents, -1)
        receiver_BNNA = greedy_BNA.unsqueeze(1).expand(-1, num_agents, -1, -1)
        inferred = self.inference_net(torch.cat([sender_BNNH, receiver_BNNA], -1).flatten(0, 2))
        mean, raw = inferred.view(*step.mean.shape[:3], -1).chunk(2, -1)
        information = gaussian_kl(step.mean, step.variance, mean, raw.exp().clamp(min=self.floor)).mean()
        if self.has("other_attention"):
            return information, attention_entropy(self._scores(step.h, step.latent).softmax(-1)).mean()
        return information, attention_entropy(step.alpha).mean()

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(obs_dim, num_actions, num_agents, hidden, without_quirks=without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        about = case.config
        network = cls(
            about["obs_size"],
            about["n_actions"],
            about["n_agents"],
            about["rnn_hidden_dim"],
            about["nn_hidden_size"],
            about["latent_dim"],
            about["attention_dim"],
            about["var_floor"],
            without_quirks,
        )
        return network.load_recorded(case).train(about["batchnorm_training"])

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        network, about = cls.of_case(case, without_quirks), case.config
        team = (about["batch"], about["n_agents"], -1)
        out: dict[str, Tensor] = {}
        for t in range(case.num_steps):
            drawn = case.arrays.get(f"t{t}/in/eps")
            eps = None if drawn is None else drawn.view(*team[:2], about["n_agents"], about["latent_dim"])
            with torch.no_grad():
                step = network(case.arrays[f"t{t}/in/obs"].view(team), case.arrays[f"t{t}/in/h"].view(team), eps)
                arrays = {"mid/latent": step.latent, "mid/msg": step.msg, "mid/alpha": step.alpha}
                arrays |= {"out/q": step.q.flatten(0, 1), "out/h": step.h.flatten(0, 1)}
                if eps is not None:
                    information, entropy = network.losses(step)
                    arrays["out/mi_loss"] = about["mi_loss_weight"] * information
                    arrays["out/entropy_loss"] = about["entropy_loss_weight"] * entropy
            out |= {f"t{t}/{name}": value for name, value in arrays.items()}
        return out


def _normed(in_channels: int, width: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(in_channels, width), nn.BatchNorm1d(width), nn.LeakyReLU(), nn.Linear(width, out_channels)
    )
