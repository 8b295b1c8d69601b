"""What value-based methods add to a Q-learner: heads and terms of the loss, each a small function or module.

The learner of this library is PPO; these are for learners of your own, and for what the methods' papers say.
Every term is averaged or returned row by row as its docstring says, without the weight that a paper gives it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, normalize

from gnncomm.shapes import Float, Int


class SkipHead(nn.Module):
    """Q from the rows of all rounds side by side, Q = W [h0, h1, ..., hK] + b (DGN, section 3; Jiang et al. 2020).

    Args:
        channels: H, width of a row.
        rows: K + 1.
        num_actions: A.
    """

    def __init__(self, channels: int, rows: int, num_actions: int) -> None:
        super().__init__()
        self.lin = nn.Linear(channels * rows, num_actions)

    def forward(self, *rows: Tensor) -> Tensor:
        """``[..., H]`` each -> ``[..., A]``."""
        q: Tensor = self.lin(torch.cat(rows, -1))
        return q


def temporal_relation_kl(
    now: Float[Tensor, "*lead N K"], following: Float[Tensor, "*lead N K"]
) -> Float[Tensor, "*lead N"]:
    r"""DGN's temporal relation regularisation: :math:`\mathrm{KL}(\alpha^{t+1} \Vert \alpha^t)` of each agent.

    Jiang et al. 2020, section 3.3. ``following`` is the attention of the target network one step later over the same
    neighbours; no gradient flows into it. Entries of 0 (no edge) are 0 in both. A head is a leading axis.
    """
    following = following.detach()
    heard = following > 0
    log_ratio = torch.where(heard, following, 1.0).log() - torch.where(heard, now, 1.0).log()
    return (following * log_ratio).sum(-1)


def add_incentives(
    q: Float[Tensor, "*lead N A"],
    alpha: Float[Tensor, "*lead N N"],
    msg: Float[Tensor, "*lead N N A"],
) -> Float[Tensor, "*lead N A"]:
    r"""MAIC's head: :math:`Q_j = q_j + \sum_i \alpha_{ij} m_{ij}`, senders before receivers (Yuan et al. 2022)."""
    return q + (alpha.unsqueeze(-1) * msg).sum(-3)


def gaussian_kl(
    mean: Float[Tensor, "*lead L"],
    variance: Float[Tensor, "*lead L"],
    other_mean: Float[Tensor, "*lead L"],
    other_variance: Float[Tensor, "*lead L"],
) -> Float[Tensor, "*lead"]:
    r""":math:`\mathrm{KL}(\mathcal N(\mu, \sigma^2) \Vert \mathcal N(\mu', \sigma'^2))` of diagonal Gaussians, in nats.

    MAIC's mutual information loss is its mean over senders and receivers, between a teammate model and what is
    inferred from the sender's state and the receiver's action (Yuan et al. 2022, section 4.2; weight 0.001).
    """
    ratio = variance / other_variance
    return 0.5 * (ratio + (mean - other_mean).square() / other_variance - 1 - ratio.log()).sum(-1)


def attention_entropy(alpha: Float[Tensor, "*lead K"], least: float = 1e-4) -> Float[Tensor, "*lead"]:
    r"""MAIC's entropy loss in bits: :math:`-\sum_j \beta_j \log_2 \beta_j`, :math:`\beta` = alpha, at least ``least``.

    Low entropy is attention on few teammates (Yuan et al. 2022, section 4.2; weight 0.01).
    """
    floored = alpha.clamp(min=least)
    return -(floored * floored.log2()).sum(-1)


def message_kl(mean: Float[Tensor, "*lead M"], sigma: Float[Tensor, "*lead M"]) -> Float[Tensor, "*lead"]:
    r"""NDQ's compactness: :math:`\mathrm{KL}(\mathcal N(\mu, \sigma^2) \Vert \mathcal N(0, 1))` of a message, in nats.

    Wang et al. 2020, section 3.3. The codec ``bottleneck`` adds it to the loss of any learner, for a fixed sigma.
    """
    return gaussian_kl(mean, sigma.square(), torch.zeros_like(mean), torch.ones_like(mean))


