"""The graph filter of adversarial communication as released."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from gnncomm.bench.reference.base import RecordedCase, Reference


class GraphFilterNetwork(Reference):
    r"""The graph filter of two teams, as the code of adversarial communication has it.

    Blumenkamp and Prorok 2020, `The Emergence of Adversarial Communication in Multi-Agent Reinforcement Learning
    <https://arxiv.org/abs/2008.02616>`_. With the shift operator :math:`S` (there
    :math:`D^{-1/2} A D^{-1/2}`), the taps :math:`H_k` of the team of agent j, and an aggregation that is a sum, a
    median or a minimum,

    .. math::
        y_j = H_0 x_j + H_1 \operatorname{agg}_i (S_{ij} x_i) \quad (K = 2), \qquad
        y_j = \operatorname{agg}_k (H_k (X S^k)_j) + b \quad (K \ne 2)

    The numbers are those of the filter alone, without the convolutions before it and the heads behind it. The released
    path for K != 2 runs only where F = G.

    Args:
        in_channels: G.
        out_channels: F.
        taps: K, one more than the exchanges of messages.
        first_team: how many agents, from the first on, use ``weight0`` (which is ``weight``); the others ``weight1``.
        aggregation: ``sum``, ``median`` or ``min``.
        bias: whether there is one.

    Shapes:
        x ``[B, G, N]``, shift ``[B, N, N]`` -> ``[B, F, N]``.
    """

    title: ClassVar[str] = "Adversarial Comms (graph filter)"
    source: ClassVar[str] = "https://github.com/proroklab/adversarial_comms at 889a41e239"
    quirks: ClassVar[dict[str, str]] = {
        "no_bias": "two taps never add the bias that the filter has; every filter would",
        "absent_zeros": "median and minimum run over all agents, absent ones as zeros; expected: over neighbours",
        "lower_median": "of an even number of values the lower middle one is the median; expected: the mean of the two",
        "taps": "other than two taps are aggregated over taps; expected: neighbours are aggregated, taps are added",
        "columns": "agent j sums over the column S_ij; a shift S x sums over the row S_ji",
    }

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        taps: int = 2,
        first_team: int = 0,
        aggregation: str = "sum",
        bias: bool = True,
        without_quirks: Collection[str] = (),
    ) -> None:
        super().__init__(without_quirks)
        self.taps, self.first_team, self.aggregation = taps, first_team, aggregation
        spread = (in_channels * taps) ** -0.5
        self.weight = nn.Parameter(torch.empty(out_channels, 1, taps, in_channels).uniform_(-spread, spread))
        self.weight0 = self.weight
        self.weight1 = nn.Parameter(torch.empty_like(self.weight.data).uniform_(-spread, spread))
        self.bias = nn.Parameter(torch.empty(out_channels, 1).uniform_(-spread, spread)) if bias else None

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        shift_BNN = shift if self.has("columns") else shift.transpose(1, 2)
        if self.taps == 2 or not self.has("taps"):
            out_BFN = self._filtered(x, shift_BNN)
            biased = self.taps != 2 or not self.has("no_bias")
        else:
            out_BFN = self._reduced_over_taps(x, shift_BNN)
            biased = True
        return out_BFN + self.bias if biased and self.bias is not None else out_BFN

    def _filtered(self, x_BGN: Tensor, shift_BNN: Tensor) -> Tensor:
        """Neighbours aggregated at every shift, taps added."""
        out_BFN = self._tap(0, x_BGN)
        for k in range(1, self.taps):
            x_BGN = self._reduce(x_BGN.unsqueeze(-1) * shift_BNN.unsqueeze(1), (shift_BNN != 0).unsqueeze(1), 2)
            out_BFN = out_BFN + self._tap(k, x_BGN)
        return out_BFN

    def _reduced_over_taps(self, x_BGN: Tensor, shift_BNN: Tensor) -> Tensor:
        tapped = [self._tap(0, x_BGN)]
        for k in range(1, self.taps):
            x_BGN = x_BGN @ shift_BNN
            tapped.append(self._tap(k, x_BGN))
        tapped_BFNK = torch.stack(tapped, -1)
        return self._reduce(tapped_BFNK, torch.ones_like(tapped_BFNK, dtype=torch.bool), -1)

    def _tap(self, k: int, x_BGN: Tensor) -> Tensor:
        first_N = torch.arange(x_BGN.shape[-1], device=x_BGN.device) < self.first_team
        return torch.where(first_N, self.weight0[:, 0, k] @ x_BGN, self.weight1[:, 0, k] @ x_BGN)

    def _reduce(self, values: Tensor, present: Tensor, dim: int) -> Tensor:
        if self.aggregation == "sum":
            return values.sum(dim)
        if self.has("absent_zeros"):
            present = torch.ones_like(present)
        count = present.sum(dim, keepdim=True)
        ordered = torch.where(present, values, torch.inf).sort(dim).values
        if self.aggregation == "min":
            middle = ordered.narrow(dim, 0, 1)
        else:
            count = count.expand_as(ordered.narrow(dim, 0, 1))
            lower = ordered.gather(dim, (count - 1).clamp(min=0) // 2)
            upper = ordered.gather(dim, (count // 2).clamp(max=ordered.shape[dim] - 1))
            middle = lower if self.has("lower_median") else (lower + upper) / 2
        return torch.where(count > 0, middle, 0.0).squeeze(dim)

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(hidden, hidden, first_team=num_agents, without_quirks=without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        told, width = case.config, case.config["features"]
        network = cls(width, width, told["K"], told["N0"], told["aggregation"], told["bias"], without_quirks)
        return network.load_recorded(case)

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        network = cls.of_case(case, without_quirks)
        return {"out/y": network(case.arrays["in/x"], case.arrays["in/gso"])}
