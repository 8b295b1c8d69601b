"""One thread per process (or ``OMP_NUM_THREADS``), fixed seeds, and array shapes checked while the tests run.

Every function of ``gnncomm`` and ``gnncomm.envs`` with a jaxtyping annotation is checked with beartype: arguments on
the way in, results on the way out. jaxtyping's import hook is not used for two reasons: beartype refuses ``Self`` in
methods that are decorated one by one, and a check before the call hides the library's own errors, which the tests for
bad input are about. Here a wrong argument must be refused by the library itself (``GnnCommError``); where it is not,
the violation surfaces.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for every subprocess a test starts

import ast
import contextlib
import functools
import gc
import importlib.abc
import importlib.machinery
import inspect
import json
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

PACKAGES = ("gnncomm",)
SHAPED = re.compile(r"\b(Bool|Float|Int)\[")
DECORATOR = "__shape_checked__"
JUDGED = "judged by the library"


def shape_checked(function: FunctionType) -> Callable[..., Any]:
    """``function`` with its jaxtyping annotations enforced; other annotations are mypy's business.

    Whether a call is right follows from the forms (shapes and types) of the tensors alone: those that were found right
    once are right for ever, and looked up. This is most of the calls, and took a tenth of the suite's time.
    """
    result: list[Any] = []
    strict, judge = _strict(function), _strict(_in_its_place(function, result.pop))
    names = function.__code__.co_varnames
    annotations = {name: hint for name, hint in function.__annotations__.items() if SHAPED.search(str(hint))}
    arguments = [(names.index(name), name) for name in annotations if name != "return"]
    right: set[object] = set()

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        form = None if torch.compiler.is_compiling() else _form(_given(arguments, args, kwargs))
        if form is not None and form in right:
            value = function(*args, **kwargs)
            if "return" in annotations and (form, _form(value)) not in right:
                result.append(value)
                judge(*args, **kwargs)
                right.add((form, _form(value)))
            return value
        try:
            value = strict(*args, **kwargs)
            if form is not None:
                right.add(form)
            return value
        except TypeCheckError as violation:
            if JUDGED not in getattr(violation, "__notes__", []):
                if "checking the parameters" in str(violation).partition("\n")[0]:
                    _let_the_library_refuse(function, args, kwargs)
                violation.add_note(JUDGED)
            raise

    return checked


def _strict(function: Callable[..., Any]) -> Callable[..., Any]:
    annotations = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in annotations.items() if SHAPED.search(str(hint))}
    strict: Callable[..., Any] = jaxtyped(function, typechecker=beartype)
    function.__annotations__ = annotations
    return strict


def _in_its_place(function: FunctionType, body: Callable[[], Any]) -> FunctionType:
    """A function with the signature of ``function`` that does ``body()``: the result of one that has run already."""
    plain = [
        each.replace(annotation=each.empty, default=each.empty if each.default is each.empty else None)
        for each in inspect.signature(function).parameters.values()
    ]
    made: dict[str, Any] = {}
    exec(f"def make(body_):\n def place{inspect.Signature(plain)}: return body_()\n return place", made)
    place = made["make"](body)
    found = FunctionType(
        place.__code__, function.__globals__, function.__name__, function.__defaults__, place.__closure__
    )
    found.__kwdefaults__ = function.__kwdefaults__  # type: ignore[assignment]
    found.__annotations__ = function.__annotations__
    found.__module__, found.__qualname__ = function.__module__, function.__qualname__
    return found


def _given(arguments: list[tuple[int, str]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    return tuple([args[place] if place < len(args) else kwargs.get(name) for place, name in arguments])


def _form(value: Any) -> object:
    """All of ``value`` that an annotation can see; None where that is not known."""
    kind = type(value)
    if kind is torch.Tensor or kind is torch.nn.Parameter:
        return kind, value.dtype, value.shape
    if kind is tuple:
        parts = tuple([_form(part) for part in value])
        return None if None in parts else parts
    return kind if value is None or kind in (bool, int, float, str) else None


def _let_the_library_refuse(function: FunctionType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Call once without the check: the library's own error goes to the caller, accidents further on do not."""
    from gnncomm.errors import GnnCommError  # late: the import hook below comes first

    __tracebackhide__ = True
    try:
        function(*args, **kwargs)
    except GnnCommError as refusal:
        raise refusal from None
    except Exception:  # the violation of the annotation is the better message
        pass


