"""TMC as released: messages over time, buffered by their receivers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import elu

from gnncomm.bench.reference.base import RecordedCase, Reference
from gnncomm.types import Batch


@dataclass(frozen=True)
class Mail(Batch):
    """What senders and receivers keep from step to step; zeros in the beginning."""

    msg: Tensor  # [B, N, A], which is the state of the message network
    sent: Tensor  # [B, N, A] last message that was sent
    gap: Tensor  # [B, N] steps since then
    buffer: Tensor  # [B, N sender, N receiver, A]
    age: Tensor  # [B, N, N] steps since a message arrived


class TMCNetwork(Reference):
    r"""The message network and the buffers of TMC's released code.

    Zhang, Zhang and Lin 2020, `Succinct and Robust Multi-Agent Communication With Temporal Message Control
    <https://arxiv.org/abs/2010.14391>`_, section 3.2:

    .. math::
        m_i^t = \mathrm{GRU}(\mathrm{elu}(W h_i), m_i^{t-1}), \qquad
        i \text{ sends} \iff \lVert m_i^t - m_i^{\mathrm{sent}} \rVert^2 > \delta
        \ \text{ or not for } \textit{limit} \text{ steps}, \qquad Q_j = q_j + \frac{1}{N - 1} \sum_{i \ne j} r_{ij}

    where :math:`r_{ij}` is what arrived, else what is in the buffer while it is fresh, else 0, which is then what the
    buffer holds. The released controller is written for a batch of 8, three agents and ten actions; here sizes follow
    from the inputs.

    Args:
        hidden: H, of the agents.
        num_actions: A, width of a message.
        delta: :math:`\delta`.
        transmit_limit: steps after which a message is sent anyway.
        fresh_limit: steps for which a message is reused.

    Shapes:
        q ``[B, N, A]``, h ``[B, N, H]``, delivered ``[B, N sender, N receiver]`` bool.
    """

    title: ClassVar[str] = "TMC"
    source: ClassVar[str] = "https://github.com/saizhang0218/TMC at 63bcca5ab9"
    quirks: ClassVar[dict[str, str]] = {
        "doubled": "a message is reused for twice the set limit; expected: for the limit",
        "unaware": "a message that was lost counts as sent and is not sent again; expected: the sender learns of it",
    }

    def __init__(
        self,
        hidden: int,
        num_actions: int,
        delta: float = 0.1,
        transmit_limit: int = 4,
        fresh_limit: int = 2,
        without_quirks: Collection[str] = (),
    ) -> None:
        super().__init__(without_quirks)
        self.delta, self.transmit_limit = delta, transmit_limit
        self.fresh_limit = 2 * fresh_limit if self.has("doubled") else fresh_limit
        self.fc1, self.rnn = nn.Linear(hidden, num_actions), nn.GRUCell(num_actions, num_actions)

    def start(self, q: Tensor) -> Mail:
        """Nothing sent, nothing heard, for ``q [B, N, A]``."""
        num_agents = q.shape[1]
        zero_BNNA = q.new_zeros(*q.shape[:2], num_agents, q.shape[2])
        return Mail(torch.zeros_like(q), torch.zeros_like(q), q.new_zeros(q.shape[:2]), zero_BNNA, zero_BNNA[..., 0])

    def forward(self, q: Tensor, h: Tensor, delivered: Tensor, mail: Mail) -> tuple[Tensor, Mail]:
        """Q with what was heard, and what is kept."""
        x = elu(self.fc1(h)).flatten(0, 1)
        msg = self.rnn(x, mail.msg.flatten(0, 1)).view(mail.msg.shape)
        changed_BN = (msg - mail.sent).square().sum(-1) > self.delta
        gap = torch.where(changed_BN, mail.gap, mail.gap + 1)
        sends_BN = changed_BN | (gap >= self.transmit_limit)
        arrives_BNN = sends_BN.unsqueeze(-1) & delivered
        age = torch.where(arrives_BNN, 0.0, mail.age + 1)
        old_BNNA = torch.where((age <= self.fresh_limit).unsqueeze(-1), mail.buffer, 0.0)
        buffer = torch.where(arrives_BNN.unsqueeze(-1), msg.unsqueeze(2), old_BNNA)
        own_NN = torch.eye(q.shape[1], dtype=torch.bool, device=q.device)
        heard_BNA = torch.where(own_NN.unsqueeze(-1), 0.0, buffer).sum(1) / max(1, q.shape[1] - 1)
        if not self.has("unaware"):
            sends_BN = sends_BN & (delivered | own_NN).all(-1)
        gap = torch.where(sends_BN, 0.0, gap)
        sent = torch.where(sends_BN.unsqueeze(-1), msg, mail.sent)
        return q + heard_BNA, Mail(msg, sent, gap, buffer, age)

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(hidden, num_actions, without_quirks=without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        about, hidden = case.config, case.weights["fc1.weight"].shape[1]
        limits = about["delta"], about["transmit_limit"], about["fresh_limit_doubled"] // 2
        return cls(hidden, about["n_actions"], *limits, without_quirks).load_recorded(case)

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        network, (q, h, delivered) = cls.of_case(case, without_quirks), (case.arrays[f"in/{name}"] for name in _INPUTS)
        mail, outs, mails = network.start(q[0]), [], []
        with torch.no_grad():
            for t in range(len(q)):
                out, mail = network(q[t], h[t], delivered[t] > 0.5, mail)
                outs.append(out)
                mails.append(mail)
        return {
            "mid/msg": torch.stack([each.msg.flatten(0, 1) for each in mails]),
            "mid/gap": torch.stack([each.gap.flatten(0, 1) for each in mails]),
            "mid/buffer": torch.stack([each.buffer for each in mails]),
            "out/q": torch.stack(outs),
        }


_INPUTS = ("q_local", "h", "loss")
