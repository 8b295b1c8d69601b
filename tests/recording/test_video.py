"""Films: one picture for each state, in a file that players read."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image

from gnncomm import envs
from gnncomm.errors import ConfigError
from gnncomm.layers import AttentionComm
from gnncomm.policy import CommPolicy
from gnncomm.recording import Episode, episode_video, record
from gnncomm.recording.drawing.film import HEIGHT, WIDTH, pictures
from gnncomm.recording.video import VideoError


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


def test_the_way_that_agents_came_is_seen(episode: Episode) -> None:
    """Within a state, the picture changes with the states before it."""
    elsewhere = episode.agents.copy()
    elsewhere[:2] = (elsewhere[:2] + 2) % 5
    moved = replace(episode, agents=elsewhere)
    *_, before = pictures(episode)
    *_, after = pictures(moved)
    assert (before != after).any()


def test_gif(episode: Episode, tmp_path: Path) -> None:
    with Image.open(episode_video(episode, tmp_path / "episode.gif", 0.2)) as image:
        assert image.n_frames == episode.length + 1  # type: ignore[attr-defined]  # of GIF images
        assert image.size == (WIDTH, HEIGHT)


def test_mp4(episode: Episode, tmp_path: Path) -> None:
    path = episode_video(episode, tmp_path / "episode.mp4", 0.5)
    command = [get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:"]
    read = subprocess.run(command, capture_output=True, check=True, timeout=60)
    frames = np.frombuffer(read.stdout, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
    assert b"2 fps" in read.stderr
    assert len(frames) == episode.length + 3  # the last state three times
    first = next(pictures(episode))
    assert np.abs(frames[0].astype(int) - first).mean() < 6


def test_an_mp4_that_cannot_be_written(episode: Episode, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="ffmpeg"):
        episode_video(episode, tmp_path / "nowhere" / "episode.mp4")


def test_bad_requests(episode: Episode, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mp4"):
        episode_video(episode, tmp_path / "episode.avi")
    with pytest.raises(ConfigError, match="seconds_per_step"):
        episode_video(episode, tmp_path / "episode.gif", 0.0)
