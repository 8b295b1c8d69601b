"""Batches of tensors: taken apart, put together, chosen from."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnncomm.errors import did_you_mean
from gnncomm.types import Batch, SparseObs, TimeStep, VectorEnv, stack


@dataclass(frozen=True)
class Inner(Batch):
    x: Tensor
    y: Tensor | None = None
    name: str = "inner"


@dataclass(frozen=True)
class Outer(Batch):
    a: Tensor
    inner: Inner
    missing: Tensor | None = None
    other: Inner | None = None
    width: int = 7


def outer(batch: int = 3, offset: float = 0.0) -> Outer:
    count = torch.arange(batch * 2, dtype=torch.float32).view(batch, 2) + offset
    return Outer(count, Inner(count.long(), name="leaf"), other=Inner(count > 2, count.unsqueeze(-1)), width=9)


def same(left: Batch, right: Batch) -> bool:
    """Equal in every field, tensors bit for bit."""
    mine, theirs = left.tensors(), right.tensors()
    return mine.keys() == theirs.keys() and all(
        mine[name].dtype == theirs[name].dtype and torch.equal(mine[name], theirs[name]) for name in mine
    )


def timestep(batch: int, pos: bool = True) -> TimeStep:
    flag = torch.zeros(batch, dtype=torch.bool)
    count = torch.arange(batch)
    obs = SparseObs(torch.arange(batch * 4).view(batch, 2, 2) % 5, torch.ones(batch, 2, 2), width=5)
    return TimeStep(
        obs=obs,
        reward=torch.arange(batch * 2.0).view(batch, 2),
        discount=torch.ones(batch, 2),
        alive=torch.ones(batch, 2, dtype=torch.bool),
        terminated=count == 0,
        truncated=count == 1,
        success=flag,
        first=flag,
        key=count,
        step=count + 10,
        pos=torch.rand(batch, 2, 2) if pos else None,
    )


def test_tensors_are_named_by_their_path_and_none_is_left_out() -> None:
    assert list(outer().tensors()) == ["a", "inner.x", "other.x", "other.y"]
    assert list(outer().tensors("b.")) == ["b.a", "b.inner.x", "b.other.x", "b.other.y"]
    assert outer().tensors()["inner.x"].tolist() == [[0, 1], [2, 3], [4, 5]]


def test_with_tensors_is_the_inverse_of_tensors() -> None:
    batch = outer()
    rebuilt = outer(offset=50.0).with_tensors(batch.tensors())
    assert same(rebuilt, batch)
    assert rebuilt.missing is None
    assert rebuilt.inner.y is None
    assert (rebuilt.width, rebuilt.inner.name) == (9, "leaf")
    assert type(rebuilt.inner) is Inner


def test_with_tensors_wants_every_name() -> None:
    tensors = outer().tensors()
    del tensors["inner.x"]
    with pytest.raises(KeyError, match=r"inner\.x"):
        outer().with_tensors(tensors)


def test_map_reaches_nested_tensors_and_leaves_the_original() -> None:
    batch = outer()
    more = batch.map(lambda x: x.double() + 1)
    assert more.a.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert more.other is not None
    assert more.other.x.tolist() == [[1, 1], [1, 2], [2, 2]]
    assert more.inner.y is None
    assert same(batch, outer())


@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_select_by_mask_is_select_by_index(keep: list[bool]) -> None:
    batch = outer(len(keep))
    rows = [b for b, kept in enumerate(keep) if kept]
    by_mask = batch.select(torch.tensor(keep))
    assert same(by_mask, batch.select(torch.tensor(rows, dtype=torch.int64)))
    assert by_mask.a.tolist() == [batch.a[b].tolist() for b in rows]


def test_select_repeats_reorders_and_takes_another_axis() -> None:
    batch = outer()
    assert batch.select(torch.tensor([2, 0, 2])).a.tolist() == [[4, 5], [0, 1], [4, 5]]
    assert batch.select(torch.tensor([1]), dim=1).inner.x.tolist() == [[1], [3], [5]]


def test_where_takes_each_row_from_one_side() -> None:
    mixed = outer().where(torch.tensor([True, False, True]), outer(offset=10.0))
    assert mixed.a.tolist() == [[0, 1], [12, 13], [4, 5]]
    assert mixed.inner.x.tolist() == [[0, 1], [12, 13], [4, 5]]
    assert mixed.other is not None
    assert mixed.other.y is not None
    assert mixed.other.y[:, :, 0].tolist() == [[0, 1], [12, 13], [4, 5]]


def test_where_does_not_let_nan_through() -> None:
    bad = outer().map(lambda x: x * torch.nan if x.is_floating_point() else x)
    assert outer().where(torch.ones(3, dtype=torch.bool), bad).a.isfinite().all()


@pytest.mark.parametrize("dim", [0, 1])
def test_stack_and_take_apart(dim: int) -> None:
    parts = [outer(offset=float(t)) for t in range(4)]
    together = stack(parts, dim)
    assert together.a.shape == ((4, 3, 2) if dim == 0 else (3, 4, 2))
    for t, part in enumerate(parts):
        assert same(together.map(lambda x, t=t: x.select(dim, t)), part)
    assert together.missing is None


def test_batches_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        outer().a = torch.zeros(1)  # type: ignore[misc]


def test_timestep_goes_through_all_of_it() -> None:
    steps = [timestep(3), replace(timestep(3), step=torch.tensor([7, 8, 9]))]
    rollout = stack(steps)
    assert isinstance(rollout.obs, SparseObs)
    assert rollout.obs.width == 5
    assert rollout.obs.to_flat().shape == (2, 3, 2, 5)
    assert rollout.step.tolist() == [[10, 11, 12], [7, 8, 9]]
    assert rollout.action_mask is None
    kept = rollout.select(torch.tensor([True, False, True]), dim=1)
    assert kept.key.tolist() == [[0, 2], [0, 2]]
    assert timestep(3).done.tolist() == [True, True, False]
    assert timestep(2, pos=False).map(torch.clone).pos is None


def test_every_field_of_a_timestep_is_documented_by_its_shape() -> None:
    assert {item.name for item in fields(TimeStep)} >= set(timestep(2).tensors()) - {"obs.index", "obs.value"}


# --- sparse observations ---------------------------------------------------------------------------------------------


def test_to_flat_adds_repeated_indices_and_ignores_padding() -> None:
    obs = SparseObs(torch.tensor([[[1, 1, 3, 0]]]), torch.tensor([[[1.0, 2.0, 0.5, 0.0]]]), width=4)
    assert obs.to_flat().tolist() == [[[0.0, 3.0, 0.0, 0.5]]]


@given(st.integers(1, 4), st.integers(0, 5), st.integers(1, 6), st.integers(0, 2**32))
def test_to_flat_is_the_sum_of_one_hot_rows(batch: int, count: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(width, (batch, 2, count), generator=generator)
    value = torch.randint(-4, 5, (batch, 2, count), generator=generator).double()
    flat = torch.zeros(batch, 2, width, dtype=torch.float64)
    for b in range(batch):
        for n in range(2):
            for k in range(count):
                flat[b, n, index[b, n, k]] += value[b, n, k]
    assert torch.equal(SparseObs(index, value, width).to_flat(), flat)


def test_to_flat_keeps_the_dtype_and_lets_gradients_through() -> None:
    value = torch.ones(1, 1, 2, dtype=torch.float64, requires_grad=True)
    flat = SparseObs(torch.tensor([[[0, 0]]]), value, width=2).to_flat()
    assert flat.dtype == torch.float64
    (flat * torch.tensor([3.0, 5.0])).sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [[[3.0, 3.0]]]


# --- the contract and its errors -------------------------------------------------------------------------------------


def test_what_lacks_a_method_is_no_environment() -> None:
    assert not isinstance(object(), VectorEnv)
    assert not isinstance(outer(), VectorEnv)


def test_did_you_mean() -> None:
    known = ["ring", "line", "star", "full"]
    assert did_you_mean("rnig", known) == "Did you mean 'ring'? Known: full, line, ring, star."
    assert did_you_mean("RING", known).startswith("Did you mean 'ring'?")
    assert did_you_mean("xyzzy", known) == "Known: full, line, ring, star."
