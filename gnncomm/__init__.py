"""gnncomm: agents that learn to talk. Message passing as a torch-geometric layer, inside multi-agent RL.

Three ways in:

* ``gnncomm.layers`` and ``gnncomm.topology``: a layer in a model of yours, as any other PyG layer.
* ``MultiAgentLearner``: a loop of yours around one environment, in plain arrays (``Agent``, ``CommunicationGraph``).
* ``gnncomm.train``, ``load``, ``evaluate``, ``record`` and the command line: hundreds of environments at once, with
  run directories, metrics and controls.

Names are loaded when they are first used, so ``import gnncomm`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnncomm import (
        channel,
        codec,
        deploy,
        envs,
        graph,
        layers,
        learn,
        methods,
        policy,
        schedule,
        store,
        testing,
        topology,
    )
    from gnncomm.deploy import LocalAgent
    from gnncomm.errors import GnnCommError
    from gnncomm.evaluation import Report, evaluate
    from gnncomm.graph import CommGraph
    from gnncomm.learn import PPO, PPOConfig, TrainConfig
    from gnncomm.multiagent import Agent, CommunicationGraph, MultiAgentLearner
    from gnncomm.policy import CommPolicy
    from gnncomm.recording import Episode, record
    from gnncomm.registry import make, register
    from gnncomm.run import Trained, default_config, load, train
    from gnncomm.seeds import train_seeds
    from gnncomm.wire import Wire

_HOME = {
    "Agent": "gnncomm.multiagent",
    "CommGraph": "gnncomm.graph",
    "CommPolicy": "gnncomm.policy",
    "CommunicationGraph": "gnncomm.multiagent",
    "Episode": "gnncomm.recording",
    "GnnCommError": "gnncomm.errors",
    "LocalAgent": "gnncomm.deploy",
    "MultiAgentLearner": "gnncomm.multiagent",
    "PPO": "gnncomm.learn",
    "PPOConfig": "gnncomm.learn",
    "Report": "gnncomm.evaluation",
    "TrainConfig": "gnncomm.learn",
    "Trained": "gnncomm.run",
    "Wire": "gnncomm.wire",
    "default_config": "gnncomm.run",
    "evaluate": "gnncomm.evaluation",
    "load": "gnncomm.run",
    "make": "gnncomm.registry",
    "record": "gnncomm.recording",
    "register": "gnncomm.registry",
    "train": "gnncomm.run",
    "train_seeds": "gnncomm.seeds",
}
_ROOMS = (
    "bench",
    "channel",
    "checks",
    "cli",
    "codec",
    "compare",
    "config",
    "deploy",
    "deprecated",
    "environments",
    "envs",
    "errors",
    "evaluation",
    "gradients",
    "graph",
    "host",
    "integrations",
    "layers",
    "learn",
    "methods",
    "multiagent",
    "policy",
    "probe",
    "random",
    "recipes",
    "recording",
    "registry",
    "run",
    "saved",
    "schedule",
    "seeds",
    "shapes",
    "store",
    "sweep",
    "testing",
    "topology",
    "types",
    "wire",
)
"""Every package and module."""

__version__ = "0.1.0"
__all__ = [
    "PPO",
    "Agent",
    "CommGraph",
    "CommPolicy",
    "CommunicationGraph",
    "Episode",
    "GnnCommError",
    "LocalAgent",
    "MultiAgentLearner",
    "PPOConfig",
    "Report",
    "TrainConfig",
    "Trained",
    "Wire",
    "channel",
    "codec",
    "default_config",
    "deploy",
    "envs",
    "evaluate",
    "graph",
    "layers",
    "learn",
    "load",
    "make",
    "methods",
    "policy",
    "record",
    "register",
    "schedule",
    "store",
    "testing",
    "topology",
    "train",
    "train_seeds",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"gnncomm.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'gnncomm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS})
