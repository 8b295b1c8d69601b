"""``gnncomm bench train --peers``: an iteration of MAPPO here and in BenchMARL, in processor seconds of one thread."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from gnncomm.bench import benchmarl_peer as peer
from gnncomm.errors import GnnCommError
from gnncomm.learn import PPOConfig, Training
from gnncomm.policy import Critic
from gnncomm.run import default_config
from gnncomm.types import TimeStep

STEPS = peer.FRAMES // peer.ENVS


@dataclass(frozen=True)
class TrainerRow:
    """Medians over iterations: 60 environments, 6,000 frames, 4 epochs of 6 minibatches; without the environment."""

    agents: int
    comm: str
    precision: str
    theirs: float
    """Seconds of BenchMARL's learning and acting."""
    ours: float
    collecting: float
    """Of ours, what acting took."""
    environment: float
    """Seconds of our environment."""
    their_environment: float
    """Seconds of VMAS."""

    @property
    def ratio(self) -> float:
        return self.theirs / self.ours


class _JointCritic(Critic):
    """One value for the team, of all observations: as BenchMARL's MAPPO has it where agents share weights."""

    looks = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = peer.HIDDEN
        inner = nn.Linear(width, peer.HIDDEN), nn.Tanh(), nn.Linear(peer.HIDDEN, peer.HIDDEN), nn.Tanh()
        self.net = nn.Sequential(*inner, nn.Linear(peer.HIDDEN, 1))

    def another(self, in_channels: int) -> _JointCritic:
        raise NotImplementedError

    def forward(self, features: Tensor, alive: Tensor, timestep: TimeStep | None = None) -> Tensor:
        assert timestep is not None
        assert isinstance(timestep.obs, Tensor)
        value: Tensor = self.net(timestep.obs.flatten(-2)).expand(alive.shape)
        return value


def bench_trainers(
    python: str, agents: Sequence[int], iterations: int, comms: Sequence[str], precisions: Sequence[str]
) -> Iterable[TrainerRow]:
    """A row for each size of the team, layer and precision, as they are measured.

    Raises:
        GnnCommError: ``python`` has no BenchMARL, or it failed; says what it said.
    """
    for number in agents:
        theirs = _benchmarl(python, number, iterations)
        for comm in comms:
            for precision in precisions:
                collecting, updating, environment = _ours(number, comm, precision, iterations)
                yield TrainerRow(
                    number,
                    comm,
                    precision,
                    statistics.median(theirs["learning"]),
                    collecting + updating,
                    collecting,
                    environment,
                    statistics.median(theirs["environment"]),
                )


def _benchmarl(python: str, agents: int, iterations: int) -> dict[str, list[float]]:
    done = subprocess.run(
        [python, str(Path(peer.__file__)), str(agents), str(iterations)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = next(iter(reversed(done.stderr.strip().splitlines())), "nothing")
        raise GnnCommError(
            f"{python}: expected a Python with BenchMARL, which ended with {done.returncode}: {said}. Make one by: "
            "python -m venv DIR && DIR/bin/pip install torch==2.13.0 benchmarl==1.5.2 vmas torch-geometric"
        )
    found: dict[str, list[float]] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _ours(agents: int, comm: str, precision: str, iterations: int) -> tuple[float, float, float]:
    """Seconds of acting, of learning and of the environment: the same network, but the environment is ours."""
    config = default_config(
        "rendezvous",
        env_settings={"num_agents": agents},
        num_envs=peer.ENVS,
        rollout=STEPS,
        steps=10**9,
        observation="flat",
        encoder="mlp:layers=2",
        hidden=peer.HIDDEN,
        memory="none",
        comm=comm,
        precision=precision,
        learner=PPOConfig(epochs=peer.EPOCHS, minibatches=peer.FRAMES // peer.MINIBATCH),
    )
    seen = Training.of(config).policy
    actor = nn.Sequential(nn.Linear(peer.HIDDEN, peer.HIDDEN), nn.Tanh(), nn.Linear(peer.HIDDEN, seen.num_actions))
    training = Training.of(config, actor=actor, critic=_JointCritic(seen.obs_dim * agents))
    torch.set_float32_matmul_precision("medium" if precision == "bf16" else "highest")
    inside = [0.0]
    for name in ("step", "reset"):
        setattr(training.env, name, _timed(getattr(training.env, name), inside))
    collects, updates, environment = [], [], []
    for _ in range(iterations + 1):
        start, before = time.process_time(), inside[0]
        rollout = training.collect()
        middle = time.process_time()
        training.learner.update(rollout)
        environment.append(inside[0] - before)
        collects.append(middle - start - environment[-1])
        updates.append(time.process_time() - middle)
    torch.set_float32_matmul_precision("highest")
    return statistics.median(collects[1:]), statistics.median(updates[1:]), statistics.median(environment[1:])


def _timed(call: Any, inside: list[float]) -> Any:
    def timed(*args: Any, **named: Any) -> Any:
        start = time.process_time()
        found = call(*args, **named)
        inside[0] += time.process_time() - start
        return found

    return timed


def trainers_table(rows: Iterable[TrainerRow]) -> Table:
    """For the terminal."""
    title = f"an iteration of MAPPO, processor seconds of {torch.get_num_threads()} thread, without environments"
    table = Table(title=title, title_justify="left", box=None)
    for name in (
        "agents",
        "comm",
        "precision",
        "BenchMARL",
        "ours",
        "of it acting",
        "ratio",
        "VMAS",
        "our environment",
    ):
        table.add_column(name, justify="left" if name in ("comm", "precision") else "right")
    for row in rows:
        numbers = row.theirs, row.ours, row.collecting
        others = f"{row.ratio:.1f}x", f"{row.their_environment:.2f}", f"{row.environment:.2f}"
        table.add_row(str(row.agents), row.comm, row.precision, *(f"{value:.2f}" for value in numbers), *others)
    return table
