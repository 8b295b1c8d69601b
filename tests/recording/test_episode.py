"""Episodes: what is recorded is what happened; what is loaded is what was saved; what is broken is named."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gnncomm
from gnncomm import envs, random
from gnncomm.channel import Loss
from gnncomm.errors import GnnCommError, UnsafePathError
from gnncomm.layers import AttentionComm, CommStack, MeanComm
from gnncomm.policy import GRU, CommPolicy
from gnncomm.recording import Episode, EpisodeError, npz, record
from gnncomm.topology import Empty, Ring
from gnncomm.types import VectorEnv
from gnncomm.wire import Wire

SEED = random.seeds("record", 3, torch.arange(1))
"""Of the episode that ``record(seed=3)`` plays."""


def policy_for(env: VectorEnv, rounds: int = 1, wire: Wire | None = None) -> CommPolicy:
    torch.manual_seed(0)
    layers = [AttentionComm(16, 16, heads=2) for _ in range(rounds)]
    policy = CommPolicy(env.obs_dim, env.num_actions, CommStack(layers, nn.Tanh()), GRU(16), wire=wire)
    with torch.no_grad():
        policy.actor.weight.mul_(100)
    return policy


def prey_episode(**settings: Any) -> Episode:
    env = envs.make("predator_prey", num_envs=1)
    return record(policy_for(env, **settings), env, seed=3)


def test_the_recorded_trajectory_is_that_of_the_environment() -> None:
    """Playing the recorded actions again gives the recorded states and rewards."""
    episode = prey_episode()
    env = envs.make("predator_prey", num_envs=1)
    env.reset(seed=SEED)
    for t in range(episode.length + 1):
        scene = env.scene()
        np.testing.assert_array_equal(episode.agents[t], scene.agents[0])
        np.testing.assert_array_equal(episode.finished[t], scene.finished[0])
        np.testing.assert_array_equal(episode.entities["prey"][t], scene.entities["prey"][0])
        np.testing.assert_array_equal(episode.active["prey"][t], scene.active["prey"][0])
        if t < episode.length:
            after = env.step(torch.as_tensor(episode.actions[t : t + 1]))
            np.testing.assert_array_equal(episode.rewards[t], after.reward[0])
    assert bool(after.done[0])
    assert bool(after.success[0]) == episode.success
    assert episode.length == int(after.step[0])
    assert episode.size == (5, 5)
    assert json.loads(episode.config)["dim"] == 5


def test_returns_are_summed_over_time_and_averaged_over_agents() -> None:
    episode = prey_episode()
    assert episode.returns == pytest.approx(float(episode.rewards.sum()) / 3)
    assert -1.0 - 1e-6 <= episode.returns < 0.0


def test_environments_beside_it_change_nothing() -> None:
    """The first of many environments plays what it plays alone, also when others end earlier."""
    alone = prey_episode()
    many = envs.make("predator_prey", num_envs=16)
    assert_equal(record(policy_for(many), many, seed=3), alone, rtol=1e-5)  # products of more rows round otherwise


def test_the_field_is_kept() -> None:
    env = envs.make("chemical", num_envs=2, max_steps=5)
    episode = record(policy_for(env), env)
    assert episode.field is not None
    assert episode.field.shape == (6, 10, 10)
    assert (episode.field[0] > 0).any()


@pytest.mark.parametrize("rounds", [1, 2])
def test_the_attention_of_an_inbox_sums_to_one(rounds: int) -> None:
    episode = prey_episode(rounds=rounds)
    assert episode.attention
    assert episode.num_rounds == rounds
    assert len(episode.messages) == episode.length * rounds * 3 * 2
    inbox = np.zeros((episode.length, rounds, 3))
    np.add.at(inbox, tuple(episode.messages[:, [0, 1, 3]].T), episode.weight)
    np.testing.assert_allclose(inbox, 1.0, atol=1e-5)
    np.testing.assert_allclose(episode.attention_at(0).sum(0), 1.0, atol=1e-5)


def test_attention_is_that_of_the_layer() -> None:
    env = envs.make("predator_prey", num_envs=1)
    policy = policy_for(env)
    episode = record(policy, env, seed=3)
    decision = policy.act(env.reset(seed=SEED), policy.initial_state(1, 3))
    (sender, receiver), alpha = policy.comm.rounds[0].attention(decision.talk.rows[0], decision.talk.graphs[0])  # type: ignore[operator]
    expected = torch.zeros(3, 3)
    expected[sender, receiver] = alpha.mean(-1)
    np.testing.assert_allclose(episode.attention_at(0), expected.detach(), atol=1e-6)


def test_messages_follow_the_wire() -> None:
    ring = prey_episode(wire=Wire(Ring()))
    senders = {tuple(pair) for pair in ring.messages[:, 2:].tolist()}
    assert senders == {(0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2)}
    assert len(prey_episode(wire=Wire(Empty())).messages) == 0
    lossy = prey_episode(wire=Wire(channel=Loss(0.5)))
    assert 0 < len(lossy.messages) < lossy.length * 6


def test_layers_without_attention_weigh_one() -> None:
    env = envs.make("relay", num_envs=1)
    episode = record(CommPolicy(env.obs_dim, env.num_actions, MeanComm(8, 8), GRU(8)), env)
    assert not episode.attention
    assert (episode.weight == 1).all()
    assert episode.length == 1


def test_sampled_actions_follow_the_seed() -> None:
    env = envs.make("predator_prey", num_envs=1)
    policy = policy_for(env)
    with torch.no_grad():
        policy.actor.weight.mul_(0.01)
    assert_equal(record(policy, env, seed=1, greedy=False), record(policy, env, seed=1, greedy=False))
    sampled, greedy = record(policy, env, seed=1, greedy=False), record(policy, env, seed=1)
    assert sampled.actions.tolist() != greedy.actions.tolist()


def test_the_package_is_the_function() -> None:
    env = envs.make("relay", num_envs=1)
    policy = policy_for(env)
    policy.train()
    assert isinstance(gnncomm.record(policy, env), Episode)
    assert isinstance(gnncomm.record(policy, env), Episode)
    assert policy.training


def assert_equal(a: Episode, b: Episode, rtol: float = 0.0) -> None:
    for item in fields(Episode):
        one, other = getattr(a, item.name), getattr(b, item.name)
        if isinstance(one, dict):
            assert one.keys() == other.keys()
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])
        elif isinstance(one, np.ndarray):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, rtol, rtol / 10)
        else:
            assert one == other, item.name


@pytest.fixture(scope="module")
def episode() -> Episode:
    return prey_episode()


@pytest.fixture
def saved(episode: Episode, tmp_path: Path) -> Path:
    return episode.save(tmp_path / "episode.npz")


def test_round_trip(episode: Episode, saved: Path, tmp_path: Path) -> None:
    assert_equal(Episode.load(saved), episode)
    assert episode.save(tmp_path / "again.npz").read_bytes() == saved.read_bytes()
    assert list(tmp_path.iterdir()) == sorted([saved, tmp_path / "again.npz"]) or len(list(tmp_path.iterdir())) == 2
    with np.load(saved, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["agents"], episode.agents)


def test_round_trip_with_a_field(tmp_path: Path) -> None:
    env = envs.make("chemical", num_envs=1, max_steps=4)
    episode = record(policy_for(env), env)
    assert_equal(Episode.load(episode.save(tmp_path / "chemical.npz")), episode)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_named(saved: Path, share: float) -> None:
    raw = saved.read_bytes()
    saved.write_bytes(raw[: int(share * len(raw))])
    with pytest.raises(EpisodeError, match=r"episode\.npz"):
        Episode.load(saved)


def test_flipped_bytes_never_pass_unseen(saved: Path, episode: Episode) -> None:
    """Every damage is either refused with our own error or hits bytes that mean nothing (times, flags of the zip)."""
    raw = bytearray(saved.read_bytes())
    refused = 0
    for position in range(0, len(raw), 7):
        damaged = raw.copy()
        damaged[position] ^= 0xFF
        saved.write_bytes(damaged)
        try:
            assert_equal(Episode.load(saved), episode)
        except GnnCommError:
            refused += 1
    assert refused > len(raw) / 7 / 2


def rewritten(path: Path, change: dict[str, Any]) -> Path:
    """The file with some arrays replaced, or dropped where None."""
    with np.load(path) as found:
        arrays = {name: found[name] for name in found.files} | change
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


@pytest.mark.parametrize("name", ["agents", "finished", "alive", "actions", "rewards", "messages", "weight", "head"])
def test_a_missing_array_is_named(saved: Path, name: str) -> None:
    with pytest.raises(EpisodeError, match=name):
        Episode.load(rewritten(saved, {name: None}))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("actions", np.zeros((2, 3), np.int32), "states"),
        ("agents", np.zeros((3, 3, 2), np.float32), "agents"),
        ("extra", np.zeros(3), "extra"),
        ("finished", np.zeros((1, 0), np.bool_), "states"),
        ("weight", np.full(3, np.nan, np.float32), "messages|weight"),
        ("entity0", np.zeros((1, 1, 2), np.float32), "prey"),
        ("field", np.zeros((1, 5, 5), np.float32), "field"),
        ("head", np.zeros(3, np.uint8), "head"),
        ("sent", np.zeros(3, np.int64), "sent"),
        ("contents", np.zeros((3, 5), np.float32), "contents"),
        ("symbols", np.zeros(3, np.int64), "symbols"),
        ("observations", np.zeros((1, 3, 5), np.float64), "observations"),
        ("chances", np.zeros((1, 3), np.float32), "chances"),
        ("values", np.full((1, 3), np.inf, np.float32), "values"),
        ("spoke", np.zeros((1, 1, 2), np.bool_), "spoke"),
        ("bits", np.zeros((1, 1, 2), np.float32), "bits"),
        ("lost", np.full((2, 4), 77), "lost"),
        ("actions", np.array([{"a": 1}], dtype=object), "actions"),
        ("actions", np.array(["left"]), "plain numbers"),
    ],
)
def test_a_wrong_array_is_named(saved: Path, name: str, value: Any, words: str) -> None:
    with pytest.raises(EpisodeError, match=words):
        Episode.load(rewritten(saved, {name: value}))


SINCE_3 = dict.fromkeys(["symbols", "observations", "chances", "values", "spoke", "bits", "lost"])
OLD = {2: SINCE_3, 1: SINCE_3 | {"sent": None, "contents": None}}


@pytest.mark.parametrize("version", OLD)
def test_files_of_older_versions_are_still_read(saved: Path, episode: Episode, version: int) -> None:
    with np.load(saved) as found:
        head = json.loads(found["head"].tobytes()) | {"version": version}
    for name in ("action_names", "title", "left_out", "marks"):
        del head[name]
    old = rewritten(saved, OLD[version] | {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)})
    assert_equal(Episode.load(old), replace(episode, **OLD[version], action_names=()))


class _Bomb:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("the file was unpickled",))


def test_a_pickle_is_not_opened(saved: Path) -> None:
    with pytest.raises(EpisodeError, match="not opened"):
        Episode.load(rewritten(saved, {"actions": np.array([_Bomb()], dtype=object)}))


def test_a_header_that_lies_about_its_size(saved: Path) -> None:
    """A header that claims 8 TiB must not make the reader allocate them."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr("agents.npy", header.getvalue())
    with pytest.raises(EpisodeError, match="size"):
        Episode.load(saved)


