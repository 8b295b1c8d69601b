"""Routing: the network and every step against plain loops, observations by hand, and what must always hold."""

from __future__ import annotations

import heapq
import math
from typing import Any

import pytest
import torch
from gnncomm.envs.routing import Network, Routing, RoutingDraws, RoutingState
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.testing import check_env
from gnncomm.types import SparseObs

Links = list[tuple[int, int, int]]  # lower end, higher end, steps


def linked(place: list[list[float]]) -> tuple[Links, list[list[int]]]:
    """Links, and the numbers of those of each router in the order of its ports, by plain loops."""
    links: Links = []
    ports: list[list[int]] = [[] for _ in place]
    for i, (x, y) in enumerate(place):
        near = sorted(range(len(place)), key=lambda j: (place[j][0] - x) ** 2 + (place[j][1] - y) ** 2)
        for j in near:
            if j == i or len(ports[i]) == 3 or len(ports[j]) == 3:
                continue
            span = math.sqrt((place[j][0] - x) ** 2 + (place[j][1] - y) ** 2)
            ports[i].append(len(links))
            ports[j].append(len(links))
            links.append((min(i, j), max(i, j), int(int(span * 10) / 2 + 1)))
    return links, ports


def fastest(links: Links, routers: int, source: int) -> list[float]:
    steps = [math.inf] * routers
    queue = [(0, source)]
    while queue:
        so_far, router = heapq.heappop(queue)
        if so_far >= steps[router]:
            continue
        steps[router] = so_far
        for a, b, cost in links:
            if router in (a, b):
                heapq.heappush(queue, (so_far + cost, a + b - router))
    return steps


@pytest.mark.parametrize("routers", [4, 5, 9, 20])
def test_the_network_is_that_of_plain_loops(routers: int) -> None:
    env = Routing(num_routers=routers, network=None)
    place = env.draws(torch.arange(30), 0).place
    net = env._build(place)
    for row in range(30):
        links, ports = linked(place[row].double().tolist())
        none = env.num_links
        assert len(links) <= none
        assert net.ends[row, : len(links)].tolist() == [[a, b] for a, b, _ in links]
        assert net.length[row, : len(links)].tolist() == [steps for *_, steps in links]
        for router in range(routers):
            numbers = [none, *ports[router], *[none] * (3 - len(ports[router]))]
            assert net.link[row, router].tolist() == numbers
            behind = [router if n == none else links[n][0] + links[n][1] - router for n in numbers]
            assert net.near[row, router].tolist() == behind
            ways = [way if way < 1_000_000 else math.inf for way in net.distance[row, router].tolist()]
            assert ways == fastest(links, routers, router)


def numbers(x: Tensor) -> list[Any]:
    values: list[Any] = x[0].tolist()
    return values


def plain_step(
    env: Routing, state: RoutingState, action: list[int]
) -> tuple[list[int], list[int], list[int], list[float], list[bool]]:
    """The published order of things: packet after packet, each sees the load that those before it left."""
    net, none = state.net, env.num_links
    now, link, time, size = (numbers(x) for x in (state.now, state.link, state.time, state.size))
    load = [sum(s for s, on in zip(size, link, strict=True) if on == n) for n in range(none)]
    reward, arrived = [0.0] * len(now), [False] * len(now)
    for i in range(len(now)):
        if link[i] != none:
            time[i] -= 1
            if time[i] == 0:
                load[link[i]] -= size[i]
                link[i] = none
        elif (wanted := int(net.link[0, now[i], action[i]])) != none:
            if load[wanted] + size[i] > 1:
                reward[i] = -0.2
            else:
                link[i], time[i] = wanted, int(net.length[0, wanted])
                load[wanted] += size[i]
                now[i] = int(net.ends[0, wanted].sum()) - now[i]
        if now[i] == int(state.target[0, i]) and (env.arrival == "start" or link[i] == none):
            reward[i], arrived[i] = 10.0, True
    return now, link, time, reward, arrived


@pytest.mark.parametrize("arrival", ["end", "start"])
def test_steps_are_those_of_plain_loops(arrival: str) -> None:
    env = Routing(num_agents=25, num_routers=8, arrival=arrival, network=None, deliveries=None)
    refused = delivered = 0
    for episode in range(4):
        key = torch.tensor([episode])
        state = env.initial(env.draws(key, 0))
        for t in range(1, 40):
            action = torch.randint(4, (1, 25), generator=torch.Generator().manual_seed(100 * episode + t))
            now, link, time, reward, arrived = plain_step(env, state, numbers(action))
            draws = env.draws(key, torch.tensor([t]))
            new, paid, flags = env.transition(state, action, draws)
            assert flags.entered is not None
            assert numbers(flags.entered) == arrived
            assert numbers(paid) == pytest.approx(reward)
            for i, gone in enumerate(arrived):
                found = [int(x[0, i]) for x in (new.now, new.link, new.time)]
                assert found == ([int(draws.now[0, i]), env.num_links, 0] if gone else [now[i], link[i], time[i]])
                assert gone or int(new.target[0, i]) == int(state.target[0, i])
            assert int(new.delivered - state.delivered) == sum(arrived)
            refused, delivered = refused + sum(r < 0 for r in reward), delivered + sum(arrived)
            state = new
    assert refused > 50
    assert delivered > 20


