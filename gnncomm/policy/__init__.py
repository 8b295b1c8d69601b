"""Policies: encoders, memories, critics and the CommPolicy that joins them."""

from gnncomm.policy.critic import CentralCritic, Critic, LocalCritic
from gnncomm.policy.encoder import Encoder
from gnncomm.policy.memory import GRU, LSTM, Memory
from gnncomm.policy.play import Action, Play, team
from gnncomm.policy.policy import CommPolicy, Decision, Evaluation, Integration, PolicyState
from gnncomm.policy.rounds import Talk, WireState, talk

__all__ = [
    "GRU",
    "LSTM",
    "Action",
    "CentralCritic",
    "CommPolicy",
    "Critic",
    "Decision",
    "Encoder",
    "Evaluation",
    "Integration",
    "LocalCritic",
    "Memory",
    "Play",
    "PolicyState",
    "Talk",
    "WireState",
    "talk",
    "team",
]
