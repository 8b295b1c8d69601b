"""Dispatch and errors: one line on stderr, no traceback without ``--debug``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from gnncomm.errors import GnnCommError, did_you_mean

COMMANDS = {
    "list": "environments, layers, topologies, channels",
    "train": "train a team and show whether it uses its messages",
    "eval": "measure a trained team beside its controls",
    "replay": "record an episode of a trained team and draw it",
    "plot": "draw learning curves of runs side by side",
    "bench": "measure the speed of training on this machine",
}
USAGE = (
    "usage: gnncomm COMMAND [options]\n\n"
    + "\n".join(f"  {name:8} {line}" for name, line in COMMANDS.items())
    + "\n\nOptions of a command: gnncomm COMMAND --help. With --debug an error shows its traceback."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (2 usage, 130 and 143 after SIGINT and SIGTERM, see ``errors``)."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        return _dispatch(words)
    except GnnCommError as error:
        if debug:
            raise
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return error.exit_code
    except ModuleNotFoundError as error:
        if debug or (error.name or "").startswith(("gnncomm", "envs")):
            raise
        sys.stderr.write(f"error: this needs the package {error.name}: pip install 'gnncomm[viz]'\n")
        return 1
    except BrokenPipeError:
        # Whoever read our output is gone; keep the interpreter from complaining when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if debug:
            raise
        sys.stderr.write(f"error: {error.filename or 'input or output'}: {error.strerror or error}\n")
        return 74
    except SystemExit as stop:  # the option parser ends with 0 after --help and 2 after an error
        if isinstance(stop.__context__, BrokenPipeError):  # rich met it first, and ends so
            return 0
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return 130


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(USAGE + "\n")
        return 0 if words else 2
    if words[0] == "--version":
        from gnncomm import __version__

        sys.stdout.write(f"gnncomm {__version__}\n")
        return 0
    name = words[0]
    if name not in COMMANDS:
        sys.stderr.write(f"error: expected a command, got {name!r}. {did_you_mean(name, COMMANDS)}\n")
        return 2
    command: Callable[[list[str]], int] = importlib.import_module(f"gnncomm.cli.{name}").run
    return command(words[1:])
