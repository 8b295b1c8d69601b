"""Every error a user can cause. Each message says what was expected, what was got, and what to do."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable


class GnnCommError(Exception):
    """Base of all errors raised on purpose; ``exit_code`` is what the command line returns for it."""

    exit_code = 1


class GraphError(GnnCommError, ValueError):
    """A communication graph that is not one: indices, shapes, weights, node order."""

    exit_code = 65


class ShapeError(GnnCommError, ValueError):
    """A tensor with the wrong axes; the message names them."""

    exit_code = 65


class DtypeError(GnnCommError, TypeError, ValueError):
    """A tensor of a type that is not cast silently."""

    exit_code = 65


class DeviceError(GnnCommError, ValueError):
    """A device that does not exist, or tensors on different devices."""

    exit_code = 78


class NonFiniteError(GnnCommError, ValueError):
    """NaN or infinity where a finite number is needed; names the tensor, environment and agent."""

    exit_code = 65


class ActionError(GnnCommError, ValueError):
    """An action that the environment cannot take."""

    exit_code = 65


class ActionMaskError(GnnCommError, ValueError):
    """An action mask that leaves an agent nothing to do, or is no mask."""

    exit_code = 65


class StateError(GnnCommError, RuntimeError):
    """A call at the wrong moment: step before reset, step after the end."""


class EnvContractError(GnnCommError, ValueError):
    """An environment that breaks the contract of ``gnncomm.types.VectorEnv``."""

    exit_code = 65


class ConfigError(GnnCommError, ValueError):
    """A setting that is unknown, of the wrong type or out of range."""

    exit_code = 78


class TrustError(GnnCommError, ValueError):
    """A file names code of another package, and nobody said that it may run."""

    exit_code = 77


class ResourceError(GnnCommError, MemoryError):
    """More memory than this machine has; nothing was taken yet."""

    exit_code = 71


class UnsafePathError(GnnCommError, ValueError):
    """A run name or path that would leave the run directory or that file systems disagree about."""

    exit_code = 73


class RunExistsError(GnnCommError, FileExistsError):
    """The run directory is taken and neither ``--resume`` nor ``--overwrite`` was given."""

    exit_code = 73


class RunLockedError(GnnCommError, RuntimeError):
    """Another living process writes to this run directory."""

    exit_code = 75


class CheckpointError(GnnCommError, ValueError):
    """A checkpoint that cannot be used."""

    exit_code = 65


class CheckpointCorruptError(CheckpointError):
    """A checkpoint whose bytes are not those that were written; names the file."""


class CheckpointVersionError(CheckpointError):
    """A checkpoint of another format version or kind."""


class CheckpointMismatchError(CheckpointError):
    """A checkpoint that does not fit what it is loaded into; lists old and new."""


class UnsafeContentError(CheckpointError):
    """A manifest that points outside its directory or claims impossible sizes."""


class MissingExtraError(GnnCommError, ImportError):
    """A package is needed that comes with an extra."""

    exit_code = 69


def require_extra(module: str, extra: str = "viz") -> None:
    """Refuse where ``module`` is not installed.

    Raises:
        MissingExtraError: names the extra that brings it.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(
            f"Expected the package {module!r}, which is not installed: pip install 'gnncomm[{extra}]'."
        )


def did_you_mean(name: str, known: Iterable[str], listed: Iterable[str] | None = None) -> str:
    """``Did you mean 'ring'?`` followed by all known names (or those ``listed``), to end an error message with."""
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    return f"{hint}Known: {', '.join(names if listed is None else sorted(listed))}."
