"""Law 6 for environments, and the contract of ``gnncomm.types.VectorEnv``."""

from __future__ import annotations

import contextlib
import random as python_random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import StateError
from gnncomm.policy import actions_of
from gnncomm.testing.contract import EnvFactory, check_reset_flags, check_step_flags, check_timestep
from gnncomm.testing.departed import Departing, check_departed
from gnncomm.testing.law import require, require_bits, require_same_tensors
from gnncomm.types import Bounded, SparseObs, TeamSpec, TimeStep, VectorEnv

T = TypeVar("T")

_SLOTS = ("environment", "agent")
_LOOKS = ("look.", "scene.")
SEEDS = (1_000_003, 2**31 + 11)
"""Added to the seed of further trials: some environments are different where seeds are large."""

WIDE = 12
"""Slots of one short trial: some environments are different where there are many."""

DEPARTED = 24
"""Steps of that law in ``check_env``: what the state says of those who have left is overwritten."""


@runtime_checkable
class Formed(Protocol):
    """An environment that says in which form it observes: "flat" or "sparse"."""

    form: str


def check_env(factory: EnvFactory, num_envs: int = 3, steps: int | None = None, seed: int = 0, long: int = 120) -> None:
    """The contract of ``VectorEnv`` and law 6, with random actions; the law of the departed, where some are declared.

    Args:
        factory: builds the same environment for any number of slots, for instance
            ``lambda num_envs: MyEnv(num_envs=num_envs)``.
        num_envs: slots of the trials, at least 2.
        steps: length of the trials; None takes ``max_steps + 2``, so that episodes end and are reset in them.
        seed: of the trials, at least 0.
        long: steps of one long trial, for what happens rarely, and half as many of a saved one; 0 for none.

    Raises:
        LawError: names the law, the tensor, the environment and the agent.
    """
    require(num_envs > 1, "independent slots", "expected num_envs >= 2, to have something to compare.")
    steps = factory(1).max_steps + 2 if steps is None else steps
    check_contract(factory, num_envs, steps, seed)
    check_trajectory_determinism(factory, num_envs, steps, seed)
    for more in SEEDS:
        check_trajectory_determinism(factory, num_envs, min(steps, 8), seed + more, look_every=4)
    check_independent_slots(factory, num_envs, steps, seed)
    check_no_aliasing(factory, num_envs, steps, seed)
    check_reset(factory, num_envs, seed)
    check_state_dict(factory, num_envs, steps, seed)
    if long > steps:
        check_trajectory_determinism(factory, 2, long, seed + 1, look_every=10)
    if long > 2 * steps:
        check_state_dict(factory, 2, long // 2, seed + 1)
    env = factory(num_envs)
    env.reset(seed=seed)
    if isinstance(env, Departing) and env.departed()[1]:
        check_departed(factory, num_envs, min(steps, DEPARTED), seed)


def _trial_actions(env: VectorEnv, now: TimeStep, identity: Tensor, count: int) -> Tensor:
    """``[B, N]`` allowed random actions, a function of each slot's ``identity [B]`` and of ``count``."""
    actions = actions_of(_spec(env)).to(now.alive.device)
    logits = torch.zeros(*now.alive.shape, actions.width, device=now.alive.device)
    if now.action_mask is not None:
        # Who is not alive may have nothing to do.
        logits = torch.where(now.action_mask | ~now.alive.unsqueeze(-1), logits, -torch.inf)
    agent = torch.arange(now.alive.shape[1], device=now.alive.device)
    return actions.choose(logits, 31, identity.unsqueeze(-1), torch.tensor(count), agent)


@dataclass
class _Play:
    """An environment that is played with trial actions, with resets where episodes end."""

    env: VectorEnv
    identity: Tensor  # [B]
    now: TimeStep
    count: int = 0

    @classmethod
    def begin(cls, env: VectorEnv, seed: int | Tensor, identity: Sequence[int]) -> _Play:
        return cls(env, torch.tensor(identity, device=env.device), env.reset(seed=seed))

    def advance(self) -> TimeStep:
        """One step."""
        action = _trial_actions(self.env, self.now, self.identity, self.count)
        given = action.clone()
        after = self.env.step(given)
        require_bits("no aliasing", "action", given, action, _SLOTS, "a step wrote into the action that it was given")
        self.count += 1
        self.now = after
        return after

    def renew(self, after: TimeStep) -> list[TimeStep]:
        """The time step after a reset where episodes ended; none if none did."""
        if not bool(after.done.any()):
            return []
        self.now = self.env.reset(where=after.done)
        return [self.now]

    def step(self) -> list[TimeStep]:
        """What comes back from a step, and from the reset if an episode ended."""
        after = self.advance()
        return [after, *self.renew(after)]

    def trajectory(self, steps: int) -> list[TimeStep]:
        """Copies of all that is seen, from now on."""
        seen = [_copy(self.now)]
        for _ in range(steps):
            seen += [_copy(each) for each in self.step()]
        return seen


def _copy(timestep: TimeStep) -> TimeStep:
    return timestep.map(torch.clone)


def _require_same(law: str, got: Sequence[TimeStep], want: Sequence[TimeStep], why: str) -> None:
    for number, (mine, theirs) in enumerate(zip(got, want, strict=False)):
        require_same_tensors(law, mine.tensors(), theirs.tensors(), _SLOTS, f"{why} (time step {number} of the trial)")
    require(len(got) == len(want), law, f"episodes ended at other moments: {why}.")


def check_contract(factory: EnvFactory, num_envs: int, steps: int, seed: int = 0) -> None:
    """Names, shapes, types, finite numbers and flags of every time step; see ``gnncomm.types``."""
    env = factory(num_envs)
    name = type(env).__name__
    require(isinstance(env, VectorEnv), "the contract", f"{name} lacks members of gnncomm.types.VectorEnv.")
    require(env.num_envs == num_envs, "the contract", f"env.num_envs is {env.num_envs}, expected {num_envs}.")
    play = _Play.begin(env, seed, range(num_envs))
    if isinstance(env, Formed):
        got = "sparse" if isinstance(play.now.obs, SparseObs) else "flat"
        require(got == env.form, "the contract", f"obs is {got}, but the environment was made for {env.form}.")
    check_timestep(env, play.now)
    check_reset_flags(play.now, torch.ones(num_envs, dtype=torch.bool, device=env.device))
    for _ in range(steps):
        before = _copy(play.now)
        _check_reference_actions(env, before)
        seen = play.step()
        for each in seen:
            check_timestep(env, each)
        check_step_flags(env, before, seen[0])
        if len(seen) > 1:
            check_reset_flags(seen[1], seen[0].done)


def _check_reference_actions(env: VectorEnv, now: TimeStep) -> None:
    floor = env.floor_action(now.key)
    why = "floor_action is a function of key and the current moment"
    require_bits("determinism", "floor_action", env.floor_action(now.key), floor, _SLOTS, why)
    known = {"floor_action": floor}
    with contextlib.suppress(StateError):  # where nobody knows what is best
        known["ceiling_action"] = env.ceiling_action()
    for name, action in known.items():
        dtype, shape, low, high = _bounds(_spec(env), now.alive)
        fits = action.dtype == dtype and action.shape == shape
        wanted = f"expected {str(dtype).removeprefix('torch.')} {list(shape)}"
        require(fits, "the contract", f"{name} is {action.dtype} {list(action.shape)}, {wanted}.")
        inside = ((action >= low) & (action <= high)).reshape(*now.alive.shape, -1).all(-1)
        where = f"[0, {env.num_actions})" if dtype == torch.int64 else "env.box"
        require((inside | ~now.alive).all(), "the contract", f"{name} is outside {where}.")


def _spec(env: VectorEnv) -> TeamSpec:
    """Without groups: who plays with whom does not matter to an environment."""
    return TeamSpec(env.obs_dim, env.num_actions, env.num_agents, env.box if isinstance(env, Bounded) else None)


def _bounds(spec: TeamSpec, alive: Tensor) -> tuple[torch.dtype, torch.Size, Tensor, Tensor]:
    """Type, shape, least and largest of actions."""
    if spec.box is None:
        return torch.int64, alive.shape, alive.new_zeros((), dtype=torch.int64), torch.tensor(spec.num_actions - 1)
    low, high = (torch.tensor(side, device=alive.device) for side in (spec.box.low, spec.box.high))
    return torch.float32, torch.Size([*alive.shape, spec.num_actions]), low, high


def check_trajectory_determinism(
    factory: EnvFactory, num_envs: int, steps: int, seed: int = 0, look_every: int = 1
) -> None:
    """Law 6: equal seeds and actions give equal bits, whatever was played before, seen or drawn elsewhere.

    The second environment has played another seed before, is looked at half as often, and meets other global
    generators, which are neither read nor moved. Compared are time steps, scenes, floor and ceiling actions.
    """
    fresh, used = factory(num_envs), factory(num_envs)
    want = _with_global_seed(1, partial(_watched, fresh, seed, steps, look_every))
    _Play.begin(used, seed + 7, range(num_envs)).trajectory(min(steps, 3))
    got = _with_global_seed(2, partial(_watched, used, seed, steps, 2 * look_every))
    require(len(got) == len(want), "determinism", "episodes of one seed and the same actions ended at other moments.")
    for number, (mine, theirs) in enumerate(zip(got, want, strict=True)):
        shown = {name: value for name, value in theirs.items() if name in mine or not name.startswith(_LOOKS)}
        why = f"the same seed and actions were played twice (time step {number} of the trial)"
        require_same_tensors("determinism", mine, shown, _SLOTS, why)


def _watched(env: VectorEnv, seed: int, steps: int, look_every: int) -> list[dict[str, Tensor]]:
    """All that is seen from a reset on; scenes, floor and ceiling actions now and then."""
    play = _Play.begin(env, seed, range(env.num_envs))
    seen = [_copy(play.now).tensors() | _looks(env, play.now)]
    for number in range(steps):
        for each in play.step():
            looks = _looks(env, each) if number % look_every == 0 else {}
            seen.append(_copy(each).tensors() | looks)
    return seen


def _looks(env: VectorEnv, now: TimeStep) -> dict[str, Tensor]:
    """What an environment says beside its time steps."""
    found = {"look.floor_action": env.floor_action(now.key)}
    with contextlib.suppress(StateError):  # where nobody knows what is best
        found["look.ceiling_action"] = env.ceiling_action()
    scene = env.scene()
    found |= {"scene.agents": scene.agents, "scene.finished": scene.finished}
    found |= {f"scene.{name}": place for name, place in scene.entities.items()}
    found |= {f"scene.{name}, active": active for name, active in scene.active.items()}
    if scene.field is not None:
        found["scene.field"] = scene.field
    return {name: value.clone() for name, value in found.items()}


def _with_global_seed(seed: int, work: Callable[[], T]) -> T:
    """Run ``work`` with all global generators seeded; they must stand still, and are put back as they were."""
    kept = torch.get_rng_state(), np.random.get_state(), python_random.getstate()
    try:
        torch.manual_seed(seed)
        np.random.seed(seed)
        python_random.seed(seed)
        before = _global_states()
        result = work()
        for name, state in _global_states().items():
            message = f"the global generator of {name} was used: draw with gnncomm.random from the episode's key."
            require(state == before[name], "determinism", message)
        return result
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        python_random.setstate(kept[2])


def _global_states() -> dict[str, object]:
    numpy_state: Any = np.random.get_state()  # a tuple, by its default argument
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (numpy_state[1].tobytes(), *numpy_state[2:]),
        "random": python_random.getstate(),
    }


