"""A layer of ours between other TensorDictModules."""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModuleBase
from torch import Tensor

from gnncomm import topology as topologies
from gnncomm.errors import ConfigError
from gnncomm.integrations.torchrl.moment import Key, MomentKeys
from gnncomm.layers import CommLayer, CommStack
from gnncomm.policy.rounds import WireState, talk
from gnncomm.topology import Topology
from gnncomm.wire import Wire


class CommModule(TensorDictModuleBase):
    """Rounds of communication over rows in a TensorDict: ``in_key [*, N, F] -> out_key [*, N, F']``.

    What takes no part (``moment.mask``) neither sends nor receives. Any leading axes fold into one.

    Args:
        comm: the layers.
        wire: who hears whom and how; a topology or its text (``"knn:k=4"``) stands for one over an ideal medium.
        in_key, out_key: rows before and after.
        moment: where it is told when and where; ``MomentKeys.among(env.observation_spec.keys(True), "agents")``.

    Raises:
        ConfigError: a wire that samples (its choices are part of the action: see ``PolicyModule``), that carries
            something from step to step, or that draws where the moment is not known.
    """

    def __init__(
        self,
        comm: CommLayer | CommStack,
        wire: Wire | Topology | str = "full",
        *,
        in_key: Key = ("agents", "hidden"),
        out_key: Key = ("agents", "heard"),
        moment: MomentKeys = MomentKeys(),  # noqa: B008  # frozen
    ) -> None:
        super().__init__()
        self.comm = CommStack([comm], residual=False) if isinstance(comm, CommLayer) else comm
        self.wire = wire if isinstance(wire, Wire) else Wire(topologies.resolve(wire))
        self.in_key, self.out_key, self.moment = in_key, out_key, moment
        self.in_keys, self.out_keys = [in_key, *moment.known], [out_key]
        self.scheduler, self.codec = self.wire.scheduler, self.wire.codec  # as submodules: they may have weights
        moment.require(self.wire)
        if not WireState.fresh(self.wire, self.comm, torch.zeros(()), 1, 2).empty:
            raise ConfigError(
                "Expected a wire that carries nothing from step to step, as rows alone are read here, got "
                f"{self.wire.channel} with {type(self.wire.scheduler).__name__}. Use PolicyModule, which has a state."
            )

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        return tensordict.set(self.out_key, self.exchange(tensordict.get(self.in_key), tensordict))

    def exchange(self, h: Tensor, tensordict: TensorDictBase) -> Tensor:
        """The rows ``[*, N, F']`` after all rounds, at the moment that ``tensordict`` tells."""
        rows = h.reshape(-1, *h.shape[-2:])
        now, key = self.moment.read(tensordict, (rows.shape[0], rows.shape[1]))
        assert now.alive is not None  # read says it
        graph = self.wire.topology(now.alive, now.pos, now.step, key)
        state = WireState.fresh(self.wire, self.comm, rows, rows.shape[0], rows.shape[1])
        talked = talk(self.comm, self.wire, rows, graph, state, now)
        return talked.h.view(*h.shape[:-1], talked.h.shape[-1])