def action_inference_loss(logits: Float[Tensor, "*lead A"], best: Int[Tensor, "*lead"]) -> Float[Tensor, "*lead"]:
    r"""NDQ's expressiveness: :math:`-\log q(a^* \mid m)`, a* the receiver's best action by the target network.

    Wang et al. 2020, section 3.2. In nats; the released code adds 1e-6 to the probability, which a log-softmax does
    not need.
    """
    flat = cross_entropy(logits.reshape(-1, logits.shape[-1]), best.reshape(-1), reduction="none")
    return flat.view(best.shape)


def message_smoothness(
    msg: Float[Tensor, "T B N M"], weights: tuple[float, ...] = (1.5, 1.0, 0.5)
) -> Float[Tensor, "T B N"]:
    r"""TMC's smoothing: :math:`\sum_k w_k \lVert m_t - m_{t-k} \rVert^2 / (K_t \lVert m_t \rVert^2)`, k = 1 .. K.

    Zhang et al. 2020, section 3.3 (weight 1.5): the nearest step weighs most. :math:`K_t \le K` are the steps of the
    window that exist; the first step has the value 0. The released code orders its weights from the oldest message of
    the window on, so that they fall on other steps while the window fills, divides by further constants of its batch
    and adds up over time; here a step is a value.

    Args:
        msg: messages of one episode.
        weights: :math:`w_1, ..., w_K`.
    """
    size = msg.square().sum(-1)
    terms = []
    for t in range(len(msg)):
        window = min(t, len(weights))
        apart = [weights[k - 1] * (msg[t] - msg[t - k]).square().sum(-1) for k in range(1, window + 1)]
        total = torch.stack(apart).sum(0) if apart else torch.zeros_like(size[t])
        terms.append(total / (max(window, 1) * size[t].clamp(min=1e-12)))
    return torch.stack(terms)


def margin_penalty(q: Float[Tensor, "*lead A"], sharpness: float = 25.0) -> Float[Tensor, "*lead"]:
    r"""TMC's robustness: :math:`\exp(-25 (Q_{(1)} - Q_{(2)}))`, of the two largest values of an agent.

    Zhang et al. 2020, section 3.3 (weight 0.3): a wide margin survives a message that was lost.
    """
    best, second = q.topk(2, -1).values.unbind(-1)
    return torch.exp(-sharpness * (best - second))


class StatePrediction(nn.Module):
    """ExpoComm's auxiliary loss: each message predicts the state of the environment (Li et al. 2025, section 4.3).

    Mean squared error of an MLP, weight 0.1.

    Args:
        channels: H, width of a message.
        state_dim: S.
    """

    def __init__(self, channels: int, state_dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, state_dim))

    def forward(self, msg: Float[Tensor, "*lead N H"], state: Float[Tensor, "*lead S"]) -> Float[Tensor, ""]:
        said: Tensor = self.net(msg)
        return mse_loss(said, state.unsqueeze(-2).expand_as(said))


def info_nce(
    msg: Float[Tensor, "R H"],
    positive: Float[Tensor, "R H"],
    negative: Float[Tensor, "R K H"],
    temperature: float = 0.07,
) -> Float[Tensor, " R"]:
    r"""ExpoComm's contrastive loss, where there is no state to predict (Li et al. 2025, section 4.3).

    .. math:: -\log \frac{e^{m \cdot m^+ / T}}{e^{m \cdot m^+ / T} + \sum_k e^{m \cdot m^-_k / T}}

    with messages of length 1.

    Args:
        msg: messages.
        positive: for each the message of another agent at the same step.
        negative: for each K messages of other steps (20 in the paper).
        temperature: T.
    """
    anchor, other, far = (normalize(value, dim=-1) for value in (msg, positive, negative))
    score = torch.cat([(anchor * other).sum(-1, keepdim=True), (anchor.unsqueeze(1) * far).sum(-1)], -1)
    return -(score / temperature).log_softmax(-1)[:, 0]