def check_independent_slots(factory: EnvFactory, num_envs: int, steps: int, seed: int = 0) -> None:
    """Laws 3 and 6: slot b plays as it plays alone with its own seed, whatever happens in other slots."""
    first = factory(num_envs)
    together, device = _Play.begin(first, seed, range(num_envs)).trajectory(steps), first.device
    for b in range(num_envs):
        own = random.seeds("environment", seed, torch.tensor([b], device=device))
        alone = _Play.begin(factory(1), own, [b]).trajectory(steps)
        why = f"slot {b} was played alone, with its own seed and actions"
        _require_same("independent slots", _ends_of(alone, 0), _ends_of(together, b), why)
    elsewhere = [0, *range(num_envs, 2 * num_envs - 1)]
    busy = _Play.begin(factory(num_envs), seed, elsewhere).trajectory(steps)
    why = "only the actions in other slots were other ones"
    _require_same("independent slots", _ends_of(busy, 0), _ends_of(together, 0), why)
    _check_wide(factory, min(steps, 4), seed)


def _check_wide(factory: EnvFactory, steps: int, seed: int) -> None:
    """The first and the last of many slots play as they play alone."""
    env = factory(WIDE)
    wide = _Play.begin(env, seed, range(WIDE)).trajectory(steps)
    for b in (0, WIDE - 1):
        own = random.seeds("environment", seed, torch.tensor([b], device=env.device))
        alone = _Play.begin(factory(1), own, [b]).trajectory(steps)
        why = f"slot {b} of {WIDE} was played alone, with its own seed and actions"
        _require_same("independent slots", _ends_of(alone, 0), _ends_of(wide, b), why)


