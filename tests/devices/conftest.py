"""``elsewhere`` for the tests of this folder, see ``mode.py``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch


def _mode() -> ModuleType:
    """Tests are imported one by one and know no package of tests."""
    name = "gnncomm_tests_device_mode"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("mode.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def mixed() -> type[Exception]:
    """What is raised where devices are mixed."""
    error: type[Exception] = _mode().DeviceMixError
    return error


@pytest.fixture
def device() -> object:
    """A device that is not the CPU, for the length of a test."""
    with _mode().elsewhere() as other:
        assert isinstance(other, torch.device)
        yield other
