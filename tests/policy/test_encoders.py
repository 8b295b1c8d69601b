"""Encoders against sums by hand, and any module in their place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import envs
from gnncomm.errors import ConfigError, DtypeError, ShapeError
from gnncomm.layers import MeanComm
from gnncomm.policy import AgentId, CommPolicy, Encoder, EntityEncoder, GridEncoder, MLPEncoder
from gnncomm.policy.names import ENCODERS as NAMES
from gnncomm.testing import check_policy
from gnncomm.types import SparseObs

B, N, D, H = 2, 3, 20, 8


def make_encoder(text: str, obs_dim: int, hidden: int) -> nn.Module:
    return NAMES.resolve(text, obs_dim=obs_dim, hidden=hidden)


ENCODERS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: make_encoder("linear", D, H),
    "mlp": lambda: make_encoder("mlp:layers=3", D, H),
    "grid": lambda: make_encoder("grid:shape=2x3x3,channels=4", D, H),
    "entities": lambda: make_encoder("entities:count=4,width=3,first=2", D, H),
    "agent number": lambda: AgentId(make_encoder("mlp", D + N, H), D, N),
}


def sparse() -> SparseObs:
    torch.manual_seed(1)
    return SparseObs(torch.randint(0, D, (B, N, 5)), torch.randn(B, N, 5), D)


@pytest.mark.parametrize("name", ENCODERS)
def test_both_forms_of_an_observation_give_the_same_rows(name: str) -> None:
    torch.manual_seed(0)
    encoder, obs = ENCODERS[name](), sparse()
    rows = encoder(obs)
    assert rows.shape == (B, N, H)
    assert float(rows.detach().std()) > 0
    torch.testing.assert_close(encoder(obs.to_flat()), rows)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_row_is_what_it_is_alone(name: str) -> None:
    torch.manual_seed(0)
    encoder, obs = ENCODERS[name]().double(), sparse().to_flat().double()
    rows = encoder(obs)
    for b in range(B):
        for n in range(N):
            alone = encoder.of_agent(n) if isinstance(encoder, AgentId) else encoder
            torch.testing.assert_close(alone(obs[b, n]), rows[b, n])
    torch.testing.assert_close(encoder(obs.expand(4, B, N, D)), rows.expand(4, B, N, H))


@pytest.mark.parametrize("name", ["mlp", "grid", "entities"])
def test_others_are_refused(name: str) -> None:
    encoder = ENCODERS[name]()
    with pytest.raises(ShapeError, match=f"width {D}, got 7"):
        encoder(torch.zeros(B, N, 7))
    with pytest.raises(DtypeError, match="float64, which would lose digits"):
        encoder(torch.zeros(B, N, D, dtype=torch.float64))


def test_a_perceptron_by_hand() -> None:
    encoder = MLPEncoder(2, 2)
    first, second = encoder.net[0], encoder.net[1]
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[1.0, -1.0], [2.0, 1.0]]))
        second.weight.copy_(torch.tensor([[1.0, 3.0], [-1.0, 0.0]]))
        second.bias.copy_(torch.tensor([0.5, 0.25]))
    # relu([1 + 2*2, -1 + 2]) = [5, 1]; [5 + 3 + .5, -5 + .25] -> [8.5, 0]
    assert encoder(torch.tensor([1.0, 2.0])).tolist() == [8.5, 0.0]


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_grid_is_read_in_its_order(channels_last: bool) -> None:
    """A filter that passes channel 1 through, summed up: the sum of that channel, plus three times the rest."""
    encoder = GridEncoder(9, 1, (2, 2, 2), channels=1, layers=1, channels_last=channels_last)
    conv = encoder.net[0]
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 1, 1, 1] = 1.0
        encoder.lin.weight.copy_(torch.tensor([[1.0, 1.0, 1.0, 1.0, 3.0]]))
    image = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [30.0, 40.0]]])
    numbers = image.movedim(0, -1) if channels_last else image
    assert encoder(torch.cat([numbers.flatten(), torch.tensor([5.0])])).tolist() == [115.0]


def test_a_grid_looks_at_neighbours() -> None:
    """A filter that moves everything to the right: what stood in the last column is gone."""
    encoder = GridEncoder(4, 1, (1, 2, 2), channels=1, layers=1)
    with torch.no_grad():
        encoder.net[0].weight.zero_()
        encoder.net[0].weight[0, 0, 1, 0] = 1.0
        encoder.lin.weight.copy_(torch.tensor([[0.0, 1.0, 0.0, 100.0]]))
    assert encoder(torch.tensor([1.0, 7.0, 2.0, 9.0])).tolist() == [201.0]


def test_entities_by_hand() -> None:
    """Two of three entities are there; the maximum of what each gives; order does not matter."""
    encoder = EntityEncoder(7, 2, count=3, width=2, first=1)
    with torch.no_grad():
        encoder.each.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        encoder.each.bias.copy_(torch.tensor([0.5, 0.0]))
        encoder.lin.weight.copy_(torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]]))
    rest, one, two, none = [3.0], [1.0, 5.0], [2.0, -4.0], [0.0, 0.0]
    # relu of each: [1.5, 6], [2.5, 0]; maximum [2.5, 6]; 2.5 + 2 * 3 = 8.5
    assert encoder(torch.tensor(rest + one + two + none)).tolist() == [8.5, 6.0]
    assert encoder(torch.tensor(rest + none + two + one)).tolist() == [8.5, 6.0]
    assert encoder(torch.tensor(rest + none * 3)).tolist() == [6.0, 0.0], "nobody there: nothing, not what zeros give"


def test_agent_numbers_tell_agents_apart() -> None:
    torch.manual_seed(0)
    encoder = AgentId(Encoder(D + N, H), D, N)
    rows = encoder(torch.ones(B, N, D))
    assert not rows[:, 0].allclose(rows[:, 1])
    weight = encoder.encoder.weight
    torch.testing.assert_close(rows[0, 2], torch.relu(weight[:D].sum(0) + weight[D + 2]))
    with pytest.raises(ShapeError, match="knows 3 agents by their numbers, got 2"):
        encoder(torch.ones(B, 2, D))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("grid", r"needs 'shape'"),
        ("grid:shape=3x3x3", r"at most obs_dim=20 numbers"),
        ("entities:count=7,width=3", "within obs_dim=20"),
        ("mlp:layers=0", "layers must be a whole number from 1"),
        ("mpl", "Did you mean 'mlp'"),
    ],
)
def test_names_that_do_not_fit_are_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_encoder(text, D, H)


class Squares(nn.Module):
    """A user's own encoder: no weight, no attribute, only rows."""

    def forward(self, obs: Tensor) -> Tensor:
        return torch.cat([obs, obs.square()], -1)[..., :H]


def test_any_module_is_an_encoder_and_any_an_actor() -> None:
    env = envs.make("relay", num_envs=3, steps=3)
    actor = nn.Sequential(nn.Linear(H, 16), nn.Tanh(), nn.Linear(16, env.num_actions))
    policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(H, H), encoder=Squares(), actor=actor)
    check_policy(policy, env)


def test_an_encoder_of_another_width_is_refused() -> None:
    env = envs.make("relay", num_envs=3, steps=3)
    policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(H, H), encoder=Encoder(env.obs_dim, H + 1))
    with pytest.raises(ShapeError, match=r"the encoder gives .* = \[3, 4, 8\]"):
        policy.act(env.reset(seed=0), policy.initial_state(3, env.num_agents))
