"""routing, step by step from its page: packet after packet. The network is taken from the state."""

from __future__ import annotations

from typing import Any

SETTINGS: list[dict[str, Any]] = [
    {"num_agents": 6, "num_routers": 8, "deliveries": 9},
    {"num_agents": 12, "num_routers": 6, "network": None, "arrival": "start", "deliveries": None, "max_steps": 15},
]


def ports(s: Any, router: int) -> list[tuple[int, int]]:
    """(link, the router behind it) of each port that has one."""
    none = len(s["net.length"]) - 1
    both = zip(s["net.link"][router][1:].tolist(), s["net.near"][router][1:].tolist(), strict=True)
    return [pair for pair in both if pair[0] != none]


def reachable(s: Any, start: int) -> list[int]:
    seen, todo = {start}, [start]
    while todo:
        for _, there in ports(s, todo.pop()):
            if there not in seen:
                seen.add(there)
                todo.append(there)
    return sorted(seen - {start})


def loads(s: Any, link: list[int]) -> list[float]:
    return [sum(float(s["size"][i]) for i, on in enumerate(link) if on == k) for k in range(len(s["net.length"]) - 1)]


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    none, arrived_in_all = len(s["net.length"]) - 1, int(s["delivered"])
    new = {name: s[name].tolist() for name in ("now", "target", "size", "link", "time")}
    load, reward = loads(s, new["link"]), [0.0] * c["num_agents"]
    for i in range(c["num_agents"]):
        if new["link"][i] != none:
            new["time"][i] -= 1
            if new["time"][i] == 0:
                load[new["link"][i]] -= new["size"][i]
                new["link"][i] = none
        elif 0 < action[i] <= len(ports(s, new["now"][i])):
            link, there = ports(s, new["now"][i])[action[i] - 1]
            if load[link] + new["size"][i] <= 1.0:
                load[link] += new["size"][i]
                new["link"][i], new["now"][i], new["time"][i] = link, there, int(s["net.length"][link])
            else:
                reward[i] = -0.2
    for i in range(c["num_agents"]):
        if new["now"][i] == new["target"][i] and (c["arrival"] == "start" or new["link"][i] == none):
            begin = int(draw["now"][i])
            others = reachable(s, begin)
            reward[i], arrived_in_all = 10.0, arrived_in_all + 1
            new["now"][i], new["target"][i] = begin, others[int(float(draw["pick"][i]) * len(others))]
            new["size"][i], new["link"][i], new["time"][i] = float(draw["size"][i]), none, 0
    over = c["deliveries"] is not None and arrived_in_all >= c["deliveries"]
    return new | {"delivered": arrived_in_all}, reward, over, over


def observe(c: dict[str, Any], s: Any) -> Any:
    none, routers, rows = len(s["net.length"]) - 1, range(c["num_routers"]), []
    load = loads(s, s["link"].tolist())
    for i in range(c["num_agents"]):
        row = [float(s["now"][i] == r) for r in routers] + [float(s["target"][i] == r) for r in routers]
        row += [float(s["link"][i] != none), s["time"][i] / 10, s["size"][i]]
        links = [[1.0, s["net.length"][link] / 10, load[link]] for link, _ in ports(s, int(s["now"][i]))]
        rows.append(row + [x for port in [*links, *[[0.0] * 3] * (3 - len(links))] for x in port])
    return rows
