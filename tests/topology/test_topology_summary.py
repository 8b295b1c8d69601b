"""The numbers of a topology against closed forms; the table in the documentation against the function."""

from __future__ import annotations

import math
import re
from pathlib import Path

import networkx as nx
import pytest
import torch

from gnncomm import topology
from gnncomm.topology import (
    Empty,
    Exponential,
    FromNetworkx,
    Full,
    Hypercube,
    KNearest,
    Line,
    OnePeerExponential,
    Ring,
    Star,
    Topology,
    Tree,
    summary,
)
from gnncomm.topology.properties import table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "topologies.md"


@pytest.mark.parametrize("num_agents", [4, 8, 16, 32])
def test_closed_forms(num_agents: int) -> None:
    n, levels = num_agents, int(math.log2(num_agents))
    expected: list[tuple[Topology, int, int | None, float]] = [
        (Full(), n * (n - 1), 1, 1.0),
        (Empty(), 0, None, 0.0),
        (Ring(), 2 * n, n // 2, 1 - (1 + 2 * math.cos(2 * math.pi / n)) / 3),
        (Hypercube(), n * levels, levels, 2 / (levels + 1)),  # eigenvalues 1 - 2 j / (levels + 1)
        (Exponential(), n * levels, levels, 2 / (levels + 1)),  # Ying et al. 2021, proposition 1
        (Star(), 2 * (n - 1), 2, 0.5),  # leaves keep half of what they differ by
        (Line(), 2 * (n - 1), n - 1, -1.0),
        (OnePeerExponential(), n, n - 1, 1 - math.cos(math.pi / n)),  # |1 + exp(2 pi i / n)| / 2
    ]
    for which, edges, diameter, gap in expected:
        found = summary(which, n)
        assert (found.edges, found.diameter) == (edges, diameter), which
        assert found.degree[0] <= found.degree[1] == edges / n <= found.degree[2]
        assert gap == -1.0 or found.spectral_gap == pytest.approx(gap, abs=1e-9), which


def test_one_agent() -> None:
    assert summary(Full(), 1) == topology.Summary(edges=0, degree=(0, 0.0, 0), diameter=0, spectral_gap=1.0)


def test_news_that_never_arrive() -> None:
    one_way = FromNetworkx(nx.DiGraph([(0, 1), (1, 2)]))
    assert summary(one_way, 3).diameter is None
    assert summary(Tree(), 7).diameter == 4


def test_positions_step_and_seed_are_heard() -> None:
    row = torch.arange(5.0).unsqueeze(-1)
    assert summary(KNearest(1), 5, row).edges == 5
    assert summary(topology.resolve("radius:r=1"), 5, row) == summary(Line(), 5)
    assert summary(Ring().every(2), 5, step=1) == summary(Empty(), 5)
    assert len({summary(topology.resolve("erdos_renyi:p=.5"), 9, seed=seed) for seed in range(5)}) > 1


def rows(markdown: str) -> list[list[str]]:
    return [
        [name, *(cell.strip() for cell in cells.split("|"))]
        for name, cells in re.findall(r"^\| `([^`]+)` \|(.*)\|$", markdown, re.M)
    ]


def test_the_table_in_the_documentation() -> None:
    shown = rows(PAGE.read_text(encoding="utf-8").split("## Numbers")[1].partition("\n## ")[0])
    assert len(shown) >= 15
    found = rows(table({row[0]: topology.resolve(row[0]) for row in shown}, 16))
    for mine, theirs in zip(shown, found, strict=True):
        assert mine[:4] == theirs[:4]
        assert float(mine[4]) == pytest.approx(float(theirs[4]), abs=2e-3)
