"""Who has left changes nobody's future, in every environment that is listed; and environments that break this."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gnncomm.envs.crowds.battle import Battle, BattleState
from gnncomm.envs.frame.base import Gone
from gnncomm.envs.predator_prey import PredatorPrey
from gnncomm.envs.stag_hunt import StagHunt, StagHuntState
from gnncomm.envs.traffic_junction.traffic_junction import TrafficJunction
from torch import Tensor

from gnncomm import envs
from gnncomm.testing import LawError, check_departed, check_env, check_masked_actions

CROWDED: list[tuple[str, dict[str, Any]]] = [
    ("battle", {"num_agents": 4, "hit_points": 40, "max_steps": 40}),
    ("battle", {"num_agents": 9, "num_enemies": 12, "strength": 1.0, "hit_points": 40, "max_steps": 40}),
    ("chemical", {"dim": 5, "max_steps": 20}),
    ("chemical/rooms-v0", {"dim": 7, "max_steps": 20}),
    ("foraging", {"size": 5, "max_food": 3, "max_steps": 20}),
    ("foraging/8x8-3p-3f-coop-s2-v0", {"size": 6, "max_steps": 20}),
    ("hallway/3x5-4x6x10-v0", {"slip": 0.2}),
    ("hallway/3x5-4x6x10-v0", {"slip": 0.3}),
    ("path_finding", {"dim": 5, "num_agents": 5, "density": 0.1, "max_steps": 20}),
    ("path_finding", {"dim": 5, "num_agents": 5, "collisions": "block_both", "layout": "dcc", "max_steps": 20}),
    ("path_finding", {"dim": 5, "num_agents": 5, "collisions": "soft", "rewards": "scrimp", "max_steps": 20}),
    ("stag_hunt", {"dim": 6, "num_stags": 3, "num_hares": 2, "max_steps": 30}),
    ("stag_hunt", {"dim": 5, "num_agents": 6, "num_stags": 2, "num_hares": 2, "coordinates": True, "max_steps": 30}),
    ("stag_hunt/10x10-8-touch-v0", {"dim": 6, "num_stags": 4, "num_hares": 3, "max_steps": 30}),
    ("traffic_junction/easy-magic-v0", {}),
    ("traffic_junction/easy-magic-v0", {"faithful": False, "add_rate": 0.8}),
]
"""Small and full, so that many leave and others pass where they were."""


SHORT = [name for name in envs.names() if "/" not in name]


@pytest.mark.parametrize(("number", "id", "settings"), [(n, *case) for n, case in enumerate(CROWDED)], ids=str)
def test_who_has_left_changes_nothing(number: int, id: str, settings: dict[str, Any]) -> None:
    """The forms share all but how an observation is written: they take turns, and every environment has both."""
    form = ("flat", "sparse")[number % 2]
    factory = lambda num_envs: envs.make(id, num_envs=num_envs, observation=form, **settings)  # noqa: E731
    assert check_departed(factory) > 100, "too few left for the trial to show anything"


@pytest.mark.parametrize("id", SHORT)
def test_the_law_holds_wherever_it_is_listed(id: str) -> None:
    """Where nobody leaves there is nothing to overwrite; who leaves has to be declared."""
    env: Any = envs.make(id, num_envs=2)
    env.reset(seed=0)
    gone, theirs = env.departed()
    state = env.state_dict()
    assert gone.shape == (2, env.num_agents)
    for name, rows in theirs.items():
        assert state[name].shape[:2] == rows.shape
    named = {one for one, _ in CROWDED}
    if theirs:
        assert id.partition("/")[0] in {one.partition("/")[0] for one in named}
    check_departed(lambda num_envs: envs.make(id, num_envs=num_envs), num_envs=2, steps=3)


@pytest.mark.parametrize(
    ("id", "settings"),
    [
        ("stag_hunt", {"dim": 6, "num_stags": 4, "num_hares": 2}),
        ("stag_hunt/10x10-8-touch-v0", {}),
        ("foraging", {"size": 5, "max_food": 2, "penalty": 0.1}),
        ("foraging/8x8-3p-3f-coop-s2-v0", {}),
        ("switch/4-v0", {}),
        ("switch/4-switch-v0", {}),
    ],
    ids=str,
)
def test_masked_actions_do_nothing(id: str, settings: dict[str, Any]) -> None:
    no_op = envs.make(id, **settings).no_op  # type: ignore[attr-defined]
    assert check_masked_actions(lambda num_envs: envs.make(id, num_envs=num_envs, **settings), no_op) > 100


def test_every_mask_has_an_action_that_does_nothing() -> None:
    for name in SHORT:
        env: Any = envs.make(name)
        assert (env.reset(seed=0).action_mask is None) == (env.no_op is None), name


class GhostRivals(StagHunt):
    """As it was: hunters that left still want the cell where they were last."""

    @staticmethod
    def _settle(source: Tensor, target: Tensor, taken: Tensor, priority: Tensor) -> Tensor:
        ghosts = torch.where(target == 0, source, target)
        wants = ~taken.gather(1, target)
        rival = (ghosts[:, :, None] == ghosts[:, None]) & (priority[:, None] > priority[:, :, None])
        return torch.where(wants & ~rival.any(-1), target, source)


class DrawsTheGone(StagHunt):
    def describe(self, state: StagHuntState) -> Any:
        scene = super().describe(state)
        return type(scene)(**{**vars(scene), "present": torch.ones_like(state.hunting)})


class LivingDead(Battle):
    """The dead still block their cells."""

    def transition(self, state: BattleState, action: Tensor, draws: Any) -> Any:
        return super().transition(BattleState(**{**vars(state), "hp": state.hp.clamp(min=1)}), action, draws)


class MaskedMoves(StagHunt):
    """Catches where its mask says that there is nothing to be caught."""

    def allowed(self, state: StagHuntState) -> Tensor:
        mask = super().allowed(state)
        mask[..., 0] = False
        return mask


class Undeclared(PredatorPrey):
    """Says that whoever reached the prey is gone, which the others still see."""

    def gone(self, state: Any) -> Gone:
        return Gone(state.reached, {"pos": state.reached})


@pytest.mark.parametrize(
    ("cheat", "settings", "what"),
    [
        (GhostRivals, {"dim": 6, "num_stags": 3, "max_steps": 30}, "pos|obs"),
        (DrawsTheGone, {"dim": 6, "num_stags": 3, "max_steps": 30}, "scene.agents"),
        (LivingDead, {"num_agents": 4, "hit_points": 40, "max_steps": 40}, "who is gone|obs|state"),
        (Undeclared, {"num_agents": 3, "vision": 1, "mode": "cooperative"}, "obs|state|reward"),
    ],
)
def test_cheats_are_caught(cheat: Any, settings: dict[str, Any], what: str) -> None:
    with pytest.raises(LawError, match=rf"Law of the departed broken: .*({what})"):
        check_departed(lambda num_envs: cheat(num_envs=num_envs, **settings))


def test_masks_that_lie_are_caught() -> None:
    with pytest.raises(LawError, match="Law of masked actions broken"):
        check_masked_actions(lambda num_envs: MaskedMoves(num_envs=num_envs), 4)


def test_the_habit_of_the_reference_is_not_declared() -> None:
    """With ``faithful`` a new car shows the last action of the slot's car before: this much of the gone is kept."""
    habit, clean = TrafficJunction(), TrafficJunction(faithful=False)
    for env in (habit, clean):
        env.reset(seed=0)
    assert "state.braked" not in habit.departed()[1]
    assert "state.braked" in clean.departed()[1]


def test_check_env_includes_the_law_where_some_are_declared() -> None:
    """A user's one call finds it; hunters whose ghosts want a cell break nothing else."""
    settings = {"dim": 6, "num_stags": 3, "max_steps": 30}
    with pytest.raises(LawError) as broken:
        check_env(lambda num_envs: GhostRivals(num_envs=num_envs, **settings))  # type: ignore[arg-type]
    assert broken.value.law == "the departed"
