"""What a user wrote trains, resumes and loads like what ships; a run asks for what it cannot make."""

from __future__ import annotations

import importlib
import json
import linecache
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.nn import SAGEConv

import gnncomm
from gnncomm import environments, evaluate, methods, record
from gnncomm.channel import Loss
from gnncomm.cli import main
from gnncomm.codec import Quantise
from gnncomm.config import to_json
from gnncomm.errors import ConfigError
from gnncomm.layers import AttentionComm, MeanComm
from gnncomm.learn import PPO, PPOConfig, TrainConfig, Training
from gnncomm.learn.fingerprint import Fingerprint
from gnncomm.policy import GRU, LSTM, CentralCritic, CommPolicy
from gnncomm.registry import table
from gnncomm.run import config_of, load, train
from gnncomm.schedule import Gate
from gnncomm.topology import Line, Ring
from tests.run.own import (
    Ahead,
    EverySecond,
    Forgetful,
    GatedSum,
    PlainGradient,
    Secret,
    Sign,
    calm,
    own_policy,
    restless,
)

Tiny = Callable[..., TrainConfig]
StateOf = Callable[[Path], dict[str, str]]

OBJECTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "layer": ({"comm": GatedSum}, {"comm": GatedSum(8, 8)}),
    "a layer for each round": ({"comm": [MeanComm, GatedSum]}, {"comm": [MeanComm(8, 8), GatedSum(8, 8)]}),
    "topology": ({"topology": Ahead(2)}, {"topology": Ahead(hop=2)}),
    "codec": ({"codec": Sign}, {"codec": Sign()}),
    "channel": ({"channel": EverySecond()}, {"channel": EverySecond}),
    "memory": ({"memory": Forgetful}, {"memory": Forgetful(8)}),
    "environment": ({"env": partial(Secret, steps=2)}, {"env": partial(Secret, steps=2)}),
    "policy": ({"policy": own_policy}, {"policy": own_policy}),
    "learner": ({"learner": PlainGradient}, {"learner": PlainGradient}),
    "loss": ({"losses": [calm, restless]}, {"losses": [calm, restless]}),
    "all": (
        {"comm": GatedSum, "topology": Ahead(), "codec": Sign, "channel": EverySecond, "env": Secret}
        | {"memory": Forgetful, "learner": partial(PlainGradient, gamma=0.5)},
        {"comm": GatedSum(8, 8), "topology": Ahead(), "codec": Sign(), "channel": EverySecond(), "env": Secret}
        | {"memory": Forgetful(8), "learner": partial(PlainGradient, gamma=0.5)},
    ),
}
"""What trains, and what a later session gives in its place: objects with other weights are the same objects."""


@pytest.mark.parametrize(("parts", "again"), OBJECTS.values(), ids=OBJECTS.keys())
def test_objects_train_resume_and_load(
    tiny: Tiny, state_of: StateOf, tmp_path: Path, parts: dict[str, Any], again: dict[str, Any]
) -> None:
    """Stopped and resumed it ends with the bits of the run that nobody stopped, and loads as the policy it was."""
    config = tiny(env="relay")
    straight = train(config, tmp_path / "straight", **parts)
    updates = iter(range(1, 9))
    train(config, tmp_path / "halted", stop=lambda: next(updates) == 2, **parts)
    train(config, tmp_path / "halted", resume=True, **again)
    assert state_of(tmp_path / "halted") == state_of(tmp_path / "straight")
    assert set(config_of(tmp_path / "halted").given) == set(parts)
    needed = {name: part for name, part in again.items() if name not in ("learner", "losses")}
    trained = load(tmp_path / "halted", **needed)
    assert trained.env_steps == straight.env_steps == 48
    for name, value in straight.policy.state_dict().items():
        assert value.equal(trained.policy.state_dict()[name])
    env = trained.make_env(4)
    assert evaluate(trained.policy, env, episodes=4).episodes == 4
    assert record(trained.policy, env).actions.shape[1] == trained.num_agents


