"""Law 7: train 4 is train 2, save, load, train 2, bit for bit, and every saved part is needed for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm.learn import LearnerConfig, PPOConfig, TrainConfig, Training
from gnncomm.learn.names import LEARNERS
from gnncomm.run import train
from gnncomm.store import RunDir
from gnncomm.testing import LawError
from gnncomm.testing.resume import check_resume

Tiny = Callable[..., TrainConfig]
StateOf = Callable[[Path], dict[str, str]]
Groups = dict[str, dict[str, Tensor]]

CONFIGS: dict[str, dict[str, Any]] = {
    "gru, ippo, attention": {},
    "lstm, mappo, mean, loss": {"memory": "lstm", "algo": "mappo", "comm": "mean", "channel": "loss:p=0.3"},
    "none, ippo, mean, flat": {"memory": "none", "comm": "mean", "observation": "flat"},
    "gru, mappo, gatv2 on a ring, two rounds": {"algo": "mappo", "comm": "gatv2", "topology": "ring", "rounds": 2},
    "previous, nearest, no normaliser": {
        "integration": "previous",
        "topology": "knn:k=1",
        "channel": "loss:p=0.5",
    },
    "relay": {"env": "relay", "env_settings": {"steps": 4}, "comm": "mean"},
    "relay, lstm, mappo, loss": {
        "env": "relay",
        "env_settings": {"steps": 5, "seen": "first"},
        "memory": "lstm",
        "algo": "mappo",
        "channel": "loss:p=0.2",
        "topology": "line",
        "share_rounds": True,
        "rounds": 3,
    },
    "chemical": {"env": "chemical", "env_settings": {"max_steps": 4}, "integration": "before"},
    "messages in flight, gates, a learned code": {
        "channel": "delay:steps=2 + loss:p=0.2",
        "scheduler": "gate:delayed=true,price=0.01",
        "codec": "bottleneck",
        "topology": "one_peer_exponential",
    },
    "events": {
        "scheduler": "event_triggered:delta=0.1,timeout=3",
        "comm": "mean",
    },
    "learned graph": {
        "scheduler": "learned_static:k=1",
        "comm": "mean",
        "learner": PPOConfig(minibatches=2, graph_every=2),
    },
}


class Trainings:
    """What ``check_resume`` asks for, by way of a run directory."""

    def __init__(self, config: TrainConfig, spoil: Callable[[Groups, dict[str, Any]], None] | None = None) -> None:
        self.config, self.spoil = config, spoil
        self.metrics: list[dict[str, float]] = []

    def start(self) -> Training:
        return Training.of(self.config)

    def advance(self, state: Training, updates: int) -> Training:
        for _ in range(updates):
            self.metrics.append(state.advance())
        return state

    def save(self, state: Training, path: Path) -> None:
        with RunDir.create(path, self.config) as run:
            run.save(state.env_steps, *state.state())

    def load(self, path: Path) -> Training:
        run = RunDir.open(path)
        checkpoint, _ = run.latest()
        groups = {name: dict(group) for name, group in checkpoint.tensors.items()}
        counters = dict(checkpoint.state)
        if self.spoil is not None:
            self.spoil(groups, counters)
        training = Training.of(run.config(TrainConfig))
        training.restore(groups, counters)
        return training

    def tensors(self, state: Training) -> Mapping[str, Tensor]:
        groups, counters = state.state()
        named = {f"{group}.{name}": value for group, tensors in groups.items() for name, value in tensors.items()}
        return named | {name: torch.tensor(value) for name, value in counters.items()}


SMALL: dict[str, dict[str, Any]] = {
    name: {"buffer": 8, "batch": 2, "gradient_steps": 2, "target_every_gradient_steps": 3}
    for name in ("dqn", "iql", "maddpg", "qmix", "qplex", "vdn")
} | {"coma": {"target_every_critic_steps": 4}, "ppo": {"minibatches": 2, "chunk": 1}, "pqn": {"minibatches": 2}}


@pytest.mark.parametrize("name", LEARNERS.names())
def test_every_learner_goes_on_as_if_it_had_not_stopped(tiny: Tiny, name: str, tmp_path: Path) -> None:
    """Whatever is registered: targets, mixers, normalisers, replays and all."""
    learner = replace(LearnerConfig.of(name), **SMALL.get(name, {}))
    relay = {"env": "relay", "env_settings": {"num_agents": 2, "num_symbols": 2, "steps": 2}}
    check_resume(Trainings(tiny(**relay, num_envs=2, rollout=2, hidden=4, learner=learner)), tmp_path)


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS.keys())
def test_resume_is_exact(tiny: Tiny, changes: dict[str, Any], tmp_path: Path) -> None:
    check_resume(Trainings(tiny(**changes)), tmp_path)


def _drop_moments(groups: Groups, counters: dict[str, Any]) -> None:
    groups["optimizer"].clear()


def _perturb(group: str, *names: str) -> Callable[[Groups, dict[str, Any]], None]:
    """Change the tensors of ``group`` whose name begins with one of ``names`` by the least that counts."""

    def spoil(groups: Groups, counters: dict[str, Any]) -> None:
        chosen = [name for name in groups[group] if name.startswith(names or "")]
        assert chosen, f"{group} holds no {names}: {sorted(groups[group])}"
        for name in chosen:
            value = groups[group][name]
            changed = ~value if value.dtype == torch.bool else value + 1
            groups[group][name] = changed if value.numel() else value

    return spoil


def _reverse_environments(groups: Groups, counters: dict[str, Any]) -> None:
    for name, value in groups["env"].items():
        if name.startswith("state."):
            groups["env"][name] = value.flip(0)


def _count_again(groups: Groups, counters: dict[str, Any]) -> None:
    counters["updates"] = 0


SPOILED: dict[str, Callable[[Groups, dict[str, Any]], None]] = {
    "weights": _perturb("model", "actor.bias"),
    "critic": _perturb("model", "critic"),
    "optimiser dropped": _drop_moments,
    "first moments": lambda g, c: g["optimizer"].update(
        {name: value * 0 for name, value in g["optimizer"].items() if name.endswith("exp_avg")}
    ),
    "second moments": lambda g, c: g["optimizer"].update(
        {name: value * 4 for name, value in g["optimizer"].items() if name.endswith("exp_avg_sq")}
    ),
    "steps of the optimiser": lambda g, c: g["optimizer"].update(
        {name: value + 1 for name, value in g["optimizer"].items() if name.endswith("step")}
    ),
    "normaliser, mean": _perturb("returns", "first"),
    "normaliser, mean square": _perturb("returns", "second"),
    "normaliser, weight": _perturb("returns", "weight"),
    "seeds of the environments": _perturb("env", "seed"),
    "episodes of the environments": _perturb("env", "episode"),
    "clocks of the environments": _perturb("env", "step"),
    "states of the environments": _reverse_environments,
    "memory of the agents": _perturb("carry", "state.memory"),
    "observations": _perturb("carry", "timestep.obs.value"),
    "first steps": _perturb("carry", "timestep.first"),
    "identity of the episodes": _perturb("carry", "timestep.key"),
    "running returns": _perturb("carry", "running_return"),
    "counter of updates": _count_again,
}


@pytest.mark.parametrize("part", ["state.wire.flight", "state.wire.schedule"])
def test_what_is_on_the_wire_is_needed(tiny: Tiny, part: str, tmp_path: Path) -> None:
    config = tiny(channel="delay:steps=2", scheduler="event_triggered:delta=0.1", env_settings={"max_steps": 9})
    check_resume(Trainings(config), tmp_path / "whole")
    with pytest.raises(LawError, match="loaded again"):
        check_resume(Trainings(config, _perturb("carry", part)), tmp_path / "spoiled")


@pytest.mark.every(2)
@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_every_saved_part_is_needed(
    tiny: Tiny, spoil: Callable[[Groups, dict[str, Any]], None], tmp_path: Path
) -> None:
    """A checkpoint without it, or with another one, must be found out: the comparison of the law has teeth."""
    config = tiny(channel="loss:p=0.3", env_settings={"max_steps": 9})
    with pytest.raises(LawError, match="loaded again"):
        check_resume(Trainings(config, spoil), tmp_path / "at_once")

    # The check above stops at what was loaded. What follows looks at where the training ends.
    whole, again = Trainings(config), Trainings(config, spoil)
    straight = whole.advance(whole.start(), 4)
    half = whole.advance(whole.start(), 2)
    whole.save(half, tmp_path / "half")
    resumed = again.advance(again.load(tmp_path / "half"), 2)
    final, want = whole.tensors(resumed), whole.tensors(straight)
    differs = any(not value.equal(final[name]) for name, value in want.items())
    assert differs or repr(again.metrics) != repr(whole.metrics[2:4])


@pytest.mark.parametrize("changes", [{}, {"memory": "lstm", "algo": "mappo", "channel": "loss:p=0.3"}])
@pytest.mark.parametrize("after", [1, 3])
def test_a_stopped_run_goes_on_to_the_same_files(
    tiny: Tiny, state_of: StateOf, tmp_path: Path, changes: dict[str, Any], after: int
) -> None:
    config = tiny(save_every=2, **changes)
    train(config, tmp_path / "straight")
    updates = 0

    def stop() -> bool:
        nonlocal updates
        updates += 1
        return updates == after

    halted = train(config, tmp_path / "halted", stop=stop)
    assert halted.learner.updates == after
    assert state_of(tmp_path / "halted") != state_of(tmp_path / "straight")
    train(config, tmp_path / "halted", resume=True)
    assert state_of(tmp_path / "halted") == state_of(tmp_path / "straight")
    logged = RunDir.open(tmp_path / "halted").metrics()
    assert [line["update"] for line in logged] == [1, 2, 3, 4]


def test_the_log_of_updates_after_the_last_save_is_written_again(tiny: Tiny, state_of: StateOf, tmp_path: Path) -> None:
    """As after a kill: metrics are ahead of the newest checkpoint."""
    config = tiny(save_every=2)
    train(config, tmp_path / "straight")

    def die(training: Training, metrics: dict[str, float]) -> None:
        if metrics["update"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "died", observer=die)
    assert len(RunDir.open(tmp_path / "died").metrics()) == 3
    train(config, tmp_path / "died", resume=True)
    assert state_of(tmp_path / "died") == state_of(tmp_path / "straight")


def test_a_run_that_died_before_its_first_checkpoint_begins_again(
    tiny: Tiny, state_of: StateOf, tmp_path: Path
) -> None:
    config = tiny(save_every=4)

    def die(training: Training, metrics: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "died", observer=die)
    train(config, tmp_path / "died", resume=True)
    train(config, tmp_path / "straight")
    assert state_of(tmp_path / "died") == state_of(tmp_path / "straight")


def test_a_longer_training_may_follow(tiny: Tiny, state_of: StateOf, tmp_path: Path) -> None:
    """With a constant learning rate nothing depends on the end."""
    ppo = {"lr_schedule": "constant", "entropy": 0.01, "entropy_end": 0.01, "epochs": 1, "minibatches": 2}
    from gnncomm.learn import PPOConfig

    config = tiny(steps=24, learner=PPOConfig(**ppo))
    longer = tiny(steps=48, learner=PPOConfig(**ppo))
    train(config, tmp_path / "run")
    train(longer, tmp_path / "run", resume=True)
    train(longer, tmp_path / "straight")
    assert state_of(tmp_path / "run") == state_of(tmp_path / "straight")
