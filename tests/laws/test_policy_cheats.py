"""Policies that cheat or forget, each caught under the name of the law that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm import envs, random
from gnncomm.channel import Channel, Loss
from gnncomm.graph import CommGraph
from gnncomm.layers import AttentionComm, MeanComm
from gnncomm.policy import GRU, CommPolicy, Decision, Evaluation, Integration, PolicyState, Talk
from gnncomm.testing import LawError, check_policy
from gnncomm.testing import policy as laws
from gnncomm.topology import Full, Line, Topology
from gnncomm.types import Moment, TimeStep, VectorEnv
from gnncomm.wire import Wire

H = 8


class Honest(CommPolicy):
    pass


class RedrawsTheChannel(CommPolicy):
    """The learner sees another wire than the rollout saw."""

    def unroll(
        self, timestep: TimeStep, action: Tensor, state: PolicyState, choice: Tensor | None = None
    ) -> Evaluation:
        return super().unroll(replace(timestep, key=timestep.key + 1), action, state, choice)


class ForgetsFirst(CommPolicy):
    """The learner carries memories over the ends of episodes."""

    def unroll(
        self, timestep: TimeStep, action: Tensor, state: PolicyState, choice: Tensor | None = None
    ) -> Evaluation:
        return super().unroll(replace(timestep, first=torch.zeros_like(timestep.first)), action, state, choice)


class ForgetsTheState(CommPolicy):
    """The learner begins every rollout with an empty memory."""

    def unroll(
        self, timestep: TimeStep, action: Tensor, state: PolicyState, choice: Tensor | None = None
    ) -> Evaluation:
        return super().unroll(timestep, action, state.map(torch.zeros_like), choice)


class CentresFeatures(CommPolicy):
    """Subtracts the mean over agents from what the heads read."""

    def after_rounds(self, x: Tensor, received: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        features, memory = super().after_rounds(x, received, memory)
        return features - features.mean(-2, keepdim=True), memory


class SharesTheMemory(CommPolicy):
    """Every agent goes on with the team's mean memory."""

    def act(self, timestep: TimeStep, state: PolicyState, key: int | Tensor | None = None) -> Decision:
        decision = super().act(timestep, state, key)
        memory = decision.state.memory
        shared = memory.mean(-2, keepdim=True).expand_as(memory).clone()
        return replace(decision, state=replace(decision.state, memory=shared))


class SeesOtherEnvironments(CommPolicy):
    """Subtracts the mean over environments."""

    def after_rounds(self, x: Tensor, received: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        features, memory = super().after_rounds(x, received, memory)
        return features - features.mean(0, keepdim=True), memory


class SamplesGlobally(CommPolicy):
    """Ignores the key."""

    def act(self, timestep: TimeStep, state: PolicyState, key: int | Tensor | None = None) -> Decision:
        decision = super().act(timestep, state, key)
        action = torch.distributions.Categorical(logits=decision.logits).sample()
        log_prob = decision.logits.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)
        return replace(decision, action=action, log_prob=log_prob)


class HearsBehindTheWire(CommPolicy):
    """Merges with the unsent rows of the first agent."""

    def communicate(self, h: Tensor, *where: Any, **what: Any) -> Talk:
        talked = super().communicate(h, *where, **what)
        return replace(talked, h=talked.h + torch.where(h[:, :1].isfinite(), h[:, :1], 0.0))