def _ends_of(trajectory: Sequence[TimeStep], slot: int) -> list[TimeStep]:
    """What slot b saw, without the repetitions that resets of other slots bring."""
    own = [each.select(torch.tensor([slot], device=each.step.device)) for each in trajectory]
    kept = own[:1]
    for each in own[1:]:
        last = kept[-1].tensors()
        if any(not _same_bits(value, last[name]) for name, value in each.tensors().items()):
            kept.append(each)
    return kept


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())


def check_no_aliasing(factory: EnvFactory, num_envs: int, steps: int, seed: int = 0) -> None:
    """Time steps stay as they were given, and writing into them reaches neither the environment nor its future."""
    want = []
    play = _Play.begin(factory(num_envs), seed, range(num_envs))
    given = [play.now]
    for _ in range(steps + 1):
        want += [_copy(each) for each in given]
        held = play.now
        after = play.advance()
        why = "a time step changed when the environment went on"
        require_same_tensors("no aliasing", held.tensors(), want[-1].tensors(), _SLOTS, why)
        kept = _copy(after)
        given = [after, *play.renew(after)]
        why = "a time step changed when the environment was reset"
        require_same_tensors("no aliasing", after.tensors(), kept.tensors(), _SLOTS, why)
    play = _Play.begin(factory(num_envs), seed, range(num_envs))
    given, got = [play.now], []
    for _ in range(steps + 1):
        got += [_copy(each) for each in given]
        play.now = got[-1]
        for each in given:
            _spoil(each)
        given = play.step()
    _require_same("no aliasing", got, want, "the caller wrote into time steps it was given")


