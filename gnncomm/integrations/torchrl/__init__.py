"""TorchRL both ways: our environments as its ``EnvBase``, our layers and policies as its TensorDictModules.

    from gnncomm.integrations.torchrl import CommEnv, CommModule, actor, critic

Needs the extra ``gnncomm[torchrl]``; works with torchrl 0.11 and 0.14.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gnncomm.errors import require_extra

if TYPE_CHECKING:
    from gnncomm.integrations.torchrl.env import CommEnv
    from gnncomm.integrations.torchrl.layer import CommModule
    from gnncomm.integrations.torchrl.policy import ActionDistribution, PolicyModule, actor, critic

__all__ = ["ActionDistribution", "CommEnv", "CommModule", "PolicyModule", "actor", "critic"]

_HOME = {"CommEnv": "env", "CommModule": "layer"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_extra("torchrl", "torchrl")
    return getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'policy')}"), name)
