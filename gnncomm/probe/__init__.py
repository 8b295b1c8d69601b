"""What do they say? Signalling, listening, and what can be read out of messages."""

from gnncomm.probe.figure import probe_figure
from gnncomm.probe.information import by_chance, codes, entropy, mutual_information, p_value
from gnncomm.probe.linear import principal_axes, read_out
from gnncomm.probe.measure import probe
from gnncomm.probe.report import Cell, Fact, Listening, ProbeReport, Said

__all__ = [
    "Cell",
    "Fact",
    "Listening",
    "ProbeReport",
    "Said",
    "by_chance",
    "codes",
    "entropy",
    "mutual_information",
    "p_value",
    "principal_axes",
    "probe",
    "probe_figure",
    "read_out",
]
