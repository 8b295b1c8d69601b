"""Encoders beside the linear one: perceptron, convolution over a grid, sets of entities, and the agent's number.

An encoder is any ``torch.nn.Module`` that turns an ``Observation`` of width D, ``[*lead, N, D]``, into rows
``[*lead, N, H]``. It is called with one row ``[D]``, too, by an agent that acts alone, and each row must come out as it
would alone: no layer that looks across rows, such as batch normalisation.
"""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from gnncomm.errors import ConfigError, ShapeError
from gnncomm.host import one_hot
from gnncomm.policy.encoder import Encoder, ReadsSparse, encoded, require_floats
from gnncomm.policy.groups import PerAgent
from gnncomm.registry import Remembers
from gnncomm.types import Observation, SparseObs

PartT = TypeVar("PartT", bound=nn.Module)


def flat(obs: Observation, width: int, like: Tensor) -> Tensor:
    """``[*lead, N, D]`` in the type of ``like``, whatever the form.

    Raises:
        ShapeError: the width is not D. DtypeError: no floating-point tensor, or a wider one than ``like``.
    """
    dense = obs.to_flat() if isinstance(obs, SparseObs) else obs
    if dense.shape[-1] != width:
        raise ShapeError(f"The policy expected observations of width {width}, got {dense.shape[-1]}.")
    require_floats(dense, like.dtype)
    return dense.to(like.dtype)


class MLPEncoder(Remembers, ReadsSparse):
    r"""A perceptron of L layers, the first of which is an ``Encoder``.

    .. math:: x = ReLU(W_L \dots ReLU(W_1 o + b_1) \dots + b_L)

    Args:
        obs_dim: D.
        hidden: H, width of every layer.
        layers: L >= 1.
        layer_norm: normalise what enters each ReLU, see ``Encoder``.
    """

    def __init__(self, obs_dim: int, hidden: int, layers: int = 2, layer_norm: bool = False) -> None:
        super().__init__()
        if layers < 1:
            raise ConfigError(f"MLPEncoder: expected layers >= 1, got {layers}.")
        norm = [nn.LayerNorm(hidden)] if layer_norm else []
        more = [[_orthogonal(nn.Linear(hidden, hidden)), *copy.deepcopy(norm), nn.ReLU()] for _ in range(layers - 1)]
        self.net = nn.Sequential(Encoder(obs_dim, hidden, layer_norm), *itertools.chain(*more))

    def forward(self, obs: Observation) -> Tensor:
        rows: Tensor = self.net(obs)
        return rows


