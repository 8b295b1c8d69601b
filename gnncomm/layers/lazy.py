"""Layers whose width is that of the first rows they see: ``in_channels=-1``, as in PyG."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from gnncomm.errors import ConfigError

_NAMES = "in_channels", "channels"
_WIDTHS = 5040, 10080
"""Any number of heads divides them. Layers of these widths are described, on the device meta, never made."""
_KEPT = "_parameters", "_modules", "training", "_unsettled"


def lazily(start: Callable[..., None]) -> Callable[..., None]:
    """``__init__`` of a layer, which only describes the layer where its first argument, the width, is -1."""
    name = next(iter(list(inspect.signature(start).parameters)[1:]), "")
    if name not in _NAMES:
        return start

    @functools.wraps(start)
    def init(layer: Any, *args: Any, **settings: Any) -> None:
        bound = inspect.signature(start).bind(layer, *args, **settings)
        given = bound.arguments
        if isinstance(pair := given.get(name), tuple):
            if len(set(pair)) != 1:
                raise ConfigError(f"{name}: expected one width, as a pair of rows has, got {pair}. Map one of them.")
            given[name] = pair[0]
        if given.get(name) == -1:
            _describe(layer, name, dict(list(given.items())[1:]))
        else:
            start(*bound.args, **bound.kwargs)

    return init


def _of_width(layer: Any, width: int) -> nn.Module:
    name, settings = layer._unsettled
    made: nn.Module = type(layer)(**{**settings, name: width})
    return made


def _describe(layer: Any, name: str, settings: dict[str, Any]) -> None:
    with torch.device("meta"):
        described = type(layer)(**{**settings, name: _WIDTHS[0]})
    vars(layer).update({key: value for key, value in vars(described).items() if key != "_made_by"})
    layer._unsettled = name, settings
    for module in layer.modules():
        for key, value in module._parameters.items():
            if value is not None:
                module._parameters[key] = UninitializedParameter(value.requires_grad)
    for name in ("in_channels", "out_channels"):
        if getattr(layer, name) == _WIDTHS[0]:
            setattr(layer, name, -1)


def settle(layer: Any, width: int) -> None:
    """Make the parts of a layer that was only described. Parameters stay the same objects: optimisers hold them."""
    made = _of_width(layer, width).train(layer.training)
    for mine, new in zip(layer.modules(), made.modules(), strict=True):
        vars(mine).update({key: value for key, value in vars(new).items() if key not in _KEPT and "hooks" not in key})
        for key, value in new._parameters.items():
            held: object = mine._parameters[key]
            if isinstance(held, UninitializedParameter) and value is not None:
                held.materialize(value.shape)
                held.data.copy_(value.data)
    layer._unsettled = None


def width_of(layer: Any, state: Mapping[str, Tensor], prefix: str) -> int:
    """The width of the layer whose parameters these are: each size of one grows with it in proportion.

    Raises:
        ConfigError: no parameter tells.
    """
    with torch.device("meta"):
        narrow, wide = (dict(_of_width(layer, width).named_parameters()) for width in _WIDTHS)
    for key in narrow:
        if prefix + key not in state:
            continue
        for low, high, size in zip(narrow[key].shape, wide[key].shape, state[prefix + key].shape, strict=False):
            if low != high:
                return _WIDTHS[0] + (size - low) * (_WIDTHS[1] - _WIDTHS[0]) // (high - low)
    raise ConfigError(
        f"{type(layer).__name__} has no width yet, and what is loaded does not tell it: expected a state_dict of such "
        "a layer. Call the layer once before, or give in_channels."
    )
