"""``gnncomm bench parity``: networks of released codes beside the numbers that were recorded from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from gnncomm.bench.reference import RECORDED, REFERENCES, RecordedCase, Reference, load_cases
from gnncomm.errors import GnnCommError


@dataclass(frozen=True)
class ParityRow:
    """One line of the table."""

    method: str
    cases: int
    numbers: int
    """Recorded numbers that were compared."""
    difference: float
    """The largest, relative to max(1, abs(recorded))."""
    tolerance: float
    quirks: dict[str, float]
    """Quirk -> how far the recorded numbers are from a network without it."""

    @property
    def equal(self) -> bool:
        """Whether all numbers agree, and would not without any one of the quirks."""
        return self.difference <= self.tolerance and all(gap > 100 * self.tolerance for gap in self.quirks.values())


def bench_parity(folder: str | Path = RECORDED) -> Iterable[ParityRow]:
    """One row for each released code whose numbers lie in ``folder``; those that come with the package by default.

    Raises:
        ConfigError: they do not lie there.
    """
    for name, network in sorted(REFERENCES.items()):
        yield parity(network, load_cases(name, folder))


def parity(network: type[Reference], cases: Sequence[RecordedCase]) -> ParityRow:
    """Compare everything that the cases hold; then take out one quirk at a time."""
    double = all(value.dtype != torch.float32 for case in cases for value in case.recorded.values())
    return ParityRow(
        network.title,
        len(cases),
        sum(value.numel() for case in cases for value in case.recorded.values()),
        max(gap(network, case) for case in cases),
        1e-10 if double else 1e-6,
        {quirk: max(gap(network, case, (quirk,)) for case in cases) for quirk in network.quirks},
    )


def gap(network: type[Reference], case: RecordedCase, without_quirks: Sequence[str] = ()) -> float:
    """The largest difference from what was recorded, relative to max(1, |recorded|).

    Raises:
        GnnCommError: a recorded array is missing, or its shape is another.
    """
    with torch.no_grad():
        replayed = network.replay(case, without_quirks)
    largest = 0.0
    for name, recorded in case.recorded.items():
        if name not in replayed or replayed[name].shape != recorded.shape:
            got = tuple(replayed[name].shape) if name in replayed else "nothing"
            raise GnnCommError(f"{case.name}: expected {name} of shape {tuple(recorded.shape)}, got {got}.")
        largest = max(largest, _distance(replayed[name], recorded))
    return largest


def _distance(replayed: Tensor, recorded: Tensor) -> float:
    recorded = recorded.double()
    differences = (replayed.double() - recorded).abs() / recorded.abs().clamp(min=1.0)
    return float(differences.max()) if differences.numel() else 0.0


def parity_table(rows: Sequence[ParityRow]) -> Table:
    """For the terminal."""
    table = Table(title="recorded from released codes, and computed here", title_justify="left", box=None)
    for name in ("method", "cases", "numbers", "difference", "quirks reproduced"):
        table.add_column(name, justify="left" if name in ("method", "quirks reproduced") else "right")
    for row in rows:
        quirks = ", ".join(row.quirks) or "none known"
        table.add_row(row.method, str(row.cases), f"{row.numbers:,}", f"{row.difference:.1e}", quirks)
    return table
