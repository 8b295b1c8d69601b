"""The graph attention filter of MAGAT as released."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from gnncomm.bench.reference.base import RecordedCase, Reference

_NO_EDGE = 1e12
_SMALL = 1e-9


class MagatNetwork(Reference):
    r"""A graph filter whose shift operator is made by attention, as the code of MAGAT has it.

    Li, Lin, Liu and Prorok 2021, `Message-Aware Graph Attention Networks for Large-Scale Multi-Robot Path Planning
    <https://arxiv.org/abs/2011.13219>`_. With the edges :math:`M_{ij} = [|S_{ij}| > 10^{-9}]` and, for
    every head p,

    .. math::
        e_{ij} &= x_i^\top W_p x_j \quad \text{(KeyQuery)} \\
        e_{ij} &= \mathrm{LeakyReLU}_{0.2}(a_1^\top u_j + a_2^\top u_i), \quad u = W_p x + b_p
                  \quad \text{(GAT\_modified)} \\
        a_{ij} &= M_{ij} \, \mathrm{softmax}_j(M_{ij} e_{ij} - 10^{12} (1 - M_{ij})), \qquad
        y_p = \sum_k H_{p,k} X A^k + b

    Heads are stacked after a relu, or averaged before it. In the mode KeyQuery ``mixer`` and ``weight_bias`` have no
    effect, and the released code runs only where F = G. The numbers are those of the filter alone.

    Args:
        in_channels: G.
        out_channels: F, per head.
        heads: P.
        taps: K, one more than the exchanges of messages.
        mode: ``KeyQuery`` or ``GAT_modified``.
        concatenate: stack the heads, or average them.
        bias: whether there is one.

    Shapes:
        x ``[B, G, N]``, shift ``[B, N, N]`` -> ``[B, P F, N]`` or ``[B, F, N]``.
    """

    title: ClassVar[str] = "MAGAT"
    source: ClassVar[str] = "https://github.com/proroklab/magat_pathplanning at 113af0f7e7"
    quirks: ClassVar[dict[str, str]] = {
        "rows": "attention is normalised over the receivers of a sender; what a receiver hears should add up to one",
        "no_self_loop": "an agent does not attend to itself; graph attention usually does",
        "unscaled": "KeyQuery does not divide by the root of the width, as dot-product attention usually does",
        "sparsity_only": "only whether S_ij is zero matters; the filter of the paper multiplies attention by S_ij",
    }

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        taps: int = 3,
        mode: str = "KeyQuery",
        concatenate: bool = True,
        bias: bool = True,
        without_quirks: Collection[str] = (),
    ) -> None:
        super().__init__(without_quirks)
        self.taps, self.key_query, self.concatenate = taps, mode == "KeyQuery", concatenate
        spread = (in_channels * heads) ** -0.5
        inner = in_channels if self.key_query else out_channels

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape).uniform_(-spread, spread))

        self.mixer = drawn(heads, 1, 2 * out_channels)
        self.weight_bias = drawn(heads, 1, out_channels)
        self.weight = drawn(heads, 1, inner, in_channels)
        self.filterWeight = drawn(heads, out_channels, 1, taps, in_channels)
        self.bias = drawn(out_channels, 1) if bias else None

    def attention(self, x: Tensor, shift: Tensor) -> Tensor:
        """``a_ij [B, P, 1, N, N]``: sender i, receiver j."""
        edges_BNN = shift.abs() > _SMALL
        if not self.has("no_self_loop"):
            edges_BNN = edges_BNN | torch.eye(shift.shape[-1], dtype=torch.bool, device=shift.device)
        present_B1NN = edges_BNN.to(x.dtype).unsqueeze(1)
        score_BPNN = self._score(x) * present_B1NN - _NO_EDGE * (1 - present_B1NN)
        alpha_BPNN = score_BPNN.softmax(-1 if self.has("rows") else -2) * present_B1NN
        if not self.has("sparsity_only"):
            alpha_BPNN = alpha_BPNN * torch.where(shift == 0, 1.0, shift).unsqueeze(1)  # 1 for a loop that S lacks
        return alpha_BPNN.unsqueeze(2)

    def _score(self, x_BGN: Tensor) -> Tensor:
        if self.key_query:
            score_BPNN = torch.einsum("bgi,pgf,bfj->bpij", x_BGN, self.weight[:, 0], x_BGN)
            return score_BPNN if self.has("unscaled") else score_BPNN / math.sqrt(x_BGN.shape[1])
        u_BPFN = torch.einsum("pfg,bgn->bpfn", self.weight[:, 0], x_BGN) + self.weight_bias[:, 0].unsqueeze(-1)
        of_j_PF, of_i_PF = self.mixer[:, 0].chunk(2, -1)
        of_j_BPN, of_i_BPN = (torch.einsum("pf,bpfn->bpn", a, u_BPFN) for a in (of_j_PF, of_i_PF))
        return leaky_relu(of_i_BPN.unsqueeze(-1) + of_j_BPN.unsqueeze(-2), 0.2)

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        alpha_BPNN = self.attention(x, shift).squeeze(2)
        z_BPGN = x.unsqueeze(1).expand(-1, alpha_BPNN.shape[1], -1, -1)
        out_BPFN = self.filterWeight[:, :, 0, 0] @ z_BPGN
        for k in range(1, self.taps):
            z_BPGN = z_BPGN @ alpha_BPNN
            out_BPFN = out_BPFN + self.filterWeight[:, :, 0, k] @ z_BPGN
        if self.bias is not None:
            out_BPFN = out_BPFN + self.bias
        return out_BPFN.relu().flatten(1, 2) if self.concatenate else out_BPFN.mean(1).relu()

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(hidden, hidden, without_quirks=without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        told = case.config
        network = cls(
            told["G"],
            told["F"],
            told["heads"],
            told["K"],
            told["mode"],
            told["concatenate"],
            told["bias"],
            without_quirks,
        )
        return network.load_recorded(case)

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        network, x, shift = cls.of_case(case, without_quirks), case.arrays["in/x"], case.arrays["in/gso"]
        return {"mid/attention": network.attention(x, shift), "out/y": network(x, shift)}
