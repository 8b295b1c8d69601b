"""What learners by gradients share: an optimiser, schedules, one check for finite numbers, and what is saved."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from gnncomm import random
from gnncomm.errors import NonFiniteError
from gnncomm.host import Pending, asked, may_ask, pending
from gnncomm.learn import optimizers
from gnncomm.learn.graphs import Record, Recorded
from gnncomm.learn.learner import Experience, Groups
from gnncomm.learn.losses import LossFunction, contributions
from gnncomm.learn.rollout import Rollout
from gnncomm.learn.settings import GradientConfig
from gnncomm.policy import CommPolicy

C = TypeVar("C", bound=GradientConfig)


class Taken(NamedTuple):
    """A step that was taken, on its device until the update is over."""

    loss: Tensor  # a scalar
    norm: Tensor  # a scalar, of the whole gradient
    norms: Tensor  # [P] of the gradients of those parameters that had one
    parameters: tuple[int, ...]  # their numbers


class GradientLearner(ABC, Generic[C]):
    """A ``Learner`` that takes steps down the gradient of a loss.

    A subclass says with ``_improve`` what it learns from a rollout, where each step is one call of ``_step``, and with
    ``_modules`` what it has beside the policy. All of that is saved, and is taken back if any number of an update is
    not finite. The device is asked once, at the end of an update.

    Args:
        policy: what is trained, in place.
        config: settings.
        total_updates: how many updates a training has, for the schedules.
        seed: names the stream of minibatch permutations, a pure function of (seed, update, epoch).
        length: T, steps of a rollout.
        losses: further terms of the loss, see ``LossFunction``; those that are modules are trained along and saved.
            Parts of the policy add theirs by themselves, see ``Contributor``.
    """

    Config: ClassVar[type[GradientConfig]]
    """Of the settings that say all of a learner of exactly this class."""

    def __init__(
        self,
        policy: CommPolicy,
        config: C | None = None,
        total_updates: int = 1,
        seed: int = 0,
        *,
        length: int = 20,
        losses: Sequence[LossFunction] = (),
    ) -> None:
        self.config: C = cast(C, self.Config()) if config is None else config
        self.experience = Experience(length)
        self.policy, self.total_updates, self.seed, self.updates = policy, total_updates, seed, 0
        self.extra = tuple(losses)
        self._others = (*contributions(policy), *losses)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            own = nn.ModuleDict(self._modules())
        if kept := nn.ModuleList(loss for loss in losses if isinstance(loss, nn.Module)):
            own["losses"] = kept
        self.own = own.to(policy.like.device)
        """What it has beside the policy, by the group in which a checkpoint keeps it."""
        named = [*policy.named_parameters(), *self.own.named_parameters()]
        self._names = {id(p): name for name, p in reversed(named)}  # the first of several names
        self._trained = [p for p in dict.fromkeys(p for _, p in named) if p.requires_grad]
        config = self.config
        self.optimizer = optimizers.optimizer_of(
            config.optimizer, self._parameter_groups(), config.lr, config.eps, config.alpha
        )
        self._taken: list[Taken] = []
        self.recorded: Recorded[Any] | None = None
        """An update as a graph; None: nobody asked for one."""
        self.scheduled: dict[str, Any] = {}
        """What changes from update to update: numbers, on a GPU as tensors without axes that stay where they are."""
        self._set_schedules()

    def _modules(self) -> Mapping[str, nn.Module]:
        """Modules beside the policy by group: critics, mixers, targets, normalisers. Parameters that want gradients
        are trained, those that do not (targets) are not."""
        return {}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Of the optimiser, see ``torch.optim``; a ``scale`` multiplies the learning rate of a group."""
        return [{"params": self._trained}]

    def _schedules(self) -> Mapping[str, float]:
        """Numbers that depend on ``_progress``, by name: what ``_improve`` finds in ``scheduled``."""
        return {}

    @abstractmethod
    def _improve(self, rollout: Rollout) -> Metrics:
        """Learn from it, and say how it went, in tensors without axes that nobody has read.

        What it does depends on ``rollout``, the weights and ``scheduled`` only, where ``number`` is the number of this
        update, from 0; so it can be run again as it was recorded.
        """

    def update(self, experience: Rollout) -> dict[str, float]:
        """Improve the policy by one rollout. Rows of dead agents may hold anything; they are never read.

        Raises:
            NonFiniteError: what a living agent got or thought (names step, environment and agent), the loss, or the
                gradient is not finite. Policy, optimiser and all else are then those from before the update, as they
                are if it fails in any other way.
        """
        experience.require_finite()
        self._taken = []
        with ExitStack() as undo:
            undo.callback(self._take_back, *self._now())
            self._set_schedules()
            try:
                run = self._run if self.recorded is None else self.recorded
                metrics, self._taken, found, flag = run(experience)
                found.settle(flag)
            finally:
                self._require_finite()
            told = read(metrics | {"lr": self.optimizer.param_groups[0]["lr"]})
            undo.pop_all()
        self.updates += 1
        return told

    def record(self, how: Record) -> None:
        """From now on updates run as graphs, where they can; the numbers stay the same."""
        self.recorded = Recorded(self._run, how)

    def _run(self, experience: Rollout) -> tuple[Metrics, list[Taken], Pending, Tensor]:
        """All of an update that needs no answer."""
        self._taken, found = [], Pending()
        with nullcontext() if may_ask(self.policy.like.device) else pending(found):
            metrics = self._improve(experience)
        return metrics, self._taken, found, found.flag()

    def state(self) -> tuple[Groups, dict[str, Any]]:
        """What the optimiser keeps, and its own modules, a group each."""
        groups = {name: dict(module.state_dict()) for name, module in self.own.items()}
        return {"optimizer": optimizers.optimizer_slots(self.optimizer)} | groups, {"updates": self.updates}

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]], counters: Mapping[str, Any]) -> None:
        """Continue from what ``state`` gave."""
        for name, module in self.own.items():
            module.load_state_dict(dict(groups[name]))
        optimizers.restore_optimizer(self.optimizer, groups["optimizer"])
        self.updates = int(counters["updates"])
        self._forget()

    def _forget(self) -> None:
        """The optimiser has other tensors now than those that a graph holds."""
        if self.recorded is not None:
            self.recorded.forget()

    # What subclasses use.

    def _minibatches(self, rollout: Rollout, epochs: int, count: int) -> Iterator[tuple[int, Tensor]]:
        """``(epoch, environments)``: ``count`` sets in each of the epochs, drawn anew, that hold each once."""
        num_envs = rollout.done.shape[1]
        for epoch in range(epochs):
            draw = random.bits(self.seed, self.number, epoch, torch.arange(num_envs, device=rollout.done.device))
            for chunk in draw.argsort().tensor_split(min(count, num_envs)):
                yield epoch, chunk

    def _step(self, loss: Tensor, resting: Sequence[nn.Parameter] = ()) -> Tensor:
        """Take a step down the gradient of ``loss`` with all parameters but the ``resting``; the gradient's norm."""
        self.optimizer.zero_grad()
        loss.backward()
        for parameter in resting:
            parameter.grad = None  # the optimiser passes over it, moments included
        found = [(number, p, p.grad) for number, p in enumerate(self._trained) if p.grad is not None]
        norms = torch.stack(torch._foreach_norm([grad for _, _, grad in found]))
        norm: Tensor = torch.linalg.vector_norm(norms)
        if self.config.max_grad_norm:
            torch.nn.utils.clip_grads_with_norm_([p for _, p, _ in found], self.config.max_grad_norm, norm)
        self._taken.append(Taken(loss.detach(), norm, norms, tuple(number for number, _, _ in found)))
        self.optimizer.step()
        return norm

    @property
    def updates(self) -> int:
        """How many were made. ``_improve`` reads ``number`` instead: this one would be recorded as it is."""
        asked("the number of updates as a number of Python")
        return self._updates

    @updates.setter
    def updates(self, count: int) -> None:
        self._updates = count

    @property
    def number(self) -> Any:
        """Of this update, from 0: an int, or a tensor on a GPU."""
        return self.scheduled["number"]

    @property
    def _progress(self) -> float:
        """The share of the training that is done; for ``_schedules``."""
        return self.updates / max(self.total_updates, 1)

    def _set_schedules(self) -> None:
        factor = max(1.0 - self._progress, 0.0) if self.config.lr_schedule == "linear" else 1.0
        for group in self.optimizer.param_groups:
            _set(group, "lr", self.config.lr * factor * group.get("scale", 1.0))
        for name, value in {"number": self.updates, **self._schedules()}.items():
            if name not in self.scheduled and not may_ask(self.policy.like.device):
                dtype = torch.int64 if isinstance(value, int) else torch.float32
                self.scheduled[name] = torch.zeros((), dtype=dtype, device=self.policy.like.device)
            _set(self.scheduled, name, value)

    def _now(self) -> tuple[Any, Any]:
        """All that an update may change."""
        return copy.deepcopy(([m.state_dict() for m in (self.policy, self.own)], self.optimizer.state_dict()))

    def _take_back(self, modules: list[Any], optimizer: Any) -> None:
        for module, state in zip((self.policy, self.own), modules, strict=True):
            module.load_state_dict(state)
        self.optimizer.load_state_dict(optimizer)
        self.optimizer.zero_grad()
        self._forget()

    def _require_finite(self) -> None:
        """Of all steps of the update."""
        if not self._taken:
            return
        fine = torch.stack([taken.loss.isfinite() & taken.norm.isfinite() for taken in self._taken])
        if bool(fine.all()):
            return
        first = self._taken[int(fine.logical_not().nonzero()[0])]
        norms = zip(first.parameters, first.norms.tolist(), strict=True)
        broken = [number for number, norm in norms if not math.isfinite(norm)]
        name = self._names[id(self._trained[broken[0]])] if broken else "none"
        raise NonFiniteError(
            f"Update {self.updates}: expected a finite loss and gradient, got loss {float(first.loss):g}, gradient "
            f"norm {float(first.norm):g} (first parameter: {name}). Nothing was applied; "
            "lower the learning rate or look for the cause in rewards and observations."
        )


def _set(place: dict[str, Any], name: str, value: float) -> None:
    if isinstance(place.get(name), Tensor):
        place[name].fill_(value)
    else:
        place[name] = value


Metrics = dict[str, Any]
"""Numbers, or tensors without axes, by name."""


def read(metrics: Metrics) -> dict[str, float]:
    """All of them as numbers, by one question to the device."""
    there = {name: value.detach().double() for name, value in metrics.items() if isinstance(value, Tensor)}
    numbers = torch.stack(list(there.values())).tolist() if there else []
    return metrics | dict(zip(there, numbers, strict=True))


class Means:
    """Means of scalars by name over the steps of an update, on their device."""

    def __init__(self) -> None:
        self._seen: dict[str, list[Tensor]] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._seen.setdefault(name, []).append(value.detach().double())

    def tensors(self) -> Metrics:
        """As doubles."""
        return {name: torch.stack(values).mean() for name, values in self._seen.items()}
