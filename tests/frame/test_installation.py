"""What an installation brings under which name: ``gnncomm``, and ``gnncomm.envs`` in it; ``envs`` stays the user's."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TINY = [
    "--num-envs",
    "8",
    "--rollout",
    "4",
    "--hidden",
    "8",
    "--learner.minibatches",
    "2",
    "--steps",
    "64",
    "--episodes",
    "0",
]
MINE = "import envs, envs.mine; print(envs.mine.WHOSE)"
THEIRS = "import gnncomm, gnncomm.envs.relay as r; print(r.Relay.__module__, gnncomm.default_config('relay').env.id)"


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def wheel_of_another(folder: Path) -> Path:
    """A package of somebody else that is called ``envs``."""
    files = {
        "envs/__init__.py": "",
        "envs/mine.py": "WHOSE = 'installed'",
        "envs-9.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: envs\nVersion: 9.0\n",
        "envs-9.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / "envs-9.0-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr("envs-9.0.dist-info/RECORD", "".join(f"{name},,\n" for name in files))
    return folder / "envs-9.0-py3-none-any.whl"


def released(place: Any, folder: Path) -> Path:
    """The wheel, made from the archive of sources that is made of this checkout; both as an index accepts them."""
    place.pip("build", "twine", "hatchling")
    place.python("-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    (archive,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    place.python("-m", "twine", "check", "--strict", str(archive), str(wheel))
    with tarfile.open(archive) as sources:
        inside = {name.partition("/")[2] for name in sources.getnames()}
    assert {"LICENSE", "CHANGELOG.md", "CITATION.cff", "constraints.txt", "docs/conf.py", "envs/relay.py"} <= inside
    assert {name.partition("/")[0] for name in inside}.isdisjoint({"runs", "dist", ".venv", ".venv-dev", ".git"})
    return wheel


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", ["wheel", "editable"])
def test_the_name_envs_stays_the_users(way: str, tmp_path: Path, fresh_environment: Any) -> None:
    place = fresh_environment(linked=[Requirement(text).name for text in PROJECT["dependencies"]])
    if way == "editable":
        place.pip("editables")
        place.pip("--no-deps", "-e", str(ROOT))
    else:
        place.pip("--no-deps", "--no-index", str(released(place, tmp_path / "dist")))
    seen = "import importlib.util as u; print([n for n in ('envs', 'tests', 'docs', 'examples') if u.find_spec(n)])"
    assert place.python("-c", seen) == "[]"

    projects = {
        "a package": write(tmp_path / "a", {"envs/__init__.py": "", "envs/mine.py": "WHOSE = 'own'", "main.py": MINE}),
        "a folder without __init__": write(tmp_path / "b", {"envs/mine.py": "WHOSE = 'own'", "main.py": MINE}),
    }
    for name, folder in projects.items():
        assert place.python("main.py", folder=folder) == "own", name
        assert place.python("-c", f"{MINE}; {THEIRS}", folder=folder) == "own\ngnncomm.envs.relay relay", name
        assert place.python("-c", f"{THEIRS}; {MINE}", folder=folder) == "gnncomm.envs.relay relay\nown", name
        place.gnncomm("train", "relay", *TINY, "--out", "run", folder=folder)
        place.gnncomm("replay", "./run", "--html", "page.html", folder=folder)  # needs no matplotlib

    place.pip("--no-deps", "--no-index", str(wheel_of_another(tmp_path)))
    assert place.python("-c", f"{MINE}; {THEIRS}") == "installed\ngnncomm.envs.relay relay"
    assert "predator_prey" in place.gnncomm("list")
    assert "IC3Net" in place.gnncomm("bench", "parity", "--json", "parity.json", folder=projects["a package"])
    rows = json.loads((projects["a package"] / "parity.json").read_text(encoding="utf-8"))["parity"]
    assert len(rows) == 17
    assert all(row["difference"] <= row["tolerance"] for row in rows)


def test_in_a_checkout_envs_is_another_name_of_the_same_modules(tmp_path: Path) -> None:
    """Whichever name comes first, and nothing is loaded twice: ``isinstance`` would see two of each."""
    program = f"""
import importlib, pkgutil, sys
sys.path.insert(0, {str(ROOT)!r})
first, second = sys.argv[1:]
one = importlib.import_module(first)
for found in pkgutil.walk_packages(importlib.import_module("gnncomm.envs").__path__, "."):
    if found.name != ".pettingzoo":
        one, other = (importlib.import_module(name + found.name) for name in (first, second))
        assert one is other, found.name
        assert one.__name__ == one.__spec__.name == "gnncomm.envs" + found.name, found.name
import envs, gnncomm
from envs.relay import Relay
assert envs is gnncomm.envs is sys.modules["gnncomm.envs"] is sys.modules["envs"]
assert Relay is gnncomm.envs.relay.Relay and Relay.__module__ == "gnncomm.envs.relay"
"""
    for names in (("envs", "gnncomm.envs"), ("gnncomm.envs", "envs")):
        done = subprocess.run([sys.executable, "-c", program, *names], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
