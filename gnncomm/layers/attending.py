"""Layers that weigh an inbox by attention: the receiver asks, what each sender said answers."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch_geometric.typing import OptPairTensor, OptTensor  # noqa: F401  PyG compiles `propagate` with them
from torch_geometric.utils import scatter, softmax

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers.base import CommLayer
from gnncomm.layers.fused import attend_over, dense_softmax, may_fuse, tiny
from gnncomm.layers.weighing import Attention, edges_of


class AttendingComm(CommLayer):
    r"""Base of the layers with attention: heads of scores, a softmax over the inbox, a weighted sum of values.

    .. code-block:: text

        q_i       = ask(h_i)                       own row only
        k_j, v_j  = parts(m_j)                     of what was delivered
        alpha_ji  = softmax over the inbox of i of score(q_i, k_j)
        c_i       = sum_j alpha_ji v_j

    With ``own``, an agent attends to what it would say itself, beside its inbox: made of its own row, so nothing of it
    is on the wire, and neither gates nor the medium touch it. Edge weights gate after the softmax, or, where a class
    sets ``weights_inside``, multiply the exponentials within it: :math:`\alpha_{ji} \propto w_{ji} e^{s_{ji}}` for
    :math:`w \ge 0`.

    Subclasses write ``combine``, and ``send`` and ``ask`` unless ``lin_send`` and ``lin_query`` are all they do; unless
    messages are keys followed by values and scores :math:`q_i^\top k_j / \sqrt{d}`, also ``parts``, ``score`` and
    ``dense_score``. ``alpha`` is an argument of ``message``, where PyG's ``AttentionExplainer`` finds it.

    Args:
        in_channels: F.
        out_channels: F'.
        msg_channels: M.
        heads: number of attention heads.
        key_channels: d, of each head.
        own: whether an agent attends to itself as well.
    """

    weights_inside: ClassVar[bool] = False

    def __init__(
        self, in_channels: int, out_channels: int, msg_channels: int, heads: int, key_channels: int, own: bool
    ) -> None:
        if heads < 1 or key_channels < 1:
            raise ConfigError(
                f"{type(self).__name__} needs heads >= 1 and key_channels >= 1, got {heads}, {key_channels}."
            )
        super().__init__(in_channels, out_channels, msg_channels, aggr="sum")
        self.heads, self.key_channels, self.own = heads, key_channels, own

    def send(self, h: Tensor) -> Tensor:
        sent: Tensor = self.lin_send(h)
        return sent

    def ask(self, h: Tensor) -> Tensor:
        """The receiver's queries: ``[..., F] -> [..., heads * d]``, row by row."""
        query: Tensor = self.lin_query(h)
        return query

    def query(self, h: Tensor) -> Tensor:
        query = self.ask(h)
        return torch.cat([query, self.send(h)], -1) if self.own else query

    def parts(self, msg: Tensor) -> tuple[Tensor, Tensor]:
        """Keys ``[..., heads, d]`` and values ``[..., heads, V]`` of messages ``[..., M]``, message by message."""
        keys = self.heads * self.key_channels
        key, value = msg.split([keys, msg.shape[-1] - keys], dim=-1)
        return key.unflatten(-1, (self.heads, -1)), value.unflatten(-1, (self.heads, -1))

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        """``[..., heads, d]`` twice -> ``[..., heads]``."""
        return (query * key).sum(-1) / math.sqrt(self.key_channels)

    def dense_score(self, query_GHNK: Tensor, key_GHNK: Tensor) -> Tensor:
        """``score`` of every receiver (row) with every sender (column): ``[G, heads, N, N]``."""
        score: Tensor = query_GHNK @ key_GHNK.transpose(-1, -2) / math.sqrt(self.key_channels)
        return score

    @property
    def _multiplies(self) -> bool:
        """Whether all there is to a score is a product, as torch's own attention has it."""
        return type(self).dense_score is AttendingComm.dense_score and not self.own

    def attention(
        self,
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = None,
        edge_weight: OptTensor = None,
        msg: OptTensor = None,
    ) -> Attention:
        r""":math:`\alpha` of every edge: ``(edge_index [2, E], alpha [E, heads])``; each inbox sums to 1.

        With ``own``, the attention of each agent to itself comes last, as an edge from it to itself.
        """
        edge_index, _, weight = edges_of(h, graph, edge_attr, edge_weight)
        rows = h.reshape(-1, self.in_channels)
        edges, _, alpha, _ = self._weigh(self.send(rows) if msg is None else msg, self.query(rows), edge_index, weight)
        return torch.stack([edges[0] % rows.shape[0], edges[1]]), alpha

    def edge_inbox(
        self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_attr: OptTensor, edge_weight: OptTensor
    ) -> Tensor:
        edges, value, alpha, weight = self._weigh(msg, query, edge_index, edge_weight)
        # propagate_type: (msg: OptPairTensor, alpha: Tensor, edge_weight: OptTensor)
        inbox: Tensor = self.propagate(
            edges,
            msg=(value, None),
            alpha=alpha,
            edge_weight=None if self.weights_inside else weight,
            size=(value.shape[0], query.shape[0]),
        )
        return inbox.flatten(1)

    def message(self, msg_j: Tensor, alpha: Tensor, edge_weight: OptTensor) -> Tensor:
        weight = alpha if edge_weight is None else alpha * edge_weight.view(-1, 1)
        return weight.unsqueeze(-1) * msg_j

    def _weigh(
        self, msg: Tensor, query: Tensor, edge_index: Tensor, edge_weight: OptTensor
    ) -> tuple[Tensor, Tensor, Tensor, OptTensor]:
        """Edges, values ``[S, heads, V]`` of the senders, alpha ``[E, heads]`` and weights; own ones come last."""
        receivers = query.shape[0]  # not len: an exported size may change
        if self.own:
            query, said = query.split([self.heads * self.key_channels, self.msg_channels], -1)
            agent = torch.arange(receivers, device=query.device)
            edge_index = torch.cat([edge_index, torch.stack([agent + msg.shape[0], agent])], 1)
            msg = torch.cat([msg, said])
            if edge_weight is not None:
                edge_weight = torch.cat([edge_weight, edge_weight.new_ones(receivers)])
        key, value = self.parts(msg)
        score = self.score(query.unflatten(-1, (self.heads, -1))[edge_index[1]], key[edge_index[0]])
        inside = edge_weight if self.weights_inside else None
        return edge_index, value, _softmax(score, edge_index[1], receivers, inside), edge_weight

    def dense_inbox(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> Tensor:
        key_GHNK, value_GHNV = (part.transpose(1, 2) for part in self.parts(msg_GNM))
        asked = self.heads * self.key_channels
        query_GHNK = query_GNQ[..., :asked].unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if graph.weight is None and self._multiplies and may_fuse(query_GNQ, msg_GNM):
            return attend_over(query_GHNK, key_GHNK, value_GHNV, graph).transpose(1, 2).flatten(2)
        score_GHNN = self.dense_score(query_GHNK, key_GHNK)
        hears_G1NN = graph.dense.transpose(1, 2).unsqueeze(1)  # receiver, sender
        weight_G1NN = None if graph.weight is None else graph.weight.transpose(1, 2).unsqueeze(1)
        own_GNHV = None
        if self.own:
            own_GNHK, own_GNHV = self.parts(query_GNQ[..., asked:])
            score_GHN = self.score(query_GHNK.transpose(1, 2), own_GNHK).transpose(1, 2)
            score_GHNN = torch.cat([score_GHNN, score_GHN.unsqueeze(-1)], -1)
            hears_G1NN, weight_G1NN = _with_own(hears_G1NN), None if weight_G1NN is None else _with_own(weight_G1NN)
        alpha_GHNN = dense_softmax(score_GHNN, hears_G1NN, weight_G1NN if self.weights_inside else None)
        if weight_G1NN is not None and not self.weights_inside:
            alpha_GHNN = alpha_GHNN * weight_G1NN
        inbox_GNHV = (alpha_GHNN[..., : msg_GNM.shape[1]] @ value_GHNV).transpose(1, 2)
        if own_GNHV is not None:
            inbox_GNHV = inbox_GNHV + alpha_GHNN[..., -1:].transpose(1, 2) * own_GNHV
        inbox: Tensor = inbox_GNHV.flatten(2)
        return inbox


def _with_own(edges_G1NN: Tensor) -> Tensor:
    """One more sender for each receiver: itself."""
    return torch.cat([edges_G1NN, torch.ones_like(edges_G1NN[..., :1])], -1)


def _softmax(score_EH: Tensor, receiver_E: Tensor, receivers: int, weight_E: OptTensor) -> Tensor:
    if weight_E is None:
        alpha: Tensor = softmax(score_EH, receiver_E, num_nodes=receivers)
        return alpha
    top_RH = scatter(score_EH.detach(), receiver_E, 0, receivers, "max")
    part_EH = weight_E.view(-1, 1) * (score_EH - top_RH[receiver_E]).exp()
    total_RH = scatter(part_EH, receiver_E, 0, receivers, "sum").clamp(min=tiny(score_EH))
    shares: Tensor = part_EH / total_RH[receiver_E]
    return shares
