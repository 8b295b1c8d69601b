"""CommFormer: a transformer block over a learned graph."""

from __future__ import annotations

from torch import Tensor, nn

from gnncomm.errors import ConfigError
from gnncomm.layers.attending import AttendingComm


class CommFormerComm(AttendingComm):
    r"""A block of CommFormer's encoder (Hu, Shen, Zhang and Tao 2024, `Learning Multi-Agent Communication from Graph
    Modeling Perspective <https://arxiv.org/abs/2405.08550>`_, section 4.2), for the scheduler ``LearnedStatic``.

    .. math::
        u_i = \mathrm{LN}\Big(h_i + W_o \big\Vert_{\text{heads}} \sum_{j \in \mathcal{N}(i) \cup \{i\}}
        w_{ji} \alpha_{ji} v_j + b\Big), \qquad h'_i = \mathrm{LN}(u_i + W_2 \mathrm{ReLU}(W_1 u_i))

    with :math:`\alpha` a softmax of :math:`q_i^\top k_j / \sqrt d`. The paper adds to :math:`q_i` and :math:`k_j` an
    embedding of whether the edge is there. Messages come over edges that are there, so it is the same for all of them
    and goes into the biases of queries and keys; only oneself is not told apart by it here. The released code reads it
    transposed, divides by d, counts a chosen self edge twice, and has an autoregressive decoder, which would be an
    exchange of messages in N turns; none of this is here.

    Edge weights gate after the softmax. On the wire: 2 F numbers, keys first; what an agent would say to itself is not
    sent.

    Args:
        channels: F = F'.
        heads: number of attention heads; divides ``channels``.
    """

    def __init__(self, channels: int, heads: int = 1) -> None:
        if heads < 1 or channels % heads:
            raise ConfigError(f"CommFormerComm splits channels={channels} over heads={heads}: expected a divisor.")
        super().__init__(channels, channels, 2 * channels, heads, channels // heads, own=True)
        self.lin_send, self.lin_query = nn.Linear(channels, 2 * channels), nn.Linear(channels, channels)
        self.lin_inbox = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels))
        self.norm_attention, self.norm_mlp = nn.LayerNorm(channels), nn.LayerNorm(channels)

    dense_inbox = AttendingComm.dense_inbox

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        attended = self.norm_attention(h + self.lin_inbox(inbox))
        combined: Tensor = self.norm_mlp(attended + self.mlp(attended))
        return combined
