"""Proof without a GPU that a program asks its device nothing: then it runs ahead of it, and fits into a CUDA graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gnncomm.host import reads
from gnncomm.testing.law import LawError


@contextmanager
def no_host_reads() -> Iterator[None]:
    """Within, nothing may ask for a number, or for a shape that depends on numbers.

    Such are ``.item()``, ``bool(tensor)``, ``.tolist()``, ``.numpy()``, ``nonzero``, selections by a mask, ``unique``,
    tensors made of numbers of Python, and copies between devices. On a CPU the parts of gnncomm take the way of a GPU.

    Raises:
        LawError: at the end, with every question and where it was asked.
    """
    with reads() as found:
        yield
    if found.found:
        raise LawError("no host reads", f"expected no question to the device, got {found}. Choose by masks.")
