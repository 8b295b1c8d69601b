"""Makes the files beside the tests known as modules, and ``mode.elsewhere`` a fixture."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch


def beside(name: str) -> ModuleType:
    """The file ``name.py`` of this folder, as ``device_name``: tests are imported one by one and know no package."""
    known = f"device_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[known] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[known])
    return sys.modules[known]


beside("parts")
beside("tape")
mode = beside("mode")


@pytest.fixture
def mixed() -> type[Exception]:
    """What is raised where devices are mixed."""
    error: type[Exception] = mode.DeviceMixError
    return error


@pytest.fixture
def device() -> object:
    """A device that is not the CPU, for the length of a test."""
    with mode.elsewhere() as other:
        assert isinstance(other, torch.device)
        yield other
