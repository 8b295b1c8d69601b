"""A training on a device that is not the CPU goes on from what a file holds, which lies on the CPU."""

from __future__ import annotations

import pytest
import torch

from gnncomm.learn import TrainConfig, Training, collect


@pytest.mark.filterwarnings(
    "ignore:for .*copying from a non-meta parameter:UserWarning"
)  # the device stands in for one
def test_a_training_is_restored(device: torch.device) -> None:
    config = TrainConfig.of(
        env="relay",
        num_envs=4,
        rollout=2,
        steps=64,
        hidden=8,
        scheduler="gate",
        observation="flat",
        memory="none",
        device=str(device),
    )

    def begun() -> Training:
        return Training.of(config)

    training, again = begun(), begun()
    groups, counters = training.state()
    held = {name: {key: value.cpu() for key, value in group.items()} for name, group in groups.items()}
    again.restore(held, counters)
    assert again.carry.timestep.obs.device == again.tally.running_return.device == device
    rollout, _ = collect(again.env, again.policy, again.carry, 2, config.run.seed, again.tally)
    assert rollout.value.device == device
