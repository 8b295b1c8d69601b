"""Weights & Biases, offline unless the surroundings of the program say otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gnncomm.errors import require_extra
from gnncomm.store.files import require_unlinked
from gnncomm.store.loggers.marked import Marked, new_name


class WandbLogger(Marked):
    """Weights & Biases, as files in ``RUN/wandb``: ``wandb sync`` sends them, or ``WANDB_MODE=online`` at once.

    A configuration of somebody else's may name this logger; whether anything leaves the machine, your environment says.

    Args:
        folder: the run directory.
        config: its settings, by dotted path.
        project: what the runs belong to.

    Raises:
        MissingExtraError: wandb is not installed (``gnncomm[wandb]``).
    """

    def __init__(self, folder: str | Path, config: Mapping[str, Any] | None = None, project: str = "gnncomm") -> None:
        require_extra("wandb", "wandb")
        super().__init__(folder, "wandb.json", config)
        self.project = project
        self._run: Any = None

    def _begin(self, known: str) -> str:
        import wandb

        if self._run is None:
            require_unlinked(self.folder / "wandb")
            name, mode = known or new_name(), os.environ.get("WANDB_MODE", "offline")
            self._run = wandb.init(
                project=self.project,
                id=name,
                name=self.folder.name,
                dir=str(self.folder),
                config=self.config,
                mode=mode,
                resume="allow" if known and mode == "online" else None,
                reinit="create_new",
                settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
            )
        return str(self._run.id)

    def _send(self, step: int, metrics: Mapping[str, float]) -> None:
        self._run.log(dict(metrics), step=step)

    def _finish(self, step: int, results: Mapping[str, float], figures: Mapping[str, Path]) -> None:
        import wandb

        self._run.summary.update({f"result/{name}": value for name, value in results.items()})
        pictures = {name: wandb.Image(str(path)) for name, path in figures.items()}
        if pictures:
            self._run.log(pictures, step=step + 1)  # behind the last row, which is closed

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None
