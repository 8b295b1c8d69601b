"""TarMAC: targeted messages, weighted by how well the sender's signature fits the receiver's query."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnncomm.errors import ConfigError
from gnncomm.layers.attending import AttendingComm


class AttentionComm(AttendingComm):
    r"""Multi-head form of TarMAC (Das et al. 2019,
    `TarMAC: Targeted Multi-Agent Communication <https://arxiv.org/abs/1810.11187>`_, section 3.2, eq. 2-4).

    Each head has a signature :math:`k_j = W_k h_j` and a value :math:`v_j = W_v h_j` made by the sender, and a query
    :math:`q_i = W_q h_i` made by the receiver:

    .. math::
        \alpha_{ji} = \frac{\exp(q_i^\top k_j / \sqrt{d_k})}
                           {\sum_{l \in \mathcal{N}(i)} \exp(q_i^\top k_l / \sqrt{d_k})}, \qquad
        h'_i = W_h h_i + W_o \big\Vert_{\text{heads}} \sum_{j \in \mathcal{N}(i)} w_{ji} \alpha_{ji} v_j + b

    Edge weights :math:`w_{ji}` (1 unless the graph has some) gate after the softmax. The paper's agents attend to
    themselves as well: ``own=True`` adds i to :math:`\mathcal{N}(i)` with what it would say, made of its own row and
    not sent; a self-loop in the graph would be an edge like any other. On the wire: ``heads * (key_channels +
    value_channels)`` numbers, signatures first. Several rounds: ``CommStack``.

    The released code beside MAGIC divides scores by the root of the hidden size, has biases in queries, signatures and
    values, and lets a closed gate cut an agent off from itself.

    Args:
        in_channels: F.
        out_channels: F'.
        heads: number of attention heads.
        key_channels: d_k, per head (16 in the paper).
        value_channels: per head; None takes ``out_channels / heads``.
        own: whether an agent attends to itself as well.
        rectified: values are :math:`\mathrm{ReLU}(W_v h_j)`, as in G2ANet.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 4,
        key_channels: int = 16,
        value_channels: int | None = None,
        own: bool = False,
        rectified: bool = False,
    ) -> None:
        if heads > 0 and value_channels is None and out_channels % heads:
            raise ConfigError(
                f"AttentionComm splits out_channels={out_channels} over heads={heads}, which does not divide it: "
                "choose other heads or give value_channels."
            )
        value_channels = out_channels // max(heads, 1) if value_channels is None else value_channels
        super().__init__(in_channels, out_channels, heads * (key_channels + value_channels), heads, key_channels, own)
        self.value_channels, self.rectified = value_channels, rectified
        self.lin_send = nn.Linear(in_channels, self.msg_channels, bias=False)
        self.lin_query = nn.Linear(in_channels, heads * key_channels, bias=False)
        self.lin_self = nn.Linear(in_channels, out_channels)
        self.lin_inbox = nn.Linear(heads * value_channels, out_channels, bias=False)

    def send(self, h: Tensor) -> Tensor:
        sent: Tensor = self.lin_send(h)
        if not self.rectified:
            return sent
        keys = self.heads * self.key_channels
        return torch.cat([sent[..., :keys], sent[..., keys:].relu()], -1)

    dense_inbox = AttendingComm.dense_inbox

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        combined: Tensor = self.lin_self(h) + self.lin_inbox(inbox)
        return combined
