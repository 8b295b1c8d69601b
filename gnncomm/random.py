"""Counter-based random numbers: a draw is a pure function of its key and counters.

``uniform(key, a, b, c)`` has one value for each combination of integers, whatever the batch it is computed in, the
order of calls or the number of threads. So environment 7 draws the same alone and among 1024 others, a learner can
recompute the wire its rollout saw, and a checkpoint needs no generator state.

The hash absorbs one 64-bit counter after the other: ``x <- mix(x + PHI * (c + 1))``, with ``mix`` the finaliser of
SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", section 4; constants of
Stafford's variant 13) applied twice per key and once per counter. Arithmetic is modulo 2^64, carried in int64.
"""

from __future__ import annotations

import functools
import itertools
import math
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnncomm.errors import ConfigError, DtypeError
from gnncomm.host import may_ask

_PHI = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_M1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_M2 = -7723592293110705685  # 0x94D049BB133111EB

Counter = int | Tensor
_Array = NDArray[np.uint64]
_PHI_ARRAY, _M1_ARRAY, _M2_ARRAY, _ONE, _S30, _S27, _S31 = (
    np.array([value % 2**64], dtype=np.uint64) for value in (_PHI, _M1, _M2, 1, 30, 27, 31)
)
_CPU = torch.device("cpu")
SMALL = 8192
"""Up to so many numbers are drawn with numpy; the bits are the same."""


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical (not arithmetic) right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _M1
    x = (x ^ _shift(x, 27)) * _M2
    return x ^ _shift(x, 31)


def _wrap(value: int) -> int:
    """A Python integer reduced to a signed 64-bit one."""
    return ((value + 2**63) % 2**64) - 2**63


def _as_int64(value: Counter, device: torch.device | None) -> Tensor:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            raise DtypeError(f"Keys and counters of random numbers are integers, got {value.dtype}: use .long().")
        return value.to(torch.int64)
    return torch.full((), _wrap(value), dtype=torch.int64, device=device)


def _mix_int(x: int) -> int:
    """``_mix`` of one Python integer in [0, 2^64)."""
    x = (x ^ (x >> 30)) * _M1 % 2**64
    x = (x ^ (x >> 27)) * _M2 % 2**64
    return x ^ (x >> 31)


def _bits_int(key: int, counters: Sequence[int]) -> int:
    state = _mix_int(_mix_int((key + _PHI) % 2**64))
    for counter in counters:
        state = _mix_int((state + (counter + 1) * _PHI) % 2**64)
    return state


def _is_small(*counters: Counter) -> bool:
    """Whether numpy is faster: it spends less on each operation, torch less on each of many numbers."""
    tensors = [c for c in counters if not isinstance(c, int)]
    return (
        all(type(c) is Tensor and c.dtype == torch.int64 and c.is_cpu for c in tensors)
        and may_ask(_CPU)
        and math.prod(c.numel() for c in tensors) <= SMALL
    )


def _bits_small(key: Counter, counters: Sequence[Counter]) -> Tensor:
    """``bits`` of few numbers; never on arrays without axes, whose arithmetic warns where it wraps around."""
    state = _mix_array(_mix_array(_as_array(key) + _PHI_ARRAY))
    for counter in counters:
        state = _mix_array(state + (_as_array(counter) + _ONE) * _PHI_ARRAY)
    dims = max((c.dim() for c in (key, *counters) if isinstance(c, Tensor)), default=0)
    drawn = torch.from_numpy(state.view(np.int64))
    return drawn if dims else drawn.squeeze(0)


def _as_array(value: Counter) -> _Array:
    if isinstance(value, Tensor):
        array: _Array = value.numpy().view(np.uint64)
        return array if array.ndim else array.reshape(1)
    return np.array([value % 2**64], dtype=np.uint64)


def _mix_array(x: _Array) -> _Array:
    x = (x ^ (x >> _S30)) * _M1_ARRAY
    x = (x ^ (x >> _S27)) * _M2_ARRAY
    return x ^ (x >> _S31)


def bits(key: Counter, *counters: Counter) -> Tensor:
    """64 random bits (int64) for each element of the broadcast of ``key`` and ``counters``.

    Counters are absorbed from left to right, so put small shapes first: ``bits(key, episode_B1, agents_N)`` hashes
    ``[B, 1]`` and only then ``[B, N]``. Leading Python integers cost no tensor operation.
    """
    if _is_small(key, *counters):
        return _bits_small(key, counters)
    device = next((c.device for c in (key, *counters) if isinstance(c, Tensor)), None)
    if isinstance(key, Tensor):
        state, rest = _mix(_mix(_as_int64(key, device) + _PHI)), counters
    else:
        lead = list(itertools.takewhile(lambda counter: not isinstance(counter, Tensor), counters))
        state = _as_int64(_bits_int(key, [int(counter) for counter in lead]), device)
        rest = counters[len(lead) :]
    for counter in rest:
        state = _mix(state + (_as_int64(counter, device) + 1) * _PHI)
    return state


