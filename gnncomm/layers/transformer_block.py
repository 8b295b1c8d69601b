"""The plain baseline: a pre-norm transformer block whose tokens are messages."""

from __future__ import annotations

from torch import Tensor, nn

from gnncomm.errors import ConfigError
from gnncomm.layers.attending import AttendingComm


class TransformerComm(AttendingComm):
    r"""A transformer block (Vaswani et al. 2017, `Attention Is All You Need <https://arxiv.org/abs/1706.03762>`_,
    section 3; normalisation before the sublayers as in Xiong et al. 2020, `arXiv:2002.04745
    <https://arxiv.org/abs/2002.04745>`_) over the inbox and the own row.

    With :math:`n_j = \mathrm{LN}_1(h_j)`, keys :math:`k_j = W_k n_j` and values :math:`v_j = W_v n_j` of the sender,
    queries :math:`q_i = W_q n_i` by the receiver:

    .. math::
        \alpha_{ji} = \mathrm{softmax}_{j \in \mathcal{N}(i) \cup \{i\}} (q_i^\top k_j / \sqrt{d}), \qquad
        u_i = h_i + W_o \big\Vert_{\text{heads}} \sum_j w_{ji} \alpha_{ji} v_j

        h'_i = u_i + \mathrm{MLP}(\mathrm{LN}_2(u_i))

    The own key and value are not sent. Edge weights gate after the softmax. Who learned communication methods claim to
    beat should be at least this.

    On the wire: 2 F numbers, keys first.

    Args:
        channels: F = F'.
        heads: number of attention heads; divides ``channels``.
        expansion: width of the MLP as a multiple of ``channels``.
        residual: False returns :math:`h'_i - h_i`, for a caller that adds the row (``CommStack``).
    """

    def __init__(self, channels: int, heads: int = 4, expansion: int = 2, residual: bool = True) -> None:
        if heads < 1 or channels % heads or expansion < 1:
            raise ConfigError(
                f"TransformerComm needs heads >= 1 that divide channels={channels} and expansion >= 1, got "
                f"heads={heads}, expansion={expansion}."
            )
        super().__init__(channels, channels, 2 * channels, heads, channels // heads, own=True)
        self.residual = residual
        self.norm_attention, self.norm_mlp = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.lin_send = nn.Linear(channels, 2 * channels, bias=False)
        self.lin_query = nn.Linear(channels, channels, bias=False)
        self.lin_inbox = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, expansion * channels), nn.GELU(), nn.Linear(expansion * channels, channels)
        )

    def send(self, h: Tensor) -> Tensor:
        sent: Tensor = self.lin_send(self.norm_attention(h))
        return sent

    def ask(self, h: Tensor) -> Tensor:
        query: Tensor = self.lin_query(self.norm_attention(h))
        return query

    dense_inbox = AttendingComm.dense_inbox

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        attended = self.lin_inbox(inbox)
        change: Tensor = attended + self.mlp(self.norm_mlp(h + attended))
        return h + change if self.residual else change
