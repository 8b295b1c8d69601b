"""The command line: ``gnncomm list | train | eval | replay | plot | bench``."""

from gnncomm.cli.main import main

__all__ = ["main"]
