"""Films: one picture for each state, in a file that players read."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image

import envs
from gnncomm.errors import ConfigError
from gnncomm.layers import AttentionComm
from gnncomm.policy import CommPolicy
from gnncomm.record import Episode, episode_video, record
from gnncomm.record.drawing.film import HEIGHT, WIDTH, pictures


@pytest.fixture(scope="module")
def episode() -> Episode:
    torch.manual_seed(0)
    env = envs.make("predator_prey", num_envs=1, max_steps=3)
    return record(CommPolicy(env.obs_dim, env.num_actions, AttentionComm(16, 16)), env, greedy=False)


def test_one_picture_for_each_state(episode: Episode) -> None:
    drawn = list(pictures(episode))
    assert len(drawn) == episode.length + 1
    assert {picture.shape for picture in drawn} == {(HEIGHT, WIDTH, 3)}
    assert all((one != other).any() for one, other in pairwise(drawn))


def test_gif(episode: Episode, tmp_path: Path) -> None:
    with Image.open(episode_video(episode, tmp_path / "episode.gif", 0.2)) as image:
        assert image.n_frames == episode.length + 1  # type: ignore[attr-defined]  # of GIF images
        assert image.size == (WIDTH, HEIGHT)


def test_mp4(episode: Episode, tmp_path: Path) -> None:
    path = episode_video(episode, tmp_path / "episode.mp4", 0.5)
    reader = imageio_ffmpeg.read_frames(str(path))
    head = next(reader)
    frames = [np.frombuffer(frame, np.uint8).reshape(HEIGHT, WIDTH, 3) for frame in reader]
    assert head["size"] == (WIDTH, HEIGHT)
    assert head["fps"] == pytest.approx(2.0)
    assert len(frames) == episode.length + 3  # the last state three times
    first = next(pictures(episode))
    assert np.abs(frames[0].astype(int) - first).mean() < 6


def test_bad_requests(episode: Episode, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mp4"):
        episode_video(episode, tmp_path / "episode.avi")
    with pytest.raises(ConfigError, match="seconds_per_step"):
        episode_video(episode, tmp_path / "episode.gif", 0.0)
