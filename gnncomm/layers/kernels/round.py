"""A whole round of communication, a few graphs at a time, with its derivative written out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from gnncomm.graph import CommGraph
from gnncomm.graph.tracing import at_hand
from gnncomm.layers.kernels.certain import is_untouched

CHUNK_ROWS = 2048
"""Rows in work at a time for each thread of a CPU, so that what lies between two products stays in its cache."""

FEW_ROWS = 64
"""Up to so many rows the calls cost more than the work."""

_PLAIN = ContextVar("plain", default=False)


@contextmanager
def plain_forms() -> Iterator[None]:
    """Layers work without kernels in here: slower, but PyTorch derives what it runs, so that it can derive it twice."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


Inbox = Callable[[Tensor, Tensor], Tensor]
"""The plain form: messages ``[V, M]`` and queries ``[V, Q]`` to inboxes ``[V, I]``."""


def kernels_fit(*values: Tensor) -> bool:
    """Rows, and messages where there are some, that a derivative written by hand serves: eager, in full precision.

    Where there is nothing to derive, few rows are done sooner by PyTorch's own operations, of which there are fewer.
    """
    if not at_hand(*values) or _PLAIN.get():
        return False
    h = values[0]
    if h.numel() == 0 or torch.is_autocast_enabled(h.device.type):
        return False
    return torch.is_grad_enabled() or h.shape[:-1].numel() > FEW_ROWS


