"""A second name for a package and for every module in it: ``envs``, in a checkout, for ``gnncomm.envs``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType


def alias(name: str, target: str) -> None:
    """From now on ``import name.x`` gives the very module ``target.x``; to be called while ``name`` is imported."""
    sys.meta_path.insert(0, _Alias(name, target))
    sys.modules[name] = importlib.import_module(target)


class _Alias(MetaPathFinder, Loader):
    def __init__(self, name: str, target: str) -> None:
        self.name, self.target = name, target

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return spec_from_loader(fullname, self) if fullname.startswith(f"{self.name}.") else None

    def exec_module(self, module: ModuleType) -> None:
        """The import system takes what stands in ``sys.modules`` afterwards."""
        name = module.__name__
        sys.modules[name] = importlib.import_module(self.target + name.removeprefix(self.name))