class _Decorate(ast.NodeTransformer):
    """Adds the check as the innermost decorator of every function that has a shape in its signature."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        arguments = node.args
        hints = [a.annotation for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        if any(SHAPED.search(ast.unparse(hint)) for hint in (*hints, node.returns) if hint is not None):
            node.decorator_list.append(ast.copy_location(ast.Name(DECORATOR, ast.Load()), node))
        return node


class _Loader(SourceFileLoader):
    """Compiles what has shapes from source each time: decorated code must not end up in ``__pycache__``."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_data(path)
        if not SHAPED.search(source.decode()):
            return super().get_code(fullname)
        tree = _Decorate().visit(ast.parse(source, path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, DECORATOR, shape_checked)
        super().exec_module(module)


class ShapeCheckFinder(importlib.abc.MetaPathFinder):
    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = tuple(packages)

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in self.packages:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


assert not set(PACKAGES) & set(sys.modules), "imported before the shape check was installed"
sys.meta_path.insert(0, ShapeCheckFinder(PACKAGES))
gc.disable()  # while tests are collected nothing becomes garbage; see pytest_collection_finish
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("repeatable")


def pytest_collection_finish() -> None:
    """What is there now stays: thousands of tests and all modules are not searched for garbage again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.fixture(autouse=True)
def _seeds() -> Iterator[None]:
    """The same weights in every order of the tests, on any number of workers."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    assert torch.get_default_dtype() == torch.float32, "a test left another default dtype behind"


@pytest.fixture
def shape_check() -> type[ShapeCheckFinder]:
    """The import hook, for its own tests."""
    return ShapeCheckFinder


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Nothing is installed but what the test says: ``installed("gnncomm.layers", name="module:attribute")``.

    What the test registers is forgotten afterwards.
    """
    from gnncomm.registry import table

    found: list[EntryPoint] = []
    with monkeypatch.context() as patch:
        patch.setattr(table, "entry_points", lambda: EntryPoints(found))
        patch.setattr(table, "_registered", {})
        table.reread()

        def install(group: str, **entries: str) -> None:
            found.extend(EntryPoint(name, value, group) for name, value in entries.items())
            table.reread()

        yield install
    table.reread()


class Python:
    """Runs programs on this checkout in processes of their own that need not import torch; see ``served.py``.

    For what an interpreter settles while it starts (encodings, hashes, which modules are loaded) take ``subprocess``.
    """

    def __init__(self, folder: Path) -> None:
        root, strict = (
            Path(__file__).parents[1],
            ["error", "ignore:`torch.jit.script` is deprecated:DeprecationWarning"],
        )
        self._output, self._begun = [str(folder / "out"), str(folder / "err")], 0
        self._process = subprocess.Popen(
            [sys.executable, *(word for line in strict for word in ("-W", line)), str(root / "tests" / "served.py")],
            env=os.environ | {"PYTHONPATH": str(root), "PYTHONUTF8": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(
        self,
        *words: object,
        folder: Path,
        env: Mapping[str, str] = os.environ,
        out: str | None = None,
        warn: str | None = "ignore",
        seconds: float = 120,
    ) -> int:
        """Start ``python *words`` (``-c``, ``-m``, or a file), killed after ``seconds``; its number.

        ``warn``: what happens with warnings; None makes errors of them, as pyproject.toml does. ``out``: a path for
        stdout, "" for none.
        """
        if self._begun:  # a test failed before its end
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._begun, signal.SIGKILL)
            self.end()
        self._to = [self._output[0] if out is None else out, self._output[1]]
        asked = {"words": [*map(str, words)], "folder": str(folder), "output": self._to, "env": dict(env)}
        assert self._process.stdin is not None
        print(json.dumps(asked | {"warn": warn, "seconds": seconds}), file=self._process.stdin, flush=True)
        self._begun = self._answer()
        return self._begun

    def end(self) -> subprocess.CompletedProcess[str]:
        """What began, when it has ended."""
        code, self._begun = self._answer(), 0
        out, err = (Path(path).read_text("utf-8") if Path(path).is_file() else "" for path in self._to)
        return subprocess.CompletedProcess((), code, out, err)

    def run(self, *words: object, **how: Any) -> subprocess.CompletedProcess[str]:
        self.begin(*words, **how)
        return self.end()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Python]:
    """``python.run("-c", code, folder=tmp_path)``: as ``subprocess.run``, without three seconds of imports."""
    started = Python(tmp_path_factory.mktemp("python"))
    yield started
    started.close()


@pytest.hookimpl(tryfirst=True)  # before cases are left out for being slow
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """``every(n)``: of many cases of one law the fast suite takes each n-th, the slow tests the others."""
    seen: dict[str, int] = {}
    for item in items:
        if (mark := item.get_closest_marker("every")) is not None:
            test = item.nodeid.partition("[")[0]
            number = seen[test] = seen.get(test, -1) + 1
            if number % mark.args[0]:
                item.add_marker(pytest.mark.slow)
