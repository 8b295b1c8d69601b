"""A CUDA graph without CUDA: what was run once is run again, operation by operation, on the same memory.

As in a graph, numbers of Python are as they were when it was recorded, results lie where they lay, and no line of
Python runs. Unlike there, recording computes: the first replay has been done already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.done.append((func, args, kwargs, [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]))
        return out

    @torch.no_grad()
    def play(self) -> None:
        for func, args, kwargs, results in self.done:
            again = [leaf for leaf in tree_leaves(func(*args, **kwargs)) if isinstance(leaf, Tensor)]
            for place, value in zip(results, again, strict=True):
                if place.data_ptr() != value.data_ptr():  # neither a view nor written in place
                    place.detach().copy_(value)


def record(run: Callable[[], Any]) -> Callable[[], Any]:
    """``gnncomm.learn.graphs.Record`` on a CPU."""
    tape, played = _Tape(), False
    with tape:
        out = run()

    def replay() -> Any:
        nonlocal played
        if played:
            tape.play()
        played = True
        return out

    return replay
