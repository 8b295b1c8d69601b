"""Workers that fail: a clear error within seconds, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnncomm import envs
from gnncomm.errors import ConfigError, EnvContractError, StateError
from gnncomm.integrations import workers as room
from gnncomm.integrations.pettingzoo import ForeignEnv
from gnncomm.integrations.workers import WorkerError

HERE = Path(__file__).parent
TOY = "pettingzoo:strange_envs"


def make(num_envs: int = 3, num_workers: int = 2, **settings: Any) -> ForeignEnv:
    env = envs.make(TOY, num_envs=num_envs, num_workers=num_workers, **settings)
    assert isinstance(env, ForeignEnv)
    return env


def is_there(process: int) -> bool:
    """Zombies count."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def nobody(processes: list[int], seconds: float = 0.0) -> bool:
    end = time.monotonic() + seconds
    while any(map(is_there, processes)):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def everybody(env: ForeignEnv) -> list[int]:
    return env.workers.processes + env.workers.guards


def ones(env: ForeignEnv) -> torch.Tensor:
    return torch.ones(env.num_envs, env.num_agents, dtype=torch.int64)


@pytest.mark.parametrize(
    ("fault", "error", "words", "limit"),
    [
        ("raise", WorkerError, r"environment [01], step 2: .*ZeroDivisionError: one by nothing", 8),
        ("outside", EnvContractError, r"environment [01], step 2, agent 'mid_0', observation: expected entry 1", 8),
        ("die", WorkerError, r"worker [01] \(environments? .*process \d+\).*signal SIGKILL", 8),
        ("exit", WorkerError, r"worker [01] .*exit code 7", 8),
        ("hang", WorkerError, r"worker [01] .*no sign of life for 1\.5 s.*timeout", 3.4),
        ("spin", WorkerError, r"no sign of life", 3.4),
        ("stop", WorkerError, r"no sign of life", 3.4),
    ],
)
def test_failures(fault: str, error: type[Exception], words: str, limit: float) -> None:
    env = make(fault=fault, timeout=1.5)
    processes = everybody(env)
    assert all(map(is_there, processes))
    env.reset(seed=0)
    env.step(ones(env))
    begin = time.monotonic()
    with pytest.raises(error, match=words) as caught:
        env.step(ones(env))
    assert time.monotonic() - begin < limit, "a worker that hangs gets no time to close"
    assert nobody(processes), "reaped, not only killed"
    if fault == "raise":
        assert "strange_envs.py" in "".join(caught.value.__notes__), "the worker's traceback"
    with pytest.raises(StateError, match=f"ended after an error .{error.__name__}"):
        env.reset(seed=0)


def test_the_environment_that_failed_is_named() -> None:
    """Environment 2 is the second one of worker 1."""
    env = make(num_envs=4, fault="raise", at=2)
    env.reset(seed=0)
    env.workers.step(np.array([False, False, False, True]), np.zeros((4, 3), np.int64))
    with pytest.raises(WorkerError, match="environment 3, step 2"):
        env.workers.step(np.array([True, False, False, True]), np.zeros((4, 3), np.int64))


def test_failure_in_reset() -> None:
    env = make(fault="raise_reset")
    with pytest.raises(WorkerError, match=r"environment [01], reset.*no reset today"):
        env.reset(seed=0)
    assert nobody(everybody(env))


@pytest.mark.parametrize(
    ("id", "settings", "error", "words"),
    [
        ("pettingzoo:no_such_package_at_all", {}, ConfigError, "Install the package"),
        (TOY, {"lenght": 3}, WorkerError, "environment 0, start: .*unexpected keyword argument 'lenght'"),
        ("gymnasium:Cartpole-v77", {}, ConfigError, "registered Gymnasium environment"),
    ],
)
def test_failure_at_the_start(id: str, settings: dict[str, Any], error: type[Exception], words: str) -> None:
    before = children()
    with pytest.raises(error, match=words):
        envs.make(id, num_envs=2, num_workers=1, **settings)
    assert children() == before


def children() -> set[int]:
    return {int(p) for task in Path("/proc/self/task").iterdir() for p in (task / "children").read_text().split()}


MARK = f"3600.{os.getpid()}"
"""How long they sleep tells whose they are: other tests run beside these."""


@pytest.fixture(autouse=True)
def _mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRANGE_SLEEP", MARK)


