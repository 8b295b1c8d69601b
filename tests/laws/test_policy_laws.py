"""Laws 2 to 6 over everything that is listed.

The full product of layers, topologies, memories, integrations, schedulers, codecs, channels, critics, observation
forms and environments has millions of members. Tried is a pairwise cover: every two choices meet in some policy. Of
topologies, channels, codecs and schedulers one of each kind takes part in it (static, random, by position, over time;
at once, late, repeated, false, in series); every other one has a policy of its own.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import networkx as nx
import pytest
from torch import Tensor, nn
from torch_geometric.nn import GINEConv

from gnncomm import channel, codec, envs, schedule, topology
from gnncomm import policy as policies
from gnncomm.graph import CommGraph
from gnncomm.layers import AttentionComm, CommLayer, CommStack, ConvComm, MeanComm
from gnncomm.layers.names import LAYERS, make_layer
from gnncomm.learn import PPO, PPOConfig, begin, collect
from gnncomm.policy import GRU, LSTM, CentralCritic, CommPolicy, Integration, LocalCritic, Memory
from gnncomm.testing import check_policy
from gnncomm.topology import Topology
from gnncomm.types import VectorEnv
from gnncomm.wire import Wire

H = 8
COMM: dict[str, Callable[[], CommLayer | CommStack]] = {
    **{name: lambda name=name: make_layer(name, H) for name in LAYERS},
    # more values than keys, so that a codec that keeps few numbers keeps a value: one sender's key alone says nothing
    "attention": lambda: AttentionComm(H, H, heads=2, key_channels=1),
    "two rounds": lambda: CommStack([AttentionComm(H, H, heads=2), MeanComm(H, H, 3)], nn.Tanh()),
    "three shared rounds": lambda: CommStack([MeanComm(H, H)] * 3, residual=False),
}
PARAMETERS = {
    "barabasi_albert": "m=1",
    "erdos_renyi": "p=0.4",
    "hierarchical": "groups=2",
    "k_nearest": "k=1",
    "line_of_sight": "r=4,walls=" + "x".join(["....."] * 3 + [".#..."] * 2 + ["....."] * 5),
    "radius": "r=1",
    "random_regular": "k=1",
    "small_world": "k=2,p=0.5",
}
"""What a topology needs to be built by name; the others are built as they are."""
FLAT_MAPS = {"line_of_sight"}  # positions on a plane only
BY_HAND: dict[str, Callable[[int], Topology]] = {
    "from_function": lambda n: topology.FromFunction(lambda alive, pos, step, key: alive[:, :, None] & alive[:, None]),
    "from_networkx": lambda n: topology.FromNetworkx(nx.path_graph(n, create_using=nx.DiGraph)),
    "a | b": lambda n: topology.Star() | topology.KNearest(1),
    "a & b": lambda n: topology.Radius(3.0) & topology.Line(),
    "~a": lambda n: ~topology.Ring(),
    "a.every(2)": lambda n: topology.Full().every(2),
    "[a; b]": lambda n: topology.resolve("[ring; knn:k=1]:period=2"),
}


def by_name(name: str) -> Topology:
    found: Topology = topology.resolve(f"{name}:{PARAMETERS[name]}" if name in PARAMETERS else name)
    return found


TOPOLOGY = sorted({*topology.names(), *BY_HAND} - FLAT_MAPS)
CHANNEL = {
    name: f"{name}:{parameters}" if parameters else name
    for name, parameters in {
        "budget": "beta=0.7",
        "burst": "p=0.4,length=3",
        "byzantine": "kind=replay,at=1",
        "crashed": "agents=0.4",
        "deaf": "",
        "delay": "steps=2",
        "ideal": "",
        "jitter": "max=2",
        "loss": "p=0.4",
        "noise": "sigma=0.5",
        "path_loss": "snr_db=12,shadowing_db=3",
        "silent": "",
    }.items()
} | {
    "a + b": "loss:p=0.3 + jitter:max=1",
    "a + b + c": "jitter:max=1 + delay:steps=1 + byzantine:kind=scale",
    "constant": "byzantine:kind=constant",
    "flip": "byzantine",
}
CODEC = {
    name: f"{name}:{parameters}" if parameters else name
    for name, parameters in {
        "bfloat16": "",
        "bottleneck": "",
        "dithered": "price=0.01",
        "dru": "",
        "float16": "",
        "float32": "",
        "gumbel_symbols": "symbols=3",
        "quantise": "bits=5,limit=4",
        "keep_largest": "k=3",
        "lsq": "bits=4",
    }.items()
}
SCHEDULER: dict[str, Callable[[int], schedule.Scheduler]] = {
    "always": lambda n: schedule.Always(),
    "gate": lambda n: schedule.Gate(H, price=0.1),
    "gate, all variants": lambda n: schedule.Gate(H, delayed=True, first_silent=True, two_way=True),
    "topk": lambda n: schedule.TopK(H, k=2),
    "event_triggered": lambda n: schedule.EventTriggered(1e-3, timeout=3, fresh_limit=2),
    "request": lambda n: schedule.Request(H, n, price=0.1),
    "gumbel_edges": lambda n: schedule.GumbelEdges(H, heads=2, price=0.1),
    "gumbel_edges, undirected": lambda n: schedule.GumbelEdges(H, undirected=True, self_loops="learned"),
    "hard_soft": lambda n: schedule.HardSoft(H, price=0.1),
    "learned_static": lambda n: schedule.LearnedStatic(n, k=1),
    "learned_static, gated": lambda n: schedule.LearnedStatic(n, k=1, gate=True, in_channels=H),
    "gate, taught": lambda n: schedule.Gate(H, taught=True),
}
MEMORY: dict[str, type[Memory]] = {"Memory": Memory, "GRU": GRU, "LSTM": LSTM}
CRITIC = ["LocalCritic", "CentralCritic"]
ELSEWHERE = {"Critic", "GroupCritic", "TrunkCritic"}
"""The base of critics, and those of test_open_policies.py, where groups are tried, too."""
ENV: dict[str, dict[str, Any]] = {
    "relay": {"steps": 3},
    "predator_prey": {"max_steps": 5, "num_agents": 4},
    "chemical": {"max_steps": 4, "num_agents": 4},
}
FACTORS = {
    "comm": ["mean", "attention", "graph", "two rounds", "three shared rounds"],
    "topology": ["erdos_renyi", "full", "k_nearest", "line", "one_peer_exponential"],
    "cell": [f"{i} {m}" for i in Integration for m in MEMORY if (i, m) != (Integration.PREVIOUS, "Memory")],
    "channel": ["byzantine", "delay", "flip", "ideal", "jitter", "loss", "noise", "a + b + c"],
    "codec": [name for name in CODEC if name not in ("bfloat16", "lsq")],
    "scheduler": [name for name in SCHEDULER if ", " not in name],
    "critic": CRITIC,
    "env": [f"{name} {form}" for name in ENV for form in ("flat", "sparse")],
    "mode": ["training", "evaluation"],
}


def build(choice: dict[str, str], env: VectorEnv) -> CommPolicy:
    integration, memory = choice["cell"].split()
    name = choice["topology"]
    who = BY_HAND[name](env.num_agents) if name in BY_HAND else by_name(name)
    wire = Wire(
        who,
        SCHEDULER[choice["scheduler"]](env.num_agents),
        codec.resolve(CODEC[choice["codec"]]),
        channel.resolve(CHANNEL[choice["channel"]]),
    )
    critic = LocalCritic(H) if choice["critic"] == "LocalCritic" else CentralCritic(H, env.num_agents)
    comm = COMM[choice["comm"]]()
    return CommPolicy(env.obs_dim, env.num_actions, comm, MEMORY[memory](H), integration, wire, critic)


@cache
def environment(name: str) -> VectorEnv:
    short, form = name.split()
    return envs.make(short, num_envs=3, observation=form, **ENV[short])


def all_pairs(factors: dict[str, list[str]]) -> list[dict[str, str]]:
    """Rows that hold every pair of values of two factors at least once (greedy, in a fixed order)."""
    names = list(factors)
    missing = {
        ((a, x), (b, y)) for i, a in enumerate(names) for b in names[i + 1 :] for x in factors[a] for y in factors[b]
    }
    rows = []
    while missing:
        row = dict(min(missing))
        for name in names:
            if name not in row:
                row[name] = max(factors[name], key=lambda x: (_gain(missing, row, name, x), factors[name].index(x)))
        missing -= {(p, q) for p, q in missing if row[p[0]] == p[1] and row[q[0]] == q[1]}
        rows.append(row)
    return rows


def _gain(missing: set[tuple[tuple[str, str], tuple[str, str]]], row: dict[str, str], name: str, value: str) -> int:
    mine = (name, value)
    return sum(((mine, other) in missing) + ((other, mine) in missing) for other in row.items())


COVER = all_pairs(FACTORS)
OTHERS = [
    {**COVER[7 * number % len(COVER)], factor: name}
    for number, (factor, name) in enumerate(
        (factor, name)
        for factor, all_of_them in (
            ("topology", TOPOLOGY),
            ("channel", CHANNEL),
            ("codec", CODEC),
            ("scheduler", SCHEDULER),
        )
        for name in all_of_them
        if name not in FACTORS[factor]
    )
]


@pytest.mark.every(3)
@pytest.mark.parametrize("choice", [*COVER, *OTHERS], ids=lambda choice: ", ".join(choice.values()))
def test_laws_hold(choice: dict[str, str]) -> None:
    env = environment(choice["env"])
    check_policy(build(choice, env), env, modes=(choice["mode"] == "training",))


@pytest.mark.every(2)
@pytest.mark.parametrize("name", sorted(COMM.keys() - set(FACTORS["comm"])))
def test_laws_hold_for_the_other_layers(name: str) -> None:
    """In one policy each, in training, where a layer that has two modes draws; alone they are tried in all layouts
    (test_layer_laws.py)."""
    choice = {**COVER[0], "comm": name, "topology": "star", "channel": "loss", "scheduler": "gate, all variants"}
    env = environment(choice["env"])
    check_policy(build(choice, env), env, modes=(True,))


def test_every_pair_of_choices_is_tried() -> None:
    for a, b in itertools.combinations(FACTORS, 2):
        tried = {(choice[a], choice[b]) for choice in COVER}
        assert tried == set(itertools.product(FACTORS[a], FACTORS[b]))


def test_everything_that_is_listed_is_tried() -> None:
    tried = {factor: {choice[factor] for choice in (*COVER, *OTHERS)} for factor in FACTORS}
    assert set(topology.names()) <= tried["topology"] | FLAT_MAPS
    assert set(channel.names()) <= tried["channel"]
    assert set(codec.names()) <= set(CODEC)
    assert set(schedule.names()) <= set(SCHEDULER)
    public = [value for value in vars(policies).values() if inspect.isclass(value)]
    assert {value.__name__ for value in public if issubclass(value, Memory)} == set(MEMORY) | {"GroupMemory"}
    assert {value.__name__ for value in public if value.__name__.endswith("Critic")} == set(CRITIC) | ELSEWHERE


@pytest.mark.every(2)
@pytest.mark.parametrize(
    ("form", "name"),
    list(zip(itertools.cycle(["flat", "sparse"]), (n for n in envs.names() if "/" not in n and n not in ENV))),
)
def test_laws_hold_in_every_environment(form: str, name: str) -> None:
    """One policy with a gate, memory and a lossy medium; by turns training on flat observations and evaluated on
    sparse ones, which are the same numbers (tests/envs/test_env_contract.py).

    The environments of the pairwise tests are tried there.
    """
    env = envs.make(name, num_envs=3, observation=form, max_steps=5)
    comm = CommStack([AttentionComm(H, H, heads=2), MeanComm(H, H)], nn.Tanh())
    wire = Wire(topology.KNearest(2), schedule.Gate(H), channel=channel.Loss(0.3))
    critic = CentralCritic(H, env.num_agents)
    policy = CommPolicy(env.obs_dim, env.num_actions, comm, GRU(H), "after", wire, critic)
    check_policy(policy, env, length=7, modes=(form == "flat",))


@pytest.mark.every(2)
@pytest.mark.parametrize("integration", Integration)
@pytest.mark.parametrize("form", ["flat", "sparse"])
def test_laws_hold_with_deaths_masks_and_time_limits(
    mortal: Callable[..., VectorEnv], integration: Integration, form: str
) -> None:
    """Training on flat observations, evaluated on sparse ones."""
    env = mortal(num_envs=4, observation=form)
    comm = CommStack([AttentionComm(H, H, heads=2), MeanComm(H, H)], nn.Tanh())
    for memory, critic in ((GRU(H), CentralCritic(H, env.num_agents)), (LSTM(H), LocalCritic(H))):
        wire = Wire(topology.KNearest(2), channel=channel.Loss(0.3))
        policy = CommPolicy(3, 3, comm, memory, integration, wire, critic)
        check_policy(policy, env, length=12, modes=(form == "flat",))


@dataclass(frozen=True)
class Distances(Topology):
    """Everyone hears everyone; the distance is a feature of the edge."""

    def __call__(
        self, alive: Tensor, pos: Tensor | None = None, step: int | Tensor = 0, key: Tensor | None = None
    ) -> CommGraph:
        assert pos is not None
        graph = topology.Full()(alive).to_layout("dense").expand(len(alive))
        return graph.with_features(attr=(pos.unsqueeze(2) - pos.unsqueeze(1)).norm(dim=-1, keepdim=True))


@dataclass(frozen=True)
class Closeness(Distances):
    """Messages from afar count less."""

    def __call__(
        self, alive: Tensor, pos: Tensor | None = None, step: int | Tensor = 0, key: Tensor | None = None
    ) -> CommGraph:
        graph = super().__call__(alive, pos, step, key)
        assert graph.attr is not None
        return graph.with_features(weight=1 / (1 + graph.attr.squeeze(-1)))


@pytest.mark.parametrize("integration", Integration)
def test_laws_hold_with_edge_features(integration: Integration) -> None:
    env = environment("predator_prey flat")
    layer = ConvComm(GINEConv(nn.Sequential(nn.Linear(H, H), nn.Tanh()), edge_dim=1), in_channels=H, edge_dim=1)
    wire = Wire(Distances(), channel=channel.Loss(0.3))
    check_policy(CommPolicy(env.obs_dim, env.num_actions, layer, GRU(H), integration, wire), env)


@pytest.mark.parametrize("layer", [MeanComm, AttentionComm])
def test_laws_hold_with_edge_weights(layer: Callable[[int, int], CommLayer]) -> None:
    env = environment("predator_prey flat")
    wire = Wire(Closeness(), channel=channel.Loss(0.3))
    check_policy(CommPolicy(env.obs_dim, env.num_actions, layer(H, H), GRU(H), wire=wire), env)


@pytest.mark.parametrize("name", sorted(FLAT_MAPS))
@pytest.mark.parametrize("integration", Integration)
def test_laws_hold_for_topologies_on_maps(name: str, integration: Integration) -> None:
    env = environment("predator_prey flat")
    wire = Wire(by_name(name), channel=channel.Loss(0.3))
    check_policy(CommPolicy(env.obs_dim, env.num_actions, AttentionComm(H, H), GRU(H), integration, wire), env)


def test_laws_hold_for_one_agent() -> None:
    env = envs.make("predator_prey", num_envs=2, num_agents=1, max_steps=4)
    check_policy(CommPolicy(env.obs_dim, env.num_actions, AttentionComm(H, H)), env)


def test_laws_hold_after_training() -> None:
    env = environment("predator_prey sparse")
    policy = CommPolicy(env.obs_dim, env.num_actions, AttentionComm(H, H), GRU(H), wire=Wire(topology.Ring()))
    learner = PPO(policy, PPOConfig(lr=0.01, minibatches=1), total_updates=3)
    carry, tally = begin(env, policy, seed=0)
    for _ in range(3):
        rollout, carry = collect(env, policy, carry, 8, 0, tally)
        learner.update(rollout)
    check_policy(policy, env)
