"""The policy branch of HetGPPO as released."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from gnncomm.bench.reference.base import RecordedCase, Reference

_ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}
_REDUCE = {"add": "sum", "mean": "mean", "max": "amax"}


class HetGPPONetwork(Reference):
    r"""One network of messages, decoder and head for all agents, or one for each, as the code of HetGPPO has it.

    Bettini, Shankar and Prorok 2023, `Heterogeneous Multi-Robot Reinforcement Learning
    <https://arxiv.org/abs/2301.07137>`_. With the relative features
    :math:`\epsilon_{ij} = [p_j - p_i, \lVert p_j - p_i \rVert, v_j - v_i]` of the edge j -> i and networks i of the
    receiver,

    .. math::
        m_{ij} &= W_2 \, \phi(W_1 [x_j, \epsilon_{ij}] + b_1) + b_2, \qquad c_i = \operatorname{agg}_j m_{ij} \\
        \mathrm{out}_i &= H \, \phi(D_2 \, \phi(D_1 [x_i, c_i] + d_1) + d_2) + b

    with :math:`c_i = 0` where nothing is heard. Self-loops are removed; :math:`x` holds the velocity and not the
    position. The released code has 128 for H wherever it stands.

    Args:
        obs_dim: D, width of x.
        hidden: H.
        out_channels: A.
        num_agents: N, where every agent has networks of its own; None: one for all.
        aggregation: ``add``, ``mean`` or ``max``.
        activation: ``tanh`` or ``relu``.
        space: P, of positions and of velocities.

    Shapes:
        x ``[B, N, D]``, pos and vel ``[B, N, P]``, edge_index ``[2, E]`` over N agents, the same in all environments
        -> ``[B, N, A]``.
    """

    title: ClassVar[str] = "HetGPPO"
    source: ClassVar[str] = "https://github.com/proroklab/HetGPPO at eda19dd6fc"
    quirks: ClassVar[dict[str, str]] = {
        "sender_first": "features of ij are p_j - p_i, sender minus receiver; the order of the indices says p_i - p_j",
        "receivers_encoder": "the receiver's network encodes what it hears, raw; a sender would encode its own message",
    }

    def __init__(
        self,
        obs_dim: int,
        hidden: int,
        out_channels: int,
        num_agents: int | None = None,
        aggregation: str = "add",
        activation: str = "tanh",
        space: int = 2,
        without_quirks: Collection[str] = (),
    ) -> None:
        super().__init__(without_quirks)
        self.aggregation, self.hidden = aggregation, hidden
        phi, networks = _ACTIVATIONS[activation], range(num_agents or 1)
        self.gnns = nn.ModuleList(_Messages(obs_dim + 2 * space + 1, hidden, phi) for _ in networks)
        self.decoders = nn.ModuleList(
            nn.Sequential(nn.Linear(obs_dim + hidden, hidden), phi(), nn.Linear(hidden, hidden), phi())
            for _ in networks
        )
        self.heads = nn.ModuleList(nn.Sequential(nn.Linear(hidden, out_channels)) for _ in networks)

    def edge_features(self, pos: Tensor, vel: Tensor, edge_index: Tensor) -> Tensor:
        """``[B, E, 2 P + 1]``."""
        sender, receiver = edge_index if self.has("sender_first") else edge_index.flip(0)
        apart = pos[:, sender] - pos[:, receiver]
        return torch.cat([apart, apart.norm(dim=-1, keepdim=True), vel[:, sender] - vel[:, receiver]], -1)

    def aggregates(self, x: Tensor, edge_attr: Tensor, edge_index: Tensor) -> Tensor:
        """What every agent would make of its inbox with every network: ``[networks, B, N, H]``."""
        sender_E, receiver_E = edge_index
        features = torch.cat([x[:, sender_E], edge_attr], -1)
        message_LBEH = torch.stack([gnn(features) for gnn in self.gnns])
        if len(self.gnns) > 1 and not self.has("receivers_encoder"):
            message_BEH = message_LBEH[sender_E, :, torch.arange(len(sender_E))].transpose(0, 1)
            message_LBEH = message_BEH.expand_as(message_LBEH)
        inbox_LBNH = message_LBEH.new_zeros(*message_LBEH.shape[:2], x.shape[1], self.hidden)
        return inbox_LBNH.scatter_reduce(
            2,
            receiver_E.view(1, 1, -1, 1).expand_as(message_LBEH),
            message_LBEH,
            _REDUCE[self.aggregation],
            include_self=False,
        )

    def forward(self, x: Tensor, pos: Tensor, vel: Tensor, edge_index: Tensor) -> Tensor:
        edge_index = edge_index[:, edge_index[0] != edge_index[1]]
        inbox_LBNH = self.aggregates(x, self.edge_features(pos, vel, edge_index), edge_index)
        out_LBNA = torch.stack(
            [
                head(decoder(torch.cat([x, inbox_BNH], -1)))
                for head, decoder, inbox_BNH in zip(self.heads, self.decoders, inbox_LBNH, strict=True)
            ]
        )
        agent_N = torch.arange(x.shape[1], device=x.device)
        return out_LBNA[agent_N if len(self.heads) > 1 else torch.zeros_like(agent_N), :, agent_N].transpose(0, 1)

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(obs_dim, hidden, num_actions, num_agents, without_quirks=without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        told = case.config
        network = cls(
            told["obs_size"],
            told["hidden"],
            told["out"],
            told["n_agents"] if told["heterogeneous"] else None,
            told["aggr"],
            told["activation"],
            case.arrays["in/pos"].shape[-1],
            without_quirks,
        )
        return network.load_recorded(case)

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        network = cls.of_case(case, without_quirks)
        x, pos, vel, edge_index = (case.arrays[f"in/{name}"] for name in ("obs", "pos", "vel", "edge_index"))
        edge_attr = network.edge_features(pos, vel, edge_index)
        inboxes = network.aggregates(x, edge_attr, edge_index).flatten(1, 2)
        return {
            "mid/edge_attr": edge_attr.flatten(0, 1),
            **{f"mid/aggregate_{number}": inbox for number, inbox in enumerate(inboxes)},
            "out/out": network(x, pos, vel, edge_index),
        }


class _Messages(nn.Module):
    """The message encoder, under the name that it has there."""

    def __init__(self, width: int, hidden: int, phi: type[nn.Module]) -> None:
        super().__init__()
        encoder = nn.Sequential(nn.Linear(width, hidden), phi(), nn.Linear(hidden, hidden))
        self.gnn = nn.ModuleDict({"message_encoder": encoder})

    def forward(self, features: Tensor) -> Tensor:
        message: Tensor = self.gnn["message_encoder"](features)
        return message
