"""The code that PyG writes for each class: the right one, and nothing left behind in the temporary directory."""

from __future__ import annotations

import linecache
import sys
from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Union, get_args

from torch_geometric.nn import MessagePassing


def forget_namesake(cls: type[MessagePassing]) -> None:
    """Before the first instance: PyG finds what it wrote by name, and would run a class of the same name (a notebook's
    cell that was run again) with what it wrote for the one before."""
    if "_jinja_propagate" not in vars(cls):
        for name in _names(cls):
            sys.modules.pop(name, None)


def name_unions(cls: type[MessagePassing]) -> None:
    """``Tensor | None`` in a hook, as PyG can read it: it writes types by their names, and this one has none."""
    for hook in ("message", "aggregate", "update", "edge_update"):
        hints = getattr(vars(cls).get(hook), "__annotations__", {})
        hints |= {name: Union[get_args(hint)] for name, hint in hints.items() if isinstance(hint, UnionType)}  # noqa: UP007  of which PyG knows the name


def remove_file(cls: type[MessagePassing]) -> None:
    """After the first instance: the file was read; what is in it stays for tracebacks and compilers."""
    for name in _names(cls):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is None or file in linecache.cache:
            continue
        lines = linecache.getlines(file)
        linecache.cache[file] = (sum(map(len, lines)), None, lines, file)  # no time: never checked against the disk
        with suppress(OSError):
            Path(file).unlink()


def _names(cls: type[MessagePassing]) -> list[str]:
    return [f"{cls.__module__}_{cls.__name__}_{kind}" for kind in ("propagate", "edge_updater")]
