"""DICG as released: the communication core."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from gnncomm.bench.reference.base import RecordedCase, Reference
from gnncomm.errors import ConfigError

ATTENTION = ("general", "dot", "diff", "identity", "uniform")


class DICGNetwork(Reference):
    r"""The communication core of DICG's released code; heads are its user's.

    Li, Gupta, Morales, Allen and Kochenderfer 2021, `Deep Implicit Coordination Graphs for Multi-agent Reinforcement
    Learning <https://arxiv.org/abs/2006.11438>`_, section 4:

    .. math::
        E_i = \tanh(W_2 \tanh(W_1 o_i)), \qquad M_{ij} = \mathrm{softmax}_j(s_{ij}), \qquad
        H^{l+1} = \tanh(M H^l W_l + b_l),\ H^0 = E, \qquad \text{out} = E + H^L

    with :math:`s_{ij} = (W_a E_i)^\top E_j` (general), :math:`E_i^\top E_j` (dot) or
    :math:`\tanh(w^\top |E_i - E_j|)` (diff); M = I (identity) or 1/N (uniform).

    The released code keeps the graph convolutions in a plain list: its optimiser never sees their weights, which stay
    as they were drawn. Here they have their places among the parameters, but ask for no gradient unless
    ``trained_graph``. Its identity attention is wrong for inputs of four axes (it writes on the time axis); that was
    not recorded and is not reproduced.

    Args:
        obs_dim: D.
        hidden: widths of the encoder's hidden layers.
        embedding: H.
        attention: one of ``ATTENTION``.
        rounds: graph convolutions.
        bias: of the graph convolutions.
        trained_graph: whether the graph convolutions learn.

    Shapes:
        obs ``[..., N, D]`` -> attention ``[..., N receiver, N sender]`` and the rows ``[..., N, H]`` after 0, 1, ...
        convolutions.
    """

    title: ClassVar[str] = "DICG"
    source: ClassVar[str] = "https://github.com/sisl/DICG at 0be826eeec"
    quirks: ClassVar[dict[str, str]] = {
        "unscaled": "scores are sums of H products; expected: divided by the square root of H",
        "self": "an agent attends to its own row as to any other; expected of a graph: to its neighbours only",
    }

    def __init__(
        self,
        obs_dim: int,
        hidden: Sequence[int] = (128,),
        embedding: int = 64,
        attention: str = "general",
        rounds: int = 2,
        bias: bool = True,
        trained_graph: bool = False,
        without_quirks: Collection[str] = (),
    ) -> None:
        super().__init__(without_quirks)
        if attention not in ATTENTION:
            raise ConfigError(f"Expected an attention of DICG, one of {', '.join(ATTENTION)}; got {attention!r}.")
        self.encoder = _Encoder(obs_dim, hidden, embedding)
        self.attention_layer = _Attention(embedding, attention)
        self.gcn_layers = nn.ModuleList(_GraphConvolution(embedding, bias) for _ in range(rounds))
        self.gcn_layers.requires_grad_(trained_graph)

    def forward(self, obs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The attention, and the rows before the first and after each graph convolution."""
        rows = [self.encoder(obs)]
        attention_NN = self._attend(rows[0])
        for layer in self.gcn_layers:
            rows.append(torch.tanh(layer(rows[-1], attention_NN)))
        return attention_NN, rows

    def _attend(self, row_NH: Tensor) -> Tensor:
        score_NN = self.attention_layer(row_NH)
        if not self.has("unscaled"):
            score_NN = score_NN / row_NH.shape[-1] ** 0.5
        own_NN = torch.eye(row_NH.shape[-2], dtype=torch.bool, device=row_NH.device)
        if self.attention_layer.kind == "identity":
            score_NN = torch.where(own_NN, 0.0, -torch.inf).to(row_NH).expand_as(score_NN)
        elif not self.has("self"):
            score_NN = torch.where(own_NN, -torch.inf, score_NN)
        attention_NN: Tensor = score_NN.softmax(-1)
        return attention_NN

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(obs_dim, (2 * hidden,), hidden, without_quirks=without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        about = case.config
        network = cls(
            about["obs_size"],
            about["encoder_hidden_sizes"],
            about["embedding_dim"],
            about["attention_type"],
            about["n_gcn_layers"],
            about["gcn_bias"],
            without_quirks=without_quirks,
        )
        return network.load_recorded(case)

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        with torch.no_grad():
            attention, rows = cls.of_case(case, without_quirks)(case.arrays["in/obs"])
        embeddings = {f"mid/embedding_{number}": row for number, row in enumerate(rows)}
        return {**embeddings, "out/attention": attention, "out/residual": rows[0] + rows[-1]}


class _Layer(nn.Module):
    """A linear layer under the name that it has in the encoder."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(x))


class _Encoder(nn.Module):
    def __init__(self, obs_dim: int, hidden: Sequence[int], embedding: int) -> None:
        super().__init__()
        widths = [obs_dim, *hidden]
        self._layers = nn.ModuleList(_Layer(*pair) for pair in pairwise(widths))
        self._output_layers = nn.ModuleList([_Layer(widths[-1], embedding)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in (*self._layers, *self._output_layers):
            x = layer(x)
        return x


class _Attention(nn.Module):
    """Scores ``[..., N receiver, N sender]``; the parameters are those that its kind has."""

    def __init__(self, embedding: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        if kind in ("general", "diff"):
            self.linear_in = nn.Linear(embedding, embedding if kind == "general" else 1, bias=False)

    def forward(self, row_NH: Tensor) -> Tensor:
        if self.kind in ("general", "dot"):
            query_NH = self.linear_in(row_NH) if self.kind == "general" else row_NH
            return query_NH @ row_NH.transpose(-1, -2)
        if self.kind == "diff":
            apart_NNH = (row_NH.unsqueeze(-2) - row_NH.unsqueeze(-3)).abs()
            score: Tensor = self.linear_in(apart_NNH).squeeze(-1).tanh()
            return score
        return row_NH.new_zeros(*row_NH.shape[:-1], row_NH.shape[-2])


class _GraphConvolution(nn.Module):
    """M (H W) + b, with W stored [in, out]."""

    def __init__(self, embedding: int, bias: bool) -> None:
        super().__init__()
        bound = embedding**-0.5
        self.weight = nn.Parameter(torch.empty(embedding, embedding).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(embedding).uniform_(-bound, bound)) if bias else None

    def forward(self, row_NH: Tensor, attention_NN: Tensor) -> Tensor:
        out = attention_NN @ (row_NH @ self.weight)
        return out if self.bias is None else out + self.bias
