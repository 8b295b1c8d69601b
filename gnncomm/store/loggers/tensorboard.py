"""TensorBoard: what a run logs, as event files in its own directory."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnncomm.errors import require_extra
from gnncomm.store.files import require_unlinked
from gnncomm.store.metrics import MetricValue

if TYPE_CHECKING:
    from torch.utils.tensorboard import FileWriter, SummaryWriter

FOLDER = "tensorboard"
_RESULTS = ("success", "return", "length", "eval_success", "eval_return", "eval_length")
"""What the table of hyperparameters shows beside the settings: the newest of each."""


class TensorBoardLogger:
    """Event files in ``RUN/tensorboard``: a curve of each metric, the settings, and afterwards results and figure.

    Look with ``tensorboard --logdir runs``. A training that goes on again writes another file, which tells TensorBoard
    what of the earlier ones holds no more.

    Args:
        folder: the run directory.
        config: its settings, by dotted path.

    Raises:
        MissingExtraError: TensorBoard is not installed (``gnncomm[tensorboard]``).
    """

    def __init__(self, folder: str | Path, config: Mapping[str, Any] | None = None) -> None:
        require_extra("tensorboard", "tensorboard")
        self.folder, self.config = Path(folder) / FOLDER, dict(config or {})
        self._writer: SummaryWriter | None = None

    def log(self, step: int, metrics: Mapping[str, MetricValue]) -> None:
        writer = self._open()
        for name, value in metrics.items():
            if isinstance(value, (bool, int, float)) and math.isfinite(value):
                writer.add_scalar(name, value, step)
        writer.flush()  # before the checkpoint of this step is written, after which it will not be logged again

    def rewind(self, step: int) -> None:
        if not step:
            self._clear()
        writer = self._open(purge=step + 1)
        if not step:
            self._describe(writer)

    def conclude(self, step: int, results: Mapping[str, float], figures: Mapping[str, Path]) -> None:
        writer = self._open(purge=step + 1)  # what was concluded at a step is shown once
        for name, value in results.items():
            writer.add_scalar(f"result/{name}", value, step)
        for name, path in figures.items():
            self._add_png(writer, name, path.read_bytes(), step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, purge: int | None = None) -> SummaryWriter:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            require_unlinked(self.folder)
            self._writer = SummaryWriter(str(self.folder), purge_step=purge)
        return self._writer

    def _clear(self) -> None:
        """Another training begins here: the event files of the one before it go."""
        require_unlinked(self.folder)
        for file in self.folder.glob("events.out.tfevents.*"):
            file.unlink()

    def _describe(self, writer: SummaryWriter) -> None:
        from torch.utils.tensorboard.summary import hparams

        text = json.dumps({name: _plain(value) for name, value in self.config.items()}, indent=1)
        writer.add_text("config", "\n".join(f"    {line}" for line in text.splitlines()), 0)
        settings = {name: _plain(value) for name, value in self.config.items()}
        for summary in hparams(settings, dict.fromkeys(_RESULTS, 0.0)):
            _files_of(writer).add_summary(summary, 0)

    @staticmethod
    def _add_png(writer: SummaryWriter, name: str, raw: bytes, step: int) -> None:
        """As it is: no other package decodes and encodes it again."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        width, height = struct.unpack(">II", raw[16:24])  # of its header
        image = Summary.Image(encoded_image_string=raw, width=width, height=height, colorspace=4)
        _files_of(writer).add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)

    def __repr__(self) -> str:
        return f"TensorBoardLogger({str(self.folder)!r})"


def _files_of(writer: SummaryWriter) -> FileWriter:
    files: FileWriter = vars(writer)["file_writer"]  # torch's types say that it is None
    return files


def _plain(value: Any) -> bool | int | float | str:
    return value if isinstance(value, (bool, int, float, str)) else json.dumps(value, default=dict)
