"""NDQ's message encoder as released."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from gnncomm.bench.reference.base import RecordedCase, Reference


class Encoded(NamedTuple):
    """Messages of NDQ: all that an agent sends to the N - 1 others is one vector of M numbers."""

    mean: Tensor  # [..., M]
    sigma: Tensor  # [..., M] standard deviation
    message: Tensor  # [..., M]
    logits: Tensor  # [..., A] of the best action, inferred from the message


class NDQNetwork(Reference):
    r"""The message encoder of NDQ's released code, and the network that infers the best action from a message.

    Wang, Wang, Zheng and Zhang 2020, `Learning Nearly Decomposable Value Functions Via Communication Minimization
    <https://arxiv.org/abs/1910.05366>`_, sections 3.2 and 3.3:

    .. math::
        (\mu, \rho) = W_2 \mathrm{relu}(W_1 o), \qquad \sigma = \mathrm{softplus}(\rho), \qquad
        m = \mu + \sigma \epsilon, \qquad \text{logits} = \mathrm{MLP}(m)

    Nothing here differs from the paper.

    Args:
        obs_dim: D.
        num_actions: A.
        channels: M, for all receivers together.
        hidden: H.

    Shapes:
        obs ``[..., D]`` and standard normal eps ``[..., M]`` (None: the mean is sent).
    """

    title: ClassVar[str] = "NDQ"
    source: ClassVar[str] = "https://github.com/TonghanWang/NDQ at 575f2e243b"

    def __init__(
        self, obs_dim: int, num_actions: int, channels: int, hidden: int = 64, without_quirks: Collection[str] = ()
    ) -> None:
        super().__init__(without_quirks)
        self.fc1, self.fc2 = nn.Linear(obs_dim, hidden), nn.Linear(hidden, 2 * channels)
        self.inference_model = nn.Sequential(
            nn.Linear(channels, 2 * channels),
            nn.ReLU(),
            nn.Linear(2 * channels, 2 * channels),
            nn.ReLU(),
            nn.Linear(2 * channels, num_actions),
        )

    def forward(self, obs: Tensor, eps: Tensor | None = None) -> Encoded:
        mean, raw = self.fc2(torch.relu(self.fc1(obs))).chunk(2, -1)
        sigma = softplus(raw)
        message = mean if eps is None else mean + sigma * eps
        return Encoded(mean, sigma, message, self.inference_model(message))

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(obs_dim, num_actions, 3 * max(1, num_agents - 1), hidden, without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        about = case.config
        return cls(
            about["obs_size"], about["atom"], about["comm_embed_dim"], about["hidden"], without_quirks
        ).load_recorded(case)

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        with torch.no_grad():
            out = cls.of_case(case, without_quirks)(case.arrays["in/obs"], case.arrays["in/eps"])
        return {"out/mu": out.mean, "out/sigma": out.sigma, "out/message": out.message, "out/logits": out.logits}
