"""The discretised Gaussian: probabilities that sum to 1, digits in the tails, and the approximation of other code."""

import math
from typing import Literal

import numpy as np
import pytest
import torch

from undiffuse.core.distribution.discretised_normal import _tanh_cdf
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.likelihood import Decoder

LEVELS = torch.linspace(-1, 1, 256, dtype=torch.float64)[:, None]


@pytest.mark.each("mean", [-3.0, -1.0, 0.1, 0.999, 5.0])
@pytest.mark.each("std", [1e-3, 0.01, 0.3, 10])
@pytest.mark.each(("cdf", "tolerance"), [("erf", 1e-14), ("tanh", 3e-10)])
def test_the_probabilities_of_all_levels_sum_to_one(mean: float, std: float, cdf: Literal["erf", "tanh"], tolerance):
    """X04. The approximation's floor of 1e-12 adds up to 256e-12."""
    belief = Normal(torch.full_like(LEVELS, mean), std**2)
    assert abs(float(Decoder(cdf=cdf).log_prob(LEVELS, belief).exp().sum()) - 1) < tolerance


def test_the_approximation_errs_by_what_is_known_of_it():
    """X04: 1.789e-4 at 2.592."""
    x = torch.linspace(-6, 6, 120_001, dtype=torch.float64)
    error = (_tanh_cdf(x) - torch.special.ndtr(x)).abs()
    assert float(error.max()) == pytest.approx(1.789e-4, rel=1e-3)
    assert abs(float(x[error.argmax()])) == pytest.approx(2.592, abs=1e-3)


def test_a_bin_centred_on_the_mean_with_the_papers_smallest_variance():
    """X04: std^2 = DDPM's variance of index 1, 5.45318766e-5; 1.305665 bits is what the approximation gives."""
    at, variance = LEVELS[128:129], 5.45318766e-5
    exact = -math.log2(math.erf((1 / 255) / math.sqrt(2 * variance)))
    bits = {c: float(-Decoder(cdf=c).log_prob(at, Normal(at, variance)) / math.log(2)) for c in ("erf", "tanh")}
    assert bits["erf"] == pytest.approx(exact, abs=1e-12)
    assert bits["tanh"] == pytest.approx(1.305665, abs=1e-6)


def test_a_level_far_from_the_mean_has_a_finite_and_right_probability():
    """Phi(-z) ~ exp(-z^2/2) / (z sqrt(2 pi)) (1 - 1/z^2): 100 deviations away, where probabilities underflow."""
    decoder = Decoder(low=0, high=200, levels=201)
    x = torch.tensor([[100.0], [200.0]], dtype=torch.float64)
    found = decoder.log_prob(x, Normal(torch.zeros_like(x), 1.0))
    for value, edge in zip(found.tolist(), (99.5, 199.5), strict=True):
        wanted = -(edge**2) / 2 - math.log(edge * math.sqrt(2 * math.pi)) + math.log1p(-(edge**-2))
        assert value == pytest.approx(wanted, abs=1e-6)


def test_the_log_probability_is_symmetric():
    x, mean = LEVELS[40:60], torch.linspace(-2, 2, 20, dtype=torch.float64)[:, None]
    one = Decoder().log_prob(x, Normal(mean, 1e-3))
    torch.testing.assert_close(one, Decoder().log_prob(-x, Normal(-mean, 1e-3)), rtol=1e-12, atol=0)


def test_dequantised_data_stay_in_their_bins_and_fill_them():
    decoder = Decoder(low=0, high=3, levels=4)
    x = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64).expand(4, 1000)
    spread = decoder.dequantise(x, Random(0)) - x
    assert float(spread.abs().max()) <= 0.5
    assert float(spread.var()) == pytest.approx(1 / 12, rel=0.05)


def test_encoded_bytes_are_on_the_levels():
    encoded = torch.from_numpy(np.arange(256, dtype=np.float32)[:, None] * np.float32(2 / 255) - 1)
    torch.testing.assert_close(Decoder().check(encoded), LEVELS, rtol=0, atol=1e-15)


def test_refusals_name_the_range_and_the_levels():
    with pytest.raises(Refused, match=r"between 0 and 255, outside the decoder's range \[-1, 1\]"):
        Decoder().check(torch.tensor([[0.0, 255.0]]))
    with pytest.raises(Refused, match=r"between the 256 levels of \[-1, 1\]"):
        Decoder().check(torch.tensor([[0.001]]))
    with pytest.raises(Refused, match="2 levels or more and low < high, not 1 on"):
        Decoder(levels=1)
    with pytest.raises(Refused, match=r"not 256 on \[1, 1\]"):
        Decoder(low=1)
    with pytest.raises(Refused, match="no cdf 'logistic'; it has: erf, tanh"):
        Decoder(cdf="logistic")  # type: ignore[arg-type]
