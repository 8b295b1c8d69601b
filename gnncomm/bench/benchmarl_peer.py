"""One process of ``gnncomm bench train --peers``: BenchMARL 1.5.2 trains MAPPO on VMAS navigation.

Imports nothing of ours. Run by another Python, in whose environment BenchMARL is: ``PYTHON benchmarl_peer.py AGENTS
ITERATIONS``. The last line of what it writes is JSON: processor seconds of each iteration but the first, without the
environment and of it.
"""

from __future__ import annotations

import importlib
import itertools
import json
import sys
import time
from typing import Any

HIDDEN, ENVS, FRAMES, EPOCHS, MINIBATCH = 128, 60, 6000, 4, 1000


def _experiment(agents: int, iterations: int) -> Any:
    """Actor MLP - GATv2 - MLP, critic MLP of two layers, all of width 128."""
    torch: Any = importlib.import_module("torch")
    models: Any = importlib.import_module("benchmarl.models")
    experiment: Any = importlib.import_module("benchmarl.experiment")
    config = experiment.ExperimentConfig.get_from_yaml()
    chosen: dict[str, Any] = {
        "max_n_iters": iterations,
        "max_n_frames": None,
        "on_policy_n_envs_per_worker": ENVS,
        "on_policy_collected_frames_per_batch": FRAMES,
        "on_policy_n_minibatch_iters": EPOCHS,
        "on_policy_minibatch_size": MINIBATCH,
        "evaluation": False,
        "loggers": [],
        "create_json": False,
    }
    for name, value in chosen.items():
        setattr(config, name, value)
    task = importlib.import_module("benchmarl.environments").VmasTask.NAVIGATION.get_from_yaml()
    task.config["n_agents"] = agents

    def mlp(*cells: int) -> Any:
        return models.MlpConfig(list(cells), activation_class=torch.nn.Tanh, layer_class=torch.nn.Linear)

    graph = models.GnnConfig(
        topology="full",
        self_loops=False,
        gnn_class=importlib.import_module("torch_geometric.nn").GATv2Conv,
        gnn_kwargs={"add_self_loops": False, "residual": True},
    )
    return experiment.Experiment(
        task=task,
        algorithm_config=importlib.import_module("benchmarl.algorithms").MappoConfig.get_from_yaml(),
        model_config=models.SequenceModelConfig([mlp(HIDDEN), graph, mlp(HIDDEN)], [HIDDEN, HIDDEN]),
        critic_model_config=mlp(HIDDEN, HIDDEN),
        seed=0,
        config=config,
    )


def main(agents: int, iterations: int) -> None:
    importlib.import_module("torch").set_num_threads(1)
    experiment = _experiment(agents, iterations + 1)
    environment: Any = importlib.import_module("vmas.simulator.environment").Environment
    inside, ends, plain, log = [0.0], [], environment.step, experiment.logger.log

    def step(self: Any, *args: Any, **named: Any) -> Any:
        start = time.process_time()
        found = plain(self, *args, **named)
        inside[0] += time.process_time() - start
        return found

    def logged(values: Any, *args: Any, **named: Any) -> Any:
        if any(name.startswith("timers/") for name in values):
            ends.append((time.process_time(), inside[0]))
        return log(values, *args, **named)

    environment.step, experiment.logger.log = step, logged
    experiment.run()
    pairs = itertools.pairwise(ends)
    each = [(after - before - (there - here), there - here) for (before, here), (after, there) in pairs]
    sys.stdout.write(json.dumps({"learning": [a for a, _ in each], "environment": [b for _, b in each]}) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
