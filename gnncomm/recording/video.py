"""``episode_video``: an episode as a film."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gnncomm.errors import ConfigError, GnnCommError, require_extra
from gnncomm.recording.episode import Episode


class VideoError(GnnCommError, OSError):
    """The film could not be written."""

    exit_code = 74


def episode_video(episode: Episode, path: str | Path, seconds_per_step: float = 0.5) -> Path:
    """Draw every state with the messages sent in it, and write them as a film.

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
    from gnncomm.recording.drawing.film import pictures

    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    write(path, pictures(episode), seconds_per_step)
    return path


def _write_gif(path: Path, pictures: Iterator[NDArray[np.uint8]], seconds: float) -> None:
    from PIL import Image

    images = [Image.fromarray(picture) for picture in pictures]
    durations = [round(1000 * seconds)] * (len(images) - 1) + [round(3000 * seconds)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)


def _write_mp4(path: Path, pictures: Iterator[NDArray[np.uint8]], seconds: float) -> None:
    from imageio_ffmpeg import get_ffmpeg_exe  # type: ignore[import-untyped]  # has no stubs

    film = list(pictures)
    height, width, _ = film[0].shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(1 / seconds), "-i", "pipe:"]
    codec = ["-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    command = [get_ffmpeg_exe(), "-loglevel", "error", "-y", *raw, *codec, str(path.absolute())]
    frames = b"".join(picture.tobytes() for picture in [*film, film[-1], film[-1]])
    done = subprocess.run(command, input=frames, capture_output=True, check=False)
    if done.returncode:
        raise VideoError(f"ffmpeg could not write {path}: {done.stderr.decode(errors='replace').strip()[-300:]}")
