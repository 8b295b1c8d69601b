"""CommFormer as released."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, one_hot, relu

from gnncomm.bench.reference.base import RecordedCase, Reference

STATE_DIM = 37
"""Width of a state that the network has weights for and does not read."""


@dataclass(frozen=True)
class CommFormerSettings:
    """Sizes and options of CommFormer's released code."""

    obs_dim: int
    num_actions: int
    num_agents: int
    hidden: int = 64
    heads: int = 1
    blocks: int = 1
    sparsity: float = 0.4
    """k = max(floor(N * sparsity), 1) others are heard by each agent."""
    dec_actor: bool = True
    """Attention over the learned graph, and an actor for each agent; else over everyone, and one decoder head."""
    share_actor: bool = False
    self_loop_add: bool = True
    """Whether the self edge is added to the graph or set to one. Passing the option there switches it off."""
    relations: bool = True


class Relations(NamedTuple):
    """Who hears whom, receivers in rows."""

    mask: Tensor  # [N, N], multiplies attention
    kind: Tensor  # [N, N] int64, index of the embedding


class CommFormerNetwork(Reference):
    r"""The transformer of CommFormer's released code: a learned graph, an encoder, an autoregressive decoder.

    Hu, Shen, Zhang and Tao 2024, `Learning Multi-Agent Communication from Graph Modeling Perspective
    <https://arxiv.org/abs/2405.08550>`_, section 4. The graph A has the k largest of each row of parameters e (with
    Gumbel noise in training); with the embedding of an edge's presence mapped to the pair :math:`\rho^a, \rho^b`,

    .. math::
        s_{ij} = (q_i + \rho^a_{ji}) \cdot (k_j + \rho^b_{ji}) / d, \qquad
        \alpha = \mathrm{softmax}_{j: A'_{ij} \ne 0}(s_{ij}) A'_{ij}, \qquad A' = A + I

        x \leftarrow \mathrm{LN}(x + W_o \Vert_h \alpha v), \qquad x \leftarrow \mathrm{LN}(x + \mathrm{MLP}(x))

    The decoder reads the action of the agent before (agent 0: a token) under a causal mask, then attends with queries
    from the encoder to keys and values of its own. Without relations scores are divided by the square root of d.

    The parameters ``encoder.state_encoder`` and ``decoder.obs_encoder`` are never used. The gradient of the sampled
    graph (straight-through) is not part of what was recorded.

    Shapes:
        obs ``[B, N, D]``; rows ``[B, N, H]``; attention ``[B, heads, N receiver, N sender]``.
    """

    title: ClassVar[str] = "CommFormer"
    source: ClassVar[str] = "https://github.com/charleshsc/CommFormer at c6cd65ea0b"
    quirks: ClassVar[dict[str, str]] = {
        "transposed": "agent i attending to j reads the embedding of the edge from i to j; expected: from j to i",
        "twice_scaled": "scores with relations are divided by the width of a head; expected: by its square root",
        "self_twice": "a self edge that was chosen as well counts twice; expected: once",
        "unmasked": "without dec_actor all attend to all and only the embedding sees the graph; expected: the graph",
        "raw_warmup": "in the warm-up raw parameters multiply the attention, and cut down to integers they are read as "
        "edges; expected: a graph in which everyone hears everyone",
    }

    def __init__(self, settings: CommFormerSettings, without_quirks: Collection[str] = ()) -> None:
        super().__init__(without_quirks)
        self.settings = settings
        self.edges = nn.Parameter(torch.ones(settings.num_agents, settings.num_agents))
        self.edges_embed = nn.Embedding(2, settings.hidden)
        self.encoder = _Encoder(settings)
        self.decoder = _Decoder(settings)

    def relations(self, gumbel: Tensor | None = None, warmup: bool = False) -> Relations:
        """The graph: the best, a sampled one, or that of the first updates."""
        if warmup:
            mask = self.edges if self.has("raw_warmup") else torch.ones_like(self.edges)
            return Relations(mask, mask.long())
        chance = self.edges if gumbel is None else (self.edges + gumbel).softmax(-1)
        k = max(math.floor(self.settings.num_agents * self.settings.sparsity), 1)
        chosen = torch.zeros_like(chance).scatter(-1, chance.topk(k, -1).indices, 1.0)
        return Relations(chosen, chosen.long())

    def encode(self, obs: Tensor, graph: Relations) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Values ``[B, N, 1]``, representations ``[B, N, H]``, and the attention of each block."""
        x, attentions = self.encoder.ln(self.encoder.obs_encoder(obs)), []
        for block in cast(Iterable[_EncoderBlock], self.encoder.blocks):
            said, attention = self._attend(block.self_attn, x, x, graph, causal=False)
            x = block.attn_layer_norm(x + said)
            x = block.ff_layer_norm(x + block.fc2(relu(block.fc1(x))))
            attentions.append(attention)
        return self.encoder.head(x), x, attentions

    def decode(self, actions: Tensor, rep: Tensor, graph: Relations) -> tuple[Tensor, list[Tensor]]:
        """Logits ``[B, N, A]`` where the agents before acted ``[B, N]``, and the attention of each layer."""
        x, attentions = self.decoder.start(actions), []
        for block in cast(Iterable[_DecoderBlock], self.decoder.blocks):
            said, own = self._attend(block.attn1, x, x, graph, causal=True)
            x = block.ln1(x + said)
            said, cross = self._attend(block.attn2, rep, x, graph, causal=True)
            x = block.ln2(rep + said)
            x = block.ln3(x + block.mlp(x))
            attentions += [own, cross]
        return self.decoder.actor(x), attentions

    def act(self, rep: Tensor, graph: Relations, available: Tensor) -> tuple[Tensor, Tensor]:
        """Greedy actions, agent after agent, and their log-probabilities ``[B, N]``."""
        action, log_prob = available.new_zeros(available.shape[:2], dtype=torch.int64), torch.zeros_like(rep[..., 0])
        for i in range(rep.shape[1]):
            logits, _ = self.decode(action, rep, graph)
            log_BA = _masked(logits, available)[:, i].log_softmax(-1)
            log_prob[:, i], action[:, i] = log_BA.max(-1)
        return action, log_prob

    def _attend(
        self, part: _Attention, query: Tensor, source: Tensor, graph: Relations, causal: bool
    ) -> tuple[Tensor, Tensor]:
        weights, biases = part.in_proj_weight.chunk(3), part.in_proj_bias.chunk(3)
        rows = (query, source, source)
        query_BhNd, key_BhNd, value_BhNd = (
            linear(row, weight, bias).unflatten(-1, (part.heads, -1)).transpose(1, 2)
            for row, weight, bias in zip(rows, weights, biases, strict=True)
        )
        score_BhNN = self._scores(part, query_BhNd, key_BhNd, graph)
        own_NN = torch.eye(len(graph.mask), dtype=score_BhNN.dtype, device=score_BhNN.device)
        if causal:
            score_BhNN = torch.where(torch.ones_like(own_NN).tril() > 0, score_BhNN, -torch.inf)
        if not self.settings.dec_actor and self.has("unmasked"):
            attention_BhNN = score_BhNN.softmax(-1)
        else:
            once = not self.settings.self_loop_add or not self.has("self_twice")
            mask_NN = graph.mask * (1 - own_NN) + own_NN if once else graph.mask + own_NN
            attention_BhNN = torch.where(mask_NN == 0, -torch.inf, score_BhNN).softmax(-1) * mask_NN
        out = part.out_proj((attention_BhNN @ value_BhNd).transpose(1, 2).flatten(2))
        return out, attention_BhNN

    def _scores(self, part: _Attention, query_BhNd: Tensor, key_BhNd: Tensor, graph: Relations) -> Tensor:
        width = query_BhNd.shape[-1]
        if not self.settings.relations:
            plain: Tensor = query_BhNd @ key_BhNd.transpose(-1, -2) / width**0.5
            return plain
        index_NN = graph.kind.T if self.has("transposed") else graph.kind
        relation_NNR = part.relation_in_proj(embedding(index_NN, self.edges_embed.weight))
        of_query_hNNd, of_key_hNNd = (
            each.unflatten(-1, (part.heads, -1)).permute(2, 0, 1, 3) for each in relation_NNR.chunk(2, -1)
        )
        score: Tensor = ((query_BhNd.unsqueeze(-2) + of_query_hNNd) * (key_BhNd.unsqueeze(-3) + of_key_hNNd)).sum(-1)
        return score / float(width if self.has("twice_scaled") else width**0.5)

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(CommFormerSettings(obs_dim, num_actions, num_agents, hidden), without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        about = case.config
        settings = CommFormerSettings(
            about["obs_size"],
            about["n_actions"],
            about["n_agents"],
            about["n_embd"],
            about["n_head"],
            about["n_block"],
            about["sparsity"],
            about["dec_actor"],
            about["share_actor"],
            about["self_loop_add"],
            not about["no_relation_enhanced"],
        )
        return cls(settings, without_quirks).load_recorded(case)

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        network, about = cls.of_case(case, without_quirks), case.config
        obs, action, available = (case.arrays[f"in/{name}"] for name in ("obs", "action", "available"))
        with torch.no_grad():
            graph = network.relations(case.arrays.get("in/gumbel"), about["graph"] == "warmup")
            value, rep, attentions = network.encode(obs, graph)
            logits, more = network.decode(action.squeeze(-1), rep, graph)
            log_probs = _masked(logits, available).log_softmax(-1)
            out = {
                "mid/relations": graph.mask.detach(),
                "mid/relation_long": graph.kind,
                "mid/rep": rep,
                "mid/logits_raw": logits,
                "out/value": value,
                "out/action_log": log_probs.gather(-1, action),
                "out/entropy": -(log_probs.exp() * log_probs).sum(-1, keepdim=True),
            }
            for number, attention in enumerate([*attentions, *more]):
                out[f"mid/attn_{number}"] = attention.permute(2, 3, 0, 1)
            if "out/greedy_action" in case.arrays:
                greedy, log_prob = network.act(rep, graph, available)
                out |= {"out/greedy_action": greedy.unsqueeze(-1), "out/greedy_log": log_prob.unsqueeze(-1)}
        return out


def _masked(logits: Tensor, available: Tensor) -> Tensor:
    return torch.where(available == 0, -1e10, logits)


class _Conv1D(nn.Module):
    """A linear map with its weight stored [in, out]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class _Attention(nn.Module):
    def __init__(self, settings: CommFormerSettings) -> None:
        super().__init__()
        hidden = settings.hidden
        self.heads = settings.heads
        self.in_proj_weight = nn.Parameter(0.02 * torch.randn(3 * hidden, hidden))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * hidden))
        self.relation_in_proj = _Conv1D(hidden, 2 * hidden)
        self.out_proj = _Conv1D(hidden, hidden)


