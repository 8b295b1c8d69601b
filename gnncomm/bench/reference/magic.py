"""MAGIC as released."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from gnncomm.bench.reference.base import RecordedCase, Reference

Loops = Literal[0, 1, 2]
"""Self-loops of a graph: none, all, or as it was drawn. (Two comments in the released code swap 0 and 1.)"""


@dataclass(frozen=True)
class MAGICSettings:
    """What the authors set for each task, here for Predator-Prey with five agents; ``heads_out`` are averaged."""

    hidden: int = 128
    channels: int = 32
    """Width of a head in the first round."""
    heads: int = 4
    heads_out: int = 1
    loops: tuple[Loops, Loops] = (2, 2)
    normalize: tuple[bool, bool] = (True, True)
    encoder: bool = True
    """Attention over the whole team before graphs are drawn."""
    encoder_channels: int = 32
    encoder_heads: int = 8
    encoder_normalize: bool = True
    first_complete: bool = False
    learn_second: bool = True
    second_complete: bool = False
    message_encoder: bool = False
    message_decoder: bool = False
    directed: bool = True
    silent: bool = False


class GraphAttention(nn.Module):
    r"""One round of the released graph attention over a graph that is a number for every edge:

    .. math::
        \alpha_{ij} = A_{ij} \, \mathrm{softmax}_j (A_{ij} \, \mathrm{LeakyReLU}_{0.2}(a^\top z_i + b^\top z_j)), \qquad
        h'_i = \big\Vert_k \sum_j \alpha_{ij} z_j + \beta, \quad z = h W

    Args:
        in_channels: F.
        channels: C of each head.
        heads: K; concatenated, or averaged where ``average``.
        average: see there.
        normalize: divide by the sum of the weights that are left.
        loops: how the diagonal of A is set first.
        over_edges: take the softmax over edges only.

    Shapes:
        h ``[B, N, F]``, adjacency ``[B, N, N]`` (receiver, sender) -> ``[B, N, K*C]`` or ``[B, N, C]``, and the softmax
        ``[B, N, N, K]`` before what is cut is cut.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        heads: int,
        average: bool,
        normalize: bool,
        loops: Loops,
        over_edges: bool,
    ) -> None:
        super().__init__()
        self.heads, self.average, self.normalize, self.loops = heads, average, normalize, loops
        self.over_edges = over_edges
        self.W = nn.Parameter(torch.empty(in_channels, heads * channels))
        self.a_i = nn.Parameter(torch.empty(heads, channels, 1))
        self.a_j = nn.Parameter(torch.empty(heads, channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels if average else heads * channels))
        for weight in (self.W, self.a_i, self.a_j):
            nn.init.xavier_uniform_(weight, gain=nn.init.calculate_gain("relu"))

    def forward(self, h: Tensor, adjacency: Tensor, living: Tensor) -> tuple[Tensor, Tensor]:
        own_NN = torch.eye(h.shape[1], dtype=torch.bool, device=h.device)
        if self.loops < 2:
            adjacency = torch.where(own_NN, living.unsqueeze(2) if self.loops else 0.0, adjacency)
        z_BNKC = (h @ self.W).unflatten(-1, (self.heads, -1))
        score_i, score_j = (torch.einsum("bnkc,kc->bnk", z_BNKC, a.squeeze(-1)) for a in (self.a_i, self.a_j))
        score_BNNK = functional.leaky_relu(score_i.unsqueeze(2) + score_j.unsqueeze(1), 0.2)
        edge_BNN1 = adjacency.unsqueeze(-1)
        score_BNNK = torch.where(edge_BNN1 > 0, score_BNNK, -1e9) if self.over_edges else score_BNNK * edge_BNN1
        softmax_BNNK = score_BNNK.softmax(2)
        alpha_BNNK = softmax_BNNK * edge_BNN1
        if self.normalize:
            guarded = alpha_BNNK if self.loops == 1 else alpha_BNNK + 1e-15
            alpha_BNNK = edge_BNN1 * guarded / guarded.sum(2, keepdim=True).clamp(min=torch.finfo(h.dtype).tiny)
        out_BNKC = torch.einsum("bijk,bjkc->bikc", alpha_BNNK, z_BNKC)
        return (out_BNKC.mean(2) if self.average else out_BNKC.flatten(2)) + self.bias, softmax_BNNK


