"""One foreign environment as rows of fixed width, and the contract it must keep. Runs in worker processes only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from gnncomm.integrations.form import Form, Task
from gnncomm.integrations.sources import BreachError, SettingError, build, function, short

Array = np.ndarray[Any, Any]
_LARGEST = float(np.finfo(np.float32).max)
_SIDE = 512
_WIDEST = 2**24
"""Numbers that all agents observe together, and actions that they can choose from."""


class Slot:
    """One environment: writes what it gives into row ``number`` of ``records``, after checking it."""

    def __init__(self, env: Any, task: Task) -> None:
        self.env, self.task = env, task
        self.names: list[Any] = _distinct("possible_agents", list(_member(env, "possible_agents")))
        if not self.names:
            raise BreachError(None, "possible_agents", "expected at least one agent, got none")
        self.row = {name: n for n, name in enumerate(self.names)}
        self.views = [env.observation_space(name) for name in self.names]
        self.moves = [env.action_space(name) for name in self.names]
        self.live: list[str] = []
        self.used = False
        self.place = None if task.pos_function is None else function(task.pos_function)
        masked = [self._is_masked(space) for space in self.views]
        self.plain = [view["observation"] if yes else view for view, yes in zip(self.views, masked, strict=True)]
        low, high = self._bounds()
        self.form = Form(
            agents=_distinct("possible_agents", [str(name) for name in self.names]),
            widths=[self._width(name, space) for name, space in zip(self.names, self.plain, strict=True)],
            actions=[self._count(name, space) for name, space in zip(self.names, self.moves, strict=True)],
            masked=any(masked),
            coordinates=0,
            low=low,
            high=high,
        )
        self.masked = masked
        _require_size(self.form)

    @staticmethod
    def _is_masked(space: Any) -> bool:
        return isinstance(space, spaces.Dict) and set(space.spaces) == {"observation", "action_mask"}

    @staticmethod
    def _width(name: str, space: Any) -> int:
        try:
            return int(spaces.flatdim(space))
        except (NotImplementedError, ValueError) as error:
            raise SettingError(
                f"expected observations that can be flattened to a vector, got {space} of {name!r} ({error})."
            ) from error

    @staticmethod
    def _count(name: str, space: Any) -> int:
        if isinstance(space, spaces.Discrete):
            return int(space.n)
        if isinstance(space, spaces.Box) and space.dtype.kind == "f" and space.is_bounded() and 0 not in space.shape:
            return math.prod(space.shape)
        raise SettingError(
            f"expected Discrete actions or a bounded Box of floats, got {space} of {name!r}. Look for a setting of the "
            "environment that makes them so, or wrap it in a function of your own."
        )

    def _bounds(self) -> tuple[list[list[float]], list[list[float]]]:
        """Of the numbers that actions consist of, filled up with 0; none where actions are choices."""
        boxes = [space for space in self.moves if isinstance(space, spaces.Box)]
        if not boxes:
            return [], []
        if len(boxes) < len(self.moves):
            raise SettingError(
                f"expected Discrete actions of all agents or Box of all, got {self.moves}. Wrap it in a function of "
                "your own."
            )
        width = max(map(self._count, self.names, boxes))
        low, high = (
            [np.pad(np.ravel(side), (0, width - side.size)).astype(float).tolist() for side in sides]
            for sides in ([space.low for space in boxes], [space.high for space in boxes])
        )
        return low, high

    def _move(self, n: int, action: Any) -> Any:
        """What agent n does, as its space has it."""
        space = self.moves[n]
        if not self.form.low:
            return int(space.start + action)
        chosen = action[: self.form.actions[n]].reshape(space.shape).astype(space.dtype)
        return np.clip(chosen, space.low, space.high)  # float32 may round over a bound

    def require_form(self, form: Form) -> None:
        """Refuse an environment with other agents, widths or actions than the first one has."""
        for field, mine in vars(self.form).items():
            if mine != getattr(form, field):
                raise BreachError(
                    None,
                    field,
                    f"expected the same in all environments, {short(getattr(form, field))}, got {short(mine)}",
                )

    def reset(self, seed: int, records: Array, number: int) -> None:
        """Begin the episode of ``seed``."""
        if self.task.fresh and self.used:
            self.env.close()
            self.env = build(self.task)
        self.used = True
        observations, _ = self._dicts(self.env.reset(seed=seed), ("observation", "info"), "reset")
        self.live = self._present()
        if not self.live:
            raise BreachError(None, "agents", "expected living agents after reset, got none")
        record = records[number]
        self._blank(record)
        for name in self.live:
            record["alive"][self.row[name]] = record["discount"][self.row[name]] = True
        self._look(record, observations, self.live)
        self._locate(record, observations, self.live)

    def picture(self) -> Array | None:
        """``[height, width, 3]`` uint8 as the environment draws itself now, at most ``_SIDE`` points high and wide."""
        if not self.task.pictures or getattr(self.env, "render_mode", None) != "rgb_array":
            return None
        drawn = np.asarray(self.env.render())
        if drawn.dtype != np.uint8 or drawn.ndim != 3 or drawn.shape[2] != 3 or 0 in drawn.shape:
            raise BreachError(
                None, "render", f"expected uint8 [height, width, 3] of render_mode rgb_array, got {short(drawn)}"
            )
        block = -(-max(drawn.shape) // _SIDE)
        height, width = (max(side // block, 1) for side in drawn.shape[:2])
        cut = drawn[: height * block, : width * block]
        if block == 1:
            return cut
        means: Array = cut.reshape(height, -1, width, cut.shape[1] // width, 3).mean((1, 3)).astype(np.uint8)
        return means

    def step(self, actions: Array, records: Array, number: int) -> None:
        """Let the living act, each with its row of ``actions [N]`` or ``[N, A]``."""
        acted = self.live
        moves = {name: self._move(self.row[name], actions[self.row[name]]) for name in acted}
        fields = ("observation", "reward", "termination", "truncation", "info")
        observations, rewards, ends, cuts, infos = self._dicts(self.env.step(moves), fields, "step")
        for field, values in (("reward", rewards), ("termination", ends), ("truncation", cuts)):
            self._require_agents(field, values, acted)
        ended = {name: self._flag(name, "termination", ends[name]) for name in acted}
        cut = {name: self._flag(name, "truncation", cuts[name]) and not ended[name] for name in acted}
        record = records[number]
        before = record.copy()
        self._blank(record)
        for name in acted:
            record["reward"][self.row[name]] = self._reward(name, rewards[name])
        self.live = self._survivors([name for name in acted if not ended[name] and not cut[name]], acted)
        if not self.live:
            record["truncated"] = any(cut.values())
            record["terminated"] = not any(cut.values())
        left = [name for name in acted if cut[name]]  # a return that was cut goes on, unobserved
        seen = self.live or left
        for name in seen:
            n = self.row[name]
            record["alive"][n] = True
            record["discount"][n] = name in acted
            record["entered"][n] = name not in acted
        self._look(record, observations, seen)
        self._locate(record, observations, seen)
        if self.live:
            self._part(record, before, observations, [name for name in left if name in observations])
        told = [self._success(infos, name) for name in acted]
        record["success"], record["judged"] = bool(told) and all(told), any(one is not None for one in told)

    def _part(self, record: Any, before: Any, observations: Mapping[str, Any], left: list[str]) -> None:
        """Keep the last observation of those who were truncated while others go on; a function of the user's gives
        positions of the living only, so there they stand where they were.
        """
        self._look(record, observations, left)
        for name in left:
            n = self.row[name]
            record["discount"][n] = record["cut"][n] = True
            if self.form.coordinates:
                record["pos"][n] = before["pos"][n]
        if self.place is None:
            self._locate(record, observations, left)

    def _blank(self, record: Any) -> None:
        for field in record.dtype.names:
            record[field] = 0
        if self.form.offers_mask:
            for n, count in enumerate(self.form.actions):
                record["mask"][n, :count] = True

    def _survivors(self, expected: list[str], acted: list[str]) -> list[str]:
        present = self._present()
        for name in present:
            if name in acted and name not in expected:
                raise BreachError(name, "agents", "expected an agent that terminated or was truncated to leave")
            if name not in acted and not self.task.newcomers:
                raise BreachError(
                    name,
                    "agents",
                    "expected no agent to appear within an episode, but this one did; newcomers=True allows it",
                )
        for name in expected:
            if name not in present:
                raise BreachError(name, "agents", "left without having terminated or been truncated")
        return present

    def _present(self) -> list[str]:
        present = _distinct("agents", list(_member(self.env, "agents")))
        unknown = [name for name in present if name not in self.row]
        if unknown:
            raise BreachError(str(unknown[0]), "agents", f"expected one of possible_agents {self.names}")
        return [name for name in self.names if name in set(present)]

    def _dicts(self, given: Any, fields: tuple[str, ...], verb: str) -> tuple[Any, ...]:
        if not isinstance(given, tuple) or len(given) != len(fields):
            raise BreachError(None, verb, f"expected a tuple of {len(fields)} dicts, got {short(given)}")
        for field, values in zip(fields, given, strict=True):
            if not isinstance(values, dict):
                raise BreachError(None, field, f"expected a dict keyed by agent, got {short(values)}")
        for name, info in given[-1].items():
            if name in self.row and not isinstance(info, dict):
                raise BreachError(name, "info", f"expected a dict, got {short(info)}")
        return given

    def _require_agents(self, field: str, values: Mapping[str, Any], acted: list[str]) -> None:
        for name in acted:
            if name not in values:
                raise BreachError(name, field, f"expected one for each of {acted}, got none")
        for name in values:
            if name not in self.row:
                raise BreachError(str(name), field, f"expected only possible_agents {self.names}")

    @staticmethod
    def _flag(name: str, field: str, value: Any) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise BreachError(name, field, f"expected a bool, got {short(value)}")
        return bool(value)

    @staticmethod
    def _reward(name: str, value: Any) -> float:
        whole = np.asarray(value)
        if whole.shape != () or whole.dtype.kind not in "fiu":
            raise BreachError(name, "reward", f"expected a number, got {short(value)}")
        number = float(whole)
        if not abs(number) <= _LARGEST:
            raise BreachError(name, "reward", f"expected a finite number that float32 holds, got {number:g}")
        return number

    @staticmethod
    def _success(infos: Mapping[str, Any], name: str) -> bool | None:
        """None: the environment does not say."""
        success = infos.get(name, {}).get("success")
        return bool(success) if isinstance(success, bool | np.bool_) else None

    def _look(self, record: Any, observations: Mapping[str, Any], seen: Iterable[str]) -> None:
        """Flatten and pad what the agents in ``seen`` observe."""
        for name in seen:
            n = self.row[name]
            if name not in observations:
                raise BreachError(name, "observation", "expected one for each living agent, got none")
            value = observations[name]
            if self.masked[n]:
                if not isinstance(value, dict) or set(value) != {"observation", "action_mask"}:
                    raise BreachError(
                        name, "observation", f"expected {{'observation', 'action_mask'}}, got {short(value)}"
                    )
                self._mask(record, n, value["action_mask"])
                value = value["observation"]
            vector = self._vector(name, n, value)
            record["obs"][n, : len(vector)] = vector

    def _vector(self, name: str, n: int, value: Any) -> Array:
        space = self.plain[n]
        if self.task.strict and not space.contains(value):
            raise BreachError(name, "observation", _why_outside(space, value))
        wide = np.asarray(value if isinstance(space, spaces.Box) else spaces.flatten(space, value)).ravel()
        with np.errstate(over="ignore"):  # what becomes infinite is named below
            flat = wide.astype(np.float32)
        if len(flat) != self.form.widths[n]:
            raise BreachError(name, "observation", f"expected {self.form.widths[n]} numbers, got {len(flat)}")
        if not np.isfinite(flat).all():
            got = wide[~np.isfinite(flat)][0]
            raise BreachError(
                name, "observation", f"expected finite numbers that float32 holds, got {got} at {_first(flat)}"
            )
        return flat

    def _mask(self, record: Any, n: int, value: Any) -> None:
        name, count = self.names[n], self.form.actions[n]
        mask = np.asarray(value)
        if mask.shape != (count,) or mask.dtype.kind not in "biu" or not np.isin(mask, (0, 1)).all():
            raise BreachError(name, "action_mask", f"expected {count} integers 0 or 1, got {short(value)}")
        if not mask.any():
            raise BreachError(name, "action_mask", "expected at least one allowed action, got none")
        record["mask"][n, :count] = mask

    def _locate(self, record: Any, observations: Mapping[str, Any], seen: list[str]) -> None:
        if not self.form.coordinates:
            return
        for name, at in self.positions(observations, seen).items():
            if len(at) != self.form.coordinates:
                raise BreachError(name, "pos", f"expected {self.form.coordinates} coordinates, got {len(at)}")
            record["pos"][self.row[name]] = at

    def positions(self, observations: Mapping[str, Any], seen: list[str]) -> dict[str, Array]:
        """Where the agents in ``seen`` are: a slice of their observations, or what the user's function says."""
        found: dict[str, Array] = {}
        given = self.place(self.env) if self.place is not None else None
        if given is not None and not isinstance(given, Mapping):
            raise BreachError(None, "pos", f"expected a dict from agents to coordinates, got {short(given)}")
        for name in seen:
            n = self.row[name]
            if given is None:
                assert self.task.pos_slice is not None  # one of the two was named
                value = observations[name]["observation"] if self.masked[n] else observations[name]
                at = self._vector(name, n, value)[slice(*self.task.pos_slice)]
            elif name in given:
                with np.errstate(over="ignore"):
                    at = np.asarray(given[name], dtype=np.float32)
            else:
                raise BreachError(name, "pos", "expected coordinates for each living agent, got none")
            if at.ndim != 1 or not len(at) or not np.isfinite(at).all():
                raise BreachError(name, "pos", f"expected one or more finite coordinates, got {short(at)}")
            found[name] = at
        return found

    def measure_positions(self) -> int:
        """P, found out by a trial reset; 0 where no positions were named."""
        if self.task.pos_slice is None and self.place is None:
            return 0
        self.used = True
        observations, _ = self._dicts(self.env.reset(seed=0), ("observation", "info"), "reset")
        return len(next(iter(self.positions(observations, self._present()).values())))


