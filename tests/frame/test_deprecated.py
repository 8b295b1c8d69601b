"""Old names give the new things for one version, and say so once."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm import codec
from gnncomm.channel import Channel
from gnncomm.codec import KeepLargest
from gnncomm.deprecated import NAMES
from gnncomm.layers import MeanComm
from gnncomm.learn import curriculum
from gnncomm.schedule import Scheduler

ROOT = Path(__file__).resolve().parents[2]
OLD = [(module, old) for module, renamed in NAMES.items() for old in renamed]


@pytest.mark.parametrize(("module", "old"), OLD)
def test_an_old_name_is_the_new_thing_and_warns_once(module: str, old: str) -> None:
    place, _, new = NAMES[module][old].partition(":")
    vars(importlib.import_module(module)).pop(old, None)  # as in a fresh process
    with pytest.warns(DeprecationWarning, match=rf"{module}\.{old} is {place}\.{new} now") as told:
        exec(f"from {module} import {old} as first", found := {})
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = getattr(importlib.import_module(module), old)
    assert found["first"] is again is getattr(importlib.import_module(place), new)


def test_the_warning_points_at_the_users_line(tmp_path: Path, python: Any) -> None:
    program = tmp_path / "mine.py"
    program.write_text("import torch\n\nfrom gnncomm.layers import IncentiveComm\n", encoding="utf-8")
    done = python.run(program, folder=tmp_path, warn="default")
    assert done.returncode == 0, done.stderr
    assert f"{program}:3: DeprecationWarning: gnncomm.layers.IncentiveComm" in done.stderr
    assert done.stderr.count("is gnncomm.layers.MAICComm now") == 1


def test_other_names_stay_unknown() -> None:
    for module in NAMES:
        with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
            importlib.import_module(module).Nothing  # noqa: B018


def test_old_texts_are_understood() -> None:
    for old in ("topk", "top_k"):
        found = codec.resolve(f"{old}:k=3")
        assert isinstance(found, KeepLargest)
        assert codec.spec_of(found) == "keep_largest:k=3"
    assert curriculum.resolve("switch:before=1,after=2") == curriculum.Jump(1, 2)


def test_a_layer_that_overrides_listen_is_asked_as_before() -> None:
    with pytest.warns(DeprecationWarning, match=r"Doubled\.listen is called query now: rename it") as told:

        class Doubled(MeanComm):
            def listen(self, h: Tensor) -> Tensor:
                return 2 * h

    assert len(told) == 1
    h = torch.ones(2, 4)
    assert torch.equal(Doubled(4, 4).query(h), 2 * h)
    with pytest.warns(DeprecationWarning, match=r"MeanComm\.listen is called query now"):
        assert MeanComm(4, 4).listen(h) is h


def test_a_medium_and_a_scheduler_that_override_state_dim_carry_as_much_as_before() -> None:
    with pytest.warns(DeprecationWarning, match="state_dim is called carried_dim now"):

        class Slow(Channel):
            def state_dim(self, msg_channels: int, num_agents: int) -> int:
                return msg_channels * num_agents

    with pytest.warns(DeprecationWarning, match="state_dim is called carried_dim now"):

        class Patient(Scheduler):
            def state_dim(self, msg_channels: int) -> int:
                return msg_channels + 1

    assert Slow().carried_dim(3, 5) == 15
    assert Patient.carried_dim(None, 3) == 4
    with pytest.warns(DeprecationWarning, match=r"Channel\.state_dim is called carried_dim now"):
        assert Channel().state_dim(3, 5) == 0
