"""Random numbers as a value: a draw depends on (seed, folds, sample index, element) and on nothing else."""

import math
import sys
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.core.permutation import ROUNDS, Permutation, sides

_MASK = 0xFFFFFFFF
_MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
_KEY_STEPS = np.arange(10, dtype=np.uint64)[:, None, None] * np.array([[0x9E3779B9], [0xBB67AE85]], np.uint64)

Word = TypeVar("Word", int, Tensor)


def philox(counter: tuple[Word, Word, Word, Word], key: tuple[int, int]) -> tuple[Word, Word, Word, Word]:
    """Four 32-bit words from a 128-bit counter and a 64-bit key, in int64 tensors or Python integers:
    Philox4x32-10 (Salmon et al. 2011, table 2).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # wraps modulo 2^64; the masks make the shift logical
        c0, c1, c2, c3 = (p1 >> 32 & _MASK) ^ c1 ^ k0, p1 & _MASK, (p0 >> 32 & _MASK) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = k0 + 0x9E3779B9 & _MASK, k1 + 0xBB67AE85 & _MASK
    return c0, c1, c2, c3


def philox_words(samples: NDArray[np.int64], blocks: int, key: tuple[int, int]) -> NDArray[np.uint32]:
    """The words of `philox` at counters (block, sample) for every sample and block, (samples, blocks * 4).

    The same bits as in tensors, several times faster on a CPU.

    The first and third word of the counter travel as one array, and so do the second and fourth: a round is one
    product, whose 64 bits are read as two words without a copy, and two exclusive ors.
    """
    even, odd = np.zeros((2, 2, len(samples), blocks), np.uint32)
    even[0] = np.arange(blocks)
    even[1], odd[1] = (samples & _MASK)[:, None], (samples >> 32 & _MASK)[:, None]
    even, odd = even.reshape(2, -1), odd.reshape(2, -1)
    low, high = (0, 1) if sys.byteorder == "little" else (1, 0)
    for keys in (np.array([[key[0]], [key[1]]], np.uint64) + _KEY_STEPS).astype(np.uint32):  # modulo 2^32
        product = np.multiply(even, _MULTIPLIERS, dtype=np.uint64).view(np.uint32).reshape(2, -1, 2)[::-1]
        even = product[..., high] ^ odd
        even ^= keys
        odd = product[..., low]
    words = np.stack([even[0], odd[0], even[1], odd[1]], axis=-1)
    return words.reshape(len(samples), blocks * 4)


@dataclass(frozen=True)
class Random:
    """A stream of random numbers, used like a key: the same value always draws the same numbers.

    seed: an integer of 64 bits, not negative, of any library. indices: (batch,) int64, which sample each row is; None =
    0, 1, 2 ...
    `random.fold(i)` is an independent stream; `random.at(indices)` the same stream for other samples.
    The bits are the same on every device, for every batch size and order. Raises Refused for another seed.
    """

    seed: int
    indices: Tensor | None = None

    def __post_init__(self) -> None:
        if type(self.seed) is not int or not 0 <= self.seed < arguments.SEEDS:  # what NumPy shifts, overflows
            object.__setattr__(self, "seed", arguments.seed(self.seed))

    def fold(self, *path: int) -> "Random":
        """An independent stream for each path of integers: `random.fold(step)`, `random.fold(step, 1)`."""
        key = self.seed
        for part in path:
            counter = (part & _MASK, part >> 32 & _MASK, 0x464F4C44, 1)
            low, high, _, _ = philox(
                counter, (key & _MASK, key >> 32 & _MASK)
            )  # in Python: 20 times faster than 0-d tensors
            key = low | high << 32
        return replace(self, seed=key)

    def at(self, indices: Tensor) -> "Random":
        """The same stream for these samples; indices: (batch,) integers."""
        return replace(self, indices=indices)

    def bits(self, shape: tuple[int, ...], device: torch.device | str | None = None) -> Tensor:
        """Integers of 32 uniform bits in int64, of the given shape (batch, *rest)."""
        batch, size = shape[0], math.prod(shape[1:])
        blocks, key = -(-size // 4), (self.seed & _MASK, self.seed >> 32 & _MASK)
        where = torch.device(device or "cpu")
        indices = torch.arange(batch, device=where) if self.indices is None else self.indices.to(where, torch.int64)
        if indices.shape != (batch,):
            raise Refused(f"Random was told of {tuple(indices.shape)} sample indices and asked for a batch of {batch}")
        if where.type == "cpu":
            words = torch.as_tensor(philox_words(indices.numpy(), blocks, key).astype(np.int64))
        else:
            block = torch.arange(blocks, device=where).expand(batch, blocks)
            sample = indices[:, None].expand(batch, blocks)
            counter = (block & _MASK, block >> 32, sample & _MASK, sample >> 32 & _MASK)
            words = torch.stack(philox(counter, key), dim=-1)  # (batch, blocks, 4)
        return words.reshape(batch, blocks * 4)[:, :size].reshape(shape)

    def uniform(self, shape: tuple[int, ...], device: torch.device | str | None = None) -> Tensor:
        """Uniform on the open interval (0, 1), in float64: u = (bits + 1/2) / 2^32."""
        return (self.bits(shape, device).double() + 0.5) / 2**32

    def normal(
        self, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
    ) -> Tensor:
        """Standard normal by Box-Muller in float64: sqrt(-2 log u) (cos, sin)(2 pi v)."""
        batch, size = shape[0], math.prod(shape[1:])
        u, v = self.uniform((batch, size + size % 2), device=device).reshape(batch, -1, 2).unbind(-1)
        radius, angle = (-2 * u.log()).sqrt(), 2 * math.pi * v
        pairs = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
        return pairs.reshape(batch, -1)[:, :size].reshape(shape).to(dtype)

    def integers(self, high: int, shape: tuple[int, ...], device: torch.device | str | None = None) -> Tensor:
        """Uniform integers 0 ... high-1 in int64, by u * high (bias below high / 2^32)."""
        return (self.bits(shape, device).double() * (high / 2**32)).long()

    def permutation(self, n: int) -> Permutation:
        """A permutation of 0 ... n-1, to be asked for any places (keyed by the stream, not by the sample indices)."""
        (rows, columns), random = sides(n), replace(self, indices=None).fold(n)
        f = random.integers(rows, (ROUNDS, columns))
        return Permutation(n, f.numpy(), random.fold(1).integers(columns, (ROUNDS, rows)).numpy())