def line(env: Routing) -> Network:
    """0 - 1 - 2 - 3 in a row, 0.25 apart: links 0, 1, 2 of 2 steps (floor(2.5) = 2, 2 / 2 + 1)."""
    net = env._build(torch.tensor([[[0.0, 0.0], [0.25, 0.0], [0.5, 0.0], [0.75, 0.0]]]))
    near = torch.tensor([[[0, 1, 0, 0], [1, 0, 2, 1], [2, 1, 3, 2], [3, 2, 3, 3]]])
    link = torch.tensor([[[6, 0, 6, 6], [6, 0, 1, 6], [6, 1, 2, 6], [6, 2, 6, 6]]])
    ends = torch.tensor([[[0, 1], [1, 2], [2, 3], [0, 0], [0, 0], [0, 0], [0, 0]]])
    length = torch.tensor([[2, 2, 2, 0, 0, 0, 0]])
    return Network(net.place, near, link, ends, length, env._distances(near, link, length))


def packets(env: Routing, now: list[int], target: list[int], size: list[float]) -> RoutingState:
    none = torch.zeros(1, len(now), dtype=torch.int64)
    return RoutingState(
        line(env),
        torch.tensor([now]),
        torch.tensor([target]),
        torch.tensor([size]),
        none + env.num_links,
        none,
        none[:, 0],
    )


def small(**settings: Any) -> Routing:
    return Routing(**{"num_agents": 3, "num_routers": 4, "deliveries": 2, **settings})


def test_distances_by_hand() -> None:
    env = small()
    assert line(env).distance[0].tolist() == [[0, 2, 4, 6], [2, 0, 2, 4], [4, 2, 0, 2], [6, 4, 2, 0]]


def test_a_full_link_refuses_and_lets_in_when_it_is_left() -> None:
    env = small()
    state = packets(env, [0, 0, 1], [2, 1, 3], [0.75, 0.5, 0.25])
    fresh = RoutingDraws(torch.zeros(1, 0, 2), torch.tensor([[3, 3, 3]]), torch.zeros(1, 3), torch.full((1, 3), 0.125))
    state, reward, flags = env.transition(state, torch.tensor([[1, 1, 1]]), fresh)  # both ways count together
    assert reward[0].tolist() == pytest.approx([0.0, -0.2, 0.0])
    assert (state.now.tolist(), state.link.tolist(), state.time.tolist()) == ([[1, 0, 0]], [[0, 6, 0]], [[2, 0, 2]])
    state, reward, _ = env.transition(state, torch.tensor([[2, 1, 3]]), fresh)  # those on links are not asked
    assert reward[0].tolist() == pytest.approx([0.0, -0.2, 0.0])
    state, reward, _ = env.transition(state, torch.tensor([[2, 1, 3]]), fresh)  # packet 0 leaves just before 1 asks
    assert reward[0].tolist() == [0.0, 0.0, 0.0]
    assert (state.now.tolist(), state.link.tolist(), state.time.tolist()) == ([[1, 1, 0]], [[6, 0, 6]], [[0, 2, 0]])
    state, reward, _ = env.transition(state, torch.tensor([[0, 0, 2]]), fresh)  # router 0 has one link: no port 2
    assert (state.now.tolist(), reward[0].tolist()) == ([[1, 1, 0]], [0.0, 0.0, 0.0])
    state, reward, flags = env.transition(state, torch.tensor([[2, 0, 0]]), fresh)  # 1 arrives, 0 enters its last link
    assert reward[0].tolist() == [0.0, 10.0, 0.0]
    assert flags.entered is not None
    assert flags.entered.tolist() == [[False, True, False]]
    assert (state.now.tolist(), state.target.tolist()) == ([[2, 3, 0]], [[2, 0, 3]])
    assert float(state.size[0, 1]) == 0.125
    assert not bool(flags.terminated)
    for _ in range(2):
        state, reward, flags = env.transition(state, torch.tensor([[0, 0, 0]]), fresh)
    assert reward[0].tolist() == [10.0, 0.0, 0.0]
    assert bool(flags.terminated)
    assert bool(flags.success)


