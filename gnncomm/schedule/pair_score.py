"""A score for a pair of agents, from the receiver's row and what the sender announced."""

from __future__ import annotations

from torch import Tensor, nn

from gnncomm.graph import Edges


class PairScore(nn.Module):
    r""":math:`\ell_{ji} = v^\top \mathrm{ReLU}(W_i h_i + b + s_j) + c` with the signature :math:`s_j = W_j h_j`.

    An MLP with one hidden layer on :math:`[h_i, h_j]`, split where the wire is.

    Args:
        in_channels: F.
        channels: C, hidden width and numbers in a signature.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.lin_receiver = nn.Linear(in_channels, channels)
        self.lin_sender = nn.Linear(in_channels, channels, bias=False)
        self.lin_score = nn.Linear(channels, 1)

    def signature(self, h: Tensor) -> Tensor:
        """``[..., F] -> [..., C]``, from the sender's row."""
        signature: Tensor = self.lin_sender(h)
        return signature

    def forward(self, edges: Edges, h: Tensor, signature: Tensor) -> Tensor:
        """``[*edges.shape]`` from rows ``h [B, N, F]`` and signatures ``[B, N, C]``."""
        return self.between(edges.of_receiver(self.lin_receiver(h)), edges.of_sender(signature)).expand(edges.shape)

    def reverse(self, edges: Edges, h: Tensor, signature: Tensor) -> Tensor:
        """The score of the opposite edge ``i -> j`` of every ``j -> i``."""
        return self.between(edges.of_sender(self.lin_receiver(h)), edges.of_receiver(signature)).expand(edges.shape)

    def between(self, receiver: Tensor, signature: Tensor) -> Tensor:
        """The score of projected receivers and signatures ``[..., C]`` that broadcast."""
        score: Tensor = self.lin_score((receiver + signature).relu()).squeeze(-1)
        return score
