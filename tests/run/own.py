"""Everything of a training that somebody wrote himself; no name stands for any of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from gnncomm.envs.relay import Relay
from torch import Tensor, nn

from gnncomm.channel import Channel
from gnncomm.codec import Codec, Field, Fixed, Packet
from gnncomm.gradients import straight_through
from gnncomm.graph import CommGraph
from gnncomm.layers import CommLayer
from gnncomm.learn import Experience, Rollout, Term, masked_mean, optimizer_slots, restore_optimizer
from gnncomm.learn.learner import Groups
from gnncomm.policy import GRU, CommPolicy, Evaluation
from gnncomm.topology import Topology
from gnncomm.types import Moment


class GatedSum(CommLayer):
    """A gate for each receiver, and a temperature that is a plain number."""

    def __init__(self, in_channels: int, out_channels: int, temperature: float = 1.0) -> None:
        super().__init__(in_channels, out_channels, in_channels, aggr="add")
        self.temperature = temperature
        self.gate, self.lin = nn.Linear(in_channels, 1), nn.Linear(in_channels, out_channels)

    def send(self, h: Tensor) -> Tensor:
        return h

    def message(self, msg_j: Tensor, edge_weight: Tensor | None) -> Tensor:
        return msg_j if edge_weight is None else edge_weight.view(-1, 1) * msg_j

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        combined: Tensor = torch.sigmoid(self.gate(h) / self.temperature) * self.lin(inbox)
        return combined


@dataclass(frozen=True)
class Ahead(Topology):
    """Agent i is heard by agent i + hop."""

    hop: int = 1

    def __call__(
        self, alive: Tensor, pos: Tensor | None = None, step: int | Tensor = 0, key: Tensor | None = None
    ) -> CommGraph:
        ahead = torch.ones(alive.shape[1] - self.hop, dtype=torch.bool, device=alive.device).diag(self.hop)
        return CommGraph.from_dense(ahead & alive.unsqueeze(1) & alive.unsqueeze(2))


class Sign(Codec):
    """One bit a number, of a learned size."""

    def __init__(self) -> None:
        super().__init__()
        self.size = nn.Parameter(torch.ones(()))

    def fields(self, channels: int, dtype: torch.dtype) -> tuple[Field, ...]:
        return (Fixed(channels, 2),)

    def encode(self, msg: Tensor, moment: Moment) -> Packet:
        return self.packet(msg > 0, msg)

    def decode(self, packet: Packet, moment: Moment) -> Tensor:
        return self.size * (2 * packet.symbols.to(packet.dtype) - 1)

    def smooth(self, msg: Tensor, moment: Moment) -> Tensor:
        return self.size * straight_through(torch.where(msg > 0, 1.0, -1.0), msg)


@dataclass(frozen=True)
class EverySecond(Channel):
    """Nothing arrives at odd steps."""

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        return graph.only(moment.step % 2 == 0)


class Secret(Relay):
    """A game of one's own."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.id = "secret"


class Forgetful(GRU):
    """Forgets a tenth in every step."""

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return super().step(x, 0.9 * state)

    def unroll(self, x: Tensor, state: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        return super().unroll(x, 0.9 * state, first)


class PlainGradient:
    """Williams 1992, with the mean return as baseline."""

    def __init__(
        self, policy: CommPolicy, total_updates: int, seed: int = 0, length: int = 4, gamma: float = 0.9
    ) -> None:
        self.policy, self.gamma, self.updates = policy, gamma, 0
        self.experience = Experience(length)
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=0.01)
        self.mean = torch.zeros(())

    def update(self, experience: Rollout) -> dict[str, float]:
        to_go, returns = torch.zeros_like(experience.reward[0]), torch.empty_like(experience.reward)
        for t in reversed(range(len(returns))):
            to_go = experience.reward[t] + self.gamma * to_go * ~experience.done[t].unsqueeze(-1)
            returns[t] = to_go
        self.mean = self.mean + 0.1 * (returns.mean() - self.mean)
        now = self.policy.unroll(experience.timestep, experience.action, experience.state, experience.choice)
        loss = -masked_mean(now.log_prob * (returns - self.mean), experience.timestep.alive)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.updates += 1
        return {"loss": loss.item()}

    def state(self) -> tuple[Groups, dict[str, Any]]:
        return {"adam": optimizer_slots(self.optimizer), "baseline": {"mean": self.mean}}, {"updates": self.updates}

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]], counters: Mapping[str, Any]) -> None:
        restore_optimizer(self.optimizer, groups["adam"])
        self.mean, self.updates = groups["baseline"]["mean"].clone(), int(counters["updates"])


def calm(evaluation: Evaluation, rollout: Rollout) -> Mapping[str, Term]:
    """Logits of the right size."""
    return {"calm": Term(masked_mean(evaluation.features.square().mean(-1), rollout.timestep.alive), 0.01)}


def restless(evaluation: Evaluation, rollout: Rollout) -> Mapping[str, Term]:
    """Draws from the generator of torch, as a dropout does."""
    return {"restless": Term((evaluation.features * torch.rand_like(evaluation.features)).mean(), 0.01)}


def own_policy(obs_dim: int, num_actions: int, num_agents: int) -> CommPolicy:
    return CommPolicy(obs_dim, num_actions, GatedSum(8, 8), GRU(8))
