"""Random graphs that are drawn once per episode, or once for all."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from gnncomm.errors import GraphError, ShapeError
from gnncomm.graph import CommGraph, checks
from gnncomm.shapes import Bool, Int
from gnncomm.topology.base import DENSE_UP_TO, Alive, Keys, Places, Steps, Topology

BYTES_PER_PAIR = 32
"""At the peak of a draw."""


@dataclass(frozen=True)
class DrawnTopology(Topology):
    """A random graph that is a pure function of the episode's key (or of ``seed``) and the number of agents.

    Without ``seed`` every episode has its own graph, fixed from its first step to its last. With ``seed`` one graph
    serves all environments and episodes, as a static topology does. Who dies later does not change the draw: dead
    agents leave it. Dense for N <= 64, else sparse; drawing takes O(N^2) memory per episode.
    """

    seed: int | None = field(default=None, kw_only=True)

    @abstractmethod
    def draw(self, key: Int[Tensor, " U"], num_agents: int) -> Bool[Tensor, "U N N"]:
        """The adjacency (sender, receiver) of all agents alive, for each key."""

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        num_agents = alive.shape[1]
        if self.seed is not None:
            return _seeded(self, num_agents, alive.device).among(alive)
        key_U, row_B = keys_of(self, alive, key).unique(return_inverse=True)  # a rollout repeats each key many times
        links_UNN = _memory(self, num_agents, alive.device).links(key_U)
        return _graph(links_UNN).select(row_B).expand(len(alive)).among(alive)


def keys_of(topology: Topology, alive: Bool[Tensor, "B N"], key: Int[Tensor, " B"] | None) -> Int[Tensor, " B"]:
    """``key``, or a refusal.

    Raises:
        GraphError: there is no key.
        ShapeError: keys of other environments.
    """
    name = type(topology).__name__
    if key is None:
        hint = " or fix the graph with seed=" if isinstance(topology, DrawnTopology) else ""
        raise GraphError(f"{name} is random: expected key [B], got None. Pass the key of each episode{hint}.")
    if key.shape != alive.shape[:1]:
        raise ShapeError(f"{name} is random: expected a key per environment [{len(alive)}], got {list(key.shape)}.")
    return key


def _graph(adjacency_UNN: Tensor) -> CommGraph:
    graph = CommGraph.from_dense(adjacency_UNN, validate=False)
    return graph if graph.num_agents <= DENSE_UP_TO else graph.to_layout("sparse")


def _check_size(topology: DrawnTopology, num_agents: int, draws: int) -> None:
    """Draws are counters of 8 bytes and numbers made of them, a few at a time for every pair."""
    what = f"{type(topology).__name__} of {num_agents} agents in {draws} episode(s)"
    checks.check_memory(what, BYTES_PER_PAIR * draws * num_agents**2, "Take fewer episodes or agents, or one seed=.")


class _Memory:
    """The graphs of the episodes of the last call: the next step of an episode need not draw them again."""

    def __init__(self, topology: DrawnTopology, num_agents: int, device: torch.device) -> None:
        self.topology, self.num_agents = topology, num_agents
        nothing_0NN = torch.zeros(0, num_agents, num_agents, dtype=torch.bool, device=device)
        self._known = torch.empty(0, dtype=torch.int64, device=device), nothing_0NN

    def links(self, key_U: Tensor) -> Tensor:
        """``[U, N, N]`` for keys in ascending order."""
        known_K, links_KNN = self._known
        place_U = torch.searchsorted(known_K, key_U)
        found_U = place_U < len(known_K)
        found_U[found_U.clone()] = known_K[place_U[found_U]] == key_U[found_U]
        if bool(found_U.all()):
            return links_KNN[place_U]
        with torch.inference_mode(False):  # what is remembered outlives the caller's mode
            _check_size(self.topology, self.num_agents, len(key_U))
            missing_M = (~found_U).nonzero().squeeze(-1)
            links_UNN = links_KNN.new_empty(len(key_U), self.num_agents, self.num_agents)
            links_UNN[found_U.clone()] = links_KNN[place_U[found_U].clone()]
            links_UNN[missing_M] = self.topology.draw(key_U[missing_M].clone(), self.num_agents)
            self._known = key_U.clone(), links_UNN
        return links_UNN


@lru_cache(maxsize=16)
def _memory(topology: DrawnTopology, num_agents: int, device: torch.device) -> _Memory:
    return _Memory(topology, num_agents, device)


@lru_cache(maxsize=256)
def _seeded(topology: DrawnTopology, num_agents: int, device: torch.device) -> CommGraph:
    _check_size(topology, num_agents, 1)
    with torch.inference_mode(False):  # it outlives the caller's mode
        return _graph(topology.draw(torch.tensor([topology.seed], device=device), num_agents))
