"""The linters and the type checker, as a developer would call them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def module(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}"


@pytest.mark.timeout(900)
def test_mypy_strict() -> None:
    module("mypy")


def test_ruff_lint() -> None:
    module("ruff", "check", "--no-cache")


def test_ruff_format() -> None:
    module("ruff", "format", "--check", "--no-cache")
