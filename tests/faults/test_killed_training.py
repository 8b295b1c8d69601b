"""A training that is killed, stopped or damaged arrives at the same bits as one that nobody disturbed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("lives.py")


def lives(folder: Path, updates: int, number: int, count: int, seed: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), *map(str, (folder, updates, number, count, seed))],
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check(found: dict[str, Any], updates: int, count: int, code: int) -> None:
    assert found["codes"] == [code] * count
    assert found["finished"] == 0
    assert found["log"] == list(range(1, updates + 1)), "every update is logged once"
    assert found["same"], "the files differ from those of the undisturbed run"


def test_five_kills_at_random_moments(tmp_path: Path) -> None:
    found = lives(tmp_path, updates=48, number=signal.SIGKILL, count=5)
    check(found, 48, 5, -signal.SIGKILL)
    assert 0 < min(found["progress"]) < max(found["progress"]) < 48, "the kills must fall into the training"


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5))
def test_fifty_kills_at_random_moments(tmp_path: Path, seed: int) -> None:
    found = lives(tmp_path, updates=600, number=signal.SIGKILL, count=50, seed=seed)
    check(found, 600, 50, -signal.SIGKILL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_save_and_say_so(tmp_path: Path, number: int, code: int) -> None:
    found = lives(tmp_path, updates=24, number=number, count=2)
    check(found, 24, 2, code)
    first, second = found["progress"]
    assert 0 < first < second < 24, "each life must get somewhere"
