"""What is recorded is what was decided: chances, values, bits, gates, symbols, and what got lost; within a limit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gnncomm import envs
from gnncomm.channel import Crashed, Delay, Jitter, Loss
from gnncomm.codec import Float16, GumbelSymbols, Quantise
from gnncomm.errors import ResourceError
from gnncomm.evaluation import Traffic
from gnncomm.layers import CommStack, MeanComm
from gnncomm.policy import GRU, CommPolicy, Decision, EpsilonGreedy, PolicyState, TanhGaussian
from gnncomm.recording import Episode, record
from gnncomm.recording.kept import ORDER, Kept
from gnncomm.schedule import EventTriggered, Gate, Request
from gnncomm.types import Box, TimeStep, VectorEnv
from gnncomm.wire import Wire

H, N, K, T = 8, 4, 2, 6
ENV = envs.make("predator_prey", num_envs=2, num_agents=N, max_steps=T)


def policy_for(env: VectorEnv, wire: Wire, **parts: object) -> CommPolicy:
    torch.manual_seed(3)
    comm = CommStack([MeanComm(H, H) for _ in range(K)], nn.Tanh(), residual=False)
    policy = CommPolicy(env.obs_dim, env.num_actions, comm, GRU(H), wire=wire, **parts)  # type: ignore[arg-type]
    for parameter in (*policy.scheduler.parameters(), *policy.comm.parameters(), *policy.actor.parameters()):
        nn.init.normal_(parameter)
    return policy


class Spied(CommPolicy):
    """Keeps what it decided."""

    seen: list[tuple[TimeStep, Decision]]

    def act(self, timestep: TimeStep, state: PolicyState, key: int | torch.Tensor | None = None) -> Decision:
        decision = super().act(timestep, state, key)
        self.seen.append((timestep, decision))
        return decision


def recorded(env: VectorEnv, wire: Wire, **parts: object) -> tuple[Episode, list[tuple[TimeStep, Decision]]]:
    policy = policy_for(env, wire, **parts)
    policy.__class__, policy.seen = Spied, []  # type: ignore[assignment]
    return record(policy, env, seed=1, greedy=False), policy.seen  # type: ignore[return-value]


JUNCTION = envs.make("traffic_junction", num_envs=1, max_steps=8)


@pytest.mark.parametrize("env", [ENV, JUNCTION], ids=["everyone lives", "cars come and go"])
def test_decisions_are_recorded_as_they_were_taken(env: VectorEnv) -> None:
    episode, seen = recorded(env, Wire(scheduler=Gate(H), codec=Quantise(3)))
    assert len(seen) == episode.length
    traffic, living = Traffic(policy_for(env, Wire()).comm), 0
    for t, (now, decision) in enumerate(seen):
        alive = now.alive[0].numpy()
        want = torch.softmax(decision.logits[0], -1).numpy() * alive[:, None]
        np.testing.assert_allclose(episode.chances[t], want, rtol=1e-5)  # type: ignore[index]
        np.testing.assert_array_equal(episode.values[t], decision.value[0].numpy() * alive)  # type: ignore[index]
        np.testing.assert_array_equal(episode.observations[t], now.obs[0].numpy() * alive[:, None])  # type: ignore
        for k in range(K):
            gate = decision.choice[0, :, k].numpy() == 1  # one choice in each round: whether to talk
            heard = alive & (alive.sum() > 1)
            np.testing.assert_array_equal(episode.spoke[t, k], gate & heard)  # type: ignore[index]
            np.testing.assert_array_equal(episode.bits[t, k], 3 * H * (gate & heard))  # type: ignore[index]
        traffic.count(decision.talk, now.alive, torch.arange(env.num_envs) == 0)
        living += int(alive.sum())
    assert episode.bits is not None
    assert episode.bits.sum() == pytest.approx(traffic.use().bits_per_agent_step * living)
    assert 0 < episode.bits.sum() < 3 * H * K * living


def test_the_bits_of_a_request_count_for_whoever_asks() -> None:
    """Four agents have names of two bits; what asks is no message."""
    episode, _ = recorded(ENV, Wire(scheduler=Request(H, N)))
    asked = np.zeros((episode.length, K, N))
    np.add.at(asked, tuple(episode.messages[:, [0, 1, 3]].T), 2.0)
    assert episode.bits is not None
    assert episode.spoke is not None
    np.testing.assert_array_equal(episode.bits, asked + 32 * H * episode.spoke)


def test_a_learner_of_values_takes_the_best_action() -> None:
    episode, seen = recorded(ENV, Wire(), actions=EpsilonGreedy(ENV.num_actions, 0.7), critic=None)
    best = torch.stack([decision.logits[0] for _, decision in seen]).argmax(-1)
    np.testing.assert_array_equal(episode.chances, nn.functional.one_hot(best, ENV.num_actions))
    np.testing.assert_array_equal(episode.actions, best)


def test_numbers_have_no_chances(tmp_path: Path) -> None:
    class Steered(type(ENV)):  # type: ignore[misc]
        """Takes the nearest whole number."""

        def step(self, action: torch.Tensor) -> TimeStep:
            return super().step(action[..., 0].round().long())  # type: ignore[no-any-return]

    env = Steered(num_envs=1, num_agents=N, max_steps=T)
    box = Box(((0.0,),) * N, ((4.0,),) * N)
    episode = record(policy_for(env, Wire(), actions=TanhGaussian(box)), env)
    assert episode.chances is None
    assert episode.left_out == ()
    assert episode.actions.shape == (episode.length, N, 1)
    assert Episode.load(episode.save(tmp_path / "numbers.npz")).chances is None


def pairs(steps: int) -> set[tuple[int, ...]]:
    """Everything that everyone could say to everyone."""
    every = np.indices((steps, K, N, N)).reshape(4, -1).T
    return {tuple(row) for row in every.tolist() if row[2] != row[3]}


@pytest.mark.parametrize("channel", [Loss(0.4), Crashed(2, at=1), Delay(2), Jitter(2), Jitter(2) + Loss(0.3)])
def test_what_was_let_go_arrives_or_is_lost_or_under_way(channel: Loss | Crashed | Delay | Jitter) -> None:
    """Each once. What is under way when the episode ends is neither."""
    episode, _ = recorded(ENV, Wire(channel=channel))
    assert episode.lost is not None
    assert episode.sent is not None
    arrived = [(int(t), *row[1:]) for t, row in zip(episode.sent, episode.messages.tolist(), strict=True)]
    lost = [tuple(row) for row in episode.lost.tolist()]
    assert len({*arrived, *lost}) == len(arrived) + len(lost)
    assert {*arrived, *lost} <= pairs(episode.length)
    settled = pairs(episode.length - channel.max_age)
    assert settled <= {*arrived, *lost}
    assert {*lost} <= settled
    assert bool(lost) == (type(channel) not in (Delay, Jitter))


def test_who_does_not_talk_or_listen_loses_nothing() -> None:
    episode, _ = recorded(ENV, Wire(scheduler=Gate(H, two_way=True)))
    assert episode.spoke is not None
    assert 0 < episode.spoke.sum() < episode.spoke.size
    assert episode.lost is not None
    assert not len(episode.lost)
    lossy, _ = recorded(ENV, Wire(scheduler=Gate(H), channel=Loss(0.5)))
    assert lossy.lost is not None
    step, number, sender, _ = lossy.lost.T
    assert len(step)
    assert lossy.spoke is not None
    assert lossy.spoke[step, number, sender].all()


@pytest.mark.parametrize("channel", [Loss(0.0), Delay(1), Jitter(1)])
def test_symbols_are_those_that_were_written(channel: Loss | Delay | Jitter) -> None:
    """Two symbols of four letters: of each four numbers that are read, the one that is 1."""
    episode, _ = recorded(ENV, Wire(codec=GumbelSymbols(4), channel=channel))
    assert episode.contents is not None
    np.testing.assert_array_equal(episode.symbols, episode.contents.reshape(-1, 2, 4).argmax(-1))
    assert len({*map(tuple, episode.symbols.tolist())}) > 1  # type: ignore[union-attr]


def test_what_was_not_written_at_a_known_step_has_no_symbols() -> None:
    scheduler = EventTriggered(1e9, timeout=100, fresh_limit=100)
    for channel, first in ((Loss(0.0), 0), (Delay(1), 1)):
        episode, _ = recorded(ENV, Wire(scheduler=scheduler, codec=Quantise(2), channel=channel))
        assert episode.symbols is not None
        assert episode.sent is not None
        new = episode.messages[:, 0] == first
        assert (episode.sent[new] == 0).all()
        assert (episode.sent[~new] == -1).all()
        assert (episode.symbols[new] >= 0).all()
        assert (episode.symbols[~new] == -1).all()


def test_numbers_that_are_written_as_they_are_are_no_symbols() -> None:
    for codec in (None, Float16()):
        assert recorded(ENV, Wire() if codec is None else Wire(codec=codec))[0].symbols is None


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda size: monkeypatch.setattr(Kept, "limit", size)


def bytes_of(episode: Episode, *names: str) -> int:
    return sum(getattr(episode, name).nbytes for name in names)


def test_what_does_not_fit_is_left_out_in_order(limit: Callable[[int], None], tmp_path: Path) -> None:
    wire = Wire(codec=Quantise(3), channel=Loss(0.2))
    whole, _ = recorded(ENV, wire)
    optional = [name for name in ORDER if getattr(whole, name) is not None]
    assert optional == [name for name in ORDER if name not in ("field", "pictures")]
    rows = ("messages", "sent", "weight")
    states = ("agents", "finished", "alive", "actions", "rewards")
    needed = bytes_of(whole, *rows, *states) + sum(
        array.nbytes for kind in (whole.entities, whole.active) for array in kind.values()
    )
    for gone in range(len(optional) + 1):
        limit(needed + bytes_of(whole, *optional[gone:]))
        episode, _ = recorded(ENV, wire)
        assert episode.left_out == tuple(optional[:gone])
        for name in optional:
            assert (getattr(episode, name) is None) == (name in episode.left_out)
        assert Episode.load(episode.save(tmp_path / "small.npz")).left_out == episode.left_out
    per_step = len(whole.weight) and bytes_of(whole, *rows) // len(whole.weight)
    in_step = np.bincount(whole.messages[:, 0], minlength=T)
    limit(needed - per_step * int(in_step[-1]) - 1)
    episode, _ = recorded(ENV, wire)
    assert episode.left_out == (*optional, "messages")
    np.testing.assert_array_equal(episode.messages, whole.messages[whole.messages[:, 0] < T - 2])
    limit(100)
    with pytest.raises(ResourceError, match="100 bytes"):
        recorded(ENV, wire)


def test_a_title_is_any_text(tmp_path: Path) -> None:
    title = "</script><img onerror=alert(1)>\u2028 $x$"
    episode = record(policy_for(ENV, Wire()), ENV, title=title)
    assert Episode.load(episode.save(tmp_path / "titled.npz")).title == title


def test_the_symbol_and_the_answer_of_relay_are_marks(tmp_path: Path) -> None:
    env = envs.make("relay", num_envs=1)
    recorded = record(policy_for(env, Wire()), env)
    episode = Episode.load(recorded.save(tmp_path / "relay.npz"))
    before, after = episode.marks["symbol"]
    assert episode.observations is not None
    symbol = int(episode.observations[0, 0, :8].argmax())
    assert before.tolist() == [symbol, -1, -1, -1]
    assert after.tolist() == [symbol, -1, -1, int(episode.actions[0, 3])]
    assert episode.success == (after[0] == after[3])
