"""A policy from names: the parts are those that were named, and seeds decide the weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnncomm import envs
from gnncomm.channel import Loss
from gnncomm.errors import ConfigError
from gnncomm.layers import LAYERS, AttentionComm, MeanComm
from gnncomm.learn import TrainConfig, build_policy
from gnncomm.policy import GRU, LSTM, CentralCritic, CommPolicy, Integration, LocalCritic
from gnncomm.topology import Empty, Ring

ENV = envs.make("relay", num_envs=3)
CONFIG = TrainConfig.of(env="relay", hidden=8, observation="flat")


def build(**changes: Any) -> CommPolicy:
    return build_policy(CONFIG.replace(**changes), ENV)


def size(policy: CommPolicy) -> int:
    return sum(p.numel() for p in policy.parameters())


def values(policy: CommPolicy, obs: Tensor) -> Tensor:
    now = replace(ENV.reset(seed=0), obs=obs)
    return policy.act(now, policy.initial_state(3, 4)).value


def test_the_parts_are_those_that_were_named() -> None:
    policy = build(comm="attention:heads=2", rounds=3, topology="ring", channel="loss:p=0.25", memory="lstm")
    assert [type(layer) for layer in policy.comm.rounds] == [AttentionComm] * 3
    assert len(set(map(id, policy.comm.rounds))) == 3
    assert policy.wire.topology == Ring()
    assert policy.wire.channel == Loss(0.25)
    assert isinstance(policy.memory, LSTM)
    assert policy.integration is Integration.AFTER


def test_a_memory_and_a_critic_that_nobody_has() -> None:
    with pytest.raises(ConfigError, match=r"Unknown critic 'mapo'\. Did you mean 'mappo'"):
        build(algo="mapo")
    with pytest.raises(ConfigError, match=r"Unknown memory 'GRU'\. Did you mean 'gru'"):
        build(memory="GRU")


@pytest.mark.parametrize("comm", LAYERS)
def test_every_listed_layer_can_be_built(comm: str) -> None:
    assert values(build(comm=comm), torch.rand(3, 4, 12)).isfinite().all()


def test_shared_rounds_are_one_layer() -> None:
    shared = build(comm="mean", rounds=3, share_rounds=True)
    assert len(set(map(id, shared.comm.rounds))) == 1
    assert size(shared) == size(build(comm="mean", rounds=1))


def test_none_keeps_the_capacity_and_silences_the_wire() -> None:
    silent = build(comm="none", topology="full", channel="loss:p=0.5")
    assert silent.wire.topology == Empty()
    assert size(silent) == size(build(comm="mean"))
    assert isinstance(silent.comm.rounds[0], MeanComm)
    obs = torch.rand(3, 4, 12)
    other = obs.clone()
    other[:, 1:] += 1
    assert values(silent, obs)[:, 0].equal(values(silent, other)[:, 0])
    talking = build(comm="mean")
    assert not values(talking, obs)[:, 0].equal(values(talking, other)[:, 0])


def test_the_critic_decides_between_ippo_and_mappo() -> None:
    """Without messages a local critic sees its own agent only, a central one sees all; actions never depend on it."""
    obs = torch.rand(3, 4, 12)
    other = obs.clone()
    other[:, 3] += 1
    ippo, mappo = (build(algo=algo, comm="none") for algo in ("ippo", "mappo"))
    assert isinstance(ippo.critic, LocalCritic)
    assert isinstance(mappo.critic, CentralCritic)
    assert values(ippo, obs)[:, :3].equal(values(ippo, other)[:, :3])
    assert (values(mappo, obs)[:, :3] != values(mappo, other)[:, :3]).all()
    now = ENV.reset(seed=0)
    for policy in (ippo, mappo):
        state = policy.initial_state(3, 4)
        first, second = (policy.act(replace(now, obs=seen), state).logits for seen in (obs, other))
        assert first[:, :3].equal(second[:, :3])


def test_the_seed_decides_the_weights() -> None:
    def same(a: nn.Module, b: nn.Module) -> bool:
        return all(x.equal(y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))

    assert same(build(seed=5), build(seed=5))
    assert not same(build(seed=5), build(seed=6))
    assert isinstance(build(memory="gru").memory, GRU)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"comm": "atention"}, "attention"),
        ({"comm": "attention:head=2"}, "heads"),
        ({"comm": "attention:heads=x"}, "attention:heads is int: expected heads=4"),
        ({"comm": "attention:heads=3"}, "heads=3"),
        ({"topology": "rin"}, "ring"),
        ({"channel": "los"}, "loss"),
        ({"channel": "loss:p=1.5"}, "probability"),
        ({"integration": "previous", "memory": "none"}, "memory"),
    ],
)
def test_bad_names_are_refused(changes: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        build(**changes)


def test_masked_actions_are_never_chosen_and_have_a_finite_entropy() -> None:
    policy = build()
    nn.init.normal_(policy.actor.weight)
    now, state = ENV.reset(seed=0), policy.initial_state(3, 4)
    mask = torch.rand(3, 4, 8) < 0.3
    mask[..., 0] |= ~mask.any(-1)
    mask[0, 0] = torch.arange(8) == 5
    now = replace(now, action_mask=mask)
    chosen = torch.stack([policy.act(now, state, key).action for key in (None, *range(300))])
    assert mask.expand(301, 3, 4, 8).gather(-1, chosen.unsqueeze(-1)).all()
    assert len(chosen[:, 1, 1].unique()) == int(mask[1, 1].sum()), "and every allowed action is"
    recorded = now.map(lambda x: x.unsqueeze(0))
    evaluation = policy.unroll(recorded, chosen[:1], state)
    assert (evaluation.entropy <= mask.sum(-1).float().log() + 1e-6).all()
    assert evaluation.entropy[0, 0, 0] == 0
    assert evaluation.log_prob[0, 0, 0] == 0
    (evaluation.entropy.sum() + evaluation.log_prob.sum()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in policy.parameters())
