"""What a training is made of, before it is begun: parts and their shapes, the graph, and the memory that it takes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gnncomm.learn.config import TrainConfig
from gnncomm.learn.fingerprint import said
from gnncomm.learn.training import Training

_GROWN, _ENOUGH = 5, 2**30
"""How many times what grows is what does not, and the bytes, from which on nothing larger is tried."""


@dataclass(frozen=True)
class Part:
    """One part of the policy."""

    name: str
    kind: str
    """What it is, with what it was made of."""
    output: tuple[int, ...] | None
    """Shape of what it gives for a step of all environments; None where it is no function of its input alone."""
    parameters: int


@dataclass(frozen=True)
class Outline:
    """A training in numbers."""

    sizes: Mapping[str, int]
    """Of the environment: num_envs, num_agents, obs_dim, num_actions, max_steps."""
    parts: tuple[Part, ...]
    parameters: int
    """Of all of the policy; what is shared counts once."""
    nodes: int
    edges: float
    """Per environment, in the first step and round; the mean."""
    degree: float
    """How many an agent hears, the mean."""
    updates: int
    memory: int
    """Bytes that torch holds at the peak of an update. What the allocator keeps of freed memory comes on top."""


def outline(config: TrainConfig) -> Outline:
    """Play and learn an update on a few environments, on more, and say what so many as there shall be would take.

    All that a training holds is the same for every number B of environments, or grows with B: weights and moments, or
    states, a rollout, and a minibatch, which is a part of it. What is the highest, :math:`a + b B`, may be another
    thing for a larger B: of a learner with replay an update for few, playing for many. As no :math:`a` is below 0, no
    :math:`b` is above peak / B. So B is raised until the line through the last two peaks says a fifth less at most, or
    all are there, or a gibibyte is in use. Nothing of it is kept, and nothing is written.

    Raises:
        ConfigError: what ``Training.of`` refuses.
    """
    config.learner.require_fit(config.env.num_envs)
    most = config.env.num_envs
    least = next(number for number in range(1, most + 1) if most // config.learner.at_once(most) <= number)
    number, slope = min(4 * least, most), 0.0
    peak, training = _peak(config.replace(num_envs=number))
    while number < most and slope * number < _GROWN * (peak - slope * number) and peak < _ENOUGH:
        before, few, number = peak, number, min(2 * number, most)
        peak, training = _peak(config.replace(num_envs=number))
        slope = (peak - before) / (number - few)
    return _described(config, training, round(peak + slope * (most - number)))


def _peak(config: TrainConfig) -> tuple[int, Training]:
    """The most bytes that torch held while a training was made and an update of it.

    Python collects what refers to itself when it likes, which made a twentieth of a small training: not in between.
    """
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        with _Held() as held:
            training = Training.of(config)
            training.advance()
    finally:
        if collects:
            gc.enable()
    return held.most, training


def _described(config: TrainConfig, training: Training, memory: int) -> Outline:
    policy, env = training.policy, training.env
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def hook(*call: Any) -> None:
            result = call[-1]
            if isinstance(result, Tensor):
                shapes.setdefault(name, (config.env.num_envs, *result.shape[1:]))

        return hook

    hooks = [module.register_forward_hook(note(name)) for name, module in policy.named_children()]
    with torch.no_grad():
        decision = policy.act(training.carry.timestep, training.carry.state, config.run.seed)
    for hook in hooks:
        hook.remove()
    graph = decision.talk.graphs[0]
    edges = graph.edge_index.shape[1] / graph.num_graphs  # one stands for all where nothing changes
    parts = [
        Part(name, said(module), shapes.get(name), sum(p.numel() for p in module.parameters()))
        for name, module in policy.named_children()
    ]
    wire = policy.wire
    known = {part.name for part in parts}
    rest = [name for name in ("topology", "scheduler", "codec", "channel") if name not in known]
    parts += [Part(name, said(getattr(wire, name)), None, 0) for name in rest]
    return Outline(
        {"num_envs": config.env.num_envs}
        | {name: getattr(env, name) for name in ("num_agents", "obs_dim", "num_actions", "max_steps")},
        tuple(parts),
        sum(p.numel() for p in policy.parameters()),
        env.num_agents,
        edges,
        edges / env.num_agents,
        config.updates,
        memory,
    )


class _Held(TorchDispatchMode):
    """Counts the bytes of all storages that come into being within, and of those that go."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
