"""Fast forms of the layers: a whole round of communication with its derivative written out, for each layout."""

from gnncomm.layers.kernels.certain import is_untouched, record, remember, speaks_for
from gnncomm.layers.kernels.dense import DenseAttention, DenseMean
from gnncomm.layers.kernels.full import FullMean
from gnncomm.layers.kernels.gather import GatherAttention, GatherMean
from gnncomm.layers.kernels.round import Kernel, Linears, Round, fused_round, kernels_fit, plain_forms
from gnncomm.layers.kernels.segments import SegmentAttention, SegmentMean
from gnncomm.layers.kernels.shifts import ShiftAttention, ShiftMean

__all__ = [
    "DenseAttention",
    "DenseMean",
    "FullMean",
    "GatherAttention",
    "GatherMean",
    "Kernel",
    "Linears",
    "Round",
    "SegmentAttention",
    "SegmentMean",
    "ShiftAttention",
    "ShiftMean",
    "fused_round",
    "is_untouched",
    "kernels_fit",
    "plain_forms",
    "record",
    "remember",
    "speaks_for",
]
