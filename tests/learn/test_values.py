"""Learners of values: targets and losses by hand, closed forms, the replay, and what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm.cli.main import main
from gnncomm.errors import ConfigError
from gnncomm.learn import LearnerConfig, PPOConfig, Rollout, TrainConfig, Training, begin, collect
from gnncomm.learn.dqn import DQN, DQNConfig, QMIXConfig
from gnncomm.learn.pqn import PQN, PQNConfig
from gnncomm.learn.replay import Episodes, Replay
from gnncomm.learn.values import lambda_returns
from gnncomm.policy import QMIX, VDN, EpsilonGreedy, Mixer, NoMixer
from gnncomm.run import config_of, load
from tests.learn.games import Game, chain, tabular, two_step, values_of

FAST: dict[str, Any] = {"lr_schedule": "constant", "optimizer": "adam", "max_grad_norm": 0.0}
ALWAYS: dict[str, Any] = {"epsilon": 1.0, "epsilon_end": 1.0, **FAST}


def pqn(game: Game, mixer: Mixer | None, updates: int, length: int = 4, **settings: Any) -> Training:
    config = PQNConfig(**{"epochs": 1, "minibatches": 1, **ALWAYS, **settings})
    policy = tabular(game, mixer)
    return Training(game, policy, PQN(policy, config, updates, length=length), updates=updates)


def dqn(game: Game, mixer: Mixer | None, updates: int, length: int = 4, **settings: Any) -> Training:
    config = DQNConfig(**{"buffer": 500, "batch": 64, **ALWAYS, **settings})
    policy = tabular(game, mixer)
    return Training(game, policy, DQN(policy, config, updates, length=length), updates=updates)


def run(training: Training) -> Training:
    while not training.finished:
        training.advance()
    return training


# ---- targets ----


def stream(seed: int = 0) -> dict[str, Tensor]:
    gen = torch.Generator().manual_seed(seed)
    drawn = {
        name: torch.randn(7, 5, 2, generator=gen, dtype=torch.float64) for name in ("reward", "value", "next_value")
    }
    done = torch.rand(7, 5, generator=gen) < 0.3
    over = torch.rand(7, 5, 2, generator=gen) < 0.5
    drawn["next_value"][:-1] = torch.where(done[:-1].unsqueeze(-1), drawn["next_value"][:-1], drawn["value"][1:])
    return drawn | {"done": done, "discount": (~(done.unsqueeze(-1) & over)).double()}


def test_lambda_0_is_td_0() -> None:
    given = stream()
    want = given["reward"] + 0.9 * given["discount"] * given["next_value"]
    torch.testing.assert_close(lambda_returns(**given, gamma=0.9, lam=0.0), want)


def test_lambda_1_is_monte_carlo() -> None:
    """Summed forwards, one agent at a time, until the episode or the rollout ends."""
    given = stream()
    got = lambda_returns(**given, gamma=0.9, lam=1.0)
    for t in range(7):
        for b in range(5):
            for i in range(2):
                total, weight = 0.0, 1.0
                for s in range(t, 7):
                    total += weight * float(given["reward"][s, b, i])
                    weight *= 0.9 * float(given["discount"][s, b, i])
                    if given["done"][s, b] or s == 6:
                        total += weight * float(given["next_value"][s, b, i])
                        break
                assert got[t, b, i].item() == pytest.approx(total)


def test_a_target_of_pqn_by_hand() -> None:
    """One agent, gamma 0.5, lambda 0.5; V = 1, 2, 3 at the three steps, rewards 1 each; step 1 is cut at a value of 8.

    The last step is bootstrapped with 4: G_2 = 1 + 0.5 * 4 = 3. G_1 = 1 + 0.5 * 8 = 5, not V_2.
    G_0 = 1 + 0.5 (0.5 * 2 + 0.5 * 5) = 2.75. Where step 1 terminates: G_1 = 1, G_0 = 1 + 0.5 (1 + 0.5) = 1.75.
    """
    game = chain(3, num_envs=1)
    learner = PQN(tabular(game), PQNConfig(gamma=0.5, lam=0.5))
    carry, tally = begin(game, learner.policy, 0)
    rollout, _ = collect(game, learner.policy, carry, 3, 0, tally)
    column = lambda *numbers: torch.tensor(numbers).view(3, 1, 1)  # noqa: E731
    cut = replace(
        rollout,
        reward=column(1.0, 1.0, 1.0),
        discount=column(1.0, 1.0, 1.0),
        next_value=column(70.0, 8.0, 4.0),
        done=torch.tensor([[False], [True], [False]]),
    )
    for played, want in ((cut, (2.75, 5.0, 3.0)), (replace(cut, discount=column(1.0, 0.0, 1.0)), (1.75, 1.0, 3.0))):
        now = learner.policy.unroll(played.timestep, played.action, played.state, played.choice)
        now = replace(now, value=column(1.0, 2.0, 3.0))
        got = learner.targets(now, played, *learner._earned(played))
        torch.testing.assert_close(got, column(*want))


def of_team(mixer: Mixer, game: Game, **changes: Tensor) -> tuple[PQN, Rollout]:
    learner = PQN(tabular(game, mixer), PQNConfig(gamma=0.5, lam=0.0))
    carry, tally = begin(game, learner.policy, 0)
    rollout, _ = collect(game, learner.policy, carry, 2, 0, tally)
    return learner, replace(rollout, **changes)


def test_the_return_of_a_team_goes_on_when_one_of_it_dies() -> None:
    """Agent 1 dies with step 0, which is no end of the episode; alone its return ends, and that of agent 0 does not."""
    game = two_step(num_envs=1)
    dies = {"discount": torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]]), "done": torch.tensor([[False], [True]])}
    learner, rollout = of_team(VDN(), game, **dies)
    assert learner._earned(rollout)[1].tolist() == [[[1.0, 1.0]], [[0.0, 0.0]]]
    learner, rollout = of_team(NoMixer(), game, **dies)
    assert learner._earned(rollout)[1].tolist() == [[[1.0, 0.0]], [[0.0, 0.0]]]


def test_the_value_of_a_team_after_a_cut_is_that_of_whoever_lives_on() -> None:
    game = two_step(num_envs=1)
    said = torch.tensor([[[9.0, 6.0]], [[4.0, 4.0]]])
    learner, rollout = of_team(
        VDN(),
        game,
        next_value=said,
        discount=torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]]]),
        done=torch.tensor([[True], [False]]),
    )
    value = torch.tensor([[[1.0, 1.0]], [[2.0, 2.0]]])
    assert learner._next_value(value, rollout).tolist() == [[[6.0, 6.0]], [[4.0, 4.0]]]


def test_the_loss_of_pqn_by_hand() -> None:
    """VDN, tables 1 and 2 for the actions taken: Q_tot = 3 against a reward of 7 that terminates: (3 - 7)^2 = 16."""
    game = Game(torch.full((1, 2, 2), 7.0), torch.full((1, 2, 2), -1), num_envs=4)
    policy = tabular(game, VDN(), torch.tensor([[1.0, 1.0], [2.0, 2.0]]))
    learner = PQN(policy, PQNConfig(epochs=1, minibatches=1), length=2)
    carry, tally = begin(game, policy, 0)
    rollout, _ = collect(game, policy, carry, 2, 0, tally)
    assert learner.update(rollout)["q_loss"] == pytest.approx(16.0)


def one_episode(game: Game, states: list[int], actions: list[list[int]], reward: list[float], ends: bool) -> Episodes:
    """An episode as a replay gives it, and one that is not filled behind it."""
    timestep, width = game.reset(seed=0), len(states)
    place = torch.arange(game.num_agents) * game.num_states + torch.tensor(states).unsqueeze(-1)
    obs = torch.nn.functional.one_hot(place, game.obs_dim).float()
    rows = lambda value: torch.tensor(value).view(width, 1, 1).expand(width, 1, game.num_agents)  # noqa: E731
    one = timestep.select(torch.tensor([0])).map(lambda value: value.unsqueeze(0).repeat(width, *[1] * value.dim()))
    discount = [1.0] * width
    discount[-1] = 0.0 if ends else 1.0
    one = replace(one, obs=obs.unsqueeze(1), reward=rows([0.0, *reward]), discount=rows(discount))
    none = replace(one, alive=torch.zeros_like(one.alive), reward=one.reward + 1000)
    both = one.with_tensors({name: torch.cat([a, none.tensors()[name]], 1) for name, a in one.tensors().items()})
    action = torch.tensor(actions).view(width - 1, 1, game.num_agents).repeat(1, 2, 1)
    return Episodes(both, action, torch.tensor([width - 1, 0]))


@pytest.mark.parametrize(("double", "ends", "want"), [(True, False, 3.5), (False, False, 6.0), (True, True, 1.0)])
def test_a_target_and_a_loss_of_dqn_by_hand(double: bool, ends: bool, want: float) -> None:
    """State 1 is next, where action 1, not allowed, is best for both networks. Of the others, the trained one prefers
    2, which the target holds for 5, and 0 for 10: y = 1 + 0.5 * 5 = 3.5; without double Q 1 + 0.5 * 10 = 6; 1 if it
    terminates. Q(state 0, action 0) = 2: the loss is (2 - y)^2, whatever lies behind the end.
    """
    game = Game(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.int64), num_envs=2, limit=5)
    policy = tabular(game, values=torch.tensor([[2.0, 0.0, 0.0], [1.0, 99.0, 3.0]]))
    learner = DQN(policy, DQNConfig(gamma=0.5, double=double))
    with torch.no_grad():
        learner.target.policy.actor.weight.copy_(torch.tensor([[7.0, 7.0, 7.0], [10.0, 99.0, 5.0]]).T)  # type: ignore[union-attr, operator]
    episodes = one_episode(game, [0, 1], [[0]], [1.0], ends)
    mask = torch.ones(2, 2, 1, 3, dtype=torch.bool)
    mask[1, :, :, 1] = False
    episodes = replace(episodes, timestep=replace(episodes.timestep, action_mask=mask))
    assert float(learner._losses(episodes)[0]["q_loss"].value.detach()) == pytest.approx((2 - want) ** 2)


def test_targets_follow_after_so_many_gradient_steps() -> None:
    """Every 6, at 4 in an update: copied within the second update, and at the end of the third."""
    game = chain(2, num_envs=8)
    training = dqn(game, None, 6, gradient_steps=4, target_every_gradient_steps=6, batch=4, lr=0.1)
    learner: DQN = training.learner  # type: ignore[assignment]
    training.advance()  # nothing to learn from yet: no gradient step counts
    assert int(learner.target.steps) == 0
    same = []
    for update in range(1, 4):
        before = learner.target.policy.actor.weight.clone()  # type: ignore[operator, union-attr]
        training.advance()
        assert int(learner.target.steps) == 4 * update
        now, mine = learner.target.policy.actor.weight, training.policy.actor.weight
        same.append((torch.equal(now, before), torch.equal(now, mine)))  # type: ignore[arg-type]
    assert same == [(True, False), (False, False), (False, True)]


# ---- closed forms ----


@pytest.mark.slow
@pytest.mark.parametrize("make", [pqn, dqn])
@pytest.mark.parametrize(("limit", "terminates"), [(2, False), (5, True)])
def test_a_cut_episode_goes_on_and_a_terminated_one_does_not(make: Any, limit: int, terminates: bool) -> None:
    """Two states, reward 1, gamma 1/2. Cut after two steps they are worth 1 / (1 - 1/2) = 2 both; where the second step
    terminates 1.5 and 1."""
    leads_to = torch.tensor([[1], [-1 if terminates else 0]])
    game = Game(torch.ones(2, 1), leads_to, limit=limit)
    settings = {"lam": 0.5} if make is pqn else {"target_every_gradient_steps": 8}
    training = run(make(game, None, 150, length=5, gamma=0.5, lr=0.05, **settings))
    want = torch.tensor([1.5, 1.0] if terminates else [2.0, 2.0])
    torch.testing.assert_close(values_of(training.policy, game)[0, :, 0], want, atol=0.02, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("make", [pqn, dqn])
def test_a_reward_that_comes_with_the_last_step_is_learned(make: Any) -> None:
    """A chain of three: Q of going on is gamma^2, gamma, 1, of ending it 0."""
    game = chain(3, num_envs=32)
    settings = {"lam": 0.0} if make is pqn else {"target_every_gradient_steps": 10}
    training = run(make(game, None, 100, gamma=0.5, lr=0.03, **settings))
    want = torch.tensor([[0.0, 0.25], [0.0, 0.5], [0.0, 1.0]])
    torch.testing.assert_close(values_of(training.policy, game)[0], want, atol=0.03, rtol=0)


# ---- the replay ----


class Clock(Game):
    """Episodes of unequal length, cut after 4 steps or terminated by action 1; rewards count the steps of the world."""

    def __init__(self) -> None:
        table = torch.zeros(4, 2)
        super().__init__(table, torch.tensor([[1, -1], [2, -1], [3, -1], [3, -1]]), num_envs=3, limit=4)
        self.world = 0

    def shown(self, reward: Tensor, terminated: Tensor) -> TimeStep:  # type: ignore[name-defined]  # noqa: F821
        self.world += 1
        return super().shown(1000.0 * torch.arange(self.num_envs) + self.world, terminated)


def test_the_replay_holds_the_last_whole_episodes_as_they_were_played() -> None:
    game = Clock()
    policy = tabular(game)
    carry, tally = begin(game, policy, 0)
    replay = Replay(carry.timestep, game.max_steps, 5)
    ended: list[list[Any]] = []  # reward, action, whether it goes on, states before and after
    open_: list[list[Any]] = [[] for _ in range(3)]
    for part in range(4):
        rollout, carry = collect(game, policy, carry, 3, part, tally, keep_after=True)
        replay.add(rollout, rollout.reward, rollout.discount)
        assert rollout.after is not None
        for t in range(3):
            for b in range(3):
                row = t, b, 0
                before, after = (int(x.obs[row].argmax()) for x in (rollout.timestep, rollout.after))  # type: ignore[index]
                goes_on = int(rollout.discount[row])
                step = [float(rollout.reward[row]), int(rollout.action[row]), goes_on, before, after * goes_on]
                open_[b].append(step)
                if bool(rollout.done[t, b]):
                    ended.append(open_[b])
                    open_[b] = []
    assert int(replay.count) == len(ended) > 7
    found = replay.sample(5, 3, 0)
    got = []
    for e in range(5):
        length, shown = int(found.length[e]), found.timestep
        state = shown.obs[:, e, 0].argmax(-1)  # type: ignore[index]
        columns = shown.reward[1:, e, 0], found.action[:, e, 0], shown.discount[1:, e, 0], state[:-1], state[1:]
        got.append(torch.stack(columns, -1)[:length].tolist())
        assert bool(shown.alive[:length, e].all())
        assert bool(shown.first[0, e])
        assert bool(shown.alive[length, e]) == bool(got[-1][-1][2])  # there after a cut, gone after its end
        assert not bool(shown.alive[length + 1 :, e].any())
    assert sorted(got) == sorted(ended[-5:])  # in two environments an episode may end with the same step
    assert sorted(map(len, got)) != [4] * 5


def test_nothing_is_sampled_before_there_is_enough_and_samples_are_named_by_their_counters() -> None:
    game = chain(2, num_envs=4)
    policy = tabular(game)
    carry, tally = begin(game, policy, 0)
    replay = Replay(carry.timestep, game.max_steps, 50)
    assert replay.sample(4, 0, 0).length.tolist() == [0] * 4
    for _ in range(12):
        rollout, carry = collect(game, policy, carry, 4, 0, tally, keep_after=True)
        replay.add(rollout, rollout.reward, rollout.discount)
    one, again, other = (replay.sample(20, 7, *counters) for counters in ((1, 2), (1, 2), (1, 3)))
    assert one.timestep.key.equal(again.timestep.key)
    assert not one.timestep.key.equal(other.timestep.key)
    assert len(one.timestep.key[0].unique()) == 20  # different episodes


# ---- as trainings ----


def small(learner: str | LearnerConfig, **settings: Any) -> TrainConfig:
    return TrainConfig.of(
        env="predator_prey", num_envs=6, rollout=8, hidden=8, steps=6 * 8 * 4, learner=learner, **settings
    )


RESUMED = {
    "pqn": PQNConfig(mixer="qmix", epochs=2, minibatches=2, epsilon_steps=150),
    "dqn": QMIXConfig(buffer=8, batch=2, gradient_steps=2, target_every_gradient_steps=3, epsilon_steps=150),
}


@pytest.mark.parametrize("name", RESUMED)
def test_two_updates_saved_and_two_more_are_four_bit_for_bit(name: str) -> None:
    config = small(RESUMED[name])
    whole, half = Training.of(config), Training.of(config)
    for _ in range(4):
        whole.advance()
    half.advance()
    half.advance()
    groups, counters = half.state()
    kept = {group: {key: value.clone() for key, value in tensors.items()} for group, tensors in groups.items()}
    fresh = Training.of(config)
    assert {g: {k: v.shape for k, v in t.items()} for g, t in fresh.state()[0].items()} == {
        g: {k: v.shape for k, v in t.items()} for g, t in kept.items()
    }
    fresh.restore(kept, counters)
    fresh.advance()
    fresh.advance()
    want, got = whole.state(), fresh.state()
    assert want[1] == got[1]
    for group, tensors in want[0].items():
        for key, value in tensors.items():
            assert torch.equal(value, got[0][group][key]), (group, key)
    assert float(whole.policy.actions.epsilon) == pytest.approx(0.05)  # type: ignore[attr-defined]


def test_exploration_falls_by_environment_steps_and_a_measured_team_does_not_explore() -> None:
    training = Training.of(small(PQNConfig(minibatches=1, epochs=1, epsilon=0.9, epsilon_end=0.1, epsilon_steps=160)))
    actions = training.policy.actions
    assert isinstance(actions, EpsilonGreedy)
    seen = []
    for _ in range(4):
        seen.append(float(actions.epsilon))
        training.advance()
    assert seen == pytest.approx([0.9, 0.9 - 0.8 * 48 / 160, 0.9 - 0.8 * 96 / 160, 0.9 - 0.8 * 144 / 160])


@pytest.mark.parametrize(
    ("words", "mixer", "kind"),
    [("iql", NoMixer, DQN), ("vdn", VDN, DQN), ("qmix:buffer=50", QMIX, DQN), ("pqn:mixer=vdn", VDN, PQN)],
)
def test_learners_have_names(words: str, mixer: type, kind: type) -> None:
    training = Training.of(small(words))
    assert type(training.learner) is kind
    assert type(training.policy.critic) is mixer
    assert LearnerConfig.of_data(training.learner.config.to_data()) == LearnerConfig.of(words)  # type: ignore[attr-defined]


def test_what_cannot_be_learned_is_refused() -> None:
    with pytest.raises(ConfigError, match="DQN learns from old episodes, what Gate samples"):
        Training.of(small("qmix", scheduler="gate"))
    with pytest.raises(ConfigError, match=r"buffer=4 is less than num_envs=6"):
        Training.of(small("iql:buffer=4,batch=2"))
    with pytest.raises(ConfigError, match=r"expected a policy with EpsilonGreedy actions .* got Categorical"):
        PQN(Training.of(small(PPOConfig(minibatches=2))).policy)
    with pytest.raises(ConfigError, match=r"learner\.epsilon must be within"):
        PQNConfig(epsilon=1.5)


@pytest.mark.parametrize(
    ("learner", "setting"),
    [("pqn:minibatches=1", "algo mappo"), ("coma", "critic observation"), ("maddpg:buffer=9,batch=1", "critic graph")],
)
def test_a_critic_that_nobody_would_ask_is_refused(
    learner: str, setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, value = setting.split()
    words = [
        "train",
        "relay",
        "--num-envs",
        "4",
        "--learner",
        learner,
        f"--{name}",
        value,
        "--out",
        str(tmp_path / "r"),
    ]
    assert main([*words, "--out", str(tmp_path / "r")]) == 78
    name = learner.partition(":")[0]
    assert f"with the learner {name}, which has a critic of its own, got {value!r}" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("mixer", ["qmix:embed=0", "qmix:hyper=1000000", "qplex:heads=0", "graph:rounds=-1"])
def test_sizes_of_a_mixer_have_bounds(mixer: str) -> None:
    setting = mixer.partition(":")[2].partition("=")[0]
    with pytest.raises(ConfigError, match=rf"{setting} must be a whole number from 1 to"):
        Training.of(small(PQNConfig(mixer=mixer, minibatches=1)))


def test_a_gate_that_samples_is_learned_beside_the_values() -> None:
    training = Training.of(small(PQNConfig(minibatches=1, epochs=1, mixer="vdn"), scheduler="gate"))
    before = {name: value.clone() for name, value in training.policy.scheduler.named_parameters()}
    metrics = training.advance()
    assert {"choice_loss", "baseline_loss", "entropy", "q_loss"} <= metrics.keys()
    assert all(not value.equal(before[name]) for name, value in training.policy.scheduler.named_parameters())


def test_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, stopped and resumed is trained at once; measured over another channel."""
    monkeypatch.chdir(tmp_path)
    words = (
        "train relay --num-envs 4 --rollout 2 --hidden 8 --episodes 0 --learner qmix:buffer=9,batch=4,gradient_steps=2"
    )
    assert main([*words.split(), "--learner.epsilon-steps", "20", "--steps", "48", "--out", "whole"]) == 0
    assert main([*words.split(), "--learner.epsilon-steps", "20", "--steps", "24", "--out", "half"]) == 0
    assert main(["resume", "half", "--steps", "48", "--episodes", "0"]) == 0
    whole, half = (load(run).policy for run in ("whole", "half"))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, half.state_dict()[name]), name
    assert not whole.actor.weight.equal(Training.of(config_of("whole")).policy.actor.weight)  # type: ignore[union-attr, operator, arg-type]
    assert main(["eval", "half", "--episodes", "4", "--channel", "loss:p=0.5"]) == 0
    assert "trained" in capsys.readouterr().out
