"""Policies: encoders, memories, critics, heads and the CommPolicy that joins them."""

from gnncomm.policy.actions import Actions, Categorical, EpsilonGreedy, TanhGaussian, actions_of
from gnncomm.policy.critic import CentralCritic, Critic, GroupCritic, LocalCritic
from gnncomm.policy.encoder import Encoder
from gnncomm.policy.encoders import AgentId, EntityEncoder, GridEncoder, MLPEncoder
from gnncomm.policy.groups import GroupActor, GroupEncoder, GroupMemory, PerAgent, PerGroup, groups_of
from gnncomm.policy.memory import GRU, LSTM, Memory
from gnncomm.policy.mixers import QMIX, QPLEX, VDN, GraphMixer, Mixer, NoMixer
from gnncomm.policy.play import Action, Play, team
from gnncomm.policy.policy import CommPolicy, new_actor
from gnncomm.policy.rounds import Talk, WireState, talk
from gnncomm.policy.teams import Teams, teams_of
from gnncomm.policy.trunks import TrunkCritic, WithState, has_state, with_state
from gnncomm.policy.values import Decision, Evaluation, Integration, PolicyState

__all__ = [
    "GRU",
    "LSTM",
    "QMIX",
    "QPLEX",
    "VDN",
    "Action",
    "Actions",
    "AgentId",
    "Categorical",
    "CentralCritic",
    "CommPolicy",
    "Critic",
    "Decision",
    "Encoder",
    "EntityEncoder",
    "EpsilonGreedy",
    "Evaluation",
    "GraphMixer",
    "GridEncoder",
    "GroupActor",
    "GroupCritic",
    "GroupEncoder",
    "GroupMemory",
    "Integration",
    "LocalCritic",
    "MLPEncoder",
    "Memory",
    "Mixer",
    "NoMixer",
    "PerAgent",
    "PerGroup",
    "Play",
    "PolicyState",
    "Talk",
    "TanhGaussian",
    "Teams",
    "TrunkCritic",
    "WireState",
    "WithState",
    "actions_of",
    "groups_of",
    "has_state",
    "new_actor",
    "talk",
    "team",
    "teams_of",
    "with_state",
]
