"""Evaluation on ``relay``, where every number is known, and on a countdown whose episodes differ in length."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import gnncomm
from gnncomm import envs, random
from gnncomm.channel import Loss
from gnncomm.errors import ConfigError, EnvContractError, GnnCommError, NonFiniteError, ResourceError
from gnncomm.evaluation import Report, evaluate, paired_difference, play
from gnncomm.layers import AttentionComm, CommStack, MeanComm
from gnncomm.policy import GRU, CommPolicy, Memory
from gnncomm.topology import Empty, Line
from gnncomm.types import Scene, TimeStep, VectorEnv
from gnncomm.wire import Wire

SYMBOLS = 8


def relay(num_envs: int = 64, num_agents: int = 2) -> VectorEnv:
    return envs.make("relay", num_envs=num_envs, num_agents=num_agents, num_symbols=SYMBOLS)


def relay_policy(env: VectorEnv, wire: Wire | None = None, listens: bool = True) -> CommPolicy:
    """Agent 0 says its symbol, agent 1 names what it hears (or 0 if it does not listen): weights set by hand."""
    layer = MeanComm(SYMBOLS, SYMBOLS)
    policy = CommPolicy(env.obs_dim, SYMBOLS, layer, Memory(SYMBOLS), wire=wire or Wire(Line()))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
        policy.encoder.weight[:SYMBOLS] = torch.eye(SYMBOLS)
        policy.actor.weight.copy_(torch.eye(SYMBOLS))
        if listens:
            _speak_as_is(layer)
    return policy


def _speak_as_is(layer: MeanComm) -> None:
    """Messages are the sender's row, and what arrives is passed on unchanged."""
    for linear in layer.modules():
        if isinstance(linear, nn.Linear) and linear is not layer.lin_self:
            linear.weight.copy_(torch.eye(SYMBOLS))


def symbols(env: VectorEnv, episodes: int, seed: int) -> Tensor:
    """The symbol of each episode: the ceiling names it."""
    found = []
    for start in range(0, episodes, env.num_envs):
        env.reset(seed=random.seeds("evaluate", seed, torch.arange(start, start + env.num_envs)))
        found.append(env.ceiling_action()[:, 0])
    return torch.cat(found)[:episodes]


def test_a_team_that_relays_is_measured_exactly() -> None:
    env = relay()
    report = evaluate(relay_policy(env), env, episodes=128, seed=5)
    symbol = symbols(env, 128, 5)
    assert report.trained.success.mean == report.ceiling.success.mean == 1.0
    assert report.trained.returns.mean == 1.0
    assert report.trained.length.mean == 1.0
    # Muted, agent 1 sees nothing and names symbol 0; shuffled, it names the symbol of the episode before.
    assert report.muted.success.mean == float((symbol == 0).double().mean())
    assert report.shuffled.success.mean == pytest.approx(float((symbol == symbol.roll(1)).double().mean()))
    assert report.without_partner == 0.0
    assert report.gain.mean == pytest.approx(1.0 - report.shuffled.returns.mean)
    assert report.channel_used
    assert "CHANNEL UNUSED" not in report.verdict()


def error(p: float) -> float:
    """Four standard errors of a share of 4096."""
    return float(4 * (p * (1 - p) / 4096) ** 0.5)


def test_floor_is_a_random_guess() -> None:
    env = relay(num_envs=512)
    report = evaluate(relay_policy(env), env, episodes=4096)
    for arm in (report.floor, report.muted, report.shuffled):
        assert abs(arm.success.mean - 1 / SYMBOLS) < error(1 / SYMBOLS)


def test_lost_messages_cost_what_they_must() -> None:
    """Success under loss p of one hop, with 0 named where nothing came: (1 - p) + p / S."""
    env = relay(num_envs=512)
    report = evaluate(relay_policy(env, Wire(Line(), channel=Loss(0.3))), env, episodes=4096)
    assert abs(report.trained.success.mean - (0.7 + 0.3 / SYMBOLS)) < error(0.7 + 0.3 / SYMBOLS)


@pytest.mark.parametrize("greedy", [True, False])
def test_a_team_that_does_not_listen_leaves_the_channel_unused(greedy: bool) -> None:
    env = relay()
    report = evaluate(relay_policy(env, listens=False), env, episodes=200, greedy=greedy)
    assert report.gain.mean == 0.0
    assert report.trained == report.muted == report.shuffled
    assert not report.channel_used
    assert "CHANNEL UNUSED" in report.verdict()