class TalksToNobody(CommPolicy):
    """Rounds are run and thrown away."""

    def after_rounds(self, x: Tensor, received: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        return super().after_rounds(x, x, memory)


@dataclass(frozen=True)
class Restless(Channel):
    """A medium whose draws come from the global generator."""

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        dense = graph.to_layout("dense")
        return dense.keep(torch.rand(len(moment.key), *dense.dense.shape[1:]) > 0.5)


@dataclass(frozen=True)
class BySlot(Channel):
    """A medium whose draws depend on the place in the batch."""

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        dense = graph.to_layout("dense")
        slot = torch.arange(len(moment.key)).view(-1, 1, 1)
        pairs = torch.arange(dense.num_agents**2).view(1, dense.num_agents, -1)
        return dense.keep(random.uniform(5, slot, pairs) > 0.5)


def env() -> VectorEnv:
    return envs.make("predator_prey", num_envs=4, max_steps=6)


def policy(kind: type[CommPolicy], topology: Topology | None = None, channel: Channel | None = None) -> CommPolicy:
    wire = Wire(Line() if topology is None else topology, channel=Loss(0.4) if channel is None else channel)
    return kind(env().obs_dim, 5, AttentionComm(H, H), GRU(H), Integration.BEFORE, wire)


CHEATS: dict[type[CommPolicy], str] = {
    RedrawsTheChannel: "ratio one",
    ForgetsFirst: "ratio one",
    ForgetsTheState: "ratio one",
    CentresFeatures: "poison",
    SharesTheMemory: "poison",
    SeesOtherEnvironments: "batch independence",
    SamplesGlobally: "batch independence",
    HearsBehindTheWire: "poison",
    TalksToNobody: "the jacobian",
}


def test_the_honest_policy_passes() -> None:
    check_policy(policy(Honest), env())


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)
def test_a_cheat_is_caught_by_name(cheat: type[CommPolicy]) -> None:
    with pytest.raises(LawError, match=f"Law of {CHEATS[cheat]} broken") as caught:
        check_policy(policy(cheat), env())
    assert caught.value.law == CHEATS[cheat]


@pytest.mark.parametrize(
    ("law", "cheat", "name"),
    [
        (laws.check_split_brain, SharesTheMemory, "split-brain"),
        (laws.check_split_brain, HearsBehindTheWire, "split-brain"),
        (laws.check_split_brain, SamplesGlobally, "split-brain"),
        (laws.check_determinism, SamplesGlobally, "determinism"),
        (laws.check_ratio_one, SeesOtherEnvironments, "ratio one"),
    ],
)
def test_each_law_alone_catches_its_cheat(
    law: Callable[[CommPolicy, VectorEnv], None], cheat: type[CommPolicy], name: str
) -> None:
    law(policy(Honest).double(), env())
    with pytest.raises(LawError, match=f"Law of {name} broken"):
        law(policy(cheat).double(), env())


@pytest.mark.parametrize("cheat", [CentresFeatures, HearsBehindTheWire])
def test_gradients_across_rows_are_caught(cheat: type[CommPolicy]) -> None:
    honest, subject = policy(Honest).double(), policy(cheat).double()
    moments = laws.trial(honest, env())
    laws.check_jacobian(honest, moments)
    with pytest.raises(LawError, match="Law of the jacobian broken"):
        laws.check_jacobian(subject, moments)


@pytest.mark.parametrize("channel", [Restless(), BySlot()])
def test_a_channel_without_keys_is_caught(channel: Channel) -> None:
    with pytest.raises(LawError, match=r"Law of (batch independence|poison) broken"):
        check_policy(policy(Honest, Full(), channel), env())
    with pytest.raises(LawError, match="Law of ratio one broken"):
        laws.check_ratio_one(policy(Honest, Full(), channel).double(), env())


def test_nothing_to_compare_is_said() -> None:
    with pytest.raises(LawError, match="num_envs >= 2"):
        check_policy(policy(Honest), envs.make("predator_prey", num_envs=1))
    with pytest.raises(LawError, match="no episode ended"):
        laws.check_ratio_one(policy(Honest), envs.make("predator_prey", num_envs=2), length=1)


def test_memory_is_needed_where_it_is_the_message() -> None:
    from gnncomm.errors import ConfigError
    from gnncomm.policy import Memory

    with pytest.raises(ConfigError, match="no memory"):
        CommPolicy(3, 2, MeanComm(H, H), Memory(H), Integration.PREVIOUS)
