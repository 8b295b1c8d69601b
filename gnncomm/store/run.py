"""A run directory: ``config.json``, ``metrics.jsonl``, ``checkpoints/step_<n>/`` and ``run.lock``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from torch import Tensor

from gnncomm.config import from_json, to_json
from gnncomm.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointVersionError,
    ConfigError,
    RunExistsError,
    StateError,
    UnsafeContentError,
    did_you_mean,
)
from gnncomm.store import checkpoint as checkpoints
from gnncomm.store import sealed, strict_json
from gnncomm.store.checkpoint import CHECKPOINTS, Checkpoint, Rejected
from gnncomm.store.files import (
    EX_IOERR,
    EX_NOINPUT,
    read_regular,
    require_directory,
    sweep,
    with_exit_code,
    write_atomic,
    write_error,
)
from gnncomm.store.lock import RunLock
from gnncomm.store.manifest import package_versions
from gnncomm.store.metrics import MetricsLog, MetricValue
from gnncomm.store.paths import safe_run_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ConfigT = TypeVar("ConfigT", bound="DataclassInstance")

CONFIG_NAME = "config.json"
METRICS_NAME = "metrics.jsonl"
LOCK_NAME = "run.lock"
KIND = "gnncomm.run"
FORMAT_VERSION, READABLE = 3, (2, 3)
"""2: ``config.json`` and the lines of ``metrics.jsonl`` carry hashes; a checkpoint holds the sizes of its policy.
3: the configuration is a tree; that of version 2 is still read."""
_POSITION = "metrics_position"
_SELF = "config_sha256"
_MAX_CONFIG_BYTES = 1 << 20


class RunDir:
    """One run on disk, open for reading, or held by this process for writing. Use it in a ``with`` statement."""

    def __init__(self, path: Path, lock: RunLock | None) -> None:
        self.path = path
        self._lock = lock
        self._log = MetricsLog(path / METRICS_NAME)

    @classmethod
    def create(cls, path: str | Path, config: DataclassInstance | Mapping[str, Any], overwrite: bool = False) -> Self:
        """Begin a run and hold it for writing.

        Args:
            path: see ``safe_run_path``; an empty directory may exist there.
            config: what the run is about; stored in ``config.json``.
            overwrite: remove config, metrics and checkpoints of a run that is there. Other files stay.

        Raises:
            RunExistsError: something is there already; nothing is touched.
            RunLockedError: another process writes there.
            UnsafePathError, ConfigError: see ``safe_run_path`` and ``to_json``.
        """
        path = safe_run_path(path)
        raw = _sealed(config)
        taken = _is_taken(path)
        if taken and not (overwrite and (path / CONFIG_NAME).exists()):
            _refuse_taken(path)
        if taken:
            _read_envelope(path)  # only what gnncomm wrote is ever removed
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path, RunLock(path / LOCK_NAME))
        try:
            if not overwrite and _is_taken(path):
                _refuse_taken(path)  # another process was faster
            run._clear()
            write_atomic(path / CONFIG_NAME, raw)
            (path / CHECKPOINTS).mkdir()  # from now on a run without it has lost it
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def open(cls, path: str | Path, write: bool = False) -> Self:
        """An existing run: for reading (also while another process writes), or held for writing to resume it.

        Raises:
            CheckpointError: no run at ``path`` (exit code 66).
            CheckpointVersionError: a run of another format version, or no run of gnncomm.
            RunLockedError: ``write`` while another process writes there.
            UnsafePathError: see ``safe_run_path``.
        """
        path = safe_run_path(path, parents=not write)
        if not path.is_dir():
            names = [entry.name for entry in path.parent.iterdir() if entry.is_dir()] if path.parent.is_dir() else []
            hint = did_you_mean(path.name, names) if names else f"{path.parent} holds no runs."
            raise with_exit_code(CheckpointError(f"There is no run at {path}. {hint}"), EX_NOINPUT)
        _read_envelope(path)
        if not write:
            return cls(path, None)
        run = cls(path, RunLock(path / LOCK_NAME))
        try:
            sweep(path, path / CHECKPOINTS)
            run._log.cut_torn_line()
        except BaseException:
            run.close()
            raise
        return run

    @overload
    def config(self) -> dict[str, Any]: ...

    @overload
    def config(self, cls: type[ConfigT]) -> ConfigT: ...

    def config(self, cls: type[ConfigT] | None = None) -> ConfigT | dict[str, Any]:
        """The configuration as a JSON object, or as an instance of ``cls``."""
        data: dict[str, Any] = _read_envelope(self.path)["config"]
        return data if cls is None else from_json(cls, data)

    def amend(self, config: DataclassInstance | Mapping[str, Any]) -> None:
        """Put another configuration in the place of the one that is there.

        Raises:
            ConfigError: see ``to_json``. StateError: the run is open for reading.
        """
        self._writer()
        write_atomic(self.path / CONFIG_NAME, _sealed(config))

    def log(self, metrics: Mapping[str, MetricValue]) -> None:
        """Append one line to ``metrics.jsonl``; see ``MetricsLog.append``."""
        self._writer()
        self._log.append(metrics)

    @property
    def metrics_position(self) -> int:
        """Bytes in ``metrics.jsonl``."""
        return self._log.position

    def truncate_metrics(self, position: int) -> None:
        """Forget the lines after ``position``; see ``MetricsLog.truncate``."""
        self._writer()
        self._log.truncate(position)

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of ``metrics.jsonl``; one that is being written just now is left out."""
        return self._log.read()

    def save(
        self,
        step: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        state: Mapping[str, Any],
        keep_last: int = 3,
        keep: Collection[int] = (),
    ) -> Path:
        """``save_checkpoint`` here, with ``metrics_position`` added to ``state``.

        Raises:
            RunLockedError: this process no longer holds the run.
            CheckpointError, NonFiniteError: see ``save_checkpoint``.
        """
        if _POSITION in state:
            raise CheckpointError(f"state: the key {_POSITION!r} is set by RunDir.save. Rename yours.")
        try:
            self._writer().require()
            self._log.flush()
        except OSError as error:
            raise write_error(self.path, error) from error
        return checkpoints.save_checkpoint(
            self.path, step, tensors, {**state, _POSITION: self.metrics_position}, keep_last, keep
        )

    def latest(
        self, accept: Callable[[Checkpoint], None] = lambda checkpoint: None
    ) -> tuple[Checkpoint, list[Rejected]]:
        """The newest good checkpoint and the newer ones passed over; see ``latest_checkpoint``."""
        return checkpoints.latest_checkpoint(self.path, accept=accept)

    def checkpoint(self, step: int) -> Checkpoint:
        """That of ``step``, verified.

        Raises:
            CheckpointError: it is not there (exit code 66), or damaged.
        """
        found = dict(checkpoints.list_checkpoints(self.path))
        if step not in found:
            known = ", ".join(map(str, found)) or "none"
            raise with_exit_code(
                CheckpointError(f"{self.path} has no checkpoint of step {step}: expected one of {known}."), EX_NOINPUT
            )
        return checkpoints.load_checkpoint(found[step])

    @property
    def has_lost_checkpoints(self) -> bool:
        """Whether the directory of the checkpoints is gone, which is made together with the run."""
        return not (self.path / CHECKPOINTS).exists()

    def rewind(self, checkpoint: Checkpoint | None) -> None:
        """Put the run where it stood when ``checkpoint`` was saved (None: at its beginning).

        Metrics logged later are cut off, newer checkpoints are renamed to ``set_aside_*``: the resumed run logs and
        saves these steps again.

        Raises:
            CheckpointCorruptError: ``metrics.jsonl`` is shorter than it was then.
            CheckpointError: the checkpoint was not saved by ``RunDir.save``.
        """
        position = 0 if checkpoint is None else checkpoint.state.get(_POSITION)
        if type(position) is not int:
            raise CheckpointError(
                f"{checkpoint and checkpoint.path}: expected {_POSITION!r} in its state. Use RunDir.save."
            )
        self.truncate_metrics(position)
        checkpoints.set_aside_after(self.path, -1 if checkpoint is None else checkpoint.step)

    def close(self) -> None:
        """Release the lock; writing needs ``RunDir.open(write=True)`` from then on."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"RunDir({str(self.path)!r}, {'writing' if self._lock else 'reading'})"

    def _writer(self) -> RunLock:
        if self._lock is None:
            raise StateError(f"{self.path} is open for reading. Open it with RunDir.open(path, write=True).")
        return self._lock

    def _clear(self) -> None:
        """Checkpoints first, config last: whatever a kill leaves is still a run that can be overwritten."""
        if os.path.lexists(self.path / CHECKPOINTS):
            require_directory(self.path / CHECKPOINTS)
            shutil.rmtree(self.path / CHECKPOINTS)
        (self.path / METRICS_NAME).unlink(missing_ok=True)
        sweep(self.path)


def _is_taken(path: Path) -> bool:
    """Anything but what a creation leaves that was killed before it wrote the config."""
    if not path.exists():
        return False
    return any(entry.name != LOCK_NAME and not entry.name.startswith(".tmp-") for entry in path.iterdir())


def _refuse_taken(path: Path) -> None:
    if (path / CONFIG_NAME).exists():
        raise RunExistsError(f"{path} holds a run already. Resume it, overwrite it, or choose another name.")
    raise RunExistsError(f"{path} is not empty and holds no run of gnncomm: it is not touched. Choose another name.")


def _sealed(config: DataclassInstance | Mapping[str, Any]) -> bytes:
    """``config.json``."""
    data = dict(config) if isinstance(config, Mapping) else to_json(config)
    envelope = {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "versions": dict(package_versions()),
        "config": data,
    }
    try:
        return sealed.seal(envelope, _SELF)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"config: {error}. Expected objects, lists, text, finite numbers and null.") from error


def _read_envelope(path: Path) -> dict[str, Any]:
    file = path / CONFIG_NAME
    try:
        raw = read_regular(file, _MAX_CONFIG_BYTES)
        envelope = strict_json.parse(raw)
    except FileNotFoundError as error:
        inside = sorted(file.parent for file in path.glob(f"*/{CONFIG_NAME}"))
        hint = f" Runs are inside it: name one of them, as {inside[0]}." if inside else ""
        message = f"{path} is not a run: it has no {CONFIG_NAME}.{hint}"
        raise with_exit_code(CheckpointError(message), EX_NOINPUT) from error
    except OSError as error:
        raise with_exit_code(CheckpointError(f"{file} cannot be read: {error.strerror}."), EX_IOERR) from error
    except strict_json.ForbiddenJsonError as error:
        raise UnsafeContentError(f"{file}: {error}. Refused.") from error
    except strict_json.MalformedJsonError as error:
        raise CheckpointCorruptError(f"{file} is damaged, or this is no run of gnncomm: {error}.") from error
    if not isinstance(envelope, dict) or not envelope.keys() & {_SELF, "kind"}:
        raise CheckpointVersionError(f"{file}: expected a run of gnncomm, got other JSON.")
    intact, version = sealed.is_sealed(raw, envelope, _SELF), envelope.get("format_version")
    known = type(version) is int and version in READABLE and envelope.get("kind") == KIND
    if not known and (intact or _SELF not in envelope):
        raise CheckpointVersionError(
            f"{file}: expected {KIND!r} of format version {FORMAT_VERSION}, got {str(envelope.get('kind'))[:80]!r} of "
            f"version {str(version)[:80]}. Load it with the version of gnncomm that wrote it."
        )
    if not intact:
        raise CheckpointCorruptError(
            f"{file} is damaged: it is not what was written. A run keeps its settings; for others begin a new one."
        )
    if not isinstance(envelope.get("config"), dict):
        raise UnsafeContentError(f"{file}: expected an object under 'config'. Refused.")
    return envelope
