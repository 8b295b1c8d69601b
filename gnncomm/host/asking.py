"""Whether the program may ask a device for its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

_TRACING = torch._C._TorchDispatchModeKey.PROXY, torch._C._TorchDispatchModeKey.FAKE
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def is_tracing() -> bool:
    """Whether operations are recorded, and what they give has no values or must not outlive the record."""
    if torch.compiler.is_compiling():
        return True
    if torch.jit.is_tracing():  # type: ignore[no-untyped-call, attr-defined]  # torch
        return True
    # torch has no public name for: make_fx is tracing, tensors are made without values
    return any(torch._C._get_dispatch_mode(key) is not None for key in _TRACING)


@contextmanager
def apart() -> Iterator[None]:
    """What is made here has values and outlives the mode of the caller: inference, or a program being recorded.

    There it is a constant.
    """
    # torch has no public name for: leave the modes that record operations, as torch.export does for its own constants
    with torch.inference_mode(False), _disable_current_modes() if is_tracing() else nullcontext():
        yield


def at_hand(*values: Tensor) -> bool:
    """Numbers that may be looked at and worked on in place: nothing compiles, exports, traces or transforms them."""
    if is_tracing():
        return False
    # torch has no public name for: a transform of torch.func is running, a dual level is open
    if torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0:
        return False
    return all(
        type(value) in (Tensor, nn.Parameter) and value.layout == torch.strided and value.device.type != "meta"
        for value in values
    )


_CONSTANTS: dict[tuple[object, torch.dtype, torch.device], Tensor] = {}


def constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of these numbers, copied to ``device`` once and then the same: never write to it."""
    if is_tracing():
        return torch.tensor(values, dtype=dtype, device=device)
    key = values, dtype, device
    if key not in _CONSTANTS:
        with apart():
            _CONSTANTS[key] = torch.tensor(values, dtype=dtype, device=device)
    return _CONSTANTS[key]


def may_ask(device: torch.device) -> bool:
    """Whether a question to ``device`` costs nothing: it is the CPU, nothing is traced, and nobody asked for ``quiet``.

    Where this is False, choose by masks: the same numbers, at the shapes of all rows.
    """
    return device.type == "cpu" and not is_tracing() and not _quiet.get()


@contextmanager
def quiet() -> Iterator[None]:
    """Within, no question is free: the CPU takes the way of a GPU."""
    before = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(before)


def one_hot(index: Tensor, count: int, like: Tensor) -> Tensor:
    """``[..., count]`` of the type of ``like``, zeros for an index out of range; torch's own asks for the largest."""
    return (index.unsqueeze(-1) == torch.arange(count, device=index.device)).to(like.dtype)
