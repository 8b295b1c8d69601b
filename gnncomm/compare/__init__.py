"""Methods beside each other: over seeds, on the same episodes, with what so few seeds can tell."""

from gnncomm.compare.comparison import Comparison, Method, compare
from gnncomm.compare.groups import Group, Run, find, grouped
from gnncomm.compare.outcomes import Kept, keep, read
from gnncomm.compare.statistics import (
    Test,
    bootstrap,
    detectable,
    holm,
    iqm,
    paired_test,
    probability_of_improvement,
    unpaired_test,
)

__all__ = [
    "Comparison",
    "Group",
    "Kept",
    "Method",
    "Run",
    "Test",
    "bootstrap",
    "compare",
    "detectable",
    "find",
    "grouped",
    "holm",
    "iqm",
    "keep",
    "paired_test",
    "probability_of_improvement",
    "read",
    "unpaired_test",
]
