"""DGN as released in its PyTorch version."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from gnncomm.bench.reference.base import RecordedCase, Reference

ABSENT = -9e15
"""What is added to the score of an edge that does not exist."""


class DGNNetwork(Reference):
    r"""The network of DGN's PyTorch version, for StarCraft (two rounds) and for Surviving (one, DGN+R).

    Jiang, Dun, Huang and Lu 2020, `Graph Convolutional Reinforcement Learning <https://arxiv.org/abs/1810.09202>`_,
    section 3; with the adjacency A, the agent itself included,

    .. math::
        h^1 = \mathrm{relu}(W_e o), \quad q, k, v = \mathrm{relu}(W h), \quad
        \ell_{ij} = q_i^\top k_j A_{ij} - 9 \cdot 10^{15} (1 - A_{ij}), \quad
        h^{l+1}_i = \sum_j \mathrm{softmax}_j(\ell_{ij}) v_j, \quad Q = W_q h^{L+1}

    The paper, and its TensorFlow code, has 8 heads of 16, scores divided by 4, an output layer with a relu in each
    round, and Q on the rows of all rounds side by side. Here there is one head and Q reads the last row, which no
    weights of the recorded sizes could mend. The Surviving variant clamps scores from below at 0, without effect
    since they are products of rectified numbers. An agent whose row of A is empty would attend to everyone alike.

    Args:
        obs_dim: D.
        num_actions: A.
        hidden: H.
        rounds: 2 with names ``att_1`` and ``att_2``, or 1 with the name ``att``.

    Shapes:
        obs ``[B, N, D]``, adjacency ``[B, N receiver, N sender]`` -> q ``[B, N, A]``, and for each round the masked
        scores and the attention ``[B, N, N]``.
    """

    title: ClassVar[str] = "DGN"
    source: ClassVar[str] = "https://github.com/jiechuanjiang/pytorch_DGN at bc728c8f29"
    quirks: ClassVar[dict[str, str]] = {
        "unscaled": "scores are sums of H products; expected: divided by the square root of the width of a head",
        "no_output": "the output layer of a round is never used; expected: its relu, as in the paper",
    }

    def __init__(
        self, obs_dim: int, num_actions: int, hidden: int = 128, rounds: int = 2, without_quirks: Collection[str] = ()
    ) -> None:
        super().__init__(without_quirks)
        self.encoder = _Named(obs_dim, hidden)
        names = ["att"] if rounds == 1 else [f"att_{number}" for number in range(1, rounds + 1)]
        for name in names:
            self.add_module(name, _Relation(hidden))
        self._names = names
        self.q_net = _Named(hidden, num_actions)

    def forward(self, obs: Tensor, adjacency: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        row_BNH = torch.relu(self.encoder.fc(obs))
        scores, attentions = [], []
        for name in self._names:
            relation: _Relation = self.get_submodule(name)  # type: ignore[assignment]  # modules are untyped
            row_BNH, score_BNN, attention_BNN = self.relate(relation, row_BNH, adjacency)
            scores.append(score_BNN)
            attentions.append(attention_BNN)
        return self.q_net.fc(row_BNH), scores, attentions

    def relate(self, relation: _Relation, row_BNH: Tensor, adjacency_BNN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One round: rows, masked scores, attention."""
        value, query, key = (torch.relu(part(row_BNH)) for part in (relation.fcv, relation.fcq, relation.fck))
        score_BNN = query @ key.transpose(-1, -2)
        if not self.has("unscaled"):
            score_BNN = score_BNN / row_BNH.shape[-1] ** 0.5
        score_BNN = score_BNN * adjacency_BNN + ABSENT * (1 - adjacency_BNN)
        attention_BNN = score_BNN.softmax(-1)
        out_BNH = attention_BNN @ value
        if not self.has("no_output"):
            out_BNH = torch.relu(relation.fcout(out_BNH))
        return out_BNH, score_BNN, attention_BNN

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(obs_dim, num_actions, hidden, without_quirks=without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        about = case.config
        rounds = 2 if about["variant"] == "starcraft" else 1
        network = cls(about["obs_size"], about["n_actions"], about["hidden_dim"], rounds, without_quirks)
        return network.load_recorded(case)

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        with torch.no_grad():
            q, scores, attentions = cls.of_case(case, without_quirks)(case.arrays["in/obs"], case.arrays["in/adj"])
        out = {f"mid/attention_{number}": attention for number, attention in enumerate(attentions)}
        out["out/q"] = q
        if case.config["variant"] == "surviving_r":
            out["out/logits"] = scores[-1]
        return out


class _Named(nn.Module):
    """A linear layer under the name that it has there."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, out_channels)


class _Relation(nn.Module):
    """The weights of one round."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.fcv, self.fck, self.fcq, self.fcout = (nn.Linear(hidden, hidden) for _ in range(4))
