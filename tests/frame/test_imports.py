"""Who may import whom (docs/architecture.md, "Rooms"), read off the syntax trees.

Imports inside functions and under ``TYPE_CHECKING`` count like any other.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parents[2]
RANKS = (
    ("errors", "host", "shapes", "deprecated"),
    ("gradients", "random", "types", "checks", "config"),
    ("graph", "registry", "environments"),
    ("topology", "schedule", "codec", "channel"),
    ("wire",),
    ("layers",),
    ("policy",),
    ("learn",),
    ("methods", "recipes"),
    ("evaluation", "recording", "store", "deploy"),
    ("probe", "saved", "run", "seeds", "multiagent"),
    ("integrations", "testing", "bench", "compare", "sweep"),
    ("cli",),
    ("__main__",),
)
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}
STRANGERS = frozenset({"topology", "schedule", "codec", "channel"})
OPEN_TO_ENVS = frozenset({"errors", "host", "checks", "types", "random", "shapes", "environments"})


def module_name(path: Path) -> tuple[str, bool]:
    parts = path.with_suffix("").parts
    return (".".join(parts[:-1]), True) if parts[-1] == "__init__" else (".".join(parts), False)


def imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of all that is imported, ``from a import b`` as ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                package = parts[: len(parts) - node.level + is_package]
                base = ".".join([*package, *filter(None, [node.module])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (
                (node.lineno, f"{argument.value.lstrip('.')}.*")
                for argument in node.args[:1]
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            )


def complaint(module: str, target: str) -> str | None:
    """Why ``module`` may not import ``target``, or None."""
    own, room = [*module.split("."), ""][:2]
    other, other_room = [*target.split("."), ""][:2]
    if own == "envs":
        closed = other == "gnncomm" and other_room not in OPEN_TO_ENVS | {"envs"}
        return f"envs may import only gnncomm.{{{', '.join(sorted(OPEN_TO_ENVS))}}}" if closed else None
    if module == "gnncomm.envs" and other == "envs":
        return None  # the two names of one package, in a checkout
    if other == "envs" or (own == other == "gnncomm" and room and other_room == "envs"):
        return "gnncomm never imports envs: go through the entry points"
    if own != "gnncomm" or other != "gnncomm" or not room or room == other_room or other_room == "__version__":
        return None
    if other_room not in RANK:
        return "not a room: import from the module that defines the name"
    if room not in RANK:
        return f"the room {room!r} has no rank yet: give it a place in RANKS"
    if RANK[other_room] > RANK[room]:
        return f"{other_room} stands above {room}"
    return (
        f"{room} and {other_room} are siblings that do not know each other" if {room, other_room} <= STRANGERS else None
    )


def violations(root: Path) -> list[str]:
    found = []
    rooms = nx.DiGraph()
    for path in sources(root):
        module, is_package = module_name(path.relative_to(root))
        for line, target in imported(ast.parse(path.read_text(encoding="utf-8")), module, is_package):
            why = complaint(module, target)
            if why is not None:
                found.append(f"{path.relative_to(root)}:{line}: {module} imports {target}: {why}")
            if module.startswith("gnncomm.") and target.startswith("gnncomm."):
                rooms.add_edge(module.split(".")[1], target.split(".")[1])
    rooms.remove_edges_from(list(nx.selfloop_edges(rooms)))
    return found + [f"rooms import each other in a circle: {' -> '.join(circle)}" for circle in nx.simple_cycles(rooms)]


def sources(root: Path) -> list[Path]:
    return sorted(path for package in ("gnncomm", "envs") for path in (root / package).rglob("*.py"))


def test_imports_point_one_way() -> None:
    assert not violations(ROOT)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("gnncomm/layers/a.py", "from gnncomm.learn import ppo", "learn stands above layers"),
        ("gnncomm/learn/a.py", "def f():\n    from gnncomm import store", "store stands above learn"),
        (
            "gnncomm/learn/b.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import gnncomm.cli",
            "cli stands",
        ),
        ("gnncomm/topology/a.py", "from gnncomm.channel import Loss", "siblings"),
        ("gnncomm/schedule/a/b.py", "from ...topology import Full", "siblings"),
        ("gnncomm/policy/__init__.py", "from ..evaluation import evaluate", "evaluation stands above policy"),
        ("gnncomm/methods/a.py", "from gnncomm.bench.reference import released", "bench stands above methods"),
        ("gnncomm/policy/a.py", "import gnncomm\nfrom gnncomm import PPO", "not a room"),
        ("gnncomm/cli/a.py", "def f():\n    import envs.relay", "never imports envs"),
        ("gnncomm/cli/b.py", "import importlib\nimportlib.import_module('envs')", "never imports envs"),
        ("gnncomm/__init__.py", "import envs", "never imports envs"),
        ("gnncomm/cli/c.py", "from gnncomm import envs", "never imports envs"),
        ("gnncomm/cli/d.py", "from gnncomm.envs.relay import Relay", "never imports envs"),
        ("gnncomm/attic.py", "from gnncomm.types import TimeStep", "no rank yet"),
        ("envs/a.py", "from gnncomm.graph import CommGraph", "envs may import only"),
        ("envs/b.py", "import gnncomm", "envs may import only"),
        ("envs/c.py", "from gnncomm.learn import TrainConfig", "envs may import only"),
    ],
)
def test_planted_violation_is_found(tmp_path: Path, file: str, text: str, words: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    assert any(words in line and file in line for line in violations(tmp_path)), violations(tmp_path)


def test_a_circle_of_rooms_is_found(tmp_path: Path) -> None:
    for room, other in (("store", "recording"), ("recording", "store")):
        path = tmp_path / "gnncomm" / room / "__init__.py"
        path.parent.mkdir(parents=True)
        path.write_text(f"from gnncomm.{other} import x", encoding="utf-8")
    assert any("circle" in line for line in violations(tmp_path))


def test_allowed_imports_pass(tmp_path: Path) -> None:
    allowed = {
        "gnncomm/cli/a.py": "import gnncomm.store\nfrom gnncomm import errors, __version__\nfrom . import b",
        "gnncomm/learn/a.py": "from ..policy import CommPolicy\nfrom .b import c",
        "envs/a.py": "from gnncomm.types import TimeStep\nfrom gnncomm import random\nfrom .b import c",
    }
    for file, text in allowed.items():
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert not violations(tmp_path)


def loaded_by(statement: str, packages: Iterable[str]) -> set[str]:
    """Which of ``packages`` are loaded after ``statement`` in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}} & {set(packages)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


def test_loading_is_seen() -> None:
    assert loaded_by("import networkx", {"torch", "networkx"}) == {"networkx"}


def test_gnncomm_is_cheap_to_import() -> None:
    assert not loaded_by(
        "import gnncomm", {"torch", "torch_geometric", "numpy", "networkx", "matplotlib", "tyro", "rich"}
    )


def test_envs_do_not_pay_for_torch_geometric() -> None:
    unwanted = {"torch_geometric", "networkx", "matplotlib", "pettingzoo", "gymnasium"}
    everything = "import gnncomm.envs, importlib, pkgutil\n" + (
        "for found in pkgutil.walk_packages(gnncomm.envs.__path__, 'gnncomm.envs.'):\n"
        "    if found.name != 'gnncomm.envs.pettingzoo': importlib.import_module(found.name)"
    )
    assert not loaded_by(everything, unwanted)


def test_every_room_is_an_attribute_and_stays_the_same(tmp_path: Path, python: Any) -> None:
    """Whatever was imported before; the verbs are functions and no rooms."""
    modules = (path.relative_to(ROOT).parts for path in sources(ROOT))
    rooms = {parts[1].removesuffix(".py") for parts in modules if parts[0] == "gnncomm"} - {"__init__", "__main__"}
    code = (
        "import importlib, sys, gnncomm\n"
        f"for room in {sorted(rooms)}:\n"
        "    first = getattr(gnncomm, room)\n"
        "    module = importlib.import_module('gnncomm.' + room)\n"
        "    if not (first is getattr(gnncomm, room) is module) or room not in dir(gnncomm): print(room)\n"
        "if gnncomm.evaluate is not gnncomm.evaluation.evaluate: print('evaluate')\n"
        "if gnncomm.record is not gnncomm.recording.record: print('record')\n"
        "print(*[name for name, one in sys.modules.items() if name.startswith('gnncomm') and callable(one)])\n"
    )
    done = python.run("-c", code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not done.stdout.strip()
