"""MAGAT: a graph filter whose shift operator is made by attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gnncomm.errors import ConfigError
from gnncomm.layers.attending import AttendingComm
from gnncomm.layers.stack import CommStack, shifts


class MAGATComm(AttendingComm):
    r"""One shift of the graph attention filter of Li, Lin, Liu and Prorok 2021, `Message-Aware Graph Attention Networks
    for Large-Scale Multi-Robot Path Planning <https://arxiv.org/abs/2011.13219>`_, with key-query attention.

    .. math::
        \alpha^p_{ji} = \mathrm{softmax}_{j \in \mathcal{N}(i)} (x_j^\top W_p x_i / \sqrt{G}), \qquad
        h'_i = H_0 x_i + H_1 \big\Vert_p \sum_j w_{ji} \alpha^p_{ji} x_j + b

    The row is what is sent, to all heads: the receiver makes its query :math:`W_p x_i` of width G. Edge weights
    multiply after the softmax, as the shift operator of the paper does. K taps take K - 1 exchanges with the attention
    of the first: ``MAGATComm.stack``.

    The released code normalises over the receivers of a sender, which no sender knows, does not divide by
    :math:`\sqrt{G}`, and reads only whether a weight is zero. Its relu is the caller's, and :math:`H` there reads each
    head apart. On the wire: G numbers; G (P + 1) in further exchanges.

    Args:
        in_channels: F: G of the signal, or what the layer before hands on.
        out_channels: F'; where not ``last``, F' + G + P G: sum, signal, and shifted signals.
        heads: P.
        signal_channels: G; None: F, the layer being the first.
        last: whether signal and shifted signals are dropped.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        signal_channels: int | None = None,
        last: bool = True,
    ) -> None:
        signal = in_channels if signal_channels is None else signal_channels
        first = signal == in_channels
        handed = signal * (heads + 1)
        filtered = out_channels if last else out_channels - handed
        if signal < 1 or filtered < 1 or not (first or in_channels == filtered + handed):
            raise ConfigError(
                f"MAGATComm: expected a row of the signal alone, or of {filtered} sums and {handed} signals; got "
                f"in_channels={in_channels} with signal_channels={signal_channels}, out_channels={out_channels}."
            )
        super().__init__(in_channels, out_channels, signal if first else handed, heads, signal, own=False)
        self.signal_channels, self.first, self.last = signal, first, last
        self.lin_query = nn.Linear(signal, heads * signal, bias=False)
        self.lin_self = nn.Linear(signal, filtered) if first else nn.Identity()
        self.lin_inbox = nn.Linear(heads * signal, filtered, bias=False)

    def send(self, h: Tensor) -> Tensor:
        return h if self.first else h[..., -self.msg_channels :]

    def ask(self, h: Tensor) -> Tensor:
        query: Tensor = self.lin_query(self.send(h)[..., : self.signal_channels])
        return query

    def parts(self, msg: Tensor) -> tuple[Tensor, Tensor]:
        key = msg[..., None, : self.signal_channels].expand(*msg.shape[:-1], self.heads, -1)
        return key, key if self.first else msg[..., self.signal_channels :].unflatten(-1, (self.heads, -1))

    dense_inbox = AttendingComm.dense_inbox

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        so_far = self.lin_self(h) if self.first else h[..., : -self.msg_channels]
        filtered: Tensor = so_far + self.lin_inbox(inbox)
        return filtered if self.last else torch.cat([filtered, self.send(h)[..., : self.signal_channels], inbox], -1)

    @classmethod
    def stack(cls, in_channels: int, out_channels: int, taps: int = 3, heads: int = 1) -> CommStack:
        r"""The filter :math:`\sum_{k < K} H_k A^k x + b` as K - 1 rounds, each with one exchange.

        All rounds have the attention of the first: each layer is handed the first signal, and shares ``lin_query``.

        Args:
            in_channels: G.
            out_channels: F'.
            taps: K.
            heads: P.

        Raises:
            ConfigError: fewer than two taps.
        """
        between = out_channels + in_channels * (heads + 1)
        made = shifts(taps, in_channels, between, out_channels, lambda i, o, last: cls(i, o, heads, in_channels, last))
        for layer in made.rounds:
            layer.lin_query = made.rounds[0].lin_query
        return made