def test_what_has_a_name_is_kept_by_name(tiny: Tiny, tmp_path: Path, state_of: StateOf) -> None:
    """The same run as of the names, to the bit."""
    train(
        tiny(topology="ring:k=2", channel="loss:p=0.2", learner=PPOConfig(epochs=1, minibatches=2)), tmp_path / "names"
    )
    parts: dict[str, Any] = {"topology": Ring(2), "channel": Loss(0.2), "learner": PPOConfig(epochs=1, minibatches=2)}
    train(tiny(), tmp_path / "objects", **parts)
    assert state_of(tmp_path / "names") == state_of(tmp_path / "objects")
    assert config_of(tmp_path / "names") == config_of(tmp_path / "objects")
    assert load(tmp_path / "objects").policy.wire.topology == Ring(2)
    train(tiny(), tmp_path / "mixed", topology="ring:k=2", channel=Loss(0.2), learner=parts["learner"])
    assert state_of(tmp_path / "mixed") == state_of(tmp_path / "names")


def test_what_ships_is_found_again_by_itself(tiny: Tiny, tmp_path: Path) -> None:
    """Objects of the house in every place: the run needs none of them to be loaded and to play."""
    env = environments.make("relay", num_envs=4, observation="sparse", num_agents=3, steps=2)
    parts: dict[str, Any] = {"comm": [MeanComm(8, 8), AttentionComm(8, 8, heads=2)], "memory": LSTM(8)}
    parts |= {
        "critic": CentralCritic(8, 3),
        "scheduler": Gate(8, price=0.25),
        "codec": Quantise(4),
        "topology": Ring() | Line(),
        "env": env,
    }
    straight = train(tiny(rounds=2), tmp_path / "run", **parts)
    config = config_of(tmp_path / "run")
    assert config.given == {}
    assert config.policy.comm == "mean >> attention:heads=2"
    assert config.policy.algo == "central"
    assert (config.policy.memory, config.wire.scheduler, config.wire.codec) == (
        "lstm",
        "gate:price=0.25",
        "quantise:bits=4",
    )
    assert (config.wire.topology, config.env.id, config.env.settings["num_agents"]) == ("ring | line", "relay", 3)
    trained = load(tmp_path / "run")
    now = trained.make_env(4).reset(seed=0)
    state = trained.policy.initial_state(4, 3)
    assert trained.policy.act(now, state).logits.equal(straight.policy.eval().act(now, state).logits)


