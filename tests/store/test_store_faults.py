"""Faults: flipped bits, lost and swapped files, deaths at every system call, SIGKILL, full disks."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm.errors import CheckpointCorruptError, CheckpointError, CheckpointVersionError
from gnncomm.store import latest_checkpoint, load_checkpoint, save_checkpoint
from gnncomm.store.manifest import parse_manifest
from gnncomm.store.run import RunDir

CRASHES = Path(__file__).with_name("crashes.py")


def groups(step: int) -> dict[str, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(step)
    return {
        "model": {"weight": torch.randn(8, 8, generator=generator), "bias": torch.randn(8, generator=generator)},
        "optimizer": {"step": torch.tensor(float(step)), "exp_avg": torch.randn(8, 8, generator=generator)},
    }


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for step in (1, 2):
        save_checkpoint(tmp_path, step, groups(step), {"step": step})
    return tmp_path


def check_fallback(run_dir: Path, damaged: str) -> None:
    found, rejected = latest_checkpoint(run_dir)
    assert found.step == 1
    assert torch.equal(found.group("model")["weight"], groups(1)["model"]["weight"])
    assert [item.path.name for item in rejected] == ["step_2"]
    assert damaged in rejected[0].reason


def test_a_thousand_flipped_bits_are_all_noticed_and_named(run_dir: Path) -> None:
    newest = run_dir / "checkpoints" / "step_2"
    originals = {file: file.read_bytes() for file in sorted(newest.iterdir())}
    bits = [(file, bit) for file, raw in originals.items() for bit in range(8 * len(raw))]
    for count, (file, bit) in enumerate(random.Random(0).sample(bits, 1000)):
        raw = bytearray(originals[file])
        raw[bit // 8] ^= 1 << bit % 8
        file.write_bytes(raw)
        with pytest.raises(CheckpointCorruptError, match=file.name):
            load_checkpoint(newest)
        if count % 20 == 0:
            check_fallback(run_dir, file.name)
        file.write_bytes(originals[file])
    assert load_checkpoint(newest).step == 2


def test_every_single_bit_of_the_manifest_counts(run_dir: Path) -> None:
    file = run_dir / "checkpoints" / "step_2" / "manifest.json"
    original = file.read_bytes()
    assert parse_manifest(original, file, 1 << 20).step == 2
    for bit in range(8 * len(original)):
        raw = bytearray(original)
        raw[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CheckpointCorruptError, match=r"manifest\.json"):
            parse_manifest(bytes(raw), file, 1 << 20)


def test_truncations_and_zeroed_pages_are_noticed_and_named(run_dir: Path) -> None:
    newest = run_dir / "checkpoints" / "step_2"
    chance = random.Random(0)
    for file in sorted(newest.iterdir()):
        original = file.read_bytes()
        for _ in range(50):
            file.write_bytes(original[: chance.randrange(len(original))])
            with pytest.raises(CheckpointCorruptError, match=file.name):
                load_checkpoint(newest)
        start = chance.randrange(len(original))
        page = original[start : start + 64]
        file.write_bytes(original[:start] + bytes(len(page)) + original[start + len(page) :])
        with pytest.raises(CheckpointCorruptError, match=file.name):
            load_checkpoint(newest)
        check_fallback(run_dir, file.name)
        file.write_bytes(original)


def test_swapped_and_deleted_files_are_noticed_and_named(run_dir: Path) -> None:
    older, newest = (run_dir / "checkpoints" / f"step_{step}" for step in (1, 2))
    for file in sorted(newest.iterdir()):
        original = file.read_bytes()
        file.write_bytes((older / file.name).read_bytes())
        with pytest.raises(CheckpointCorruptError, match=file.name):
            load_checkpoint(newest)
        check_fallback(run_dir, file.name)
        file.unlink()
        error = CheckpointVersionError if file.name == "manifest.json" else CheckpointCorruptError
        with pytest.raises(error, match=file.name):
            load_checkpoint(newest)
        check_fallback(run_dir, file.name)
        file.write_bytes(original)
    for name in ("model.safetensors", "optimizer.safetensors"):  # within one checkpoint
        shutil.copy(newest / name, run_dir / name)
    shutil.copy(run_dir / "model.safetensors", newest / "optimizer.safetensors")
    shutil.copy(run_dir / "optimizer.safetensors", newest / "model.safetensors")
    with pytest.raises(CheckpointCorruptError, match="safetensors"):
        load_checkpoint(newest)


def run_crashes(python: Any, folder: Path, *arguments: str) -> dict[str, Any]:
    done = python.run(CRASHES, arguments[0], folder, *arguments[1:], folder=folder, seconds=900)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_death_at_every_system_call_of_a_save(tmp_path: Path, python: Any) -> None:
    result = run_crashes(python, tmp_path, "failpoints")
    assert set(result["calls"]) >= {"open", "write", "fsync", "mkdir", "rename", "unlink", "rmdir"}
    assert result["deaths"] == result["old"] + result["new"] >= 60
    assert result["old"] > 0
    assert result["new"] > 0


def test_twenty_kills_of_a_run_that_saves_all_the_time(tmp_path: Path, python: Any) -> None:
    result = run_crashes(python, tmp_path, "kills", "20")
    assert result["kills"] == 20
    assert result["steps"] >= 20


@pytest.mark.slow
def test_three_hundred_kills(tmp_path: Path, python: Any) -> None:
    assert run_crashes(python, tmp_path, "kills", "300")["kills"] == 300


@pytest.mark.parametrize("name", ["open", "write", "fsync", "rename", "mkdir"])
def test_an_error_of_the_disk_is_an_error_of_the_save(
    name: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = getattr(os, name)
    calls = 0
    failing = 0

    def fail_once(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(28, "No space left on device")
        return real(*arguments, **keywords)

    monkeypatch.setattr(os, name, fail_once)
    saved = save_checkpoint(run_dir, 3, groups(3), {})
    total = calls
    shutil.rmtree(saved)
    assert total > 0
    for count in range(1, total + 1):
        calls, failing = 0, count
        with pytest.raises(CheckpointError, match="No space left") as caught:
            save_checkpoint(run_dir, 3, groups(3), {})
        failing = 0
        assert caught.value.exit_code == (65 if isinstance(caught.value, CheckpointCorruptError) else 74)
        found, rejected = latest_checkpoint(run_dir)
        assert found.step >= 2
        assert not rejected
        left = {path.name for path in (run_dir / "checkpoints").iterdir()}
        assert left in ({"step_1", "step_2"}, {"step_1", "step_2", "step_3"})
        shutil.rmtree(run_dir / "checkpoints" / "step_3", ignore_errors=True)
    save_checkpoint(run_dir, 3, groups(3), {})
    assert latest_checkpoint(run_dir)[0].step == 3


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond 2,000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_harms_nothing_that_was_saved(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with RunDir.create(tmp_path / "run", {"env": "relay"}) as run:
        run.log({"step": 1})
        run.save(1, groups(1), {})
        request.getfixturevalue("small_disk")
        large = {"model": {"weight": torch.ones(1000)}}
        for _ in range(3):
            with pytest.raises(CheckpointError, match=r"File too large.*Earlier checkpoints are intact") as caught:
                run.save(2, large, {})
            assert caught.value.exit_code == 74
            with pytest.raises(OSError, match="too large"):
                run.log({"text": "x" * 3000})
        run.log({"step": 2})  # the run goes on
        assert [line["step"] for line in run.metrics()] == [1, 2]
        assert run.latest()[0].step == 1
        assert not list(run.path.rglob(".tmp-*"))


def test_a_directory_that_vanishes_is_an_error_at_the_next_save(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", {}) as run:
        shutil.rmtree(run.path)
        with pytest.raises(CheckpointError, match="Could not save"):
            run.save(1, groups(1), {})
        with pytest.raises(FileNotFoundError):
            run.log({"step": 1})


def test_damage_between_writing_and_reading_back_spares_the_older_ones(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename

    def rename_and_damage(source: Path, target: Path) -> None:
        real(source, target)
        if target.name == "step_3":
            (target / "model.safetensors").write_bytes(b"lost")

    monkeypatch.setattr(os, "rename", rename_and_damage)
    with pytest.raises(CheckpointCorruptError, match=r"step_3/model\.safetensors"):
        save_checkpoint(run_dir, 3, groups(3), {}, keep_last=1)
    assert latest_checkpoint(run_dir)[0].step == 2
