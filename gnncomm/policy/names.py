"""Encoders by name: ``linear``, ``mlp:layers=2``, ``grid:shape=3x8x8``, ``entities:count=4,width=3``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from gnncomm.policy.encoder import Encoder
from gnncomm.policy.encoders import EntityEncoder, GridEncoder, MLPEncoder
from gnncomm.registry import Registry

ENCODERS: dict[str, type[nn.Module]] = {
    "entities": EntityEncoder,
    "grid": GridEncoder,
    "linear": Encoder,
    "mlp": MLPEncoder,
}


@dataclass(frozen=True)
class _Encoders(Registry[nn.Module]):
    obs_dim: int = 1
    hidden: int = 1

    def listing(self) -> dict[str, type[nn.Module]]:
        return ENCODERS

    def _build(self, cls: type[nn.Module], name: str, settings: Mapping[str, str], **parts: Any) -> nn.Module:
        return super()._build(cls, name, settings, **parts, obs_dim=self.obs_dim, hidden=self.hidden)


def make_encoder(text: str, obs_dim: int, hidden: int) -> nn.Module:
    """The encoder that ``text`` names, for observations of width ``obs_dim`` and rows of width ``hidden``.

    Raises:
        ConfigError: an unknown name or parameter, or a value that does not fit the observations.
    """
    return _Encoders(nn.Module, __name__, obs_dim=obs_dim, hidden=hidden).resolve(text)
