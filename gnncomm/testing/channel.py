"""The laws of a medium: it takes edges away and reads the two ends of a link, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.channel import Channel, Delivery
from gnncomm.graph import CommGraph
from gnncomm.testing.law import require, require_bits
from gnncomm.topology import Full, Gossip
from gnncomm.types import Moment

_LAW = "the wire"
_ROW = ("environment", "agent")
EPISODES = 3
STEPS = 8
"""Of each stretch in which a channel is tried: steps 0, 16 and 32 of an episode and following."""
SIDE = 6.0
"""Agents are tried on a square of this side, in the units of the positions of an environment."""


@torch.no_grad()
def check_channel(
    channel: Channel,
    msg_channels: int = 4,
    num_agents: int = 4,
    harsher: Sequence[Channel] = (),
    dtype: torch.dtype = torch.float64,
) -> None:
    """What every medium promises, for one of your own, too; agents stand at random places.

    * It adds no edge: what is said now arrives over an edge that is used now, if at all, and what was said before over
      one that was used then.
    * What it does with the messages of an agent does not depend on what others say: what arrives of them and over which
      edges, what is left in flight; for all together, how many arrivals there are, how old, and whether they are fresh.
    * Of places and lives it reads those of the two ends of a link.
    * Draws are named: the same again at the same moment, and in an environment alone.

    Args:
        channel: yours or ours.
        msg_channels: M.
        num_agents: N.
        harsher: the same medium at growing severity: what one loses is lost by the next.
        dtype: of the messages.

    Raises:
        LawError: names the law, the tensor and the agent.
    """
    require(num_agents >= 3, _LAW, f"expected num_agents >= 3, two ends and somebody else, got {num_agents}.")
    mine = torch.eye(num_agents, dtype=torch.bool).repeat(EPISODES, 1)  # [R, N]: one agent in each row
    count = torch.arange(STEPS * mine.numel() * msg_channels)
    said = random.normal(6, msg_channels, count, dtype=torch.float64).to(dtype).view(STEPS, *mine.shape, msg_channels)
    moments = _moments(mine)
    clean = _passed(channel, said, moments)
    _check_edges(channel, said, moments)
    for again in (said, *(torch.where(mine[..., None], said, other) for other in (said * torch.nan, -3 * said))):
        for want, got in zip(clean, _passed(channel, again, moments), strict=True):
            _require_same_passage(want, got, mine)
    _check_places(channel, said, moments, mine, clean)
    _check_alone(channel, said, moments, clean)
    for milder, harder in zip((channel, *harsher), harsher, strict=False):
        _check_nested(milder, harder, said, moments)


def _moments(mine: Tensor) -> list[Moment]:
    episodes, num_agents = len(mine) // mine.shape[1], mine.shape[1]
    key = torch.arange(episodes).repeat_interleave(num_agents)
    found = []
    for count in range(STEPS):
        step = 16 * key + count
        agent = torch.arange(num_agents).view(1, -1, 1)
        pos = SIDE * random.uniform(7, key.view(-1, 1, 1), step.view(-1, 1, 1), agent, torch.arange(2))
        found.append(Moment(key, step, 0, pos, torch.ones_like(mine)))
    return found


def _passed(
    channel: Channel, said: Tensor, moments: Sequence[Moment], graphs: Sequence[CommGraph] | None = None
) -> list[Delivery]:
    everyone = Full()(torch.ones(said.shape[1:3], dtype=torch.bool))
    flight = said.new_zeros(*said.shape[1:3], channel.carried_dim(said.shape[-1], said.shape[-2]))
    found = []
    for number, (msg, moment) in enumerate(zip(said, moments, strict=True)):
        delivery = channel.carry(msg, everyone if graphs is None else graphs[number], flight, moment)
        found.append(delivery)
        flight = delivery.state
    return found


def _arrives(delivery: Delivery, num_envs: int, fresh: bool) -> Tensor:
    """``[B, N, N]`` bool."""
    edges = [item.graph.dense.expand(num_envs, -1, -1) for item in delivery.arrivals if item.fresh or not fresh]
    return torch.stack(edges).any(0) if edges else torch.zeros((), dtype=torch.bool)


def _check_edges(channel: Channel, said: Tensor, moments: Sequence[Moment]) -> None:
    alive = torch.ones(said.shape[1:3], dtype=torch.bool)
    graphs = [Gossip(1)(alive, step=now.step, key=now.key) for now in moments]
    used = torch.zeros((), dtype=torch.bool)
    for graph, delivery in zip(graphs, _passed(channel, said, moments, graphs), strict=True):
        used = used | graph.dense
        for fresh, allowed in ((True, graph.dense), (False, used)):
            extra = (_arrives(delivery, len(alive), fresh) & ~allowed).nonzero()
            if len(extra):
                env, sender, receiver = extra[0].tolist()
                word = "says something now" if fresh else "delivers"
                require(False, _LAW, f"{type(channel).__name__} {word} over {sender} -> {receiver} in environment "
                        f"{env}, an edge that nobody used: a channel only takes edges away.")  # fmt: skip


def _require_same_passage(want: Delivery, got: Delivery, mine: Tensor) -> None:
    why = "only the messages of other agents were other ones"
    theirs, ours = ([(item.fresh, item.age) for item in each.arrivals] for each in (got, want))
    require(theirs == ours, _LAW, f"a channel delivers {theirs} (fresh, age) in place of {ours}: {why}.")
    require_bits(_LAW, "what is in flight", got.state[mine], want.state[mine], _ROW[:1], why)
    for old, new in zip(want.arrivals, got.arrivals, strict=True):
        edges = [item.graph.dense.expand(len(mine), -1, -1)[mine] for item in (new, old)]
        require_bits(_LAW, "edges of a channel", edges[0], edges[1], ("environment", "receiver"), why)
        heard = edges[1].any(-1, keepdim=True)
        require_bits(_LAW, "what arrives", new.msg[mine].where(heard, 0), old.msg[mine].where(heard, 0), _ROW[:1], why)


def _check_places(
    channel: Channel, said: Tensor, moments: Sequence[Moment], mine: Tensor, clean: Sequence[Delivery]
) -> None:
    """In each row one agent speaks to the next; all others are moved, are nowhere, or are dead."""
    theirs = mine.roll(1, -1)
    others = ~(mine | theirs)
    link = mine[:, :, None] & theirs[:, None, :]
    for lost, dead in ((torch.nan, False), (-3.0, False), (1.0, True)):
        moved = []
        for now in moments:
            assert now.pos is not None
            assert now.alive is not None
            pos = torch.where(others[..., None], lost * now.pos, now.pos)
            moved.append(replace(now, pos=pos, alive=now.alive & ~(others & dead)))
        why = "only agents at neither end of the edge were elsewhere, or dead"
        for want, got in zip(clean, _passed(channel, said, moved), strict=True):
            for old, new in zip(want.arrivals, got.arrivals, strict=True):
                got_R, want_R = (item.graph.dense.expand(len(mine), -1, -1)[link] for item in (new, old))
                require_bits(_LAW, "edges of a channel", got_R, want_R, _ROW[:1], why)
                read, meant = (torch.where(want_R.unsqueeze(-1), item.msg[mine], 0) for item in (new, old))
                require_bits(_LAW, "what arrives", read, meant, _ROW[:1], why)


def _check_alone(channel: Channel, said: Tensor, moments: Sequence[Moment], clean: Sequence[Delivery]) -> None:
    row = torch.tensor([said.shape[1] - 1])
    alone = _passed(channel, said[:, row], [now.select(row) for now in moments])
    why = "the last environment was alone"
    for want, got in zip(clean, alone, strict=True):
        for old, new in zip(want.arrivals, got.arrivals, strict=True):
            before = old.graph.dense.expand(said.shape[1], -1, -1)[row]
            require_bits(_LAW, "edges of a channel", new.graph.dense, before, _ROW, why)


def _check_nested(milder: Channel, harder: Channel, said: Tensor, moments: Sequence[Moment]) -> None:
    for mild, hard in zip(_passed(milder, said, moments), _passed(harder, said, moments), strict=True):
        extra = _arrives(hard, said.shape[1], fresh=True) & ~_arrives(mild, said.shape[1], fresh=True)
        require(not extra.any(), _LAW, f"{harder} delivers what {milder} loses: name draws by the link, not severity.")
