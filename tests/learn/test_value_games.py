"""Games that tell mixers apart: what each of them can and cannot say of a team's values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from gnncomm.learn import Training
from gnncomm.learn.pqn import PQN, PQNConfig
from gnncomm.policy import QMIX, QPLEX, VDN, GraphMixer, Mixer
from gnncomm.topology import Empty, Full, Topology
from gnncomm.types import TimeStep
from gnncomm.wire import Wire
from tests.learn.games import Game, greedy_return, one_shot, tabular, two_step, values_of

pytestmark = pytest.mark.slow
UNIFORM: dict[str, Any] = {"epsilon": 1.0, "epsilon_end": 1.0, "gamma": 1.0, "optimizer": "adam", "max_grad_norm": 0.0}
CLIMB = [[11.0, -30.0, 0.0], [-30.0, 7.0, 6.0], [0.0, 0.0, 5.0]]
PENALTY = [[-30.0, 0.0, 10.0], [0.0, 2.0, 0.0], [10.0, 0.0, -30.0]]
"""Of Claus and Boutilier 1998, section 4: the best joint action is dear to whoever tries it alone."""


def learned(
    game: Game, mixer: Mixer, updates: int, lr: float, epochs: int = 2, topology: Topology | None = None
) -> Training:
    torch.manual_seed(0)
    policy = tabular(game, mixer)
    if topology is not None:
        policy = policy.with_wire(Wire(topology))
    with torch.no_grad():
        policy.actor.weight.normal_(0.0, 0.1)  # type: ignore[operator, union-attr]
    config = PQNConfig(lam=0.0, epochs=epochs, minibatches=1, lr=lr, **UNIFORM)
    training = Training(game, policy, PQN(policy, config, updates, length=2), updates=updates)
    while not training.finished:
        training.advance()
    return training


def mixer_of(name: str, game: Game) -> Mixer:
    n, width = game.num_agents, game.obs_dim
    made = {
        "vdn": VDN,
        "qmix": lambda: QMIX(n, width),
        "qplex": lambda: QPLEX(n, width, game.num_actions, heads=4, embed=32),
        "graph": lambda: GraphMixer(width, embed=8, hyper=16),
    }
    torch.manual_seed(1)
    found: Mixer = made[name]()
    return found


@pytest.mark.parametrize(("name", "want"), [("vdn", 7), ("qmix", 8)])
def test_the_two_step_game(name: str, want: float) -> None:
    """Rashid et al. 2018, section 6.1: additive values choose the safe 7, monotonic ones the 8 behind the other."""
    game = two_step(num_envs=32, limit=2)
    training = learned(game, mixer_of(name, game), 500, lr=0.03 if name == "vdn" else 0.01)
    assert greedy_return(training, game) == want
    if name == "vdn":
        q = values_of(training.policy, game)
        fitted = q[0, 2].unsqueeze(-1) + q[1, 2]  # the additive game nearest to [[0, 1], [1, 8]]
        torch.testing.assert_close(fitted, torch.tensor([[-1.5, 2.5], [2.5, 6.5]]), atol=0.5, rtol=0)


@pytest.mark.parametrize(("topology", "want"), [(Full(), 8), (Empty(), 7)])
def test_a_mixer_over_a_graph_is_as_good_as_its_graph(topology: Topology, want: float) -> None:
    """The same game: where nobody is heard its values add up, as those of VDN (from each of five seeds)."""
    game = two_step(num_envs=32, limit=2)
    assert greedy_return(learned(game, mixer_of("graph", game), 300, lr=0.01, topology=topology), game) == want


@pytest.mark.parametrize(("payoff", "best"), [(CLIMB, 11), (PENALTY, 10)])
@pytest.mark.parametrize("name", ["vdn", "qmix", "qplex"])
def test_games_that_are_not_monotonic(name: str, payoff: list[list[float]], best: float) -> None:
    """Where everything is tried, VDN and QMIX cannot find the best joint action, which QPLEX finds.

    The penalty game has two, and QPLEX falls from one to the other: here it is seen to find one, and the climbing game
    below from any weights (``docs/learners/values.md``).
    """
    game = one_shot(payoff, num_envs=64)
    length = {"updates": 600, "epochs": 1} if name == "qplex" else {"updates": 250}
    training = learned(game, mixer_of(name, game), lr=0.02, **length)
    found = greedy_return(training, game)
    assert (found == best) == (name == "qplex"), found


def test_qplex_climbs_from_any_weights() -> None:
    """Ten teams side by side, each from weights of its own: what PQN does at epsilon 1 and lambda 0, a fit of the
    values of uniform joint actions."""
    seeds, payoff, gen = 10, torch.tensor(CLIMB), torch.Generator().manual_seed(7)
    torch.manual_seed(0)
    teams = [QPLEX(2, 2, 3, heads=1, embed=16) for _ in range(seeds)]
    weights = {name: w.detach().requires_grad_() for name, w in stack_module_state(teams)[0].items()}  # type: ignore[arg-type]
    q = (0.1 * torch.randn(seeds, 2, 3, generator=gen)).requires_grad_()

    def value(own: Any, q: Tensor, action: Tensor) -> Tensor:
        no, rows = torch.zeros(16, dtype=torch.bool), torch.zeros(16, 2)
        step = no.long()
        now = TimeStep(torch.eye(2).expand(16, 2, 2), rows, rows, rows == 0, no, no, no, no, step, step)
        taken = (nn.functional.one_hot(action, 3) * q).sum(-1)
        heard = torch.zeros(16, 2, 2, dtype=torch.bool)
        mixed: Tensor = functional_call(teams[0], own, (taken, q.amax(-1).expand(16, 2), action, now, heard))
        return mixed[:, 0]

    fit = torch.optim.Adam([q, *weights.values()], lr=0.005)
    for _ in range(2000):
        action = torch.randint(0, 3, (seeds, 16, 2), generator=gen)
        error = torch.vmap(value)(weights, q, action) - payoff[action[..., 0], action[..., 1]]
        fit.zero_grad()
        error.square().mean(-1).sum().backward()
        fit.step()
    best = q.argmax(-1)
    assert int((payoff[best[:, 0], best[:, 1]] == 11).sum()) >= 9
