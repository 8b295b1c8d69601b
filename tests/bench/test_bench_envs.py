"""The benchmark of environments counts steps, tries what it says, and knows every environment."""

from __future__ import annotations

import time

import pytest
import torch

from gnncomm import envs
from gnncomm.bench import CASES, EnvCase, EnvRow, bench_envs, envs_table
from gnncomm.bench import envs as bench
from gnncomm.cli.bench import BenchArgs
from gnncomm.errors import ConfigError


def test_every_environment_is_a_case_that_can_be_built() -> None:
    assert {case.id.partition("/")[0] for case in CASES} == {name.partition("/")[0] for name in envs.names()}
    for case in CASES:
        envs.make(case.id, **case.settings)


def test_a_row_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that ticks once at every look, a chunk of steps takes as many ticks as there are steps."""
    ticks = iter(range(10**9))
    monkeypatch.setattr(time, "thread_time", lambda: float(next(ticks)))
    monkeypatch.setattr(bench, "BATCHES", (3, 7))
    monkeypatch.setattr(bench, "FEWEST_AGENTS", 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        (row,) = bench_envs([EnvCase("relay", {"steps": 100}, reference=0.5)], seconds=0.0)
    finally:
        torch.set_num_threads(threads)
    assert row.eager == 7.0, "7 environments, one tick for each step"
    assert row.eager_envs == 7
    # A chunk looks at the clock before and after each step, and once more at both ends.
    assert row.played == pytest.approx(bench.CHUNK * 7 / (2 * bench.CHUNK + 1))
    assert row.agent_steps == 7.0 * 4
    assert row.compiled is None
    env = envs.make("relay", steps=100)
    state = env.state_dict
    env.reset()
    assert row.state_bytes == sum(value.numel() * value.element_size() for value in state().values())


def test_large_teams_get_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "MOST_AGENTS", 10)
    (row,) = bench_envs([EnvCase("relay", {"num_agents": 6})], seconds=0.0)
    assert row.eager_envs == 1


def test_table_and_unknown_ids() -> None:
    row = EnvRow("relay", {"steps": 2}, 4, 100.0, 900.0, 1000.0, 256, 2500.0, 512, 64, 128)
    columns = envs_table([row]).columns
    cells = [next(iter(column.cells)) for column in columns]
    assert cells[0] == "relay steps=2"
    assert "10x" in cells
    assert "25x" in cells
    assert "10,000" in cells, "agent-steps of the faster one"
    with pytest.raises(ConfigError, match="Did you mean 'relay'"):
        BenchArgs(envs=("rellay",))
