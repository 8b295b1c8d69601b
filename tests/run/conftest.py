"""Small trainings that reach every part that a checkpoint has to hold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gnncomm.learn import PPOConfig, TrainConfig


def tiny(**changes: Any) -> TrainConfig:
    ppo = PPOConfig(epochs=2, minibatches=2)
    return TrainConfig(**{"num_envs": 4, "rollout": 3, "hidden": 8, "steps": 48, "save_every": 1, "ppo": ppo} | changes)


def state_of(run: Path) -> dict[str, str]:
    """SHA-256 of the metrics and of every file of the newest checkpoint; the manifest holds these and versions."""
    newest = max((run / "checkpoints").glob("step_*"), key=lambda path: int(path.name[5:]))
    files = [run / "metrics.jsonl", *newest.iterdir()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(name="tiny")
def _tiny() -> Callable[..., TrainConfig]:
    return tiny


@pytest.fixture(name="state_of")
def _state_of() -> Callable[[Path], dict[str, str]]:
    return state_of
