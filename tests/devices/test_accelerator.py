"""Everything that is listed on an accelerator, beside the processor. Left out where this machine has none.

``GNNCOMM_TEST_DEVICE`` names another device than CUDA's first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch
from device_parts import CHANNEL, CODEC, SCHEDULER, TOPOLOGY, said
from torch import Tensor

from gnncomm import channel, codec, envs, evaluate, load, record, schedule, topology, train
from gnncomm.deploy import run_team, team_of
from gnncomm.layers import CommStack
from gnncomm.layers.names import LAYERS, make_layer
from gnncomm.learn import PPO, PPOConfig, TrainConfig, begin, collect
from gnncomm.policy import GRU, LSTM, CentralCritic, CommPolicy, Integration, LocalCritic
from gnncomm.types import SparseObs, TimeStep
from gnncomm.wire import Wire

DEVICE = os.environ.get("GNNCOMM_TEST_DEVICE", "cuda")
pytestmark = pytest.mark.skipif(
    DEVICE.startswith("cuda") and not torch.cuda.is_available(), reason="this machine has no CUDA device"
)
H = 16
SHORT = sorted({name.partition("/")[0] for name in envs.names()})
BY_HAND: dict[str, Callable[[int], topology.Topology]] = {
    "from_function": lambda n: topology.FromFunction(lambda alive, pos, step, key: alive[:, :, None] & alive[:, None]),
    "from_networkx": lambda n: topology.FromNetworkx(nx.path_graph(n, create_using=nx.DiGraph)),
    "a | b": lambda n: topology.resolve("star | knn:k=1"),
    "~a": lambda n: topology.resolve("~ring"),
    "a.every(2)": lambda n: topology.resolve("full.every(2)"),
    "with features": lambda n: topology.resolve("radius:r=2.relative()"),
}


def close(there: Tensor, here: Tensor, name: str) -> None:
    """Equal, floats up to the order of sums."""
    there = there.cpu()
    if here.is_floating_point():
        torch.testing.assert_close(there, here, atol=2e-5, rtol=1e-4, msg=lambda text: f"{name}: {text}")
    else:
        assert torch.equal(there, here), name


def same_step(there: TimeStep, here: TimeStep) -> None:
    found = there.tensors()
    for name, value in here.tensors().items():
        if not name.startswith("obs."):
            close(found[name], value, name)
    if isinstance(here.obs, SparseObs) and isinstance(there.obs, SparseObs):
        close(there.obs.to_flat(), here.obs.to_flat(), "obs")


@pytest.mark.parametrize("form", ["flat", "sparse"])
@pytest.mark.parametrize("name", SHORT)
def test_environments_play_the_same_episodes(name: str, form: str) -> None:
    """Thirty steps, half of them of the best policy known, from the same draws."""
    here = envs.make(name, num_envs=6, observation=form)
    there = envs.make(name, num_envs=6, observation=form, device=DEVICE)
    now, far = here.reset(seed=5), there.reset(seed=5)
    for t in range(30):
        same_step(far, now)
        floor = here.floor_action(now.key)
        close(there.floor_action(far.key), floor, "floor")
        best = here.ceiling_action()
        close(there.ceiling_action(), best, "ceiling")
        action = best if t % 2 else floor
        if now.action_mask is not None:
            allowed = now.action_mask.gather(-1, action.unsqueeze(-1)).squeeze(-1)
            action = torch.where(allowed, action, now.action_mask.long().argmax(-1))
        now, far = here.step(action), there.step(action.to(DEVICE))
        if bool(now.done.any()):
            same_step(far, now)
            now, far = here.reset(where=now.done), there.reset(where=far.done)
    there.scene()
    there.render()
    there.load_state_dict(there.state_dict())


@pytest.mark.parametrize("num_agents", [10, 1000])
@pytest.mark.parametrize("name", sorted({*topology.names(), *BY_HAND}))
def test_topologies_draw_the_same_edges(name: str, num_agents: int) -> None:
    who = BY_HAND[name](num_agents) if name in BY_HAND else topology.resolve(said(name, TOPOLOGY))
    generator = torch.Generator().manual_seed(0)
    alive = torch.rand(2, num_agents, generator=generator) < 0.9
    pos = torch.rand(2, num_agents, 2, generator=generator) * (4 if num_agents == 10 else 5)
    step, key = torch.tensor([0, 3]), torch.tensor([7, 11])
    here = who(alive, pos, step, key)
    there = who(*(value.to(DEVICE) for value in (alive, pos, step, key)))
    assert torch.equal(there.edge_index.cpu(), here.edge_index)
    assert torch.equal(there.in_degree.cpu(), here.in_degree)


def build(env: envs.GridEnv[Any, Any], **parts: Any) -> CommPolicy:
    """A policy with the same weights on every device."""
    torch.manual_seed(0)
    n = env.num_agents
    wire = Wire(
        parts.get("topology", topology.Full()),
        schedule.resolve(parts.get("scheduler", "always"), H, n),
        codec.resolve(parts.get("codec", "float32")),
        channel.resolve(parts.get("channel", "ideal")),
    )
    comm = parts["comm"]() if "comm" in parts else CommStack([make_layer("mean", H)] * 2)
    critic = CentralCritic(H, n) if parts.get("central") else LocalCritic(H)
    memory = parts.get("memory", GRU)(H)
    integration = parts.get("integration", Integration.BEFORE)
    return CommPolicy(env.obs_dim, env.num_actions, comm, memory, integration, wire, critic)


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    **{f"layer {name}": lambda name=name: {"comm": lambda: make_layer(name, H)} for name in LAYERS},
    **{
        f"scheduler {name}": lambda name=name: {"scheduler": said(name, SCHEDULER)}
        for name in schedule.names()
        if name != "symmetric"
    },
    **{f"codec {name}": lambda name=name: {"codec": said(name, CODEC)} for name in codec.names()},
    **{f"channel {name}": lambda name=name: {"channel": said(name, CHANNEL)} for name in channel.names()},
    "channels in series": lambda: {"channel": "loss:p=0.3 + jitter:max=1 + byzantine"},
    **{f"integration {i}": lambda i=i: {"integration": i, "memory": LSTM, "scheduler": "gate"} for i in Integration},
    "central critic": lambda: {"central": True, "scheduler": "gate:two_way=true"},
}


@pytest.mark.parametrize("name", PARTS)
def test_policies_act_and_learn(name: str) -> None:
    """The same first decisions as on the processor, the log-probabilities of a rollout again, and a finite update."""
    parts = PARTS[name]()
    logits = []
    for device in ("cpu", DEVICE):
        env = envs.make("predator_prey", num_envs=6, num_agents=4, max_steps=5, device=device)
        policy = build(env, **parts).to(device)
        with torch.no_grad():
            decision = policy.act(env.reset(seed=3), policy.initial_state(6, 4), 1)
        logits.append(decision.logits.cpu())
        carry, tally = begin(env, policy, 0)
        learner = PPO(policy, PPOConfig(epochs=1, minibatches=2), 10)
        for _ in range(2):
            rollout, carry = collect(env, policy, carry, 4, 0, tally)
            with torch.no_grad():
                again = policy.unroll(rollout.timestep, rollout.action, rollout.state, rollout.choice)
            close(again.log_prob, rollout.log_prob.cpu(), "log_prob")
            assert all(value == value for value in learner.update(rollout).values())
    torch.testing.assert_close(logits[1], logits[0], atol=1e-4, rtol=1e-3)


def test_a_team_of_separate_agents_chooses_what_the_policy_chose() -> None:
    env = envs.make("predator_prey", num_envs=2, device=DEVICE)
    policy = build(env, comm=lambda: make_layer("attention", H)).to(DEVICE).eval()
    now = env.reset(seed=0)
    with torch.no_grad():
        decision = policy.act(now, policy.initial_state(2, env.num_agents), 4)
        alone = run_team(team_of(policy, env.num_agents), now, 4)
    assert [int(agent.action) for agent in alone] == decision.action[0].tolist()


def test_a_run_is_trained_resumed_loaded_evaluated_and_recorded(tmp_path: Path) -> None:
    config = TrainConfig.of(
        env="predator_prey", num_envs=16, rollout=4, steps=16 * 4 * 4, hidden=H, device=DEVICE, save_every=1
    )
    train(config, tmp_path / "run", stop=lambda: True)
    resumed = train(config, tmp_path / "run", resume=True)
    whole = train(config, tmp_path / "whole")
    found = dict(resumed.policy.state_dict())
    for name, value in whole.policy.state_dict().items():
        torch.testing.assert_close(found[name], value)
    trained = load(tmp_path / "run")
    env = trained.make_env(8)
    report = evaluate(trained.policy, env, episodes=8)
    assert report.trained.success.mean == report.trained.success.mean
    assert len(record(trained.policy, env).actions) > 0
