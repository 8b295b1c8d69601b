"""Adapters against the real packages, each in an environment of its own, as their pins exclude each other.

What runs there is in ``programs/`` and ``examples/adapters/``; it fails where an assertion of its own does.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

import pytest

from gnncomm import environments
from gnncomm.errors import MissingExtraError, TrustError
from tests.frame.conftest import Environment, with_their_needs

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS, EXAMPLES = Path(__file__).parent / "programs", ROOT / "examples" / "adapters"
TORCH = next(
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line.startswith("torch==")
)
"""Said each time: pip would else move it to another build."""


def environment_with(folder: Path, *requirements: str) -> Environment:
    """A new environment with these packages, and with this checkout as it is here."""
    place = Environment(folder, with_their_needs(["gnncomm"], ()))
    (site,) = (folder / "venv").glob("[Ll]ib/**/site-packages")
    (site / "checkout.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    place.pip(TORCH, *requirements)
    return place


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["0.11.1", "0.14.1"])
def test_torchrl(version: str, tmp_path: Path) -> None:
    place = environment_with(tmp_path, f"torchrl=={version}")
    assert place.python(str(PROGRAMS / "with_torchrl.py")).splitlines()[-1] == version
    if version == "0.11.1":
        said = place.python("-W", "error::UserWarning", str(EXAMPLES / "torchrl_ppo.py")).splitlines()
        returns = [float(line.split()[3].rstrip(",")) for line in said if line.startswith("update")]
        assert returns[0] < 0.35, "who hears nothing is right in a quarter of the episodes"
        assert max(returns[-5:]) > 0.45, said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_vmas_and_benchmarl(tmp_path: Path) -> None:
    place = environment_with(tmp_path, "benchmarl==1.5.2", "vmas==1.5.2")
    assert place.python(str(PROGRAMS / "with_vmas.py")).splitlines()[-1] == "1.5.2"
    assert "messages" in place.python(str(EXAMPLES / "vmas_navigation.py")).splitlines()[-1]
    said = place.python(str(EXAMPLES / "benchmarl_layer.py")).splitlines()[-1]
    returns = [float(word) for word in said.partition("[")[2].rstrip("]").split(",")]
    assert returns[0] < 0.35, "who hears nothing is right in a quarter of the episodes"
    assert returns[-1] > 0.8, said


def test_vmas_without_the_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrustError, match="vmas:navigation"):
        environments.require_trust("vmas:navigation", {})
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gnncomm\[vmas\]'"):
        environments.make("vmas:navigation")


@pytest.mark.parametrize(("module", "name"), [("torchrl", "CommEnv"), ("benchmarl", "CommTask")])
def test_without_the_package_the_extra_is_named(module: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = importlib.import_module(f"gnncomm.integrations.{module}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=rf"{module}.*pip install 'gnncomm\[{module}\]'"):
        getattr(adapter, name)
    with pytest.raises(AttributeError, match="no attribute 'Comm'"):
        adapter.Comm  # noqa: B018  # asks


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_example_is_short(example: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) < 60
