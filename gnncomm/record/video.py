"""``episode_video``: an episode as a film."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gnncomm.errors import ConfigError
from gnncomm.record.episode import Episode
from gnncomm.record.figure import require_extra


def episode_video(episode: Episode, path: str | Path, seconds_per_step: float = 0.5) -> Path:
    """Draw every state with the messages sent in it, and write them as a film.

    Args:
        path: ``.mp4`` (H.264) or ``.gif``.
        seconds_per_step: how long each state stands; the last stands three times as long.

    Raises:
        MissingExtraError: a package of ``gnncomm[viz]`` is not installed.
        ConfigError: another suffix, or a duration that is not positive.
    """
    path = Path(path)
    if path.suffix.lower() not in (".mp4", ".gif"):
        raise ConfigError(f"Expected a video path that ends in .mp4 or .gif, got {str(path)!r}.")
    if not seconds_per_step > 0:
        raise ConfigError(f"Expected seconds_per_step > 0, got {seconds_per_step}.")
    for module in ("matplotlib", "PIL", "imageio_ffmpeg"):
        require_extra(module)
    from gnncomm.record.drawing.film import pictures

    write = _write_gif if path.suffix.lower() == ".gif" else _write_mp4
    write(path, pictures(episode), seconds_per_step)
    return path


def _write_gif(path: Path, pictures: Iterator[NDArray[np.uint8]], seconds: float) -> None:
    from PIL import Image

    images = [Image.fromarray(picture) for picture in pictures]
    durations = [round(1000 * seconds)] * (len(images) - 1) + [round(3000 * seconds)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations, loop=0)


def _write_mp4(path: Path, pictures: Iterator[NDArray[np.uint8]], seconds: float) -> None:
    import imageio_ffmpeg  # type: ignore[import-untyped]  # has no stubs

    first = next(pictures)
    height, width, _ = first.shape
    writer = imageio_ffmpeg.write_frames(str(path), (width, height), fps=1 / seconds, macro_block_size=16)
    writer.send(None)
    try:
        last = first
        writer.send(first)
        for last in pictures:
            writer.send(last)
        for _ in range(2):
            writer.send(last)
    finally:
        writer.close()
