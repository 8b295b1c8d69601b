"""Networks of released codes give the numbers that were recorded from them, and only with all their quirks."""

from __future__ import annotations

import pytest

from gnncomm.bench.parity import gap
from gnncomm.bench.reference import RECORDED, REFERENCES, RecordedCase, load_cases

CASES = [(name, case) for name in REFERENCES for case in load_cases(name)]

QUIRKS = [(name, quirk) for name, network in REFERENCES.items() for quirk in network.quirks]


def tolerance(case: RecordedCase) -> float:
    return 1e-10 if all(str(value.dtype) != "torch.float32" for value in case.recorded.values()) else 1e-6


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}-{case.name}" for name, case in CASES])
def test_every_recorded_number_comes_out(name: str, case: RecordedCase) -> None:
    assert gap(REFERENCES[name], case) <= tolerance(case)


@pytest.mark.parametrize(
    ("name", "quirk"), [(name, quirk) for name, each in REFERENCES.items() for quirk in each.quirks]
)
def test_without_a_quirk_some_recorded_number_does_not(name: str, quirk: str) -> None:
    assert max(gap(REFERENCES[name], case, (quirk,)) for case in load_cases(name)) > 1e-4


def test_every_recorded_method_has_its_network() -> None:
    assert set(REFERENCES) == {path.stem for path in RECORDED.glob("*.json")}
