"""Hallway (join): agents on corridors of their own must reach the goal in the same step."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, Observation, Scene, SparseObs

from .frame.base import Flags, Form, Gone, GridEnv, Settings, Sizes
from .frame.rules import Kind
from .frame.settings import checked, choice, integer, number

_MOVES = (0, -1, 1)  # stay, towards the goal, away from it
_DEFAULT_LENGTHS = (4, 6)
_TOGETHER = 1.5  # what several groups in one step lose, as a multiple of what they win


@dataclass(frozen=True)
class HallwayDraws(Batch):
    """Where agents begin (empty after a reset), and who stands on a slippery cell now."""

    start: Int[Tensor, "B C"]
    stuck: Bool[Tensor, "B N"]


@dataclass(frozen=True)
class HallwayState(Batch):
    """Distances to the goal; who cannot move in this step; which groups are still at it, and which have won."""

    distance: Int[Tensor, "B N"]
    stuck: Bool[Tensor, "B N"]
    active: Bool[Tensor, "B G"]
    won: Bool[Tensor, "B G"]


@dataclass(frozen=True)
class HallwaySettings(Settings):
    """See ``Hallway``."""

    num_agents: int = integer(None, 1, doc="N; the number of ``lengths``, or 2, if None.")
    lengths: str = checked(
        None,
        lambda name, value, own: _parse_lengths(value),
        doc='Corridor of each agent, groups separated by ``|``: ``"4,6"``, ``"3,5|4,6,10"``; 4, 6 in turn if None.',
    )
    slip: float = number(0.25, 0.0, 0.9, doc="Probability to be stuck, at most 0.9.")
    encoding: str = choice("onehot", ("onehot", "scalar"), doc='``"onehot"`` or ``"scalar"``, see above.')
    win_reward: float = number(1.0, 1e-6, 1e6, doc="Reward of a win; 10 in NDQ and MAIC, 1 in MASIA.")
    max_steps: int = integer(
        None,
        1,
        doc="Time limit; ``(L + 10) / (1 - slip)^n``, rounded up, with n the size of the largest group, if None.",
    )

    def resolve(self) -> None:
        default = ",".join(str(_DEFAULT_LENGTHS[i % 2]) for i in range(self.num_agents or 2))
        self._put(lengths=self.lengths or default)
        flat = [length for group in self.groups for length in group]
        if self.num_agents not in (None, len(flat)):
            raise ConfigError(
                f"num_agents: expected the {len(flat)} of lengths={self.lengths!r}, or None, got {self.num_agents!r}. "
                "Leave one of the two out."
            )
        largest = max(len(group) for group in self.groups)
        patience = math.ceil((max(flat) + 10) / (1 - self.slip) ** largest)
        self._put(num_agents=len(flat), max_steps=self.max_steps or patience)

    @property
    def groups(self) -> list[list[int]]:
        """The length of each corridor, by group."""
        return _parse_lengths(self.lengths)


class Hallway(GridEnv[HallwayState, HallwayDraws]):
    """Each agent walks a corridor that only it sees; the agents of a group must enter the goal in the same step.

    ::

        goal <- . . 1 .              lengths="4,6": agent 1 stands 3 cells from the goal, agent 2 stands 4 cells from it
        goal <- . . . 2 . .          actions: 0 stay, 1 towards the goal, 2 away from it (at most to the corridor's end)

    Agent i begins 1 ... length_i cells from the goal, uniformly. When the first agents of a group stand on the goal,
    the group is done: it wins if all of its agents do, else it has failed. Its agents stay where they are from then on.
    Reward, the same for all agents: ``win_reward`` for each group that wins, minus 1.5 times that if more than one
    wins in the same step; such groups are done, but have not won. The episode terminates when all groups are done;
    success: all have won.

    **Slips.** In each step each agent is stuck with probability ``slip``, independently: whatever it chooses, it stays
    where it is. It feels this before it chooses (an entry of its observation); the others cannot know.

    **What can be reached without messages.** With ``slip=0`` everything: wait one cell before the goal, enter at an
    agreed time. With slips, in a group of n agents, at most

        (1 - slip)^n / (1 - slip^n).

    Proof: without messages agents choose independently of each other, and while a group is not done nobody has seen
    anything of the others. Let h_i(t) be the probability that agent i enters at t given that it has not before; it is
    at most q = 1 - slip, as nobody who is stuck enters. With V(t) the chance of success from t on given that nobody
    has entered, V(t) = prod_i h_i + prod_i (1 - h_i) V(t + 1). This is linear in each h_i, so largest where every h_i
    is 0 or q; unless all are q it is at most V(t + 1). Hence V is at most the V with V = q^n + slip^n V. The groups are
    independent of each other, so that their bounds multiply (``silent_limit``). One bit from each agent, "I stand at
    the door and am not stuck", lifts this to 1 up to the time limit: that is what ``ceiling_action`` does.

    Observation, ``"onehot"``: the distance (L + 1 entries, L the longest corridor), the agent's number (N), "my group
    is not done" (with several groups only), "I am stuck" (with slips only). ``"scalar"`` is the reference's layout: the
    distance as a number, and the last two entries.

    Source: Wang et al. 2020, "Learning nearly decomposable value functions via communication minimization" (NDQ),
    the task "hallway", and the published environments of MAIC (``Join1Env``) and MASIA (``JoinNEnv``, groups). Kept:
    rules, rewards, time limit. Changed: agents of groups that won together stay done (in the reference they may walk on
    to no effect), and the episode ends as soon as no group is left. Ours: slips.
    """

    id = "hallway"
    settings_class = HallwaySettings
    settings: HallwaySettings
    named_actions: ClassVar[tuple[str, ...]] = ("stay", "towards the goal", "away from it")
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "4x6-slip-v0": {"lengths": "4,6", "slip": 0.25, "max_steps": 29},
        "4x6x10-slip-v0": {"lengths": "4,6,10", "slip": 0.25, "max_steps": 48},
        "2x6x10-v0": {"lengths": "2,6,10", "slip": 0.0, "max_steps": 20},
        "4x6x10-v0": {"lengths": "4,6,10", "slip": 0.0, "max_steps": 20},
        "3x5-4x6x10-v0": {"lengths": "3,5|4,6,10", "slip": 0.0, "max_steps": 20},
    }

    def sizes(self) -> Sizes:
        own, longest = self.settings, max(max(group) for group in self.settings.groups)
        extra = (len(own.groups) > 1) + (own.slip > 0)
        width = 1 if own.encoding == "scalar" else longest + 1 + own.num_agents
        return Sizes(own.num_agents, len(_MOVES), width + extra, own.max_steps)

    def build(self) -> None:
        chosen, groups = self.settings, self.settings.groups
        self.slip, self.encoding, self.win_reward = chosen.slip, chosen.encoding, chosen.win_reward
        flat = [length for group in groups for length in group]
        self.longest, self.group_sizes = max(flat), [len(group) for group in groups]
        members = [g for g, group in enumerate(groups) for _ in group]
        self._length_N = torch.tensor(flat, device=self.device)
        self._group_N = torch.tensor(members, device=self.device)
        self._size_G = torch.tensor(self.group_sizes, device=self.device)
        self._member_NG = self._group_N[:, None] == torch.arange(len(groups), device=self.device)
        self._moves_A = torch.tensor(_MOVES, device=self.device)
        self._agents = torch.arange(len(flat), device=self.device)

    @property
    def silent_limit(self) -> float:
        """An upper bound of the success rate of agents that exchange nothing, see above."""
        return math.prod((1 - self.slip) ** n / (1 - self.slip**n) for n in self.group_sizes)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> HallwayDraws:
        if isinstance(t, Tensor):
            start, counter = key.new_empty(key.shape[0], 0), t[:, None]
        else:
            start = random.integers(random.stream(key, "start")[:, None], self._length_N, self._agents) + 1
            counter = torch.zeros_like(key)[:, None]
        if self.slip == 0:
            return HallwayDraws(start, torch.zeros(key.shape[0], self.num_agents, dtype=torch.bool, device=self.device))
        return HallwayDraws(
            start, random.uniform(random.stream(key, "slip")[:, None], counter, self._agents) < self.slip
        )

    def initial(self, draws: HallwayDraws) -> HallwayState:
        yes = torch.ones(draws.start.shape[0], len(self.group_sizes), dtype=torch.bool, device=self.device)
        return HallwayState(draws.start, draws.stuck, yes, torch.zeros_like(yes))

    def transition(
        self, state: HallwayState, action: Int[Tensor, "B N"], draws: HallwayDraws
    ) -> tuple[HallwayState, Float[Tensor, "B N"], Flags]:
        walked = torch.minimum((state.distance + self._moves_A[action]).clamp_min(0), self._length_N)
        held = state.stuck | ~state.active[:, self._group_N]
        distance = torch.where(held, state.distance, walked)
        inside_BG = ((distance == 0)[:, :, None] & self._member_NG).sum(1)
        wins = state.active & (inside_BG == self._size_G)
        count = wins.sum(1)
        together = count > 1
        active = state.active & (inside_BG == 0)
        won = state.won | (wins & ~together[:, None])
        reward = self.win_reward * count * torch.where(together, 1 - _TOGETHER, 1.0)
        new = HallwayState(distance, draws.stuck, active, won)
        return new, reward[:, None].repeat(1, self.num_agents), Flags(~active.any(1), won.all(1))

    def observe(self, state: HallwayState, form: Form) -> Observation:
        shape = state.distance.shape
        ones = torch.ones(shape, device=self.device)
        if self.encoding == "scalar":
            index, value = [torch.zeros_like(state.distance)], [state.distance.to(torch.float32)]
        else:
            index = [state.distance, (self.longest + 1 + self._agents).expand(shape)]
            value = [ones, ones]
        flags = [state.active[:, self._group_N]] if len(self.group_sizes) > 1 else []
        flags += [state.stuck] if self.slip > 0 else []
        for place, entry in enumerate(flags, start=self.obs_dim - len(flags)):
            index.append(torch.full_like(state.distance, place))
            value.append(entry.to(torch.float32))
        sparse = SparseObs(torch.stack(index, -1), torch.stack(value, -1), self.obs_dim)
        return sparse if form == "sparse" else sparse.to_flat()

    def positions(self, state: HallwayState) -> Float[Tensor, "B N 2"]:
        """(corridor, distance to the goal)."""
        return torch.stack([self._agents.expand_as(state.distance), state.distance], -1).to(torch.float32)

    def gone(self, state: HallwayState) -> Gone:
        done = ~state.active[:, self._group_N]
        return Gone(done, {"stuck": done})

    def describe(self, state: HallwayState) -> Scene:
        place = self.positions(state)
        doors = place * torch.tensor([1.0, 0.0], device=self.device)
        return Scene(
            size=(self.num_agents, self.longest + 1),
            agents=place,
            finished=state.distance == 0,
            entities={"goal": doors},
            active={"goal": state.active[:, self._group_N]},
        )

    @property
    def ceiling_kind(self) -> Kind:
        return "optimal" if len(self.group_sizes) == 1 or self.slip == 0 else "reference"

    def solve(self, state: HallwayState) -> Int[Tensor, "B N"]:
        """Walk to the door; a group enters when all of it stands there unhindered, one group at a time."""
        at_door = (state.distance == 1) & ~state.stuck
        ready_BG = state.active & ((at_door[:, :, None] & self._member_NG).sum(1) == self._size_G)
        first_BG = ready_BG & (ready_BG.cumsum(1) == 1)
        return ((state.distance > 1) | first_BG[:, self._group_N]).to(torch.int64)


def _parse_lengths(lengths: object) -> list[list[int]]:
    wanted = 'lengths: expected whole numbers from 1 to 999, groups separated by "|", such as "4,6" or "3,5|4,6,10"'
    if not isinstance(lengths, str) or not re.fullmatch(r"[1-9]\d{0,2}([,|][1-9]\d{0,2})*", lengths):
        raise ConfigError(f"{wanted}, got {lengths!r}. Pass a str, one number for each agent.")
    return [[int(length) for length in group.split(",")] for group in lengths.split("|")]
