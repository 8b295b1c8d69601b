"""DGN: rectified multi-head attention over neighbours and oneself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnncomm.layers.attending import AttendingComm


class DGNComm(AttendingComm):
    r"""One relation kernel of DGN (Jiang, Dun, Huang and Lu 2020, `Graph Convolutional Reinforcement Learning
    <https://arxiv.org/abs/1810.09202>`_, section 3.2).

    With :math:`q, k, v = \mathrm{ReLU}(W h)`, in each head

    .. math::
        \alpha_{ji} = \mathrm{softmax}_{j \in \mathcal{N}(i) \cup \{i\}} (q_i^\top k_j / \sqrt{d}), \qquad
        c_i = \mathrm{ReLU}\big(W_o \big\Vert_{\text{heads}} \sum_j w_{ji} \alpha_{ji} v_j + b\big), \qquad
        h'_i = P c_i

    The paper's Q reads the rows of all rounds side by side, :math:`Q = W [h^0, c^1, c^2]`. ``CommStack`` adds what each
    round returns to the row, so a linear head W reads :math:`W h^0 + W P_1 c^1 + W P_2 c^2`, which is any linear
    function of the three where W has rank A. That holds for ``CommStack(layers)``; in ``gnncomm train`` a tanh stands
    between. The second round reads the sum of the row before and what the paper's second round reads.

    The PyTorch version of its authors has one head, unscaled scores, no output layer and Q on the last row. Edge
    weights gate after the softmax. On the wire: 2 heads d numbers, keys first; what an agent would say to itself is not
    sent.

    Args:
        in_channels: F.
        out_channels: F'.
        heads: number of attention heads.
        head_channels: d, per head, of keys and of values.
    """

    def __init__(self, in_channels: int, out_channels: int, heads: int = 8, head_channels: int = 16) -> None:
        width = heads * head_channels
        super().__init__(in_channels, out_channels, 2 * width, heads, head_channels, own=True)
        self.lin_send = nn.Linear(in_channels, 2 * width)
        self.lin_query = nn.Linear(in_channels, width)
        self.lin_out = nn.Linear(width, out_channels)
        self.lin_place = nn.Linear(out_channels, out_channels, bias=False)

    def send(self, h: Tensor) -> Tensor:
        return torch.relu(self.lin_send(h))

    def ask(self, h: Tensor) -> Tensor:
        return torch.relu(self.lin_query(h))

    dense_inbox = AttendingComm.dense_inbox

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        combined: Tensor = self.lin_place(torch.relu(self.lin_out(inbox)))
        return combined
