"""Run as a script by test_store_faults.py: kills processes in the middle of saves and looks at what they leave.

Children are forked from a process that has imported torch already, so that hundreds of deaths take seconds.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnncomm.store import RunDir, latest_checkpoint, list_checkpoints, save_checkpoint

FAILPOINTS = ("open", "write", "fsync", "close", "mkdir", "rename", "unlink", "rmdir")


def groups(step: int) -> dict[str, dict[str, Tensor]]:
    return {"model": {"weight": torch.full((64, 64), float(step))}, "env": {"pos": torch.full((100,), step)}}


def check_latest(run_dir: Path, at_least: int) -> int:
    found, _ = latest_checkpoint(run_dir)
    assert found.step >= at_least, f"step {at_least} was saved, {found.step} came back"
    assert found.state["step"] == found.step
    for name, group in groups(found.step).items():
        for key, tensor in group.items():
            assert torch.equal(found.tensors[name][key], tensor)
    return found.step


def die_at(count: int, after: bool) -> list[str]:
    """Make the ``count``-th call of any failpoint end the process; 0 only records the calls."""
    calls: list[str] = []

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            calls.append(name)
            if len(calls) != count:
                return real(*arguments, **keywords)
            if after:
                real(*arguments, **keywords)
            elif name == "write":
                real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            os._exit(9)

        return call

    for name in FAILPOINTS:
        setattr(os, name, wrap(name, getattr(os, name)))
    return calls


def in_child(action: Callable[[], Any]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os._exit(0)
        except BaseException as error:  # reported as an exit code of its own, then asserted on
            print(repr(error), file=sys.stderr)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def sweep_failpoints(place: Path) -> dict[str, Any]:
    os.fsync = lambda handle: None  # where it stands matters here, not what it does: nobody pulls the plug
    template = place / "template"
    template.mkdir()
    for step in (1, 2, 3):
        save_checkpoint(template, step, groups(step), {"step": step}, keep_last=3)

    def save(run_dir: Path, count: int, after: bool, report: bool = False) -> None:
        calls = die_at(count, after)
        save_checkpoint(run_dir, 4, groups(4), {"step": 4}, keep_last=2)
        if report:
            (place / "calls.json").write_text(json.dumps(calls))

    dry = place / "dry"
    shutil.copytree(template, dry)
    assert in_child(lambda: save(dry, 0, False, report=True)) == 0
    calls = json.loads((place / "calls.json").read_text())
    steps = []
    for count in range(1, len(calls) + 1):
        for after in (False, True):
            run_dir = place / f"{count}-{after}"
            shutil.copytree(template, run_dir)
            assert in_child(lambda d=run_dir, c=count, a=after: save(d, c, a)) == 9  # type: ignore[misc]
            steps.append(check_latest(run_dir, 3))
            save_checkpoint(run_dir, 4, groups(4), {"step": 4}, keep_last=2)
            assert check_latest(run_dir, 4) == 4
            assert [step for step, _ in list_checkpoints(run_dir)] == [3, 4]
            shutil.rmtree(run_dir)
    return {"calls": sorted(set(calls)), "deaths": len(steps), "old": steps.count(3), "new": steps.count(4)}


def train(path: Path, progress: int) -> None:
    """A run that logs and saves each step for ever, and goes on where it was killed."""
    with RunDir.open(path, write=True) as run:
        start = 0
        if list_checkpoints(path):
            checkpoint, rejected = run.latest()
            assert not rejected
            run.rewind(checkpoint)
            start = checkpoint.step
        else:
            run.rewind(None)
        for step in range(start + 1, 10**9):
            run.log({"step": step, "loss": 1.0 / step})
            run.save(step, groups(step), {"step": step}, keep_last=2)
            os.write(progress, step.to_bytes(8, "little"))


def kill_often(place: Path, kills: int) -> dict[str, Any]:
    path = place / "run"
    RunDir.create(path, {}).close()
    chance = random.Random(0)
    last = 0
    lives = 0
    for _ in range(kills):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                train(path, writer)
            finally:
                os._exit(1)
        os.close(writer)
        first = os.read(reader, 8)  # at least one save per life, or nothing would be tested
        time.sleep(chance.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert status == -signal.SIGKILL, status
        reports = first
        while chunk := os.read(reader, 4096):
            reports += chunk
        os.close(reader)
        reported = int.from_bytes(reports[len(reports) // 8 * 8 - 8 :][:8], "little")
        assert reported > last
        last = check_latest(path, reported)
        lives += 1
    with RunDir.open(path, write=True) as run:
        run.rewind(run.latest()[0])
        assert [line["step"] for line in run.metrics()] == list(range(1, last + 1))
        assert not list(path.rglob(".tmp-*"))
    return {"kills": lives, "steps": last}


if __name__ == "__main__":
    torch.set_num_threads(1)
    where = Path(sys.argv[2])
    result = sweep_failpoints(where) if sys.argv[1] == "failpoints" else kill_often(where, int(sys.argv[3]))
    print(json.dumps(result))
