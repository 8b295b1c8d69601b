"""Small PettingZoo environments, well-behaved ones and others. Worker processes import this file by name."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import AECEnv, ParallelEnv

NAMES = ["left_0", "mid_0", "right_0"]


class Toy(ParallelEnv):
    """Three agents that observe noise of their own seed, the time and the sum of all actions so far.

    ``left_0`` observes 2 numbers and has 2 actions, the others observe 3 and have 3 (numbered from 1). ``left_0``
    terminates in step ``death``; the episode ends in step ``length``, as ``end`` says. ``fault`` happens in step
    ``at``.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "toy_v0"}

    def __init__(
        self,
        length: int = 4,
        death: int = 99,
        end: str = "truncate",
        fault: str = "none",
        at: int = 2,
        masked: bool = False,
        seconds: float = 1000.0,
    ) -> None:
        self.length, self.death, self.end, self.fault, self.at = length, death, end, fault, at
        self.seconds, self.masked, self.total = seconds, masked, 0
        self.possible_agents = list(NAMES)
        self.agents: list[str] = []
        self.acted: dict[str, int] = {}
        box = {name: spaces.Box(-100, 100, (2 if name == "left_0" else 3,), np.float32) for name in NAMES}
        self.views: dict[str, Any] = dict(box)
        self.moves = {name: spaces.Discrete(2) if name == "left_0" else spaces.Discrete(3, start=1) for name in NAMES}
        if masked:
            self.views = {
                name: spaces.Dict(
                    {"observation": box[name], "action_mask": spaces.Box(0, 1, (self.moves[name].n,), np.int8)}
                )
                for name in NAMES
            }

    def observation_space(self, agent: str) -> Any:
        return self.views[agent]

    def action_space(self, agent: str) -> Any:
        return self.moves[agent]

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        if self.fault == "says":
            print("from the environment", flush=True)
            os.system("echo from a shell")
        if self.fault == "asks":
            input("which way? ")
        if self.fault.startswith("starts"):
            start_others(self.fault)
        if self.fault == "raise_reset":
            raise ZeroDivisionError("no reset today")
        left = self.total if self.fault == "lingers" else 0
        self.rng, self.t, self.total = np.random.default_rng(seed), 0, left
        self.agents = list(NAMES)
        if self.fault == "late_start":
            self.agents.remove("mid_0")
        if self.fault == "nobody":
            self.agents = []
        infos: Any = {name: {} for name in self.agents}
        return self._see(self.agents), (3 if self.fault == "reset_infos" else infos)

    def _see(self, agents: list[str]) -> dict[str, Any]:
        noise = float(self.rng.random())
        if self.fault == "global_rng":
            noise = float(np.random.random())
        if self.fault == "clock":
            noise = time.perf_counter() % 1
        numbers = [noise, float(self.t), float(self.total)]
        seen: dict[str, Any] = {
            name: np.array(numbers[: 2 if name == "left_0" else 3], dtype=np.float32) for name in agents
        }
        if self.masked:
            for name in agents:
                mask = np.ones(self.moves[name].n, np.int8)
                mask[self.t % 2] = 0
                seen[name] = {"observation": seen[name], "action_mask": mask}
        return seen

    def step(self, actions: dict[str, int]) -> Any:
        self.t += 1
        self.acted = dict(actions)
        self.total += sum(actions.values())
        before, last = list(self.agents), self.t >= self.length
        ends = {
            name: (name == "left_0" and self.t >= self.death) or (last and self.end == "terminate") for name in before
        }
        cuts = dict.fromkeys(before, last and self.end == "truncate")
        if last and self.end == "mixed":
            ends, cuts = {n: n != "mid_0" for n in before}, {n: n == "mid_0" for n in before}
        if last and self.end == "both":
            ends, cuts = dict.fromkeys(before, True), dict.fromkeys(before, True)
        if self.t == 2 and self.end == "cut_one":
            cuts["right_0"] = True
        self.agents = [name for name in before if not ends[name] and not cuts[name]]
        rewards: dict[str, Any] = {name: float(actions[name]) for name in before}
        infos: dict[str, Any] = {name: {"success": self.total > 6, "at": [self.t, self.total]} for name in before}
        given: list[Any] = [self._see(before), rewards, ends, cuts, infos]
        if self.t == self.at:
            given = self._spoil(given)
        if self.fault == "newcomer" and self.t == 3:
            self.agents = list(NAMES)
            given[0] = self._see(NAMES)
        return tuple(given)

    def _spoil(self, given: list[Any]) -> list[Any]:
        seen, rewards, ends, _, infos = given
        fault, name = self.fault, "mid_0"
        if fault == "dtype":
            seen[name] = seen[name].astype(np.float64)
        elif fault == "text":
            seen[name] = np.array(["a", "b", "c"])
        elif fault == "shape":
            seen[name] = seen[name][:2]
        elif fault == "outside":
            seen[name][1] = 101
        elif fault == "nan":
            seen[name][2] = np.nan
        elif fault == "no_view":
            del seen[name]
        elif fault == "no_view_of_cut":
            del seen["right_0"]
        elif fault == "bare":
            seen[name] = np.zeros(3, np.float32)
        elif fault == "no_move":
            seen[name]["action_mask"][:] = 0
        elif fault == "bad_mask":
            seen[name]["action_mask"] = np.full(3, 2, np.int8)
        elif fault == "reward_nan":
            rewards[name] = float("nan")
        elif fault == "reward_large":
            rewards[name] = 1e300
        elif fault == "view_large":
            self.views[name] = spaces.Box(-1e300, 1e300, (3,), np.float64)
            seen[name] = np.array([0, -1e300, 0])
        elif fault == "twice":
            self.agents.append(name)
        elif fault == "long":
            raise ValueError("x" * 1_000_000)
        elif fault.startswith("pipe "):
            os.write(pipe(), bytes.fromhex(fault[5:]))
        elif fault.endswith(" and dies"):
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "reward_text":
            rewards[name] = "much"
        elif fault == "no_reward":
            del rewards[name]
        elif fault == "reward_of_unknown":
            rewards["ghost_0"] = 0.0
        elif fault == "done_of_unknown":
            ends["ghost_0"] = True
        elif fault == "flag":
            ends[name] = None
        elif fault == "info":
            infos[name] = [1]
        elif fault == "infos":
            given[4] = None
        elif fault == "four":
            del given[3]
        elif fault == "leaves":
            self.agents.remove(name)
        elif fault == "stays":
            ends[name] = True
        elif fault == "unknown":
            self.agents.append("ghost_0")
        elif fault == "newcomer":
            self.agents.remove(name)
            ends[name] = True
        elif fault == "raise":
            raise ZeroDivisionError("one by nothing")
        elif fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "exit":
            os._exit(7)
        elif fault == "hang":
            time.sleep(self.seconds)
        elif fault == "spin":
            while True:
                pass
        elif fault == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        return given

    def close(self) -> None:
        if self.fault == "slow_close":
            time.sleep(self.seconds)
        if self.fault.startswith("/"):
            with open(self.fault, "a") as file:
                file.write("closed\n")