def uniform(key: Counter, *counters: Counter, dtype: torch.dtype = torch.float32) -> Tensor:
    """Uniform numbers in [0, 1): 24 random bits in float32, 53 in float64.

    Raises:
        DtypeError: another ``dtype``, or a key or counter that is no integer.
    """
    precision = _precision(dtype)
    return _shift(bits(key, *counters), 64 - precision).to(dtype) * 2.0**-precision


def _precision(dtype: torch.dtype) -> int:
    if dtype not in (torch.float32, torch.float64):
        raise DtypeError(f"Random numbers come as torch.float32 or torch.float64, got {dtype}: convert afterwards.")
    return 53 if dtype == torch.float64 else 24


def normal(key: Counter, *counters: Counter, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers (Box and Muller 1958): two uniform numbers from one draw, in float64 from two."""
    if dtype == torch.float64:
        radius, angle = 1.0 - uniform(key, *counters, 0, dtype=dtype), uniform(key, *counters, 1, dtype=dtype)
    else:
        draw, precision = bits(key, *counters), _precision(dtype)
        radius = 1.0 - _shift(draw, 64 - precision).to(dtype) * 2.0**-precision
        angle = (draw & (2**precision - 1)).to(dtype) * 2.0**-precision
    return torch.sqrt(-2.0 * torch.log(radius)) * torch.cos(2.0 * torch.pi * angle)


def gumbel(key: Counter, *counters: Counter, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard Gumbel numbers, ``-log(-log(u))``: ``argmax(logits + gumbel)`` samples from ``softmax(logits)``."""
    half_step = 2.0**-54 if dtype == torch.float64 else 2.0**-25
    # raised to half a step, not by half a step: the largest draw plus half a step rounds to 1, whose Gumbel is infinite
    return -torch.log(-torch.log(uniform(key, *counters, dtype=dtype).clamp_min(half_step)))


def integers(key: Counter, high: int | Tensor, *counters: Counter) -> Tensor:
    """Uniform int64 in ``[0, high)``; bias below ``high / 2^53``.

    Raises:
        ConfigError: ``high`` is not positive.
    """
    if isinstance(high, int) and high < 1:
        raise ConfigError(f"Expected integers below a positive number, got {high}.")
    draw = uniform(key, *counters, dtype=torch.float64)
    return (draw * high).to(torch.int64)


def sample_without_replacement(key: Tensor, population: int, count: int, *counters: Counter) -> Tensor:
    """``count`` different integers below ``population`` for each key ``[...]`` -> ``[..., count]``, in random order."""
    if count > population:
        raise ConfigError(f"Expected at most {population} different integers below {population}, got {count}.")
    items = torch.arange(population, device=key.device)
    expanded = [c.unsqueeze(-1) if isinstance(c, Tensor) and c.dim() else c for c in counters]
    score = uniform(key.unsqueeze(-1), *expanded, items, dtype=torch.float64)
    return score.topk(count, dim=-1).indices


def seeds(purpose: str, seed: int, index: Tensor) -> Tensor:
    """``[...]``: a seed in [0, 2^63) for each integer of ``index``, such as the numbers of environments or episodes.

    Each purpose ("train", "evaluate", "record", ...) and each ``seed`` has seeds of its own, however close the numbers
    are: two of them share one only by a chance of 2^-63. ``index`` counts over the whole work, not per process.

    Raises:
        ConfigError: ``seed`` is no int in [0, 2^63).
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ConfigError(f"seed: expected an integer in [0, 2^63), got {seed!r}. Choose another.")
    return bits(stream(seed, purpose), index) & (2**63 - 1)


def stream(key: Counter, name: str) -> Tensor:
    """A key for one named purpose ("action", "channel", ...), independent of the streams of other names."""
    if isinstance(key, int):
        return torch.full((), _stream_int(key, name))
    return bits(key, _number_of(name))


def _number_of(name: str) -> int:
    return zlib.crc32(name.encode())


# What torch.compiler.assume_constant_result does, without loading the compiler: a second of every start.
_number_of._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.lru_cache(maxsize=4096)
def _stream_int(key: int, name: str) -> int:
    return _wrap(_bits_int(key, [_number_of(name)]))