def test_a_name_of_ones_own_is_a_name(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered, an own class is kept by name; a process in which it is not cannot load the run."""
    with monkeypatch.context() as patch:
        patch.setattr(table, "_registered", {})
        gnncomm.register("layer", "gated_sum", GatedSum)
        gnncomm.register("learner", "plain", PlainGradient)
        straight = train(tiny(), tmp_path / "run", comm=GatedSum(8, 8, temperature=0.5), learner="plain:gamma=0.5")
        assert config_of(tmp_path / "run").policy.comm == "gated_sum:temperature=0.5"
        assert to_json(config_of(tmp_path / "run"))["learner"] == {"name": "plain", "gamma": 0.5}
        policy = load(tmp_path / "run").policy
        assert all(p.equal(q) for p, q in zip(policy.parameters(), straight.policy.parameters(), strict=True))
    table.reread()
    with pytest.raises(ConfigError, match="Unknown layer 'gated_sum'"):
        load(tmp_path / "run")


def test_a_layer_by_class_is_drawn_from_the_seed(tiny: Tiny) -> None:
    """The same call gives the same weights, and those of the name."""
    named, by_class = train(tiny(comm="mean")), train(tiny(comm="none"), comm=MeanComm)
    for name, value in named.policy.state_dict().items():
        assert value.equal(by_class.policy.state_dict()[name])
    torch.manual_seed(5)
    other = train(tiny(seed=1), comm=MeanComm).policy
    torch.manual_seed(6)
    again = train(tiny(seed=1), comm=MeanComm).policy
    assert all(p.equal(q) for p, q in zip(other.parameters(), again.parameters(), strict=True))


def test_parts_by_hand_are_the_training_of_the_configuration(tiny: Tiny) -> None:
    config = tiny(env="relay")
    named, env = Training.of(config), Secret(num_envs=4, observation="sparse")
    policy = Training.of(config).policy
    learner = PPO(policy, config.learner, config.updates, config.run.seed, length=3)
    by_hand = Training(env, policy, learner, updates=config.updates)
    for _ in range(3):
        assert named.advance() == by_hand.advance() or named.advance  # NaN where no episode ended
    assert all(p.equal(q) for p, q in zip(named.policy.parameters(), by_hand.policy.parameters(), strict=True))
    with pytest.raises(ConfigError, match="learner of the policy that plays"):
        Training(env, Training.of(config).policy, learner, updates=1)


def test_the_object_says_how_many_environments_and_how_wide(tiny: Tiny, tmp_path: Path) -> None:
    env = Secret(num_envs=6, observation="sparse")
    policy = CommPolicy(env.obs_dim, env.num_actions, GatedSum(12, 12), GRU(12))
    learner = PlainGradient(policy, 5, length=7)
    training = train(tiny(steps=84), tmp_path / "run", env=env, learner=learner)
    config = config_of(tmp_path / "run")
    assert (config.env.num_envs, config.policy.hidden, config.run.rollout, config.env.id) == (6, 12, 7, "secret")
    assert (training.env_steps, training.policy, training.env) == (84, policy, env)


# A run asks for what it cannot make, and knows it again.


@pytest.fixture(scope="module")
def run(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of an own layer in an own environment."""
    folder = tmp_path_factory.mktemp("objects") / "run"
    train(tiny(steps=24), folder, comm=partial(GatedSum, temperature=0.5), env=Secret, learner=PlainGradient)
    return folder


def test_a_missing_object_is_named(run: Path, tiny: Tiny) -> None:
    words = r"comm=GatedSum.*no name.*expected it, got nothing.*load\(run, comm=\.\.\.\)"
    with pytest.raises(ConfigError, match=words):
        load(run)
    layer = partial(GatedSum, temperature=0.5)
    trained = load(run, comm=layer)
    with pytest.raises(ConfigError, match=r"env=Secret\(.*load\(run, env=\.\.\.\)"):
        trained.make_env(2)
    with pytest.raises(ConfigError, match=r"learner=PlainGradient\(.*gamma=0\.9\).*resume=True, learner=\.\.\."):
        train(tiny(steps=24), run, resume=True, comm=layer, env=Secret)
    with pytest.raises(ConfigError, match="comm=GatedSum"):
        train(config_of(run), run.with_name("new"))
    assert not run.with_name("new").exists()


def test_a_policy_of_a_method_is_loaded_again(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(), tmp_path / "run", policy=methods.tarmac)
    assert load(tmp_path / "run", policy=methods.tarmac).policy.hidden == 64


def test_what_a_run_knows_by_name_may_be_given_all_the_same(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(), tmp_path / "run", comm=MeanComm, topology=Ring(2))
    assert load(tmp_path / "run", comm=MeanComm, topology=Ring(2)).config.given == {}
    with pytest.raises(ConfigError, match=r"topology: expected none.*got Ring\(k=1\)"):
        load(tmp_path / "run", topology=Ring())


class Dense(torch.nn.Linear):
    """An encoder that knows nothing of the sparse form."""


def test_an_encoder_of_ones_own_reads_sparse_observations(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(env="relay", observation="sparse")
    ends = [train(config.replace(observation=form), encoder=Dense).policy for form in ("sparse", "flat")]
    for ours, theirs in zip(*(end.parameters() for end in ends), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_method_by_name_stands_for_its_parts(tiny: Tiny) -> None:
    config = gnncomm.default_config("relay", comm="tarmac", memory="lstm")
    assert (config.policy.integration, config.policy.memory) == ("previous", "lstm")
    assert config.policy.comm == methods.tarmac.settings["comm"]
    policy = train(tiny(), comm="commnet").policy
    assert type(policy.memory) is LSTM
    assert type(policy.comm.rounds[0]) is MeanComm


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"comm": SAGEConv(8, 8)}, r"expected a CommLayer, got SAGEConv.*ConvComm\(conv\)"),
        ({"losses": calm}, r"a list of losses.*losses=\[yours\]"),
        ({"losses": [lambda now, rollout: now.value.mean()]}, r"Term\(value\)}, got Tensor"),
    ],
    ids=["a convolution", "a loss alone", "a loss that is no term"],
)
def test_what_is_near_says_what_to_do(tiny: Tiny, parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        train(tiny(), **parts)
    with pytest.raises(ConfigError, match=r"default_config\('relay'\)"):
        train("relay")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"train\(config, topology=\.\.\.\)"):
        tiny(topology=Ring())