def pipe() -> int:
    """The descriptor on which the worker answers, found as an environment would by accident."""
    links = [f"/proc/self/fd/{fd}" for fd in range(3, 64)]
    return next(int(link[14:]) for link in links if os.path.lexists(link) and "socket:" in os.readlink(link))


def start_others(how: str) -> None:
    """Processes that would run for an hour: a child, one of another session, one without parent or environment."""
    mark = os.environ.get("STRANGE_SLEEP", "3600.25")
    sleep = ["sleep", mark]
    subprocess.Popen(sleep)
    subprocess.Popen(sleep, start_new_session=True, env={})
    subprocess.run(["sh", "-c", f"setsid sleep {mark} & setsid sh -c 'sleep {mark} & sleep {mark}' &"], check=True)
    if os.fork() == 0:  # holds all that the worker holds, the pipe too
        os.execvp("sleep", sleep) if "exec" in how else time.sleep(3600)


class Uneven(Toy):
    """Every other one has other numbers."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).made += 1
        if type(self).made % 2 == 0:
            self.moves["mid_0"] = spaces.Discrete(7)


class Twins(Toy):
    """Two agents of one name."""

    def __init__(self) -> None:
        super().__init__()
        self.possible_agents = ["left_0", "mid_0", "mid_0"]


class Bare(ParallelEnv):
    """Agents of any ``names`` that see one number and have so many ``actions``; lasts a step, and is a success."""

    metadata: ClassVar[dict[str, Any]] = {"name": "bare_v0"}

    def __init__(self, names: list[Any], actions: int = 2, numbers: int = 1) -> None:
        self.possible_agents, self.agents = list(names), []
        self.move, self.view = spaces.Discrete(actions), spaces.MultiBinary(numbers)

    def observation_space(self, agent: Any) -> Any:
        return self.view

    def action_space(self, agent: Any) -> Any:
        return self.move

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents = list(self.possible_agents)
        return {name: self.view.sample() for name in self.agents}, {}

    def step(self, actions: dict[Any, int]) -> Any:
        names, self.agents = self.agents, []
        ends, rewards = dict.fromkeys(names, True), {name: float(actions[name]) for name in names}
        infos = {name: {"success": np.bool_(True), 3: object()} for name in names}
        return {}, rewards, ends, dict.fromkeys(names, False), infos


parallel_env = toy = Toy


def not_parallel() -> AECEnv:
    return AECEnv()


def unbounded() -> Toy:
    env = Toy()
    env.moves = dict.fromkeys(NAMES, spaces.Box(-np.inf, np.inf, (2,)))  # type: ignore[arg-type]
    return env


def of_both_kinds() -> Toy:
    env = Toy()
    env.moves["mid_0"] = spaces.Box(-1, 1, (2,))  # type: ignore[assignment]
    return env


class Steered(Toy):
    """Actions are numbers: one from -1 to 1 of ``left_0``, two from 0 to 3 of the others, paid for their sum."""

    def __init__(self, length: int = 4, death: int = 99, **settings: Any) -> None:
        super().__init__(length, death, **settings)
        wide = spaces.Box(np.zeros((2, 1)), np.full((2, 1), 3.0), dtype=np.float64)
        self.moves = {"left_0": spaces.Box(-1, 1, (1,)), "mid_0": wide, "right_0": wide}  # type: ignore[assignment]

    def step(self, actions: dict[str, Any]) -> Any:
        for name, action in actions.items():
            space = self.moves[name]
            assert isinstance(action, np.ndarray), action
            assert action.dtype == space.dtype, action.dtype
            assert space.contains(action), action
        return super().step({name: float(action.sum()) for name, action in actions.items()})  # type: ignore[misc]


class Aim(ParallelEnv):
    """Two agents see a number from -1 to 1 each, and are to name 0.8 times that of the other; lasts two steps.

    ``opposed``: the second one, ``runner_0``, is paid for what the first, ``seeker_0``, loses.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "aim_v0"}

    def __init__(self, opposed: bool = False) -> None:
        self.possible_agents = ["seeker_0", "runner_0"] if opposed else ["agent_0", "agent_1"]
        self.opposed = opposed
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Any:
        return spaces.Box(-1, 1, (1,))

    def action_space(self, agent: str) -> Any:
        return spaces.Box(-1, 1, (1,))

    def _see(self) -> dict[str, Any]:
        return {name: self.seen[n : n + 1].astype(np.float32) for n, name in enumerate(self.possible_agents)}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.rng, self.t = np.random.default_rng(seed), 0
        self.seen = self.rng.uniform(-1, 1, 2)
        self.agents = list(self.possible_agents)
        return self._see(), {name: {} for name in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        errors = [float(actions[name][0] - 0.8 * self.seen[1 - n]) ** 2 for n, name in enumerate(self.possible_agents)]
        self.t += 1
        self.seen = self.rng.uniform(-1, 1, 2)
        names, over = self.agents, self.t == 2
        paid = [-errors[0], errors[0]] if self.opposed else [-error for error in errors]
        rewards = dict(zip(names, paid, strict=True))
        self.agents = [] if over else names
        flags = dict.fromkeys(names, over)
        return self._see(), rewards, dict.fromkeys(names, False), flags, {name: {} for name in names}


def touch(command: str) -> None:
    """A function that makes no environment, and says so."""
    os.system(command)


def touch_as_any(command: str):  # type: ignore[no-untyped-def]  # what the test is about
    """One that promises nothing."""
    os.system(command)


class Maker:
    """An object that can be called."""

    def __call__(self) -> Toy:
        return Toy()


Callable_env = Maker()


def where(env: Toy) -> dict[str, list[float]]:
    """Positions for ``pos="strange_envs:where"``."""
    return {name: [float(n), float(env.t)] for n, name in enumerate(env.agents or NAMES)}


def where_not(env: Toy) -> dict[str, list[float]]:
    return {"left_0": [0.0, 0.0]}


def where_at_all(env: Toy) -> list[float]:
    return [0.0]


class Pair(gymnasium.Env):
    """Two agents in a Gymnasium environment with ``Tuple`` spaces; ``wrong`` gives only one reward."""

    def __init__(self, wrong: bool = False) -> None:
        self.wrong = wrong
        self.observation_space = spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2)))  # type: ignore[assignment]
        self.action_space = spaces.Tuple((spaces.Discrete(2), spaces.Discrete(2)))  # type: ignore[assignment]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.t = 0
        return (np.int64(1), np.array([1, 0], np.int8)), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        rewards = [1] if self.wrong else [float(action[0]), float(action[1])]
        return (np.int64(2), np.array([0, 1], np.int8)), rewards, self.t == 2, False, {"success": True}


gymnasium.register("StrangePair-v0", Pair)


class Painter(Toy):
    """Draws itself: red on the left, blue on the right, 700 points high and 1030 wide; or what it may not draw."""

    metadata: ClassVar[dict[str, Any]] = {"name": "painter_v0", "render_modes": ["human", "rgb_array"]}

    def __init__(self, render_mode: str | None = None, faulty: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.render_mode, self.faulty = render_mode, faulty

    def render(self) -> Any:
        assert self.render_mode == "rgb_array"
        picture = np.zeros((700, 1030, 3), np.float32 if self.faulty else np.uint8)
        picture[:, :515, 0], picture[:, 515:, 2] = 200, 200
        return picture


def painted() -> ParallelEnv:
    """Takes no ``render_mode``."""
    return Painter()