class MAGICNetwork(Reference):
    r"""A scheduler draws one or two graphs from encodings of the whole team; two rounds of attention run over them.

    Niu, Paleja and Gombolay 2021, `Multi-Agent Graph-Attention Communication and Teaming
    <https://www.ifaamas.org/Proceedings/aamas2021/pdfs/p964.pdf>`_, section 4. With
    :math:`(h_i, s_i) = \mathrm{LSTM}(W o_i, (h_i, s_i))`, living :math:`a`, messages :math:`m_i = a_i h_i` (or of a
    linear map of it) and Gumbel noise :math:`\gamma`:

    .. math::
        E = \mathrm{GAT}_E(m, \mathrm{complete}), \quad \ell_{ij} = \mathrm{MLP}([E_i, E_j]), \quad
        A_{ij} = a_i a_j [\ell_{ij1} + \gamma_{ij1} > \ell_{ij0} + \gamma_{ij0}]

        u = \mathrm{ELU}(\mathrm{GAT}_1(m, A^1)), \quad c_i = a_i \, \mathrm{GAT}_2(u, A^2)_i

    and heads on :math:`[h_i, c_i]`, or of a linear map of :math:`c_i`. :math:`A^2` is drawn by an MLP of its own, is
    :math:`A^1`, or complete. Where ``normalize`` meets an inbox without edges all its weights are 0. Released, it takes
    one environment at a time and more than one agent.

    Args:
        obs_dim: D.
        heads: actions of each head.
        settings: of the network; ``silent`` is ``comm_mask_zero``.
        without_quirks: names of quirks to leave out.

    Shapes:
        obs ``[B, N, D]``, h and cell ``[B, N, H]``, alive ``[N]`` or ``[B, N]``, gumbel1 and gumbel2 ``[B, N, N, 2]``
        (receiver, sender; None: no noise). Returns what was recorded, by name: ``out/logp_k [B, N, A]``, ``out/value
        [B, N, 1]``, ``out/h`` and ``out/c [B, N, H]``; of the rounds k = 1, 2 ``mid/gat_in_k``, ``mid/gat_out_k``,
        ``mid/adj_k [B, N, N]``, ``mid/softmax_k``, ``mid/logits_k``; of the scheduler ``mid/enc`` and
        ``mid/softmax_enc``.
    """

    title: ClassVar[str] = "MAGIC"
    source: ClassVar[str] = "https://github.com/CORE-Robotics-Lab/MAGIC at 0ad3a6126f"
    quirks: ClassVar[Mapping[str, str]] = {
        "denominator": "absent edges keep exp(0) in the softmax; it would be expected over the edges alone",
        "dead_bias": "after the first round the dead hold its bias; zeros would be expected, as after the second",
        "decoder_bias": "the bias of the decoder is added for the dead, too, after they were set to zero",
        "dead_loops": "where self-loops are forced the dead get one; none would be expected",
        "one_sided_noise": "undirected graphs share logits, not noise, so an edge may go one way only",
        "stale_encoding": "the second graph is drawn from the messages before the first round, not from its outcome",
    }

    def __init__(
        self, obs_dim: int, heads: Sequence[int], settings: MAGICSettings, without_quirks: Collection[str] = ()
    ) -> None:
        super().__init__(without_quirks)
        self.settings = settings
        hidden, over_edges = settings.hidden, not self.has("denominator")
        self.obs_encoder = nn.Linear(obs_dim, hidden)
        self.lstm_cell = nn.LSTMCell(hidden, hidden)
        first, second = settings.loops
        between = settings.channels * settings.heads
        self.sub_processor1 = GraphAttention(
            hidden, settings.channels, settings.heads, False, settings.normalize[0], first, over_edges
        )
        self.sub_processor2 = GraphAttention(
            between, hidden, settings.heads_out, True, settings.normalize[1], second, over_edges
        )
        if settings.encoder:
            self.gat_encoder = GraphAttention(
                hidden,
                settings.encoder_channels,
                settings.encoder_heads,
                True,
                settings.encoder_normalize,
                1,
                over_edges,
            )
        if not settings.first_complete:
            self.sub_scheduler_mlp1 = self._scheduler()
        if settings.learn_second and not settings.second_complete:
            self.sub_scheduler_mlp2 = self._scheduler()
        if settings.message_encoder:
            self.message_encoder = nn.Linear(hidden, hidden)
        if settings.message_decoder:
            self.message_decoder = nn.Linear(hidden, hidden)
        self.action_heads = nn.ModuleList(nn.Linear(2 * hidden, actions) for actions in heads)
        self.value_head = nn.Linear(2 * hidden, 1)

    def _scheduler(self) -> nn.Sequential:
        settings = self.settings
        width = settings.encoder_channels if settings.encoder else settings.hidden
        inner = width // 2, width // 2 if settings.encoder else width // 8
        return nn.Sequential(
            nn.Linear(2 * width, inner[0]), nn.ReLU(), nn.Linear(*inner), nn.ReLU(), nn.Linear(inner[1], 2)
        )

    def forward(
        self,
        obs: Tensor,
        h: Tensor | None = None,
        cell: Tensor | None = None,
        alive: Tensor | None = None,
        gumbel1: Tensor | None = None,
        gumbel2: Tensor | None = None,
    ) -> dict[str, Tensor]:
        x = self.obs_encoder(obs)
        state = None if h is None or cell is None else (h.flatten(0, 1), cell.flatten(0, 1))
        after = self.lstm_cell(x.flatten(0, 1), state)
        h, cell = after[0].view(x.shape), after[1].view(x.shape)
        alive_BN = x.new_ones(x.shape[:2]) if alive is None else alive.to(x).expand(x.shape[:2])
        if self.settings.silent:
            alive_BN = torch.zeros_like(alive_BN)
        heard, between = self._rounds(h, alive_BN, gumbel1, gumbel2)
        read = torch.cat([h, heard], -1)
        done = {f"out/logp_{k}": head(read).log_softmax(-1) for k, head in enumerate(self.action_heads)}
        return done | between | {"out/value": self.value_head(read), "out/h": h, "out/c": cell}

    def _rounds(
        self, h: Tensor, alive: Tensor, gumbel1: Tensor | None, gumbel2: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What is read after both rounds ``[B, N, H]``, and what was recorded on the way."""
        settings, lives = self.settings, alive.unsqueeze(-1)
        looping = torch.ones_like(alive) if self.has("dead_loops") else alive
        message = lives * (self.message_encoder(h) if settings.message_encoder else h)
        adj1, done = self._graph("1", message, alive, looping, gumbel1)
        raw1, softmax1 = self.sub_processor1(message, adj1, looping)
        u = functional.elu(raw1 if self.has("dead_bias") else lives * raw1)
        stale = message if self.has("stale_encoding") else u
        repeats = not settings.learn_second and not settings.second_complete
        adj2, drawn = (adj1, {}) if repeats else self._graph("2", stale, alive, looping, gumbel2)
        raw2, softmax2 = self.sub_processor2(u, adj2, looping)
        heard = lives * raw2
        if settings.message_decoder:
            heard = self.message_decoder(heard)
            heard = heard if self.has("decoder_bias") else lives * heard
        done |= drawn | {"mid/gat_in1": message, "mid/gat_out1": raw1, "mid/softmax_1": softmax1, "mid/adj1": adj1}
        return heard, done | {"mid/gat_in2": u, "mid/gat_out2": raw2, "mid/softmax_2": softmax2, "mid/adj2": adj2}

    def _graph(
        self, number: str, rows: Tensor, alive: Tensor, looping: Tensor, gumbel: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The graph ``[B, N, N]`` of a round: complete, or drawn."""
        complete = alive.unsqueeze(2) * alive.unsqueeze(1)
        mlp = getattr(self, f"sub_scheduler_mlp{number}", None)  # absent where that graph is not learned
        if mlp is None:
            return complete, {}
        done: dict[str, Tensor] = {}
        encoding = rows
        if self.settings.encoder:
            encoding, done["mid/softmax_enc"] = self.gat_encoder(rows, complete, looping)
            done["mid/enc"] = encoding
        pair_i, pair_j = torch.broadcast_tensors(encoding.unsqueeze(2), encoding.unsqueeze(1))
        logits = mlp(torch.cat([pair_i, pair_j], -1))
        if not self.settings.directed:
            logits = (logits + logits.transpose(1, 2)) / 2
        noisy = logits if gumbel is None else logits + self._noise(gumbel)
        done[f"mid/logits{number}"] = logits
        return complete * (noisy[..., 1] > noisy[..., 0]), done

    def _noise(self, gumbel: Tensor) -> Tensor:
        if self.settings.directed or self.has("one_sided_noise"):
            return gumbel
        upper = torch.ones(gumbel.shape[1:3], dtype=torch.bool, device=gumbel.device).triu().unsqueeze(-1)
        return torch.where(upper, gumbel, gumbel.transpose(1, 2))

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(obs_dim, (num_actions,), MAGICSettings(hidden, hidden // 4), without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        config = case.config
        settings = MAGICSettings(
            hidden=config["hid_size"],
            channels=config["gat_hid_size"],
            heads=config["gat_num_heads"],
            heads_out=config["gat_num_heads_out"],
            loops=(config["self_loop_type1"], config["self_loop_type2"]),
            normalize=(config["first_gat_normalize"], config["second_gat_normalize"]),
            encoder=config["use_gat_encoder"],
            encoder_channels=config["gat_encoder_out_size"],
            encoder_heads=config["ge_num_heads"],
            encoder_normalize=config["gat_encoder_normalize"],
            first_complete=config["first_graph_complete"],
            learn_second=config["learn_second_graph"],
            second_complete=config["second_graph_complete"],
            message_encoder=config["message_encoder"],
            message_decoder=config["message_decoder"],
            directed=config["directed"],
            silent=config["comm_mask_zero"],
        )
        return cls(config["obs_size"], config["naction_heads"], settings, without_quirks).load_recorded(case)

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        network, replayed = cls.of_case(case, without_quirks), {}
        for step in range(case.num_steps):
            names = ("h", "c", "gumbel1", "gumbel2")
            given = [case.arrays.get(f"t{step}/in/{name}") for name in names]
            h, cell, *gumbels = (None if value is None else value.unsqueeze(0) for value in given)
            done = network(case.arrays[f"t{step}/in/obs"], h, cell, case.arrays.get("in/alive"), *gumbels)
            for name, value in done.items():
                replayed[f"t{step}/{name}"] = value if name.startswith("out/logp") else value.squeeze(0)
        return replayed
