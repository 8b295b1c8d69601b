"""Codecs: what is read, what it costs, and what the gradient is."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from gnncomm import codec
from gnncomm.codec import DRU, LSQ, Bottleneck, Codec, Dithered, GumbelSymbols, KeepLargest, Quantise
from gnncomm.errors import ConfigError
from gnncomm.types import Moment

ALL = {
    "bfloat16": "bfloat16",
    "bottleneck": "bottleneck:threshold=0.5",
    "dithered": "dithered:delta=0.3,price=0.01",
    "dru": "dru",
    "float16": "float16",
    "float32": "float32",
    "gumbel_symbols": "gumbel_symbols:symbols=3",
    "quantise": "quantise:bits=3,limit=2",
    "keep_largest": "keep_largest:k=2",
    "lsq": "lsq:bits=3,step=0.3",
}
M = 7


def moment(num_envs: int, step: int = 4) -> Moment:
    return Moment(torch.arange(num_envs) + 100, torch.full((num_envs,), step), 1)


def messages(num_envs: int = 5, num_agents: int = 3, width: int = M, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_envs, num_agents, width, generator=generator, dtype=torch.float64)


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=0, atol=1e-13)


def test_everything_that_is_listed_is_tried() -> None:
    assert set(codec.names()) == set(ALL)


# ---- all codecs ----


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_each_message_on_its_own(name: str, training: bool) -> None:
    """Alone, in a smaller team, among NaN: the same. Another moment draws anew, or nothing is drawn.

    Equal but for the last digit, which vector instructions of a sigmoid or logarithm do not promise.
    """
    subject, msg, now = codec.resolve(ALL[name]).train(training), messages(), moment(5)
    together = subject(msg, now)
    assert together.msg.shape == msg.shape
    assert together.bits.shape == msg.shape[:2]
    for b in range(5):
        one = Moment(now.key[b : b + 1], now.step[b : b + 1], now.round)
        alone = subject(msg[b : b + 1], one)
        close(alone.msg[0], together.msg[b])
        close(alone.bits[0], together.bits[b])
        among_nan = torch.full((1, 2, M), torch.nan, dtype=torch.float64)
        among_nan[0, 1] = msg[b, 1]
        close(subject(among_nan, one).msg[0, 1], together.msg[b, 1])
    draws = (training and name in ("bottleneck", "dru", "gumbel_symbols")) or name == "dithered"
    for other in (moment(5, step=5), Moment(now.key + 50, now.step, 1), Moment(now.key, now.step, 0)):
        assert torch.equal(subject(msg, other).msg, together.msg) == (not draws)
    assert torch.equal(subject(msg, now).msg, together.msg)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_gradients_and_costs_are_finite(name: str, training: bool, dtype: torch.dtype) -> None:
    subject, msg = codec.resolve(ALL[name]).train(training), messages().to(dtype).requires_grad_()
    coded = subject(msg, moment(5))
    assert coded.msg.dtype == dtype
    assert bool(coded.msg.isfinite().all() & coded.bits.isfinite().all() & (coded.bits > 0).all())
    direction = messages(seed=1).to(dtype)
    (gradient,) = torch.autograd.grad((coded.msg * direction).sum(), msg)
    assert bool(gradient.isfinite().all())
    assert bool((gradient != 0).any(-1).all()), "every message must be able to learn"


def test_no_agents_and_no_environments() -> None:
    for name in ALL.values():
        subject = codec.resolve(name)
        assert subject(torch.zeros(0, 3, M), moment(0)).msg.shape == (0, 3, M)


# ---- names ----


@pytest.mark.parametrize("text", ALL.values())
def test_names_go_both_ways(text: str) -> None:
    found = codec.resolve(text)
    again = codec.resolve(codec.spec_of(found))
    assert type(again) is type(found)
    assert codec.spec_of(again) == codec.spec_of(found)


def test_int_is_short_for_quantise() -> None:
    for text, bits, limit in (("int4", 4, 1.0), ("int8:limit=2.5", 8, 2.5), (" int1 ", 1, 1.0)):
        found = codec.resolve(text)
        assert isinstance(found, Quantise)
        assert (found.bits, found.limit) == (bits, limit)
    assert codec.spec_of(codec.resolve("int4")) == "quantise:bits=4"
    assert isinstance(codec.resolve("top_k:k=3"), KeepLargest)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("int0", "1 <= bits <= 24, got 0"),
        ("int25", "got 25"),
        ("quantise:limit=0", "0 < limit"),
        ("int4:limits=2", "Did you mean 'limit'"),
        ("dithered:delta=0", "0 < delta"),
        ("dithered:price=-1", "0 <= price"),
        ("dru:sigma=-1", "0 <= sigma"),
        ("gumbel_symbols:symbols=1", "at least 2, got 1"),
        ("gumbel_symbols:tau=0", "0 < tau"),
        ("bottleneck:sigma=0", "0 < sigma"),
        ("bottleneck:threshold=-1", "0 <= threshold"),
        ("keep_largest:k=0", "k >= 1"),
        ("keep_largest", "needs 'k'"),
        ("float23", "Did you mean 'float32'"),
        ("dru:sigma=nan", "expected 0 <= sigma"),
    ],
)
def test_bad_settings_are_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        codec.resolve(text)


# ---- one by one ----


def test_short_floats_by_hand() -> None:
    msg = torch.tensor([[[1 + 2**-11, 1 + 2**-10, 1e6, -1e6, 0.1]]])
    half = codec.resolve("float16")(msg, moment(1))
    assert half.msg[0, 0, :4].tolist() == [1.0, 1 + 2**-10, 65504.0, -65504.0]
    assert half.bits.tolist() == [[80.0]]
    short = codec.resolve("bfloat16")(torch.tensor([[[1 + 2**-8, 1 + 2**-7, 3e38, 1.0]]]), moment(1))
    assert short.msg[0, 0, :2].tolist() == [1.0, 1 + 2**-7]
    assert bool(short.msg.isfinite().all())
    msg.requires_grad_()
    (gradient,) = torch.autograd.grad(codec.resolve("float16")(msg, moment(1)).msg.sum(), msg)
    assert gradient[0, 0].tolist() == [1, 1, 0, 0, 1]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_quantiser_is_the_nearest_level(bits: int) -> None:
    """Against a search over all levels; the ends are reached, the error within is at most half a step."""
    limit = 1.5
    levels = torch.linspace(-limit, limit, 2**bits, dtype=torch.float64)
    msg = torch.linspace(-2, 2, 4001, dtype=torch.float64).view(1, 1, -1)
    coded = Quantise(bits, limit)(msg, moment(1))
    nearest = levels[(msg.unsqueeze(-1) - levels).abs().argmin(-1)]
    gap = 2 * limit / (2**bits - 1)
    ties = ((msg.clamp(-limit, limit) + limit) / gap % 1 - 0.5).abs() < 1e-9
    torch.testing.assert_close(coded.msg[~ties], nearest[~ties], rtol=0, atol=1e-12)
    within = msg.abs() <= limit
    assert float((coded.msg - msg).abs()[within].max()) <= gap / 2 + 1e-12
    assert coded.msg.unique().numel() == 2**bits
    assert coded.bits.tolist() == [[bits * 4001.0]]


def test_quantiser_passes_gradients_within_its_limits() -> None:
    msg = torch.tensor([[[-1.5, -0.9, 0.0, 0.9, 1.5]]], requires_grad=True)
    (gradient,) = torch.autograd.grad((Quantise(4)(msg, moment(1)).msg * torch.arange(1, 6)).sum(), msg)
    assert gradient[0, 0].tolist() == [0, 2, 3, 4, 0]


@pytest.mark.parametrize("z", [0.0, 0.1, 0.25, -3.7])
def test_dithered_error_is_uniform_whatever_is_sent(z: float) -> None:
    """Kolmogorov-Smirnov against the uniform distribution; mean and variance within four standard errors."""
    delta, n = 0.5, 40_000
    msg = torch.full((n, 1, 1), z, dtype=torch.float64)
    error = (Dithered(delta)(msg, Moment(torch.arange(n), torch.zeros(n, dtype=torch.int64))).msg - z).flatten()
    assert stats.kstest(error.numpy(), "uniform", (-delta / 2, delta)).pvalue > 1e-3
    assert abs(float(error.mean())) < 4 * delta / math.sqrt(12 * n)
    fourth = delta**4 / 80  # of a uniform variable around its mean
    variance = delta**2 / 12
    assert abs(float(error.var()) - variance) < 4 * math.sqrt((fourth - variance**2) / n)


def test_dithered_error_does_not_correlate_with_the_message() -> None:
    n = 40_000
    msg = torch.linspace(-1, 1, n, dtype=torch.float64).view(n, 1, 1)
    error = Dithered(0.4)(msg, Moment(torch.arange(n), torch.zeros(n, dtype=torch.int64))).msg - msg
    assert abs(stats.pearsonr(msg.flatten(), error.flatten()).statistic) < 4 / math.sqrt(n)
    plain = Quantise(3, 1.0)(msg, moment(1)).msg - msg
    assert float(plain.abs().max()) > 0.1


def test_dithered_sends_integers_and_prices_them() -> None:
    msg = messages().requires_grad_()
    coded = Dithered(0.25, price=0.5)(msg, moment(5))
    expected = torch.log2(2 * msg.abs() / 0.25 + 1).sum(-1)
    assert coded.cost is not None
    torch.testing.assert_close(coded.cost, 0.5 * expected)
    (through,) = torch.autograd.grad(coded.msg.sum(), msg, retain_graph=True)
    assert torch.equal(through, torch.ones_like(msg)), "the identity"
    (price,) = torch.autograd.grad(coded.cost.sum(), msg)
    torch.testing.assert_close(price, 0.5 * msg.sign() * 2 / 0.25 / (2 * msg.abs() / 0.25 + 1) / math.log(2))
    assert Dithered(0.25)(msg, moment(5)).cost is None
    # With the dither added back, what was sent is a whole number of steps.
    same_dither = Dithered(0.25)(torch.zeros_like(msg), moment(5)).msg
    steps = (coded.msg - same_dither).detach() / 0.25
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-9)
    # What is reported is what is sent, longer than the estimate that is priced: 0, -1, 1, -2 as 1, 010, 011, 00100.
    whole = torch.round((coded.msg + Dithered(0.25)._dither(msg, moment(5), msg.dtype)).detach() / 0.25)
    zigzag = torch.where(whole < 0, -2 * whole - 1, 2 * whole)
    assert torch.equal(coded.bits, (2 * (zigzag + 1).log2().floor() + 1).sum(-1))
    assert bool((coded.bits > expected).all())


def test_dru_by_hand() -> None:
    msg = torch.tensor([[[-3.0, -1e-3, 0.0, 1e-3, 3.0]]], dtype=torch.float64)
    silent = DRU(sigma=0.0).train()
    torch.testing.assert_close(silent(msg, moment(1)).msg, torch.sigmoid(msg))
    hard = DRU().eval()(msg, moment(1))
    assert hard.msg[0, 0].tolist() == [0, 0, 0, 1, 1]
    assert hard.bits.tolist() == [[5.0]]
    n = 40_000
    many = torch.full((n, 1, 1), 0.7, dtype=torch.float64)
    noisy = DRU(2.0).train()(many, Moment(torch.arange(n), torch.zeros(n, dtype=torch.int64))).msg
    noise = (torch.logit(noisy) - 0.7).flatten() / 2.0
    assert stats.kstest(noise.numpy(), "norm").pvalue > 1e-3


def test_dru_gradient_while_training() -> None:
    msg = messages(2, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: DRU().train()(x, moment(2)).msg, (msg,))


def test_symbols_are_one_hot_and_sampled_from_the_softmax() -> None:
    n, logits = 30_000, torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0], dtype=torch.float64)
    msg = logits.expand(n, 1, 5)
    now = Moment(torch.arange(n), torch.zeros(n, dtype=torch.int64))
    coded = GumbelSymbols(3).train()(msg, now)
    assert coded.bits[0].tolist() == [2 + 1], "a symbol of 3 takes 2 bits, one of 2 takes 1"
    for group, sizes in ((coded.msg[:, 0, :3], logits[:3]), (coded.msg[:, 0, 3:], logits[3:])):
        assert bool(((group == 0) | (group == 1)).all())
        assert bool((group.sum(-1) == 1).all())
        counts = group.sum(0)
        assert stats.chisquare(counts, (n * sizes.softmax(-1)).numpy()).pvalue > 1e-3
    greedy = GumbelSymbols(3).eval()(msg[:1], Moment(now.key[:1], now.step[:1]))
    assert greedy.msg[0, 0].tolist() == [0, 1, 0, 0, 1]


def test_symbols_have_the_gradient_of_the_softmax() -> None:
    msg = messages(2, 2, 6).requires_grad_()
    direction = messages(2, 2, 6, seed=3)
    (gradient,) = torch.autograd.grad((GumbelSymbols(3, tau=0.7).eval()(msg, moment(2)).msg * direction).sum(), msg)
    soft = (msg.unflatten(-1, (2, 3)) / 0.7).softmax(-1).flatten(-2)
    (expected,) = torch.autograd.grad((soft * direction).sum(), msg)
    torch.testing.assert_close(gradient, expected)


def test_bottleneck_by_hand() -> None:
    n, sigma, beta = 20_000, 0.5, 0.1
    msg = torch.tensor([0.3, -2.0], dtype=torch.float64).expand(n, 1, 2)
    subject = Bottleneck(sigma, beta, threshold=0.4)
    now = Moment(torch.arange(n), torch.zeros(n, dtype=torch.int64))
    noisy = subject.train()(msg, now)
    assert stats.kstest(((noisy.msg - msg) / sigma).flatten().numpy(), "norm").pvalue > 1e-3
    normal = torch.distributions.Normal
    divergence = torch.distributions.kl_divergence(normal(msg[:1], sigma), normal(0.0, 1.0)).sum(-1)
    assert noisy.cost is not None
    torch.testing.assert_close(noisy.cost[:1], beta * divergence)
    pruned = subject.eval()(msg[:1], Moment(now.key[:1], now.step[:1]))
    assert pruned.msg.tolist() == [[[0.0, -2.0]]]
    assert pruned.bits.tolist() == [[64.0 + 2.0]]
    assert pruned.cost is None
    assert torch.equal(Bottleneck().eval()(msg, now).msg, msg)


def test_top_k_by_hand() -> None:
    msg = torch.tensor([[[0.1, -5.0, 3.0, 0.0, -4.0]]], requires_grad=True)
    coded = KeepLargest(2)(msg, moment(1))
    assert coded.msg.tolist() == [[[0.0, -5.0, 0.0, 0.0, -4.0]]]
    assert coded.bits.tolist() == [[2 * (32 + 3.0)]]
    (gradient,) = torch.autograd.grad(coded.msg.sum(), msg)
    assert gradient.tolist() == [[[0.0, 1.0, 0.0, 0.0, 1.0]]]
    everything = KeepLargest(9)(msg, moment(1))
    assert everything.msg is msg
    assert everything.bits.tolist() == [[160.0]]


def test_float32_is_the_message_itself() -> None:
    msg = messages()
    coded = codec.resolve("float32")(msg, moment(5))
    assert coded.msg is msg
    assert coded.bits.unique().tolist() == [64.0 * M]
    assert isinstance(codec.resolve(codec.Float32()), Codec)


def test_learned_steps_by_hand() -> None:
    """z / s = -4, 0.2, 0.6, 1.8 with one level on each side of 0; the slope by s is -1 - 0.2 + 0.4 + 1, over 2."""
    subject, now = LSQ(bits=2, step=0.5), moment(1)
    msg = torch.tensor([[[-2.0, 0.1, 0.3, 0.9]]], requires_grad=True)
    coded = subject(msg, now)
    assert coded.msg.flatten().tolist() == [-0.5, 0.0, 0.5, 0.5]
    assert coded.bits.tolist() == [[8.0]]
    coded.msg.sum().backward()
    assert msg.grad is not None
    assert msg.grad.flatten().tolist() == pytest.approx([0.0, 1.0, 1.0, 0.0])
    assert subject.step.grad is not None
    assert subject.step.grad.item() == pytest.approx(0.1)


@pytest.mark.slow
def test_learned_steps_fit_what_is_said() -> None:
    """Of numbers a hundred times as small, the step becomes so small, too; the best uniform one is near 0.5 sigma."""
    torch.manual_seed(0)
    subject, msg, now = LSQ(bits=3, step=1.0), 0.01 * torch.randn(64, 1, 8), moment(64)
    optimizer = torch.optim.Adam(subject.parameters(), lr=0.01)
    for _ in range(600):
        optimizer.zero_grad()
        (subject(msg, now).msg - msg).square().mean().mul(1e4).backward()
        optimizer.step()
    assert 0.003 < abs(subject.step.item()) < 0.01
