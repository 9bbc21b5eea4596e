"""Random numbers as a value: a draw depends on (seed, folds, sample index, element) and on nothing else."""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


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


@dataclass(frozen=True)
class Random:
    """A stream of random numbers, used like a key: the same value always draws the same numbers.

    seed: any integer. indices: (batch,) int64, which sample each row is; None = 0, 1, 2 ...
    `random.fold(i)` is an independent stream; `random.at(indices)` the same stream for other samples.
    The bits are the same on every device, for every batch size and order.
    """

    seed: int
    indices: Tensor | None = None

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
        blocks = -(-size // 4)
        indices = (
            torch.arange(batch, device=device)
            if self.indices is None
            else self.indices.to(device=device, dtype=torch.int64)
        )
        if indices.shape != (batch,):
            raise ValueError(
                f"Random was told of {tuple(indices.shape)} sample indices and asked for a batch of {batch}"
            )
        block = torch.arange(blocks, device=device).expand(batch, blocks)
        sample = indices[:, None].expand(batch, blocks)
        counter = (block & _MASK, block >> 32, sample & _MASK, sample >> 32 & _MASK)
        words = torch.stack(philox(counter, (self.seed & _MASK, self.seed >> 32 & _MASK)), dim=-1)  # (batch, blocks, 4)
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

    def permutation(self, n: int) -> Tensor:
        """A permutation of 0 ... n-1 in int64 (keyed by the stream, not by the sample indices)."""
        return replace(self, indices=None).fold(n).uniform((1, n))[0].argsort(stable=True)
