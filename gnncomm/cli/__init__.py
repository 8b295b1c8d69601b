"""The command line: ``gnncomm list | train | eval | replay``."""

from gnncomm.cli.main import main

__all__ = ["main"]
