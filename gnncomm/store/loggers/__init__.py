"""Where the metrics of a training go beside ``metrics.jsonl``, by name or as what a user writes."""

from typing import Any

from gnncomm.registry import Registry
from gnncomm.store.loggers.base import Concludes, Logger, Loggers
from gnncomm.store.loggers.mlflow import MlflowLogger
from gnncomm.store.loggers.table import Clock, CsvLogger
from gnncomm.store.loggers.tensorboard import TensorBoardLogger
from gnncomm.store.loggers.wandb import WandbLogger

LOGGERS: Registry[Any] = Registry(
    "logger",
    object,
    {"csv": CsvLogger, "mlflow": MlflowLogger, "tensorboard": TensorBoardLogger, "wandb": WandbLogger},
    sizes=("folder", "config"),
)
"""By name, made for a run directory and its settings: ``csv``, ``csv:file=table.csv``, ``wandb:project=mine``."""

__all__ = [
    "LOGGERS",
    "Clock",
    "Concludes",
    "CsvLogger",
    "Logger",
    "Loggers",
    "MlflowLogger",
    "TensorBoardLogger",
    "WandbLogger",
]
