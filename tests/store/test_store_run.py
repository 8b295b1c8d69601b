"""Run directories: creation, the log, resuming, and one writer at a time."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from gnncomm.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointVersionError,
    ConfigError,
    DtypeError,
    RunExistsError,
    RunLockedError,
    StateError,
    UnsafeContentError,
    UnsafePathError,
)
from gnncomm.store import RunDir, list_checkpoints
from gnncomm.store.lock import process_start
from gnncomm.store.sealed import seal


@dataclass(frozen=True)
class Config:
    env: str = "relay"
    lr: float = 1e-3


def model(step: int) -> dict[str, dict[str, torch.Tensor]]:
    return {"model": {"weight": torch.full((3,), float(step))}}


def snapshot(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_run_from_beginning_to_end(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", Config(lr=0.5)) as run:
        run.log({"step": 1, "return": 0.5, "ok": True, "note": "caf\xe9", "none": None})
        run.log({"step": 2, "return": float("nan"), "loss": float("-inf")})
        saved = run.save(2, model(2), {"epoch": 1})
        assert saved == tmp_path / "run" / "checkpoints" / "step_2"
    reader = RunDir.open(tmp_path / "run")
    assert reader.config(Config) == Config(lr=0.5)
    assert reader.config() == {"env": "relay", "lr": 0.5}
    assert reader.metrics() == [
        {"step": 1, "return": 0.5, "ok": True, "note": "caf\xe9", "none": None},
        {"step": 2, "return": None, "loss": None},
    ]
    found, rejected = reader.latest()
    assert (found.step, rejected) == (2, [])
    assert found.state == {"epoch": 1, "metrics_position": reader.metrics_position}
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)


def test_reading_does_not_allow_writing(tmp_path: Path) -> None:
    RunDir.create(tmp_path / "run", {}).close()
    before = snapshot(tmp_path)
    run = RunDir.open(tmp_path / "run")
    with pytest.raises(StateError, match="open for reading"):
        run.log({"step": 1})
    with pytest.raises(StateError, match="open for reading"):
        run.save(1, model(1), {})
    with pytest.raises(StateError, match="open for reading"):
        run.rewind(None)
    assert run.metrics() == []
    assert snapshot(tmp_path) == before


def test_values_that_are_no_metrics(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", {}) as run:
        for bad in (torch.ones(1), [1], {"a": 1}):
            with pytest.raises(DtypeError, match=r"Metric 'loss'.*got"):
                run.log({"loss": bad})  # type: ignore[dict-item]  # what the test is about
        assert run.metrics_position == 0
        with pytest.raises(CheckpointError, match="metrics_position"):
            run.save(1, model(1), {"metrics_position": 3})


def test_an_existing_run_is_not_touched(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", Config()) as run:
        run.log({"step": 1})
        run.save(1, model(1), {})
    before = snapshot(tmp_path)
    with pytest.raises(RunExistsError, match="holds a run already") as caught:
        RunDir.create(tmp_path / "run", Config(lr=1.0))
    assert caught.value.exit_code == 73
    assert snapshot(tmp_path) == before


def test_overwriting_removes_what_the_run_wrote_and_nothing_else(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", Config()) as run:
        run.log({"step": 1})
        run.save(1, model(1), {})
    (tmp_path / "run" / "figure.png").write_bytes(b"mine")
    with RunDir.create(tmp_path / "run", Config(lr=1.0), overwrite=True) as run:
        assert run.config(Config).lr == 1.0
        assert run.metrics() == []
        assert list_checkpoints(run.path) == []
        assert (run.path / "figure.png").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["notes.txt", "checkpoints", "config.json"])
def test_directories_of_others_are_not_touched(name: str, tmp_path: Path) -> None:
    place = tmp_path / "run"
    place.mkdir()
    (place / name).write_text('{"model": "someone else"}')
    before = snapshot(tmp_path)
    for overwrite in (False, True):
        with pytest.raises((RunExistsError, CheckpointVersionError)):
            RunDir.create(place, {}, overwrite=overwrite)
        assert snapshot(tmp_path) == before
    with pytest.raises(CheckpointError):
        RunDir.open(place)


def test_empty_and_unfinished_directories_are_free(tmp_path: Path) -> None:
    place = tmp_path / "run"
    place.mkdir()
    (place / "run.lock").write_bytes(b"")
    (place / ".tmp-config.json-1-aa").write_bytes(b"{")
    with RunDir.create(place, {}) as run:
        assert sorted(os.listdir(run.path)) == ["checkpoints", "config.json", "run.lock"]


def test_runs_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "ring_seed0").mkdir()
    with pytest.raises(CheckpointError, match="Did you mean 'ring_seed0'") as caught:
        RunDir.open(tmp_path / "ring_seed1")
    assert caught.value.exit_code == 66
    with pytest.raises(CheckpointError, match=r"not a run: it has no config\.json") as caught:
        RunDir.open(tmp_path / "ring_seed0")
    assert caught.value.exit_code == 66
    RunDir.create(tmp_path / "ring_seed0" / "seed_3", {}).close()
    with pytest.raises(CheckpointError, match=r"name one of them, as .*seed_3\.$"):
        RunDir.open(tmp_path / "ring_seed0")
    with pytest.raises(UnsafePathError):
        RunDir.create("../../x", {})
    with pytest.raises(ConfigError):
        RunDir.create(tmp_path / "bad", {"lr": float("nan")})


def test_configs_that_are_links_or_damaged(tmp_path: Path) -> None:
    RunDir.create(tmp_path / "run", {}).close()
    file = tmp_path / "run" / "config.json"
    os.rename(file, tmp_path / "copy")
    os.symlink(tmp_path / "copy", file)
    with pytest.raises(UnsafePathError, match="symbolic link"):
        RunDir.open(tmp_path / "run")
    file.unlink()
    newer = json.loads((tmp_path / "copy").read_bytes()) | {"format_version": 4}
    del newer["config_sha256"]
    file.write_bytes(seal(newer, "config_sha256"))
    with pytest.raises(CheckpointVersionError, match=r"expected 'gnncomm.run' of format version 3.*version 4"):
        RunDir.open(tmp_path / "run")
    file.write_text(json.dumps({"kind": "gnncomm.run", "format_version": 1, "versions": {}, "config": {}}))
    with pytest.raises(CheckpointVersionError, match=r"version 1\. Load it with the version of gnncomm that wrote it"):
        RunDir.open(tmp_path / "run")


def test_every_bit_of_the_configuration_counts(tmp_path: Path) -> None:
    """Also before the first checkpoint. A flipped sign or digit would else be another training."""
    RunDir.create(tmp_path / "run", Config(lr=0.5)).close()
    file = tmp_path / "run" / "config.json"
    original = file.read_bytes()
    for bit in range(8 * len(original)):
        raw = bytearray(original)
        raw[bit // 8] ^= 1 << bit % 8
        file.write_bytes(raw)
        with pytest.raises((CheckpointCorruptError, UnsafeContentError), match=r"config\.json"):
            RunDir.open(tmp_path / "run")
    file.write_bytes(original)
    assert RunDir.open(tmp_path / "run").config(Config) == Config(lr=0.5)


def test_every_bit_of_the_metrics_counts(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", {}) as run:
        for step in range(3):
            run.log({"step": step, "loss": 0.5} if step else {})
    file = run.path / "metrics.jsonl"
    original = file.read_bytes()
    assert RunDir.open(run.path).metrics() == [{}, {"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.5}]
    for bit in range(8 * len(original)):
        raw = bytearray(original)
        raw[bit // 8] ^= 1 << bit % 8
        file.write_bytes(raw)
        with pytest.raises(CheckpointCorruptError, match=r"metrics\.jsonl is damaged(:| in) line [123]\b"):
            RunDir.open(run.path).metrics()


def test_lines_of_the_metrics_stand_where_they_were_written(tmp_path: Path) -> None:
    """Also after the log was cut back and went on in another process."""
    with RunDir.create(tmp_path / "run", {}) as run:
        for step in range(3):
            run.log({"step": step})
    file = run.path / "metrics.jsonl"
    original = file.read_bytes()
    first, second, third = original.splitlines(keepends=True)
    for raw in (second + third, first + third, first + third + second, first + first + second + third):
        file.write_bytes(raw)
        with pytest.raises(CheckpointCorruptError, match="is damaged in line"):
            RunDir.open(run.path).metrics()
    file.write_bytes(original + first)
    with RunDir.open(run.path, write=True) as run:
        run.truncate_metrics(len(first))
        run.log({"step": 1})
    with RunDir.open(run.path, write=True) as run:
        run.log({"step": 2})
    assert file.read_bytes() == original
    with RunDir.open(run.path, write=True) as run, pytest.raises(ConfigError, match="crc32"):
        run.log({"crc32": 1})


def test_a_configuration_can_be_amended_by_the_writer(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", Config(lr=0.5)) as run:
        run.amend(Config(lr=0.25))
    assert RunDir.open(run.path).config(Config) == Config(lr=0.25)
    with pytest.raises(StateError):
        RunDir.open(run.path).amend(Config())


def test_rewinding_makes_each_step_stand_once(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", {}) as run:
        for step in range(1, 7):
            run.log({"step": step})
            if step % 2 == 0:
                run.save(step, model(step), {}, keep_last=9)
        uninterrupted = snapshot(run.path)
        run.log({"step": 7})
    damaged = run.path / "checkpoints" / "step_6" / "model.safetensors"
    damaged.write_bytes(b"")
    with RunDir.open(run.path, write=True) as run:
        checkpoint, rejected = run.latest()
        assert checkpoint.step == 4
        assert [item.path.name for item in rejected] == ["step_6"]
        run.rewind(checkpoint)
        assert [line["step"] for line in run.metrics()] == [1, 2, 3, 4]
        for step in (5, 6):
            run.log({"step": step})
        run.save(6, model(6), {}, keep_last=9)
        aside = [entry.name for entry in (run.path / "checkpoints").iterdir() if entry.name.startswith("set_aside_")]
        assert len(aside) == 1
        assert aside[0].startswith("set_aside_step_6")
        again = {name: raw for name, raw in snapshot(run.path).items() if "set_aside" not in name}
        assert again == uninterrupted
        run.rewind(None)
        assert run.metrics() == []
        assert list_checkpoints(run.path) == []


def test_a_torn_last_line_is_not_read_and_cut_when_writing_goes_on(tmp_path: Path) -> None:
    RunDir.create(tmp_path / "run", {}).close()
    with RunDir.open(tmp_path / "run", write=True) as run:
        run.log({"step": 1})
    with open(tmp_path / "run" / "metrics.jsonl", "ab") as log:
        log.write(b'{"st')
    assert RunDir.open(tmp_path / "run").metrics() == [{"step": 1}]
    with RunDir.open(tmp_path / "run", write=True) as run:
        run.log({"step": 2})
        assert run.metrics() == [{"step": 1}, {"step": 2}]


def test_a_log_that_is_not_the_one_of_the_checkpoint(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", {}) as run:
        run.log({"step": 1})
        run.log({"step": 2})
        run.save(2, model(2), {})
        checkpoint, _ = run.latest()
        whole = run.metrics_position
        run.truncate_metrics(whole // 2)
        with pytest.raises(
            CheckpointCorruptError, match=rf"metrics\.jsonl is damaged: expected at least {whole} bytes"
        ):
            run.rewind(checkpoint)
        with pytest.raises(CheckpointCorruptError, match="end of a line at byte 5"):
            run.truncate_metrics(5)
        with pytest.raises(CheckpointCorruptError, match="-1"):
            run.truncate_metrics(-1)
        with open(run.path / "metrics.jsonl", "ab") as log:
            log.write(b'{"step": NaN}\n')
        with pytest.raises(CheckpointCorruptError, match="line 2"):
            run.metrics()
        (run.path / "metrics.jsonl").unlink()
        os.symlink("/etc/passwd", run.path / "metrics.jsonl")
        with pytest.raises(UnsafePathError):
            run.metrics()
        with pytest.raises(OSError, match="symbolic links"):
            run.log({"step": 1})


def test_one_writer_many_readers(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", {}) as run:
        for _ in range(2):
            with pytest.raises(RunLockedError, match=f"process {os.getpid()}") as caught:
                RunDir.open(run.path, write=True)
        assert caught.value.exit_code == 75
        with pytest.raises(RunLockedError):
            RunDir.create(run.path, {}, overwrite=True)
        assert RunDir.open(run.path).config() == {}
        code = "import sys; from gnncomm.store import RunDir; RunDir.open(sys.argv[1], write=True)"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        other = subprocess.run([sys.executable, "-c", code, run.path], capture_output=True, text=True, env=environment)
        assert "RunLockedError" in other.stderr
        run.save(1, model(1), {})
    RunDir.open(tmp_path / "run", write=True).close()


def test_a_forgotten_run_gives_its_lock_back(tmp_path: Path) -> None:
    RunDir.create(tmp_path / "run", {})
    RunDir.open(tmp_path / "run", write=True).close()


def owner(**changes: Any) -> bytes:
    ours = {"host": platform.node(), "pid": os.getpid(), "start": process_start(os.getpid())}
    return json.dumps(ours | changes).encode()


def test_stale_locks_are_taken_over(tmp_path: Path) -> None:
    RunDir.create(tmp_path / "run", {}).close()
    lock = tmp_path / "run" / "run.lock"
    gone = subprocess.Popen(["true"])
    zombie = gone.pid  # not waited for yet
    for raw in (
        b"",
        b'{"pid": 1',
        b"[]",
        owner(start="another boot/7"),
        owner(pid=-1),
        owner(pid=2**40),
        owner(pid=zombie),
    ):
        if raw == owner(pid=zombie):
            gone.wait()
        lock.write_bytes(raw)
        with RunDir.open(tmp_path / "run", write=True) as run:
            run.save(1, model(1), {})
    lock.write_bytes(owner())
    with pytest.raises(RunLockedError):
        RunDir.open(tmp_path / "run", write=True)
    lock.write_bytes(owner(host="elsewhere"))
    with pytest.raises(RunLockedError, match=r"host 'elsewhere'.*remove .*run\.lock"):
        RunDir.open(tmp_path / "run", write=True)


def test_without_proc_the_process_number_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RunDir.create(tmp_path / "run", {}).close()
    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.setattr("gnncomm.store.lock.process_start", lambda pid: None)
    (tmp_path / "run" / "run.lock").write_bytes(owner(start=None))
    with pytest.raises(RunLockedError):
        RunDir.open(tmp_path / "run", write=True)
    (tmp_path / "run" / "run.lock").write_bytes(owner(pid=gone.pid, start=None))
    RunDir.open(tmp_path / "run", write=True).close()


def test_a_lock_that_was_lost_stops_the_next_save(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", {}) as run:
        (run.path / "run.lock").unlink()
        with pytest.raises(RunLockedError, match="no longer names this process"):
            run.save(1, model(1), {})
        assert list_checkpoints(run.path) == []


def test_a_lock_file_that_is_a_link_is_refused(tmp_path: Path) -> None:
    RunDir.create(tmp_path / "run", {}).close()
    lock = tmp_path / "run" / "run.lock"
    lock.unlink()
    (tmp_path / "victim").write_bytes(b"precious")
    os.symlink(tmp_path / "victim", lock)
    with pytest.raises(UnsafePathError):
        RunDir.open(tmp_path / "run", write=True)
    assert (tmp_path / "victim").read_bytes() == b"precious"
    lock.unlink()
    os.mkfifo(lock)
    with pytest.raises(UnsafePathError):
        RunDir.open(tmp_path / "run", write=True)


def test_the_writer_sweeps_and_the_reader_does_not(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "run", {}) as run:
        run.save(1, model(1), {})
    rubbish = tmp_path / "run" / "checkpoints" / ".tmp-1-aa"
    rubbish.mkdir()
    (rubbish / "model.safetensors").write_bytes(b"half")
    assert RunDir.open(run.path).latest()[0].step == 1
    assert rubbish.exists()
    RunDir.open(run.path, write=True).close()
    assert not rubbish.exists()
    assert list_checkpoints(run.path) == [(1, run.path / "checkpoints" / "step_1")]
