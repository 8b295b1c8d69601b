"""Losses of published methods: numbers worked out by hand, and whom a gradient reaches."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnncomm import envs, methods
from gnncomm.bench.reference import load_cases
from gnncomm.bench.reference.maic import MAICNetwork
from gnncomm.cli.main import main
from gnncomm.codec import Bottleneck
from gnncomm.errors import ConfigError
from gnncomm.layers import CommLayer, CommStack, DGNComm, MAICComm, MASIAComm, MeanComm
from gnncomm.learn import Rollout, TrainConfig, begin, collect
from gnncomm.methods.losses import REGISTRY, MethodLoss
from gnncomm.methods.losses.base import team_sarsa
from gnncomm.policy import CommPolicy, Evaluation, Memory, WithState
from gnncomm.schedule import Gate, Request
from gnncomm.store import RunDir
from gnncomm.topology import Full
from gnncomm.wire import Wire

T, B, N, S, H = 4, 3, 4, 8, 16


@pytest.fixture(scope="module")
def played() -> Any:
    """A policy of some parts, a loss for it, and what it did in relay."""
    made: dict[tuple[str, str], tuple[CommPolicy, MethodLoss, Evaluation, Rollout]] = {}

    def play(name: str, method: str, **parts: Any) -> tuple[CommPolicy, MethodLoss, Evaluation, Rollout]:
        key = name, method + str(parts)
        if key not in made:
            env: Any = WithState(envs.make("relay", num_envs=B, steps=6))
            policy = getattr(methods, method)(env.obs_dim, env.num_actions, N, hidden=H, **parts)
            torch.manual_seed(0)
            loss = REGISTRY.resolve(name, policy=policy, num_agents=N, state_dim=env.shown_state_dim)
            carry, tally = begin(env, policy, 0)
            rollout, _ = collect(env, policy, carry, T, 0, tally)
            made[key] = policy, loss, policy.unroll(*_of(rollout)), rollout
        return made[key]

    return play


def _of(rollout: Rollout) -> tuple[Any, ...]:
    return rollout.timestep, rollout.action, rollout.state, rollout.choice


def reached(policy: CommPolicy, loss: nn.Module, value: Tensor) -> set[str]:
    """What has a gradient that is not zero: parameters of the policy and of the loss, but for their last names."""
    named = [*policy.named_parameters(), *((f"own.{name}", p) for name, p in loss.named_parameters())]
    gradients = torch.autograd.grad(value, [p for _, p in named], allow_unused=True, retain_graph=True)
    found = [name for (name, _), grad in zip(named, gradients, strict=True) if grad is not None and grad.abs().sum()]
    return {name.removeprefix("comm.layers.").rpartition(".")[0] for name in found}


MASIA = {"0.lin_send", "0.lin_query", "0.lin_key", "0.lin_value", "0.encode.0", "0.encode.2", "encoder", "memory"}
AHEAD = {"own.advance.0", "own.advance.2", "own.of_action.0", "own.of_action.2", "own.of_code.0", "own.of_code.2"}
PROJECTED = {"own.predict.0", "own.predict.2", "own.project.0", "own.project.2"}
REQUEST = {"scheduler.id_embedding", "scheduler.lin_receiver", "scheduler.lin_score"}
EXPOCOMM = {"0.lin_send", "0.lin_query", "encoder", "memory"}
TAUGHT = {"scheduler": "request:taught=true"}
CASES: dict[str, tuple[str, str, dict[str, str], set[str]]] = {
    "masia_state": ("masia", "masia", {}, MASIA | {"own.decode"}),
    "masia_latent": ("masia", "masia", {}, MASIA | AHEAD | PROJECTED),
    "masia_reward": ("masia", "masia", {}, MASIA | AHEAD | {"own.foresee.0", "own.foresee.2"}),
    "maic_information": (
        "maic",
        "maic",
        {},
        {"0.model.0", "0.model.2", "own.infer.0", "own.infer.2", "encoder", "memory"},
    ),
    "maic_entropy": ("maic", "maic", {}, {"0.lin_query", "0.lin_key"}),
    "ndq_expressiveness": (
        "ndq",
        "ndq",
        {},
        {"0.lin_send", "encoder", "own.posterior.0", "own.posterior.2", "own.posterior.4"},
    ),
    "ndq_entropy": ("ndq", "ndq", {}, {"0.lin_send", "encoder"}),
    "tmc_smooth": ("tmc", "tmc", {}, {"0.lin_send", "encoder", "memory"}),
    "tmc_robust": ("tmc", "tmc", {}, {"0.lin_send", "0.lin_inbox", "0.lin_self", "actor", "encoder", "memory"}),
    "dgn_relation": (
        "dgn",
        "dgn",
        {},
        {"1.lin_send", "1.lin_query", "0.lin_send", "0.lin_query", "0.lin_out", "0.lin_place", "encoder"},
    ),
    "expocomm_state": ("expocomm", "expocomm", {}, EXPOCOMM | {"own.decode.0", "own.decode.2"}),
    "expocomm_contrast": ("expocomm:form=contrast", "expocomm", {}, EXPOCOMM),
    "schednet_critic": ("schednet", "schednet", {}, {"own.critic.0", "own.critic.2"}),
    "schednet_weights": ("schednet", "schednet", {}, {"scheduler.net.0", "scheduler.net.2"}),
    "atoc_gain": ("atoc", "atoc", {"scheduler": "gate:taught=true"}, {"scheduler.lin"}),
    "i2c_critic": ("i2c", "i2c", TAUGHT, {"own.of_row", "own.own", "own.theirs", "own.head.1"}),
    "i2c_prior": ("i2c", "i2c", TAUGHT, REQUEST),
    "i2c_policy": ("i2c", "i2c", TAUGHT, {"actor", "encoder", "0.lin_inbox", "0.lin_self"}),
    "dcc_change": ("dcc", "dcc", TAUGHT, REQUEST),
    "cacom_gain": ("cacom", "i2c", TAUGHT, REQUEST),
}


@pytest.mark.parametrize("term", CASES)
def test_a_gradient_reaches_what_it_should_and_nothing_else(term: str, played: Any) -> None:
    name, method, parts, expected = CASES[term]
    policy, loss, evaluation, rollout = played(name, method, **parts)
    found = loss(evaluation, rollout)[term]
    assert reached(policy, loss, found.value) == expected


def test_every_loss_has_a_case() -> None:
    assert {name.partition(":")[0] for name, *_ in CASES.values()} == set(REGISTRY.names())


# Numbers worked out by hand: two agents, three steps, one environment.


def tiny(loss: str, comm: CommLayer, rows: list[list[float]], done: int | None = None, **parts: Any) -> Any:
    """``loss`` of a policy of width 1 with this layer, and what it did, where rows [T][N] entered the round."""
    env = envs.make("relay", num_envs=1, num_agents=2, num_symbols=2, steps=9)
    policy = CommPolicy(env.obs_dim, env.num_actions, comm, Memory(1), "after", **parts)
    for parameter in policy.parameters():
        nn.init.zeros_(parameter)
    made = REGISTRY.resolve(loss, policy=policy, num_agents=2, state_dim=2 * env.obs_dim)
    carry, tally = begin(env, policy, 0)
    rollout, _ = collect(env, policy, carry, len(rows), 0, tally)
    evaluation = replace(policy.unroll(*_of(rollout)), rows=torch.tensor(rows).view(len(rows), 1, 2, 1))
    if done is not None:
        rollout.done[done] = True
    return made, evaluation, rollout


def test_dgn_by_hand() -> None:
    """q = k = h: agent 0 attends to 1 and itself evenly at first, then as 3 to 1."""
    c = 1 + math.log(3)
    comm = DGNComm(1, 1, heads=1, head_channels=1)
    loss, evaluation, rollout = tiny("dgn", comm, [[1.0, 1.0], [1.0, c]])
    for linear in (comm.lin_query, comm.lin_send):
        linear.weight.data.fill_(1.0)
    share = 1 / (1 + math.exp(c * (c - 1)))  # of agent 1's attention to 0, then
    kl = [
        0.75 * math.log(1.5) + 0.25 * math.log(0.5),
        share * math.log(2 * share) + (1 - share) * math.log(2 - 2 * share),
    ]
    term = loss(evaluation, rollout)["dgn_relation"]
    assert term.value.item() == pytest.approx(sum(kl) / 2, rel=1e-5)
    assert term.weight == 0.03
    rollout.done[0] = True
    assert loss(evaluation, rollout)["dgn_relation"].value.item() == 0.0


def test_tmc_by_hand() -> None:
    """Messages 1, 2, 4: changes of 1.5 / 4 at t = 1; at t = 2 half of 1.5 * 4 / 16 and 1 * 9 / 16."""
    comm = MeanComm(1, 1)
    loss, evaluation, rollout = tiny("tmc", comm, [[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    evaluation = replace(evaluation, logits=torch.tensor([2.0, 1.96]).expand(3, 1, 2, 2))
    terms = loss(evaluation, rollout)
    assert terms["tmc_smooth"].value.item() == pytest.approx((0.375 + 0.46875) / 2)
    assert terms["tmc_robust"].value.item() == pytest.approx(math.exp(-1), rel=1e-4)
    assert (terms["tmc_smooth"].weight, terms["tmc_robust"].weight) == (1.5, 0.3)
    rollout.done[0] = True  # what was said in the episode before counts for nothing
    assert loss(evaluation, rollout)["tmc_smooth"].value.item() == pytest.approx(0.375)


def test_masia_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """z = 0, 1, 3 that is expected to stay: errors 1 and 4 a step ahead, 9 two steps ahead."""
    loss, evaluation, rollout = tiny("masia", MASIAComm(1, 1), [[0.0] * 2] * 3)
    monkeypatch.setattr(loss, "codes", lambda *_: torch.tensor([0.0, 1.0, 3.0]).view(3, 1, 1, 1).expand(3, 1, 2, 1))
    for module in (*loss.advance, *loss.foresee):
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
    loss.project = loss.predict = nn.Identity()
    nn.init.zeros_(loss.decode.weight)
    nn.init.constant_(loss.decode.bias, 2.0)
    rollout.reward[:] = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    terms = loss(evaluation, rollout)
    obs = rollout.timestep.obs
    assert terms["masia_latent"].value.item() == pytest.approx(2.5 + 9)
    assert terms["masia_reward"].value.item() == pytest.approx((1 + 4 + 9) / 3 + (4 + 9) / 2 + 9)
    assert terms["masia_state"].value.item() == pytest.approx(float((2 - obs).square().mean()))
    rollout.done[0] = True
    assert loss(evaluation, rollout)["masia_latent"].value.item() == pytest.approx(4.0)


def test_ndq_by_hand() -> None:
    """A posterior that knows nothing needs ln A; messages of 1 and 2 are (m^2 + ln 2 pi) / 2 long."""
    comm = MeanComm(1, 1)
    loss, evaluation, rollout = tiny("ndq", comm, [[1.0, 2.0]])
    for parameter in loss.parameters():
        nn.init.zeros_(parameter)
    terms = loss(evaluation, rollout)
    assert terms["ndq_expressiveness"].value.item() == pytest.approx(math.log(2))
    assert terms["ndq_entropy"].value.item() == pytest.approx(1.25 + 0.5 * math.log(2 * math.pi))


def test_expocomm_by_hand() -> None:
    """Rows that are all the same: the other agent is one of 21."""
    loss, evaluation, rollout = tiny("expocomm:form=contrast", MeanComm(1, 1), [[1.0, 1.0]] * 3)
    same = replace(evaluation, features=torch.ones(3, 1, 2, 1))
    assert loss(same, rollout)["expocomm_contrast"].value.item() == pytest.approx(math.log(21))
    apart = replace(evaluation, features=torch.tensor([1.0, -1.0, 1.0]).view(3, 1, 1, 1).expand(3, 1, 2, 1))
    value = loss(apart, rollout)["expocomm_contrast"].value.item()
    assert 0.0 < value < math.log(21), "steps that differ are told apart"
    loss, evaluation, rollout = tiny("expocomm", MeanComm(1, 1), [[1.0, 1.0]] * 3)
    for parameter in loss.parameters():
        nn.init.zeros_(parameter)
    assert loss(evaluation, rollout)["expocomm_state"].value.item() == pytest.approx(
        float(rollout.timestep.obs.square().mean())
    )


# What was recorded of released codes.


def of_width(width: int, actions: int, comm: CommLayer, **parts: Any) -> CommPolicy:
    return CommPolicy(3, actions, CommStack([comm]), Memory(width), "after", **parts).double()


def test_ndq_infers_actions_as_recorded() -> None:
    (case,) = load_cases("ndq")
    policy = of_width(1, 11, MeanComm(1, 1, msg_channels=6))
    loss = REGISTRY.resolve("ndq:width=12", policy=policy).double()
    told = {name.removeprefix("inference_model."): w for name, w in case.weights.items() if "inference" in name}
    told["0.weight"] = torch.cat([torch.zeros(12, 1), told["0.weight"]], 1)
    loss.posterior.load_state_dict(told)
    seen = torch.cat([torch.ones(10, 1), case.arrays["out/message"]], 1)
    torch.testing.assert_close(loss.posterior(seen), case.arrays["out/logits"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["static_n5_k4", "onepeer_n5_k4", "static_contrastive"])
def test_expocomm_grounds_messages_as_recorded(name: str) -> None:
    case = next(case for case in load_cases("expocomm") if case.name == name)
    aux, msg = case.arrays["out/aux"], case.arrays["out/msg"].flatten(1, 2)
    if name == "static_contrastive":
        torch.testing.assert_close(nn.functional.normalize(msg, dim=-1), aux, rtol=0, atol=1e-10)
        return
    policy = of_width(16, 2, MeanComm(16, 16))
    loss = REGISTRY.resolve("expocomm:width=16", policy=policy, state_dim=6).double()
    loss.decode.load_state_dict({k.partition(".")[2]: w for k, w in case.weights.items() if k.startswith("predict")})
    torch.testing.assert_close(loss.decode(msg), aux, rtol=0, atol=1e-10)


def test_maic_is_trained_by_the_loss_of_the_released_network_where_all_have_one_model() -> None:
    """Which gives the recorded losses (gnncomm bench parity); over oneself, too, as there."""
    torch.manual_seed(0)
    network = MAICNetwork(2, 5, 3, hidden=6, width=7, latent=4, attention=3).double().eval()
    layer = MAICComm(6, 6, latent_channels=4, key_channels=3, width=7)
    policy = CommPolicy(
        2, 5, layer, Memory(6), "after", wire=Wire(Full(self_loops=True), codec=Bottleneck(sigma=0.5))
    ).double()
    loss = REGISTRY.resolve("maic:width=7", policy=policy).double()
    mean = torch.randn(4, dtype=torch.float64)
    nn.init.zeros_(network.embed_net[3].weight)
    network.embed_net[3].bias.data = torch.cat([mean.repeat(3), torch.full((12,), math.log(0.25), dtype=torch.float64)])
    nn.init.zeros_(layer.model[2].weight)
    layer.model[2].bias.data = mean
    for linear, released in ((loss.infer[0], network.inference_net[0]), (loss.infer[2], network.inference_net[3])):
        linear.load_state_dict(released.state_dict())
    for value in loss.infer[0].parameters():  # what the batch normalisation of a fresh network divides by
        value.data /= math.sqrt(1 + 1e-5)
    layer.lin_query.load_state_dict(network.w_query.state_dict())
    layer.lin_key.load_state_dict(network.w_key.state_dict())
    step = network(torch.randn(2, 3, 2).double(), torch.randn(2, 3, 6).double(), torch.zeros(2, 3, 3, 4).double())
    information, _ = network.losses(step)
    none = torch.zeros(2, dtype=torch.int64)
    now = SimpleNamespace(step=none, alive=torch.ones(2, 3, dtype=torch.bool), pos=None, key=none)
    seen = SimpleNamespace(rows=step.h.unsqueeze(0), logits=step.q.unsqueeze(0))
    object.__setattr__(loss, "flat", lambda rollout: now)
    terms = loss(seen, None)
    assert terms["maic_information"].value.item() == pytest.approx(information.item(), rel=1e-10)


def test_temporal_difference_by_hand() -> None:
    """Rewards 1, 2, 3, values 1, 2, 4, gamma 1/2: errors 1 - 2 at first, 2 - 4 then; the last has no successor."""
    _, _, rollout = tiny("tmc", MeanComm(1, 1), [[0.0] * 2] * 3)
    rollout.reward[:] = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)
    rollout.discount[:] = 1.0
    value = torch.tensor([[1.0], [2.0], [4.0]])
    assert float(team_sarsa(value, rollout, 0.5)) == pytest.approx(0.5 * (1 + 4) / 2)
    each = value.unsqueeze(-1).expand(3, 1, 2)
    assert float(team_sarsa(each, rollout, 0.5)) == pytest.approx(0.5 * (1 + 4) / 2)
    rollout.done[1] = True  # truncated: nobody knows what would have come
    assert float(team_sarsa(value, rollout, 0.5)) == pytest.approx(0.5)
    rollout.discount[1] = 0.0  # terminated: nothing comes
    assert float(team_sarsa(value, rollout, 0.5)) == pytest.approx(0.5 * (1 + 0) / 2)
    assert float(team_sarsa(each, rollout, 0.5)) == pytest.approx(0.5 * (1 + 0) / 2)


def test_i2c_by_hand() -> None:
    """exp Q is 1, 3 in the first row, 1, 1 in the second: p(a_i) = 2/3, 1/3, and given a_j = 0 it is even."""
    loss, *_ = tiny("i2c", MeanComm(1, 1), [[0.0] * 2], wire=Wire(scheduler=Request(1, 2)))
    for parameter in loss.parameters():
        nn.init.zeros_(parameter)
    loss.head[1].weight.data[0, 0] = 1.0
    loss.own.weight.data[1, 0] = -math.log(3)
    loss.theirs.weight.data[3, 0] = math.log(3)  # action 1 of agent 1
    action, drawn = torch.tensor([[0, 0]]), torch.tensor([1])
    effect = loss._effect(torch.zeros(1, 2, loss.of_row.out_features), action, drawn)
    assert effect[0, 0].item() == pytest.approx(2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3), rel=1e-5)


def test_who_is_tried_talks_to_all_or_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the number of messages heard as value, one who is tried brings everybody one more."""
    gate = Gate(1, taught=True)
    loss, evaluation, rollout = tiny("cacom:cut=0.5", MeanComm(1, 1), [[0.0] * 2] * 3, wire=Wire(scheduler=gate))
    gate.lin.bias.data = torch.tensor([0.0, -2.0])  # both are silent
    monkeypatch.setattr(loss, "_features", lambda h, graph, now: graph.in_degree.to(h.dtype))
    monkeypatch.setattr(loss, "worth", lambda features, now: features)
    assert loss(evaluation, rollout)["cacom_gain"].value.item() == pytest.approx(math.log(1 + math.exp(2)))
    loss.cut = 1.5
    assert loss(evaluation, rollout)["cacom_gain"].value.item() == pytest.approx(math.log(1 + math.exp(-2)), rel=1e-5)