def sleepers() -> list[int]:
    """Processes that an environment has started, wherever they hang in the tree."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if MARK.encode() in words.split(b"\0"):
                found.append(int(entry.name))
    return found


def started(count: int, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while len(sleepers()) < count:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def gone(seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while sleepers():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def several_steps(env: ForeignEnv) -> None:
    for _ in range(3):
        env.step(ones(env))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the worker's own group is ended")
@pytest.mark.parametrize("end", ["close", "worker killed", "environment dies", "training killed"])
def test_what_an_environment_started_ends_with_it(end: str) -> None:
    """Also in sessions of its own, without parent, without the environment's variables."""
    assert gone()
    if end == "training killed":
        process, found = parent("starts exec", "import time; time.sleep(100)")
        assert started(6)
        process.kill()
        process.communicate()
        assert gone()
        assert nobody(found, seconds=5)
        return
    env = make(num_envs=1, num_workers=1, fault="starts exec and dies" if end == "environment dies" else "starts exec")
    env.reset(seed=0)
    assert started(6)
    if end == "close":
        env.close()
    elif end == "worker killed":
        os.kill(env.workers.processes[0], signal.SIGKILL)
    with pytest.raises((WorkerError, StateError)):
        several_steps(env)
    assert gone(2.0), "nothing is left when the error arrives"
    assert nobody(everybody(env))


def test_a_fork_that_holds_the_pipe_hides_no_death() -> None:
    env = make(num_envs=1, num_workers=1, fault="starts and dies", timeout=20.0)
    env.reset(seed=0)
    env.step(ones(env))
    begin = time.monotonic()
    with pytest.raises(WorkerError, match="signal SIGKILL"):
        env.step(ones(env))
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    "content",
    ["00000003617878", "000000057b6e6f7421", "7fffffff", "ffffffff7fffffffffffffff", "00000001", "0000000268f1", "00"],
)
def test_what_is_no_answer(content: str) -> None:
    """An environment that writes into the pipe: lengths and kinds that nobody sends, and half a message."""
    env = make(num_envs=1, num_workers=1, fault=f"pipe {content}", timeout=2.0)
    env.reset(seed=0)
    env.step(ones(env))
    begin = time.monotonic()
    with pytest.raises(WorkerError, match=r"(step|answer): expected worker 0 .* (something else|no sign of life|died)"):
        several_steps(env)
    assert time.monotonic() - begin < 8
    assert nobody(everybody(env))


def test_what_it_prints_is_no_output_of_ours(capfd: pytest.CaptureFixture[str]) -> None:
    env = make(num_envs=1, num_workers=1, fault="says")
    env.reset(seed=0)
    env.close()
    said = capfd.readouterr()
    assert said.out == ""
    assert "from the environment" in said.err
    assert "from a shell" in said.err


def test_nobody_answers_its_questions() -> None:
    with pytest.raises(WorkerError, match="EOFError"):
        make(num_envs=1, num_workers=1, fault="asks").reset(seed=0)


def test_a_long_story_is_cut() -> None:
    env = make(num_envs=1, num_workers=1, fault="long")
    env.reset(seed=0)
    env.step(ones(env))
    with pytest.raises(WorkerError, match=r"ValueError: xxx.* \.\.\. xxx") as caught:
        env.step(ones(env))
    assert len(str(caught.value)) < 3000
    assert len("".join(caught.value.__notes__)) < 30_000


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("reward_large", r"agent 'mid_0', reward: expected a finite number that float32 holds, got 1e\+300"),
        ("twice", "agent 'mid_0', agents: expected each agent once"),
    ],
)
def test_breaches(fault: str, words: str) -> None:
    env = make(fault=fault)
    env.reset(seed=0)
    env.step(ones(env))
    with pytest.raises(EnvContractError, match=words):
        env.step(ones(env))


def test_numbers_that_float32_does_not_hold() -> None:
    env = make(fault="view_large", strict=False)
    env.reset(seed=0)
    env.step(ones(env))
    with pytest.raises(EnvContractError, match=r"agent 'mid_0', observation: .* float32 holds, got -1e\+300 at"):
        env.step(ones(env))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_environments_that_are_not_alike(num_workers: int) -> None:
    with pytest.raises(EnvContractError, match="actions: expected the same in all environments"):
        envs.make("pettingzoo:strange_envs:Uneven", num_envs=4, num_workers=num_workers)


def test_two_agents_of_one_name() -> None:
    with pytest.raises(EnvContractError, match="agent 'mid_0', possible_agents: expected each agent once"):
        envs.make("pettingzoo:strange_envs:Twins")


