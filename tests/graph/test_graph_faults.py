"""10,000 random graphs, most of them damaged: a right and finite result, or a GnnCommError, and nothing else.

The faults are rows 1 to 18 of the list of bad inputs that the library answers for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from gnncomm.errors import GnnCommError
from gnncomm.graph import CommGraph
from gnncomm.layers import AttentionComm, CommLayer, MeanComm

F = 4
PER_BLOCK, BLOCKS = 500, 20
torch.manual_seed(0)
LAYERS: tuple[CommLayer, ...] = (
    MeanComm(F, F).double(),
    AttentionComm(F, F, heads=2, key_channels=3).double(),
)


@dataclass
class Sample:
    """A graph as it should be, and how it is going to be given."""

    rng: np.random.Generator
    num_agents: int
    num_graphs: int
    edges: list[tuple[int, int]]  # (sender, receiver) over nodes g * N + n
    weight: Tensor | None = None
    refused: bool | None = field(default=None)  # True: has to be; False: must not be

    @property
    def edge_index(self) -> Tensor:
        return torch.tensor(self.edges, dtype=torch.int64).reshape(-1, 2).t().clone()

    def built(self, **changes: object) -> CommGraph:
        settings: dict[str, object] = {"weight": self.weight} | changes
        index = settings.pop("edge_index", self.edge_index)
        return CommGraph.from_edge_index(index, self.num_agents, self.num_graphs, **settings)  # type: ignore[arg-type]

    def any_place(self) -> tuple[int, int]:
        return int(self.rng.integers(2)), int(self.rng.integers(len(self.edges)))


def draw(rng: np.random.Generator) -> Sample:
    num_agents, num_graphs = int(rng.integers(1, 7)), int(rng.integers(1, 4))
    pairs = [
        (g * num_agents + s, g * num_agents + r)
        for g in range(num_graphs)
        for s in range(num_agents)
        for r in range(num_agents)
        if rng.random() < 0.4
    ]
    order = rng.permutation(len(pairs))
    edges = [pairs[place] for place in order]
    weight = torch.from_numpy(rng.random(len(edges))) if rng.random() < 0.3 else None
    return Sample(rng, num_agents, num_graphs, edges, weight)


def with_index(sample: Sample, value: int) -> CommGraph:
    index = sample.edge_index
    index[sample.any_place()] = value
    sample.refused = True
    return sample.built(edge_index=index)


def too_large(sample: Sample) -> CommGraph:  # rows 1 and 2
    return with_index(sample, sample.num_agents * sample.num_graphs + int(sample.rng.integers(3)))


def negative(sample: Sample) -> CommGraph:  # row 3
    return with_index(sample, -1 - int(sample.rng.integers(3)))


def transposed(sample: Sample) -> CommGraph:  # rows 4 and 5: a transposed [2, 2] cannot be told from a right one
    sample.refused = len(sample.edges) != 2
    if not sample.refused:
        return sample.built()
    return sample.built(edge_index=sample.edge_index.t())


def floating(sample: Sample) -> CommGraph:  # row 6
    sample.refused = True
    return sample.built(edge_index=sample.edge_index.double())


def empty_of_floats(sample: Sample) -> CommGraph:  # row 7
    sample.refused, sample.edges, sample.weight = False, [], None
    return sample.built(edge_index=torch.empty(2, 0))


def of_other_integers(sample: Sample) -> CommGraph:  # row 8
    kind = [torch.int32, torch.uint8][int(sample.rng.integers(2))]
    sample.refused = kind is torch.uint8
    return sample.built(edge_index=sample.edge_index.to(kind))


def repeated(sample: Sample) -> CommGraph:  # row 9
    sample.weight = None
    index = torch.cat([sample.edge_index, sample.edge_index[:, :1]], 1)
    coalesce = bool(sample.rng.integers(2))
    sample.refused = not coalesce
    return sample.built(edge_index=index, coalesce=coalesce)


def to_itself(sample: Sample) -> CommGraph:  # row 10: an edge like any other
    sample.refused, sample.weight = False, None
    sample.edges = sorted({*sample.edges, (0, 0)})
    return sample.built()


def as_networkx(sample: Sample) -> CommGraph:  # rows 11 to 13
    sample.num_graphs, sample.weight = 1, None
    sample.edges = [(s, r) for s, r in sample.edges if max(s, r) < sample.num_agents]
    kind = int(sample.rng.integers(4))
    names: list[object] = [
        f"agent {n}" if kind == 0 else 10 * n + 10 if kind == 1 else n for n in range(sample.num_agents)
    ]
    graph = nx.MultiDiGraph() if kind == 3 else nx.DiGraph()
    graph.add_nodes_from(names[n] for n in sample.rng.permutation(sample.num_agents))
    graph.add_edges_from((names[s], names[r]) for s, r in sample.edges)
    told = bool(sample.rng.integers(2))
    sample.refused = kind == 3 or (not told and list(graph) != list(range(sample.num_agents)))
    return CommGraph.from_networkx(graph, agents=names if told else None)


def bad_weight(sample: Sample) -> CommGraph:  # row 14
    sample.refused = True
    weight = torch.from_numpy(sample.rng.random(len(sample.edges)))
    kind = int(sample.rng.integers(4))
    if kind == 3:
        weight = weight[1:]
    else:
        weight[int(sample.rng.integers(len(weight)))] = [torch.nan, torch.inf, -0.5][kind]
    return sample.built(weight=weight)


def elsewhere(sample: Sample) -> CommGraph:  # row 15
    sample.refused = True
    return sample.built(weight=torch.ones(len(sample.edges), device="meta"))


def across(sample: Sample) -> CommGraph:  # row 16
    if sample.num_graphs == 1:
        return with_index(sample, sample.num_agents)
    sample.refused = True
    sample.edges[0] = (0, sample.num_agents)
    return sample.built()


def bad_matrix(sample: Sample) -> CommGraph:  # row 17
    sample.refused = True
    matrix = torch.zeros(sample.num_graphs, sample.num_agents, sample.num_agents)
    kind = int(sample.rng.integers(3))
    if kind == 0:
        return CommGraph.from_dense(torch.cat([matrix, matrix[:, :1]], 1))
    matrix[-1, 0, -1] = [2.0, torch.nan][kind - 1]
    return CommGraph.from_dense(matrix)


def nobody(sample: Sample) -> CommGraph:  # row 18; one agent alone is drawn often enough
    sample.refused = True
    return CommGraph.from_edge_index(torch.empty(2, 0, dtype=torch.int64), 0)


def sound(sample: Sample) -> CommGraph:
    sample.refused = False
    way = int(sample.rng.integers(3))
    if way == 0:
        return sample.built()
    graph = sample.built()
    layout = ("dense", "regular")[way - 1]
    return graph.to_layout(layout)


FAULTS: tuple[Callable[[Sample], CommGraph], ...] = (
    sound,
    sound,
    too_large,
    negative,
    transposed,
    floating,
    empty_of_floats,
    of_other_integers,
    repeated,
    to_itself,
    as_networkx,
    bad_weight,
    elsewhere,
    across,
    bad_matrix,
    nobody,
)


def by_hand(layer: CommLayer, h: Tensor, sample: Sample) -> Tensor:
    """The round over a matrix of weights, from the formula in the layer's docstring."""
    nodes = len(h)
    strength = torch.zeros(nodes, nodes, dtype=h.dtype)  # receiver, sender
    hears = torch.zeros(nodes, nodes, dtype=torch.bool)
    for place, (s, r) in enumerate(sample.edges):
        hears[r, s] = True
        strength[r, s] = 1.0 if sample.weight is None else sample.weight[place]
    if isinstance(layer, MeanComm):
        heard = strength @ layer.send(h) / hears.sum(1, keepdim=True).clamp(min=1)
        out: Tensor = layer.lin_self(h) + layer.lin_inbox(heard)
        return out
    assert isinstance(layer, AttentionComm)
    key, value = layer.send(h).split([6, F], -1)
    query = layer.lin_query(h)
    inboxes = []
    for head in range(2):
        score = query[:, 3 * head : 3 * head + 3] @ key[:, 3 * head : 3 * head + 3].t() / 3**0.5
        alpha = score.masked_fill(~hears, -torch.inf).softmax(-1).nan_to_num(0.0)
        inboxes.append(alpha * strength @ value[:, 2 * head : 2 * head + 2])
    attended: Tensor = layer.lin_self(h) + layer.lin_inbox(torch.cat(inboxes, -1))
    return attended


def attempt(fault: Callable[[Sample], CommGraph], sample: Sample) -> tuple[CommGraph | None, GnnCommError | None]:
    try:
        return fault(sample), None
    except GnnCommError as error:
        return None, error


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_right_result_or_a_clear_error(block: int) -> None:
    rng = np.random.default_rng(block)
    counts = {True: 0, False: 0}
    for number in range(PER_BLOCK):
        sample = draw(rng)
        fault = FAULTS[int(rng.integers(len(FAULTS)))] if sample.edges else sound
        graph, error = attempt(fault, sample)
        assert sample.refused is (graph is None), (number, fault.__name__, sample, error)
        counts[graph is None] += 1
        if graph is None:
            assert len(str(error)) > 30, error
            continue
        h = torch.from_numpy(rng.standard_normal((sample.num_graphs, sample.num_agents, F)))
        layer = LAYERS[number % 2]
        with torch.no_grad():
            out, expected = layer(h, graph).flatten(0, 1), by_hand(layer, h.flatten(0, 1), sample)
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12, msg=f"{number} {fault.__name__} {sample}")
    assert min(counts.values()) > PER_BLOCK / 8  # of both kinds, or the test is empty
