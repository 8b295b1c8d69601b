"""Time steps, states and decisions are pytrees: torch's transforms take and give them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import envs
from gnncomm.layers import MeanComm
from gnncomm.policy import CommPolicy, Decision, PolicyState
from gnncomm.policy.encoder import living_obs
from gnncomm.types import SparseObs, TimeStep, VectorEnv


def situation() -> tuple[VectorEnv, CommPolicy, TimeStep, PolicyState]:
    torch.manual_seed(0)
    env = envs.make("predator_prey", num_envs=3, observation="flat")
    policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(16, 16))
    state = policy.initial_state(3, env.num_agents)
    return env, policy, env.reset(seed=0), replace(state, memory=torch.randn_like(state.memory))


def test_a_decision_is_mapped_leaf_by_leaf() -> None:
    _, policy, now, state = situation()
    decision = policy.act(now, state, 0)
    for batch in (now, state, decision):
        twice = pytree.tree_map(
            lambda leaf: leaf * 2 if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf, batch
        )
        assert type(twice) is type(batch)
        for name, value in batch.tensors().items():
            assert twice.tensors()[name].equal(value * 2 if value.is_floating_point() else value), name
    assert isinstance(decision, Decision)


def test_vmap_runs_over_observations() -> None:
    torch.manual_seed(0)
    obs = SparseObs(torch.randint(0, 7, (4, 3, 2)), torch.randn(4, 3, 2), 7)
    assert torch.vmap(lambda each: each.to_flat())(obs).equal(obs.to_flat())


class Rows(nn.Module):
    """What an agent does with its own row, before and after what it heard."""

    def __init__(self, policy: CommPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, now: TimeStep, state: PolicyState, heard: Tensor) -> tuple[Tensor, PolicyState]:
        x = self.policy.encode(living_obs(now.obs, now.alive))
        row, memory = self.policy.before_rounds(x, state.memory)
        features, memory = self.policy.after_rounds(x, row + heard, memory)
        logits = self.policy.logits(features, now.alive, now.action_mask)
        return logits, replace(state, memory=memory)


def test_torch_export_takes_and_gives_them() -> None:
    _, policy, now, state = situation()
    heard, rows = torch.randn(3, policy.initial_state(3, now.alive.shape[1]).memory.shape[1], 16), Rows(policy)
    program = torch.export.export(rows, (now, state, heard))
    other = replace(now, obs=torch.rand_like(now.obs))  # type: ignore[arg-type]
    want_logits, want_state = rows(other, state, heard)
    logits, after = program.module()(other, state, heard)
    torch.testing.assert_close(logits, want_logits)
    assert isinstance(after, PolicyState)
    torch.testing.assert_close(after.memory, want_state.memory)
