"""Grid environments as batched tensor programs.

``envs.make("predator_prey", num_envs=64)`` builds one by name, ``envs.names()`` lists them, and
``envs.MultiAgentEnv`` is the small single-environment interface. Importing this package loads nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs.base import Flags, GridEnv
    from envs.note import MultiAgentEnv
    from gnncomm.environments import make, names, recipe

__all__ = ["Flags", "GridEnv", "MultiAgentEnv", "make", "names", "recipe"]

_HOME = {
    "Flags": "envs.base",
    "GridEnv": "envs.base",
    "MultiAgentEnv": "envs.note",
    "make": "gnncomm.environments",
    "names": "gnncomm.environments",
    "recipe": "gnncomm.environments",
}


def __getattr__(name: str) -> Any:
    if name == "pettingzoo":
        return importlib.import_module("envs.pettingzoo")
    if name not in _HOME:
        raise AttributeError(f"module 'envs' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
