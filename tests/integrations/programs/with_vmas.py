"""Run by the Python of an environment that has VMAS and BenchMARL: what holds there."""

import subprocess
import sys
from functools import partial

import torch
import vmas
from tensordict import TensorDict
from torchrl.data import Composite, Unbounded

import gnncomm
from gnncomm import environments
from gnncomm.errors import ConfigError, TrustError
from gnncomm.integrations.benchmarl import CommModelConfig, CommTask
from gnncomm.testing import check_env
from gnncomm.types import TeamSpec

make = environments.make
SPEAKER_LISTENER = [("speaker", 27, 3), ("listener", 9, 11)]


def equals_the_simulator():
    """Observations, rewards and ends are those of VMAS, for numbers and for choices."""
    for numbers in (True, False):
        env = make("vmas:navigation", 3, n_agents=2, continuous_actions=numbers, step_limit=30)
        theirs = vmas.make_env("navigation", 3, continuous_actions=numbers, seed=0, n_agents=2)
        now = env.reset(seed=4)
        for number in range(3):
            theirs.seed(int(now.key[number]) & (2**31 - 1))
            theirs.reset_at(number)
        for _ in range(12):
            action = env.floor_action(now.key)
            now = env.step(action)
            seen, paid, done, _ = theirs.step(list((action if numbers else action.unsqueeze(-1)).unbind(1)))
            torch.testing.assert_close(now.obs, torch.stack(seen, 1))
            torch.testing.assert_close(now.reward, torch.stack(paid, 1))
            assert now.terminated.equal(done)
            torch.testing.assert_close(now.pos, torch.stack([agent.state.pos for agent in theirs.agents], 1))


def of_unlike_agents():
    env = make("vmas:simple_speaker_listener", 2, continuous_actions=False)
    assert [(group.name, group.num_actions, group.obs_dim) for group in env.groups] == SPEAKER_LISTENER
    mask = env.reset(seed=0).action_mask
    assert mask.sum(-1)[0].tolist() == [group.num_actions for group in TeamSpec.of(env).groups]
    tag = make("vmas:simple_tag", 2)
    assert {group.team for group in tag.groups} == {"adversary", "agent"}


def refused(kind, text, call):
    said = ""
    try:
        call()
    except kind as error:
        said = str(error)
    assert text in said, (text, said)


def told(*words, code=0):
    done = subprocess.run([sys.executable, "-m", "gnncomm", *words], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def model(shared=True, **settings):
    """Of three agents that observe two numbers, which are where they are."""
    seen = Composite({"agents": Composite({"observation": Unbounded((3, 2))}, shape=(3,))})
    said = Composite({"agents": Composite({"logits": Unbounded((3, 4))}, shape=(3,))})
    fixed = {"input_spec": seen, "output_spec": said, "agent_group": "agents", "input_has_agent_dim": True}
    fixed |= {"n_agents": 3, "centralised": False, "device": "cpu", "action_spec": None}
    return CommModelConfig(hidden=8, **settings).get_model(**fixed, share_params=shared)


def of_benchmarl():
    """Who is within reach is heard, and nobody else: agent 1 stands between agents 0 and 2."""
    near = model(comm="mean", topology="radius:r=1.5", position="observation[0:2]")
    at = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]], requires_grad=True)
    found = near(TensorDict({"agents": TensorDict({"observation": at}, (1, 3))}, (1,)))["agents", "logits"]
    found[0, 0].sum().backward()
    assert (at.grad.abs().sum(-1) > 0).tolist() == [[True, True, False]]
    refused(ConfigError, "share_policy_params=True", lambda: model(shared=False))
    refused(ConfigError, "'episode' and 'step'", lambda: model(channel="loss:p=0.5"))
    refused(ConfigError, "one team", lambda: CommTask("vmas:simple_tag"))


of_benchmarl()
equals_the_simulator()
of_unlike_agents()
for scenario, settings in (("navigation", {"n_agents": 2}), ("dropout", {"n_agents": 3})):
    check_env(partial(make, f"vmas:{scenario}", step_limit=4, **settings), num_envs=2, steps=5, long=0)

refused(ConfigError, "Did you mean 'navigation'?", lambda: make("vmas:navigatio"))
refused(ConfigError, "scenario that VMAS lists", lambda: make("vmas:../scenarios/navigation"))
refused(ConfigError, "'nonsense': 3", lambda: make("vmas:navigation", nonsense=3))
refused(ConfigError, "who plays with whom", lambda: make("vmas:simple_crypto").groups)

tiny = ["--num-envs", "16", "--rollout", "10", "--hidden", "16", "--learner.minibatches", "4", "--topology", "knn:k=2"]
tiny += ["--episodes", "0"]
train = ["train", "vmas:navigation", *tiny, "--env-settings", "n_agents", "3", "done_is_success", "True"]
told(*train, "--steps", "640", "--out", "whole")
told(*train, "--steps", "640", "--save-every", "1", "--out", "half")
run = gnncomm.load("half")
refused(TrustError, "vmas:navigation", lambda: run.make_env(2))
assert "--trust-env" in told("eval", "half", "--episodes", "8", code=77)
assert "numbers in" in told("eval", "half", "--trust-env", "--episodes", "8", "--json", "numbers.json")
assert "goes on" in told("resume", "half", "--trust-env", "--steps", "800", "--episodes", "0")
print(vmas.__version__)
