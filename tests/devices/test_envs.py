"""Every environment on a device that is not the CPU: no operation mixes devices; the numbers are those of the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gnncomm import envs
from gnncomm.types import TimeStep

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in envs.names() if "/" not in name),
    ("chemical/plume-v0", {}),
    ("chemical/rooms-v0", {"shaping": 1.0}),
    ("chemical_reaction/stirred-v0", {}),
    ("coverage", {"exclusive": True, "patience": 4}),
    ("foraging/8x8-3p-3f-coop-s2-v0", {"observe_agent_levels": False, "min_player_level": [1, 2, 1]}),
    ("foraging", {"max_player_level": [1, 2, 3], "penalty": 0.1, "columns": 6}),
    ("formation/square-9-v0", {}),
    ("hallway/3x5-4x6x10-v0", {"encoding": "scalar", "slip": 0.2}),
    ("path_finding/dcc-10x10-4-v0", {"dim": 6}),
    ("path_finding", {"on_target": "restart", "collisions": "block_both", "dim": 6}),
    ("predator_capture_prey/10x10-3p2a-v0", {"num_prey": 2}),
    ("predator_prey/10x10-5-flee-v0", {"enemy_comm": True, "num_prey": 2}),
    ("relay", {"steps": 3, "seen": "first"}),
    ("rendezvous/15x15-8-v0", {"coordinates": False}),
    ("routing/dgn-20-20-v0", {"network": None, "num_routers": 8, "num_agents": 6}),
    ("stag_hunt/10x10-8-touch-v0", {"num_hares": 2, "coordinates": True}),
    ("switch/4-switch-v0", {}),
    ("traffic_junction/medium-magic-v0", {"faithful": False, "vocabulary": "scalar"}),
]


def play(id: str, settings: dict[str, Any], form: str, device: Any, steps: int) -> tuple[list[TimeStep], Any]:
    """Ceiling and floor in turn, resets where episodes end, and everything else that an environment can be asked."""
    env: Any = envs.make(id, num_envs=3, observation=form, device=device, **settings)
    now = env.reset(seed=torch.tensor([1, 5, 9], device=device))
    seen = [now]
    for _ in range(steps):
        for act in (env.ceiling_action, lambda: env.floor_action(now.key)):  # noqa: B023  # called at once
            now = env.step(act())
            seen.append(now)
            now = env.reset(where=now.done)
    seen.append(env.load_state_dict(env.state_dict()))
    env.adjust(**{name: env.config[name] for name in env.adjustable})
    env.reset()
    return seen, (env.state().tolist(), env.scene().agents.tolist(), env.render("text"))


CASES = [(*case, "flat") for case in SETTINGS] + [(*case, "sparse") for case in SETTINGS if "/" not in case[0]]


@pytest.mark.every(2)
@pytest.mark.parametrize(("id", "settings", "form"), CASES, ids=str)
def test_nothing_is_left_on_the_cpu(id: str, settings: dict[str, Any], form: str, device: torch.device) -> None:
    """The forms share all but how an observation is written, so one of them takes no steps; settings take fewer."""
    steps = (1 if settings or "/" in id else 2) if form == "flat" else 0
    got, shown = play(id, settings, form, device, steps)
    want, drawn = play(id, settings, form, "cpu", steps)
    assert shown == drawn
    for one, other in zip(got, want, strict=True):
        for name, value in one.tensors().items():
            assert value.device == device, name
            assert value.tolist() == other.tensors()[name].tolist(), name
