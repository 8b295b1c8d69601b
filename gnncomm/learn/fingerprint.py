"""What data can say about an object that no name stands for: enough to know it again, and nothing to import it by."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any

from torch import Tensor, nn

from gnncomm.registry.arguments import made_by

_DEEPEST = 4
_TOLD = ("num_envs", "device", "observation", "total_updates")
"""What environments and learners are told each time; no part of what they are."""


@dataclass(frozen=True)
class Fingerprint:
    """A class, what its constructor was given (as far as it was kept or attributes tell), and its tensors.

    Of a module, its parts too, by their dotted names. The class has no module before it: a script and a notebook that
    load the same file give the same object. Nothing here is ever imported.
    """

    kind: str
    """``GatedSum(in_channels=64, out_channels=64)``."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Module within -> the same of it."""
    tensors: Mapping[str, str] = field(default_factory=dict)
    """Name -> shape and type: ``[64, 64] float32``."""

    @staticmethod
    def of(thing: object) -> Fingerprint:
        """The fingerprint of a part of a training."""
        parts: dict[str, str] = {}
        tensors: dict[str, str] = {}
        if isinstance(thing, nn.Module):
            parts = {name: said(module) for name, module in thing.named_modules() if name}
            tensors = {name: _shape(value) for name, value in thing.state_dict().items()}
        return Fingerprint(said(thing), parts, tensors)

    def differences(self, other: Fingerprint) -> list[str]:
        """What ``other`` has otherwise, one line each: ``temperature: expected 0.5, got 0.1``."""
        mine, theirs = ({"": x.kind, **x.parts, **x.tensors} for x in (self, other))
        return [
            f"{name}: expected {mine.get(name, 'nothing')}, got {theirs.get(name, 'nothing')}".removeprefix(": ")
            for name in dict.fromkeys([*mine, *theirs])
            if mine.get(name) != theirs.get(name)
        ]

    def __str__(self) -> str:
        return self.kind


def said(thing: object, depth: int = 0) -> str:
    """``Class(parameter=value, ...)``, of the constructor's parameters that are attributes; or a plain value."""
    if isinstance(thing, Enum):
        return repr(thing.value)
    if thing is None or isinstance(thing, (bool, int, float, str)):
        return repr(thing)
    if isinstance(thing, Tensor):
        return _shape(thing)
    if inspect.isroutine(thing) or isinstance(thing, type):
        return thing.__qualname__
    if depth >= _DEEPEST:
        return type(thing).__qualname__
    if isinstance(thing, Mapping):
        return "{" + ", ".join(f"{key}: {said(value, depth + 1)}" for key, value in thing.items()) + "}"
    if isinstance(thing, Sequence):
        return "[" + ", ".join(said(value, depth + 1) for value in thing) + "]"
    inner = ", ".join(f"{name}={said(value, depth + 1)}" for name, value in _values(thing).items())
    return f"{type(thing).__qualname__}({inner})"


def _values(thing: object) -> dict[str, Any]:
    if is_dataclass(thing):
        return {item.name: getattr(thing, item.name) for item in fields(thing) if item.init}
    if (made := made_by(thing)) is not None and made[0] is type(thing):
        bound = inspect.signature(type(thing)).bind(*made[1], **made[2])
        bound.apply_defaults()
        named = {name: value for name, value in bound.arguments.items() if not _is_rest(bound, name) or value}
        return {name: value for name, value in named.items() if not isinstance(value, (nn.Module, Tensor))}
    known = [name for name in inspect.signature(type(thing)).parameters if name not in _TOLD]
    held = {name: vars(thing)[name] for name in known if name in getattr(thing, "__dict__", {})}
    return {name: value for name, value in held.items() if not isinstance(value, (nn.Module, Tensor))}


def _is_rest(bound: inspect.BoundArguments, name: str) -> bool:
    """Whether ``name`` is that of ``*args`` or ``**kwargs``."""
    kind = bound.signature.parameters[name].kind
    return kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _shape(value: Tensor) -> str:
    return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
