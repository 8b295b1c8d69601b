"""CommNet and IC3Net as released."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from gnncomm.bench.reference.base import RecordedCase, Reference


class IC3NetNetwork(Reference):
    r"""The network of IC3Net's released code, which is CommNet's where all gates are open.

    Singh, Jain and Sukhbaatar 2019, `arXiv:1812.09755 <https://arxiv.org/abs/1812.09755>`_, section 3; CommNet:
    Sukhbaatar, Szlam and Fergus 2016, `arXiv:1605.07736 <https://arxiv.org/abs/1605.07736>`_. With a living mask
    :math:`a`, gates :math:`g` sampled at the step before, and for every pass p

    .. math::
        c_i = C_p \sum_{j \ne i} \frac{a_i a_j g_i g_j h_j}{D} + b_p, \qquad
        (h_i, s_i) \leftarrow \mathrm{LSTM}(W o_i + c_i, (h_i, s_i))

    Without memory: :math:`h_i \leftarrow \tanh(x_i + F_p h_i + c_i)` from :math:`x_i = h_i = \tanh(W o_i)`.
    ``hidd_encoder`` has weights that are never used. The training loop closes all gates at the first step of an
    episode.

    Args:
        obs_dim: D.
        hidden: H.
        heads: actions of each head; IC3Net's second head is the gate of the next step.
        passes: rounds in one step.
        recurrent: LSTM or none.
        average: divide the sum, or not (D = 1).
        shared: one C, and without memory one F, for all passes.
        silent: nobody sends anything (``comm_mask_zero``).
        without_quirks: names of quirks to leave out.

    Shapes:
        obs ``[B, N, D]``; h and cell ``[B, N, H]``, without memory not needed; alive and gate ``[N]`` or ``[B, N]``,
        1 or 0. Returns what was recorded, by name: ``out/logp_k [B, N, A]``, ``out/value [B, N, 1]``, ``out/h`` and
        ``out/c [B, N, H]``, and of every pass ``mid/comm_sum_p`` and ``mid/c_p [B, N, H]``.
    """

    title: ClassVar[str] = "CommNet, IC3Net"
    source: ClassVar[str] = "https://github.com/IC3Net/IC3Net at 69b7e0ce51"
    quirks: ClassVar[Mapping[str, str]] = {
        "divisor": "the sum is divided by the number of living others; a mean divides by those who are heard",
        "deaf": "who is silent hears nothing either; the paper gates the sender only",
        "dead": "the dead go on to observe and remember; their memory would be expected to stay as it was",
        "passes": "every pass is a step of the memory; a step of the environment would be expected to be one",
    }

    def __init__(
        self,
        obs_dim: int,
        hidden: int,
        heads: Sequence[int],
        passes: int = 1,
        recurrent: bool = True,
        average: bool = True,
        shared: bool = False,
        silent: bool = False,
        without_quirks: Collection[str] = (),
    ) -> None:
        super().__init__(without_quirks)
        self.recurrent, self.average, self.silent = recurrent, average, silent
        self.encoder = nn.Linear(obs_dim, hidden)
        if recurrent:
            self.hidd_encoder = nn.Linear(hidden, hidden)
            self.f_module: nn.Module = nn.LSTMCell(hidden, hidden)
        else:
            if shared:
                self.f_module = nn.Linear(hidden, hidden)
            self.f_modules = nn.ModuleList(
                self.f_module if shared else nn.Linear(hidden, hidden) for _ in range(passes)
            )
        if shared:
            self.C_module = nn.Linear(hidden, hidden)
        self.C_modules = nn.ModuleList(self.C_module if shared else nn.Linear(hidden, hidden) for _ in range(passes))
        self.heads = nn.ModuleList(nn.Linear(hidden, actions) for actions in heads)
        self.value_head = nn.Linear(hidden, 1)

    def forward(
        self,
        obs: Tensor,
        h: Tensor | None = None,
        cell: Tensor | None = None,
        alive: Tensor | None = None,
        gate: Tensor | None = None,
    ) -> dict[str, Tensor]:
        everyone = obs.new_ones(obs.shape[:2])
        alive_BN = everyone if alive is None else alive.to(obs).expand_as(everyone)
        gate_BN = everyone if gate is None else gate.to(obs).expand_as(everyone)
        x = self.encoder(obs) if self.recurrent else self.encoder(obs).tanh()
        if h is None or cell is None or not self.recurrent:
            h, cell = (torch.zeros_like(x), torch.zeros_like(x)) if self.recurrent else (x, x)
        before = h, cell
        done: dict[str, Tensor] = {}
        for number, lin_heard in enumerate(self.C_modules):
            heard, between = self.hear(h, alive_BN, gate_BN)
            c = lin_heard(heard)
            between["c"] = c
            done |= {f"mid/{name}_{number}": value for name, value in between.items()}
            if self.recurrent:
                start = (h, cell) if self.has("passes") else before
                h, cell = self._remember(x + c, *start)
            else:
                h = (x + self.f_modules[number](h) + c).tanh()
        if self.recurrent:
            if not self.has("dead"):
                lives = (alive_BN > 0).unsqueeze(-1)
                h, cell = torch.where(lives, h, before[0]), torch.where(lives, cell, before[1])
            done |= {"out/h": h, "out/c": cell}
        log_probs = {f"out/logp_{k}": head(h).log_softmax(-1) for k, head in enumerate(self.heads)}
        return done | log_probs | {"out/value": self.value_head(h)}

    def hear(self, h: Tensor, alive: Tensor, gate: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What reaches each agent ``[B, N, H]`` before C, and what was recorded on the way, by name."""
        sends_BN, hears_BN = alive * gate, alive * gate if self.has("deaf") else alive
        others_NN = 1 - torch.eye(h.shape[1], dtype=h.dtype, device=h.device)
        edge_BNN = hears_BN.unsqueeze(2) * sends_BN.unsqueeze(1) * others_NN  # receiver, sender
        if self.silent:
            edge_BNN = torch.zeros_like(edge_BNN)
        if self.average:
            heard_BN1 = edge_BNN.sum(2, keepdim=True)
            living_BN1 = alive.sum(1, keepdim=True).unsqueeze(2) - 1
            edge_BNN = edge_BNN / (living_BN1 if self.has("divisor") else heard_BN1).clamp(min=1)
        total = edge_BNN @ h
        return total, {"comm_sum": total}

    def _remember(self, x: Tensor, h: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        after = self.f_module(x.flatten(0, 1), (h.flatten(0, 1), cell.flatten(0, 1)))
        return after[0].view(h.shape), after[1].view(h.shape)

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(obs_dim, hidden, (num_actions, 2), without_quirks=without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        config = case.config
        network = cls(
            config["obs_size"],
            config["hid_size"],
            config["naction_heads"],
            config["comm_passes"],
            config["recurrent"],
            config.get("comm_mode", "avg") == "avg",
            config.get("share_weights", False),
            config["comm_mask_zero"],
            without_quirks,
        )
        return network.load_recorded(case)

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        network, replayed = cls.of_case(case, without_quirks), {}
        for step in range(case.num_steps):
            obs = case.arrays[f"t{step}/in/obs"]
            state = [case.arrays.get(f"t{step}/in/{name}") for name in ("h", "c")]
            rows = [None if value is None else value.view(*obs.shape[:2], -1) for value in state]
            done = network(obs, *rows, case.arrays.get("in/alive"), case.arrays.get("in/gate"))
            for name, value in done.items():
                flat = network.recurrent and name in ("out/h", "out/c", "out/value")
                replayed[f"t{step}/{name}"] = value.flatten(0, 1) if flat else value
        return replayed
