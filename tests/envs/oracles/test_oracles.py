"""Environments against simulations written from their pages alone: plain loops, one transition at a time."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from gnncomm import envs
from gnncomm.types import Batch


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"oracle_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ORACLES = {
    path.stem: _load(path) for path in sorted(Path(__file__).parent.glob("*.py")) if not path.stem.startswith("test_")
}
CASES = [(name, settings) for name, oracle in ORACLES.items() for settings in oracle.SETTINGS]
SLOTS, STEPS = 6, 16


def _row(batch: Batch, b: int) -> dict[str, Any]:
    return {name: value[b].numpy() for name, value in batch.tensors().items()}


def _actions(env: Any, count: int) -> torch.Tensor:
    """Half of them random, half the ceiling's."""
    generator = torch.Generator().manual_seed(count)
    shape = (SLOTS, env.num_agents)
    drawn = torch.randint(env.num_actions, shape, generator=generator)
    return torch.where(torch.rand(shape, generator=generator) < 0.5, env.ceiling_action(), drawn)


def test_every_environment_has_an_oracle() -> None:
    assert set(ORACLES) == {name for name in envs.names() if "/" not in name}


@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_every_transition_is_that_of_the_page(name: str, settings: dict[str, Any]) -> None:
    env: Any = envs.make(name, num_envs=SLOTS, **settings)
    oracle, config = ORACLES[name], env.config
    now = env.reset(seed=3)
    for count in range(STEPS):
        before, action = env._current("test"), _actions(env, count)
        draws = env.draws(env._key, env._step + 1)
        alive = now.alive
        chosen = oracle.choices(env, before, draws).tolist() if hasattr(oracle, "choices") else [None] * SLOTS
        step = env.step(action)
        after = env._current("test")
        for b in range(SLOTS):
            taken = torch.where(alive[b], action[b], 0).tolist()
            new, reward, terminated, success = oracle.step(config, _row(before, b), taken, _row(draws, b), chosen[b])
            found = _row(after, b)
            for part, value in new.items():
                np.testing.assert_allclose(found[part], np.array(value), atol=1e-5, err_msg=part)
            np.testing.assert_allclose(step.reward[b].numpy(), np.array(reward), atol=1e-5, err_msg="reward")
            assert (bool(step.terminated[b]), bool(step.success[b])) == (bool(terminated), bool(success))
            seen = np.array(oracle.observe(config, found))
            np.testing.assert_allclose(step.obs[b].numpy(), seen, atol=1e-5, err_msg="obs")
        now = env.reset(where=step.done)
