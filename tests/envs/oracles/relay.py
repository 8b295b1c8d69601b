"""relay, step by step from its page: the symbol does not change, and only the last agent's last word counts."""

from __future__ import annotations

from typing import Any

SETTINGS: list[dict[str, Any]] = [{}, {"num_agents": 3, "num_symbols": 2, "steps": 3}, {"steps": 4, "seen": "first"}]


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    t = int(s["t"]) + 1
    named = t == c["steps"] and action[-1] == int(s["symbol"])
    return (
        {"symbol": int(s["symbol"]), "t": t, "answer": int(action[-1]) if t == c["steps"] else -1},
        [float(named)] * c["num_agents"],
        t == c["steps"],
        named,
    )


def observe(c: dict[str, Any], s: Any) -> Any:
    n, t, rows = c["num_agents"], int(s["t"]), []
    for i in range(n):
        shown = i == 0 and (t == 0 or c["seen"] == "always")
        symbol = [float(shown and k == int(s["symbol"])) for k in range(c["num_symbols"])]
        elapsed = [t / c["steps"]] if c["steps"] > 1 else []
        rows.append(symbol + [float(i == k) for k in range(n)] + elapsed)
    return rows
