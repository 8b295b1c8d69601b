"""Dispatch and errors: one line on stderr, no traceback without ``--debug``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from gnncomm.cli import faults
from gnncomm.cli.output import Output, outputs
from gnncomm.errors import did_you_mean

COMMANDS = {
    "list": "what there is to choose from, with its parameters",
    "train": "train a team and show whether it uses its messages",
    "resume": "go on with a training that was stopped",
    "eval": "measure a trained team beside its controls",
    "compare": "compare methods over seeds, on the same episodes",
    "probe": "measure what messages say and what they change",
    "sweep": "search for settings, by many trainings",
    "replay": "record an episode of a trained team and draw it",
    "plot": "draw learning curves of runs side by side",
    "bench": "measure the speed of training on this machine",
    "completion": "print what a shell needs to complete all of this",
}
USAGE = (
    "usage: gnncomm COMMAND [options]\n\n"
    + "\n".join(f"  {name:10} {line}" for name, line in COMMANDS.items())
    + "\n\nOptions and examples: gnncomm COMMAND --help, or gnncomm help COMMAND. Version: gnncomm --version. With "
    "--debug an error\nshows its traceback. First: gnncomm train predator_prey --out first, then gnncomm replay first."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, see ``docs/command_line.md``.

    Any error is one line on stderr. ``--debug`` among the words, or ``GNNCOMM_DEBUG=1`` in the environment, raises it
    instead.
    """
    if "torch" not in sys.modules:
        # read when torch is loaded: threads that wait by turning take the processor from those that work, and with
        # other programs beside them an update takes 25 times as long
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or faults.wants_debug()
    words = [word for word in words if word != "--debug"]
    with outputs() as (out, err):
        return _shown(out, _run(words, debug, err))


def _run(words: list[str], debug: bool, err: Output) -> int:
    try:
        return _dispatch(words)
    except SystemExit as stop:  # the option parser ends with 0 after --help and 2 after an error
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return 130
    except (*faults.EXPECTED, *faults.UNEXPECTED) as error:
        if debug:
            raise
        return _tell(error, err)


def _tell(error: Exception, err: Output) -> int:
    line, code = faults.explain(error)
    err.write(f"error: {faults.one_line(line)}\n")
    return code


def _shown(out: Output, code: int) -> int:
    """``code``, or 74 where the work was done and its output could not be written; a reader that left is no error."""
    out.flush()
    if out.error is None or code or isinstance(out.error, BrokenPipeError):
        return code
    reason = getattr(out.error, "strerror", None) or out.error
    sys.stderr.write(f"error: {faults.one_line(f'standard output: {reason}')}\n")
    return faults.EX_IOERR


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(USAGE + "\n")
        return 0 if words else 2
    if words[0] == "help":
        words = [*words[1:2], "--help"]
        if len(words) == 1:
            return _dispatch(words)
    if words[0] == "--version":
        from gnncomm import __version__

        sys.stdout.write(f"gnncomm {__version__}\n")
        return 0
    name = words[0]
    if name not in COMMANDS:
        line = f"expected a command, got {name!r}. {did_you_mean(name, [*COMMANDS, 'help'])}"
        sys.stderr.write(f"error: {faults.one_line(line)}\n")
        return 2
    command: Callable[[list[str]], int] = importlib.import_module(f"gnncomm.cli.{name}").run
    return command(words[1:])
