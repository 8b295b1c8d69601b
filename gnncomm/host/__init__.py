"""What the program may ask of a device: nothing, while it is to run ahead of it.

A GPU computes while Python goes on; a number that Python asks for (``.item()``, ``bool(tensor)``, ``nonzero``, a
selection by a mask) makes it wait, and a CUDA graph cannot hold such a question. So hot paths choose by masks, and what
they have to refuse they refuse once, after the work: ``refuse`` notes a flag, and ``pending`` asks for all flags in one
read. On a CPU asking is free, and shortens the work: there selections stay, and errors come at once.
"""

from gnncomm.host.asking import apart, at_hand, constant, is_tracing, may_ask, one_hot, quiet
from gnncomm.host.reads import Reads, asked, reads
from gnncomm.host.refusing import Pending, pending, refuse, refuse_unless_finite, waits

__all__ = [
    "Pending",
    "Reads",
    "apart",
    "asked",
    "at_hand",
    "constant",
    "is_tracing",
    "may_ask",
    "one_hot",
    "pending",
    "quiet",
    "reads",
    "refuse",
    "refuse_unless_finite",
    "waits",
]
