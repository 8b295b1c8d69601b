"""TarMAC: targeted messages, weighted by how well the sender's signature fits the receiver's query."""

from __future__ import annotations

import math
from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch_geometric.typing import OptTensor
from torch_geometric.utils import softmax

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers.base import Attention, CommLayer
from gnncomm.layers.kernels import Kernel, Linears
from gnncomm.layers.kernels.choose import attention_kernel


class AttentionComm(CommLayer):
    r"""Multi-head form of TarMAC (Das et al. 2019,
    `TarMAC: Targeted Multi-Agent Communication <https://arxiv.org/abs/1810.11187>`_, section 3.2, eq. 2-4).

    Each head has a signature :math:`k_j = W_k h_j` and a value :math:`v_j = W_v h_j` made by the sender, and a query
    :math:`q_i = W_q h_i` made by the receiver:

    .. math::
        \alpha_{ji} = \frac{\exp(q_i^\top k_j / \sqrt{d_k})}
                           {\sum_{l \in \mathcal{N}(i)} \exp(q_i^\top k_l / \sqrt{d_k})}, \qquad
        h'_i = W_h h_i + W_o \big\Vert_{\text{heads}} \sum_{j \in \mathcal{N}(i)} w_{ji} \alpha_{ji} v_j + b

    Edge weights :math:`w_{ji}` (1 unless the graph has some) gate after the softmax. The paper's agents attend to
    themselves as well: give the graph self-loops for that. On the wire: ``heads * (key_channels + value_channels)``
    numbers, signatures first. Several rounds: ``CommStack``.

    Args:
        in_channels: F.
        out_channels: F'.
        heads: number of attention heads.
        key_channels: d_k, per head (16 in the paper).
        value_channels: per head; None takes ``out_channels / heads``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 4,
        key_channels: int = 16,
        value_channels: int | None = None,
    ) -> None:
        if heads < 1 or key_channels < 1:
            raise ConfigError(f"AttentionComm needs heads >= 1 and key_channels >= 1, got {heads}, {key_channels}.")
        if value_channels is None and out_channels % heads:
            raise ConfigError(
                f"AttentionComm splits out_channels={out_channels} over heads={heads}, which does not divide it: "
                "choose other heads or give value_channels."
            )
        value_channels = out_channels // heads if value_channels is None else value_channels
        super().__init__(in_channels, out_channels, heads * (key_channels + value_channels), aggr="sum")
        self.heads, self.key_channels, self.value_channels = heads, key_channels, value_channels
        self.lin_send = nn.Linear(in_channels, self.msg_channels, bias=False)
        self.lin_query = nn.Linear(in_channels, heads * key_channels, bias=False)
        self.lin_self = nn.Linear(in_channels, out_channels)
        self.lin_inbox = nn.Linear(heads * value_channels, out_channels, bias=False)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for module in (self.lin_send, self.lin_query, self.lin_self, self.lin_inbox):
            module.reset_parameters()

    def send(self, h: Tensor) -> Tensor:
        sent: Tensor = self.lin_send(h)
        return sent

    def listen(self, h: Tensor) -> Tensor:
        query: Tensor = self.lin_query(h)
        return query

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        combined: Tensor = self.lin_self(h) + self.lin_inbox(inbox)
        return combined

    @overload
    def forward(
        self,
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = ...,
        edge_weight: OptTensor = ...,
        return_attention_weights: Literal[False] = ...,
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = ...,
        edge_weight: OptTensor = ...,
        *,
        return_attention_weights: Literal[True],
    ) -> tuple[Tensor, Attention]: ...

    def forward(
        self,
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = None,
        edge_weight: OptTensor = None,
        return_attention_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Attention]:
        out = super().forward(h, graph, edge_attr, edge_weight)
        return (out, self.attention(h, graph)) if return_attention_weights else out

    def attention(self, h: Tensor, graph: CommGraph | Tensor) -> Attention:
        r""":math:`\alpha` of every edge: ``(edge_index [2, E], alpha [E, heads])``; each inbox sums to 1."""
        if isinstance(graph, CommGraph):
            graph = graph.expand(h.shape[:-2].numel()).edge_index
        rows = h.reshape(-1, self.in_channels)
        sender, receiver = graph
        query_i, (key_j, _) = self.listen(rows)[receiver], self._split(self.send(rows)[sender])
        return graph, self._alpha(query_i, key_j, receiver, None, rows.shape[0])

    def message(
        self, msg_j: Tensor, h_i: Tensor, edge_weight: OptTensor, index: Tensor, ptr: OptTensor, size_i: int | None
    ) -> Tensor:
        key_j, value_j = self._split(msg_j)
        alpha = self._alpha(h_i, key_j, index, ptr, size_i)
        if edge_weight is not None:
            alpha = alpha * edge_weight.view(-1, 1)
        return (alpha.unsqueeze(-1) * value_j).flatten(1)

    def _alpha(self, query_i: Tensor, key_j: Tensor, index: Tensor, ptr: OptTensor, size_i: int | None) -> Tensor:
        score = (query_i.view(-1, self.heads, self.key_channels) * key_j).sum(-1) / math.sqrt(self.key_channels)
        alpha: Tensor = softmax(score, index, ptr, size_i)
        return alpha

    def _split(self, msg: Tensor) -> tuple[Tensor, Tensor]:
        key, value = msg.split([self.heads * self.key_channels, self.heads * self.value_channels], dim=-1)
        return key.unflatten(-1, (self.heads, -1)), value.unflatten(-1, (self.heads, -1))

    def dense_inbox(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> Tensor:
        key_GNHK, value_GNHV = self._split(msg_GNM)
        query_GHNK = query_GNQ.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        hears_G1NN = graph.dense.transpose(1, 2).unsqueeze(1)  # receiver, sender
        score_GHNN = query_GHNK @ key_GNHK.permute(0, 2, 3, 1) / math.sqrt(self.key_channels)
        # An empty inbox has no softmax: give it a finite one, then choose zeros.
        masked_GHNN = torch.where(hears_G1NN | ~hears_G1NN.any(-1, keepdim=True), score_GHNN, -torch.inf)
        alpha_GHNN = torch.where(hears_G1NN, masked_GHNN.softmax(-1), 0.0)
        if graph.weight is not None:
            alpha_GHNN = alpha_GHNN * torch.where(graph.dense, graph.weight, 0.0).transpose(1, 2).unsqueeze(1)
        inbox: Tensor = (alpha_GHNN @ value_GNHV.transpose(1, 2)).transpose(1, 2).flatten(2)
        return inbox

    def kernel(self, graph: CommGraph, h: Tensor) -> Kernel | None:
        return attention_kernel(graph, h, self.heads, self.key_channels, self.value_channels)

    def linears(self) -> Linears:
        return Linears(self.lin_send, self.lin_query, self.lin_self, self.lin_inbox)
