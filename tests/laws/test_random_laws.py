"""Laws of Random: a draw depends on (seed, folds, sample, element) and on nothing else, and the numbers are random."""

from typing import Any

import pytest
import torch
from scipy import stats

from undiffuse.core.random import Random, philox

# Known answers of Philox4x32-10 from the authors' Random123 distribution (kat_vectors): counter, key, output.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
DRAWS: dict[str, Any] = {
    "bits": lambda r, shape: r.bits(shape),
    "uniform": lambda r, shape: r.uniform(shape),
    "normal": lambda r, shape: r.normal(shape),
    "integers": lambda r, shape: r.integers(10, shape),
}


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN)
def test_philox_gives_the_authors_known_answers(counter: str, key: str, output: str):
    c, k = [torch.tensor([word]) for word in words(counter)], words(key)
    assert [int(word) for word in philox((c[0], c[1], c[2], c[3]), (k[0], k[1]))] == words(output)


def test_bits_are_philox_of_element_and_sample_under_the_seed():
    """counter = (element // 4, sample), key = seed, all in 64 bits."""
    seed, sample = 0x299F31D0A4093822, 0x0370734413198A2E
    got = Random(seed, torch.tensor([sample])).bits((1, 4))
    c = [torch.tensor([w]) for w in (0, 0, 0x13198A2E, 0x03707344)]
    assert got[0].tolist() == [int(w) for w in philox((c[0], c[1], c[2], c[3]), (0xA4093822, 0x299F31D0))]


@pytest.mark.each("draw", DRAWS.values(), ids=DRAWS.keys())
@pytest.mark.each("shape", [(), (1,), (3,), (2, 5)])
def test_a_draw_does_not_depend_on_batch_size_or_order(draw: Any, shape: tuple[int, ...]):
    whole = draw(Random(7), (12, *shape))
    assert torch.equal(draw(Random(7), (5, *shape)), whole[:5])
    order = torch.tensor([11, 0, 3, 3, 8])
    assert torch.equal(draw(Random(7, order), (5, *shape)), whole[order])
    assert torch.equal(draw(Random(7).at(order), (5, *shape)), whole[order])


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
def test_the_first_elements_do_not_depend_on_how_many_follow(draw: Any):
    assert torch.equal(draw(Random(7), (4, 3)), draw(Random(7), (4, 50))[:, :3])
    assert torch.equal(draw(Random(7), (4, 2, 3)).flatten(), draw(Random(7), (4, 6)).flatten())


def test_nothing_depends_on_the_global_seed_or_changes_it():
    before = torch.get_rng_state()
    draws = [Random(1).normal((4, 4)), Random(1).uniform((4,)), order(Random(1), 9).double()]
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(123)
    again = [Random(1).normal((4, 4)), Random(1).uniform((4,)), order(Random(1), 9).double()]
    assert all(torch.equal(a, b) for a, b in zip(draws, again, strict=True))


def test_streams_of_different_seeds_folds_and_samples_are_uncorrelated():
    root = Random(0)
    streams = [
        root,
        Random(1),
        Random(2**64 - 1),
        Random(2**40),
        root.fold(0),
        root.fold(1),
        root.fold(-1),
        root.fold(0, 1),
        root.fold(1, 0),
    ]
    draws = torch.stack([stream.normal((1, 20000), dtype=torch.float64)[0] for stream in streams])
    rows = root.normal((5, 20000), dtype=torch.float64)
    for block in (draws, torch.cat([rows, draws[1:]])):
        away = torch.corrcoef(block) - torch.eye(len(block))
        assert float(away.abs().max()) < 5 / 20000**0.5


def test_folding_is_a_path():
    assert Random(3).fold(1).fold(2).seed == Random(3).fold(1, 2).seed
    assert Random(3).fold().seed == 3
    seeds = {Random(3).fold(i).seed for i in range(-50, 2000)} | {Random(3).fold(1, i).seed for i in range(2000)}
    assert len(seeds) == 2050 + 2000
    indices = torch.tensor([4, 5])
    assert torch.equal(Random(3, indices).fold(1).normal((2, 3)), Random(3).fold(1).normal((6, 3))[4:])


