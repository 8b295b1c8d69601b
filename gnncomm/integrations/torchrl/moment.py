"""When and where a TensorDict is: what topologies, channels and draws are functions of."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from gnncomm.channel import Ideal
from gnncomm.codec import Float32
from gnncomm.errors import ConfigError
from gnncomm.schedule import Always
from gnncomm.types import Moment
from gnncomm.wire import Wire

Key = str | tuple[str, ...]


@dataclass(frozen=True)
class MomentKeys:
    """Entries that tell who takes part, where agents are, and the episode and step; None where there is none."""

    mask: Key | None = None
    position: Key | None = None
    episode: Key | None = None
    step: Key | None = None
    cut: tuple[int, int] | None = None  # entries of ``position`` that are meant; None: all

    @classmethod
    def among(cls, keys: Collection[Any], group: str) -> MomentKeys:
        """Those that ``keys`` has, by the names of ``CommEnv``."""
        wanted: tuple[Key, ...] = ((group, "mask"), (group, "position"), "episode", "step")
        mask, position, episode, step = (key if key in keys else None for key in wanted)
        return cls(mask, position, episode, step)

    @property
    def known(self) -> list[Key]:
        return [key for key in (self.mask, self.position, self.episode, self.step) if key is not None]

    def require(self, wire: Wire) -> None:
        """Refuse a wire that losses of TorchRL cannot know, or whose draws nobody could repeat.

        Raises:
            ConfigError: its scheduler samples; or it is more than a topology, and the moment is not known.
        """
        if wire.scheduler.num_choices:
            raise ConfigError(
                f"{type(wire.scheduler).__name__} samples who talks, which is part of the action: expected a scheduler "
                "that does not, as losses of TorchRL know nothing of it. Train it with gnncomm train."
            )
        plain = (type(wire.scheduler), type(wire.codec), type(wire.channel)) == (Always, Float32, Ideal)
        if not plain and (self.episode is None or self.step is None):
            raise ConfigError(
                "Expected the entries 'episode' and 'step', by which schedulers, codecs and channels name their draws, "
                "got an environment without them. Use CommEnv, or a wire that is a topology and nothing else."
            )

    def read(self, tensordict: TensorDictBase, rows: tuple[int, ...]) -> tuple[Moment, Tensor | None]:
        """The moment of ``rows = [B, N]``, with its leading axes flattened, and the key of topologies, if known."""
        like = next(iter(tensordict.values(include_nested=True, leaves_only=True)))
        num_envs, num_agents = rows

        def entry(key: Key | None, *shape: int) -> Tensor | None:
            return None if key is None else tensordict.get(key).reshape(shape)

        alive = entry(self.mask, num_envs, num_agents)
        if alive is None:
            alive = torch.ones(rows, dtype=torch.bool, device=like.device)
        key, step = entry(self.episode, num_envs), entry(self.step, num_envs)
        nothing = torch.zeros(num_envs, dtype=torch.int64, device=like.device)
        pos = entry(self.position, num_envs, num_agents, -1)
        pos = pos if pos is None or self.cut is None else pos[..., slice(*self.cut)]
        now = Moment(nothing if key is None else key, nothing if step is None else step, pos=pos, alive=alive)
        return now, key
