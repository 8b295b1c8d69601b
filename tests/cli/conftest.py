"""A fault of gnncomm fails the tests of the commands with its traceback: the last net is theirs who type."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _faults_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gnncomm.cli.faults.UNEXPECTED", ())
    monkeypatch.delenv("GNNCOMM_DEBUG", raising=False)
