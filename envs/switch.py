"""The switch riddle: prisoners, one room, one switch, and the question whether everybody has been in the room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError
from gnncomm.host import constant
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, Observation, Scene, SparseObs

from .frame.base import Flags, Form, GridEnv, Settings, Sizes
from .frame.rules import Kind
from .frame.settings import choice, integer

_NONE, _TELL, _OFF, _ON = range(4)


@dataclass(frozen=True)
class SwitchDraws(Batch):
    """Who is in the room tomorrow (today, at a reset)."""

    called: Int[Tensor, " B"]


@dataclass(frozen=True)
class SwitchState(Batch):
    """Who is in the room, who was there the day before (-1: nobody), who has ever been there, the switch, the day."""

    called: Int[Tensor, " B"]
    previous: Int[Tensor, " B"]
    been: Bool[Tensor, "B N"]
    on: Bool[Tensor, " B"]
    day: Int[Tensor, " B"]
    told: Bool[Tensor, " B"]


@dataclass(frozen=True)
class SwitchSettings(Settings):
    """See ``Switch``."""

    num_agents: int = integer(3, 2, doc="n, at least 2.")
    medium: str = choice("messages", ("messages", "switch"), doc='``"messages"`` or ``"switch"``.')
    max_steps: int = integer(None, 1, doc="Days; 4 n - 6 (at least 2) if None.")

    def resolve(self) -> None:
        self._put(max_steps=self.max_steps or max(4 * self.num_agents - 6, 2))


class Switch(GridEnv[SwitchState, SwitchDraws]):
    """Each day one of n prisoners is called into a room. Whoever is there may say "all of us have been here".

    ::

        [room: 2] [corridor: 1]        prisoner 2 is in the room today, 1 was there yesterday
        [   ] [   ] [ 3 ] [ 4 ]        actions: 0 none, 1 tell, and with a switch: 2 turn it off, 3 turn it on

    The prisoner of a day is drawn uniformly, with replacement. Only its action counts, and only it has others at hand
    than "none" (``action_mask``); what the others do is taken as "none". "Tell" ends the episode: +1 for everyone if
    all prisoners have been in the room, today's included, else -1. After ``max_steps`` days without it the episode ends
    with 0: it terminates, as the deadline is a rule of the riddle, not a limit of patience. Success: told, and true.

    **Two ways to communicate**, ``medium``:

    - ``"messages"``: by the communication layer. All prisoners are alive and send, in the room or not; who hears whom
      is the topology's business, and ``positions`` make the riddle's rule one of them: the prisoner in the room stands
      at (0, 0), the one of the day before in the corridor at (0, 1), the others in their cells, at least 2 away from
      everything. With ``radius:r=1`` the two meet, and nobody else hears anything: one message a day, from yesterday's
      prisoner to today's, as in the paper (``relay_edges`` leaves out the way back). ``full``: everybody hears all.
    - ``"switch"``: as in the riddle. The room has a switch, off at first, that the prisoner in the room sees, and turns
      by its action: one bit, part of the environment, without any message. The actions stand for the pairs (none,
      leave it), (tell, leave it), (none, off), (none, on).

    Observation: "I am in the room", my number (n entries), and with a switch "I am in the room and it is on". Sparse: 2
    or 3 entries. The day is not shown: it has to be counted.

    **What can be reached**, n = 3 and 6 days: nobody can succeed more often than all are called within the days, 540 /
    729 = 74.1 %, which is what ``ceiling_action`` does. One bit is enough: on = "two have been here". The first
    prisoner leaves it off; whoever is new and finds it off on a later day turns it on; whoever is new and finds it on
    tells. Without switch and messages the best mean return is 390 / 729 = 0.535, with success 68.3 %.

    Source: Foerster, Assael, de Freitas and Whiteson 2016, "Learning to communicate with deep multi-agent reinforcement
    learning" (DIAL), section 6, "Switch riddle", and its published environment: rules, rewards, 4 n - 6 days. Changed:
    the number of the prisoner is an observation (there, an input of the network).
    """

    id = "switch"
    settings_class = SwitchSettings
    settings: SwitchSettings
    named_actions: ClassVar[tuple[str, ...]] = ("none", "tell", "turn off", "turn on")
    no_op: ClassVar[int | None] = _NONE
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "3-v0": {"num_agents": 3, "medium": "messages", "max_steps": 6},
        "4-v0": {"num_agents": 4, "medium": "messages", "max_steps": 10},
        "3-switch-v0": {"num_agents": 3, "medium": "switch", "max_steps": 6},
        "4-switch-v0": {"num_agents": 4, "medium": "switch", "max_steps": 10},
    }

    def sizes(self) -> Sizes:
        n, switch = self.settings.num_agents, self.settings.medium == "switch"
        return Sizes(n, 4 if switch else 2, 1 + n + switch, self.settings.max_steps)

    def build(self) -> None:
        self.has_switch = self.settings.medium == "switch"
        self._agents = torch.arange(self.num_agents, device=self.device)
        self._cells_N2 = torch.stack([torch.full_like(self._agents, 2), 2 * self._agents], -1).to(torch.float32)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> SwitchDraws:
        return SwitchDraws(random.integers(random.stream(key, "called"), self.num_agents, t))

    def initial(self, draws: SwitchDraws) -> SwitchState:
        no = torch.zeros_like(draws.called, dtype=torch.bool)
        been = self._is(draws.called)
        return SwitchState(
            draws.called, torch.full_like(draws.called, -1), been, no, torch.zeros_like(draws.called), no.clone()
        )

    def _is(self, who: Int[Tensor, " B"]) -> Bool[Tensor, "B N"]:
        return who[:, None] == self._agents

    def transition(
        self, state: SwitchState, action: Int[Tensor, "B N"], draws: SwitchDraws
    ) -> tuple[SwitchState, Float[Tensor, "B N"], Flags]:
        chosen = action.gather(1, state.called[:, None]).squeeze(1)
        told = chosen == _TELL
        success = told & state.been.all(1)
        reward = told.to(torch.float32) * torch.where(success, 1.0, -1.0)
        on = (chosen == _ON) | (state.on & (chosen != _OFF))
        day = state.day + 1
        ended = told | (day >= self.max_steps)
        called = torch.where(ended, state.called, draws.called)  # the last day stays to be seen
        been = state.been | self._is(called)
        new = SwitchState(called, torch.where(ended, state.previous, state.called), been, on, day, told)
        return new, reward[:, None].repeat(1, self.num_agents), Flags(ended, success)

    def allowed(self, state: SwitchState) -> Bool[Tensor, "B N A"]:
        none = torch.arange(self.num_actions, device=self.device) == _NONE
        return self._is(state.called)[:, :, None] | none

    def observe(self, state: SwitchState, form: Form) -> Observation:
        inside = self._is(state.called)
        index = [torch.zeros_like(self._agents).expand(inside.shape), (1 + self._agents).expand(inside.shape)]
        value = [inside.to(torch.float32), torch.ones(inside.shape, device=self.device)]
        if self.has_switch:
            index.append(torch.full_like(self._agents, 1 + self.num_agents).expand(inside.shape))
            value.append((inside & state.on[:, None]).to(torch.float32))
        sparse = SparseObs(torch.stack(index, -1), torch.stack(value, -1), self.obs_dim)
        return sparse if form == "sparse" else sparse.to_flat()

    def positions(self, state: SwitchState) -> Float[Tensor, "B N 2"]:
        """The room is (0, 0), the corridor (0, 1), the cell of prisoner i (2, 2 i)."""
        corridor = constant((0.0, 1.0), torch.float32, self.device)
        away = torch.where(self._is(state.previous)[..., None], corridor, self._cells_N2)
        return torch.where(self._is(state.called)[..., None], torch.zeros_like(corridor), away)

    def describe(self, state: SwitchState) -> Scene:
        rows = state.called.shape[0]
        told = self._is(state.called) & state.told[:, None]
        entities, active = {}, {}
        if self.has_switch:
            entities["switch"] = torch.zeros(rows, 1, 2, device=self.device)
            active["switch"] = state.on[:, None].clone()
        return Scene((3, 2 * self.num_agents), self.positions(state), told, entities, active)

    @property
    def ceiling_kind(self) -> Kind:
        return "optimal"

    def solve(self, state: SwitchState) -> Int[Tensor, "B N"]:
        """Tell as soon as all have been in the room."""
        return (self._is(state.called) & state.been.all(1, keepdim=True)).to(torch.int64)


def relay_edges(alive: Bool[Tensor, "B N"], pos: Tensor | None, *_: int | Tensor | None) -> Bool[Tensor, "B N N"]:
    """Who hears whom in the riddle: today's prisoner hears yesterday's. For ``gnncomm.topology.FromFunction``.

    ``[b, sender, receiver]``, read from the positions of this environment; step and key play no part.
    """
    if pos is None:
        raise ConfigError("relay_edges: expected the positions of the environment switch, got None. Pass step.pos.")
    in_room = (pos == torch.zeros_like(pos)).all(-1)
    in_corridor = (pos[..., 0] == 0) & (pos[..., 1] == 1)
    return (in_corridor & alive)[:, :, None] & (in_room & alive)[:, None, :]
