"""``GridEnv``: the thin class around the pure functions of an environment (``envs.frame.rules``).

The base keeps what is the same everywhere: the seed, episode and step of each environment, checks of what comes in,
the time limit, the ``TimeStep``, and saving. Environment b draws with the key
``bits(stream(seed_b, "episode"), episode_b)``, so its trajectory depends on its seed and its actions only.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from inspect import Parameter, Signature
from types import FunctionType
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_type_hints

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnncomm import checks, host, random
from gnncomm.errors import ConfigError, StateError, did_you_mean
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, Observation, Scene, TimeStep

from . import render
from .rules import DrawsT, Flags, Form, Gone, Rules, Sizes, StateT
from .settings import Settings

__all__ = ["Flags", "Form", "Gone", "GridEnv", "Settings", "Sizes"]


@dataclass(frozen=True)
class _Outcome(Batch):
    """What the last step gave, kept for ``reset(where=...)`` and for checkpoints."""

    reward: Float[Tensor, "B N"]
    terminated: Bool[Tensor, " B"]
    truncated: Bool[Tensor, " B"]
    success: Bool[Tensor, " B"]
    entered: Bool[Tensor, "B N"] | None


@dataclass(frozen=True)
class _Held(Batch, Generic[StateT]):
    """All tensors that an environment has and that a step replaces."""

    seed: Int[Tensor, " B"]
    episode: Int[Tensor, " B"]
    key: Int[Tensor, " B"]
    step: Int[Tensor, " B"]
    state: StateT
    outcome: _Outcome


@dataclass(frozen=True)
class _Seen:
    """What agents see of a state, and what learners may know of it."""

    obs: Observation
    alive: Bool[Tensor, "B N"]
    pos: Float[Tensor, "B N P"]
    allowed: Bool[Tensor, "B N A"] | None


BatchT = TypeVar("BatchT", bound=Batch)


def _put(rows: Tensor, part: BatchT, whole: BatchT) -> BatchT:
    """``whole`` with the rows ``rows`` taken from ``part``."""
    new = part.tensors()
    return whole.with_tensors({name: old.index_copy(0, rows, new[name]) for name, old in whole.tensors().items()})


class GridEnv(Rules[StateT, DrawsT]):
    """B environments that advance together; see ``gnncomm.types.VectorEnv`` for the contract.

    Args:
        num_envs: B, at least 1.
        device: Where all tensors live; must exist.
        observation: ``"flat"`` or ``"sparse"`` (``SparseObs`` of the same vector).
        **settings: The fields of ``settings_class`` that differ from their defaults.

    Attributes:
        settings: All of them, checked.
        config: The same as a dict, JSON-able: ``envs.make(env.id, **env.config)`` builds the same again.

    Raises:
        ConfigError: A setting out of range, or one that there is not.
        DeviceError: A device this machine does not have.
    """

    __signature__: ClassVar[Signature]

    def __init_subclass__(cls, **keywords: Any) -> None:
        """``inspect.signature(cls)`` and the docstring name the settings one by one, as listings and help read them."""
        super().__init_subclass__(**keywords)
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        if parameters and parameters[-1].kind is Parameter.VAR_KEYWORD:
            hints = get_type_hints(cls.settings_class)
            own = [
                Parameter(each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name])
                for each in fields(cls.settings_class)
            ]
            parameters = [*parameters[:-1], *own]
        cls.__signature__ = Signature(parameters)
        if "__doc__" in vars(cls) and cls.__doc__ and "settings_class" in vars(cls):
            told = [f"    {each.name}: {doc}" for each in fields(cls.settings_class) if (doc := each.metadata["doc"])]
            said = ["Args:", "    num_envs, device, observation: See ``GridEnv``.", *told]
            cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__), "", *said])

    def __init__(
        self,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        observation: str = "flat",
        **settings: Any,
    ) -> None:
        known = [each.name for each in fields(self.settings_class)]
        for name in settings.keys() - known:
            raise ConfigError(f"{type(self).__name__}: expected settings, got {name!r}. {did_you_mean(name, known)}")
        chosen = self.settings_class(**settings)
        self.num_envs = checks.integer("num_envs", num_envs, 1)
        self.device = checks.device(device)
        self.form: Form = (
            "sparse" if checks.choice("observation", observation, ("flat", "sparse")) == "sparse" else "flat"
        )
        self._take(chosen)
        self._seed = checks.seeds(0, self.num_envs, self.device)
        self._episode = torch.zeros_like(self._seed)
        self._key = torch.zeros_like(self._seed)
        self._step = torch.zeros_like(self._seed)
        self._state: StateT | None = None
        self._outcome = self._nothing(self.num_envs)

    def state(self) -> Float[Tensor, "B S"]:
        """What a central critic may see in training, ``[B, S]``; no agent sees it."""
        return self.central(self._current("state"))

    @property
    def action_names(self) -> tuple[str, ...]:
        """What the actions are called; none where they are just numbers, as the symbols of ``relay``."""
        return self.named_actions[: self.num_actions]

    @property
    def state_dim(self) -> int:
        """S, width of ``state()``."""
        return int(self.central(self._blank()).shape[1])

    def adjust(self, **settings: Any) -> None:
        """Change settings named in ``adjustable`` from the next step or reset on, as a curriculum does.

        Raises:
            ConfigError: Another setting, or a value out of range; nothing is changed then.
        """
        for name in settings:
            if name not in self.adjustable:
                known = list(self.adjustable)
                raise ConfigError(f"adjust: expected one of {known}, got {name!r}. {did_you_mean(name, known)}")
        self._take(replace(self.settings, **settings))

    def _take(self, settings: Settings) -> None:
        self.settings, self.config = settings, settings.config()
        self.num_agents, self.num_actions, self.obs_dim, self.max_steps = self.sizes()
        self.build()

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        """Begin new episodes, everywhere or in the environments where ``where [B]`` is True.

        ``seed`` gives environment b the seed ``random.seeds("environment", seed, b)`` (or ``seed[b]``) and restarts its
        count of episodes; it is 0 until one is given. Without ``seed`` the next episode of the same seed begins. Rows
        outside ``where`` keep their state and their last reward and flags.

        Raises:
            ConfigError: ``seed`` is no int in ``[0, 2^63)`` or no such ``[B]`` tensor, or came with ``where``.
            ShapeError, DtypeError: ``where`` is not bool ``[B]``.
            StateError: ``where`` was given before the first full reset.
        """
        if where is not None:
            return self._reset_rows(seed, where)
        if seed is not None:
            self._seed = checks.seeds(seed, self.num_envs, self.device)
            self._episode = torch.zeros_like(self._episode)
        elif self._state is not None:
            self._episode = self._episode + 1
        self._key = self._keys(self._seed, self._episode)
        self._step = torch.zeros_like(self._step)
        self._state = self.initial(self.draws(self._key, 0))
        self._outcome = self._nothing(self.num_envs)
        return self._timestep(self._see(self._state))

    def _reset_rows(self, seed: int | Tensor | None, where: Tensor) -> TimeStep:
        if seed is not None:
            raise ConfigError("reset: expected seed or where, got both. Reset all environments to give new seeds.")
        state = self._current("reset(where=...)")
        where = checks.rows(where, self.num_envs).to(self.device)
        if not (host.may_ask(self.device) or self.reset_asks):
            return self._reset_masked(state, where)
        rows = where.nonzero().squeeze(-1)
        if rows.numel():
            self._episode = self._episode.index_add(0, rows, torch.ones_like(rows))
            key = self._keys(self._seed[rows], self._episode[rows])
            self._key = self._key.index_copy(0, rows, key)
            self._step = self._step.index_fill(0, rows, 0)
            state = _put(rows, self.initial(self.draws(key, 0)), state)
            self._outcome = _put(rows, self._nothing(rows.numel()), self._outcome)
            self._state = state
        return self._timestep(self._see(state))

    def _reset_masked(self, state: StateT, where: Tensor) -> TimeStep:
        """The same, from first states of all environments: more work, and nothing to ask."""
        self._episode = self._episode + where
        self._key = self._keys(self._seed, self._episode)
        self._step = torch.where(where, 0, self._step)
        self._state = self.initial(self.draws(self._key, 0)).where(where, state)
        self._outcome = self._nothing(self.num_envs).where(where, self._outcome)
        return self._timestep(self._see(self._state))

    def step(self, action: Int[Tensor, "B N"]) -> TimeStep:
        """Advance by ``action [B, N]`` int64; values of agents that are not alive are ignored.

        Raises:
            StateError: Before the first reset, or while an environment is at its end.
            ActionError: Another shape or type, or a value outside ``[0, A)``; names environment and agent.
            DeviceError: The action lies on another device.
        """
        state = self._current("step")
        ended = self._outcome.terminated | self._outcome.truncated
        host.refuse(ended, lambda: checks.over(ended))
        mortal = type(self).alive is not GridEnv.alive
        alive, shape = self.alive(state) if mortal else None, (self.num_envs, self.num_agents)
        action = checks.actions(action, alive, shape, self.num_actions, self.device)
        self._step = self._step + 1
        self._state, self._outcome, seen = self._proceed(state, action, self._key, self._step)
        return self._timestep(seen)

    def _proceed(self, state: StateT, action: Tensor, key: Tensor, step: Tensor) -> tuple[StateT, _Outcome, _Seen]:
        """A step as one function of tensors, for ``compile``."""
        state, reward, flags = self.transition(state, action, self.draws(key, step))
        truncated = (step >= self.max_steps) & ~flags.terminated
        return state, _Outcome(reward, flags.terminated, truncated, flags.success, flags.entered), self._see(state)

    def compile(self) -> None:
        """From now on ``step`` runs through ``torch.compile``: a minute of work once, then fewer passes over memory.

        Needs a C++ compiler. The numbers are those of the uncompiled environment up to the last bit of a float.
        """
        rule = type(self)._proceed
        # A code object of its own: torch limits how often one is compiled, and every environment shares this one.
        own = FunctionType(
            rule.__code__.replace(), rule.__globals__, rule.__name__, rule.__defaults__, rule.__closure__
        )
        # Torch's own vectors treat short axes by masked tails; plain loops, left to the compiler, are twice as fast.
        options: dict[str, Any] = {"cpp.simdlen": 1} if self.device.type == "cpu" else {}
        compiled = torch.compile(own, dynamic=False, fullgraph=True, options=options)
        self._proceed = partial(compiled, self)  # type: ignore[method-assign]

    def floor_action(self, key: Int[Tensor, " B"]) -> Int[Tensor, "B N"]:
        """Uniformly random actions, a function of ``key [B]`` and the current step."""
        key = checks.keys(key, self.num_envs)
        agents = torch.arange(self.num_agents, device=self.device)
        return random.integers(random.stream(key, "floor")[:, None], self.num_actions, self._step[:, None], agents)

    def ceiling_action(self) -> Int[Tensor, "B N"]:
        """What a policy that sees the whole state does now."""
        return self.solve(self._current("ceiling_action"))

    def render(self, mode: Literal["rgb", "text"] = "rgb", env: int = 0, cell: int = 16) -> NDArray[np.uint8] | str:
        """Environment ``env`` now: uint8 ``[rows * cell, columns * cell, 3]``, or text; see ``envs.frame.render``.

        Raises:
            StateError: Before the first reset. ConfigError: Another mode, no such environment, ``cell`` below 2.
        """
        scene = self._scene(self._current("render"))
        if checks.choice("mode", mode, ("rgb", "text")) == "text":
            return render.to_text(scene, env)
        return render.to_rgb(scene, env, cell)

    def scene(self) -> Scene:
        """What there is to draw now; shares no memory with the environment."""
        return self._scene(self._current("scene"))

    def _scene(self, state: StateT) -> Scene:
        scene = self.describe(state)
        return scene if scene.present is not None else replace(scene, present=self.alive(state).clone())

    def departed(self) -> tuple[Bool[Tensor, "B N"], dict[str, Tensor]]:
        """Who is gone now ``[B, N]``, and for tensors of ``state_dict`` which rows tell of those who are gone."""
        gone = self.gone(self._current("departed"))
        return gone.agents, {f"state.{name}": rows for name, rows in gone.of_state.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Everything the future and the current time step depend on, copied."""
        state = self._current("state_dict")
        counters = {"seed": self._seed, "episode": self._episode, "step": self._step}
        found = counters | self._outcome.tensors("outcome.") | state.tensors("state.")
        return {name: value.detach().clone() for name, value in found.items()}

    def held(self) -> _Held[StateT]:
        """All tensors that the next step depends on and replaces, as they are; see ``gnncomm.types.Held``."""
        return _Held(self._seed, self._episode, self._key, self._step, self._current("held"), self._outcome)

    def hold(self, held: _Held[StateT]) -> None:
        """Go on from these tensors."""
        self._seed, self._episode, self._key, self._step = held.seed, held.episode, held.key, held.step
        self._state, self._outcome = held.state, held.outcome

    def load_state_dict(self, state: Mapping[str, Tensor]) -> TimeStep:
        """Continue from what ``state_dict`` returned; gives the time step that was current then.

        Raises:
            StateError: Missing or unknown names (the state of another environment).
            ShapeError, DtypeError: A tensor of another shape or type; names it.
        """
        blank, nothing = self._blank(), self._nothing(self.num_envs)
        counters = {"seed": self._seed, "episode": self._episode, "step": self._step}
        expected = counters | nothing.tensors("outcome.") | blank.tensors("state.")
        checks.saved_state(state, expected, self.id)
        copied = {name: value.to(self.device, copy=True) for name, value in state.items()}
        self._seed, self._episode, self._step = copied["seed"], copied["episode"], copied["step"]
        self._key = self._keys(self._seed, self._episode)
        self._outcome = nothing.with_tensors(copied, "outcome.")
        self._state = blank.with_tensors(copied, "state.")
        return self._timestep(self._see(self._state))

    def __repr__(self) -> str:
        settings_ = "".join(f", {name}={value!r}" for name, value in self.config.items())
        return f"{type(self).__name__}(num_envs={self.num_envs}{settings_})"

    @staticmethod
    def _keys(seed: Tensor, episode: Tensor) -> Tensor:
        return random.bits(random.stream(seed, "episode"), episode)

    def _blank(self) -> StateT:
        """Some first state: what names, shapes and types a state has."""
        return self.initial(self.draws(torch.zeros_like(self._seed), 0))

    def _nothing(self, rows: int) -> _Outcome:
        no = torch.zeros(rows, dtype=torch.bool, device=self.device)
        reward = torch.zeros(rows, self.num_agents, device=self.device)
        entered = torch.zeros_like(reward, dtype=torch.bool) if self.renews else None
        return _Outcome(reward, no, no.clone(), no.clone(), entered)

    def _current(self, verb: str) -> StateT:
        if self._state is None:
            raise StateError(f"{verb}: expected a running episode, but there was no reset yet. Call reset() first.")
        return self._state

    def _see(self, state: StateT) -> _Seen:
        return _Seen(self.observe(state, self.form), self.alive(state), self.positions(state), self.allowed(state))

    def _timestep(self, seen: _Seen) -> TimeStep:
        """Fresh tensors throughout: what the caller does to them reaches neither the state nor the counters."""
        outcome = self._outcome.map(torch.clone)
        going = seen.alive & ~outcome.terminated[:, None]
        return TimeStep(
            obs=seen.obs,
            reward=outcome.reward,
            discount=(going if outcome.entered is None else going & ~outcome.entered).to(outcome.reward.dtype),
            alive=seen.alive,
            terminated=outcome.terminated,
            truncated=outcome.truncated,
            success=outcome.success,
            first=self._step == 0,
            key=self._key.clone(),
            step=self._step.clone(),
            pos=seen.pos,
            action_mask=seen.allowed,
            entered=outcome.entered,
        )
