"""``gnncomm train --dry-run``: what a training is made of."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from gnncomm.learn import TrainConfig
from gnncomm.learn.outline import outline
from gnncomm.learn.resources import size_of


def run(config: TrainConfig, console: Console) -> int:
    """Print the outline of the training; the exit code."""
    plan = outline(config)
    table = Table(title=f"{config.env.id}, comm {config.policy.comm}", title_justify="left", box=None)
    for name in ("part", "is", "gives", "parameters"):
        table.add_column(name, justify="right" if name == "parameters" else "left", overflow="fold")
    for part in plan.parts:
        gives = "" if part.output is None else str(list(part.output))
        table.add_row(part.name, part.kind, gives, f"{part.parameters:,}")
    console.print(table)
    sizes = ", ".join(f"{name} {value:,}" for name, value in plan.sizes.items())
    console.print(f"environment: {sizes}", soft_wrap=True)
    console.print(f"graph: {plan.nodes} nodes, {plan.edges:,g} edges, mean in-degree {plan.degree:.2f}", soft_wrap=True)
    console.print(f"parameters: {plan.parameters:,}; updates: {plan.updates:,}", soft_wrap=True)
    console.print(f"memory: about {size_of(plan.memory)} at the peak, beside the program itself", soft_wrap=True)
    console.print("nothing was trained or written", soft_wrap=True)
    return 0