def _spoil(timestep: TimeStep) -> None:
    """Overwrite every tensor in place, where that is possible (expanded tensors refuse)."""
    for value in timestep.tensors().values():
        try:
            value.logical_not_() if value.dtype == torch.bool else value.add_(1)
        except RuntimeError:
            continue


def check_reset(factory: EnvFactory, num_envs: int, seed: int = 0) -> None:
    """``reset(where)`` begins episodes there and leaves the other rows alone; ``reset(seed)`` starts all over."""
    env = factory(num_envs)
    first = _copy(env.reset(seed=seed))
    now = first
    if env.max_steps > 1:
        now = _copy(env.step(_trial_actions(env, first, torch.arange(num_envs, device=env.device), 0)))
    nobody = torch.zeros(num_envs, dtype=torch.bool, device=env.device)
    same = env.reset(where=nobody).tensors()
    require_same_tensors("resets", same, now.tensors(), _SLOTS, "reset(where) was called with no True in it")
    last = nobody.clone()
    last[-1] = True
    after = _copy(env.reset(where=last))
    check_reset_flags(after, last)
    why = "reset(where) was called for the last environment only"
    require_same_tensors("resets", after.select(~last).tensors(), now.select(~last).tensors(), _SLOTS, why)
    why = "reset was called with the seed of the beginning"
    require_same_tensors("resets", env.reset(seed=seed).tensors(), first.tensors(), _SLOTS, why)
    seeds = random.seeds("environment", seed, torch.arange(num_envs, device=env.device))
    why = 'reset was called with random.seeds("environment", seed, arange(num_envs)) instead of the int seed'
    require_same_tensors("resets", env.reset(seed=seeds).tensors(), first.tensors(), _SLOTS, why)
    why = "reset was called without a seed, for the next episode of each slot"
    require(bool((env.reset().key != first.key).all()), "resets", f"key is that of the episode before: {why}.")


def check_state_dict(factory: EnvFactory, num_envs: int, steps: int, seed: int = 0) -> None:
    """``state_dict`` is all that the future depends on: loaded into an environment that has played something else, it
    continues bit for bit, and shows the same scene and actions. Saved at the beginning, and in the middle of episodes.
    """
    play = _Play.begin(factory(num_envs), seed, range(num_envs))
    _check_saved(factory, play, min(steps, 4), seed)
    for _ in range(max(steps // 3, 1)):
        play.step()
    _check_saved(factory, play, steps, seed)


def _check_saved(factory: EnvFactory, play: _Play, steps: int, seed: int) -> None:
    now, looks = _copy(play.now), _looks(play.env, play.now)
    state = play.env.state_dict()
    kept = {name: value.clone() for name, value in state.items()}
    want = _Play(play.env, play.identity, now, play.count).trajectory(steps)
    require_same_tensors("saved states", state, kept, (), "a state changed when the environment went on")
    twin = factory(play.env.num_envs)
    _Play.begin(twin, seed + 7, range(twin.num_envs)).trajectory(3)
    given = {name: value.clone() for name, value in kept.items()}
    loaded = twin.load_state_dict(given)
    why = "load_state_dict should give the time step that was current"
    require_same_tensors("saved states", loaded.tensors(), now.tensors(), _SLOTS, why)
    require_same_tensors("saved states", _looks(twin, loaded), looks, _SLOTS, "a state was loaded")
    got = _Play(twin, play.identity, loaded, play.count).trajectory(steps)
    _require_same("saved states", got, want, "the environment went on from a loaded state")
    require_same_tensors("saved states", given, kept, (), "an environment wrote into the state that it was given")
    play.now = play.env.load_state_dict(kept)
