"""``episode_video``: an episode as a film."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gnncomm.errors import ConfigError, GnnCommError, require_extra
from gnncomm.recording.episode import Episode
from gnncomm.recording.figure import require_drawable


class VideoError(GnnCommError, OSError):
    """The film could not be written."""

    exit_code = 74


def episode_video(episode: Episode, path: str | Path, seconds_per_step: float = 0.5) -> Path:
    """Draw every state, where agents came from, and the messages sent in it, and write them as a film.

    Args:
        path: ``.mp4`` (H.264) or ``.gif``.
        seconds_per_step: how long each state stands; the last stands three times as long.

    Raises:
        MissingExtraError: a package of ``gnncomm[viz]`` is not installed.
        ConfigError: another suffix, or a duration that is not positive.
        VideoError: ffmpeg cannot write there.
    """
    path = Path(path)
    if path.suffix.lower() not in (".mp4", ".gif"):
        raise ConfigError(f"Expected a video path that ends in .mp4 or .gif, got {str(path)!r}.")
    if not seconds_per_step > 0:
        raise ConfigError(f"Expected seconds_per_step > 0, got {seconds_per_step}.")
    for module in ("matplotlib", "PIL", "imageio_ffmpeg"):
        require_extra(module)
    require_drawable(episode)
    from gnncomm.recording.drawing.film import pictures

    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    write(path, pictures(episode), seconds_per_step)
    return path


def _write_gif(path: Path, pictures: Iterator[NDArray[np.uint8]], seconds: float) -> None:
    from PIL import Image

    images = [Image.fromarray(picture).quantize() for picture in pictures]  # a byte for each point
    durations = [round(1000 * seconds)] * (len(images) - 1) + [round(3000 * seconds)]
    try:
        images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)
    except OSError as error:
        raise VideoError(f"Could not write {path}: {error}.") from error


def _write_mp4(path: Path, pictures: Iterator[NDArray[np.uint8]], seconds: float) -> None:
    """One picture after the other goes to ffmpeg, so that a long episode takes no more memory than a short one."""
    from imageio_ffmpeg import get_ffmpeg_exe  # type: ignore[import-untyped]  # has no stubs

    first = next(pictures)
    height, width, _ = first.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(1 / seconds), "-i", "pipe:"]
    codec = ["-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    command = [get_ffmpeg_exe(), "-loglevel", "error", "-y", *raw, *codec, str(path.absolute())]
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said) as ffmpeg:
        assert ffmpeg.stdin is not None  # a pipe
        with contextlib.suppress(BrokenPipeError):  # it ended, and says why
            picture = first
            for picture in itertools.chain([first], pictures):
                ffmpeg.stdin.write(picture.tobytes())
            ffmpeg.stdin.write(2 * picture.tobytes())
        with contextlib.suppress(BrokenPipeError):
            ffmpeg.stdin.close()
        if ffmpeg.wait():
            said.seek(0)
            why = said.read().decode(errors="replace").strip()[-300:]
            raise VideoError(f"ffmpeg could not write {path}: {why}")
