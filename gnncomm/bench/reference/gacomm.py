"""GA-Comm as released beside MAGIC."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from gnncomm.bench.reference.base import RecordedCase, Reference


class GACommNetwork(Reference):
    r"""Hard attention draws a graph, soft attention weighs it, after the recurrence.

    Liu et al. 2020, `Multi-Agent Game Abstraction via Graph Attention Neural Network
    <https://arxiv.org/abs/1911.10715>`_, section 3. With :math:`(h_i, s_i) = \mathrm{LSTM}(W o_i, (h_i, s_i))`, the
    others :math:`j \ne i` in the order of their indices, Gumbel noise :math:`\gamma` and living :math:`a`:

    .. math::
        \ell_{ij} = W_\ell \, \mathrm{BiLSTM}([h_i, h_1], [h_i, h_2], \dots)_j, \qquad
        w_{ij} = [\ell_{ij1} + \gamma_{ij1} > \ell_{ij0} + \gamma_{ij0}]

        \alpha_{ij} = w_{ij} \, \mathrm{softmax}_{j \ne i} (w_{ij} q_i^\top k_j / \sqrt{d}), \qquad
        m_i = a_i \sum_{j \ne i} \alpha_{ij} a_j h_j

    and heads on :math:`[h_i, m_i]`. The order of agents matters, so the law of permutation does not hold. Released, it
    takes one environment at a time (more of them would attend to each other) and more than two agents; here the
    environments of a batch stay apart. ``hidd_encoder`` and ``C_modules`` have weights that are never used.

    Args:
        obs_dim: D.
        hidden: H.
        heads: actions of each head.
        key_channels: d.
        complete: hear all the living instead of a learned graph (``comm_action_one``).
        silent: nothing is heard (``comm_mask_zero``).
        without_quirks: names of quirks to leave out.
        passes, shared: how many ``C_modules`` there are, and whether they are one; none of them is ever used.

    Shapes:
        obs ``[B, N, D]``, h and cell ``[B, N, H]``, gumbel ``[N-1, B*N, 2]`` (slot of the sender first; or None),
        alive ``[N]`` or ``[B, N]``. Returns what was recorded, by name: ``out/logp_k [B, N, A]``, ``out/value
        [B, N, 1]``, ``out/h`` and ``out/c [B, N, H]``, ``out/density [2]`` (edges by N^2 and by N (N-1), averaged over
        environments), and of the attention ``mid/...`` with one column for each other agent.
    """

    title: ClassVar[str] = "GA-Comm"
    source: ClassVar[str] = "https://github.com/CORE-Robotics-Lab/MAGIC at 0ad3a6126f, baselines"
    quirks: ClassVar[Mapping[str, str]] = {
        "denominator": "edges that are cut keep exp(0) in the softmax; those that are left alone would be expected",
        "dead": "in a learned graph the dead hear, are heard (as zeros) and are counted; no edges would be expected",
        "order": "the graph depends on the order of the agents; each pair by itself would be expected",
    }

    def __init__(
        self,
        obs_dim: int,
        hidden: int,
        heads: Sequence[int],
        key_channels: int = 32,
        complete: bool = False,
        silent: bool = False,
        without_quirks: Collection[str] = (),
        passes: int = 1,
        shared: bool = False,
    ) -> None:
        super().__init__(without_quirks)
        self.complete, self.silent = complete, silent
        self.encoder = nn.Linear(obs_dim, hidden)
        self.hidd_encoder = nn.Linear(hidden, hidden)
        self.f_module = nn.LSTMCell(hidden, hidden)
        if shared:
            self.C_module = nn.Linear(hidden, hidden)
        self.C_modules = nn.ModuleList(self.C_module if shared else nn.Linear(hidden, hidden) for _ in range(passes))
        self.lstm = nn.LSTM(2 * hidden, 2 * hidden, bidirectional=True)
        self.linear = nn.Linear(4 * hidden, 2)
        self.wq, self.wk = nn.Linear(hidden, key_channels), nn.Linear(hidden, key_channels)
        self.heads = nn.ModuleList(nn.Linear(2 * hidden, actions) for actions in heads)
        self.value_head = nn.Linear(2 * hidden, 1)

    def forward(
        self,
        obs: Tensor,
        h: Tensor | None = None,
        cell: Tensor | None = None,
        gumbel: Tensor | None = None,
        alive: Tensor | None = None,
    ) -> dict[str, Tensor]:
        x = self.encoder(obs)
        state = None if h is None or cell is None else (h.flatten(0, 1), cell.flatten(0, 1))
        h, cell = (value.view(x.shape) for value in self.f_module(x.flatten(0, 1), state))
        assert h is not None
        alive_BN = h.new_ones(h.shape[:2]) if alive is None else alive.to(h).expand(h.shape[:2])
        done = {"out/h": h, "out/c": cell} if cell is not None else {}
        message, between = self._hear(h, alive_BN, gumbel)
        read = torch.cat([h, message], -1)
        done |= between | {f"out/logp_{k}": head(read).log_softmax(-1) for k, head in enumerate(self.heads)}
        return done | {"out/value": self.value_head(read)}

    def _hear(self, h: Tensor, alive: Tensor, gumbel: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """The message ``[B, N, H]`` that each agent reads, and what was recorded on the way."""
        num_agents = h.shape[1]
        if self.silent:
            return torch.zeros_like(h), {"out/density": h.new_zeros(2)}
        others_NM = others(num_agents, h.device)
        living_BNM = alive.unsqueeze(2) * alive[:, others_NM]
        done: dict[str, Tensor] = {}
        if self.complete:
            hard = living_BNM
        else:
            done = self._hard(h, gumbel)
            hard = done["mid/hard"] if self.has("dead") else done["mid/hard"] * living_BNM
        q, k = self.wq(h), self.wk(h)
        scores = (q.unsqueeze(2) * k[:, others_NM]).sum(-1) / math.sqrt(k.shape[-1]) * hard
        kept = scores if self.has("denominator") else torch.where(hard > 0, scores, -1e9)
        softmax = kept.softmax(-1)
        heard = (softmax * hard * alive[:, others_NM]).unsqueeze(2) @ h[:, others_NM]
        edges = hard.sum((1, 2)).mean()
        density = torch.stack([edges / num_agents**2, edges / (num_agents * (num_agents - 1))])
        done |= {"mid/q": q, "mid/k": k, "mid/masked_scores": scores, "mid/softmax": softmax, "out/density": density}
        return alive.unsqueeze(2) * heard.squeeze(2), done

    def _hard(self, h: Tensor, gumbel: Tensor | None) -> dict[str, Tensor]:
        pairs = paired(h)
        sequence = pairs if self.has("order") else pairs.flatten(0, 1).unsqueeze(0)
        rnn = self.lstm(sequence)[0].view(*pairs.shape[:2], -1)
        logits = self.linear(rnn)
        noisy = logits if gumbel is None else logits + gumbel
        hard = (noisy[..., 1] > noisy[..., 0]).to(h).t().view(*h.shape[:2], -1)
        return {"mid/hard_in": pairs, "mid/hard_rnn": rnn, "mid/hard_logits": logits, "mid/hard": hard}

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(obs_dim, hidden, (num_actions,), without_quirks=without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        config = case.config
        network = cls(
            config["obs_size"],
            config["hid_size"],
            config["naction_heads"],
            config["qk_hid_size"],
            config["comm_action_one"],
            config["comm_mask_zero"],
            without_quirks,
            config.get("comm_passes", 1),
            config.get("share_weights", False),
        )
        return network.load_recorded(case)

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        network, replayed = cls.of_case(case, without_quirks), {}
        for step in range(case.num_steps):
            given = {name: case.arrays.get(f"t{step}/in/{name}") for name in ("obs", "h", "c", "gumbel")}
            h, cell = (None if value is None else value.unsqueeze(0) for value in (given["h"], given["c"]))
            assert given["obs"] is not None
            done = network(given["obs"], h, cell, given["gumbel"], case.arrays.get("in/alive"))
            for name, value in done.items():
                stays = name.startswith(("out/logp", "out/density", "mid/hard_"))
                replayed[f"t{step}/{name}"] = value if stays else value.squeeze(0)
        return replayed


def others(num_agents: int, device: torch.device) -> Tensor:
    """``[N, N-1]``: for each agent the indices of all others, ascending."""
    slot_M, agent_N1 = torch.arange(num_agents - 1, device=device), torch.arange(num_agents, device=device).unsqueeze(1)
    return slot_M + (slot_M >= agent_N1)


def paired(h: Tensor) -> Tensor:
    """``[N-1, B*N, 2H]``: for each agent the sequence over the others, by index, of its row beside theirs."""
    senders_BNMH = h[:, others(h.shape[1], h.device)]
    pairs_BNMF = torch.cat([h.unsqueeze(2).expand_as(senders_BNMH), senders_BNMH], -1)
    return pairs_BNMF.permute(2, 0, 1, 3).flatten(1, 2)