class Other(GatedSum):
    """The same tensors, another class."""


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"comm": GatedSum}, r"temperature=0\.5\), got GatedSum\(.*temperature=1\.0"),
        ({"comm": partial(GatedSum, temperature=0.5, out_channels=8)}, r"comm\(8, 8\), got: .*multiple values"),
        ({"comm": partial(Other, temperature=0.5)}, r"expected GatedSum\(.*got Other\("),
        ({"comm": GatedSum(16, 16, temperature=0.5)}, r"gate.weight: expected \[1, 8\] float32, got \[1, 16\]"),
        ({"comm": MeanComm}, r"expected GatedSum\(.*got MeanComm"),
        ({"comm": partial(GatedSum, temperature=0.5), "topology": Line()}, "topology: expected none"),
    ],
)
def test_another_object_is_refused(run: Path, tiny: Tiny, parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(run, **parts)
    if "topology" not in parts:
        with pytest.raises(ConfigError, match=words):
            train(tiny(steps=36), run, resume=True, env=Secret, learner=PlainGradient, **parts)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"env": partial(Secret, steps=9)}, "max_steps: expected 1, got 9"),
        ({"learner": partial(PlainGradient, gamma=0.5)}, r"gamma=0\.9\), got PlainGradient\(.*gamma=0\.5"),
    ],
)
def test_another_environment_or_learner_is_refused(run: Path, tiny: Tiny, parts: dict[str, Any], words: str) -> None:
    layer = partial(GatedSum, temperature=0.5)
    with pytest.raises(ConfigError, match=words):
        train(tiny(steps=36), run, resume=True, **{"comm": layer, "env": Secret, "learner": PlainGradient} | parts)
    if "env" in parts:
        with pytest.raises(ConfigError, match=words):
            load(run, comm=layer, **parts).make_env(2)


def test_the_command_line_says_what_is_missing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["eval", str(run)], ["replay", str(run)], ["train", "--out", str(run), "--resume"]):
        assert main(words) == 78
        said = capsys.readouterr().err
        assert "comm=GatedSum(in_channels=8, out_channels=8, temperature=0.5)" in said
        assert "Give it in Python: load(run, comm=...)" in said


def test_a_file_names_nothing_to_import(run: Path) -> None:
    """A fingerprint holds names of classes, and no module that anybody could be made to import."""
    kept = json.loads((run / "config.json").read_text())["config"]["given"]
    assert set(kept) == {"comm", "env", "learner"}
    assert "tests" not in json.dumps(kept)
    assert "own" not in json.dumps(kept)


class Watched(nn.Linear):
    """An encoder that holds what cannot be copied."""

    def __init__(self, obs_dim: int, hidden: int) -> None:
        super().__init__(obs_dim, hidden)
        self.lock = threading.Lock()


