"""Talk when something is new: against the rule written as a loop, and against a trace worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.schedule import EventTriggered, Schedule, Situation
from gnncomm.topology import Full
from gnncomm.types import Moment


def play(module: EventTriggered, messages_TBNM: Tensor, graph: CommGraph | None = None) -> list[Schedule]:
    steps, num_envs, num_agents, width = messages_TBNM.shape
    graph = Full()(torch.ones(num_envs, num_agents, dtype=torch.bool)) if graph is None else graph
    state = torch.zeros(num_envs, num_agents, module.carried_dim(width))
    results = []
    for t in range(steps):
        moment = Moment(torch.arange(num_envs), torch.full((num_envs,), t))
        result: Schedule = module(Situation(messages_TBNM[t], messages_TBNM[t], graph, state, moment))
        state = result.state
        results.append(result)
    return results


def sent(results: list[Schedule]) -> Tensor:
    return torch.stack([result.sent for result in results])  # type: ignore[misc]


def test_by_hand() -> None:
    """One number, delta 1, timeout 4, fresh for 2 steps."""
    numbers = torch.tensor([5.0, 5.5, 6.0, 6.1, 6.2, 6.3, 6.4, 8.0])
    results = play(EventTriggered(1.0, timeout=4, fresh_limit=2), numbers.view(-1, 1, 1, 1).expand(-1, 1, 2, 1))
    #     first  .5^2  1^2 is not > 1  1.1^2 > 1  .1^2  .2^2  .3^2  1.9^2 > 1
    assert sent(results)[:, 0, 0].tolist() == [True, False, False, True, False, False, False, True]
    read = [float(result.msg[0, 0]) for result in results]
    assert read == pytest.approx([5.0, 5.0, 5.0, 6.1, 6.1, 6.1, 6.1, 8.0])
    heard = [bool(result.graph.dense[0, 0, 1]) for result in results]
    assert heard == [True, True, True, True, True, True, False, True], "three steps are too old"
    unchanged = play(EventTriggered(1.0, timeout=4, fresh_limit=9), torch.zeros(10, 1, 2, 1))
    assert sent(unchanged)[:, 0, 0].nonzero().flatten().tolist() == [0, 4, 8], "every four steps at the latest"


def test_against_the_rule_as_a_loop() -> None:
    steps, num_envs, num_agents, width = 40, 3, 4, 5
    generator = torch.Generator().manual_seed(0)
    messages = (0.3 * torch.randn(steps, num_envs, num_agents, width, generator=generator)).cumsum(0)
    delta, timeout, fresh = 1.5, 3, 1
    results = play(EventTriggered(delta, timeout, fresh), messages)
    for b in range(num_envs):
        for j in range(num_agents):
            last: Tensor | None = None
            when = -1
            for t in range(steps):
                new = messages[t, b, j]
                due = last is None or float((new - last).square().sum()) > delta or t - when >= timeout
                if due:
                    last, when = new, t
                assert bool(sent(results)[t, b, j]) == due, (t, b, j)
                readable = t - when <= fresh
                assert int(results[t].graph.dense[b, j].sum()) == (num_agents - 1) * readable
                assert last is not None
                assert torch.equal(results[t].msg[b, j], last)
    share = float(sent(results).float().mean())
    assert 0.35 < share < 0.9, "the walk was neither always nor never news"


def test_nobody_sends_while_nobody_listens() -> None:
    alone = CommGraph.from_edge_list([(0, 1)], 3)
    results = play(EventTriggered(), torch.zeros(6, 2, 3, 2), alone)
    assert sent(results)[:, 0].tolist()[0] == [True, False, False]
    assert not sent(results)[:, :, 1:].any()


def test_the_gradient_goes_to_the_step_at_which_the_message_was_sent() -> None:
    messages = torch.zeros(3, 1, 2, 1, requires_grad=True)
    results = play(EventTriggered(1.0, timeout=9, fresh_limit=9), messages)
    (gradient,) = torch.autograd.grad(results[2].msg.sum(), messages)
    assert gradient.squeeze().tolist() == [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    "settings", [{"delta": 0.0}, {"delta": float("inf")}, {"timeout": 0}, {"fresh_limit": -1}], ids=str
)
def test_bad_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        EventTriggered(**settings)  # type: ignore[arg-type]
