"""A function of tensors that runs as a CUDA graph, once it has shown that it may."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from gnncomm.host import reads

Out = TypeVar("Out")
Record = Callable[[Callable[[], Any]], Callable[[], Any]]
"""Records a function that takes nothing, without running it, and gives what runs it again, with its results in the
same places each time."""


class Recorded(Generic[Out]):
    """``run(inputs)`` as a CUDA graph: the same kernels in the same order, launched at once.

    The first call runs as it is (libraries load, constants are copied, graphs that never change are looked at). The
    second is watched: where it asks the device anything, no graph can hold it, ``why_not`` says what was asked, and all
    calls run as they are. The third is recorded. From then on inputs are copied to where the graph reads them.

    Args:
        run: depends on ``inputs``, on tensors that stay where they are (weights), and on nothing that Python changes;
            what it changes in place is part of the graph.
        record: see ``Record``.
    """

    def __init__(self, run: Callable[[Any], Out], record: Record) -> None:
        self._run, self._record = run, record
        self.why_not = ""
        self._calls = 0
        self._replay: Callable[[], Out] | None = None
        self._inputs: list[Any] = []
        self._form: Any = None

    def forget(self) -> None:
        """Begin anew: something that the graph holds is another thing now."""
        self._calls, self._replay, self._inputs, self._form = 0, None, [], None

    def __str__(self) -> str:
        return self.why_not or ("recorded" if self.recorded else "not yet")

    @property
    def recorded(self) -> bool:
        """Whether the last call ran as a graph."""
        return self._replay is not None

    def __call__(self, inputs: Any) -> Out:
        """Results stay as they are until the next call."""
        leaves, form = tree_flatten(inputs)
        shapes = form, [(leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        if self._form is not None and shapes != self._form:
            self.forget()
        self._form, self._calls = shapes, self._calls + 1
        if self.why_not or self._calls == 1:
            return self._run(inputs)
        if self._calls == 2:
            with reads() as found:
                out = self._run(inputs)
            self.why_not = str(found)
            return out
        if self._replay is None:
            self._inputs = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            held = tree_unflatten(self._inputs, form)
            try:
                self._replay = self._record(lambda: self._of_its_own(self._run(held)))
            except RuntimeError as error:
                self.why_not = f"recording failed: {error}"
                return self._run(inputs)
            return self._replay()
        for old, new in zip(self._inputs, leaves, strict=True):
            if isinstance(new, Tensor) and new.data_ptr() != old.data_ptr():
                old.copy_(new)
        return self._replay()

    def _of_its_own(self, out: Out) -> Out:
        """Results that are no inputs, which the next call overwrites."""
        inputs = {leaf.untyped_storage().data_ptr() for leaf in self._inputs if isinstance(leaf, Tensor)}

        def own(leaf: Any) -> Any:
            shared = isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() in inputs
            return leaf.clone() if shared else leaf

        owned: Out = tree_map(own, out)
        return owned


def cuda(run: Callable[[], Any]) -> Callable[[], Any]:
    """``Record`` for CUDA devices."""
    graph = torch.cuda.CUDAGraph()
    gc.collect()  # a graph that is let go of while another is recorded spoils it
    enabled = gc.isenabled()
    gc.disable()
    try:
        with torch.cuda.graph(graph):
            out = run()
    finally:
        if enabled:
            gc.enable()

    def replay() -> Any:
        graph.replay()
        return out

    return replay
