"""``gnncomm bench envs``: environment steps per second with random actions, beside the reference implementations."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from rich.table import Table
from torch import Tensor

from gnncomm import environments, random
from gnncomm.types import VectorEnv

BATCHES = (1, 4, 16, 64, 256, 1024, 4096, 16384)
"""Numbers of environments that are tried; the fastest counts."""
CHUNK = 20
"""Steps between two readings of the clock."""
FEWEST_AGENTS, MOST_AGENTS = 1000, 1 << 18
"""Rows of a batch; smaller and larger batches are not tried."""


@dataclass(frozen=True)
class EnvCase:
    """One line to measure."""

    id: str
    settings: dict[str, Any] = field(default_factory=dict)
    reference: float | None = None
    """Steps per second of the reference implementation on an idle machine of two cores; None if nobody measured it."""


CASES = (
    EnvCase("traffic_junction/easy-v0", {"vision": 1}, 17_300),
    EnvCase("traffic_junction/medium-v0", {"vision": 1}, 10_000),
    EnvCase("traffic_junction/hard-v0", {"vision": 1}, 4_850),
    EnvCase("predator_prey/5x5-3-v0", {}, 41_700),
    EnvCase("predator_prey/10x10-5-v0", {}, 33_900),
    EnvCase("predator_prey/20x20-10-v0", {}, 13_000),
    EnvCase("foraging/8x8-3p-3f-v0", {}, 11_400),
    EnvCase("foraging/8x8-2p-2f-coop-v0"),
    EnvCase("hallway"),
    EnvCase("coverage"),
    EnvCase("path_finding"),
    EnvCase("routing"),
    EnvCase("stag_hunt"),
    EnvCase("switch"),
    EnvCase("relay"),
    EnvCase("pursuit/25-v0"),
    EnvCase("pursuit", {"num_agents": 1000}),
    EnvCase("battle/20-v0"),
    EnvCase("battle", {"num_agents": 1000}),
    EnvCase("predator_capture_prey"),
    EnvCase("chemical"),
    EnvCase("chemical/plume-v0"),
    EnvCase("chemical_reaction"),
    EnvCase("rendezvous"),
    EnvCase("formation"),
)


@dataclass(frozen=True)
class EnvRow:
    """One line of the table.

    Rates are environment steps per second with sparse observations and random actions, of ``env.step`` alone (its
    checks and its time step included), and ``played`` of steps and resets together.
    """

    id: str
    settings: dict[str, Any]
    num_agents: int
    reference: float | None
    played: float
    """Eager, with the resets that random play needs."""
    eager: float
    """Steps alone, as they are called."""
    eager_envs: int
    """Environments side by side at which ``eager`` was reached."""
    compiled: float | None
    compiled_envs: int | None
    state_bytes: int
    """Of one environment: what it keeps."""
    step_bytes: int
    """Of one environment: what a time step holds."""

    @property
    def agent_steps(self) -> float:
        """The better rate times the number of agents."""
        return max(self.eager, self.compiled or 0.0) * self.num_agents


@runtime_checkable
class Compilable(Protocol):
    """An environment whose step ``torch.compile`` can take; see ``envs.GridEnv.compile``."""

    def compile(self) -> None: ...


class _Play:
    """Random actions, drawn beforehand, and a reset wherever an episode ended."""

    def __init__(self, env: VectorEnv) -> None:
        self.env = env
        key, agents = torch.arange(env.num_envs)[:, None], torch.arange(env.num_agents)
        self.actions = [random.integers(key, env.num_actions, t, agents).to(env.device) for t in range(CHUNK)]
        self.now = env.reset(seed=0)

    def chunk(self) -> tuple[float, float]:
        """Seconds of the steps, and of the steps and resets."""
        steps, begin = 0.0, self._clock()
        for action in self.actions:
            start = self._clock()
            self.now = self.env.step(action)
            steps += self._clock() - start
            if bool(self.now.done.any()):
                self.now = self.env.reset(where=self.now.done)
        return steps, self._clock() - begin

    def _clock(self) -> float:
        """Seconds; of the processor where one thread does it all, since other programs do not count there."""
        if self.env.device.type == "cuda":
            torch.cuda.synchronize(self.env.device)
        elif torch.get_num_threads() == 1:
            return time.thread_time()
        return time.perf_counter()


@dataclass(frozen=True)
class Rate:
    """Environment steps per second."""

    steps: float
    played: float
    """Resets included."""


def rate(env: VectorEnv, seconds: float) -> Rate:
    """The best of the chunks that fit into ``seconds``, after one to warm up."""
    play = _Play(env)
    play.chunk()
    spent, begin = [play.chunk()], time.perf_counter()
    while time.perf_counter() - begin < seconds:
        spent.append(play.chunk())
    count = CHUNK * env.num_envs
    return Rate(count / min(steps for steps, _ in spent), count / min(played for _, played in spent))


def bench_envs(
    cases: Sequence[EnvCase], seconds: float = 1.0, compile: bool = False, device: str = "cpu"
) -> Iterable[EnvRow]:
    """One row for each case. ``compile`` measures the compiled step, too, in the two best batch sizes."""
    for case in cases:
        yield _measure(case, seconds, compile, device)


def _measure(case: EnvCase, seconds: float, compile: bool, device: str) -> EnvRow:
    def build(num_envs: int) -> VectorEnv:
        return environments.make(case.id, num_envs, device, "sparse", **case.settings)

    agents = build(1).num_agents
    fits = [number for number in BATCHES if FEWEST_AGENTS <= number * agents <= MOST_AGENTS]
    batches = fits or [max(1, MOST_AGENTS // agents)]
    eager = {number: rate(build(number), seconds) for number in batches}
    best = sorted(eager, key=lambda number: -eager[number].steps)
    compiled: dict[int, Rate] = {}
    for number in best[:2] if compile else []:
        env = build(number)
        if isinstance(env, Compilable):
            env.compile()
            compiled[number] = rate(env, seconds)
    fastest = max(compiled, key=lambda number: compiled[number].steps) if compiled else None
    kept, shown = _memory(build(2))
    return EnvRow(
        case.id,
        case.settings,
        agents,
        case.reference,
        eager[best[0]].played,
        eager[best[0]].steps,
        best[0],
        None if fastest is None else compiled[fastest].steps,
        fastest,
        kept,
        shown,
    )


def _memory(env: VectorEnv) -> tuple[int, int]:
    now = env.reset(seed=0)
    return _bytes(env.state_dict().values()) // env.num_envs, _bytes(now.tensors().values()) // env.num_envs


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def envs_table(rows: Sequence[EnvRow]) -> Table:
    """For the terminal."""
    table = Table(title="environment steps per second, sparse observations", title_justify="left", box=None)
    table.add_column("environment")
    names = ("agents", "reference", "with resets", "eager", "x", "at", "compiled", "x", "at", "agent-steps/s")
    for name in (*names, "state", "step"):
        table.add_column(name, justify="right")
    for row in rows:
        settings = "".join(f" {name}={value}" for name, value in row.settings.items())
        table.add_row(
            row.id + settings,
            str(row.num_agents),
            "" if row.reference is None else f"{row.reference:,.0f}",
            f"{row.played:,.0f}",
            f"{row.eager:,.0f}",
            _ratio(row.eager, row.reference),
            str(row.eager_envs),
            "" if row.compiled is None else f"{row.compiled:,.0f}",
            _ratio(row.compiled, row.reference),
            "" if row.compiled_envs is None else str(row.compiled_envs),
            f"{row.agent_steps:,.0f}",
            f"{row.state_bytes:,} B",
            f"{row.step_bytes:,} B",
        )
    return table


def _ratio(ours: float | None, theirs: float | None) -> str:
    return "" if ours is None or theirs is None else f"{ours / theirs:.0f}x"
