"""A second device on any machine: what would fail on a GPU fails here, on the CPU.

    with elsewhere() as device:
        env = envs.make("predator_prey", device=device)
        env.reset(seed=0)

Tensors of ``device`` compute on the CPU but say that they live elsewhere. As on CUDA, an operation refuses tensors of
two devices, but for a single number without axes from the CPU in an elementwise operation, and there are no matrix
products of integers. Stricter than CUDA: index tensors have to live where the indexed tensor does, since a copy makes
the GPU wait. ``.to``, ``.cpu``, ``.item``, ``.tolist`` and ``bool`` work as usual; ``.numpy`` does not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
"""The name that it goes by: the only one for which torch has all that it needs on every machine."""

_CROSSING = ("aten::_to_copy", "aten::copy_", "aten::_local_scalar_dense", "aten::set_.source_Tensor")
_WITH_NUMBERS = ("aten::masked_fill", "aten::masked_fill_", "aten::fill", "aten::fill_", "aten::index_put_")
_PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "dot", "vdot", "_int_mm")


class DeviceMixError(RuntimeError):
    """An operation that a GPU would refuse."""


class Elsewhere(Tensor):
    """A tensor of ``DEVICE``; ``held`` is where its numbers really are."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        made: Elsewhere = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=DEVICE, requires_grad=held.requires_grad
        )
        made.held = held
        return made

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Elsewhere({self.held!r})"

    def tolist(self) -> Any:
        """Torch refuses it for all subclasses."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Lets factories make tensors of ``DEVICE``, and judges operations on tensors of the CPU as well."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


@contextlib.contextmanager
def elsewhere() -> Iterator[torch.device]:
    """Within it there is a device that is not the CPU."""
    made = torch.tensor

    def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        """Torch gives no numbers to tensors of its meta device, and asks no mode about it."""
        return made(data, **options) if device is None else made(data, **options).to(device)

    with patch.object(torch, "tensor", tensor), _Mode():
        yield DEVICE


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """``func`` on the numbers that are held; results belong to the device that is named, or that of the arguments."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    ours = [leaf for leaf in tensors if isinstance(leaf, Elsewhere)]
    name = func._schema.name
    if name not in _CROSSING:
        _judge(func, name, tensors, len(ours))
    away = bool(ours) and not (name == "aten::copy_" and not isinstance(args[0], Elsewhere))
    if kwargs.get("device") is not None:
        away = torch.device(kwargs["device"]) == DEVICE
        kwargs = {**kwargs, "device": torch.device("cpu")}
        if name == "aten::_to_copy":
            kwargs["non_blocking"] = False
    inner_args, inner_kwargs = tree_map(lambda x: x.held if isinstance(x, Elsewhere) else x, (args, kwargs))
    result = func(*inner_args, **inner_kwargs)
    owner = {id(leaf.held): leaf for leaf in ours}  # of what was changed in place

    def belongs(value: Any) -> Any:
        if not isinstance(value, Tensor) or not away:
            return value
        return owner[id(value)] if id(value) in owner else Elsewhere(value)

    return tree_map(belongs, result)


def _judge(func: Any, name: str, tensors: list[Tensor], ours: int) -> None:
    short = name.removeprefix("aten::")
    if short in _PRODUCTS and any(not x.is_floating_point() and not x.is_complex() for x in tensors):
        raise DeviceMixError(f"{name} of {[x.dtype for x in tensors]}: CUDA has no matrix products of integers")
    if not ours or ours == len(tensors):
        return
    numbers = torch.Tag.pointwise in func.tags or name in _WITH_NUMBERS
    strangers = [x for x in tensors if not isinstance(x, Elsewhere) and not (numbers and x.dim() == 0)]
    if strangers:
        shapes = [f"{list(x.shape)} on {x.device.type}" for x in tensors]
        raise DeviceMixError(f"{name} of tensors on two devices: {', '.join(shapes)}")
