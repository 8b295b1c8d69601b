"""The graph encoder of InforMARL as released."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch_geometric.nn import TransformerConv

from gnncomm.bench.reference.base import RecordedCase, Reference

ENTITY_TYPES = 3
ENTITY_WIDTH = 4


class EmbedConvNetwork(nn.Module):
    """The first convolution: every node adds up its embedded neighbours. Activation and norm are one for all layers."""

    def __init__(self, features: int, hidden: int, layers: int, activation: nn.Module, norm: bool) -> None:
        super().__init__()
        self.activation = activation
        self.layer_norm: nn.Module = nn.LayerNorm(hidden) if norm else nn.Identity()
        self.entity_embed = nn.Embedding(ENTITY_TYPES, ENTITY_WIDTH)
        self.lin1 = nn.Linear(features + ENTITY_WIDTH + 1, hidden)
        self.layers = nn.ModuleList()
        for _ in range(layers):
            self.layers.extend([nn.Linear(hidden, hidden), activation, self.layer_norm])

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """``x [V, F + 1]`` with the type in the last column, ``edge_attr [E, 1]`` -> ``[V, H]``."""
        sender_E, receiver_E = edge_index
        named = torch.cat([x[:, :-1], self.entity_embed(x[:, -1].long())], -1)
        message = self.layer_norm(self.activation(self.lin1(torch.cat([named[sender_E], edge_attr], -1))))
        for layer in self.layers:
            message = layer(message)
        embedded: Tensor = message.new_zeros(len(x), message.shape[-1]).index_add(0, receiver_E, message)
        return embedded


class InforMARLNetwork(Reference):
    r"""The graph encoder over agents and other entities, as the code of InforMARL has it.

    Nayak et al. 2023, `Scalable Multi-Agent Reinforcement Learning through Intelligent Information Aggregation
    <https://arxiv.org/abs/2211.02127>`_. An edge s -> r with the feature :math:`e = D_{sr}` is where
    :math:`0 < D_{sr} < d`; then

    .. math::
        x_r = \sum_s f([o_s, \mathrm{Emb}(\mathrm{type}_s), D_{sr}]), \qquad
        y = \sigma(\mathrm{conv}_L(\dots \sigma(\mathrm{conv}_1(x))))

    with :math:`f` layers of (linear, :math:`\sigma`, layer norm) and graph transformers ``conv`` with edge features
    (Shi et al. 2021, ``torch_geometric.nn.TransformerConv``). Rows of nodes come out, or their mean, maximum or sum.
    All layer norms of :math:`f` are one module, which no recorded number shows. A node without neighbours is embedded
    as 0.

    Args:
        features: F, without the type.
        hidden: H, of the convolutions.
        embed_hidden: width of the embedding.
        heads: of every convolution.
        concat_heads: stack them, or average them.
        relu: else tanh.
        layer_norm: whether f normalises.
        embed_layers, conv_layers: further layers of f, and convolutions after the first.
        pool: ``mean``, ``max`` or ``add`` over nodes; None: rows.
        max_edge_dist: d.

    Shapes:
        nodes ``[B, N, F + 1]`` (the last column is the type), distances ``[B, N, N]`` -> ``[B N, C]`` or ``[B, C]``.
    """

    title: ClassVar[str] = "InforMARL"
    source: ClassVar[str] = "https://github.com/nsidn98/InforMARL at 7d3c42a660"
    quirks: ClassVar[dict[str, str]] = {
        "no_self": "a node's own features never enter its own embedding; with a self-loop of distance 0 they would",
    }

    def __init__(
        self,
        features: int,
        hidden: int = 16,
        embed_hidden: int = 16,
        heads: int = 3,
        concat_heads: bool = False,
        relu: bool = True,
        layer_norm: bool = True,
        embed_layers: int = 1,
        conv_layers: int = 2,
        pool: str | None = None,
        max_edge_dist: float = 1.0,
        without_quirks: Collection[str] = (),
    ) -> None:
        super().__init__(without_quirks)
        self.pool, self.max_edge_dist = pool, max_edge_dist
        self.activation: nn.Module = nn.ReLU() if relu else nn.Tanh()
        self.embed_layer = EmbedConvNetwork(features, embed_hidden, embed_layers, self.activation, layer_norm)
        width = hidden * heads if concat_heads else hidden
        self.gnn1 = TransformerConv(embed_hidden, hidden, heads, concat_heads, edge_dim=1)
        self.gnn2 = nn.ModuleList(
            TransformerConv(width, hidden, heads, concat_heads, edge_dim=1) for _ in range(conv_layers)
        )

    def edges(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """``edge_index [2, E]`` over the nodes of all environments, and the distances ``[E, 1]``."""
        env_E, sender_E, receiver_E = ((distance > 0) & (distance < self.max_edge_dist)).nonzero(as_tuple=True)
        edge_index = torch.stack([sender_E, receiver_E]) + env_E * distance.shape[1]
        return edge_index, distance[env_E, sender_E, receiver_E].unsqueeze(-1)

    def embed(self, nodes: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """``[V, F + 1] -> [V, H]``."""
        if not self.has("no_self"):
            own_V = torch.arange(len(nodes), device=nodes.device)
            edge_index = torch.cat([edge_index, torch.stack([own_V, own_V])], 1)
            edge_attr = torch.cat([edge_attr, edge_attr.new_zeros(len(nodes), 1)])
        embedded: Tensor = self.embed_layer(nodes, edge_index, edge_attr)
        return embedded

    def convolve(self, first: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """Everything after the first convolution: ``[V, C] -> [V, C]``."""
        rows: Tensor = self.activation(first)
        for conv in self.gnn2:
            rows = self.activation(conv(rows, edge_index, edge_attr))
        return rows

    def pooled(self, rows: Tensor, num_envs: int) -> Tensor:
        """What the encoder gives out; only a central critic reads the rows of all nodes at once."""
        rows_BNC = rows.view(num_envs, -1, rows.shape[-1])
        if self.pool is None:
            return rows
        if self.pool == "max":
            return rows_BNC.amax(1)
        return rows_BNC.mean(1) if self.pool == "mean" else rows_BNC.sum(1)

    def forward(self, nodes: Tensor, distance: Tensor) -> Tensor:
        edge_index, edge_attr = self.edges(distance)
        first = self.gnn1(self.embed(nodes.flatten(0, 1), edge_index, edge_attr), edge_index, edge_attr)
        return self.pooled(self.convolve(first, edge_index, edge_attr), len(nodes))

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(obs_dim, hidden, hidden, without_quirks=without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        told = case.config
        network = cls(
            told["feat"],
            told["hidden"],
            told["embed_hidden"],
            told["heads"],
            told["concat_heads"],
            told["use_relu"],
            told["layer_norm"],
            told["embed_layer_N"],
            told["layer_N"],
            told["global_aggr_type"] if told["graph_aggr"] == "global" else None,
            told["max_edge_dist"],
            without_quirks,
        )
        return network.load_recorded(case)

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        network, nodes = cls.of_case(case, without_quirks), case.arrays["in/node_obs"]
        edge_index, edge_attr = network.edges(case.arrays["in/adj"])
        embedded = network.embed(nodes.flatten(0, 1), edge_index, edge_attr)
        first = network.gnn1(embedded, edge_index, edge_attr)
        rows = network.convolve(first, edge_index, edge_attr)
        return {
            "mid/edge_index": edge_index,
            "mid/edge_attr": edge_attr,
            "mid/embed": embedded,
            "mid/gnn1": first,
            "out/out": network.pooled(rows, len(nodes)),
        }
