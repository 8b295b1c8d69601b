"""Routing of DGN: packets find their way through a network whose links carry little at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.shapes import Float, Int
from gnncomm.types import Batch, Observation, Scene, SparseObs

from .frame.base import Flags, Form, GridEnv, Settings, Sizes
from .frame.rules import ratio
from .frame.settings import choice, integer

_PORTS = 3
_ARRIVED = 10.0
_OVERLOAD = -0.2
_FAR = 1_000_000
_GRAIN = 4096  # sizes are multiples of 1 / 4096, so that sums of them are exact in any order
_DETOUR = 2  # steps that the ceiling goes round a full link rather than wait
_CANVAS = 32  # side of the picture


@dataclass(frozen=True)
class Network(Batch):
    """R routers, up to E = 3 R / 2 links. Port 0 of a router leads nowhere, and so do ports without a link."""

    place: Float[Tensor, "B R 2"]  # in the unit square
    near: Int[Tensor, "B R 4"]  # the router behind each port; itself if there is no link
    link: Int[Tensor, "B R 4"]  # E if there is none
    ends: Int[Tensor, "B L 2"]  # of each link, and zeros for none; L = E + 1
    length: Int[Tensor, "B L"]
    distance: Int[Tensor, "B R R"]  # steps of the fastest way


@dataclass(frozen=True)
class RoutingDraws(Batch):
    """Where the routers are (empty after a reset), and the packet that each row gets if it needs one."""

    place: Float[Tensor, "B R 2"]
    now: Int[Tensor, "B N"]
    pick: Float[Tensor, "B N"]  # which target, in [0, 1)
    size: Float[Tensor, "B N"]


@dataclass(frozen=True)
class RoutingState(Batch):
    """Each row is a packet."""

    net: Network
    now: Int[Tensor, "B N"]  # the router it is at, or on its way to
    target: Int[Tensor, "B N"]
    size: Float[Tensor, "B N"]
    link: Int[Tensor, "B N"]  # the link it is on; E at a router
    time: Int[Tensor, "B N"]  # steps until the end of the link
    delivered: Int[Tensor, " B"]


@torch.library.custom_op("gnncomm::admit_in_turn", mutates_args=())
def _admit_in_turn(full: Tensor, rival: Tensor, claims: Tensor) -> Tensor:
    """Who of the claimants gets in: ``full [B, N]`` plus the ``rival [B, N, N]`` who got in before stay within 1.

    Round k settles the packets below k for good; 2 or 3 rounds mostly settle all. An operator of its own, as a compiler
    would have to unroll N rounds.
    """
    enters = claims & (full <= 1.0)
    for _ in range(full.shape[1]):
        before = enters
        enters = claims & (full + torch.where(before[:, None], rival, 0.0).sum(-1) <= 1.0)
        if torch.equal(enters, before):
            break
    return enters


@_admit_in_turn.register_fake
def _(*inputs: Tensor) -> Tensor:
    return torch.empty_like(inputs[-1])


@dataclass(frozen=True)
class RoutingSettings(Settings):
    """See ``Routing``."""

    num_agents: int = integer(20, 1, doc="N.")
    num_routers: int = integer(20, 4, doc="R, at least 4.")
    network: int | None = integer(
        0,
        0,
        optional=True,
        doc="Seed of the network that is the same in all episodes; None: another one in each episode.",
    )
    arrival: str = choice(
        "end",
        ("end", "start"),
        doc='``"end"``: a packet has arrived when it is through its last link; ``"start"``: when it enters it.',
    )
    features: str = choice("onehot", ("onehot", "dgn"), doc="See above.")
    deliveries: int | None = integer(
        60, 1, optional=True, doc="Arrivals that end the episode; None: it ends by time only, and is no success."
    )
    max_steps: int = integer(60, 1, doc="Time limit.")


class Routing(GridEnv[RoutingState, RoutingDraws]):
    """N packets travel through R routers, each to its target; what is on a link at a time may have a size of 1 in all.

    ::

        0 ---- 3 -- 5          every router has up to 3 links; a long link takes more steps
        | \\    |    |          actions: 0 stay, 1 ... 3 take that link of the router
        1 -- 2 4 -- 6          a packet on a link does nothing until it is through

    The network: routers lie at random in the unit square; one after the other links itself to the nearest ones that
    have fewer than 3 links, until it has 3. A link of length l takes floor(floor(10 l) / 2 + 1) steps.

    A step, packet after packet in the order of their numbers: who is on a link comes one step
    nearer to its end, and leaves it there; who takes a link enters it if the sizes on it stay within 1, and else stays
    and gets -0.2. A packet that arrives at its target gets 10, and its row gets a new packet: random router, random
    target that can be reached, size uniform in [0, 1) (``entered``; the return of the old one ends).
    Terminated and success when ``deliveries`` packets have arrived.

    Flat observation, ``features="dgn"``, 35 numbers as they are, -1 for what is not there:

    ==========  ================================================================================================
    0 ... 4     own router, target, link, size, number of the row
    5 ... 19    for each of the 3 links of that router: number, its two ends, steps, sizes on it
    20 ... 34   for each of the first 3 other packets at this or a neighbouring router: router, target, link,
                size, and the number of the row that looks (a slip of the original)
    ==========  ================================================================================================

    ``features="onehot"``, 2 R + 12: router and target one-hot; on a link, steps left / 10, size; for each of the 3
    links 1 if there is one, steps / 10, sizes on it. Sparse: 35 or 14 entries.

    Source: Jiang, Dun, Huang and Lu 2020, "Graph convolutional reinforcement learning", section 4.3, and its published
    environment (DGN, ``Routing/routers.py``): network, order of moves, rewards and observation are kept. There a packet
    has arrived when it enters its last link: ``arrival="start"``. Changed: a target differs from where its packet
    begins and can be reached; sizes are multiples of 1/4096; a port without a link means to stay (the original fails).
    """

    id = "routing"
    settings_class = RoutingSettings
    settings: RoutingSettings
    named_actions: ClassVar[tuple[str, ...]] = ("stay", *(f"link {port + 1}" for port in range(_PORTS)))
    renews: ClassVar[bool] = True
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "dgn-20-20-v0": {"features": "dgn", "arrival": "start", "deliveries": 300, "max_steps": 300},
    }

    def sizes(self) -> Sizes:
        own = self.settings
        return Sizes(
            own.num_agents, _PORTS + 1, 35 if own.features == "dgn" else 2 * own.num_routers + 12, own.max_steps
        )

    def build(self) -> None:
        chosen = self.settings
        self.num_routers, self.num_links = chosen.num_routers, chosen.num_routers * _PORTS // 2
        self.network, self.arrival = chosen.network, chosen.arrival
        self.features, self.deliveries = chosen.features, chosen.deliveries
        self._agents = torch.arange(self.num_agents, device=self.device)
        self._earlier_NN = self._agents[:, None] > self._agents
        self._routers = torch.arange(self.num_routers, device=self.device)
        self._links = torch.arange(self.num_links + 1, device=self.device)
        seed = None if self.network is None else torch.tensor([self.network], device=self.device)
        self._net = None if seed is None else self._build(self._places(seed))

    @property
    def judged(self) -> bool:
        """Whether there is a success: without ``deliveries`` an episode ends by time only."""
        return self.deliveries is not None

    def _places(self, key: Tensor) -> Tensor:
        axis = torch.arange(2, device=self.device)
        return random.uniform(random.stream(key, "network")[:, None, None], self._routers[:, None], axis)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> RoutingDraws:
        place = key.new_empty(key.shape[0], 0, 2).to(torch.float32)
        if not isinstance(t, Tensor) and self.network is None:
            place = self._places(key)
        packet, when = random.stream(key, "packet")[:, None], t[:, None] if isinstance(t, Tensor) else t
        now = random.integers(packet, self.num_routers, 0, when, self._agents)
        pick = random.uniform(packet, 1, when, self._agents)
        size = (random.uniform(packet, 2, when, self._agents) * _GRAIN).floor() / _GRAIN
        return RoutingDraws(place, now, pick, size)

    def initial(self, draws: RoutingDraws) -> RoutingState:
        rows = len(draws.now)
        if self._net is None:
            net = self._build(draws.place)
        else:
            net = self._net.map(lambda x: x.repeat(rows, *[1] * (x.dim() - 1)))
        none = torch.zeros_like(draws.now)
        now = self._begin(net, draws.now)
        target = self._target(net, now, draws.pick)
        return RoutingState(net, now, target, draws.size, none + self.num_links, none, none[:, 0].clone())

    def _build(self, place: Tensor) -> Network:
        """Links one router after the other to the nearest ones that have a free port, as long as it has one itself."""
        rows, routers, links = len(place), self.num_routers, self.num_links
        squared = (place[:, :, None] - place[:, None]).square().sum(-1)
        order = squared.argsort(dim=-1, stable=True)
        used = torch.zeros(rows, routers, dtype=torch.int64, device=place.device)
        count = torch.zeros(rows, 1, dtype=torch.int64, device=place.device)
        near = torch.cat([self._routers.repeat_interleave(4), self._routers[:1]]).repeat(rows, 1)
        link = torch.full_like(near, links)
        ends = torch.zeros(rows, links + 1, 2, dtype=torch.int64, device=place.device)
        length = torch.zeros(rows, links + 1, dtype=torch.int64, device=place.device)
        for router in range(routers):
            other = order[:, router]
            other = other[other != router].view(rows, routers - 1)
            open_ = used.gather(1, other) < _PORTS
            taken = (open_ & (open_.cumsum(1) <= _PORTS - used[:, router : router + 1])).cumsum(1)
            for k in range(_PORTS):
                at = (taken <= k).sum(1, keepdim=True)
                there = at < routers - 1
                peer = other.gather(1, at.clamp_max(routers - 2))
                span = squared[:, router].gather(1, peer).sqrt()
                here = torch.full_like(peer, router)
                number = torch.where(there, count, links)
                for one, two in ((here, peer), (peer, here)):
                    port = torch.where(there, one * 4 + used.gather(1, one) + 1, routers * 4)
                    near.scatter_(1, port, two)
                    link.scatter_(1, port, number)
                pair = torch.stack([torch.minimum(here, peer), torch.maximum(here, peer)], -1)
                ends.scatter_(1, number[..., None].expand(-1, -1, 2), pair)
                length.scatter_(1, number, ((span * 10).floor() / 2 + 1).long())
                for one in (here, peer):
                    used.scatter_add_(1, one, there.long())
                count += there.long()
        ends[:, links], length[:, links] = 0, 0
        near, link = near[:, :-1].view(rows, routers, 4), link[:, :-1].view(rows, routers, 4)
        return Network(place, near, link, ends, length, self._distances(near, link, length))

    def _distances(self, near: Tensor, link: Tensor, length: Tensor) -> Tensor:
        """All fastest ways (Floyd 1962)."""
        rows, routers = near.shape[:2]
        steps = length.gather(1, link.flatten(1)).view_as(link)  # 0 to itself through ports without a link
        distance = torch.full((rows, routers, routers), _FAR, device=near.device)
        distance.scatter_reduce_(2, near, steps, "amin")
        for k in range(routers):
            distance = torch.minimum(distance, distance[:, :, k : k + 1] + distance[:, k : k + 1])
        return distance

    def _begin(self, net: Network, now: Tensor) -> Tensor:
        """Where packets begin: of an odd number of routers one may be left without a link, the next one stands in."""
        if self.num_routers % 2 == 0:
            return now
        alone_BR = net.link[..., 1] == self.num_links  # ports are taken in order
        return torch.where(alone_BR.gather(1, now), (now + 1) % self.num_routers, now)

    def _target(self, net: Network, now: Tensor, pick: Tensor) -> Tensor:
        """A uniform router that can be reached from ``now``, other than it."""
        distance_BNR = net.distance.gather(1, now[..., None].expand(-1, -1, self.num_routers))
        count_BNR = ((distance_BNR < _FAR) & (self._routers != now[..., None])).cumsum(-1)
        chosen_BN1 = (pick[..., None].to(torch.float64) * count_BNR[..., -1:]).to(torch.int64)
        return (count_BNR <= chosen_BN1).sum(-1)

    def transition(
        self, state: RoutingState, action: Int[Tensor, "B N"], draws: RoutingDraws
    ) -> tuple[RoutingState, Float[Tensor, "B N"], Flags]:
        net, none = state.net, self.num_links
        waits = state.link == none
        port = state.now * 4 + torch.where(waits, action, 0)
        wanted = net.link.flatten(1).gather(1, port)
        time = torch.where(waits, 0, state.time - 1)
        leaves = ~waits & (time == 0)
        enters = self._admit(state, wanted, leaves)
        now = torch.where(enters, net.near.flatten(1).gather(1, port), state.now)
        link = torch.where(enters, wanted, torch.where(leaves, none, state.link))
        time = torch.where(enters, net.length.gather(1, wanted), time)
        arrived = now == state.target
        if self.arrival == "end":
            arrived = arrived & (link == none)
        refused = (wanted < none) & ~enters
        reward = torch.where(arrived, _ARRIVED, torch.where(refused, _OVERLOAD, 0.0))
        delivered, begin = state.delivered + arrived.sum(1), self._begin(net, draws.now)
        new = RoutingState(
            net=net,
            now=torch.where(arrived, begin, now),
            target=torch.where(arrived, self._target(net, begin, draws.pick), state.target),
            size=torch.where(arrived, draws.size, state.size),
            link=torch.where(arrived, none, link),
            time=torch.where(arrived, 0, time),
            delivered=delivered,
        )
        ended = torch.zeros_like(arrived[:, 0]) if self.deliveries is None else delivered >= self.deliveries
        return new, reward, Flags(ended, ended.clone(), arrived)

    def _load(self, state: RoutingState) -> Tensor:
        """The sizes on each link, ``[B, L]``; what is on none does not count."""
        load = torch.zeros(state.net.length.shape, device=self.device).scatter_add(1, state.link, state.size)
        return torch.where(self._links < self.num_links, load, 0.0)

    def _admit(self, state: RoutingState, wanted: Tensor, leaves: Tensor) -> Tensor:
        """Who enters the link it wants, one packet after the other."""
        size_B1N = state.size[:, None]
        left_BNN = (wanted[..., None] == state.link[:, None]) & leaves[:, None] & self._earlier_NN
        left_BN = torch.where(left_BNN, size_B1N, 0.0).sum(-1)
        rival_BNN = torch.where((wanted[..., None] == wanted[:, None]) & self._earlier_NN, size_B1N, 0.0)
        full_BN = self._load(state).gather(1, wanted) - left_BN + state.size  # the link, with the packet on it
        enters: Tensor = _admit_in_turn(full_BN, rival_BNN, wanted < self.num_links)
        return enters

    def observe(self, state: RoutingState, form: Form) -> Observation:
        here_BNP = state.now[..., None] * 4 + torch.arange(1, 4, device=self.device)
        link_BNP = state.net.link.flatten(1).gather(1, here_BNP.flatten(1)).view_as(here_BNP)
        if self.features == "dgn":
            return self._observe_dgn(state, link_BNP, form)
        flat_link = link_BNP.flatten(1)
        steps = ratio(state.net.length.gather(1, flat_link).view_as(link_BNP), 10)
        load = self._load(state).gather(1, flat_link).view_as(link_BNP)
        there = (link_BNP < self.num_links).to(torch.float32)
        moving = (state.link < self.num_links).to(torch.float32)
        one = torch.ones_like(moving)
        own = torch.stack([one, one, moving, ratio(state.time, 10), state.size], -1)
        value = torch.cat([own, torch.stack([there, steps, load], -1).flatten(2)], -1)
        place = torch.stack([state.now, state.target + self.num_routers], -1)
        rest = torch.arange(2 * self.num_routers, self.obs_dim, device=self.device).expand(*place.shape[:2], -1)
        sparse = SparseObs(torch.cat([place, rest], -1), value, self.obs_dim)
        return sparse if form == "sparse" else sparse.to_flat()

    def _observe_dgn(self, state: RoutingState, link_BNP: Tensor, form: Form) -> Observation:
        number = torch.where(state.link < self.num_links, state.link, -1)
        row = self._agents.expand_as(number)
        about = torch.stack([state.now, state.target, number, state.size, row], -1)
        flat = link_BNP.flatten(1)
        ends = state.net.ends.gather(1, flat[..., None].expand(-1, -1, 2))
        per_link = [
            flat,
            ends[..., 0],
            ends[..., 1],
            state.net.length.gather(1, flat),
            self._load(state).gather(1, flat),
        ]
        links = torch.stack(per_link, -1).view(*link_BNP.shape, 5)
        links = torch.where((link_BNP < self.num_links)[..., None], links, -1.0)
        others = self._others(state)
        padded = torch.cat([about[..., :4], torch.full_like(about[:, :1, :4], -1.0)], 1)
        seen = padded.gather(1, others.flatten(1)[..., None].expand(-1, -1, 4)).view(*others.shape, 4)
        looker = torch.where(others < self.num_agents, row[..., None], -1)[..., None]
        full = torch.cat([about, links.flatten(2), torch.cat([seen, looker], -1).flatten(2)], -1)
        if form == "flat":
            return full
        return SparseObs(torch.arange(35, device=self.device).expand(full.shape).clone(), full, self.obs_dim)

    def _others(self, state: RoutingState) -> Tensor:
        """The first 3 other packets at the own or a neighbouring router, ``[B, N, 3]``; N where there are fewer."""
        near_BN4 = state.net.near.gather(1, state.now[..., None].expand(-1, -1, 4))
        close_BNN = (near_BN4[..., None] == state.now[:, None, None]).any(2) & (self._agents[:, None] != self._agents)
        rank_BNN = close_BNN.cumsum(-1)
        return torch.stack([(rank_BNN <= k).sum(-1) for k in range(3)], -1)

    def positions(self, state: RoutingState) -> Float[Tensor, "B N 2"]:
        """Of the router a packet is at, or on its way to."""
        return state.net.place.gather(1, state.now[..., None].expand(-1, -1, 2))

    def describe(self, state: RoutingState) -> Scene:
        net = state.net
        ends_BN2 = net.ends.gather(1, state.link[..., None].expand(-1, -1, 2))
        behind = torch.where(state.link < self.num_links, ends_BN2.sum(-1) - state.now, state.now)
        there, here = self.positions(state), net.place.gather(1, behind[..., None].expand(-1, -1, 2))
        left = state.time / net.length.gather(1, state.link).clamp_min(1)
        routers = net.place * (_CANVAS - 1)
        return Scene(
            size=(_CANVAS, _CANVAS),
            agents=(there + (here - there) * left[..., None]) * (_CANVAS - 1),
            finished=torch.zeros_like(state.now, dtype=torch.bool),
            entities={"router": routers},
            active={"router": torch.ones(routers.shape[:2], dtype=torch.bool, device=self.device)},
        )

    def solve(self, state: RoutingState) -> Int[Tensor, "B N"]:
        """The fastest way for each packet in turn; round a full link if that takes few steps more, else it waits."""
        net, none = state.net, self.num_links
        here_BN4 = state.now[..., None].expand(-1, -1, 4)
        link_BN4, near_BN4 = net.link.gather(1, here_BN4), net.near.gather(1, here_BN4)
        steps_BN4 = net.length.gather(1, link_BN4.flatten(1)).view_as(link_BN4)
        onward_BN4 = net.distance.flatten(1).gather(
            1, (near_BN4 * self.num_routers + state.target[..., None]).flatten(1)
        )
        cost_BN4 = torch.where(link_BN4 < none, steps_BN4 + onward_BN4.view_as(link_BN4), _FAR)
        load, action = self._load(state), []
        for i in range(self.num_agents):
            size, link = state.size[:, i : i + 1], state.link[:, i : i + 1]
            leaves = (link < none) & (state.time[:, i : i + 1] == 1)
            load = load - torch.where((self._links == link) & leaves, size, 0.0)
            cost_B4 = cost_BN4[:, i]
            full_B4 = load.gather(1, link_BN4[:, i]) + size > 1.0
            good_B4 = ~full_B4 & (cost_B4 <= cost_B4.amin(1, keepdim=True) + _DETOUR) & (link == none)
            best_B1 = torch.where(good_B4, cost_B4, 2 * _FAR).argmin(1, keepdim=True)
            best_B1 = torch.where(good_B4.any(1, keepdim=True), best_B1, 0)
            taken = link_BN4[:, i].gather(1, best_B1)
            load = load + torch.where((self._links == taken) & (taken < none), size, 0.0)
            action.append(best_B1)
        return torch.cat(action, 1)