def test_signs_of_life_of_slow_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four calls of 0.6 s each are more than the timeout of 1.5 s together, but none of them is."""
    env = make(num_envs=4, num_workers=1, fault="hang", at=1, seconds=0.6, timeout=1.5)
    env.reset(seed=0)
    begin = time.monotonic()
    env.step(ones(env))
    assert time.monotonic() - begin > 2.3
    env.close()


def test_close(tmp_path: Path) -> None:
    """Environments are closed, processes end, and closing again does nothing."""
    path = str(tmp_path / "closed.txt")
    env = make(fault=path)
    processes = everybody(env)
    env.close()
    env.close()
    assert nobody(processes)
    assert Path(path).read_text().count("closed") == 3
    with pytest.raises(StateError, match=r"it was closed.*anew"):
        env.reset(seed=0)


def test_an_environment_that_does_not_close_is_killed() -> None:
    env = make(num_workers=1, fault="slow_close")
    begin = time.monotonic()
    env.close()
    assert nobody(everybody(env)), "reaped, too"
    assert 1.9 < time.monotonic() - begin < 5


def test_what_is_forgotten_is_closed() -> None:
    env = make()
    processes = everybody(env)
    del env
    assert nobody(processes)


def test_interrupt_in_the_middle_of_a_step() -> None:
    """Whoever catches Ctrl-C and goes on gets an error, not the answer to the request before."""
    env = make(fault="hang", timeout=30.0)
    env.reset(seed=0)
    env.step(ones(env))
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with pytest.raises(KeyboardInterrupt):
        env.step(ones(env))
    assert nobody(everybody(env))
    with pytest.raises(StateError, match="KeyboardInterrupt"):
        env.step(ones(env))


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


PARENT = """
    import signal, sys, numpy as np
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it runs in the background ignore it
    sys.path.insert(0, {here!r})
    from gnncomm.integrations.form import Task
    from gnncomm.integrations.workers import Workers
    task = Task("pettingzoo", "strange_envs", dict(fault={fault!r}), 0, 0, None, None, True, False, False)
    workers = Workers(task, 2, 2, 60.0)
    print(*workers.processes, *workers.guards, flush=True)
    workers.reset(np.arange(2))
    def step(): workers.step(np.ones(2, bool), np.ones((2, 3), np.int64))
    step()
    print("ready", flush=True)
    {then}
"""


def parent(fault: str, then: str) -> tuple[subprocess.Popen[str], list[int]]:
    """Another process that uses workers, and these."""
    code = textwrap.dedent(PARENT).format(here=str(HERE), toy=TOY, fault=fault, then=then)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    found = [int(word) for word in process.stdout.readline().split()]
    assert process.stdout.readline() == "ready\n"
    return process, found


def rest(process: subprocess.Popen[str]) -> str:
    """What it still says, until it ends; ``communicate`` would lose what was read ahead."""
    with process:
        assert process.stdout is not None
        return process.stdout.read()


@pytest.mark.parametrize("fault", ["none", "hang"])
@pytest.mark.parametrize(
    ("kill", "code"),
    [
        (lambda p: os.killpg(p.pid, signal.SIGINT), -signal.SIGINT),
        (lambda p: p.send_signal(signal.SIGTERM), -signal.SIGTERM),
        (lambda p: p.kill(), -signal.SIGKILL),
    ],
    ids=["ctrl-c", "terminated", "killed"],
)
def test_nothing_outlives_the_parent(fault: str, kill: Callable[[Any], None], code: int) -> None:
    process, found = parent(fault, "step(); input()" if fault == "hang" else "import time; time.sleep(100)")
    time.sleep(0.2)
    kill(process)
    try:
        _, words = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == code
    assert nobody(found, seconds=10)
    assert ("KeyboardInterrupt" in words) == (code == -signal.SIGINT)


def test_a_script_needs_no_guard() -> None:
    """Workers do not import the main module, so a script may use them at its top level."""
    process, found = parent("none", "step(); print(workers.records['reward'].sum())")
    assert rest(process) == "10.0\n"
    assert process.returncode == 0
    assert nobody(found)


def test_the_worker_is_light() -> None:
    """No torch, and so a start in a fraction of a second."""
    code = "import sys, gnncomm.integrations.serve; print('torch' in sys.modules, 'pettingzoo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_parent_loads_no_foreign_library() -> None:
    process, found = parent("none", "print({'pettingzoo', 'gymnasium', 'torch'} & set(sys.modules))")
    assert rest(process) == "set()\n"
    assert nobody(found)


def test_a_fork_does_not_end_the_workers_of_its_parent() -> None:
    env = make()
    env.reset(seed=0)
    room._shut_down(env.workers._workers, os.getpid() + 1)
    env.step(ones(env))
    env.close()
