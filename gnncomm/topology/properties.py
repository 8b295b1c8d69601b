"""Four numbers that say what a topology costs and how fast news travels in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx
import numpy as np
import torch

from gnncomm.random import stream, uniform
from gnncomm.shapes import Float
from gnncomm.topology.base import Topology


@dataclass(frozen=True)
class Summary:
    """One graph of N agents, as a directed graph (a link that works both ways is two edges).

    Attributes:
        edges: messages sent in one round.
        degree: smallest, mean and largest number of agents that an agent hears.
        diameter: rounds until what anyone says can have reached everyone; None when some news never arrive.
        spectral_gap: ``1 - |l2|``, where l2 is the second largest eigenvalue (by modulus) of the matrix that replaces
            the number of every agent by the mean of its own and of those it hears. Near 1: few rounds of averaging and
            all agree. 0: they never do.
    """

    edges: int
    degree: tuple[int, float, int]
    diameter: int | None
    spectral_gap: float


def summary(
    topology: Topology,
    num_agents: int,
    pos: Float[torch.Tensor, "N P"] | None = None,
    step: int = 0,
    seed: int = 0,
) -> Summary:
    """Edges, degree, diameter and spectral gap of ``topology`` with all agents alive, by networkx on the DiGraph.

    Random topologies take the episode of ``seed``. Without ``pos`` the agents of geometric ones stand at random
    (``seed``) on a square with one agent per unit of area.
    """
    place_NP = scattered(num_agents, seed) if pos is None else pos
    alive_1N = torch.ones(1, num_agents, dtype=torch.bool)
    graph = topology(alive_1N, place_NP.unsqueeze(0), step, stream(torch.tensor([seed]), "summary")).to_networkx()
    degree = [heard for _, heard in graph.in_degree]
    return Summary(
        edges=graph.number_of_edges(),
        degree=(min(degree), sum(degree) / num_agents, max(degree)),
        diameter=nx.diameter(graph) if nx.is_strongly_connected(graph) else None,
        spectral_gap=_spectral_gap(graph),
    )


def table(topologies: Mapping[str, Topology], num_agents: int) -> str:
    """The summaries as a table in Markdown, a row for each name."""
    lines = ["| topology | edges | degree | diameter | spectral gap |", "|---|---|---|---|---|"]
    for name, topology in topologies.items():
        found = summary(topology, num_agents)
        least, mean, most = found.degree
        degree = f"{mean:g}" if least == most else f"{least} to {most}, mean {mean:.3g}"
        far = "none" if found.diameter is None else str(found.diameter)
        lines.append(f"| `{name}` | {found.edges} | {degree} | {far} | {found.spectral_gap:.3f} |")
    return "\n".join(lines)


def scattered(num_agents: int, seed: int = 0) -> Float[torch.Tensor, "N 2"]:
    """Uniform positions on a square with one agent per unit of area."""
    axis_2 = torch.arange(2)
    draw_N2 = uniform(stream(torch.tensor([[seed]]), "scattered"), torch.arange(num_agents).unsqueeze(-1), axis_2)
    return draw_N2 * math.sqrt(num_agents)


def _spectral_gap(graph: nx.DiGraph) -> float:
    heard_NN = nx.to_numpy_array(graph, weight=None).T  # receiver, sender
    np.fill_diagonal(heard_NN, 1.0)
    modulus_N = np.sort(np.abs(np.linalg.eigvals(heard_NN / heard_NN.sum(1, keepdims=True))))
    return float(1.0 - modulus_N[-2]) if len(modulus_N) > 1 else 1.0
