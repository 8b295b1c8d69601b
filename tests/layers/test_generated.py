"""What PyG writes for a class is that class's, and leaves no file behind."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.typing import OptTensor

from gnncomm.graph import CommGraph
from gnncomm.layers import CommLayer, MeanComm

SCRIPT = """
from gnncomm.layers.names import LAYERS, make_layer
for name in LAYERS:
    make_layer(name, 8)
"""


def test_no_file_is_left_in_the_temporary_directory(tmp_path: Path, python: Any) -> None:
    done = python.run("-c", SCRIPT, folder=tmp_path, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.glob("*propagate*")] == []


def test_what_was_written_can_still_be_read() -> None:
    MeanComm(4, 4)
    assert "def propagate(" in inspect.getsource(MeanComm.propagate)


def written(weighed: bool) -> type[CommLayer]:
    """A class that is written anew under the same name, as in a notebook."""
    if weighed:

        class Draft(CommLayer):
            def send(self, h: Tensor) -> Tensor:
                return h

            def message(self, msg_j: Tensor, edge_weight: OptTensor) -> Tensor:
                return msg_j if edge_weight is None else edge_weight.view(-1, 1) * msg_j

            def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
                return inbox
    else:

        class Draft(CommLayer):  # type: ignore[no-redef]
            def send(self, h: Tensor) -> Tensor:
                return h

            def message(self, msg_j: Tensor) -> Tensor:
                return msg_j

            def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
                return inbox

    return Draft


def test_a_class_that_is_written_again_under_its_name_runs_its_own_hooks() -> None:
    adjacency = torch.tensor([[False, True], [False, False]])
    graph = CommGraph.from_dense(adjacency, weight=torch.full((2, 2), 0.25))
    h = torch.ones(1, 2, 3)
    first, second = written(weighed=False)(3, 3, 3), written(weighed=True)(3, 3, 3)
    assert first(h, graph)[0, 1].tolist() == [1.0] * 3
    assert second(h, graph)[0, 1].tolist() == [0.25] * 3
    assert first(h, graph)[0, 1].tolist() == [1.0] * 3
