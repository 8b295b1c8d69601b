"""A training that is killed, stopped or damaged arrives at the same bits as one that nobody disturbed."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("lives.py")


def check(python: Any, folder: Path, updates: int, ends: Sequence[tuple[int, int]], seed: int = 0) -> None:
    """Ended by each signal in turn, with that code, and resumed: it arrives where nobody disturbed it."""
    numbers, codes = zip(*ends, strict=True)
    done = python.run(SCRIPT, folder, updates, json.dumps(list(map(int, numbers))), seed, folder=folder, seconds=1500)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["codes"] == list(codes)
    assert found["finished"] == 0
    assert found["log"] == list(range(1, updates + 1)), "every update is logged once"
    assert found["same"], "the files differ from those of the undisturbed run"
    assert 0 < min(found["progress"]) < max(found["progress"]) < updates, "the ends must fall into the training"


KILLED, STOPPED, INTERRUPTED = (signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143), (signal.SIGINT, 130)


def test_kills_and_signals_at_random_moments(tmp_path: Path, python: Any) -> None:
    check(python, tmp_path, 48, [KILLED, STOPPED, KILLED, INTERRUPTED, KILLED])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
def test_fifty_kills_at_random_moments(tmp_path: Path, seed: int, python: Any) -> None:
    check(python, tmp_path, 600, [KILLED] * 50, seed)
