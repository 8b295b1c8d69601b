"""ExpoComm as released, static and one-peer."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from gnncomm.bench.reference.base import RecordedCase, Reference
from gnncomm.errors import ConfigError


class Spread(NamedTuple):
    """One step of ExpoComm."""

    q: Tensor  # [B, N, A]
    h: Tensor  # [B, N, H]
    msg: Tensor  # [B, N, H]
    aux: Tensor  # [B, N, S], of the auxiliary loss
    sender: Tensor  # [N, K] senders that were read, or [N] in the one-peer form
    attention: Tensor | None  # [B, N, K]; None in the one-peer form


class ExpoCommNetwork(Reference):
    r"""The agents of ExpoComm's released code.

    Li, Wang, Bai and Zhang 2025, "Exponential Topology-enabled Scalable Communication in Multi-agent Reinforcement
    Learning" (ICLR), section 4. Agent i has K slots: itself, and :math:`(i + 2^{k-1}) \bmod N` for k = 1 .. K - 1.
    With messages of the step before,

    .. math::
        h_i = \mathrm{GRU}(\mathrm{relu}(W_1 o_i), h_i), \qquad
        Q_i = \mathrm{MLP}([h_i, m_i^t]), \qquad \text{static: }
        m_i^t = \sum_k \mathrm{softmax}_k(W_k m_{n_k}^{t-1} \cdot W_q h_i / \sqrt d)\, W_v m_{n_k}^{t-1}

        \text{one-peer: } m_i^t = \mathrm{GRU}(\mathrm{relu}(W [h_i, m_{n}^{t-1}]), m_i^{t-1}),
        \ n \text{ in slot } t \bmod K

    The auxiliary output is an MLP of the message (it predicts the state) or, ``contrastive``, the message divided by
    its length. The query is of this step and the messages are of the step before. A comment there says that the
    message gets no gradient from the main loss; it does.

    Args:
        obs_dim: D.
        num_actions: A.
        hidden: H.
        attention: d, width of keys and queries.
        slots: K.
        state_dim: S, of the predicted state.
        one_peer: one slot a step instead of all.
        contrastive: the form of the auxiliary output.

    Shapes:
        obs ``[B, N, D]``, h and msg ``[B, N, H]``; step counts from 0.
    """

    title: ClassVar[str] = "ExpoComm"
    source: ClassVar[str] = "https://github.com/LXXXXR/ExpoComm at 25dc9729c0"
    quirks: ClassVar[dict[str, str]] = {
        "blind": "static messages are made of earlier messages only, so from the zero start nothing that was observed "
        "is ever said; expected: the sender's hidden state is in its message",
        "own_turn": "every K-th step of the one-peer form an agent listens to itself; expected: always to another",
        "duplicates": "slots that name the same agent modulo N count as often in the softmax; expected: once",
    }

    def __init__(
        self,
        obs_dim: int,
        num_actions: int,
        hidden: int = 64,
        attention: int = 16,
        slots: int = 6,
        state_dim: int = 1,
        one_peer: bool = False,
        contrastive: bool = False,
        without_quirks: Collection[str] = (),
    ) -> None:
        super().__init__(without_quirks)
        if slots < 2:
            raise ConfigError(f"ExpoComm needs slots >= 2, one for itself and one for another agent; got {slots}.")
        self.slots, self.one_peer, self.contrastive = slots, one_peer, contrastive
        self.fc1 = nn.Linear(obs_dim, hidden)
        self.rnn = nn.GRUCell(hidden, hidden)
        if one_peer:
            self.msg_processor = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU())
            self.msg_rnn = nn.GRUCell(hidden, hidden)
        else:
            self.msg_k, self.msg_q = nn.Linear(hidden, attention), nn.Linear(hidden, attention)
            self.msg_v = nn.Linear(hidden, hidden)
        self.fc2 = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, num_actions))
        self.predict_net = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, state_dim))

    def neighbours(self, num_agents: int) -> Tensor:
        """``[N, K]``: who is in the slots of each agent."""
        offset_K = torch.tensor([0, *(2**k for k in range(self.slots - 1))])
        return (torch.arange(num_agents).unsqueeze(-1) + offset_K) % num_agents

    def forward(self, obs: Tensor, h: Tensor, msg: Tensor, step: int) -> Spread:
        """One step."""
        index, attention = self.neighbours(obs.shape[-2]).to(obs.device), None
        after = self._cell(self.rnn, torch.relu(self.fc1(obs)), h)
        if self.one_peer:
            turn = step % self.slots if self.has("own_turn") else 1 + step % (self.slots - 1)
            index = index[:, turn]
            said = self.update(after, msg, index)
        else:
            said, attention = self.attend(after, msg if self.has("blind") else msg + h, index)
        aux = said / said.norm(dim=-1, keepdim=True) if self.contrastive else self.predict_net(said)
        return Spread(self.fc2(torch.cat([after, said], -1)), after, said, aux, index, attention)

    def attend(self, h: Tensor, msg: Tensor, index_NK: Tensor) -> tuple[Tensor, Tensor]:
        """The static form: new messages and attention, from hidden states and messages ``[B, N, H]``."""
        query_BN1D = self.msg_q(h).unsqueeze(-2)
        score_BNK = (query_BN1D * self.msg_k(msg)[:, index_NK]).sum(-1) / self.msg_q.out_features**0.5
        if not self.has("duplicates"):
            same_NKK = index_NK.unsqueeze(-1) == index_NK.unsqueeze(-2)
            score_BNK = torch.where(same_NKK.tril(-1).any(-1), -torch.inf, score_BNK)
        attention_BNK = score_BNK.softmax(-1)
        return (attention_BNK.unsqueeze(-1) * self.msg_v(msg)[:, index_NK]).sum(-2), attention_BNK

    def update(self, h: Tensor, msg: Tensor, index_N: Tensor) -> Tensor:
        """The one-peer form: new messages ``[B, N, H]``."""
        heard: Tensor = self.msg_processor(torch.cat([h, msg[:, index_N]], -1))
        return self._cell(self.msg_rnn, heard, msg)

    @staticmethod
    def _cell(cell: nn.GRUCell, x: Tensor, state: Tensor) -> Tensor:
        after: Tensor = cell(x.flatten(0, -2), state.flatten(0, -2))
        return after.view(state.shape)

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(
            obs_dim, num_actions, hidden, slots=max(2, 1 + (num_agents - 1).bit_length()), without_quirks=without_quirks
        )

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        about = case.config
        network = cls(
            about["obs_size"],
            about["n_actions"],
            about["hidden_dim"],
            about["attention_dim"],
            about["topk_neighbors"],
            about["state_dim"],
            about["one_peer"],
            about["contrastive"],
            without_quirks,
        )
        return network.load_recorded(case)

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        network, (h, msg) = cls.of_case(case, without_quirks), (case.arrays["in/h"], case.arrays["in/msg"])
        steps = []
        with torch.no_grad():
            for step, obs in enumerate(case.arrays["in/obs"]):
                steps.append(network(obs.view(*h.shape[:-1], -1), h, msg, step))
                h, msg = steps[-1].h, steps[-1].msg
        out = {
            "mid/neighbours": network.neighbours(h.shape[1]),
            "mid/indices": torch.stack([each.sender for each in steps]),
            "out/h": torch.stack([each.h for each in steps]),
            "out/msg": torch.stack([each.msg for each in steps]),
            "out/q": torch.stack([each.q.flatten(0, 1) for each in steps]),
            "out/aux": torch.stack([each.aux.flatten(0, 1) for each in steps]),
        }
        if not network.one_peer:
            out["mid/attention"] = torch.stack([each.attention for each in steps if each.attention is not None])
        return out
