"""When a fast form may stand for the hooks of a layer: only where it is certain to say the same."""

from __future__ import annotations

from torch import nn
from torch.nn.modules import module as torch_modules
from torch_geometric.nn import MessagePassing

_HOOKS_OF_PYG = ("message", "aggregate", "update", "edge_update", "message_and_aggregate")
_LATER = {"_made", "_written", "_checked"}.union(
    *({name, f"_orig_{name}", f"_jinja_{name}"} for name in ("propagate", "edge_updater")), {"collect", "edge_collect"}
)
"""What comes to a class with its first instance: ours, and what PyG writes for it."""
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_CALLED_AROUND = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_CALLED_AROUND_ALL = tuple(f"_global{name}" for name in _CALLED_AROUND)


def speaks_for(layer: MessagePassing, form: str) -> bool:
    """Whether the fast form ``form`` (the name of a method) says what the hooks of ``layer`` say.

    It does for the class in whose body it is named, not for those below, and while the layer is as it was made.
    """
    return form in vars(type(layer)) and is_as_made(layer)


def is_as_made(layer: MessagePassing) -> bool:
    """Nothing of its class is replaced, on the instance or on a class, and PyG's ways to change a layer (hooks,
    ``explain``, ``flow``, ``node_dim``, ``decomposed_layers``) are not used; ``aggr_module`` is looked at elsewhere."""
    cls = type(layer)
    if layer.explain or layer.decomposed_layers != 1:
        return False
    if layer.flow != "source_to_target" or layer.node_dim not in (0, -2):
        return False
    names, hooks = cls._written
    if not names.isdisjoint(vars(layer)) or any(getattr(layer, name) for name in hooks):
        return False
    return all(getattr(cls, name) is value for name, value in cls._made)


def record(cls: type[MessagePassing]) -> None:
    """When a class is made, or first seen: what stands under each of its names, so that a replacement is noticed."""
    below = cls.__mro__[: cls.__mro__.index(MessagePassing)]
    names = {name for each in below for name in vars(each) if not name.startswith("__")}
    names -= _LATER
    found = {name: getattr(cls, name) for name in (*names, *_HOOKS_OF_PYG)}
    # a class method is another object each time
    cls._made = tuple((name, value) for name, value in found.items() if getattr(cls, name) is value)


def remember(layer: MessagePassing) -> None:
    """Once for each class: its names, and where PyG keeps its hooks. Torch's are called around the whole layer."""
    cls = type(layer)
    if "_written" not in vars(cls):
        hooks = (name for name in vars(layer) if name.endswith("_hooks") and name not in _OF_EVERY_MODULE)
        cls._written = frozenset(dir(cls)) - {"edge_dim"}, tuple(hooks)  # a number that layers give themselves


def is_untouched(part: nn.Module, *kinds: type[nn.Module]) -> bool:
    """``part`` is exactly of one of these classes, and calling it runs the ``forward`` of its class and no hook."""
    if type(part) not in kinds or "forward" in vars(part):
        return False
    if any(getattr(part, name) for name in _CALLED_AROUND):
        return False
    return not any(getattr(torch_modules, name) for name in _CALLED_AROUND_ALL)
