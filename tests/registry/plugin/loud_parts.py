"""One thing of each kind that gnncomm has names for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gnncomm import environments, methods
from gnncomm.channel import Channel
from gnncomm.codec import Quantise
from gnncomm.layers import CommLayer
from gnncomm.learn import PPOConfig, Rollout, Term, TrainConfig
from gnncomm.learn.curriculum import Curve
from gnncomm.methods.losses import MethodLoss
from gnncomm.policy import VDN, CommPolicy, Encoder, Evaluation, LocalCritic, Memory
from gnncomm.schedule import Gate
from gnncomm.topology.static import StaticTopology
from gnncomm.types import Moment, TimeStep, VectorEnv


def whisper(num_envs: int, device: str, observation: str, num_symbols: int = 2) -> VectorEnv:
    """A relay of three agents.

    Args:
        num_symbols: S.
    """
    return environments.make("relay", num_envs, device, observation, num_agents=3, num_symbols=num_symbols)


whisper.protocols = {"loud-v0": {"num_symbols": 3}}  # type: ignore[attr-defined]


def quiet() -> TrainConfig:
    """A small training for whisper."""
    return TrainConfig.of(hidden=8, num_envs=8, rollout=4, rounds=2)


class GatedSum(CommLayer):
    """The sum of what was heard, through a gate of the receiver: sigmoid(s W h_i) * sum_j w_ji V h_j.

    Args:
        sharpness: s.
    """

    def __init__(self, in_channels: int, out_channels: int, sharpness: float = 1.0, residual: bool = True) -> None:
        super().__init__(in_channels, out_channels, msg_channels=out_channels)
        self.sharpness, self.residual = sharpness, residual
        self.lin_send, self.gate = nn.Linear(in_channels, out_channels), nn.Linear(in_channels, out_channels)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.lin_send.reset_parameters()
        self.gate.reset_parameters()

    def send(self, h: Tensor) -> Tensor:
        sent: Tensor = self.lin_send(h)
        return sent

    def message(self, msg_j: Tensor, edge_weight: Tensor | None) -> Tensor:
        return msg_j if edge_weight is None else edge_weight.view(-1, 1) * msg_j

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        return torch.sigmoid(self.sharpness * self.gate(h)) * inbox


@dataclass(frozen=True)
class Ahead(StaticTopology):
    """Agent i hears those before it, at most ``reach`` places away."""

    reach: int = 1

    def edges(self, num_agents: int) -> tuple[Tensor, Tensor]:
        before = [(j, i) for i in range(num_agents) for j in range(max(0, i - self.reach), i)]
        sender, receiver = torch.tensor(before, dtype=torch.int64).reshape(-1, 2).T
        return sender, receiver


class CheapGate(Gate):
    """A gate with another price."""

    def __init__(self, in_channels: int, price: float = 0.125) -> None:
        super().__init__(in_channels, price=price)


class FewBits(Quantise):
    """Two bits a number."""

    def __init__(self, limit: float = 2.0) -> None:
        super().__init__(bits=2, limit=limit)


@dataclass(frozen=True)
class Faint(Channel):
    """Messages arrive ``gain`` times as loud."""

    gain: float = 0.5

    def transmit(self, msg: Tensor, moment: Moment) -> Tensor:
        return self.gain * msg


class Scaled(Encoder):
    """Observations times ``by``, then the usual encoder."""

    def __init__(self, obs_dim: int, hidden: int, by: float = 2.0) -> None:
        super().__init__(obs_dim, hidden)
        self.by = by

    def forward(self, obs: Any) -> Tensor:
        return super().forward(obs) * self.by


class Leaky(Memory):
    """A moving average: m <- keep m + (1 - keep) x."""

    def __init__(self, hidden: int, keep: float = 0.75) -> None:
        super().__init__(hidden)
        self.keep, self.state_dim = keep, hidden

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        new = self.keep * state + (1 - self.keep) * x
        return new, new


def wide(hidden: int, in_channels: int | None = None, times: int = 2) -> LocalCritic:
    """A local critic, some times as wide."""
    return LocalCritic(times * hidden, in_channels or hidden)


class Meek(VDN):
    """A part of the sum."""

    def __init__(self, part: float = 0.5) -> None:
        super().__init__()
        self.part = part

    def mix(self, q: Tensor, best: Tensor, action: Tensor, timestep: TimeStep, heard: Tensor) -> Tensor:
        return self.part * super().mix(q, best, action, timestep, heard)


class Calm(MethodLoss):
    """What is said is small.

    Args:
        policy: of any kind.
        weight: of the term.
    """

    def __init__(self, policy: CommPolicy, weight: float = 0.5) -> None:
        super().__init__(policy)
        self.weight = weight

    def forward(self, evaluation: Evaluation, rollout: Rollout) -> dict[str, Term]:
        return {"calm": Term(self.policy.comm.rounds[0].send(evaluation.rows).square().mean(), self.weight)}


@dataclass(frozen=True)
class Patient(PPOConfig):
    """PPO that learns slowly."""

    lr: float = 1e-5


class Steps:
    """Writes the numbers of steps into a file.

    Args:
        file: its name.
    """

    def __init__(self, folder: str | Path, file: str = "steps.txt") -> None:
        self.path = Path(folder) / file

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(f"{step}\n")

    def rewind(self, step: int) -> None:
        if self.path.exists():
            kept = [line for line in self.path.read_text().splitlines() if int(line) <= step]
            self.path.write_text("".join(f"{line}\n" for line in kept))

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Sudden(Curve):
    """Nothing, and all at once at the end."""

    end: float = 1.0

    def value(self, share: float) -> float:
        return self.end if share >= 1 else 0.0


shouting = methods.Method(
    "shouting",
    "Shouting",
    "nobody",
    {"comm": "gated_sum:sharpness=3", "topology": "ahead:reach=2", "memory": "leaky", "rounds": 2},
    "gated sums of what those before say",
)
