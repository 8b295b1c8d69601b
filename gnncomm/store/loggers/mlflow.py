"""MLflow, in a database in the run directory unless the surroundings of the program name a server."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gnncomm.errors import require_extra
from gnncomm.store.files import require_unlinked
from gnncomm.store.loggers.marked import Marked

_AT_ONCE = 100
"""Parameters in one call; MLflow takes no more."""
_LONGEST = 500
"""Letters of a parameter; older servers take no more."""


class MlflowLogger(Marked):
    """MLflow, in ``RUN/mlflow.db`` and ``RUN/mlartifacts``, or on the server that ``MLFLOW_TRACKING_URI`` names.

    Look with ``mlflow ui --backend-store-uri sqlite:///runs/NAME/mlflow.db``.

    Args:
        folder: the run directory.
        config: its settings, by dotted path.
        experiment: what the runs belong to.

    Raises:
        MissingExtraError: MLflow is not installed (``gnncomm[mlflow]``).
    """

    def __init__(
        self, folder: str | Path, config: Mapping[str, Any] | None = None, experiment: str = "gnncomm"
    ) -> None:
        require_extra("mlflow", "mlflow")
        super().__init__(folder, "mlflow.json", config)
        self.experiment = experiment
        self._client: Any = None

    def _begin(self, known: str) -> str:
        if self._client is None:
            self._client = self._connect()
        if known:
            return known
        found = self._client.get_experiment_by_name(self.experiment)
        number = found.experiment_id if found is not None else self._create()
        run: str = self._client.create_run(number, run_name=self.folder.name).info.run_id
        self._describe(run)
        return run

    def _connect(self) -> Any:
        from mlflow import MlflowClient

        place = os.environ.get("MLFLOW_TRACKING_URI")
        if place is None:
            database = self.folder.resolve() / "mlflow.db"
            require_unlinked(database)
            place = f"sqlite:///{database}"
        return MlflowClient(place)

    def _create(self) -> str:
        own = None
        if "MLFLOW_TRACKING_URI" not in os.environ:
            artifacts = self.folder.resolve() / "mlartifacts"
            require_unlinked(artifacts)
            own = artifacts.as_uri()
        number: str = self._client.create_experiment(self.experiment, artifact_location=own)
        return number

    def _describe(self, run: str) -> None:
        from mlflow.entities import Param

        told = [Param(_name(name), str(value)[:_LONGEST]) for name, value in self.config.items()]
        for start in range(0, len(told), _AT_ONCE):
            self._client.log_batch(run, params=told[start : start + _AT_ONCE])

    def _send(self, step: int, metrics: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        rows = [Metric(_name(name), float(value), now, step) for name, value in metrics.items()]
        self._client.log_batch(self._id, metrics=rows)

    def _finish(self, step: int, results: Mapping[str, float], figures: Mapping[str, Path]) -> None:
        self._send(step, {f"result/{name}": value for name, value in results.items()})
        for path in figures.values():
            self._client.log_artifact(self._id, str(path))

    def close(self) -> None:
        if self._client is not None and self._id:
            self._client.set_terminated(self._id)
        self._client = None


def _name(name: str) -> str:
    """In letters that MLflow takes."""
    return re.sub(r"[^\w./ -]", "_", name)
