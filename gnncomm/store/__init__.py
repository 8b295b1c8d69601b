"""Run directories, checkpoints and configurations: what is on disk is whole, verified, and never executed."""

from gnncomm.config import from_json, to_json
from gnncomm.store import sealed
from gnncomm.store.checkpoint import (
    Checkpoint,
    Rejected,
    latest_checkpoint,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from gnncomm.store.config import read_data, read_json, write_json_atomic
from gnncomm.store.loggers import CsvLogger, Logger
from gnncomm.store.manifest import package_versions
from gnncomm.store.metrics import MetricsLog
from gnncomm.store.paths import safe_run_path
from gnncomm.store.run import RunDir
from gnncomm.store.tensors import require_finite, require_match

__all__ = [
    "Checkpoint",
    "CsvLogger",
    "Logger",
    "MetricsLog",
    "Rejected",
    "RunDir",
    "from_json",
    "latest_checkpoint",
    "list_checkpoints",
    "load_checkpoint",
    "package_versions",
    "read_data",
    "read_json",
    "require_finite",
    "require_match",
    "safe_run_path",
    "save_checkpoint",
    "sealed",
    "to_json",
    "write_json_atomic",
]
