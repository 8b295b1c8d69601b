"""Messages that are lost the more, the further they go."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.channel.base import Channel
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph, Edges
from gnncomm.random import normal
from gnncomm.types import Moment


@dataclass(frozen=True)
class PathLoss(Channel):
    r"""A radio link: log-distance path loss, log-normal shadowing, Rayleigh fading; received above a threshold.

    .. math::
        \overline{\mathrm{SNR}}_{ji} = \mathrm{snr} - 10\, n \log_{10} \frac{\max(d_{ji}, d_0)}{d_0} + X_{ji}
        \ [\mathrm{dB}], \qquad X_{ji} = X_{ij} \sim \mathcal{N}(0, \sigma^2)

        P(\text{lost}) = 1 - \exp\left(-10^{(\mathrm{threshold} - \overline{\mathrm{SNR}}_{ji}) / 10}\right)

    The second line is the outage of a Rayleigh fading link, whose power is exponential with the mean of the first line;
    without ``rayleigh`` a message is lost iff the mean is below the threshold. Only ``snr_db - threshold_db`` matters.
    Sources: Rappaport 2002, "Wireless Communications", sections 4.9.1 and 4.9.2 (path loss, shadowing) and 5.6.1
    (Rayleigh); Goldsmith 2005, "Wireless Communications", section 6.3.1 (outage).

    Fading is drawn for (episode, step, sender, receiver), shadowing once per episode for each pair of agents. A message
    is lost iff ``uniform(stream(key, "fading"), step, j, i) < P(lost)``: so what is lost at one ``threshold_db`` is
    lost at every larger one, at a smaller ``snr_db``, and further away. Other senders do not interfere: a link reads
    its own two ends. A limited range without chance is a topology, ``Radius``.

    Args:
        snr_db: mean signal-to-noise ratio at the distance ``reference``, in dB.
        exponent: n, at least 0: 2 in free space, about 1.6 to 3.3 indoors in sight, 2.7 to 5 in cities.
        threshold_db: signal-to-noise ratio that a receiver needs, in dB.
        shadowing_db: :math:`\sigma` in dB, at least 0; 4 to 12 outdoors.
        reference: :math:`d_0`, positive, in units of the positions; nearer than that nothing gets better.
        rayleigh: whether links fade from step to step.

    Raises:
        ConfigError: a parameter out of range. GraphError (when it is used): there are no positions.
    """

    snr_db: float = 20.0
    exponent: float = 2.0
    threshold_db: float = 0.0
    shadowing_db: float = 0.0
    reference: float = 1.0
    rayleigh: bool = True

    def __post_init__(self) -> None:
        for name, least in (
            ("exponent", 0.0),
            ("shadowing_db", 0.0),
            ("snr_db", -torch.inf),
            ("threshold_db", -torch.inf),
        ):
            value = getattr(self, name)
            if not (least <= value and abs(value) < torch.inf):
                raise ConfigError(f"PathLoss.{name}: expected a finite number >= {least:g}, got {value}.")
        if not 0 < self.reference < torch.inf:
            raise ConfigError(f"PathLoss.reference is a distance: expected 0 < reference, got {self.reference}.")

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        edges = Edges(graph, moment)
        distance = edges.distance("PathLoss").clamp_min(self.reference) / self.reference
        shadow = edges.draw("shadowing", normal, per="episode", symmetric=True, dtype=torch.float64)
        mean_db = self.snr_db - 10 * self.exponent * distance.log10() + self.shadowing_db * shadow
        return edges.keep(edges.draw("fading", dtype=torch.float64) >= self.outage(mean_db))

    def outage(self, mean_db: Tensor) -> Tensor:
        """P(lost) at this mean signal-to-noise ratio in dB; where it is unknown (NaN), 1."""
        short_db = self.threshold_db - mean_db
        lost = -torch.expm1(-(10 ** (short_db / 10))) if self.rayleigh else (short_db > 0).to(mean_db.dtype)
        return torch.where(short_db.isnan(), 1.0, lost)
