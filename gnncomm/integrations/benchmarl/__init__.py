"""BenchMARL both ways: any layer, topology and wire as its model, our environments as its tasks.

    from gnncomm.integrations.benchmarl import CommModelConfig, CommTask

Needs the extra ``gnncomm[benchmarl]``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gnncomm.errors import require_extra

if TYPE_CHECKING:
    from gnncomm.integrations.benchmarl.model import CommModelConfig
    from gnncomm.integrations.benchmarl.task import CommTask

__all__ = ["CommModelConfig", "CommTask"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_extra("benchmarl", "benchmarl")
    return getattr(importlib.import_module(f"{__name__}.{'task' if name == 'CommTask' else 'model'}"), name)
