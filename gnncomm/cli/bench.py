"""``gnncomm bench train``: how fast training is here, and how near to the machine's matrix products."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, replace
from typing import Literal

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from gnncomm.cli.parse import at_least, parse
from gnncomm.learn import Training, collect
from gnncomm.run import default_config, make_env


@dataclass(frozen=True)
class BenchArgs:
    """Measure the speed of training, in one run on this machine."""

    what: tyro.conf.Positional[Literal["train"]] = "train"
    """What to measure."""
    env: str = "predator_prey"
    """Environment, with its recommended settings."""
    repeats: int = 10
    """Updates that are timed."""
    threads: int = 0
    """Threads of torch; 0 leaves its own choice."""

    def __post_init__(self) -> None:
        at_least(self, repeats=1, threads=0)


def run(words: list[str]) -> int:
    args = parse(BenchArgs, words, "gnncomm bench")
    if args.threads:
        torch.set_num_threads(args.threads)
    Console(highlight=False).print(bench_train(args.env, args.repeats))
    return 0


def matmul_rate(size: int = 1024, repeats: int = 10) -> float:
    """Floating-point operations per second of a square float32 product, the median of ``repeats``."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(times[2:])


def bench_train(env: str, repeats: int) -> Table:
    """Medians over ``repeats`` updates after two to warm up."""
    config = replace(default_config(env), steps=10**9)
    training = Training(config, make_env(config))
    collects, updates = [], []
    flops = 0
    for number in range(repeats + 2):
        start = time.perf_counter()
        rollout, training.carry = collect(
            training.env, training.policy, training.carry, config.rollout, config.seed, training.tally
        )
        middle = time.perf_counter()
        if number == 0:
            with FlopCounterMode(display=False) as counter:
                training.learner.update(rollout)
            flops = counter.get_total_flops()
            continue
        training.learner.update(rollout)
        collects.append(middle - start)
        updates.append(time.perf_counter() - middle)
    collect_time, update_time = statistics.median(collects[1:]), statistics.median(updates[1:])
    steps = config.num_envs * config.rollout
    rate = matmul_rate()
    table = Table(title=f"training on {env}, {torch.get_num_threads()} threads", show_header=False)
    for name, value in {
        "environment steps per second, training": f"{steps / (collect_time + update_time):,.0f}",
        "environment steps per second, collecting only": f"{steps / collect_time:,.0f}",
        "matrix products of an update": f"{flops / 1e9:.2f} GFLOP",
        "rate of the update": f"{flops / update_time / 1e9:.1f} GFLOP/s",
        "rate of a 1024 x 1024 product": f"{rate / 1e9:.1f} GFLOP/s",
        "share": f"{flops / update_time / rate:.1%}",
    }.items():
        table.add_row(name, value)
    return table
