"""Grid environments as batched tensor programs.

``envs.make("predator_prey", num_envs=64)`` builds one by name, ``envs.names()`` lists them, and
``envs.MultiAgentEnv`` is the small single-environment interface. Importing this package loads nothing else.

The package is ``gnncomm.envs``, also in a checkout, where its place is the folder ``envs`` (gnncomm/envs.py).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnncomm.environments import make, names

    from .frame.base import Flags, GridEnv
    from .frame.note import MultiAgentEnv

__all__ = ["Flags", "GridEnv", "MultiAgentEnv", "make", "names"]

_HOME = {
    "Flags": ".frame.base",
    "GridEnv": ".frame.base",
    "MultiAgentEnv": ".frame.note",
    "make": "gnncomm.environments",
    "names": "gnncomm.environments",
}


def __getattr__(name: str) -> Any:
    if name == "pettingzoo":
        return importlib.import_module(".pettingzoo", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))


if __name__ == "envs":  # a checkout's root is on the path: a second name, and no second copy
    importlib.import_module("gnncomm.envs.alias").alias(__name__, "gnncomm.envs")
