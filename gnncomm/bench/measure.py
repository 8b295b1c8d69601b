"""Clocks and counters."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

WARM_UP = 3
"""Calls that are not timed."""


def interleaved(contestants: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each, one call of each in turn: what else the machine does meets all of them alike.

    With one thread these are seconds of the processor, in which the time of other programs does not count; with more
    they are seconds of the clock.
    """
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(repeats + WARM_UP):
        for name, call in contestants.items():
            start = clock()
            call()
            if number >= WARM_UP:
                times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def matmul_rate(size: int = 1024, repeats: int = 20) -> float:
    """Floating-point operations per second of a square float32 product: the median of ``repeats``."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    return 2 * size**3 / interleaved({"product": lambda: torch.mm(a, b)}, repeats)["product"]


def count_flops(call: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products in ``call``."""
    with _CountFlops() as counter:
        call()
    total: int = counter.total
    return total


def peak_memory(call: Callable[[], object]) -> int:
    """Most bytes of tensors that ``call`` held at one time, beyond those that were there before (CPU)."""
    call()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        call()
    events = trace.profiler.kineto_results.events() if trace.profiler is not None else []
    held = most = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


class _CountFlops(TorchDispatchMode):
    """torch's ``FlopCounterMode`` looks into modules, which ``autograd.grad`` forbids, and misses ``addmm_``."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        operator = func._overloadpacket
        formula = flop_registry.get(torch.ops.aten.addmm if operator is torch.ops.aten.addmm_ else operator)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=out)
        return out
