"""Which questions a program asked its device: what keeps it from running ahead, and out of a CUDA graph."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gnncomm.host.asking import quiet

_ASKS = {
    "_local_scalar_dense": "a number as a number of Python",
    "equal": "whether tensors are equal",
    "nonzero": "where something is true",
    "masked_select": "a selection by a mask",
    "_unique2": "different values",
    "unique_dim": "different values",
    "unique_consecutive": "different values",
    "unique_dim_consecutive": "different values",
    "bincount": "a count of values",
    "repeat_interleave": "a repetition as often as a tensor says",
    "_linalg_check_errors": "whether a decomposition went well",
}
_INDEXES = ("index", "index_put", "index_put_", "_unsafe_index", "_unsafe_index_put")
_MOVES = ("_to_copy", "copy_")
_BY_PYTHON = {Tensor.tolist: "numbers as a list", Tensor.numpy: "an array", Tensor.__array__: "an array"}
_OURS = str(Path(__file__).parent)
_TORCH = str(Path(torch.__file__).parent)


class Reads:
    """Questions by what was asked and where, each with how often."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def note(self, what: str) -> None:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith((_OURS, _TORCH)):
            frame = frame.f_back
        place = "/".join(Path(frame.f_code.co_filename).parts[-3:])
        self.found[f"{what}, {place}:{frame.f_lineno} in {frame.f_code.co_name}"] += 1

    def __str__(self) -> str:
        return "; ".join(f"{question} ({times} times)" for question, times in self.found.items())


_current: ContextVar[Reads | None] = ContextVar("current", default=None)


def asked(what: str) -> None:
    """Say that a number was used that a recorded program would not see change; nothing outside ``reads``."""
    if (found := _current.get()) is not None:
        found.note(what)


@contextmanager
def reads() -> Iterator[Reads]:
    """Note every question that is asked within, where none is free (see ``quiet``)."""
    found = Reads()
    before = _current.set(found)
    try:
        with quiet(), _Functions(found), _Operations(found):
            yield found
    finally:
        _current.reset(before)


class _Operations(TorchDispatchMode):
    def __init__(self, found: Reads) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in _ASKS:
            self.found.note(_ASKS[name])
        elif name in _INDEXES and any(x.dtype in (torch.bool, torch.uint8) for x in args[1] if x is not None):
            self.found.note("a selection by a mask")
        elif name == "lift_fresh":
            self.found.note("a tensor made of numbers of Python")
        elif name in _MOVES and _crosses(args, kwargs or {}):
            self.found.note("a copy from one device to another")
        return func(*args, **(kwargs or {}))


class _Functions(TorchFunctionMode):
    """What torch does not tell its dispatcher."""

    def __init__(self, found: Reads) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _BY_PYTHON:
            self.found.note(_BY_PYTHON[func])
        return func(*args, **(kwargs or {}))


def _crosses(args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether a copy goes from one device to another; single numbers of the CPU are handed over as they are."""
    devices = {x.device for x in tree_leaves(args) if isinstance(x, Tensor)}
    if kwargs.get("device") is not None:
        devices.add(torch.device(kwargs["device"]))
    return len({device.type for device in devices}) > 1
