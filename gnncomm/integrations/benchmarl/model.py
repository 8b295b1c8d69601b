"""A model of BenchMARL in which agents talk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from benchmarl.models.common import Model, ModelConfig
from tensordict import TensorDictBase
from torch import nn

from gnncomm import channel as channels
from gnncomm import codec as codecs
from gnncomm import schedule as schedulers
from gnncomm import topology as topologies
from gnncomm.errors import ConfigError
from gnncomm.integrations import options
from gnncomm.integrations.torchrl.layer import CommModule
from gnncomm.integrations.torchrl.moment import MomentKeys
from gnncomm.layers import CommStack, make_rounds
from gnncomm.wire import Wire


class CommModel(Model):
    """``head(rounds(encoder(x)))``: see ``CommModelConfig``."""

    def __init__(self, *, config: CommModelConfig, **kwargs: Any) -> None:
        self.config = config
        super().__init__(**kwargs)
        hidden, group = config.hidden, self.agent_group
        self.read: list[Any] = list(self.input_spec.keys(True, True))
        self.encoder = nn.Linear(sum(self.input_spec[key].shape[-1] for key in self.read), hidden)
        self.head = nn.Linear(hidden, self.output_leaf_spec.shape[-1])
        layers = make_rounds(config.comm, hidden, config.rounds, False) if isinstance(config.comm, str) else None
        comm = CommStack(layers or [config.comm(hidden, hidden) for _ in range(config.rounds)], nn.Tanh())
        wire = Wire(
            topologies.resolve(config.topology),
            schedulers.resolve(config.scheduler, hidden, self.n_agents),
            codecs.resolve(config.codec),
            channels.resolve(config.channel),
        )
        cut = options.positions(config.position)[0] if config.position else None
        moment = MomentKeys(
            mask=(group, "mask") if config.moment else None,
            position=(group, "observation") if cut else (group, "position") if config.moment else None,
            episode="episode" if config.moment else None,
            step="step" if config.moment else None,
            cut=cut,
        )
        self.module = CommModule(comm, wire, moment=moment)
        self.in_keys = list(dict.fromkeys([*self.read, *moment.known]))
        self.to(self.device)

    def _perform_checks(self) -> None:
        super()._perform_checks()
        if not self.input_has_agent_dim:
            raise ConfigError(
                "CommModelConfig reads a row of each agent, got the state of the whole. Use MlpConfig for that."
            )
        if not self.share_params:
            raise ConfigError(
                "CommModelConfig: expected share_policy_params=True (and share_param_critic=True), as what is said "
                "with the weights of one agent is read with those of another."
            )

    def _forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        seen = torch.cat([tensordict.get(key) for key in self.read], -1)
        out = self.head(self.module.exchange(self.encoder(seen).tanh(), tensordict))
        return tensordict.set(self.out_key, out if self.output_has_agent_dim else out.mean(-2))


@dataclass
class CommModelConfig(ModelConfig):
    """Rounds of communication between two linear maps, as BenchMARL's policy, or a part of one in its sequences.

    Args:
        comm: text of a layer (``"attention:heads=2"``), or a class that is called with (hidden, hidden).
        topology, scheduler, codec, channel: objects or texts; all but the topology need ``moment``, where they differ
            from these.
        rounds: of communication, each with its own weights.
        hidden: width of a row.
        position: entries of the observation that are positions, for geometric topologies: ``"observation[0:2]"``, as
            VMAS has them.
        moment: whether the task tells who takes part, positions, episode and step, as ``CommTask`` does.

    Raises:
        ConfigError: an unknown name; a wire that samples, that carries something from step to step, or that needs a
            moment which is not told; weights that are not shared.
    """

    comm: Any = "attention"
    topology: Any = "full"
    scheduler: Any = "always"
    codec: Any = "float32"
    channel: Any = "ideal"
    rounds: int = 1
    hidden: int = 64
    position: str = ""
    moment: bool = False

    def get_model(self, **kwargs: Any) -> CommModel:
        return CommModel(config=self, is_critic=self.is_critic, model_index=kwargs.pop("model_index", 0), **kwargs)

    @staticmethod
    def associated_class() -> type[Model]:
        return CommModel
