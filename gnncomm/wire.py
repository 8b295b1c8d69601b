"""Everything between send and receive, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from gnncomm.channel import Channel, Ideal
from gnncomm.codec import Codec, Float32
from gnncomm.schedule import Always, Scheduler
from gnncomm.topology import Full, Topology


@dataclass(frozen=True)
class Wire:
    """Who could hear whom (topology), who does talk (scheduler), in what form (codec), over what medium (channel)."""

    topology: Topology = field(default_factory=Full)
    scheduler: Scheduler = field(default_factory=Always)
    codec: Codec = field(default_factory=Float32)
    channel: Channel = field(default_factory=Ideal)