def test_arrival_at_the_start_of_the_last_link() -> None:
    env = small(arrival="start")
    state = packets(env, [0, 0, 3], [1, 1, 0], [0.75, 0.5, 0.25])
    fresh = RoutingDraws(torch.zeros(1, 0, 2), torch.tensor([[3, 3, 3]]), torch.zeros(1, 3), torch.zeros(1, 3))
    state, reward, _ = env.transition(state, torch.tensor([[1, 1, 0]]), fresh)
    assert reward[0].tolist() == pytest.approx([10.0, -0.2, 0.0])  # it still fills the link in this step
    assert (state.now.tolist(), state.link.tolist()) == ([[3, 0, 3]], [[6, 6, 6]])
    assert env.transition(state, torch.tensor([[0, 1, 0]]), fresh)[1][0].tolist() == [0.0, 10.0, 0.0]


def test_observation_dgn_by_hand() -> None:
    env = small(features="dgn", num_agents=5)
    state = packets(env, [0, 0, 1, 3, 1], [2, 1, 3, 0, 0], [0.5, 0.25, 0.125, 0.75, 0.0])
    state, *_ = env.transition(state, torch.tensor([[1, 0, 0, 0, 0]]), env.draws(*torch.ones(2, 1).long()))
    seen = env.observe(state, "flat")
    assert isinstance(seen, Tensor)
    nobody, no_link = [-1.0] * 5, [-1.0] * 5
    assert seen[0, 1].tolist() == [
        *[0, 1, -1, 0.25, 1],
        *[0, 0, 1, 2, 0.5],
        *no_link,
        *no_link,
        *[1, 2, 0, 0.5, 1],  # packet 0 is on its way to router 1, a neighbour of 0
        *[1, 3, -1, 0.125, 1],
        *[1, 0, -1, 0.0, 1],
    ]
    assert seen[0, 0].tolist() == [
        *[1, 2, 0, 0.5, 0],
        *[0, 0, 1, 2, 0.5],
        *[1, 1, 2, 2, 0],
        *no_link,
        *[0, 1, -1, 0.25, 0],
        *[1, 3, -1, 0.125, 0],
        *[1, 0, -1, 0.0, 0],
    ]
    assert seen[0, 3].tolist() == [3, 0, -1, 0.75, 3, 2, 2, 3, 2, 0, *no_link, *no_link, *nobody, *nobody, *nobody]


def test_observation_onehot_by_hand() -> None:
    env = small()
    state = packets(env, [0, 1, 3], [2, 3, 0], [0.5, 0.25, 0.125])
    state, *_ = env.transition(state, torch.tensor([[1, 0, 0]]), env.draws(*torch.ones(2, 1).long()))
    seen = env.observe(state, "flat")
    assert isinstance(seen, Tensor)
    first = [0, 1, 0, 0, 0, 0, 1, 0, 1, 0.2, 0.5, 1, 0.2, 0.5, 1, 0.2, 0, 0, 0, 0]
    assert seen[0, 0].tolist() == pytest.approx(first)
    second = [0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0.25, 1, 0.2, 0.5, 1, 0.2, 0, 0, 0, 0]
    assert seen[0, 1].tolist() == pytest.approx(second)


@pytest.mark.parametrize(
    "settings", [{}, {"arrival": "start", "features": "dgn", "network": None}, {"num_agents": 40, "num_routers": 6}]
)
def test_what_always_holds(settings: dict[str, Any]) -> None:
    env = Routing(num_envs=24, observation="sparse", **settings)
    step = env.reset(seed=1)
    for _ in range(70):
        step = env.reset(where=step.done)
        step = env.step(env.floor_action(step.key))
        state = env.state_dict()
        link, none = state["state.link"], env.num_links
        moving = link < none
        load = torch.zeros(24, none + 1).scatter_add_(1, link, state["state.size"])[:, :none]
        assert float(load.max()) <= 1.0
        assert bool(((state["state.time"] > 0) == moving).all())
        steps = state["state.net.length"].gather(1, link)
        assert bool((state["state.time"] <= steps).all())
        assert bool((state["state.now"] != state["state.target"])[~moving].all())
        way = (
            state["state.net.distance"]
            .flatten(1)
            .gather(1, state["state.now"] * env.num_routers + state["state.target"])
        )
        assert int(way.max()) < 1000  # it can be reached
        assert step.entered is not None
        assert torch.equal(step.entered, step.reward == 10.0)
        assert torch.equal(step.discount == 0, step.entered | step.terminated[:, None])
        assert isinstance(step.obs, SparseObs)
    assert int(state["state.delivered"].max()) > 0