def member(header: str, data: bytes = bytes(4)) -> bytes:
    """A ``.npy`` array of format 1.0 with any header."""
    raw = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + data


FLOAT = "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }\n"


@pytest.mark.parametrize(
    "header",
    [
        "(" * 3000,
        "-" * 9000 + "1",
        "{'descr':",
        "'''",
        "{[1]: 2}",
        FLOAT % "(True,)",
        FLOAT % "(-1, -1)",
        FLOAT % "(1L,)",
        FLOAT % "()" + " " * 9 + "x",
        (FLOAT % "(1,)").replace("<f4", "<f3"),
        (FLOAT % "(1,)").replace("<f4", "|O8"),
    ],
)
def test_a_header_is_matched_and_never_evaluated(saved: Path, header: str) -> None:
    """``ast.literal_eval``, by which numpy reads it, raises what it likes: TokenError, MemoryError, TypeError."""
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr("agents.npy", member(header))
    with pytest.raises(EpisodeError, match=r"episode\.npz"):
        Episode.load(saved)


def test_other_compression_is_refused_before_it_is_unpacked(saved: Path) -> None:
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("agents.npy", member(FLOAT % "(64,)", bytes(256)))
    raw = bytearray(saved.read_bytes())
    raw[60] ^= 0x55  # within the stream: LZMAError is none of zipfile's errors
    saved.write_bytes(raw)
    with pytest.raises(EpisodeError, match="compression"):
        Episode.load(saved)


