"""Where foreign agents are in a picture."""

from __future__ import annotations

import torch

from gnncomm.shapes import Float

CELLS = 20
"""Side of the grid that continuous positions are drawn on."""


def side_by_side(num_envs: int, num_agents: int) -> Float[torch.Tensor, "B N 2"]:
    """One row of cells, for agents whose positions are not known."""
    column_BN = torch.arange(num_agents, dtype=torch.float32).repeat(num_envs, 1)
    return torch.stack([torch.zeros_like(column_BN), column_BN], -1)


def on_grid(pos: Float[torch.Tensor, "B N P"], low: float, high: float) -> Float[torch.Tensor, "B N 2"]:
    """(row, column) in cells: x to the right, y up, both from ``low`` to ``high``; who is outside is at the border.

    Further coordinates are not drawn; a single one is x, in the middle row.
    """
    x_BN = pos[..., 0]
    y_BN = pos[..., 1] if pos.shape[-1] > 1 else torch.full_like(x_BN, (low + high) / 2)
    share_BN2 = torch.stack([high - y_BN, x_BN - low], -1) / (high - low)
    return (share_BN2 * CELLS - 0.5).clamp(0, CELLS - 1)
