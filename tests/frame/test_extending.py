"""docs/extending.md keeps its word: each part in under 30 lines, and what adding one costs the dummy package."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from gnncomm.registry import KINDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PLUGIN = ROOT / "tests" / "registry" / "plugin"


def lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def costs() -> dict[str, tuple[int, int, int]]:
    """Kind -> files of code, their lines, and lines of ``pyproject.toml``, as the package has them."""
    table = tomllib.loads((PLUGIN / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    found = {}
    for kind in KINDS.values():
        entry = next(iter(table[kind.group].values()))
        module, _, name = entry.partition(":")
        text = (PLUGIN / f"{module}.py").read_text(encoding="utf-8")
        found[kind.name] = (1, sum(map(lines, definitions(text, name))), 2)  # a heading, and a name in it
    return found


def definitions(text: str, name: str) -> list[str]:
    """The statements that make ``name`` at the top of a file, with decorators, or say something of it."""
    return [
        "\n".join(text.splitlines()[min([node.lineno, *(d.lineno for d in decorators)]) - 1 : node.end_lineno])
        for node in ast.parse(text).body
        for decorators in [getattr(node, "decorator_list", [])]
        if getattr(node, "name", None) == name
        or (isinstance(node, ast.Assign) and re.match(rf"{name}\b", ast.unparse(node.targets[0])))
    ]


def test_the_cost_of_each_kind_of_part() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \|$", PAGE, re.M)
    assert {name: tuple(map(int, numbers)) for name, *numbers in rows} == costs()
    assert max(code for _, code, _ in costs().values()) < 30


def test_what_the_counter_counts() -> None:
    text = "import x\n\n@x\n@y(\n  1)\nclass A:\n    a = 1\n\n    b = 2\n\nA.c = 3\nAb = 4\n"
    assert [lines(part) for part in definitions(text, "A")] == [6, 1]


def test_each_part_of_the_page_is_short() -> None:
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.S | re.M))
    short = (
        "Layer",
        "Topology",
        "Scheduler",
        "Codec",
        "Channel",
        "Environment",
        "Encoder, memory and critic",
        "Learner",
        "Logger",
        "Method and curriculum",
    )
    for title in short:
        code = "".join(re.findall(r"^```python\n(.*?)^```$", sections[title], re.S | re.M))
        classes = [ast.unparse(node) for node in ast.parse(code).body if isinstance(node, ast.ClassDef)]
        assert classes, title
        assert max(map(lines, classes)) < 30, title
