"""The laws, for your own classes, too: ``check_layer``, ``check_policy``, ``check_env``, ``check_resume``; and for the
parts of a wire ``check_channel``, ``check_codec``, ``check_scheduler``.

Each runs a group of laws and raises ``LawError``, which names the law, the tensor and the agent. The single laws are
functions of the modules ``gnncomm.testing.layer``, ``policy``, ``env``, ``departed`` and ``resume``.
"""

from gnncomm.testing.channel import check_channel
from gnncomm.testing.codec import check_codec
from gnncomm.testing.departed import check_departed, check_masked_actions
from gnncomm.testing.env import check_env
from gnncomm.testing.host import no_host_reads
from gnncomm.testing.law import LawError
from gnncomm.testing.layer import check_layer
from gnncomm.testing.policy import check_policy
from gnncomm.testing.resume import check_resume
from gnncomm.testing.scheduler import check_scheduler

__all__ = [
    "LawError",
    "check_channel",
    "check_codec",
    "check_departed",
    "check_env",
    "check_layer",
    "check_masked_actions",
    "check_policy",
    "check_resume",
    "check_scheduler",
    "no_host_reads",
]
