"""ExpoComm: messages that remember, spread over an exponential graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.typing import OptTensor

from gnncomm.layers.attending import AttendingComm
from gnncomm.layers.base import CommLayer


class ExpoComm(AttendingComm):
    r"""The attention of ExpoComm (Li, Wang, Bai and Zhang 2025, "Exponential Topology-enabled Scalable Communication in
    Multi-agent Reinforcement Learning", ICLR, section 4) over the inbox and the own row.

    .. math::
        \alpha_{ji} = \mathrm{softmax}_{j \in \mathcal{N}(i) \cup \{i\}} (q_i^\top k_j / \sqrt{d}), \qquad
        h'_i = \sum_j w_{ji} \alpha_{ji} v_j, \qquad k, v, q = W h + b

    In the paper a message is a state of its own, made of earlier messages; the released network starts it at zero, so
    that nothing that was observed is ever said. Here the row says it all: with ``integration="previous"`` it is what
    the agent remembers, which is what it has observed and heard so far. So news spread over time along the graph, one
    exchange a step.

    Edge weights gate after the softmax. On the wire: d + F' numbers, keys first; what an agent would say to itself is
    not sent.

    Args:
        in_channels: F.
        out_channels: F'.
        key_channels: d.
    """

    def __init__(self, in_channels: int, out_channels: int, key_channels: int = 16) -> None:
        super().__init__(in_channels, out_channels, key_channels + out_channels, 1, key_channels, own=True)
        self.lin_send = nn.Linear(in_channels, key_channels + out_channels)
        self.lin_query = nn.Linear(in_channels, key_channels)

    dense_inbox = AttendingComm.dense_inbox

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        return inbox


class ExpoOnePeerComm(CommLayer):
    r"""The message cell of ExpoComm's one-peer form (Li and others 2025, as for ``ExpoComm``).

    .. math::
        c_i = \frac{1}{|\mathcal{N}(i)|} \sum_{j \in \mathcal{N}(i)} w_{ji} h_j, \qquad
        h'_i = \mathrm{GRU}(\mathrm{ReLU}(W [h_i, c_i] + b),\ h_i)

    where :math:`\mathcal{N}(i)` is one agent in the topology ``OnePeerExponential``; nothing heard reads as zeros. In
    the paper the message is a state m beside the hidden state, :math:`m_i = \mathrm{GRU}(\mathrm{ReLU}(W [h_i, m_j]),
    m_i)`; here the row is both, see ``ExpoComm``. On the wire: the row, F numbers.

    Args:
        channels: F = F'.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, channels, aggr="mean")
        self.lin_heard = nn.Linear(2 * channels, channels)
        self.cell = nn.GRUCell(channels, channels)

    def send(self, h: Tensor) -> Tensor:
        return h

    def message(self, msg_j: Tensor, edge_weight: OptTensor) -> Tensor:
        return msg_j if edge_weight is None else edge_weight.view(-1, 1) * msg_j

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        heard = torch.relu(self.lin_heard(torch.cat([h, inbox], -1)))
        rows: Tensor = self.cell(heard.reshape(-1, self.in_channels), h.reshape(-1, self.in_channels))
        return rows.view(h.shape)