def test_uniform_is_uniform_and_never_hits_its_ends():
    u = Random(0).uniform((100, 1000))
    assert u.dtype == torch.float64
    assert bool(((u > 0) & (u < 1)).all())
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 1e-3
    assert stats.kstest(u[:, 0].numpy(), "uniform").pvalue > 1e-3


def test_normal_is_normal():
    z = Random(0).normal((200, 500), dtype=torch.float64).flatten().numpy()
    assert stats.kstest(z, "norm").pvalue > 1e-3
    for moment, value, std in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)):
        assert abs((z**moment).mean() - value) < 4.5 * std / len(z) ** 0.5
    even, odd = z[0::2], z[1::2]  # the two of a Box-Muller pair
    assert abs((even * odd).mean()) < 4.5 / len(even) ** 0.5
    assert abs((even**2 * odd**2).mean() - 1) < 4.5 * 8**0.5 / len(even) ** 0.5


def test_normal_in_lower_precision_is_the_rounded_draw():
    exact = Random(0).normal((3, 5), dtype=torch.float64)
    assert torch.equal(Random(0).normal((3, 5)), exact.float())
    assert torch.equal(Random(0).normal((3, 5), dtype=torch.bfloat16), exact.bfloat16())


def test_integers_are_even_over_the_range():
    counts = torch.bincount(Random(0).integers(7, (50, 500)).flatten())
    assert len(counts) == 7
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def order(random: Random, n: int) -> torch.Tensor:
    return random.permutation(n)(torch.arange(n))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 17, 100, 1000, 4097])
def test_a_permutation_holds_each_once_and_differs_by_stream(n: int):
    first, second = order(Random(0), n), order(Random(1), n)
    assert torch.equal(first.sort().values, torch.arange(n))
    assert torch.equal(order(Random(0, torch.tensor([5])), n), first)
    if n >= 16:
        assert not torch.equal(first, second)
        assert int((first == torch.arange(n)).sum()) < 12  # about one item stays in its place


@pytest.mark.parametrize("n", [2, 3, 4, 7, 20])
def test_every_item_and_every_pair_is_as_likely_anywhere(n: int):
    count = 1000 if n < 10 else 2000  # at least five of each pair are expected
    orders = torch.stack([order(Random(seed), n) for seed in range(count)])
    assert stats.chisquare(torch.bincount(orders[:, 0], minlength=n).numpy()).pvalue > 1e-4
    assert stats.chisquare(torch.bincount(orders[:, -1], minlength=n).numpy()).pvalue > 1e-4
    pairs = torch.bincount(orders[:, 0] * n + orders[:, 1], minlength=n * n).view(n, n)
    assert (pairs.diag() == 0).all()
    assert stats.chisquare(pairs[~torch.eye(n, dtype=torch.bool)].numpy()).pvalue > 1e-4


def test_a_permutation_of_billions_costs_kilobytes():
    permutation = Random(0).permutation(3_000_000_000)
    assert permutation.f.nbytes + permutation.g.nbytes < 8_000_000
    some = permutation(torch.arange(1000) * 2_999_999)
    assert len(some.unique()) == 1000
    assert float(some.double().mean()) == pytest.approx(1.5e9, rel=0.1)


@pytest.mark.parametrize("size", [(3, 1), (5, 7), (2, 64)])
def test_the_bits_are_the_same_by_the_fast_way_for_processors_and_by_tensors(size: tuple[int, int]):
    samples, blocks = torch.tensor([0, 7, 2**33 + 1, 5, 6])[: size[0]], -(-size[1] // 4)
    counter = torch.arange(blocks).expand(len(samples), blocks), samples[:, None].expand(-1, blocks)
    words = philox((counter[0] & 0xFFFFFFFF, counter[0] >> 32, counter[1] & 0xFFFFFFFF, counter[1] >> 32), (9, 2**31))
    slow = torch.stack(words, dim=-1).reshape(len(samples), -1)[:, : size[1]]
    assert torch.equal(Random(9 | 2**31 << 32, samples).bits((len(samples), size[1])), slow)


def test_a_batch_that_does_not_fit_the_indices_is_refused():
    with pytest.raises(ValueError, match=r"Random was told of \(3,\) sample indices and asked for a batch of 2"):
        Random(0, torch.arange(3)).normal((2, 4))
