"""The control that shows whether messages matter: every message replaced by one from another episode."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from gnncomm.channel import Channel, Delivery, Ideal
from gnncomm.channel.base import Around
from gnncomm.graph import CommGraph, talkers
from gnncomm.shapes import Bool, Int
from gnncomm.types import Moment


@dataclass(frozen=True)
class _Last:
    """Who said what last, of all counted episodes played so far, at one step and in one round."""

    msg: Tensor  # [N, M]
    episode: Tensor  # [N] int64: in which episode; -1: in none


class Partners:
    """Finds for each message the one that the same agent sends at the same step and round of another episode.

    Episode e takes it from the nearest earlier counted episode in which the agent *speaks* then: lives and has an edge
    to another agent. Episodes of a wave are played side by side, so earlier ones are at hand; of those of earlier waves
    the last message of each (step, round, agent) is kept, T K N M numbers in all. So partners do not depend on how many
    environments play. Before the first episode stands what ``listen`` heard last.

    ``at`` says which episodes are played before ``listen`` or ``swap`` is called for each round.
    """

    def __init__(self) -> None:
        self._last: dict[tuple[int, int], _Last] = {}
        self._messages = self._alone = 0.0
        self._step, self._episode = 0, torch.zeros(0, dtype=torch.int64)

    @property
    def without_partner(self) -> float:
        """Share of the messages of counted episodes, each counted once per receiver, that no other one replaced."""
        return self._alone / max(self._messages, 1.0)

    def at(self, step: Tensor, episode: Tensor) -> None:
        """Environment b is at ``step[b]`` of the counted episode ``episode[b]``, or of none: -1.

        Counted episodes stand in ascending order, and all of them at the same step.
        """
        self._step, self._episode = int(torch.where(episode >= 0, step, 0).max()), episode

    def listen(self, msg: Tensor, graph: CommGraph, number: int) -> None:
        """Remember ``msg [B, N, M]``, said over ``graph`` in round ``number``."""
        self._keep(msg, self._speaking(graph, len(msg)), number)

    def swap(self, msg: Tensor, graph: CommGraph, number: int) -> Tensor:
        """``msg`` with those of speaking agents replaced, as far as they have partners."""
        speaks_BN = self._speaking(graph, len(msg))
        latest_BN, last = latest(speaks_BN), self._last_of(msg, number)
        before_BN = before(latest_BN)
        beside_BN = before_BN >= 0  # among those played side by side
        known_BN = beside_BN | ((last.episode >= 0) & (last.episode != self._episode.unsqueeze(-1)))
        agent_N = torch.arange(msg.shape[1], device=msg.device)
        other_BNM = torch.where(beside_BN.unsqueeze(-1), msg[before_BN.clamp_min(0), agent_N], last.msg)
        receivers_BN = graph.out_degree.expand(speaks_BN.shape)  # what an agent says to itself does not come here
        self._messages += float(receivers_BN[speaks_BN].sum())
        self._alone += float(receivers_BN[speaks_BN & ~known_BN].sum())
        self._keep(msg, speaks_BN, number)
        return torch.where((speaks_BN & known_BN).unsqueeze(-1), other_BNM, msg)

    def _speaking(self, graph: CommGraph, num_envs: int) -> Tensor:
        """``[B, N]`` bool: somebody could read a message of this agent in a counted episode."""
        return talkers(graph).expand(num_envs, graph.num_agents) & (self._episode >= 0).unsqueeze(-1)

    def _last_of(self, msg: Tensor, number: int) -> _Last:
        found = self._last.get((self._step, number))
        nothing = torch.full(msg.shape[1:2], -1, device=msg.device)
        return _Last(torch.zeros_like(msg[0]), nothing) if found is None else found

    def _keep(self, msg: Tensor, speaks_BN: Tensor, number: int) -> None:
        last, row_N = self._last_of(msg, number), latest(speaks_BN)[-1]
        agent_N, new_N = torch.arange(msg.shape[1], device=msg.device), row_N >= 0
        row_N = row_N.clamp_min(0)
        self._last[self._step, number] = _Last(
            torch.where(new_N.unsqueeze(-1), msg[row_N, agent_N], last.msg),
            torch.where(new_N, self._episode[row_N], last.episode),
        )


def latest(speaks_BN: Bool[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """The nearest environment, up to this one, in which the agent speaks; -1 if there is none."""
    row_B1 = torch.arange(len(speaks_BN), device=speaks_BN.device).unsqueeze(-1)
    return torch.where(speaks_BN, row_B1, -1).cummax(0).values


def before(latest_BN: Int[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """The same of those before this one."""
    return torch.cat([torch.full_like(latest_BN[:1], -1), latest_BN[:-1]])


@dataclass(frozen=True)
class Overheard(Around):
    """``inner``, with ``partners`` listening to what is said."""

    partners: Partners
    inner: Channel = field(default_factory=Ideal)

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        self.partners.listen(msg, graph, moment.round)
        return self.inner.pass_on(msg, graph, state, moment)


@dataclass(frozen=True)
class Shuffled(Overheard):
    """Each message is exchanged, where it is sent, for one that its sender sends in another episode.

    Which one, ``Partners`` says: same agent, step and round, of an episode in which the agent lives and speaks then.
    So messages keep their sender, their edges, their moment and their distribution, and lose what they say about the
    episode at hand. Who speaks and to whom stays as it is, and so does what an agent says to itself, which is no
    communication. ``inner`` carries the exchanged message: what is lost, delayed or distorted is the other's.

    This is a control of an evaluation, not a medium: it breaks the rule that environments do not see each other.
    """

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        other = self.partners.swap(msg, graph, moment.round)
        return self.inner.pass_on(other, graph, state, moment)
