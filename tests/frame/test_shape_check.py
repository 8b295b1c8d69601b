"""The run-time check of shapes that tests/conftest.py installs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError

SOURCE = """
from __future__ import annotations
from typing import Self
from dataclasses import dataclass
from torch import Tensor
from gnncomm.errors import ShapeError
from gnncomm.shapes import Float

def outer(a: Float[Tensor, "B N"], b: Float[Tensor, "B M"]) -> Float[Tensor, "B N M"]:
    return a.unsqueeze(-1) * b.unsqueeze(-2)

def wrong_result(a: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    return a.sum(-1)

def refuses(a: Float[Tensor, "B 2"]) -> Float[Tensor, "B"]:
    if a.shape[-1] != 2:
        raise ShapeError("expected two columns")
    return a.sum(-1)

def passes_on(a: Tensor, calls: list[str]) -> None:
    calls.append("once")
    outer(a, a)

def sometimes(a: Float[Tensor, "B N"], wrong: bool, calls: list[bool]) -> Float[Tensor, "B N"]:
    calls.append(wrong)
    return a.sum(-1) if wrong else a

def maybe(a: Float[Tensor, "B N"], b: Float[Tensor, "N"] | None = None) -> None:
    pass

def plain(a: int) -> str:
    return a

class Wraps:
    def itself(self, a: Float[Tensor, "B N"]) -> Self:
        return self

    @staticmethod
    def double(a: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
        return 2 * a
"""


@pytest.fixture
def shaped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape_check: Any) -> Iterator[Any]:
    (tmp_path / "shaped_sample.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [shape_check(["shaped_sample"]), *sys.meta_path])
    yield importlib.import_module("shaped_sample")
    del sys.modules["shaped_sample"]
    assert not list(tmp_path.rglob("*.pyc")), "decorated code was cached"


def test_right_shapes_pass(shaped: Any) -> None:
    assert shaped.outer(torch.ones(2, 3), torch.ones(2, 4)).shape == (2, 3, 4)
    assert shaped.Wraps.double(torch.ones(1, 1)).item() == 2
    wraps = shaped.Wraps()
    assert wraps.itself(torch.ones(1, 1)) is wraps


def test_wrong_argument_is_caught(shaped: Any) -> None:
    with pytest.raises(TypeCheckError):
        shaped.outer(torch.ones(2, 3), torch.ones(5, 4))
    with pytest.raises(TypeCheckError):
        shaped.outer(torch.ones(2, 3), torch.ones(2, 4, dtype=torch.int64))
    with pytest.raises(TypeCheckError):
        shaped.Wraps().itself(torch.ones(3))


def test_wrong_result_is_caught(shaped: Any) -> None:
    with pytest.raises(TypeCheckError):
        shaped.wrong_result(torch.ones(2, 3))


def test_what_was_right_once_is_looked_at_again_where_it_differs(shaped: Any) -> None:
    calls: list[bool] = []
    for _ in range(2):
        shaped.sometimes(torch.ones(2, 3), False, calls)
        shaped.sometimes(torch.ones(2, 3), wrong=False, calls=calls)
        with pytest.raises(TypeCheckError):
            shaped.sometimes(torch.ones(2, 3), True, calls)
        with pytest.raises(TypeCheckError):
            shaped.sometimes(torch.ones(2, 3).long(), False, calls)
        with pytest.raises(TypeCheckError):
            shaped.sometimes(torch.ones(2), False, calls)
        shaped.maybe(torch.ones(2, 3))
        shaped.maybe(torch.ones(2, 3), torch.ones(3))
        with pytest.raises(TypeCheckError):
            shaped.maybe(torch.ones(2, 3), torch.ones(4))
        with pytest.raises(TypeCheckError):
            shaped.maybe(torch.ones(2, 3), b=torch.ones(4))
    assert calls.count(True) == 2, "a body runs once a call"


def test_an_error_of_the_library_comes_first(shaped: Any) -> None:
    from gnncomm.errors import ShapeError

    with pytest.raises(ShapeError, match="two columns"):
        shaped.refuses(torch.ones(4, 3))


def test_a_violation_inside_is_not_run_again_outside(shaped: Any) -> None:
    calls: list[str] = []
    with pytest.raises(TypeCheckError):
        shaped.passes_on(torch.ones(3), calls)
    assert calls == ["once"]


def test_only_shapes_are_checked(shaped: Any) -> None:
    assert shaped.plain(3) == 3


def test_annotations_stay_visible(shaped: Any) -> None:
    assert set(shaped.outer.__annotations__) == {"a", "b", "return"}


def test_the_package_and_its_environments_are_under_the_check() -> None:
    for module in ("gnncomm", "gnncomm.random", "gnncomm.envs.relay"):
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert type(spec.loader).__name__ == "_Loader"
