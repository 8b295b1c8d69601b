"""The graphs and rows that the laws of layers are tried on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.graph import CommGraph, Layout

LARGE = ((12, 8, Layout.DENSE), (3, 40, Layout.SPARSE), (4, 280, Layout.REGULAR))
"""Agents, environments and layout; the last are more than 1,000 rows."""


@dataclass(frozen=True)
class Case:
    """Rows and a graph over them."""

    name: str
    h: Tensor  # [B, N, F]
    graph: CommGraph

    def to(self, dtype: torch.dtype) -> Case:
        """Rows and features of edges in another type."""
        attr, weight = (None if x is None else x.to(dtype) for x in (self.graph.attr, self.graph.weight))
        return Case(f"{self.name}, {dtype}", self.h.to(dtype), self.graph.with_features(attr, weight))


def cases(channels: int, num_agents: int, num_envs: int, edge_dim: int, weighted: bool, seed: int) -> Iterator[Case]:
    """Rows ``[B, N, F]`` in float64 with the graphs that the laws are tried on.

    Features of edges that do not exist are NaN: they mean nothing and must not be read.
    """
    draw = random.uniform(seed, 0, torch.arange(num_envs * num_agents**2)).view(num_envs, num_agents, num_agents)
    no_loops = ~torch.eye(num_agents, dtype=torch.bool)
    line = torch.diag(torch.ones(num_agents - 1, dtype=torch.bool), 1)
    full = no_loops.expand(num_envs, -1, -1)
    edges = {
        "random, one for each environment": (draw < 0.35) & no_loops,
        "random with self-loops, shared": (draw < 0.3)[:1],
        "a directed line, shared": line[None],
        "full": full,
        "empty": torch.zeros_like(full),
        "one agent alone": torch.zeros(num_envs, 1, 1, dtype=torch.bool),
    }
    for number, (name, adjacency) in enumerate(edges.items()):
        shape = tuple(adjacency.shape)
        attr = _edge_features(adjacency, (*shape, edge_dim), seed, number, 1) if edge_dim else None
        weight = _edge_features(adjacency, shape, seed, number, 2).abs() if weighted else None
        h = normal((num_envs, shape[-1], channels), seed, number, 3)
        yield Case(name, h, CommGraph.from_dense(adjacency, attr, weight))


def large_cases(channels: int, edge_dim: int, weighted: bool, seed: int) -> Iterator[Case]:
    """More agents, more environments (beyond the few rows for which layers may take another path), larger numbers."""
    for number, (num_agents, num_envs, layout) in enumerate(LARGE):
        shape = (num_envs, num_agents, num_agents)
        draw = random.uniform(seed, 50 + number, torch.arange(torch.Size(shape).numel())).view(shape)
        adjacency = (draw < 0.25) & ~torch.eye(num_agents, dtype=torch.bool)
        attr = _edge_features(adjacency, (*shape, edge_dim), seed, 50 + number, 1) if edge_dim else None
        weight = _edge_features(adjacency, shape, seed, 50 + number, 2).abs() if weighted else None
        size = 10.0 ** (torch.arange(num_envs, dtype=torch.float64) % 5 - 2)  # 0.01, 0.1, 1, 10, 100
        h = size.view(-1, 1, 1) * normal((num_envs, num_agents, channels), seed, 50 + number, 3)
        yield Case(f"{num_agents} agents", h, CommGraph.from_dense(adjacency, attr, weight).to_layout(layout))


def normal(shape: tuple[int, ...], *key: int) -> Tensor:
    return random.normal(*key, torch.arange(torch.Size(shape).numel()), dtype=torch.float64).view(shape)


def _edge_features(adjacency: Tensor, shape: tuple[int, ...], *key: int) -> Tensor:
    exists = adjacency.unsqueeze(-1) if len(shape) > adjacency.dim() else adjacency
    return torch.where(exists, normal(shape, *key), torch.nan)
