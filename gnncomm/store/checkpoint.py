"""Checkpoints that are whole or ignored, and that run no code when they are loaded.

``checkpoints/step_<n>/`` holds one safetensors file per group of tensors, ``state.json`` and ``manifest.json``. It is
written under another name, made durable, and then renamed to a name that did not exist: a kill at any moment leaves
either no ``step_<n>`` or all of it. Older ones are removed only after the new one was read back and verified.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from gnncomm.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointVersionError,
    ConfigError,
    GnnCommError,
    NonFiniteError,
    UnsafeContentError,
    UnsafePathError,
)
from gnncomm.store import manifest as manifests
from gnncomm.store import strict_json
from gnncomm.store import tensors as tensor_files
from gnncomm.store.files import (
    EX_IOERR,
    EX_NOINPUT,
    fsync_directory,
    read_regular,
    require_directory,
    scratch_name,
    with_exit_code,
    write_durable,
    write_error,
)
from gnncomm.store.manifest import STATE_NAME, TENSORS_SUFFIX, FileEntry, Manifest

CHECKPOINTS = "checkpoints"
MAX_CHECKPOINT_BYTES = 16 << 30
"""A checkpoint that claims more is refused unread."""

_STEP = re.compile(r"step_(0|[1-9][0-9]{0,17})")
_GROUP = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class Checkpoint:
    """What was saved at a step, verified."""

    path: Path
    step: int
    tensors: Mapping[str, dict[str, Tensor]]
    state: dict[str, Any]
    versions: Mapping[str, str]

    def group(self, name: str) -> dict[str, Tensor]:
        """The tensors of one group.

        Raises:
            CheckpointError: there is no such group.
        """
        if name not in self.tensors:
            raise CheckpointError(
                f"{self.path} holds no {name!r}: expected it beside {', '.join(sorted(self.tensors))}."
            )
        return self.tensors[name]


class Rejected(NamedTuple):
    """A checkpoint that was passed over."""

    path: Path
    reason: str


def save_checkpoint(
    directory: str | Path,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    keep_last: int = 3,
    keep: Collection[int] = (),
) -> Path:
    """Write ``directory/checkpoints/step_<step>``; the ``keep_last`` newest up to it stay, and those of steps ``keep``.

    Args:
        directory: the run directory; it must exist.
        step: a new one; saving the very same content again does nothing.
        tensors: group -> name -> tensor; ``{"model": ..., "optimizer": ...}`` gives one file per group.
        state: what is not a tensor: a JSON object (text keys, lists, finite numbers).

    Raises:
        NonFiniteError: NaN or infinity in the group ``model``; nothing is written.
        CheckpointError: content that cannot be stored, another checkpoint of this step, or (exit code 74) a disk
            that did not take it. Earlier checkpoints are as before in every case.
    """
    if type(step) is not int or not 0 <= step < 10**18:
        raise CheckpointError(f"Expected a step of at least 0, got {step!r}.")
    if type(keep_last) is not int or keep_last < 1:
        raise ConfigError(f"keep_last: expected an int of at least 1, got {keep_last!r}.")
    contents = _encode(tensors, state)
    manifest = Manifest(step, {name: FileEntry.of(raw) for name, raw in contents.items()}, manifests.package_versions())
    target = Path(directory) / CHECKPOINTS / f"step_{step}"
    try:
        if not _is_there(target, manifest):
            _write(target, contents | {manifests.NAME: manifest.to_bytes()})
        for _ in _verified(target, _read_manifest(target, MAX_CHECKPOINT_BYTES)):
            pass  # read back from disk before anything older may go
    except OSError as error:
        raise write_error(target, error) from error
    _prune(target.parent, step, keep_last, keep)
    return target


def load_checkpoint(path: str | Path, max_bytes: int = MAX_CHECKPOINT_BYTES) -> Checkpoint:
    """Read and verify one checkpoint directory. No content is executed, no file outside it is opened.

    Memory: about twice the size of the checkpoint, which must not exceed ``max_bytes``.

    Raises:
        CheckpointCorruptError: a file is missing or has other bytes than were written; names it.
        CheckpointVersionError: no manifest, or one of another format version or kind.
        CheckpointError: there is no checkpoint at ``path``.
        UnsafePathError: a symbolic link, FIFO or device in place of a file.
        UnsafeContentError: a manifest or header that points outside or claims impossible sizes.
        NonFiniteError: NaN or infinity in the group ``model``.
    """
    path = Path(path)
    manifest = _read_manifest(path, max_bytes)
    groups: dict[str, dict[str, Tensor]] = {}
    state: Any = None
    for file, raw in _verified(path, manifest):
        if file.name == STATE_NAME:
            state = _parse_state(raw, file)
        else:
            groups[file.name.removesuffix(TENSORS_SUFFIX)] = tensor_files.decode(raw, file)
    tensor_files.require_finite(groups.get("model", {}), f"{path}/model{TENSORS_SUFFIX}")
    return Checkpoint(path, manifest.step, groups, state, manifest.versions)


def latest_checkpoint(
    run_dir: str | Path,
    max_bytes: int = MAX_CHECKPOINT_BYTES,
    accept: Callable[[Checkpoint], None] = lambda checkpoint: None,
) -> tuple[Checkpoint, list[Rejected]]:
    """The newest good checkpoint of a run, and the newer ones that had to be passed over, each with the reason.

    Args:
        run_dir: the run.
        max_bytes: see ``load_checkpoint``.
        accept: looks at what the checkpoint means, after its bytes were verified: raises one of the errors below where
            it cannot be used, and the one before it is tried.

    Raises:
        CheckpointError: there is none; with reasons (a subclass where all have one), or with exit code 66 if none was
            ever saved.
    """
    rejected: list[Rejected] = []
    kinds: set[type[GnnCommError]] = set()
    for _, path in reversed(list_checkpoints(run_dir)):
        try:
            checkpoint = load_checkpoint(path, max_bytes)
            accept(checkpoint)
            return checkpoint, rejected
        except (CheckpointError, UnsafePathError, NonFiniteError) as error:
            rejected.append(Rejected(path, str(error)))
            kinds.add(type(error))
    if not rejected:
        raise with_exit_code(CheckpointError(f"{run_dir} has no checkpoint: none was saved yet."), EX_NOINPUT)
    reasons = " ".join(item.reason for item in rejected)
    kind = kinds.pop() if len(kinds) == 1 else CheckpointError
    raise (kind if issubclass(kind, CheckpointError) else CheckpointError)(
        f"{run_dir} has no usable checkpoint among {len(rejected)}. {reasons}"
    )


def list_checkpoints(run_dir: str | Path) -> list[tuple[int, Path]]:
    """Step and path of each checkpoint of a run, oldest first; none of them is opened."""
    parent = Path(run_dir) / CHECKPOINTS
    try:
        require_directory(parent)
    except FileNotFoundError:
        return []
    matches = [(_STEP.fullmatch(entry.name), entry) for entry in parent.iterdir()]
    return sorted((int(match[1]), entry) for match, entry in matches if match)


def set_aside_after(run_dir: str | Path, step: int) -> list[Path]:
    """Rename checkpoints newer than ``step`` to ``set_aside_*``, so that a resumed run can save these steps again."""
    moved: list[Path] = []
    for number, path in list_checkpoints(run_dir):
        if number > step:
            moved.append(path.with_name(scratch_name(f"set_aside_{path.name}")))
            os.rename(path, moved[-1])
    if moved:
        fsync_directory(moved[0].parent)
    return moved


def _encode(groups: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for group, named in groups.items():
        if not _GROUP.fullmatch(group):
            raise CheckpointError(f"Group {group!r}: expected lower-case letters, digits and '_', as in 'model'.")
        contents[group + TENSORS_SUFFIX] = tensor_files.encode(named, f"group {group!r}")
    tensor_files.require_finite(groups.get("model", {}), "Checkpoint not saved: group 'model'")
    try:
        raw = strict_json.dump(dict(state))
        again = strict_json.parse(raw)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"state: {error}. Expected text keys, lists, text, finite numbers and null.") from error
    if again != dict(state):
        raise CheckpointError("state would come back changed from JSON: use text as keys and lists, not tuples.")
    if len(raw) > manifests.MAX_STATE_BYTES:
        raise CheckpointError(f"state: expected at most {manifests.MAX_STATE_BYTES} bytes of JSON, got {len(raw)}.")
    return contents | {STATE_NAME: raw}


def _write(target: Path, contents: Mapping[str, bytes]) -> None:
    parent = target.parent
    if not parent.exists():
        parent.mkdir()
        fsync_directory(parent.parent)
    require_directory(parent)
    draft = parent / scratch_name()
    draft.mkdir()
    try:
        for name, raw in contents.items():
            write_durable(draft / name, raw)
        fsync_directory(draft)
        os.rename(draft, target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    fsync_directory(parent)


def _is_there(target: Path, manifest: Manifest) -> bool:
    if not os.path.lexists(target):
        return False
    try:
        same = _read_manifest(target, MAX_CHECKPOINT_BYTES).files == manifest.files
    except (CheckpointError, UnsafePathError):
        same = False
    if not same:
        raise CheckpointError(
            f"{target} exists and holds something else; a checkpoint is never replaced. "
            "Set it aside with RunDir.rewind, or use a new run directory."
        )
    return True


def _prune(parent: Path, step: int, keep_last: int, keep: Collection[int]) -> None:
    old = [(number, path) for number, path in list_checkpoints(parent.parent) if number <= step]
    for path in (path for number, path in old[:-keep_last] if number not in keep):
        rubbish = parent / scratch_name()
        try:
            os.rename(path, rubbish)  # a kill while deleting must not leave half a checkpoint under its name
            shutil.rmtree(rubbish)
        except OSError as error:
            message = f"Saved step {step}, but could not remove the older {path}: {error.strerror}. Remove it by hand."
            raise with_exit_code(CheckpointError(message), EX_IOERR) from error


def _read_manifest(path: Path, max_bytes: int) -> Manifest:
    file = path / manifests.NAME
    try:
        require_directory(path)
    except FileNotFoundError as error:
        raise with_exit_code(CheckpointError(f"There is no checkpoint at {path}."), EX_NOINPUT) from error
    except UnsafePathError as error:
        if path.is_symlink() or not path.is_file():
            raise
        raise CheckpointError(f"{path} is not a gnncomm checkpoint: expected a directory, got a file.") from error
    try:
        raw = read_regular(file, manifests.MAX_MANIFEST_BYTES)
    except FileNotFoundError as error:
        raise CheckpointVersionError(f"{path} is not a gnncomm checkpoint: it has no {manifests.NAME}.") from error
    except OSError as error:
        raise CheckpointCorruptError(f"{file} cannot be read: {error.strerror}.") from error
    manifest = manifests.parse_manifest(raw, file, max_bytes)
    match = _STEP.fullmatch(path.name)
    if match and int(match[1]) != manifest.step:
        raise CheckpointCorruptError(f"{file} is of step {manifest.step}, its directory says {match[1]}.")
    return manifest


def _verified(path: Path, manifest: Manifest) -> Iterator[tuple[Path, bytes]]:
    for name, entry in manifest.files.items():
        file = path / name
        try:
            raw = read_regular(file, entry.size)
        except FileNotFoundError as error:
            raise CheckpointCorruptError(f"{file} is missing.") from error
        except OSError as error:
            raise CheckpointCorruptError(f"{file} cannot be read: {error.strerror}.") from error
        except UnsafeContentError as error:
            raise CheckpointCorruptError(f"{file} is damaged: it is longer than its {entry.size} bytes.") from error
        entry.check(raw, file)
        yield file, raw


def _parse_state(raw: bytes, file: Path) -> dict[str, Any]:
    try:
        state = strict_json.parse(raw)
    except (strict_json.MalformedJsonError, strict_json.ForbiddenJsonError) as error:
        raise UnsafeContentError(f"{file}: {error}. Refused.") from error
    if not isinstance(state, dict):
        raise UnsafeContentError(f"{file}: expected a JSON object, got {type(state).__name__}. Refused.")
    return state
