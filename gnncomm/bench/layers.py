"""``gnncomm bench layers``: our layers against stock PyG on the graphs that teams have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from rich.table import Table

from gnncomm import random
from gnncomm.bench.compare import KINDS, LayerRow, compare
from gnncomm.bench.measure import matmul_rate
from gnncomm.graph import CommGraph
from gnncomm.topology import ErdosRenyi, Full, KNearest, RandomRegular, Ring, Topology


@dataclass(frozen=True)
class Setting:
    """A number of environments, a team, and who could hear whom."""

    name: str
    num_envs: int
    num_agents: int
    topology: Topology

    def graph(self) -> CommGraph:
        """The graph at one moment, with agents at uniform random places where it asks for them."""
        key_B = torch.arange(self.num_envs)
        axis_P = torch.arange(2)
        pos_BNP = random.uniform(key_B.view(-1, 1, 1), torch.arange(self.num_agents).view(-1, 1), axis_P)
        alive_BN = torch.ones(self.num_envs, self.num_agents, dtype=torch.bool)
        return self.topology(alive_BN, pos_BNP, 0, key_B)


SETTINGS = (
    Setting("full-10", 1024, 10, Full()),
    Setting("full-50", 256, 50, Full()),
    Setting("ring-50", 1024, 50, Ring(2)),
    Setting("nearest-50", 1024, 50, KNearest(4)),
    Setting("regular-50", 1024, 50, RandomRegular(4)),
    Setting("ring-1000", 16, 1000, Ring(5)),
    Setting("nearest-1000", 16, 1000, KNearest(10)),
    Setting("irregular-1000", 16, 1000, ErdosRenyi(0.01)),
)


def bench_layers(settings: Sequence[Setting], repeats: int) -> Iterable[LayerRow]:
    """One row for each setting and kind, as they are measured."""
    for setting in settings:
        graph = setting.graph()
        for kind in KINDS:
            rate = matmul_rate()  # beside the measurement it is compared with: machines are not steady
            yield compare(setting.name, kind, graph, setting.num_envs, repeats, rate)


def layers_table(rows: Sequence[LayerRow], kind: str) -> Table:
    """The rows of one kind, for the terminal: milliseconds, and what they are compared with."""
    rows = [row for row in rows if row.kind == kind]
    title = f"{kind}: forward plus backward in ms, H = 128, 4 heads, {torch.get_num_threads()} threads"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("graph", no_wrap=True)
    table.add_column("layout", no_wrap=True)
    stock = list(rows[0].stock_ms) if rows else []
    for name in ("ours", *stock, "faster", "of matmul", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        times = [f"{value:.1f}" for value in (row.ours_ms, *row.stock_ms.values())]
        compared = f"{row.ratio:.1f}x", f"{row.share_of_bound:.0%}", f"{row.memory_ratio:.2f}"
        table.add_row(row.setting, row.layout, *times, *compared)
    return table