def says(metrics: Any) -> Callable[..., PlainGradient]:
    """A learner that says this of an update."""
    mine: Any = type("Mine", (PlainGradient,), {"update": lambda self, rollout: metrics})
    return mine


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"com": GatedSum}, "Did you mean 'comm'"),
        ({"comm": 3}, "comm: expected a CommLayer, or a class or function that makes one, got int"),
        ({"env": lambda **settings: object()}, "env: expected a VectorEnv.*got object without"),
        ({"learner": lambda policy, **settings: None}, "learner: expected a Learner"),
        ({"policy": own_policy, "comm": GatedSum}, "got both: policy and comm"),
        ({"learner": PlainGradient, "losses": [calm]}, "got both"),
        ({"comm": GatedSum(9, 9)}, "one width"),
        ({"learner": "iql", "encoder": Watched}, "copy.deepcopy can copy, got TypeError: cannot pickle '_thread.lock'"),
        ({"encoder": lambda width, hidden: nn.LazyLinear(hidden)}, "encoder.weight: expected parts of a known width"),
        ({"learner": says(None)}, r"update: expected metrics, .*got '': NoneType"),
        ({"learner": says({"mine": torch.zeros(())})}, "got 'mine': Tensor"),
        ({"learner": says({"env_steps": 7})}, "got 'env_steps', which is the training's"),
    ],
)
def test_parts_that_are_none(tiny: Tiny, parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        train(tiny(env="relay", memory="gru"), **parts | ({"memory": GRU(8)} if words == "one width" else {}))


def test_one_layer_for_several_rounds_must_be_shared(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match="expected a layer for each of rounds=2"):
        train(tiny(rounds=2), comm=GatedSum(8, 8))
    layer = GatedSum(8, 8)
    assert train(tiny(rounds=2, share_rounds=True), comm=layer).policy.comm.rounds == (layer, layer)
    assert len(set(train(tiny(rounds=2), comm=GatedSum).policy.comm.rounds)) == 2


def test_methods_take_objects() -> None:
    layer = GatedSum(64, 64)
    policy = methods.tarmac(29, 5, 3, comm=layer, topology=Ahead())
    assert policy.comm.rounds == (layer,)
    assert policy.wire.topology == Ahead()
    with pytest.raises(ConfigError, match="has no part 'com'"):
        methods.tarmac(29, 5, 3, com=layer)


def weighed(by: float, *, also: float = 0.0) -> Callable[..., Any]:
    def loss(now: Any, rollout: Any, once_more: float = also) -> dict[str, Any]:
        return {"own": by + once_more}

    return loss


class Holds:
    """Something with a parameter."""

    def __init__(self, value: Any) -> None:
        self.value = value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((weighed(1.0),), (weighed(2.0),)),
        ((weighed(1.0),), (weighed(1.0, also=1.0),)),
        (partial(weighed, 1.0), partial(weighed, 2.0)),
        (Holds(np.zeros(3)), Holds(np.ones(3))),
        (Holds({1, 2}), Holds({1, 3})),
        (Holds(range(10**9)), Holds(range(10**9 + 1))),
        (Holds(Holds(1).__init__), Holds(Holds(2).__init__)),  # type: ignore[misc]  # a bound method, whichever
    ],
    ids=["closure", "default", "partial", "array", "set", "long", "method"],
)
def test_what_an_object_was_made_with_is_remembered(one: Any, other: Any) -> None:
    """So a resumed training is not given another loss silently, and nothing that can be held breaks or fills a file."""
    assert Fingerprint.of(one) == Fingerprint.of(one)
    assert Fingerprint.of(one) != Fingerprint.of(other)
    assert len(str(Fingerprint.of(one))) < 500


def test_other_code_is_told_and_refuses_nothing(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A comment is none, another sign is; a file that is gone says nothing."""
    monkeypatch.syspath_prepend(tmp_path)
    text = (
        "from tests.run.own import GatedSum\nclass Loud(GatedSum):\n    def send(self, h):\n        return {} * h{}\n"
    )

    def loud(sign: str, note: str = "") -> Any:
        (tmp_path / "loud_one.py").write_text(text.format(sign, note))
        linecache.checkcache()
        sys.modules.pop("loud_one", None)
        return importlib.import_module("loud_one").Loud

    train(tiny(), tmp_path / "loud", comm=loud("2.0"))
    load(tmp_path / "loud", comm=loud("2.0", "  # as loud as that"))
    assert not caplog.records
    load(tmp_path / "loud", comm=loud("-2.0"))
    assert "comm: the code of Loud is not what it was in the training" in caplog.text
    caplog.clear()
    train(config_of(tmp_path / "loud").replace(steps=96), tmp_path / "loud", resume=True, comm=loud("-3.0"))
    assert "the code of Loud" in caplog.text