class _EncoderBlock(nn.Module):
    def __init__(self, settings: CommFormerSettings) -> None:
        super().__init__()
        hidden = settings.hidden
        self.self_attn = _Attention(settings)
        self.fc1, self.fc2 = _Conv1D(hidden, hidden), _Conv1D(hidden, hidden)
        self.attn_layer_norm, self.ff_layer_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)


class _DecoderBlock(nn.Module):
    def __init__(self, settings: CommFormerSettings) -> None:
        super().__init__()
        hidden = settings.hidden
        self.ln1, self.ln2, self.ln3 = (nn.LayerNorm(hidden) for _ in range(3))
        self.attn1, self.attn2 = _Attention(settings), _Attention(settings)
        self.mlp = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, hidden))


class _Encoder(nn.Module):
    def __init__(self, settings: CommFormerSettings) -> None:
        super().__init__()
        hidden = settings.hidden
        self.state_encoder = _embedder(STATE_DIM, hidden)
        self.obs_encoder = _embedder(settings.obs_dim, hidden)
        self.ln = nn.LayerNorm(hidden)
        self.blocks = nn.ModuleList(_EncoderBlock(settings) for _ in range(settings.blocks))
        self.head = _head(hidden, 1)


class _Decoder(nn.Module):
    def __init__(self, settings: CommFormerSettings) -> None:
        super().__init__()
        hidden, actions = settings.hidden, settings.num_actions
        self.settings = settings
        self.action_encoder = nn.Sequential(nn.Linear(actions + 1, hidden, bias=False), nn.GELU())
        self.obs_encoder = _embedder(settings.obs_dim, hidden)
        self.ln = nn.LayerNorm(hidden)
        self.blocks = nn.ModuleList(_DecoderBlock(settings) for _ in range(settings.blocks))
        each = nn.ModuleList(_actor(hidden, actions) for _ in range(settings.num_agents))
        if settings.dec_actor:
            self.mlp: nn.Module = _actor(hidden, actions, layers=2) if settings.share_actor else each
        else:
            self.head = _head(hidden, actions)

    def start(self, action_BN: Tensor) -> Tensor:
        """``[B, N, H]`` of the actions of the agents before; agent 0 reads a token of its own."""
        before = one_hot(action_BN[:, :-1] + 1, self.settings.num_actions + 1)
        token = torch.zeros_like(action_BN[:, :1])
        shifted = torch.cat([one_hot(token, self.settings.num_actions + 1), before], 1)
        rows: Tensor = self.ln(self.action_encoder(shifted.to(self.ln.weight)))
        return rows

    def actor(self, x: Tensor) -> Tensor:
        """``[B, N, A]``."""
        if not self.settings.dec_actor:
            head: Tensor = self.head(x)
            return head
        if self.settings.share_actor:
            shared: Tensor = self.mlp(x)
            return shared
        return torch.stack([mlp(row) for mlp, row in zip(self.mlp.children(), x.unbind(1), strict=True)], 1)


def _embedder(in_channels: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(in_channels), nn.Linear(in_channels, hidden), nn.GELU())


def _head(hidden: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.LayerNorm(hidden), nn.Linear(hidden, out_channels))


def _actor(hidden: int, actions: int, layers: int = 1) -> nn.Sequential:
    inner = [list(_head(hidden, hidden).children())[:-1] for _ in range(layers - 1)]
    return nn.Sequential(nn.LayerNorm(hidden), *(part for block in inner for part in block), *_head(hidden, actions))
