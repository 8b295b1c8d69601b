"""The compiled step says what the eager one says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gnncomm import envs

IDS = sorted({name.partition("/")[0] for name in envs.names()})

# In a process of its own: the checks of shapes that tests put around every function cannot be traced.
PROGRAM = """
import sys, torch
from gnncomm import envs

name = sys.argv[1]
eager, compiled = (envs.make(name, num_envs=4, observation="sparse") for _ in range(2))
compiled.compile()
now, other = eager.reset(seed=3), compiled.reset(seed=3)
for _ in range(6):
    if bool(now.done.any()):
        now, other = eager.reset(where=now.done), compiled.reset(where=now.done)
    action = eager.floor_action(now.key)
    now, other = eager.step(action), compiled.step(action)
    mine, theirs = other.tensors(), now.tensors()
    assert mine.keys() == theirs.keys()
    for key, value in theirs.items():
        if value.is_floating_point():
            torch.testing.assert_close(mine[key], value, rtol=1e-5, atol=1e-6, msg=lambda text: f"{key}: {text}")
        else:
            assert torch.equal(mine[key], value), key
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", IDS)
def test_compiled_is_eager(name: str) -> None:
    """Draws, rules and flags are the same bits; sums of floats may be rounded in another order."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