def test_labels_by_hand() -> None:
    """Gains of 3 and 1 for those who hear: 1 and 0 once scaled."""
    loss, *_ = tiny("atoc", MeanComm(1, 1), [[0.0] * 2], wire=Wire(scheduler=Gate(1, taught=True)))
    now: Any = None
    object.__setattr__(loss, "worth", lambda features, now: features)
    with_it, hears = torch.tensor([[9.0, 3.0], [1.0, 9.0]]), torch.tensor([[False, True], [True, False]])
    assert loss._labels(with_it, torch.zeros(2, 2), hears, now).tolist() == [[1.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("masia", "MASIALoss trains MASIAComm: expected it as comm, got MeanComm"),
        ("i2c", "expected it as scheduler, got Always"),
        ("atoc", "expected gate:taught=true or request:taught=true, got Always"),
    ],
)
def test_a_policy_without_the_part(loss: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        tiny(loss, MeanComm(1, 1), [[0.0] * 2])


def test_the_command_line_trains_with_a_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run records it, its terms are logged, and a resumed run has the same weights."""
    words = ["relay", "--comm", "masia", "--losses", "masia", "--learner", "ppo", "--num-envs", "8", "--hidden", "8"]
    words += [
        "--rollout",
        "4",
        "--learner.minibatches",
        "2",
        "--steps",
        "128",
        "--episodes",
        "0",
        "--env-settings",
        "steps",
        "4",
    ]
    assert main(["train", *words, "--out", str(tmp_path / "a")]) == 0
    capsys.readouterr()
    run = RunDir.open(tmp_path / "a")
    assert run.config(TrainConfig).policy.losses == "masia"
    assert {"masia_state", "masia_latent", "masia_reward"} <= run.metrics()[-1].keys()