class Kernel:
    """How inboxes are made from messages, for some of the graphs at a time.

    Everything is ``[rows, width]``; a row is an agent of one of the ``g`` graphs of the chunk, which begins with graph
    ``first``. ``agents_first`` orders rows as ``n * g + b`` instead of ``b * N + n``; ``columns`` lays the tensors out
    with the columns of the matrix contiguous. Q = 0 where receivers ask nothing.
    """

    agents_first: ClassVar[bool] = False
    columns: ClassVar[bool] = False
    num_agents: int

    def forward(self, msg_VM: Tensor, query_VQ: Tensor, first: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The inboxes ``[rows, I]``, and what ``backward`` needs of this chunk."""
        raise NotImplementedError

    def backward(
        self, saved: tuple[Tensor, ...], grad_VI: Tensor, dmsg_VM: Tensor, dquery_VQ: Tensor, first: int
    ) -> None:
        """Write the gradients of messages and queries, given that of the inboxes; ``d*`` hold no values yet."""
        raise NotImplementedError

    def choose(self) -> None:
        """From now on leave absent edges out by choosing, where adding or multiplying was faster."""

    def folded(self, linears: Linears, h_VF: Tensor) -> Tensor | None:
        """The rows after the round where the rows themselves are sent, if there is a shorter way; else None."""
        return None


@dataclass(frozen=True)
class Linears:
    """The maps of a round: ``m = send(h)``, ``q = query(h)``, ``h' = own(h) + inbox(c)``.

    ``send`` is None or ``nn.Identity`` where the row itself is sent, ``query`` None where receivers ask nothing.
    """

    send: nn.Linear | nn.Identity | None
    query: nn.Linear | None
    own: nn.Linear
    inbox: nn.Linear

    def are_plain(self, dtype: torch.dtype) -> bool:
        """Products in ``dtype`` with their own weights and nothing else: no parametrisation, no hooks, no other class.

        A bias stands in ``own`` and nowhere else.
        """
        if isinstance(self.send, nn.Identity) and not is_untouched(self.send, nn.Identity):
            return False
        send = None if isinstance(self.send, nn.Identity) else self.send
        products = [part for part in (send, self.query, self.own, self.inbox) if part is not None]
        if not all(
            is_untouched(part, nn.Linear) and (part.bias is not None) == (part is self.own) for part in products
        ):
            return False
        numbers = [self.own.bias, *(part.weight for part in products)]
        return all(type(x) in (Tensor, nn.Parameter) and x.dtype == dtype for x in numbers)

    @property
    def sends_rows(self) -> bool:
        """Whether the row itself is sent."""
        return not isinstance(self.send, nn.Linear)


@dataclass(frozen=True)
class Broken:
    """Messages that are not finite: who sends one, and who hears one. Bool ``[V, 1]``."""

    senders: Tensor
    receivers: Tensor


def fused_round(
    kernel: Kernel, linears: Linears, h_VF: Tensor, msg_VM: Tensor | None, graph: CommGraph, inbox: Inbox
) -> Tensor:
    """The rows ``[V, F']`` after the round. ``msg`` is what the wire delivered; None for what ``send`` says.

    Kernels may multiply by 0 where there is no edge, which is right for finite messages only. Where a result is not
    finite the round is done again with those messages cut out, and NaN chosen for the inboxes that they reach.
    ``inbox`` says the same as ``kernel`` in operations that PyTorch can derive, for derivatives of derivatives.
    """
    if msg_VM is None and linears.sends_rows:
        short = kernel.folded(linears, h_VF)
        if short is not None:
            return short
    send = linears.send if msg_VM is None and isinstance(linears.send, nn.Linear) else None
    maps = [part.weight for part in (send, linears.query) if part is not None]
    talk = torch.cat(maps) if len(maps) > 1 else maps[0] if maps else h_VF.new_empty(0, h_VF.shape[1])
    sent = 0 if send is None else send.out_features
    weights = talk, linears.own.weight, linears.own.bias, linears.inbox.weight
    out: Tensor
    out, check = Round.apply(kernel, None, inbox, sent, h_VF, msg_VM, *weights)  # type: ignore[no-untyped-call]
    if bool(check.isfinite()):
        return out
    kernel.choose()
    said = msg_VM if msg_VM is not None else h_VF if send is None else send(h_VF)
    broken = _broken(said, graph)
    out, _ = Round.apply(kernel, broken, inbox, sent, h_VF, msg_VM, *weights)  # type: ignore[no-untyped-call]
    return out


def _broken(msg_VM: Tensor, graph: CommGraph) -> Broken:
    broken_V = ~msg_VM.detach().isfinite().all(-1)
    sender_E, receiver_E = graph.expand(len(msg_VM) // graph.num_agents).edge_index
    hears_V = torch.zeros_like(broken_V)
    hears_V[receiver_E[broken_V[sender_E]]] = True
    return Broken(broken_V.unsqueeze(1), hears_V.unsqueeze(1))


class Round(torch.autograd.Function):
    r""":math:`h' = W_h h + b + W_o\,\mathrm{inbox}(m, q)` with :math:`[m, q] = W_t h`, ``m`` given, or :math:`m = h`.

    Between the products stand many small operations. Done chunk by chunk they run in the processor's cache instead of
    its memory, and less of them is kept for the derivative.
    """

    @staticmethod
    def forward(
        ctx: Any,
        kernel: Kernel,
        broken: Broken | None,
        plain: Inbox,
        sent: int,
        h_VF: Tensor,
        msg_VM: Tensor | None,
        w_talk: Tensor,
        w_own: Tensor,
        bias: Tensor,
        w_inbox: Tensor,
    ) -> tuple[Tensor, Tensor]:
        out_VO = h_VF.new_empty(h_VF.shape[0], w_own.shape[0])
        check = h_VF.new_zeros(())
        saved: list[Tensor] = []
        ctx.parts, ctx.counts = list(chunks(kernel, h_VF)), []
        for rows, first in ctx.parts:
            h, msg = _take(kernel, h_VF[rows]), None if msg_VM is None else _take(kernel, msg_VM[rows])
            talk = _project(kernel, h, w_talk)
            msg, query = _msg_and_query(talk, sent, h, msg)
            if broken is not None:
                msg = msg.masked_fill(_take(kernel, broken.senders[rows]), 0.0)
            inbox, kept = kernel.forward(msg, query, first)
            if broken is not None:
                inbox = inbox.masked_fill(_take(kernel, broken.receivers[rows]), torch.nan)
            out = out_VO[rows] if not kernel.agents_first else out_VO.new_empty(len(h), len(bias))
            torch.addmm(bias, h, w_own.t(), out=out).addmm_(inbox, w_inbox.t())
            check += out.sum()
            if kernel.agents_first:
                _put(kernel, out, out_VO[rows])
            saved += [inbox, *kept]
            ctx.counts.append(len(kept) + 1)
        ctx.kernel, ctx.broken, ctx.plain, ctx.sent = kernel, broken, plain, sent
        ctx.save_for_backward(h_VF, msg_VM, w_talk, w_own, bias, w_inbox, *saved)
        ctx.mark_non_differentiable(check)
        return out_VO, check

    @staticmethod
    def backward(ctx: Any, grad_VO: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        h_VF, msg_VM, w_talk, w_own, bias, w_inbox, *saved = ctx.saved_tensors
        if must_be_derivable(grad_VO):

            def plain(h: Tensor, msg: Tensor | None, talk: Tensor, own: Tensor, bias: Tensor, inbox: Tensor) -> Tensor:
                heard = ctx.plain(*_msg_and_query(linear(h, talk), ctx.sent, h, msg))
                return linear(h, own, bias) + linear(heard, inbox)

            inputs = h_VF, msg_VM, w_talk, w_own, bias, w_inbox
            return None, None, None, None, *derived(plain, inputs, ctx.needs_input_grad[4:], grad_VO)
        kernel, needs_h = ctx.kernel, ctx.needs_input_grad[4]
        dh_VF = torch.empty_like(h_VF) if needs_h else None
        dmsg_VM = None if msg_VM is None else torch.empty_like(msg_VM)
        dw_talk, dw_own, dw_inbox = (torch.zeros_like(w) for w in (w_talk, w_own, w_inbox))
        dbias, place = w_own.new_zeros(w_own.shape[0]), 0
        for (rows, first), count in zip(ctx.parts, ctx.counts, strict=True):
            inbox, *kept = saved[place : place + count]
            place += count
            h, grad = _take(kernel, h_VF[rows]), _take(kernel, grad_VO[rows])
            dw_own.addmm_(grad.t(), h)
            dw_inbox.addmm_(grad.t(), inbox)
            dbias += grad.sum(0)
            # an empty dtalk where nothing was projected, dh for the message where the row itself was sent
            dtalk = _empty(kernel, h, w_talk.shape[0])
            given = None if dmsg_VM is None else _empty(kernel, h, dmsg_VM.shape[1])
            dh = torch.empty_like(h) if dh_VF is None or kernel.agents_first else dh_VF[rows]
            dmsg, dquery = _msg_and_query(dtalk, ctx.sent, dh, given)
            dinbox = _project(kernel, grad, w_inbox.t())
            if ctx.broken is not None:
                dinbox = dinbox.masked_fill(_take(kernel, ctx.broken.receivers[rows]), 0.0)
            kernel.backward(tuple(kept), dinbox, dmsg, dquery, first)
            if dmsg_VM is not None:
                _put(kernel, dmsg, dmsg_VM[rows])
            dw_talk.addmm_(dtalk.t(), h)
            if dh_VF is not None:
                dh = dh.addmm_(grad, w_own) if dmsg is dh else torch.mm(grad, w_own, out=dh)
                dh.addmm_(dtalk, w_talk)
                if kernel.agents_first:
                    _put(kernel, dh, dh_VF[rows])
        return None, None, None, None, dh_VF, dmsg_VM, dw_talk, dw_own, dbias, dw_inbox


def must_be_derivable(grad: Tensor) -> bool:
    """Whether a derivative is asked for that will be derived itself (``create_graph``), or many of them at once.

    The forward pass was eager then, or it would not have been done by a kernel; only its derivative is transformed.
    """
    # torch has no public name for: this is a batch of gradients (``is_grads_batched``, ``jacobian(vectorize=True)``)
    return torch.is_grad_enabled() or not at_hand(grad) or torch._C._functorch.is_legacy_batchedtensor(grad)


def derived(
    function: Callable[..., Tensor], inputs: Sequence[Tensor | None], wanted: Sequence[bool], grad: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients of ``function`` at ``inputs``, by PyTorch: they can be derived again where that is asked for."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # copies in name only: what else depends on an input is no part of its gradient here
        apart = [None if x is None else x.view_as(x) for x in inputs]
        out = function(*apart)
    sources = [x for x, needed in zip(apart, wanted, strict=True) if needed and x is not None]
    found = iter(torch.autograd.grad(out, sources, grad, create_graph=again, allow_unused=True))
    return tuple(next(found) if needed and x is not None else None for x, needed in zip(apart, wanted, strict=True))


def rows_in_work(like: Tensor) -> int | None:
    """How many rows to work on at a time; None for all: other devices want few large operations."""
    return CHUNK_ROWS * torch.get_num_threads() if like.device.type == "cpu" else None


def chunks(kernel: Kernel, h_VF: Tensor) -> Iterator[tuple[slice, int]]:
    """Rows of each chunk, and its first graph."""
    graphs = h_VF.shape[0] // kernel.num_agents
    rows = rows_in_work(h_VF)
    per_chunk = max(1, graphs if rows is None else rows // kernel.num_agents)
    # chunks of about one size: a small rest would cost as many calls as a full one
    count = -(-graphs // per_chunk)
    for number in range(count):
        first, last = number * graphs // count, (number + 1) * graphs // count
        yield slice(first * kernel.num_agents, last * kernel.num_agents), first


def _take(kernel: Kernel, rows: Tensor) -> Tensor:
    """A chunk of rows in the order of the kernel."""
    if not kernel.agents_first:
        return rows
    ordered: Tensor = rows.unflatten(0, (-1, kernel.num_agents)).transpose(0, 1).flatten(0, 1)
    return ordered


def _put(kernel: Kernel, chunk: Tensor, rows: Tensor) -> None:
    """The inverse of ``_take``."""
    if kernel.agents_first:
        rows.unflatten(0, (-1, kernel.num_agents)).transpose(0, 1).copy_(chunk.unflatten(0, (kernel.num_agents, -1)))
    else:
        rows.copy_(chunk)


def _empty(kernel: Kernel, rows: Tensor, width: int) -> Tensor:
    return rows.new_empty(width, len(rows)).t() if kernel.columns else rows.new_empty(len(rows), width)


def _project(kernel: Kernel, rows: Tensor, weight: Tensor) -> Tensor:
    if kernel.columns:
        return torch.mm(weight, rows.t()).t()
    return torch.mm(rows, weight.t())


def _msg_and_query(talk: Tensor, sent: int, own: Tensor | None, given: Tensor | None) -> tuple[Tensor, Tensor]:
    """Where message and query are: beside each other in ``talk``, or the message elsewhere."""
    msg = given if given is not None else talk[:, :sent] if sent else own
    assert msg is not None
    return msg, talk[:, sent:]
