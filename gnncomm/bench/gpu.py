"""``gnncomm bench gpu``: what CUDA graphs change, and whether they change a bit; environments and layers on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from rich.table import Table

from gnncomm import environments, random
from gnncomm.bench.compare import KINDS, forward_backward, ours_of, stock_of
from gnncomm.bench.layers import SETTINGS, Setting
from gnncomm.host import Pending, pending, quiet
from gnncomm.learn import TrainConfig, Training
from gnncomm.learn.graphs import Record, Recorded, cuda
from gnncomm.run import default_config
from gnncomm.types import Held

EQUAL: tuple[tuple[str, dict[str, Any]], ...] = (
    ("predator_prey", {}),
    ("predator_prey", {"scheduler": "gate", "memory": "lstm", "integration": "previous"}),
    ("traffic_junction/medium-v0", {"comm": "attention"}),
    ("relay", {"scheduler": "gate:price=0.01", "algo": "mappo"}),
)
"""Trainings whose bits are compared with and without graphs."""
TRAININGS = (
    ("predator_prey", 256),
    ("predator_prey", 4096),
    ("traffic_junction/medium-v0", 2048),
    ("traffic_junction/hard-v0", 2048),
)
"""Environments and how many of them; attention, width 64."""
ALONE: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("traffic_junction/easy-v0", 65_536, {"vision": 1}),
    ("traffic_junction/medium-v0", 65_536, {"vision": 1}),
    ("traffic_junction/hard-v0", 32_768, {"vision": 1}),
    ("foraging/8x8-3p-3f-v0", 65_536, {}),
    ("predator_prey/5x5-3-v0", 65_536, {}),
)
CHUNK = 20
"""Steps of an environment alone between two readings of the clock."""


@dataclass(frozen=True)
class GpuRow:
    """One number of one thing."""

    what: Literal["equal", "training", "environment", "layer"]
    name: str
    form: str
    """With graphs or without; ours, or whose convolution."""
    value: float
    """equal: 1 if all bits are the same; training, environment: environment steps a second; layer: milliseconds."""
    note: str = ""


def bench_gpu(device: str, seconds: float, small: int = 1) -> Iterator[GpuRow]:
    """Everything, as it is measured. ``small`` divides the numbers of environments."""
    torch.backends.cuda.matmul.allow_tf32 = False
    how = cuda if device.startswith("cuda") else _no_graph
    for name, settings in EQUAL:
        yield _equal(name, settings, device, how)
    for name, num_envs in TRAININGS:
        yield from _training(name, max(4, num_envs // small), device, how, seconds)
    for name, num_envs, settings in ALONE:
        yield from _alone(name, max(1, num_envs // small), settings, device, how, seconds)
    for setting in SETTINGS if small == 1 else SETTINGS[:1]:
        yield from _layer(setting, device, seconds)


def _no_graph(run: Callable[[], Any]) -> Callable[[], Any]:
    """Where there are none: every call is as it is."""
    return run


def _config(name: str, device: str, **settings: Any) -> TrainConfig:
    given = {"device": device, "graphs": "off", "steps": 10**9} | settings
    return default_config(name).replace(**given)


def _equal(name: str, settings: dict[str, Any], device: str, how: Record) -> GpuRow:
    """Six updates, of which the last four are graphs."""
    plain, graphs = (Training.of(_config(name, device, **({"num_envs": 64} | settings))) for _ in range(2))
    graphs.record(how)
    told = ""
    for _ in range(6):
        mine, theirs = plain.advance(), graphs.advance()
        told = told or str({key: (mine[key], theirs[key]) for key in mine if not _same(mine[key], theirs[key])})
    found = graphs.state()[0]
    unequal = [
        f"{group}.{key}"
        for group, tensors in plain.state()[0].items()
        for key, value in tensors.items()
        if not found[group][key].equal(value)
    ]
    words = f"{graphs.graphs}; metrics that differ first: {told}; tensors that differ: {unequal[:5]}"
    return GpuRow("equal", name, str(settings), float(not unequal), words)


def _same(mine: float, theirs: float) -> bool:
    return mine == theirs or (mine != mine and theirs != theirs)


def _training(name: str, num_envs: int, device: str, how: Record, seconds: float) -> Iterable[GpuRow]:
    forms: dict[str, tuple[str, bool]] = {"without": ("float32", False), "graphs": ("float32", True)}
    if device.startswith("cuda"):
        forms["graphs, tf32"] = ("tf32", True)
    for form, (precision, recorded) in forms.items():
        config = _config(name, device, num_envs=num_envs, comm="attention", hidden=64, precision=precision)
        training = Training.of(config)
        if recorded:
            training.record(how)
        per_update = _seconds(training.advance, device, seconds, warm=4)
        collecting = _seconds(training.collect, device, seconds / 4)
        note = f"{training.graphs}; collecting alone {training.steps_per_update / collecting:,.0f} steps/s"
        yield GpuRow("training", f"{name} x {num_envs}", form, training.steps_per_update / per_update, note)


def _alone(
    name: str, num_envs: int, settings: dict[str, Any], device: str, how: Record, seconds: float
) -> Iterable[GpuRow]:
    """Random actions that were drawn beforehand, and a reset by mask after every step."""
    env = environments.make(name, num_envs, device, "sparse", **settings)
    assert isinstance(env, Held)
    key, agents = torch.arange(num_envs, device=device)[:, None], torch.arange(env.num_agents, device=device)
    actions = [random.integers(key, env.num_actions, t, agents) for t in range(CHUNK)]
    env.reset(seed=0)

    def steps(held: Any) -> tuple[Any, Pending, torch.Tensor]:
        env.hold(held)
        found = Pending()
        with pending(found), quiet():
            for action in actions:
                env.reset(where=env.step(action).done)
        return env.held(), found, found.flag()

    for form in ("without", "graphs"):
        run = Recorded(steps, how) if form == "graphs" else steps

        def chunk(run: Callable[[Any], Any] = run) -> None:
            held, found, flag = run(env.held())
            env.hold(held)
            found.settle(flag)

        per_chunk = _seconds(chunk, device, seconds / 2, warm=4)
        note = str(run) if isinstance(run, Recorded) else ""
        yield GpuRow("environment", f"{name} x {num_envs}", form, CHUNK * num_envs / per_chunk, note)


def _layer(setting: Setting, device: str, seconds: float) -> Iterable[GpuRow]:
    graph = setting.graph().to(device)
    edge_index = graph.expand(setting.num_envs).edge_index
    h = torch.randn(setting.num_envs, setting.num_agents, ours_of("mean").in_channels, device=device)
    h.requires_grad_()
    rows = h.detach().flatten(0, 1).requires_grad_()
    for kind in KINDS:
        yield _timed(setting, kind, "ours", forward_backward(ours_of(kind).to(device), h, graph), device, seconds)
        for title, conv in stock_of(kind).items():
            yield _timed(setting, kind, title, forward_backward(conv.to(device), rows, edge_index), device, seconds)


def _timed(setting: Setting, kind: str, form: str, call: Callable[[], Any], device: str, seconds: float) -> GpuRow:
    milliseconds = 1e3 * _seconds(call, device, seconds / 20, warm=3)
    return GpuRow("layer", f"{kind}, {setting.name}", form, milliseconds)


def _seconds(call: Callable[[], Any], device: str, seconds: float, warm: int = 1) -> float:
    """Of one call: the mean over as many as fit into ``seconds``, at least two, after those to warm up."""
    for _ in range(warm):
        call()
    _wait(device)
    count, begin = 0, time.perf_counter()
    while count < 2 or time.perf_counter() - begin < seconds:
        call()
        count += 1
        if count % 8 == 0:
            _wait(device)
    _wait(device)
    return (time.perf_counter() - begin) / count


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def gpu_table(rows: list[GpuRow]) -> Table:
    """For the terminal."""
    table = Table(title="with and without CUDA graphs", title_justify="left", box=None)
    for name in ("what", "name", "form", "value", "note"):
        table.add_column(name, justify="right" if name == "value" else "left")
    for row in rows:
        value = f"{row.value:,.0f}" if row.what in ("training", "environment") else f"{row.value:.3f}"
        table.add_row(row.what, row.name, row.form, value, row.note[:400])
    return table
