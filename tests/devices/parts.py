"""What the parts of a wire need to be built by name, for the tests beside it."""

from __future__ import annotations

TOPOLOGY = {
    "barabasi_albert": "m=2",
    "erdos_renyi": "p=0.3",
    "hierarchical": "groups=3",
    "k_nearest": "k=3",
    "line_of_sight": "r=4,walls=" + "x".join(["......"] * 3 + [".#...."] * 2 + ["......"] * 5),
    "radius": "r=3",
    "random_regular": "k=2",
    "small_world": "k=2,p=0.5",
}
CHANNEL = {
    "budget": "beta=0.7",
    "burst": "p=0.4,length=3",
    "byzantine": "kind=replay,at=1",
    "crashed": "agents=0.4",
    "delay": "steps=2",
    "jitter": "max=2",
    "loss": "p=0.4",
    "noise": "sigma=0.5",
}
CODEC = {"gumbel_symbols": "symbols=3", "quantise": "bits=5,limit=4", "keep_largest": "k=3", "dithered": "price=0.01"}
SCHEDULER = {"topk": "k=2", "event_triggered": "delta=0.001", "learned_static": "k=1"}


def said(name: str, parameters: dict[str, str]) -> str:
    """``name`` with its parameters, as text."""
    return f"{name}:{parameters[name]}" if name in parameters else name