class GridEncoder(Remembers, nn.Module):
    """Convolutions over an image or a grid that each agent sees: ``[*lead, N, C * H * W + rest]`` to rows.

    ``layers`` convolutions of 3 x 3 with padding and ReLU, then a linear layer with ReLU on what they gave and on the
    ``rest`` of the numbers, which stand behind those of the grid.

    Args:
        obs_dim: D >= C * H * W.
        hidden: width of a row.
        shape: C, H, W: the first numbers of an observation, row by row in each channel.
        channels: of each convolution.
        layers: convolutions, at least 1.
        channels_last: the numbers are [H, W, C], as in images of Gymnasium.

    Raises:
        ConfigError: a grid that the observation does not hold.
    """

    def __init__(
        self,
        obs_dim: int,
        hidden: int,
        shape: tuple[int, ...],
        channels: int = 16,
        layers: int = 2,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.obs_dim, self.shape, self.channels_last = obs_dim, shape, channels_last
        self.cells = math.prod(shape)
        if len(shape) != 3 or min(shape) < 1 or self.cells > obs_dim or min(channels, layers) < 1:
            raise ConfigError(
                f"GridEncoder: expected shape (C, H, W) of at most obs_dim={obs_dim} numbers, and channels and layers "
                f">= 1, got {shape}, {channels} and {layers}."
            )
        widths = [shape[0], *[channels] * layers]
        pairs = itertools.pairwise(widths)
        convs = [part for pair in pairs for part in (_orthogonal(nn.Conv2d(*pair, 3, padding=1)), nn.ReLU())]
        self.net = nn.Sequential(*convs)
        self.lin = _orthogonal(nn.Linear(channels * shape[1] * shape[2] + obs_dim - self.cells, hidden))

    def forward(self, obs: Observation) -> Tensor:
        rows = flat(obs, self.obs_dim, self.lin.weight)
        channels, height, width = self.shape
        grid = rows[..., : self.cells].reshape(-1, *((height, width, channels) if self.channels_last else self.shape))
        seen = self.net(grid.movedim(-1, 1) if self.channels_last else grid).flatten(1).view(*rows.shape[:-1], -1)
        return torch.relu(self.lin(torch.cat([seen, rows[..., self.cells :]], -1)))


class EntityEncoder(Remembers, nn.Module):
    r"""A set of things that each agent sees: one perceptron for all of them, then their maximum.

    .. math:: x = ReLU(W_o o_\mathrm{rest} + W_e \max_e ReLU(W_1 e + b_1) + b)

    All entities have the same weights and the maximum knows no order (Zaheer et al. 2017), so that none has a place of
    its own. An entity whose numbers are all zero is not there; where none is, the maximum is zero.

    Args:
        obs_dim: D >= first + count * width.
        hidden: H.
        count: E, entities in an observation.
        width: numbers of each, next to each other.
        first: where they begin; what stands before and behind them is ``o_rest``.

    Raises:
        ConfigError: entities that the observation does not hold.
    """

    def __init__(self, obs_dim: int, hidden: int, count: int, width: int, first: int = 0) -> None:
        super().__init__()
        self.obs_dim, self.count, self.width, self.first = obs_dim, count, width, first
        self.end = first + count * width
        if min(count, width) < 1 or first < 0 or self.end > obs_dim:
            raise ConfigError(
                f"EntityEncoder: expected count * width entries from first on within obs_dim={obs_dim}, got "
                f"count={count}, width={width}, first={first}."
            )
        self.each = _orthogonal(nn.Linear(width, hidden))
        self.lin = _orthogonal(nn.Linear(hidden + obs_dim - count * width, hidden))

    def forward(self, obs: Observation) -> Tensor:
        rows = flat(obs, self.obs_dim, self.lin.weight)
        entity = rows[..., self.first : self.end].unflatten(-1, (self.count, self.width))
        there = (entity != 0).any(-1, keepdim=True)
        pooled = torch.where(there, torch.relu(self.each(entity)), 0.0).amax(-2)
        rest = torch.cat([rows[..., : self.first], rows[..., self.end :]], -1)
        return torch.relu(self.lin(torch.cat([pooled, rest], -1)))


class AgentId(PerAgent, ReadsSparse):
    """``encoder`` of ``[o, one-hot of the agent's number]``, so that agents with the same weights may act differently.

    Args:
        encoder: of observations of width D + N.
        obs_dim: D.
        num_agents: N; the numbers are places on the axis N, so the team has a fixed size.
    """

    def __init__(self, encoder: nn.Module, obs_dim: int, num_agents: int, only: int | None = None) -> None:
        super().__init__()
        self.encoder, self.obs_dim, self.num_agents, self.only = encoder, obs_dim, num_agents, only

    def of_agent(self, index: int) -> nn.Module:
        encoder = self.encoder.of_agent(index) if isinstance(self.encoder, PerAgent) else self.encoder
        return AgentId(encoder, self.obs_dim, self.num_agents, index)

    def forward(self, obs: Observation) -> Tensor:
        values = obs.value if isinstance(obs, SparseObs) else obs
        if self.only is None and values.shape[-2] != self.num_agents:
            raise ShapeError(
                f"This policy knows {self.num_agents} agents by their numbers, got {values.shape[-2]}: leave out "
                "agent_id for teams of changing size."
            )
        number = torch.arange(self.num_agents, device=values.device) if self.only is None else self.only
        return encoded(self.encoder, self._with_number(obs, torch.as_tensor(number, device=values.device)))

    def _with_number(self, obs: Observation, number: Tensor) -> Observation:
        if isinstance(obs, SparseObs):
            rows = obs.index.shape[:-1]
            index = torch.cat([obs.index, (self.obs_dim + number).expand(rows).unsqueeze(-1)], -1)
            value = torch.cat([obs.value, obs.value.new_ones(*rows, 1)], -1)
            return replace(obs, index=index, value=value, width=self.obs_dim + self.num_agents)
        own = one_hot(number, self.num_agents, obs)
        return torch.cat([obs, own.expand(*obs.shape[:-1], self.num_agents)], -1)


def _orthogonal(part: PartT) -> PartT:
    for name, parameter in part.named_parameters():
        if name == "weight":
            nn.init.orthogonal_(parameter, gain=math.sqrt(2.0))
        else:
            nn.init.zeros_(parameter)
    return part