def test_the_network_is_shared_or_drawn_anew() -> None:
    fixed = Routing(num_envs=3, network=5)
    fixed.reset(seed=0)
    place = fixed.state_dict()["state.net.place"]
    assert torch.equal(place[0], place[1])
    fixed.reset(seed=9)
    assert torch.equal(fixed.state_dict()["state.net.place"], place)
    other = Routing(num_envs=3, network=6)
    other.reset(seed=0)
    assert not torch.equal(other.state_dict()["state.net.place"], place)
    drawn = Routing(num_envs=3, network=None)
    drawn.reset(seed=0)
    place = drawn.state_dict()["state.net.place"]
    assert not torch.equal(place[0], place[1])
    drawn.reset()
    assert not torch.equal(drawn.state_dict()["state.net.place"], place)


def test_new_packets_are_spread_evenly() -> None:
    env = Routing(num_envs=500)
    env.reset(seed=0)
    state = env.state_dict()
    for name in ("now", "target"):
        share = torch.bincount(state[f"state.{name}"].flatten(), minlength=20) / 10_000
        assert float((share - 0.05).abs().max()) < 0.01
    size = state["state.size"]
    assert abs(float(size.mean()) - 0.5) < 0.01
    assert torch.equal(size * 4096, (size * 4096).round())
    assert float(size.max()) < 1.0


@pytest.mark.parametrize("settings", [{}, {"network": 3, "arrival": "start"}])
def test_the_ceiling_delivers_without_overload(settings: dict[str, Any]) -> None:
    env = Routing(num_envs=16, observation="sparse", **settings)
    step = env.reset(seed=8)
    done = torch.zeros(16, dtype=torch.bool)
    while not bool(done.all()):
        step = env.step(env.ceiling_action())
        assert not bool((step.reward < 0).any())
        assert not bool((step.truncated & ~done).any())
        done |= step.success
        step = env.reset(where=step.done)


def test_a_lonely_packet_takes_the_fastest_way() -> None:
    env = Routing(num_envs=40, num_agents=1, deliveries=1)
    step = env.reset(seed=4)
    state = env.state_dict()
    way = state["state.net.distance"].flatten(1).gather(1, state["state.now"] * 20 + state["state.target"]).squeeze(1)
    links = torch.zeros(40, dtype=torch.int64)
    done = torch.zeros(40, dtype=torch.bool)
    while not bool(done.all()):
        action = env.ceiling_action()
        links += ((action[:, 0] > 0) & ~done).long()
        step = env.step(action)
        assert bool((~step.terminated | done | (step.step == way + links)).all())  # a step to enter each link
        done |= step.terminated
        step = env.reset(where=step.done)


@pytest.mark.parametrize(
    ("form", "settings"),
    [
        ("flat", {"deliveries": 2}),
        ("sparse", {"features": "dgn", "arrival": "start", "deliveries": None}),
        ("flat", {"network": None}),
    ],
)
def test_contract(form: str, settings: dict[str, Any]) -> None:
    check_env(lambda n: Routing(num_envs=n, observation=form, max_steps=9, num_agents=6, **settings), long=0)


def test_the_protocol_carries_the_published_numbers() -> None:
    env = Routing(**Routing.protocols["dgn-20-20-v0"])
    assert (env.num_agents, env.num_routers, env.obs_dim, env.num_actions) == (20, 20, 35, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_routers": 3}, "num_routers: expected an integer of at least 4"),
        ({"num_agents": 0}, "num_agents: expected"),
        ({"network": -1}, "network: expected"),
        ({"network": 1.5}, "network: expected"),
        ({"arrival": "middle"}, "arrival: expected one of"),
        ({"features": "one-hot"}, "Did you mean 'onehot'"),
        ({"deliveries": 0}, "deliveries: expected"),
        ({"max_steps": 0}, "max_steps: expected"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Routing(**settings)


@pytest.mark.parametrize("routers", [5, 7, 9])
def test_no_packet_begins_where_no_link_goes(routers: int) -> None:
    """Of an odd number of routers one may be left without a link: a fifth of all networks of five."""
    env = Routing(num_envs=512, num_routers=routers, num_agents=6, network=None)
    step = env.reset(seed=0)
    net = env._current("test").net
    assert bool((net.link == env.num_links).all(-1).any()), "a trial without such a router shows nothing"
    for _ in range(12):
        now = env._current("test")
        assert bool((now.target < routers).all() & (now.target != now.now).any())
        ways = now.net.distance.flatten(1).gather(1, now.now * routers + now.target)
        assert bool((ways < 1_000_000).all()), "every target can be reached"
        step = env.step(env.ceiling_action())
        step = env.reset(where=step.done)
