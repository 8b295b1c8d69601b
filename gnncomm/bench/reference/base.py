"""What the networks of released codes have in common, and what was recorded from them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from gnncomm.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class RecordedCase:
    """One recorded case of a released code."""

    name: str
    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]  # under their names there
    arrays: Mapping[str, Tensor]  # "in/obs", "t0/out/h", ...; inputs, intermediate results and outputs

    @property
    def recorded(self) -> dict[str, Tensor]:
        """What came out: intermediate results (``mid``) and outputs (``out``)."""
        return {name: value for name, value in self.arrays.items() if name.split("/")[-2] != "in"}

    @property
    def num_steps(self) -> int:
        """Steps ``t0``, ``t1``, ... that were recorded; 0 where a case has no steps."""
        return len({name.split("/")[0] for name in self.arrays if name[0] == "t" and name[1].isdigit()})


RECORDED = Path(__file__).parent / "recorded"
"""The numbers, which come with the package; README.md there says how they were recorded."""


def load_cases(name: str, folder: str | Path = RECORDED) -> list[RecordedCase]:
    """The cases of ``name.json`` and ``name.npz`` in ``folder``.

    Raises:
        ConfigError: a file is missing.
    """
    described, stored = Path(folder) / f"{name}.json", Path(folder) / f"{name}.npz"
    for path in (described, stored):
        if not path.is_file():
            raise ConfigError(f"Expected recorded numbers of {name!r} in {path}, which does not exist.")
    cases: dict[str, Any] = json.loads(described.read_text(encoding="utf-8"))["cases"]
    with np.load(stored, allow_pickle=False) as archive:
        arrays = {key: torch.from_numpy(archive[key]) for key in archive.files}
    return [
        RecordedCase(case, about["config"], _below(arrays, about["weights"]), _below(arrays, case))
        for case, about in cases.items()
    ]


def _below(arrays: Mapping[str, Tensor], prefix: str | None) -> dict[str, Tensor]:
    if prefix is None:
        return {}
    return {key[len(prefix) + 1 :]: value for key, value in arrays.items() if key.startswith(prefix + "/")}


class Reference(nn.Module):
    """The network of a released code. Parameters carry the names that they have there, so its weights load.

    ``quirks`` names every place where the code does something else than its paper, or than clean mathematics would;
    each can be left out by itself, which shows that it is there: without it the recorded numbers do not come out.

    Args:
        without_quirks: names of quirks to leave out.

    Raises:
        ConfigError: ``without_quirks`` names no quirk of this network.
    """

    title: ClassVar[str]
    """The method's name as its paper writes it."""
    source: ClassVar[str]
    """Repository and commit that was read and run."""
    quirks: ClassVar[Mapping[str, str]] = {}
    """Name -> what is done here, and what would be expected."""

    def __init__(self, without_quirks: Collection[str] = ()) -> None:
        super().__init__()
        for name in without_quirks:
            if name not in self.quirks:
                raise ConfigError(
                    f"{type(self).__name__} has no quirk {name!r} to leave out. {did_you_mean(name, list(self.quirks))}"
                )
        self._left_out = frozenset(without_quirks)

    def has(self, quirk: str) -> bool:
        """Whether the quirk is reproduced."""
        assert quirk in self.quirks, quirk
        return quirk not in self._left_out

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        """The network in the sizes of a task, all else as its authors chose it."""
        raise NotImplementedError

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        """The network that ``case`` was recorded from, with its weights, in evaluation mode."""
        raise NotImplementedError

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        """Everything in ``case.recorded``, computed anew from weights and inputs, under the same names."""
        raise NotImplementedError

    def load_recorded(self, case: RecordedCase) -> Self:
        """Take over the weights of ``case`` in their type; every name must fit."""
        dtype = next((value.dtype for value in case.weights.values() if value.is_floating_point()), torch.float64)
        self.to(dtype).load_state_dict(dict(case.weights))
        return self.eval()
