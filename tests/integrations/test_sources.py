"""What makes a foreign environment is looked at before it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gnncomm import envs
from gnncomm.errors import ConfigError
from gnncomm.integrations.form import Task
from gnncomm.integrations.sources import SettingError, build, function

COMMAND = {"command": "echo > called"}


def task(source: str, kind: Any = "pettingzoo", **settings: Any) -> Task:
    return Task(kind, source, settings, 0, 1, None, None, True, False, False)


@pytest.mark.parametrize(
    ("source", "settings"),
    [
        ("os:system", COMMAND),
        ("os:removedirs", {"name": "folder"}),
        ("subprocess:Popen", {"args": "echo > called", "shell": True}),
        ("subprocess:run", {"args": "echo > called", "shell": True}),
        ("shutil:rmtree", {"path": "folder"}),
        ("builtins:exec", {}),
        ("pathlib:Path.unlink", {}),
        ("numpy:load", {"file": "evil.npy", "allow_pickle": True}),
        ("functools:partial", {}),
        ("strange_envs:os.system", COMMAND),
        ("strange_envs:touch", COMMAND),
        ("strange_envs:touch_as_any", COMMAND),
        ("strange_envs:Callable_env", {}),
        ("strange_envs:Toy.close", {}),
    ],
)
def test_nothing_is_called_but_what_makes_an_environment(
    source: str, settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingError, match=r"It was not called\."):
        build(task(source, **settings))
    assert os.listdir() == ["folder"]


@pytest.mark.parametrize("source", ["strange_envs", "strange_envs:Toy", "strange_envs:unbounded", "strange_envs:toy"])
def test_what_makes_one_is_called(source: str) -> None:
    assert type(build(task(source))).__name__ == "Toy"


@pytest.mark.parametrize(
    "source", ["os:system", "subprocess:run", "builtins:exec", "strange_envs:os.system", "os:walk"]
)
def test_positions_come_from_a_function_of_the_package(source: str) -> None:
    with pytest.raises(SettingError, match="expected a function of the package"):
        function(source)
    assert function("strange_envs:where").__name__ == "where"


@pytest.mark.parametrize("module", ["", ".", "..strange_envs", "os;x", "a b:c", "os:", "no_such_module", "\0"])
@pytest.mark.parametrize("kind", ["pettingzoo", "gymnasium"])
def test_names_that_are_none(kind: str, module: str) -> None:
    with pytest.raises(SettingError):
        build(task(module, kind))


def test_a_registered_name_of_gymnasium_is_looked_at_too() -> None:
    import gymnasium

    gymnasium.register("Evil-v0", os.system)  # type: ignore[arg-type]
    gymnasium.register("Evil-v1", "os:system")
    for name in ("Evil-v0", "Evil-v1"):
        with pytest.raises(SettingError, match="Not called"):
            build(task(name, "gymnasium", command="echo > called"))
        del gymnasium.registry[name]


def test_a_module_in_the_current_folder(tmp_path: Path) -> None:
    """Which ``python -m`` and scripts see, and the installed command does not."""
    (tmp_path / "mygame.py").write_text("from pettingzoo import ParallelEnv\nclass Guess(ParallelEnv): pass\n")
    code = "import sys; sys.path = [p for p in sys.path if p]; "
    code += "from gnncomm import envs; envs.make('pettingzoo:mygame:Guess')"
    said = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (
        "mygame lies in the current folder, which is not searched: begin the command with PYTHONPATH=. ." in said.stderr
    )


def test_the_error_comes_from_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="not called"):
        envs.make("pettingzoo:os:system", command="echo > called")
    assert os.listdir() == []
