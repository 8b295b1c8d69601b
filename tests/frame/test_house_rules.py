"""Rules of the house that a syntax tree can show."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ATTICS = {"utils", "util", "common", "helpers", "helper", "misc"}
UNPICKLERS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
THIRD_PARTY = {"torch", "torch_geometric", "numpy", "networkx", "safetensors", "tyro", "rich"}
OPTIONAL = {
    "optuna",
    "sqlalchemy",
    "matplotlib",
    "PIL",
    "imageio_ffmpeg",
    "yaml",
    "tensorboard",
    "wandb",
    "mlflow",
    "pettingzoo",
    "gymnasium",
    "jaxtyping",
    "torchrl",
    "tensordict",
    "vmas",
    "benchmarl",
}
FILES = sorted(path for package in ("gnncomm", "envs") for path in (ROOT / package).rglob("*.py"))


def smells(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            taken = [alias.name for alias in node.names]
            if {name.partition(".")[0] for name in names} & UNPICKLERS:
                yield f"line {node.lineno}: a module that unpickles"
            if names == ["torch"] and isinstance(node, ast.ImportFrom) and "load" in taken:
                yield f"line {node.lineno}: torch.load"
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called == "print":
                yield f"line {node.lineno}: print"
            if called in ("torch.load", "torch.save"):
                yield f"line {node.lineno}: {called} (safetensors never unpickle)"
            if any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in node.keywords):
                yield f"line {node.lineno}: allow_pickle"
        elif isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type is not None else "everything"
            reraised = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            if caught in ("everything", "Exception") or ("BaseException" in caught and not reraised):
                yield f"line {node.lineno}: except {caught}"


def test_no_smells() -> None:
    found = {path: list(smells(ast.parse(path.read_text(encoding="utf-8")))) for path in FILES}
    assert not {str(path.relative_to(ROOT)): smelt for path, smelt in found.items() if smelt}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "def f():\n    from cloudpickle import dumps",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "import numpy\nnumpy.load('x', allow_pickle=True)",
        "print('x')",
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept:\n    raise",
        "try:\n    f()\nexcept BaseException:\n    g()",
    ],
)
def test_planted_smell_is_found(text: str) -> None:
    assert list(smells(ast.parse(text)))


def test_honest_code_has_no_smell() -> None:
    text = "try:\n    f()\nexcept ValueError:\n    pass\nexcept BaseException:\n    g()\n    raise\nconsole.print('x')"
    assert not list(smells(ast.parse(text)))


def test_no_attic() -> None:
    assert not [path for path in FILES if ATTICS & set(path.relative_to(ROOT).with_suffix("").parts)]


def test_only_declared_dependencies() -> None:
    declared = THIRD_PARTY | OPTIONAL | sys.stdlib_module_names | {"gnncomm", "envs", "_typeshed"}
    for path in FILES:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
        assert not {name.partition(".")[0] for name in names} - declared, path


def test_the_package_is_marked_as_typed() -> None:
    assert (ROOT / "gnncomm/py.typed").is_file()