def _member(env: Any, name: str) -> Any:
    try:
        return getattr(env, name)
    except AttributeError as error:
        raise BreachError(None, name, "expected this attribute, got none") from error


def _require_size(form: Form) -> None:
    for what, width in (("numbers to observe", form.width), ("actions", form.num_actions)):
        if width * len(form.agents) > _WIDEST:
            raise SettingError(
                f"expected {what} of at most {_WIDEST:,} for the whole team, got {width:,} for each of "
                f"{len(form.agents)} agents. Wrap it in a function of your own."
            )


def _first(flat: Array) -> int:
    return int(np.flatnonzero(~np.isfinite(flat))[0])


def _why_outside(space: Any, value: Any) -> str:
    if isinstance(space, spaces.Box):
        array = np.asarray(value)
        if array.shape != space.shape:
            return f"expected shape {space.shape}, got {array.shape}"
        if array.dtype.kind not in "fiub":
            return f"expected {space.dtype}, got {array.dtype}"
        if array.dtype.kind == "f" and np.isnan(array).any():
            return f"expected numbers, got nan at {int(np.flatnonzero(np.isnan(array))[0])}"
        if not np.can_cast(array.dtype, space.dtype):
            return f"expected {space.dtype}, got {array.dtype}"
        outside = np.flatnonzero((array < space.low) | (array > space.high))
        if len(outside):
            at = int(outside[0])
            low, high, got = space.low.ravel()[at], space.high.ravel()[at], array.ravel()[at]
            return f"expected entry {at} in [{low}, {high}], got {got}"
    return f"expected an element of {space}, got {short(value)}"


def _distinct(field: str, names: list[Any]) -> list[Any]:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BreachError(str(twice), field, "expected each agent once, got it twice")
    return names
