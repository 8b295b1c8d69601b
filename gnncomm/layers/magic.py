"""MAGIC: graph attention in which the weights of edges stand inside the softmax."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from gnncomm.errors import ConfigError
from gnncomm.layers.attending import AttendingComm


class MAGICComm(AttendingComm):
    r"""A round of MAGIC's message processor (Niu, Paleja and Gombolay 2021, `Multi-Agent Graph-Attention Communication
    and Teaming <https://www.ifaamas.org/Proceedings/aamas2021/pdfs/p964.pdf>`_, section 4.3).

    With :math:`m_j = h_j` on the wire and, for each head, :math:`z_j = W m_j` computed by whoever reads it:

    .. math::
        s_{ji} = \mathrm{LeakyReLU}_{0.2}(a^\top W h_i + b^\top z_j), \qquad
        \alpha_{ji} = \frac{w_{ji} \exp(s_{ji})}{\sum_{l \in \mathcal{N}(i)} w_{li} \exp(s_{li})}, \qquad
        h'_i = \big\Vert_{\text{heads}} \sum_{j \in \mathcal{N}(i)} \alpha_{ji} z_j + \beta

    Weights :math:`w_{ji} \ge 0` of edges (1 unless the graph has some) stand inside the softmax, so what an edge takes
    from the others is part of its gradient. An edge that is alone has share 1 whatever its weight, so its gradient is
    zero; with ``own`` none is alone. (Schedulers learn by differences, and need no such gradient.) Heads are
    concatenated, or averaged with ``average``, as in the paper's second and last round. Its ELU between the rounds is
    the caller's (``CommStack`` applies its own and keeps the row beside it, as the paper's heads read :math:`[h_i,
    c_i]`).

    The released code gives absent edges a share of :math:`\exp(0)` in the denominator and divides it out again only
    where ``normalize`` is set; here the softmax is over the edges that there are.

    On the wire: F numbers.

    Args:
        in_channels: F.
        out_channels: F'; divided among the heads unless they are averaged.
        heads: number of attention heads.
        average: average the heads instead of concatenating them.
        own: whether an agent attends to itself as well (the reference: ``self_loop_type`` 1).
    """

    weights_inside: ClassVar[bool] = True

    def __init__(
        self, in_channels: int, out_channels: int, heads: int = 4, average: bool = False, own: bool = False
    ) -> None:
        if not average and heads > 0 and out_channels % heads:
            raise ConfigError(
                f"MAGICComm splits out_channels={out_channels} over heads={heads}, which does not divide it: choose "
                "other heads or average=True."
            )
        super().__init__(in_channels, out_channels, in_channels, heads, 1, own)
        channels = out_channels if average else out_channels // heads
        self.average = average
        self.lin = nn.Linear(in_channels, heads * channels, bias=False)
        self.att_receiver = nn.Parameter(torch.empty(heads, channels))
        self.att_sender = nn.Parameter(torch.empty(heads, channels))
        self.bias = nn.Parameter(torch.empty(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.xavier_uniform_(self.att_receiver)
        nn.init.xavier_uniform_(self.att_sender)
        nn.init.zeros_(self.bias)

    def send(self, h: Tensor) -> Tensor:
        return h

    def ask(self, h: Tensor) -> Tensor:
        asked: Tensor = (self._project(h) * self.att_receiver).sum(-1)
        return asked

    def parts(self, msg: Tensor) -> tuple[Tensor, Tensor]:
        value = self._project(msg)
        return (value * self.att_sender).sum(-1, keepdim=True), value

    def _project(self, rows: Tensor) -> Tensor:
        projected: Tensor = self.lin(rows).unflatten(-1, (self.heads, -1))
        return projected

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return functional.leaky_relu(query + key, 0.2).squeeze(-1)

    def dense_score(self, query_GHNK: Tensor, key_GHNK: Tensor) -> Tensor:
        return functional.leaky_relu(query_GHNK + key_GHNK.transpose(-1, -2), 0.2)

    dense_inbox = AttendingComm.dense_inbox

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        received = inbox.unflatten(-1, (self.heads, -1)).mean(-2) if self.average else inbox
        return received + self.bias
