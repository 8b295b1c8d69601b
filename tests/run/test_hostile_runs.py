"""A corpus of run directories from strangers, through every command that reads one, watched from outside.

Promise: none runs code, starts a process, opens a connection or writes anywhere but into the figure it was asked for;
each ends with an exit code and one line. The hook is in the process of the commands and, by ``sitecustomize``, in every
Python that it would start.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gnncomm.learn import TrainConfig
from gnncomm.run import train

Tiny = Callable[..., TrainConfig]
Spoil = Callable[[Any, Path], None]
SCRIPT = Path(__file__).with_name("hostile.py")
CUSTOMIZE = "import os\nopen(os.environ['STARTED'], 'a').write(str(os.getpid()) + '\\n')\n"
MARKUP = "[/red][link=http://x]\x1b[31m</script>\u202e"


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo > PWNED",)


def settings(**changes: Any) -> Spoil:
    return lambda forge, run: forge.config(run, **changes)


def foreign(id: str, **given: Any) -> Spoil:
    return settings(env=id, env_settings=given, observation="flat")


def file(name: str, content: bytes) -> Spoil:
    return lambda forge, run: forge_file(run / name, content)


def forge_file(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def replaced(name: str, make: Callable[[Path], Any]) -> Spoil:
    def spoil(forge: Any, run: Path) -> None:
        target = run / name
        shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        make(target)

    return spoil


def in_checkpoints(change: Callable[[Any, Path], None]) -> Spoil:
    def spoil(forge: Any, run: Path) -> None:
        for path in sorted((run / "checkpoints").glob("step_*")):
            change(forge, path)

    return spoil


def metrics(*lines: bytes) -> Spoil:
    """Lines with right sums, as somebody writes who knows the form."""
    from gnncomm.store.metrics import _BEGINNING, _chained

    def spoil(forge: Any, run: Path) -> None:
        crc, whole = _BEGINNING, b""
        for body in lines:
            line, crc = _chained(body, crc)
            whole += line
        (run / "metrics.jsonl").write_bytes(whole)

    return spoil


DEEP = b"[" * 5000 + b"]" * 5000
CORPUS: dict[str, Spoil] = {
    "env os.system": foreign("pettingzoo:os:system", command="echo > PWNED"),
    "env subprocess": foreign("pettingzoo:subprocess:run", args="echo > PWNED", shell=True),
    "env a module beside": foreign("pettingzoo:evil_module"),
    "env gymnasium module": foreign("gymnasium:evil_module:Evil-v0"),
    "pos a function": foreign("pettingzoo:evil_module", pos="os:system"),
    "env of no package": settings(env="evil_module:Evil"),
    "env a path": settings(env="../../evil_module"),
    "env markup": settings(env=MARKUP),
    "env enormous name": settings(env="x" * 100_000),
    "comm a path": settings(comm="os:system"),
    "comm a target": settings(comm="_target_:os.system"),
    "topology a function": settings(topology="from_function:fn=os.system"),
    "scheduler a path": settings(scheduler="os.system"),
    "codec a path": settings(codec="codecs.open"),
    "channel a path": settings(channel="os.system:x=1"),
    "curriculum a path": settings(curriculum={"steps": "os.system"}),
    "target": settings(env_settings={"_target_": "os.system"}),
    "num_envs in env_settings": settings(env_settings={"num_envs": 5}),
    "device of elsewhere": settings(device="cuda:77"),
    "device of nowhere": settings(device="meta"),
    "hidden enormous": settings(hidden=10**18),
    "rollout enormous": settings(rollout=10**12),
    "hidden 400 digits": lambda forge, run: forge_file(
        run / "config.json", (run / "config.json").read_bytes().replace(b'"hidden": 8', b'"hidden": ' + b"9" * 400)
    ),
    "config deep": file("config.json", b'{"kind": "gnncomm.run", "config": ' + DEEP + b"}"),
    "config pickle": file("config.json", pickle.dumps(Payload())),
    "config empty": file("config.json", b""),
    "config a link": replaced("config.json", lambda path: path.symlink_to("/etc/passwd")),
    "config a FIFO": replaced("config.json", os.mkfifo),
    "config a directory": replaced("config.json", os.mkdir),
    "config a device": replaced("config.json", lambda path: path.symlink_to("/dev/zero")),
    "pickles beside": lambda forge, run: [
        forge_file(run / name, pickle.dumps(Payload())) for name in ("config.pkl", "model.pt", "sitecustomize.py")
    ],
    "metrics a link": replaced("metrics.jsonl", lambda path: path.symlink_to("/etc/passwd")),
    "metrics a FIFO": replaced("metrics.jsonl", os.mkfifo),
    "metrics deep": metrics(b'{"env_steps": ' + DEEP + b"}"),
    "metrics in words": metrics(b'{"env_steps": "many", "success": "none"}'),
    "metrics without steps": metrics(b'{"success": 0.5}'),
    "metrics with lists": metrics(b'{"env_steps": [1], "success": {"a": 1}}'),
    "metrics huge": metrics(b'{"env_steps": 9223372036854775807, "success": 1e308}'),
    "checkpoints a link": replaced("checkpoints", lambda path: path.symlink_to("/etc")),
    "checkpoints a FIFO": replaced("checkpoints", os.mkfifo),
    "a checkpoint of links": in_checkpoints(
        lambda forge, path: [
            (f.unlink(), f.symlink_to("/etc/passwd")) for f in list(path.iterdir()) if f.name != "manifest.json"
        ]
    ),
    "model a pickle": in_checkpoints(lambda forge, path: forge.raw(path, "model.safetensors", pickle.dumps(Payload()))),
    "state deep": in_checkpoints(lambda forge, path: forge.raw(path, "state.json", b'{"a": ' + DEEP + b"}")),
    "state huge numbers": in_checkpoints(lambda forge, path: forge.state(path, updates=2**62, env_steps=2**62)),
    "sizes huge": in_checkpoints(
        lambda forge, path: forge.state(path, sizes={"obs_dim": 2**50, "num_actions": 5, "num_agents": 2**50})
    ),
    "tensors with markup": in_checkpoints(
        lambda forge, path: forge.tensors(path, "model", lambda t: t.update({MARKUP: t["actor.bias"].clone()}))
    ),
    "manifest leads out": in_checkpoints(
        lambda forge, path: forge_file(
            path / "manifest.json", (path / "manifest.json").read_bytes().replace(b"model.s", b"../el.s")
        )
    ),
    "lock a link": replaced("run.lock", lambda path: path.symlink_to("/etc/passwd")),
    "lock a FIFO": replaced("run.lock", os.mkfifo),
    "lock deep": file("run.lock", DEEP[:4000]),
}
COMMANDS = (
    ["eval", "RUN", "--episodes", "2"],
    ["replay", "RUN", "--figure", "drawn.png"],
    ["plot", "RUN", "--figure", "drawn.png", "--metric", "success"],
    ["train", "--out", "RUN", "--resume", "--episodes", "0"],
    ["resume", "RUN", "--episodes", "0"],
    ["train", "--config", "RUN/config.json", "--print-config"],
)
USUAL = ("drawn.png", "run.lock", "set_aside_", "metrics.jsonl", "/dev/null", ".tmp-")


def verdicts(tiny: Tiny, forge: Any, folder: Path, python: Any) -> dict[str, list[dict[str, Any]]]:
    """What each command does with each run. One process for all: importing torch would take most of the time."""
    honest = folder / "honest"
    train(tiny(steps=36, observation="flat"), honest)
    commands: list[list[str]] = []
    for number, spoil in enumerate(CORPUS.values()):
        run = folder / f"run{number}"
        shutil.copytree(honest, run)
        spoil(forge, run)
        commands += [[word.replace("RUN", str(run)) for word in words] for words in COMMANDS]
    (folder / "path").mkdir()
    (folder / "path" / "sitecustomize.py").write_text(CUSTOMIZE)
    (folder / "path" / "evil_module.py").write_text("open('PWNED', 'w')")
    (folder / "here").mkdir()
    warm = [[word.replace("RUN", str(honest)) for word in words] for words in COMMANDS]
    (folder / "task.json").write_text(json.dumps({"warm": warm, "commands": commands}))
    path = os.pathsep.join([str(folder / "path"), *(p for p in sys.path if p)])
    started = folder / "started"
    surroundings = os.environ | {"PYTHONPATH": path, "STARTED": str(started), "MPLBACKEND": "agg"}
    task = (SCRIPT, folder / "task.json", folder / "out.json")
    done = python.run(*task, folder=folder / "here", env=surroundings, seconds=280)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((folder / "out.json").read_text())
    assert set(os.listdir(folder / "here")) <= {"drawn.png"}, "somebody left a file"
    assert not started.exists(), "another Python was started"
    return {name: found[len(COMMANDS) * n :][: len(COMMANDS)] for n, name in enumerate(CORPUS)}


def test_nothing_is_run_or_written_and_each_command_ends_with_a_code_and_a_line(
    tiny: Tiny, forge: Any, tmp_path: Path, python: Any
) -> None:
    for name, found in verdicts(tiny, forge, tmp_path, python).items():
        for verdict in found:
            odd = [event for event in verdict["events"] if not any(usual in event for usual in USUAL)]
            assert not odd, (name, verdict)
            if verdict["words"][0] == "plot" and name.startswith("metrics"):
                continue  # numbers that are none: tests/cli
            assert not verdict["raised"], (name, verdict)
            assert verdict["code"] in (0, 1, 65, 66, 73, 74, 75, 77, 78), (name, verdict)
            if verdict["code"]:
                line = verdict["said"].splitlines()[-1]
                assert line.startswith("error: "), (name, verdict)
                assert "\x1b" not in line, f"what a file says reaches no terminal as a command: {name}"
