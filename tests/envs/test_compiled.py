"""The compiled step says what the eager one says."""

from __future__ import annotations

import pytest
import torch

import envs
from gnncomm.types import TimeStep

STEPS = 6
IDS = sorted({name.partition("/")[0] for name in envs.names()})


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", IDS)
def test_compiled_is_eager(name: str) -> None:
    """Draws, rules and flags are the same bits; sums of floats may be rounded in another order."""
    eager, compiled = (envs.make(name, num_envs=4, observation="sparse") for _ in range(2))
    compiled.compile()  # type: ignore[attr-defined]
    now, other = eager.reset(seed=3), compiled.reset(seed=3)
    for _ in range(STEPS):
        assert_same(other, now)
        if bool(now.done.any()):
            now, other = eager.reset(where=now.done), compiled.reset(where=now.done)
        action = eager.floor_action(now.key)
        now, other = eager.step(action), compiled.step(action)
    assert_same(other, now)


def assert_same(got: TimeStep, want: TimeStep) -> None:
    mine, theirs = got.tensors(), want.tensors()
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        if value.is_floating_point():
            torch.testing.assert_close(
                mine[name], value, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
            )
        else:
            assert torch.equal(mine[name], value), name