@pytest.mark.parametrize("array", [np.arange(6, dtype=">i4").reshape(2, 3).T, np.zeros((), "?"), np.zeros((0, 2))])
def test_arrays_come_back_in_any_order_of_bytes_and_axes(array: np.ndarray[Any, Any]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, array=array)
    found = npz.read(buffer.getvalue(), 1000)["array"]
    np.testing.assert_array_equal(found, array, strict=True)


@pytest.mark.parametrize("key", ["format", "version", "env", "size", "entities"])
def test_a_wrong_head_is_named(saved: Path, key: str) -> None:
    with np.load(saved) as found:
        head = json.loads(found["head"].tobytes())
    for wrong in (None, 7, [1, "x"]):
        head[key] = wrong
        with pytest.raises(EpisodeError):
            Episode.load(rewritten(saved, {"head": np.frombuffer(json.dumps(head).encode(), np.uint8)}))


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Episode.load(tmp_path / "nothing.npz")
    with pytest.raises(UnsafePathError):
        Episode.load(tmp_path)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(EpisodeError, match=r"text\.npz"):
        Episode.load(tmp_path / "text.npz")


def test_parts_must_fit_each_other(episode: Episode) -> None:
    with pytest.raises(EpisodeError, match="rewards"):
        replace(episode, rewards=episode.rewards[1:])
    with pytest.raises(EpisodeError, match="finite numbers in rewards"):
        replace(episode, rewards=np.full_like(episode.rewards, np.nan))
    with pytest.raises(EpisodeError, match="sender < 3"):
        replace(episode, messages=episode.messages + 3)
    with pytest.raises(EpisodeError, match="sent"):
        replace(episode, sent=episode.messages[:, 0] + 1)
    with pytest.raises(EpisodeError, match="finite numbers in contents"):
        replace(episode, contents=np.full((len(episode.weight), 1), np.nan, np.float32))
    with pytest.raises(EpisodeError, match="size"):
        replace(episode, size=(0, 5))
    with pytest.raises(EpisodeError, match="active"):
        replace(episode, active={})
    with pytest.raises(EpisodeError, match="chances from 0 to"):
        replace(episode, chances=-np.ones_like(episode.chances))
    with pytest.raises(EpisodeError, match="left_out"):
        replace(episode, left_out=["contents"])
    with pytest.raises(EpisodeError, match="action_names"):
        replace(episode, action_names=("up", 3))
