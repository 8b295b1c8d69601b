"""Graph filters: sums of the rows of agents that are k exchanges away, a matrix for each k."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.typing import OptTensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers.base import CommLayer
from gnncomm.layers.stack import CommStack, shifts


class GraphFilterComm(CommLayer):
    r"""One shift of a graph filter (Gama et al. 2019, `Convolutional Neural Network Architectures for Signals Supported
    on Graphs <https://arxiv.org/abs/1805.00165>`_), as in Blumenkamp and Prorok 2020, `The Emergence of Adversarial
    Communication in Multi-Agent Reinforcement Learning <https://arxiv.org/abs/2008.02616>`_.

    .. math::
        h'_i = H_0 h_i + H_1 \sum_{j \in \mathcal{N}(i)} S_{ji} h_j + b

    With the edge weights :math:`w_{ji} = 1` unless the graph has some, :math:`S_{ji} = w_{ji} / |\mathcal{N}(i)|`,
    which a receiver knows from its inbox; or :math:`S_{ji} = w_{ji}` where not ``mean``, for teams that know degrees:
    ``symmetric_weights(graph)`` gives the weights of :math:`D^{-1/2} A D^{-1/2}`. K taps take K - 1 exchanges:
    ``GraphFilterComm.stack`` builds :math:`\sum_{k<K} H_k S^k h` out of layers that hand on the shifted signal beside
    the sum.

    The released code has two teams with matrices of their own, and median and minimum in place of the sum; see
    ``gnncomm.bench.reference``. On the wire: the signal, G numbers.

    Args:
        in_channels: F: G of the signal where ``first``, else F' of the sum so far and then G of the signal.
        out_channels: F'; and G more where not ``last``.
        signal_channels: G; None: F, the layer being the first.
        last: whether the shifted signal is dropped.
        mean: whether what was heard is averaged; else summed.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        signal_channels: int | None = None,
        last: bool = True,
        mean: bool = True,
    ) -> None:
        signal = in_channels if signal_channels is None else signal_channels
        sums = in_channels - signal
        filtered = out_channels if last else out_channels - signal
        if not 0 < signal <= in_channels or filtered < 1 or sums not in (0, filtered):
            raise ConfigError(
                f"GraphFilterComm: expected a row of the signal alone, or of {filtered} sums and the signal; got "
                f"in_channels={in_channels} with signal_channels={signal_channels}, out_channels={out_channels}."
            )
        super().__init__(in_channels, out_channels, signal, aggr="mean" if mean else "sum")
        self.first, self.last, self.mean = sums == 0, last, mean
        self.lin_self = nn.Linear(signal, filtered) if self.first else nn.Identity()
        self.lin_inbox = nn.Linear(signal, filtered, bias=False)

    def send(self, h: Tensor) -> Tensor:
        return h if self.first else h[..., -self.msg_channels :]

    def query(self, h: Tensor) -> Tensor:
        return h[..., :0]

    def message(self, msg_j: Tensor, edge_weight: OptTensor) -> Tensor:
        return msg_j if edge_weight is None else edge_weight.view(-1, 1) * msg_j

    def dense_inbox(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> Tensor:
        dtype = msg_GNM.dtype
        shift_GNN = graph.shares(dtype) if self.mean else graph.dense.transpose(1, 2).to(dtype)
        return torch.matmul(shift_GNN if graph.weight is None else shift_GNN * graph.weight.transpose(1, 2), msg_GNM)

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        so_far = self.lin_self(h) if self.first else h[..., : -self.msg_channels]
        filtered: Tensor = so_far + self.lin_inbox(inbox)
        return filtered if self.last else torch.cat([filtered, inbox], -1)

    @classmethod
    def stack(cls, in_channels: int, out_channels: int, taps: int, mean: bool = True) -> CommStack:
        r"""The filter :math:`\sum_{k < K} H_k S^k h + b` as K - 1 rounds, each with one exchange of the signal.

        Args:
            in_channels: G.
            out_channels: F'.
            taps: K.
            mean: as for the layers.

        Raises:
            ConfigError: fewer than two taps.
        """
        between = out_channels + in_channels
        return shifts(taps, in_channels, between, out_channels, lambda i, o, last: cls(i, o, in_channels, last, mean))


def symmetric_weights(graph: CommGraph) -> CommGraph:
    r"""``graph`` with the weights :math:`S_{ji} = w_{ji} / \sqrt{d_j d_i}`.

    :math:`d_j` is the out-degree of the sender and :math:`d_i` the in-degree of the receiver, sums of the weights
    :math:`w >= 0` that the graph has, or of 1. Both ends of an edge have to know
    the other's degree: it is common knowledge on a static topology, and one more number on the wire on others.
    """
    weight_E = graph.edge_weight
    if weight_E is None:
        weight_E = torch.ones(graph.num_edges, device=graph.device)
    num_nodes = graph.num_graphs * graph.num_agents
    sender_E, receiver_E = graph.edge_index
    out_degree_V, in_degree_V = (
        weight_E.new_zeros(num_nodes).index_add(0, node_E, weight_E) for node_E in (sender_E, receiver_E)
    )
    # A weight of 0 may leave a degree of 0.
    product_E = torch.where(weight_E == 0, 1.0, out_degree_V[sender_E] * in_degree_V[receiver_E])
    scaled_E = weight_E * product_E.rsqrt()
    sparse = graph.to_layout("sparse")
    return sparse.with_features(sparse.attr, scaled_E).to_layout(graph.layout)
