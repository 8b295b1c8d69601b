"""100,000 agents within 4 GiB: the peak of a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("resource", reason="memory limits of POSIX systems")

PROGRAM = """
import resource, sys
import torch
from gnncomm import topology
from gnncomm.topology.properties import scattered

num_agents, which = 100_000, topology.resolve(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
graph = which(torch.ones(1, num_agents, dtype=torch.bool), scattered(num_agents).unsqueeze(0))
degree = graph.in_degree
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
kibi = 1024 if sys.platform == "darwin" else 1
print(graph.num_edges, int(degree.min()), int(degree.max()), before // kibi, peak // kibi)
"""


@pytest.mark.parametrize(
    ("spec", "fewest", "most", "edges"),
    [
        ("ring", 2, 2, (200_000, 200_000)),
        ("exponential", 17, 17, (1_700_000, 1_700_000)),
        ("knn:k=8", 8, 8, (800_000, 800_000)),
        ("radius:r=1.6", 0, 40, (780_000, 805_000)),  # 8.04 within range where no border is near
    ],
)
def test_a_hundred_thousand_agents(
    spec: str, fewest: int, most: int, edges: tuple[int, int], python: Any, tmp_path: Path
) -> None:
    done = python.run("-c", PROGRAM, spec, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    count, least, largest, before, peak = map(int, done.stdout.split())
    assert edges[0] <= count <= edges[1]
    assert fewest <= least <= largest <= most
    assert peak <= 4 * 2**20, "KiB resident, the libraries included"
    assert peak - before <= 512 * 2**10, (
        "KiB that the graph took while it was built: one bit for each pair would be 1,220,703"
    )
