"""MAIC: models that tell what a teammate will do, and attention on few."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.utils import scatter, softmax

from gnncomm.codec.bottleneck import Bottleneck
from gnncomm.host import one_hot
from gnncomm.layers.maic import MAICComm
from gnncomm.learn import Rollout, Term
from gnncomm.learn.losses import Terms, masked_mean
from gnncomm.methods.losses.base import MethodLoss, part
from gnncomm.policy import CommPolicy, Evaluation
from gnncomm.shapes import Float


def gaussian_kl(
    mean: Float[Tensor, "*lead L"],
    variance: Float[Tensor, "*lead L"],
    other_mean: Float[Tensor, "*lead L"],
    other_variance: Float[Tensor, "*lead L"],
) -> Float[Tensor, "*lead"]:
    r""":math:`\mathrm{KL}(\mathcal N(\mu, \sigma^2) \Vert \mathcal N(\mu', \sigma'^2))` of diagonal Gaussians,
    in nats."""
    ratio = variance / other_variance
    return 0.5 * (ratio + (mean - other_mean).square() / other_variance - 1 - ratio.log()).sum(-1)


def attention_entropy(alpha: Float[Tensor, "*lead K"], least: float = 1e-4) -> Float[Tensor, "*lead"]:
    r"""In bits: :math:`-\sum_j \beta_j \log_2 \beta_j`, :math:`\beta` = alpha, at least ``least``.

    Low entropy is attention on few teammates.
    """
    floored = alpha.clamp(min=least)
    return -(floored * floored.log2()).sum(-1)


class MAICLoss(MethodLoss):
    r"""Mutual information and sparse attention (Yuan et al. 2022, AAAI, section 4.2; weights of the released code).

    Over the edges j -> i, with the model :math:`z_j` of the sender and the greedy action :math:`a_i` of the receiver,

    .. math::
        \text{maic\_information} = \mathrm{mean}_{ji}\,
            \mathrm{KL}\big(\mathcal N(z_j, \sigma^2) \,\big\Vert\, \mathcal N(\mathrm{infer}(h_j, a_i))\big), \qquad
        \text{maic\_entropy} = \mathrm{mean}_i \Big(- \sum_j \beta_{ji} \log_2 \beta_{ji}\Big)

    with :math:`\beta` the attention, at least 1e-4, of queries and models that are constants there: so the entropy
    trains the two maps of the score and nothing else. :math:`\sigma` is that of the codec ``bottleneck`` where this
    puts noise on the wire, else the root of ``floor``. The paper's sender has a model, with a variance of its own, of
    each teammate by its number; here it has one for all.

    Args:
        policy: with a layer ``maic``; actions are choices.
        width: of the hidden layer of infer.
        floor: least variance.
        information, entropy: weights.
    """

    def __init__(
        self,
        policy: CommPolicy,
        width: int = 64,
        floor: float = 0.002,
        information: float = 1e-3,
        entropy: float = 1e-2,
    ) -> None:
        super().__init__(policy)
        layer = part(self.layer(MAICComm), MAICComm, "maic", "comm")
        self.floor, self.information, self.entropy = floor, information, entropy
        seen, told = layer.in_channels + self.num_actions, 2 * layer.latent_channels
        self.infer = nn.Sequential(nn.Linear(seen, width), nn.LeakyReLU(), nn.Linear(width, told))

    @property
    def variance(self) -> float:
        codec = self.policy.codec
        return max(codec.sigma**2, self.floor) if isinstance(codec, Bottleneck) else self.floor

    def forward(self, evaluation: Evaluation, rollout: Rollout) -> Terms:
        layer, now = part(self.layer(MAICComm), MAICComm, "maic", "comm"), self.flat(rollout)
        rows_VH = evaluation.rows.flatten(0, 2)
        greedy_VA = one_hot(evaluation.logits.flatten(0, 2).argmax(-1), self.num_actions, rows_VH)
        sender_E, receiver_E = self.policy.reachable(now).expand(len(now.step)).edge_index
        model_VL: Tensor = layer.model(rows_VH)
        inferred_E2L = self.infer(torch.cat([rows_VH[sender_E], greedy_VA[receiver_E]], -1))
        mean_EL, raw_EL = inferred_E2L.chunk(2, -1)
        variance = torch.full_like(mean_EL, self.variance)
        kl_E = gaussian_kl(model_VL[sender_E], variance, mean_EL, raw_EL.exp().clamp(min=self.floor))
        query_VK, key_VK = layer.lin_query(rows_VH.detach()), layer.lin_key(model_VL.detach())
        score_E = (query_VK[sender_E] * key_VK[receiver_E]).sum(-1) / layer.key_channels**0.5
        alpha_E: Tensor = softmax(score_E, receiver_E, num_nodes=len(rows_VH))
        bits_V = scatter(attention_entropy(alpha_E.unsqueeze(-1)), receiver_E, 0, len(rows_VH), "sum")
        hears_V = scatter(torch.ones_like(receiver_E), receiver_E, 0, len(rows_VH), "sum") > 0
        return {
            "maic_information": Term(kl_E.sum() / max(len(kl_E), 1), self.information),
            "maic_entropy": Term(masked_mean(bits_V, hears_V), self.entropy),
        }
