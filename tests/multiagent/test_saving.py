"""A saved team goes on as if it had never stopped; what no file can bring back is asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gnncomm
from gnncomm import MultiAgentLearner
from gnncomm.envs import MultiAgentEnv
from gnncomm.errors import CheckpointError, CheckpointMismatchError, ConfigError, RunExistsError, StateError
from gnncomm.layers import CommLayer
from gnncomm.learn import PPOConfig
from gnncomm.multiagent import DEFAULT_PPO
from gnncomm.topology import FromFunction, Ring
from gnncomm.types import Box, Group

from .worlds import Shows, lives, masks, nothing, places, play

SMALL: dict[str, Any] = {"num_agents": 4, "state_dim": 3, "action_dim": 5, "hidden": 8, "horizon": 12, "segment": 4}
FAST = PPOConfig(lr=1e-2, lr_schedule="constant", epochs=2, minibatches=2)


class Scaled(CommLayer):
    """A layer that nobody registered."""

    def __init__(self, in_channels: int, out_channels: int, scale: float = 2.0) -> None:
        super().__init__(in_channels, out_channels, msg_channels=out_channels)
        self.scale, self.lin = scale, nn.Linear(in_channels, out_channels)

    def send(self, h: Tensor) -> Tensor:
        return self.scale * self.lin(h)

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        return h + inbox


def team(**changes: Any) -> MultiAgentLearner:
    return MultiAgentLearner(**SMALL | {"ppo": FAST} | changes)


def weights(learner: MultiAgentLearner) -> list[Tensor]:
    return [value.detach().clone() for value in learner.policy.state_dict().values()]


CASES: dict[str, tuple[dict[str, Any], Shows]] = {
    "plain": ({}, nothing),
    "wire": ({"topology": "ring", "codec": "int4", "channel": "loss:p=0.2 + delay:steps=1", "rounds": 2}, nothing),
    "gate": ({"scheduler": "gate", "memory": "lstm", "critic": "central", "agent_id": True}, nothing),
    "after": ({"integration": "after", "encoder": "mlp:layers=2", "share": "none"}, masks),
    "places": ({"topology": "radius:r=1.5", "comm": "mean"}, places),
    "deaths": ({"comm": "tarmac2"}, lives),
    "numbers": ({"action_dim": 2, "box": Box(((-1.0, 0.0),) * 4, ((1.0, 2.0),) * 4)}, nothing),
    "groups": ({"groups": (Group("a", (0, 2), 3, 5, "x"), Group("b", (1, 3), 2, 4, "y"))}, nothing),
}


@pytest.mark.parametrize("case", CASES)
def test_saved_and_loaded_it_goes_on_to_the_same_bits(case: str, tmp_path: Path) -> None:
    """Train 53 steps = train 26, save, load, train 27: in the middle of a segment and of an episode."""
    settings, shows = CASES[case]
    whole = team(**settings)
    before, after = play(whole, 0, 26, shows), play(whole, 26, 27, shows)
    first = team(**settings)
    assert play(first, 0, 26, shows) == before
    first.save(tmp_path / "team")
    again = MultiAgentLearner.load(tmp_path / "team")
    assert again.steps == 26
    assert again.metrics == pytest.approx(first.metrics, nan_ok=True, rel=0, abs=0)
    assert play(again, 26, 27, shows) == after
    assert again.learner.updates == whole.learner.updates == 4
    assert all(a.equal(b) for a, b in zip(weights(again), weights(whole), strict=True))
    assert any(not a.equal(b) for a, b in zip(weights(again), weights(first), strict=True)), "it goes on learning"


def test_a_team_that_never_acted_and_one_whose_episode_ended(tmp_path: Path) -> None:
    team().save(tmp_path / "new")
    fresh = MultiAgentLearner.load(tmp_path / "new")
    assert play(fresh, 0, 12) == play(team(), 0, 12)
    assert [agent.episode for agent in fresh.agents] == [2] * 4
    fresh.save(tmp_path / "ended")
    assert [agent.time for agent in fresh.agents] == [4] * 4
    loaded = MultiAgentLearner.load(tmp_path / "ended")
    assert all(a.beliefs.equal(b.beliefs) for a, b in zip(loaded.agents, fresh.agents, strict=True))
    assert "steps=12" in repr(loaded)


def test_what_has_a_name_comes_back_by_name(tmp_path: Path) -> None:
    team(topology=Ring(k=1), channel=gnncomm.channel.Loss(p=0.25), seed=3).save(tmp_path / "team")
    loaded = MultiAgentLearner.load(tmp_path / "team")
    assert loaded.policy.wire.topology == Ring(k=1)
    assert loaded.config.settings["channel"] == "loss:p=0.25"
    assert (loaded.seed, loaded.config.ppo) == (3, FAST)
    with pytest.raises(ConfigError, match=r"keeps its parts.*topology"):
        MultiAgentLearner.load(tmp_path / "team", topology="full")
    with pytest.raises(ConfigError, match="comm: expected none"):
        MultiAgentLearner.load(tmp_path / "team", comm=Scaled)


def test_own_parts_are_asked_for_by_name(tmp_path: Path) -> None:
    whole = team(comm=Scaled)
    play(whole, 0, 20)
    whole.save(tmp_path / "team")
    with pytest.raises(ConfigError, match=r"comm=Scaled\(.*MultiAgentLearner.load\(path, comm=...\)"):
        MultiAgentLearner.load(tmp_path / "team")
    with pytest.raises(ConfigError, match="scale"):
        MultiAgentLearner.load(tmp_path / "team", comm=Scaled(8, 8, scale=3.0))
    loaded = MultiAgentLearner.load(tmp_path / "team", comm=Scaled)
    assert play(loaded, 20, 10) == play(whole, 20, 10)
    wide = team(comm=Scaled(16, 16))
    assert wide.config.settings["hidden"] == wide.policy.hidden == 16
    own = team(topology=FromFunction(lambda alive: alive.new_ones(4, 4)))
    own.save(tmp_path / "function")
    with pytest.raises(ConfigError, match="topology="):
        MultiAgentLearner.load(tmp_path / "function")


@pytest.mark.usefixtures("installed")
def test_own_parts_with_a_name_come_back_by_it(tmp_path: Path) -> None:
    gnncomm.register("layer", "scaled", Scaled)
    whole = team(comm="scaled:scale=3.0")
    play(whole, 0, 9)
    whole.save(tmp_path / "text")
    loaded = MultiAgentLearner.load(tmp_path / "text")
    assert play(loaded, 9, 9) == play(whole, 9, 9)
    team(comm=Scaled).save(tmp_path / "class")
    layer = MultiAgentLearner.load(tmp_path / "class").policy.comm.rounds[0]
    assert isinstance(layer, Scaled)
    assert layer.scale == 2.0


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "team"
    learner = team()
    learner.step(torch.zeros(4, 3))
    with pytest.raises(StateError, match="update"):
        learner.save(path)
    assert not path.exists()
    learner.update(0.0)
    assert learner.save(path).name == "step_1"
    assert learner.save(path).name == "step_1", "the same again changes nothing"
    old = MultiAgentLearner.load(path)
    play(learner, 0, 9)
    learner.save(path)
    with pytest.raises(RunExistsError, match=r"later state.*step 10"):
        old.save(path)
    with pytest.raises(RunExistsError, match="another team"):
        team(topology="ring").save(path)
    assert MultiAgentLearner.load(path).steps == 10
    old.save(path, overwrite=True)
    assert MultiAgentLearner.load(path).steps == 1


def test_damage_is_named_and_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    learner = team()
    play(learner, 0, 5)
    learner.save(tmp_path / "team")
    play(learner, 5, 5)
    newest = learner.save(tmp_path / "team")
    file = newest / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x00")
    assert MultiAgentLearner.load(tmp_path / "team").steps == 5
    assert "step_10" in caplog.text
    for entry in (newest, newest.with_name("step_5")):
        (entry / "past.safetensors").unlink()
    with pytest.raises(CheckpointError, match="no usable checkpoint"):
        MultiAgentLearner.load(tmp_path / "team")
    with pytest.raises(CheckpointError, match="no run"):
        MultiAgentLearner.load(tmp_path / "nothing")


def test_a_state_that_no_team_can_have(tmp_path: Path) -> None:
    learner = team()
    play(learner, 0, 5)
    groups, counters = learner.learner.state()
    own = {"model": dict(learner.policy.state_dict()), "beliefs": {"memory": torch.zeros(1, 3, 8)}}
    with gnncomm.store.RunDir.create(tmp_path / "team", learner.config) as run:
        run.save(5, own | groups, counters | {"episode": 0, "time": 0, "metrics": {}})
    with pytest.raises(CheckpointMismatchError, match="beliefs"):
        MultiAgentLearner.load(tmp_path / "team")


def test_sizes_are_compared_before_memory_is_taken(tmp_path: Path) -> None:
    """A forged file that claims rows of 65,536 numbers (64 GiB of weights) is refused at once."""
    learner = team(comm="mean")
    learner.save(tmp_path / "team")
    forged = replace(learner.config, settings={**learner.config.settings, "hidden": 2**16})
    with gnncomm.store.RunDir.open(tmp_path / "team", write=True) as run:
        run.amend(forged)
    with pytest.raises(CheckpointMismatchError, match="65536"):
        MultiAgentLearner.load(tmp_path / "team")
    with gnncomm.store.RunDir.open(tmp_path / "team", write=True) as run:
        run.amend(replace(learner.config, settings={**learner.config.settings, "comm": "os:system"}))
    with pytest.raises(ConfigError, match="Cannot read"):
        MultiAgentLearner.load(tmp_path / "team")


def test_runs_and_teams_know_each_other(tmp_path: Path) -> None:
    team().save(tmp_path / "team")
    with pytest.raises(ConfigError, match=r"MultiAgentLearner.load"):
        gnncomm.load(tmp_path / "team")
    config = json.loads((tmp_path / "team" / "config.json").read_text())["config"]
    assert config["kind"] == "gnncomm.multiagent"
    with gnncomm.store.RunDir.create(tmp_path / "run", gnncomm.TrainConfig()):
        pass
    with pytest.raises(ConfigError, match=r"gnncomm.load"):
        MultiAgentLearner.load(tmp_path / "run")
    with pytest.raises(RunExistsError, match="another team or run"):
        team().save(tmp_path / "run")


def test_the_default_settings_are_kept(tmp_path: Path) -> None:
    env = MultiAgentEnv(num_agents=2, grid_size=5)
    learner = MultiAgentLearner(2, env.state_dim, env.action_dim)
    learner.save(tmp_path / "team")
    assert MultiAgentLearner.load(tmp_path / "team").config == learner.config
    assert learner.config.ppo == DEFAULT_PPO