def with_gain(report: Report, standard_errors: float, episodes: int = 200) -> Report:
    """Differences of +-1, moved so that their mean is so many of their standard errors."""
    d = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(episodes // 2)
    d = d + standard_errors * d.std() / episodes**0.5
    gain = paired_difference(d, torch.zeros_like(d))
    assert gain.mean / gain.standard_error == pytest.approx(standard_errors)
    return replace(report, gain=gain)


def test_the_verdict_is_the_interval(report: Report) -> None:
    """The 97.5 % quantile of Student's t is 1.972 for 199 degrees of freedom, and 2.262 for 9."""
    for below, above, episodes in [(1.9, 2.1, 200), (2.1, 5.0, 10), (-2.1, 2.1, 200)]:
        unused, used = with_gain(report, below, episodes), with_gain(report, above, episodes)
        assert not unused.channel_used
        assert unused.gain.interval.low <= 0
        assert unused.to_dict()["channel_used"] is False
        assert unused.verdict().startswith("CHANNEL UNUSED")
        assert used.channel_used
        assert used.gain.interval.low > 0
        assert used.to_dict()["channel_used"] is True
        assert used.verdict().startswith("Communication gains")
    assert "lies below zero" in with_gain(report, -2.1).verdict()
    assert "holds zero" in with_gain(report, -1.9).verdict()


def test_four_of_a_thousand_episodes_are_no_gain(report: Report) -> None:
    gains = {}
    for k in (4, 5, 6):
        d = torch.zeros(1000)
        d[:k] = 1.0
        gains[k] = replace(report, gain=paired_difference(d, torch.zeros(1000))).channel_used
    assert gains == {4: False, 5: False, 6: True}


class Countdown:
    """Ends after 1 + (seed mod 5) steps; reward 1 a step to agent 0 and 3 to agent 1, success where that is odd."""

    id = "countdown"
    num_agents, num_actions, obs_dim, max_steps = 2, 3, 4, 5
    device = torch.device("cpu")

    def __init__(self, num_envs: int, endless: bool = False, reward: float = 1.0) -> None:
        self.num_envs, self.endless, self.reward = num_envs, endless, reward
        self.seed, self.t = torch.zeros(num_envs, dtype=torch.int64), torch.zeros(num_envs, dtype=torch.int64)

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        if where is not None:
            self.t = torch.where(where, 0, self.t)
            self.seed = torch.where(where, self.seed + 1, self.seed)  # uncounted episodes are longer ones
        else:
            seeds = torch.full_like(self.t, seed) if isinstance(seed, int) else seed
            assert seeds is not None
            self.t, self.seed = torch.zeros_like(self.t), seeds
        return self._now()

    def step(self, action: Tensor) -> TimeStep:
        self.t = self.t + 1
        return self._now()

    def _now(self) -> TimeStep:
        length, rows = 1 + self.seed % 5, (self.num_envs, 2)
        done = (self.t >= length) & (not self.endless)
        return TimeStep(
            obs=torch.ones(*rows, 4),
            reward=torch.tensor([1.0, 3.0]).expand(rows) * self.reward,
            discount=torch.ones(rows),
            alive=torch.ones(rows, dtype=torch.bool),
            terminated=done,
            truncated=torch.zeros_like(done),
            success=done & (length % 2 == 1),
            first=self.t == 0,
            key=random.bits(self.seed),
            step=self.t.clone(),
        )

    def floor_action(self, key: Tensor) -> Tensor:
        return torch.zeros(self.num_envs, 2, dtype=torch.int64)

    def ceiling_action(self) -> Tensor:
        return torch.zeros(self.num_envs, 2, dtype=torch.int64)

    def scene(self) -> Scene:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Tensor]:
        raise NotImplementedError

    def load_state_dict(self, state: Mapping[str, Tensor]) -> TimeStep:
        raise NotImplementedError


def still(now: TimeStep, episode: Tensor) -> Tensor:
    return torch.zeros(now.alive.shape, dtype=torch.int64)


@pytest.mark.parametrize("num_envs", [1, 2, 3, 7, 10, 64])
def test_each_episode_is_counted_once_short_or_long(num_envs: int) -> None:
    """Lengths from 1 to 5: counting what ends first would see too many short ones."""
    length = 1 + random.seeds("evaluate", 3, torch.arange(10)) % 5
    assert {1, 5} <= set(length.tolist())
    played = play(Countdown(num_envs), still, episodes=10, seed=3)
    assert played.length.equal(length)
    assert played.returns.equal(2.0 * length.double())
    assert played.success.equal(length % 2 == 1)


def test_an_endless_episode_is_an_error() -> None:
    with pytest.raises(EnvContractError, match="max_steps=5"):
        play(Countdown(4, endless=True), still, episodes=4, seed=0)


def small_policy(env: VectorEnv, seed: int = 0) -> CommPolicy:
    torch.manual_seed(seed)
    policy = CommPolicy(env.obs_dim, env.num_actions, CommStack([AttentionComm(16, 16)], nn.Tanh()), GRU(16))
    with torch.no_grad():
        policy.actor.weight.mul_(100)  # decisive, so that messages change actions
    return policy


def test_a_broken_reward_is_named() -> None:
    env = Countdown(4, reward=float("nan"))
    with pytest.raises(NonFiniteError, match="episode 0"):
        evaluate(small_policy(env), env, episodes=4)


