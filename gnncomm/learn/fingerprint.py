"""What data can say about an object that no name stands for: enough to know it again, and nothing to import it by."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import itertools
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set, Sized
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, TypeVar

from gnncomm.registry.arguments import made_by

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

_DEEPEST, _MOST = 4, 64
_TOLD = ("num_envs", "device", "observation", "total_updates")
"""What environments and learners are told each time; no part of what they are."""


@dataclass(frozen=True)
class Fingerprint:
    """A class, what its constructor was given (as far as it was kept or attributes tell), and its tensors.

    Of a module, its parts too, by their dotted names. The class has no module before it: a script and a notebook that
    load the same file give the same object. Nothing here is ever imported. Of a function its name, defaults and what it
    captured. What classes and functions do is told apart by ``code``, which refuses nothing: a comment or a better name
    must not take a run away from who wrote it. It does not see what their code calls in turn.
    """

    kind: str
    """``GatedSum(in_channels=64, out_channels=64)``."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Module within -> the same of it."""
    tensors: Mapping[str, str] = field(default_factory=dict)
    """Name -> shape and type: ``[64, 64] float32``."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Class or function of a user's -> digits of its text, without comments; nothing where the text is not at hand."""

    @staticmethod
    def of(thing: object) -> Fingerprint:
        """The fingerprint of a part of a training."""
        from torch import nn

        parts: dict[str, str] = {}
        tensors: dict[str, str] = {}
        if isinstance(thing, nn.Module):
            parts = {name: said(module) for name, module in thing.named_modules() if name}
            tensors = {name: _shape(value) for name, value in thing.state_dict().items()}
        return Fingerprint(said(thing), parts, tensors, _code(thing))

    def differences(self, other: Fingerprint) -> list[str]:
        """What ``other`` has otherwise, one line each: ``temperature: expected 0.5, got 0.1``."""
        mine, theirs = ({"": x.kind, **x.parts, **x.tensors} for x in (self, other))
        return [
            f"{name}: expected {mine.get(name, 'nothing')}, got {theirs.get(name, 'nothing')}".removeprefix(": ")
            for name in dict.fromkeys([*mine, *theirs])
            if mine.get(name) != theirs.get(name)
        ]

    def changed(self, other: Fingerprint) -> list[str]:
        """Classes and functions whose text is another one in ``other``."""
        return [name for name, digits in self.code.items() if other.code.get(name, digits) != digits]

    def __str__(self) -> str:
        return self.kind


_OURS = ("builtins", "gnncomm", "torch", "torch_geometric", "numpy", "abc", "typing", "functools", "collections")
"""Packages whose texts say nothing of a user's: they have versions."""


def _code(thing: object) -> dict[str, str]:
    """The digits of all classes and functions of a user's that take part, as far as they can be found."""
    from torch import nn  # as above

    if isinstance(thing, nn.Module):
        within: list[Any] = list(thing.modules())
    else:
        within = list(thing) if isinstance(thing, (tuple, list)) else [thing]
    found: dict[str, Any] = {}
    for one in within:
        one = one.func if isinstance(one, functools.partial) else one
        for maker in (one,) if isinstance(one, FunctionType) else type(one).__mro__:
            if maker.__module__.partition(".")[0] not in _OURS:
                found[maker.__qualname__] = maker
    return {name: digits for name, maker in sorted(found.items()) if (digits := _digits(maker))}


def _digits(maker: Any) -> str:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(maker)))
    except (OSError, TypeError, SyntaxError):  # of a console, or within an expression
        return ""
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:8]


def said(thing: object, depth: int = 0) -> str:
    """``Class(parameter=value, ...)``, of the constructor's parameters that are attributes; or a plain value."""
    import numpy as np
    from torch import Tensor

    if isinstance(thing, Enum):
        return repr(thing.value)
    if thing is None or isinstance(thing, (bool, int, float, str)):
        return repr(thing)
    if isinstance(thing, Tensor):
        return _shape(thing)
    if isinstance(thing, np.ndarray):
        mark = "" if thing.dtype.hasobject else f" #{hashlib.sha256(thing.tobytes()).hexdigest()[:8]}"
        return f"{list(thing.shape)} {thing.dtype}{mark}"
    if isinstance(thing, type) or (inspect.isroutine(thing) and not isinstance(thing, (FunctionType, MethodType))):
        return thing.__qualname__
    if depth >= _DEEPEST:
        return type(thing).__qualname__
    if isinstance(thing, MethodType):
        return f"{said(thing.__self__, depth + 1)}.{thing.__name__}"
    if isinstance(thing, Mapping):
        return "{" + _listed([f"{key}: {said(value, depth + 1)}" for key, value in _first(thing.items())], thing) + "}"
    if isinstance(thing, Sequence):
        return "[" + _listed([said(value, depth + 1) for value in _first(thing)], thing) + "]"
    if isinstance(thing, Set):
        return "{" + _listed(sorted(said(value, depth + 1) for value in thing)[:_MOST], thing) + "}"
    inner = ", ".join(f"{name}={said(value, depth + 1)}" for name, value in _values(thing).items())
    if isinstance(thing, FunctionType):
        return f"{thing.__qualname__}({inner})" if inner else thing.__qualname__
    return f"{type(thing).__qualname__}({inner})"


def _first(values: Iterable[T]) -> Iterator[T]:
    return itertools.islice(values, _MOST)


def _listed(texts: list[str], whole: Sized) -> str:
    return ", ".join([*texts, f"... {len(whole):,} in all"] if len(whole) > _MOST else texts)


def _values(thing: object) -> dict[str, Any]:
    from torch import Tensor, nn

    if isinstance(thing, functools.partial):
        numbered = {str(number): value for number, value in enumerate(thing.args)}
        return {"func": thing.func, **numbered, **thing.keywords}
    if isinstance(thing, FunctionType):
        parameters = inspect.signature(thing).parameters
        defaults = {name: item.default for name, item in parameters.items() if item.default is not item.empty}
        return {**inspect.getclosurevars(thing).nonlocals, **defaults}
    if is_dataclass(thing):
        return {item.name: getattr(thing, item.name) for item in fields(thing) if item.init}
    if (made := made_by(thing)) is not None and made[0] is type(thing):
        bound = inspect.signature(type(thing)).bind(*made[1], **made[2])
        bound.apply_defaults()
        named = {name: value for name, value in bound.arguments.items() if not _is_rest(bound, name) or value}
        return {name: value for name, value in named.items() if not isinstance(value, (nn.Module, Tensor))}
    try:
        known = [name for name in inspect.signature(type(thing)).parameters if name not in _TOLD]
    except ValueError:  # of types written in C
        return {}
    held = {name: vars(thing)[name] for name in known if name in getattr(thing, "__dict__", {})}
    if not isinstance(thing, nn.Module):  # whose tensors have a place of their own
        return held
    return {name: value for name, value in held.items() if not isinstance(value, (nn.Module, Tensor))}


def _is_rest(bound: inspect.BoundArguments, name: str) -> bool:
    """Whether ``name`` is that of ``*args`` or ``**kwargs``."""
    kind = bound.signature.parameters[name].kind
    return kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _shape(value: Tensor) -> str:
    return f"{list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
