"""DCC: ask only those teammates whose presence changes what one would do."""

from __future__ import annotations

from torch import Tensor

from gnncomm.errors import ShapeError
from gnncomm.graph import CommGraph
from gnncomm.shapes import Bool, Float


def causal_requests(
    value: Float[Tensor, "B N A"],
    without: Float[Tensor, "B N N A"],
    seen: Bool[Tensor, "B N N"] | None = None,
) -> CommGraph:
    r"""Who is asked by whom, by the causal test of DCC.

    Ma, Luo and Pan 2021, `Learning Selective Communication for Multi-Agent Path Finding
    <https://arxiv.org/abs/2109.05413>`_, section 3.2. Receiver i asks j iff leaving j out of i's own observation would
    change i's choice:

    .. math::
        j \to i \iff \arg\max_a Q_i(a \mid o_i) \ne \arg\max_a Q_i(a \mid o_i \setminus j)

    Decided by the receiver, from its own observation and weights alone. The graph is that of the replies; whoever asks
    first says what it sees, so the requests run over the same edges turned round. To find ``without`` an environment
    has to be able to leave a teammate out of an observation, and the policy runs once more for each that is seen.

    Args:
        value: what each agent i expects of its actions.
        without: the same, had i not seen j: axes are (environment, receiver i, left out j, action).
        seen: j is in the observation of i (axes as in ``without``); None: all are. Nobody asks itself.

    Returns:
        A dense graph of the replies: senders j, receivers i.

    Raises:
        ShapeError: shapes that do not fit together.
    """
    num_envs, num_agents, num_actions = value.shape
    expected = (num_envs, num_agents, num_agents)
    if without.shape != (*expected, num_actions) or (seen is not None and seen.shape != expected):
        raise ShapeError(
            f"causal_requests: expected without {[*expected, num_actions]} and seen {list(expected)} for value "
            f"{list(value.shape)}, got {list(without.shape)} and {None if seen is None else list(seen.shape)}."
        )
    asks_BNN = without.argmax(-1) != value.argmax(-1).unsqueeze(-1)  # receiver, left out
    if seen is not None:
        asks_BNN = asks_BNN & seen
    asks_BNN = asks_BNN.clone()
    asks_BNN.diagonal(dim1=1, dim2=2).fill_(False)
    return CommGraph.from_dense(asks_BNN.transpose(1, 2))