@pytest.mark.parametrize("greedy", [True, False])
def test_the_same_episodes_in_any_number_of_environments(greedy: bool) -> None:
    reports = []
    for num_envs in (3, 13, 64):
        env = envs.make("predator_prey", num_envs=num_envs)
        reports.append(evaluate(small_policy(env), env, episodes=40, seed=9, greedy=greedy))
    first = reports[0]
    for report in reports[1:]:
        assert report.arms == first.arms
        assert report.without_partner == pytest.approx(first.without_partner)


def test_seeds_are_other_episodes_and_sampling_is_not_greedy() -> None:
    env = envs.make("predator_prey", num_envs=40)
    policy = small_policy(env)
    greedy, again = (evaluate(policy, env, episodes=40, seed=9) for _ in range(2))
    assert greedy == again
    assert evaluate(policy, env, episodes=40, seed=9, greedy=False).trained != greedy.trained
    assert evaluate(policy, env, episodes=40, seed=900).ceiling != greedy.ceiling


def test_the_policy_stays_as_it_is() -> None:
    env = relay()
    policy = relay_policy(env)
    policy.train()
    policy.comm.eval()
    wire = policy.wire
    bits = {name: value.clone() for name, value in policy.state_dict().items()}
    modes = [module.training for module in policy.modules()]
    evaluate(policy, env, episodes=64)
    assert [module.training for module in policy.modules()] == modes
    assert policy.wire is wire
    assert all(torch.equal(value, bits[name]) for name, value in policy.state_dict().items())
    assert all(parameter.grad is None for parameter in policy.parameters())


class _Broken(CommPolicy):
    def act(self, *args: Any, **kwargs: Any) -> Any:
        raise GnnCommError("planted")


def test_modes_come_back_after_an_error() -> None:
    env = relay()
    policy = _Broken(env.obs_dim, SYMBOLS, MeanComm(8, 8), Memory(8))
    with pytest.raises(GnnCommError, match="planted"):
        evaluate(policy, env, episodes=4)
    assert policy.training


class _Dropping(Memory):
    """Zeroes everything while training."""

    def step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return (torch.zeros_like(x) if self.training else x), state


def test_modules_are_in_evaluation_mode_meanwhile() -> None:
    env = relay()
    policy = relay_policy(env)
    policy.memory = _Dropping(SYMBOLS)
    assert policy.training
    assert evaluate(policy, env, episodes=64).trained.success.mean == 1.0


def test_bad_requests_are_refused() -> None:
    env = relay()
    policy = relay_policy(env)
    with pytest.raises(ConfigError, match="at least 2 episodes"):
        evaluate(policy, env, episodes=1)
    with pytest.raises(ResourceError, match=r"got 10,000,000,000,000 episodes, which need at least 773\.1 TiB"):
        evaluate(policy, env, episodes=10**13)
    with pytest.raises(ConfigError, match="trained in"):
        evaluate(policy, relay(num_agents=3))


@pytest.fixture(scope="module")
def report() -> Report:
    env = relay()
    return evaluate(relay_policy(env), env, episodes=64)


def test_json_has_the_documented_keys(report: Report) -> None:
    found = json.loads(report.to_json())
    assert list(found) == [
        "schema",
        "env",
        "episodes",
        "seed",
        "greedy",
        "trained",
        "muted",
        "shuffled",
        "floor",
        "ceiling",
        "ceiling_kind",
        "communication_gain",
        "communication_gain_interval",
        "channel_used",
        "without_partner",
        "wire",
    ]
    for arm in ("trained", "muted", "shuffled", "floor", "ceiling"):
        assert list(found[arm]) == ["success", "return", "length"]
        for value in found[arm].values():
            assert value["low"] <= value["mean"] <= value["high"]
    assert found["env"] == "relay"
    assert found["episodes"] == 64
    assert found["schema"] == 2
    assert found["channel_used"] is True
    gain = found["communication_gain_interval"]
    assert gain["low"] < found["communication_gain"] < gain["high"]
    assert found["communication_gain"] == pytest.approx(
        found["trained"]["return"]["mean"] - found["shuffled"]["return"]["mean"]
    )


def test_table_names_all_arms_and_ends_with_the_verdict(report: Report) -> None:
    console = Console(width=100, file=io.StringIO())
    console.print(report.table())
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "had no partner" not in text
    for word in ("trained", "muted", "shuffled", "floor", "ceiling", "100.0 %", "Communication gains"):
        assert word in text


def test_messages_without_a_partner_are_told(report: Report) -> None:
    console = Console(width=200, file=io.StringIO())
    console.print(replace(report, without_partner=0.0312).table())
    assert isinstance(console.file, io.StringIO)
    assert "3.1 % of the shuffled messages had no partner" in console.file.getvalue()
    assert replace(report, without_partner=0.0312).to_dict()["without_partner"] == 0.0312


def test_the_package_is_the_function() -> None:
    env = relay()
    assert gnncomm.evaluate(relay_policy(env), env, episodes=4).episodes == 4
    assert gnncomm.evaluate(relay_policy(env, Wire(Empty())), env, episodes=4).gain.mean == 0.0
