"""G2ANet as released in a collection of algorithms."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from gnncomm.bench.reference.base import RecordedCase, Reference
from gnncomm.bench.reference.gacomm import others, paired


class G2ANetNetwork(Reference):
    r"""The second release of game abstraction: relaxed hard attention, rectified values, GRU.

    Liu et al. 2020, `Multi-Agent Game Abstraction via Graph Attention Neural Network
    <https://arxiv.org/abs/1911.10715>`_, section 3. With :math:`h_i = \mathrm{GRU}(\mathrm{ReLU}(W o_i), h_i)`, the
    others :math:`j \ne i` in the order of their indices, and Gumbel noise :math:`\gamma`:

    .. math::
        \ell_{ij} = W_\ell \, \mathrm{BiGRU}([h_i, h_1], [h_i, h_2], \dots)_j, \qquad
        w_{ij} = \mathrm{softmax}((\ell_{ij} + \gamma_{ij}) / \tau)_1

        x_i = \sum_{j \ne i} \mathrm{softmax}_{j \ne i}(q_i^\top k_j / \sqrt{d}) \, w_{ij} \,
              \mathrm{ReLU}(W_v h_j + b_v), \qquad o_i = W [h_i, x_i] + b

    The order of agents matters, so the law of permutation does not hold. What comes out are logits or values of
    actions, as the learner has it.

    Args:
        obs_dim: D.
        num_actions: A.
        hidden: H.
        channels: d, of queries, keys and values.
        hard: whether there is hard attention.
        tau: temperature of the hard attention.
        without_quirks: names of quirks to leave out.

    Shapes:
        obs ``[B, N, D]``, h ``[B, N, H]``, gumbel ``[B*N*(N-1), 2]`` (None: no noise). Returns what was recorded, by
        name: ``out/q [B, N, A]``, ``out/h [B, N, H]``, ``mid/x [B, N, d]``, ``mid/soft`` and ``mid/hard
        [B, N, N-1]``, ``mid/hard_rnn [N-1, B*N, 2H]``, ``mid/hard_logits [B*N*(N-1), 2]``.
    """

    title: ClassVar[str] = "G2ANet"
    source: ClassVar[str] = "https://github.com/starry-sky6688/MARL-Algorithms at e9e32e122f"
    quirks: ClassVar[Mapping[str, str]] = {
        "normalised_before": "edges are cut after weights were normalised over all; a sum of 1 would be expected",
        "relaxed": "edges are relaxed samples at temperature 0.01, between 0 and 1; a hard choice would be expected",
        "order": "the graph depends on the order of the agents; each pair by itself would be expected",
    }

    def __init__(
        self,
        obs_dim: int,
        num_actions: int,
        hidden: int,
        channels: int = 32,
        hard: bool = True,
        tau: float = 0.01,
        without_quirks: Collection[str] = (),
    ) -> None:
        super().__init__(without_quirks)
        self.channels, self.tau = channels, tau
        self.encoding = nn.Linear(obs_dim, hidden)
        self.h = nn.GRUCell(hidden, hidden)
        self.hard = hard
        self.hard_bi_GRU = nn.GRU(2 * hidden, hidden, bidirectional=True)
        self.hard_encoding = nn.Linear(2 * hidden, 2)
        self.q, self.k = nn.Linear(hidden, channels, bias=False), nn.Linear(hidden, channels, bias=False)
        self.v = nn.Linear(hidden, channels)
        self.decoding = nn.Linear(hidden + channels, num_actions)

    def forward(self, obs: Tensor, h: Tensor | None = None, gumbel: Tensor | None = None) -> dict[str, Tensor]:
        x = self.encoding(obs).relu()
        h = self.h(x.flatten(0, 1), None if h is None else h.flatten(0, 1)).view(x.shape)
        assert h is not None
        done = self._hard(h, gumbel) if self.hard else {}
        others_NM = others(h.shape[1], h.device)
        q, k, v = self.q(h), self.k(h)[:, others_NM], self.v(h).relu()[:, others_NM]
        soft = ((q.unsqueeze(2) * k).sum(-1) / math.sqrt(self.channels)).softmax(-1)
        weight = soft * done["mid/hard"] if self.hard else soft
        if not self.has("normalised_before"):
            weight = weight / weight.sum(-1, keepdim=True).clamp(min=1e-9)
        heard = (weight.unsqueeze(2) @ v).squeeze(2)
        done |= {"mid/soft": soft, "mid/x": heard, "out/h": h}
        return done | {"out/q": self.decoding(torch.cat([h, heard], -1))}

    def _hard(self, h: Tensor, gumbel: Tensor | None) -> dict[str, Tensor]:
        pairs = paired(h)
        sequence = pairs if self.has("order") else pairs.flatten(0, 1).unsqueeze(0)
        rnn = self.hard_bi_GRU(sequence)[0].view(*pairs.shape[:2], -1)
        logits = self.hard_encoding(rnn.transpose(0, 1).flatten(0, 1))
        noisy = logits if gumbel is None else logits + gumbel
        soft = (noisy / self.tau).softmax(-1)[:, 1]
        hard = soft if self.has("relaxed") else (soft > 0.5).to(soft)
        return {"mid/hard_rnn": rnn, "mid/hard_logits": logits, "mid/hard": hard.view(*h.shape[:2], -1)}

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(obs_dim, num_actions, hidden, without_quirks=without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        config = case.config
        network = cls(
            config["obs_size"],
            config["n_actions"],
            config["hid_size"],
            config["attention_dim"],
            config["hard"],
            config["tau"],
            without_quirks,
        )
        return network.load_recorded(case)

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        network, replayed = cls.of_case(case, without_quirks), {}
        rows = case.config["batch"], case.config["n_agents"], -1
        for step in range(case.num_steps):
            obs, h = (case.arrays[f"t{step}/in/{name}"].view(rows) for name in ("obs", "h"))
            done = network(obs, h, case.arrays.get(f"t{step}/in/gumbel"))
            for name, value in done.items():
                flat = name in ("mid/x", "out/q", "out/h")
                replayed[f"t{step}/{name}"] = value.flatten(0, 1) if flat else value
        return replayed
