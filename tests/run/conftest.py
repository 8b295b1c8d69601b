"""Small trainings that reach every part that a checkpoint has to hold."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import torch as safetensors
from torch import Tensor

from gnncomm import saved
from gnncomm.errors import GnnCommError
from gnncomm.learn import PPOConfig, TrainConfig
from gnncomm.learn.config import path_of
from gnncomm.store import RunDir, sealed
from gnncomm.store.manifest import FileEntry, Manifest


def tiny(**changes: Any) -> TrainConfig:
    ppo = PPOConfig(epochs=2, minibatches=2)
    return TrainConfig.of(
        **{"num_envs": 4, "rollout": 3, "hidden": 8, "steps": 48, "save_every": 1, "learner": ppo} | changes
    )


def state_of(run: Path) -> dict[str, str]:
    """SHA-256 of the metrics and of every file of the newest checkpoint; the manifest holds these and versions."""
    newest = max((run / "checkpoints").glob("step_*"), key=lambda path: int(path.name[5:]))
    files = [run / "metrics.jsonl", *newest.iterdir()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(name="tiny", scope="session")
def _tiny() -> Callable[..., TrainConfig]:
    return tiny


@pytest.fixture(name="state_of", scope="session")
def _state_of() -> Callable[[Path], dict[str, str]]:
    return state_of


class Forger:
    """Somebody who knows the format: whatever he changes in a run, every hash is right afterwards."""

    def config(self, run: Path, **changes: Any) -> None:
        """Other settings, in ``config.json`` and in what the checkpoints say of it."""
        file = run / "config.json"
        envelope = json.loads(file.read_text())
        del envelope["config_sha256"]
        for name, value in changes.items():
            section, _, leaf = path_of("env.id" if name == "env" else name).partition(".")
            envelope["config"][section][leaf] = value
        file.write_bytes(sealed.seal(envelope, "config_sha256"))
        try:
            fingerprint = saved.fingerprint(RunDir.open(run).config(TrainConfig))
        except GnnCommError:
            return
        for checkpoint in (run / "checkpoints").glob("step_*"):
            self.state(checkpoint, config_sha256=fingerprint)

    def state(self, checkpoint: Path, **changes: Any) -> None:
        """Other counters; ``...`` removes one."""
        state = json.loads((checkpoint / "state.json").read_text()) | changes
        kept = {name: value for name, value in state.items() if value is not ...}
        self.raw(checkpoint, "state.json", (json.dumps(kept) + "\n").encode())

    def tensors(self, checkpoint: Path, group: str, change: Callable[[dict[str, Tensor]], Any]) -> None:
        """Other tensors in a group."""
        file = checkpoint / f"{group}.safetensors"
        tensors = safetensors.load(file.read_bytes())
        change(tensors)
        self.raw(checkpoint, file.name, safetensors.save(tensors))

    def step(self, checkpoint: Path, step: int) -> None:
        """Another step, in its name and its manifest."""
        manifest = json.loads((checkpoint / "manifest.json").read_text()) | {"step": step}
        (checkpoint / "manifest.json").write_text(json.dumps(manifest))
        renamed = checkpoint.with_name(f"step_{step}")
        if renamed.exists():
            shutil.rmtree(renamed)
        checkpoint.rename(renamed)
        self.raw(renamed, "state.json", (renamed / "state.json").read_bytes())

    def raw(self, checkpoint: Path, name: str, content: bytes | None) -> None:
        """Other bytes in a file, or (None) no such file."""
        if content is None:
            (checkpoint / name).unlink()
        else:
            (checkpoint / name).write_bytes(content)
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        files = {
            file.name: FileEntry.of(file.read_bytes()) for file in checkpoint.iterdir() if file.name != "manifest.json"
        }
        (checkpoint / "manifest.json").write_bytes(Manifest(manifest["step"], files, manifest["versions"]).to_bytes())


@pytest.fixture(name="forge", scope="session")
def _forge() -> Forger:
    return Forger()


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("step_*"), key=lambda path: int(path.name[5:]))


@pytest.fixture(name="newest", scope="session")
def _newest() -> Callable[[Path], Path]:
    return newest
