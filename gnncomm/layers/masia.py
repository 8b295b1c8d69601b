"""MASIA: self-attention among the messages of an inbox, read through a gate of the receiver."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch_geometric.typing import OptTensor
from torch_geometric.utils import scatter

from gnncomm.layers.attending import AttendingComm


class MASIAComm(AttendingComm):
    r"""The aggregation of Guan et al. 2022, Efficient Multi-agent Communication via Self-supervised Information
    Aggregation (MASIA): all messages attend to each other, their mean is encoded, a gate focuses.

    .. math::
        \alpha_{ji} &= \frac{1}{|\mathcal{N}(i)|} \sum_{l \in \mathcal{N}(i)}
                       \mathrm{softmax}_{j \in \mathcal{N}(i)} (W_q m_l \cdot W_k m_j / \sqrt{d}), \qquad
        z_i = \mathrm{enc} \Big( \sum_j w_{ji} \alpha_{ji} W_v m_j \Big) \\
        h'_i &= W_h h_i + W_z (\sigma(W_g h_i) \odot z_i) + b

    with ``enc`` two layers and :math:`m_j = W_m h_j`. The order of the messages does not matter, and their number may
    change. In the released code a place is reserved for each of N agents and their encodings stand side by side, so
    that nothing is averaged; :math:`z` is the same for all agents, one's own message among them (give the graph
    self-loops for that); a recurrent cell stands before ``enc``; and :math:`z` is trained to predict the state and its
    own future, which is not here. An empty inbox encodes zeros. On the wire: M numbers.

    Memory grows with the square of the largest inbox; compiled or exported, with the square of the number of edges.

    Args:
        in_channels: F.
        out_channels: F'.
        msg_channels: M.
        key_channels: d (16 in the released code).
        code_channels: width of z; None: F'.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        msg_channels: int = 32,
        key_channels: int = 16,
        code_channels: int | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels, msg_channels, heads=1, key_channels=key_channels, own=False)
        code = out_channels if code_channels is None else code_channels
        self.lin_send = nn.Linear(in_channels, msg_channels)
        self.lin_query = nn.Linear(msg_channels, key_channels, bias=False)
        self.lin_key = nn.Linear(msg_channels, key_channels, bias=False)
        self.lin_value = nn.Linear(msg_channels, msg_channels, bias=False)
        self.lin_gate = nn.Linear(in_channels, code)
        self.lin_self = nn.Linear(in_channels, out_channels)
        self.lin_inbox = nn.Linear(code, out_channels, bias=False)
        self.encode = nn.Sequential(nn.Linear(msg_channels, code), nn.ReLU(), nn.Linear(code, code))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        # Five maps stand between a row and who hears it: PyTorch's default would shrink what is said to nothing.
        for module in (self.lin_send, self.lin_value, *self.encode, self.lin_inbox):
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, 2**0.5 if module is self.encode[0] else 1.0)

    def ask(self, h: Tensor) -> Tensor:
        return h[..., :0]

    def _weigh(
        self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_weight: OptTensor
    ) -> tuple[Tensor, Tensor, Tensor, OptTensor]:
        alpha = self._shares(msg[edge_index[0]], edge_index[1], query.shape[0])
        return edge_index, self.lin_value(msg).unsqueeze(1), alpha, edge_weight

    def _shares(self, msg_j: Tensor, index: Tensor, inboxes: int) -> Tensor:
        """``alpha [E, 1]``, from messages ``[E, M]`` that receiver ``index [E]`` reads."""
        if torch.compiler.is_compiling():
            return self._shares_of_all_pairs(msg_j, index)
        slot_E, largest = places_in_inboxes(index, inboxes)
        present_RS = torch.zeros(inboxes, largest, dtype=torch.bool, device=index.device)
        present_RS[index, slot_E] = True

        def laid_out(value_EK: Tensor) -> Tensor:
            return value_EK.new_zeros(inboxes, largest, value_EK.shape[-1]).index_put((index, slot_E), value_EK)

        query_RSK, key_RSK = laid_out(self.lin_query(msg_j)), laid_out(self.lin_key(msg_j))
        score_RSS = query_RSK @ key_RSK.transpose(1, 2) / math.sqrt(self.key_channels)
        # An empty inbox has no softmax; nothing is read from it.
        masked_RSS = torch.where(present_RS.unsqueeze(1) | ~present_RS.any(-1).view(-1, 1, 1), score_RSS, -torch.inf)
        weight_RSS = torch.where(present_RS.unsqueeze(2), masked_RSS.softmax(-1), 0.0)
        alpha_RS = weight_RSS.sum(1) / present_RS.sum(-1, keepdim=True).clamp(min=1)
        return alpha_RS[index, slot_E].unsqueeze(-1)

    def _shares_of_all_pairs(self, msg_j: Tensor, index: Tensor) -> Tensor:
        """The same in shapes that do not depend on who hears whom: every message is compared with every other."""
        together_EE = index.unsqueeze(1) == index
        score_EE = self.lin_query(msg_j) @ self.lin_key(msg_j).t() / math.sqrt(self.key_channels)
        share_EE = torch.where(together_EE, score_EE, -torch.inf).softmax(-1)
        weight_EE = torch.where(together_EE, share_EE, 0.0)  # a broken message spoils whole rows
        return (weight_EE.sum(0) / together_EE.sum(0)).unsqueeze(-1)

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        focused = self.lin_gate(h).sigmoid() * self.encode(inbox)
        combined: Tensor = self.lin_self(h) + self.lin_inbox(focused)
        return combined


def places_in_inboxes(index: Tensor, num_receivers: int) -> tuple[Tensor, int]:
    """The place ``[E]`` of each message in the inbox ``index [E]`` that it is in, and the size of the largest inbox."""
    count_R = scatter(torch.ones_like(index), index, 0, num_receivers, reduce="sum")
    sorted_E, order_E = index.sort(stable=True)
    place_E = torch.arange(index.shape[0], device=index.device) - (count_R.cumsum(0) - count_R)[sorted_E]
    return torch.empty_like(index).index_put((order_E,), place_E), int(count_R.max()) if num_receivers else 0
