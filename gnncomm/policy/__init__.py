"""Policies: encoders, memories, critics and the CommPolicy that joins them."""

from gnncomm.policy.critic import CentralCritic, Critic, LocalCritic
from gnncomm.policy.encoder import Encoder
from gnncomm.policy.memory import GRU, LSTM, Memory
from gnncomm.policy.policy import CommPolicy, Decision, Evaluation, Integration, PolicyState
from gnncomm.policy.rounds import Talk, WireState, talk

__all__ = [
    "GRU",
    "LSTM",
    "CentralCritic",
    "CommPolicy",
    "Critic",
    "Decision",
    "Encoder",
    "Evaluation",
    "Integration",
    "LocalCritic",
    "Memory",
    "PolicyState",
    "Talk",
    "WireState",
    "talk",
]
