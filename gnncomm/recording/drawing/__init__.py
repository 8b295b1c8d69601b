"""The parts of a picture. matplotlib is imported here first, so that the surroundings cannot spoil it."""

from gnncomm.recording.drawing.surroundings import import_matplotlib, plain

__all__ = ["plain"]

import_matplotlib()
