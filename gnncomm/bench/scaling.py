"""How the cost of an agent grows with the team."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from rich.table import Table

from gnncomm.bench.compare import HIDDEN, KINDS, forward_backward, ours_of
from gnncomm.bench.layers import Setting
from gnncomm.bench.measure import interleaved
from gnncomm.topology import Exponential, KNearest

ROWS = 100_000
TEAMS = (100, 1_000, 10_000, 100_000)


@dataclass(frozen=True)
class ScaleRow:
    """Microseconds per agent, forward plus backward, with ``ROWS`` agents in all."""

    topology: str
    kind: str
    num_agents: int
    messages_per_agent: float
    us_per_agent: float


def bench_scaling(repeats: int, rows: int = ROWS, teams: Sequence[int] = TEAMS) -> Iterable[ScaleRow]:
    """The same number of agents in ever larger teams; the teams of one topology take turns."""
    for name, topology in (("Exponential()", Exponential()), ("KNearest(8)", KNearest(8))):
        graphs = {size: Setting(name, rows // size, size, topology).graph() for size in teams}
        for kind in KINDS:
            layer = ours_of(kind)
            calls = {
                str(size): forward_backward(layer, torch.randn(rows // size, size, HIDDEN, requires_grad=True), graph)
                for size, graph in graphs.items()
            }
            seconds = interleaved(calls, repeats)
            for size, graph in graphs.items():
                messages = graph.num_edges / graph.num_graphs / size
                yield ScaleRow(name, kind, size, messages, 1e6 * seconds[str(size)] / rows)


def scaling_table(rows: Sequence[ScaleRow]) -> Table:
    """For the terminal."""
    table = Table(title="cost of one agent, forward plus backward", title_justify="left", box=None)
    for name in ("topology", "kind", "team", "messages per agent", "us per agent"):
        table.add_column(name, justify="left" if name in ("topology", "kind") else "right")
    for row in rows:
        numbers = f"{row.num_agents:,}", f"{row.messages_per_agent:.1f}", f"{row.us_per_agent:.2f}"
        table.add_row(row.topology, row.kind, *numbers)
    return table
