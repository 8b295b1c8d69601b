"""The same task in other libraries, measured in the same run where they are installed."""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from gnncomm import environments
from gnncomm.bench.envs import Compilable, rate

BATCHES = (1024, 4096, 16384)
SCAN = 100


@dataclass(frozen=True)
class PeerRow:
    """Environment steps per second with random actions; resets are not counted on either side."""

    peer: str
    id: str
    theirs: float
    ours: float
    """Sparse observations; compiled where the other one is."""


def bench_peers(seconds: float = 2.0) -> Iterable[PeerRow]:
    """lbforaging (Python, one environment) and Jumanji's foraging (JAX, compiled, observations summed up)."""
    if importlib.util.find_spec("lbforaging"):
        yield PeerRow(
            "lbforaging", "foraging/8x8-3p-3f-v0", _lbforaging(seconds), _ours("foraging/8x8-3p-3f-v0", seconds, False)
        )
    if importlib.util.find_spec("jumanji"):
        theirs = max(_jumanji(batch, seconds) for batch in BATCHES)
        ours = _ours("foraging/8x8-2p-2f-coop-v0", seconds, True)
        yield PeerRow("jumanji LevelBasedForaging-v0", "foraging/8x8-2p-2f-coop-v0", theirs, ours)


def _ours(id: str, seconds: float, compile: bool) -> float:
    found = []
    for batch in BATCHES:
        env = environments.make(id, batch, observation="sparse")
        if compile and isinstance(env, Compilable):
            env.compile()
        found.append(rate(env, seconds).steps)
    return max(found)


def _lbforaging(seconds: float) -> float:
    gymnasium: Any = importlib.import_module("gymnasium")
    importlib.import_module("lbforaging")
    env = gymnasium.make("Foraging-8x8-3p-3f-v3", disable_env_checker=True).unwrapped
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(64)]
    return _best(lambda: _run(env, actions), len(actions), seconds)


def _run(env: Any, actions: list[Any]) -> float:
    """Seconds of the steps alone."""
    spent = 0.0
    for action in actions:
        start = time.perf_counter()
        done = env.step(action)[2]
        spent += time.perf_counter() - start
        if done:
            env.reset()
    return spent


def _jumanji(batch: int, seconds: float) -> float:
    """``vmap`` over environments and ``scan`` over steps in one compiled call; ended episodes go on."""
    jax: Any = importlib.import_module("jax")
    env: Any = importlib.import_module("jumanji").make("LevelBasedForaging-v0")

    def step(state: Any, key: Any) -> Any:
        action = jax.random.randint(key, (batch, env.num_agents), 0, 6)
        state, now = jax.vmap(env.step)(state, action)
        seen = now.observation  # summed up, so that nothing of it is left out
        return state, (now.reward.sum(), seen.agents_view.sum(), seen.action_mask.sum())

    roll = jax.jit(lambda state, key: jax.lax.scan(step, state, jax.random.split(key, SCAN)))
    state, _ = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.PRNGKey(0), batch))

    def once() -> float:
        start = time.perf_counter()
        jax.block_until_ready(roll(state, jax.random.PRNGKey(1)))
        return time.perf_counter() - start

    once()  # compiles
    return _best(once, SCAN * batch, seconds)


def _best(call: Callable[[], float], steps: int, seconds: float) -> float:
    spent, begin = [call()], time.perf_counter()
    while time.perf_counter() - begin < seconds:
        spent.append(call())
    return steps / min(spent)


def peers_table(rows: Iterable[PeerRow]) -> Table:
    """For the terminal."""
    table = Table(title="beside other libraries, steps per second", title_justify="left", box=None)
    for name in ("other", "theirs", "ours", "id", "ratio"):
        table.add_column(name, justify="left" if name in ("other", "id") else "right")
    for row in rows:
        table.add_row(row.peer, f"{row.theirs:,.0f}", f"{row.ours:,.0f}", row.id, f"{row.ours / row.theirs:.1f}x")
    return table
