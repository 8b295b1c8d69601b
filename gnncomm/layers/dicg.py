"""DICG: attention as the weights of a graph convolution."""

from __future__ import annotations

from torch import Tensor, nn

from gnncomm.layers.attending import AttendingComm


class DICGComm(AttendingComm):
    r"""One graph convolution of DICG (Li, Gupta, Morales, Allen and Kochenderfer 2021, `Deep Implicit Coordination
    Graphs for Multi-agent Reinforcement Learning <https://arxiv.org/abs/2006.11438>`_, section 4).

    .. math::
        M_{ji} = \mathrm{softmax}_{j \in \mathcal{N}(i) \cup \{i\}} (h_j^\top W_a h_i), \qquad
        h'_i = W \sum_j w_{ji} M_{ji} h_j + b

    The tanh and the residual sum are those of ``CommStack(layers, nn.Tanh())``. The paper's scores are not scaled, and
    so are these. Edge weights gate after the softmax. On the wire: the row, F numbers; what an agent would say to
    itself is not sent.

    In the paper the attention is made once, of the rows before the first round, and used in all rounds. Here each round
    makes its own, of the rows before that round, since an agent hands on nothing but its row. One round with residual
    is the paper's network with one convolution. In the released code the W and b are never trained; here they are.

    Args:
        in_channels: F.
        out_channels: F'.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, in_channels, 1, in_channels, own=True)
        self.lin_query = nn.Linear(in_channels, in_channels, bias=False)
        self.lin_inbox = nn.Linear(in_channels, out_channels)

    def send(self, h: Tensor) -> Tensor:
        return h

    def parts(self, msg: Tensor) -> tuple[Tensor, Tensor]:
        row = msg.unsqueeze(-2)
        return row, row

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return (query * key).sum(-1)

    def dense_score(self, query_GHNK: Tensor, key_GHNK: Tensor) -> Tensor:
        score: Tensor = query_GHNK @ key_GHNK.transpose(-1, -2)
        return score

    dense_inbox = AttendingComm.dense_inbox

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        combined: Tensor = self.lin_inbox(inbox)
        return combined
