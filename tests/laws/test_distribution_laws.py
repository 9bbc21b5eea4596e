"""Laws of beliefs: densities, divergences, draws and blends against independent formulas."""

from typing import Any

import pytest
import torch
from scipy import stats
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Normal as TorchNormal
from torch.distributions import kl_divergence

from undiffuse.core.distribution.normal import Normal
from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.random import Random


def normals() -> tuple[Normal, Normal]:
    mean, other = Random(0).normal((3, 2, 2), dtype=torch.float64), Random(1).normal((3, 2, 2), dtype=torch.float64)
    return Normal(mean, mean.exp()), Normal(other, 0.7)


def tokens() -> tuple[Tokens, Tokens]:
    a, b = Random(0).normal((3, 4, 5), dtype=torch.float64), Random(1).normal((3, 4, 5), dtype=torch.float64)
    return Tokens(a.log_softmax(-1)), Tokens(b.log_softmax(-1))


def test_normal_agrees_with_torch():
    p, q = normals()
    theirs_p, theirs_q = TorchNormal(p.mean, torch.as_tensor(p.var).sqrt()), TorchNormal(q.mean, 0.7**0.5)
    x = Random(2).normal((3, 2, 2), dtype=torch.float64)
    torch.testing.assert_close(p.log_prob(x), theirs_p.log_prob(x).sum((1, 2)))
    torch.testing.assert_close(p.kl(q), kl_divergence(theirs_p, theirs_q).sum((1, 2)))
    torch.testing.assert_close(p.error(x), ((p.mean - x) ** 2).sum((1, 2)))


def test_tokens_agree_with_torch():
    p, q = tokens()
    theirs_p, theirs_q = TorchCategorical(logits=p.log_probs), TorchCategorical(logits=q.log_probs)
    x = Random(2).integers(5, (3, 4))
    torch.testing.assert_close(p.log_prob(x), theirs_p.log_prob(x).sum(1))
    torch.testing.assert_close(p.kl(q), kl_divergence(theirs_p, theirs_q).sum(1))
    torch.testing.assert_close(p.error(x), -theirs_p.log_prob(x).sum(1))


def test_certainty_has_no_divergence_from_itself_and_infinite_from_the_excluded():
    sure = Tokens(torch.tensor([[[1.0, 0.0]]]).log())
    assert float(sure.kl(sure)) == 0
    assert float(sure.kl(Tokens(torch.tensor([[[0.0, 1.0]]]).log()))) == float("inf")


def test_the_mean_minimises_the_error():
    """What makes squared error and cross-entropy the losses of a denoiser:
    E error(guess, x_0) is least at guess = E[x_0].
    """
    x = Random(0).normal((4000, 1), dtype=torch.float64) + 0.3
    best = float(x.mean())
    losses = [float(Normal(torch.full_like(x, best + d)).error(x).mean()) for d in (-0.1, 0.0, 0.1)]
    assert losses[1] < min(losses[0], losses[2])
    rows = Random(0).integers(2, (4000, 1))
    share = float(rows.double().mean())
    entropies = [
        float(Tokens(torch.tensor([1 - p, p]).log().expand(4000, 1, 2)).error(rows).mean())
        for p in (share - 0.1, share, share + 0.1)
    ]
    assert entropies[1] < min(entropies[0], entropies[2])


def test_normal_draws_have_the_mean_and_the_variance():
    belief = Normal(torch.tensor([[1.0, -2.0]]).expand(20000, 2), torch.tensor([0.25, 9.0]))
    x = belief.sample(Random(0)).double()
    for i, (mean, std) in enumerate(((1, 0.5), (-2, 3))):
        assert stats.kstest(x[:, i].numpy(), stats.norm(mean, std).cdf).pvalue > 1e-3


def test_a_certain_normal_draws_its_mean():
    mean = torch.randn(3, 2)
    for var in (0.0, 0, torch.tensor(0.0), torch.zeros(3, 1), torch.zeros(3, 2)):
        assert Normal(mean, var).certain
        assert torch.equal(Normal(mean, var).sample(Random(0)), mean)
        assert Normal(mean, var).reported == isinstance(var, torch.Tensor)
    assert not Normal(mean, torch.tensor([0.0, 1e-30])).certain
    assert Normal(mean, 2.0).mean_only().certain
    assert Normal(mean, 2.0).reported


def test_token_draws_have_the_probabilities_also_where_some_are_zero():
    probs = torch.tensor([0.0, 0.5, 0.3, 0.0, 0.2, 0.0], dtype=torch.float64)
    x = Tokens(probs.log().expand(10000, 3, 6)).sample(Random(0))
    assert x.shape == (10000, 3)
    assert x.dtype == torch.int64
    counts = torch.bincount(x.flatten(), minlength=6)
    assert counts[probs == 0].sum() == 0
    assert stats.chisquare(counts[probs > 0].numpy(), (30000 * probs[probs > 0]).numpy()).pvalue > 1e-3


def test_rare_tokens_are_drawn_as_rarely_as_they_should_from_float32_log_probs():
    """Float32 Gumbel noise would cut the tail: 1e-5 must still come up,
    about 20 times in 2e6 draws (arXiv:2409.02908).
    """
    probs = torch.tensor([1 - 1e-5, 1e-5])
    x = Tokens(probs.log().expand(2000, 1000, 2)).sample(Random(0))
    assert 4 <= int(x.sum()) <= 45  # 20 expected


def test_draws_do_not_depend_on_the_batch():
    for belief, part in (
        (normals()[0], lambda d, i: Normal(d.mean[i], d.var[i])),
        (tokens()[0], lambda d, i: Tokens(d.log_probs[i])),
    ):
        whole = belief.sample(Random(4))
        rows = torch.tensor([2, 0])
        assert torch.equal(part(belief, rows).sample(Random(4, rows)), whole[rows])


def test_tilted_normals_and_blended_tokens_are_the_weighted_product_of_densities():
    """log(p^(1-w) q^w) differs from the mixture's log-density by a constant only."""
    (p, _), (a, b) = normals(), tokens()
    q = Normal(normals()[1].mean, torch.as_tensor(p.var) * 2)
    x, y = Random(2).normal((3, 2, 2), dtype=torch.float64), Random(3).normal((3, 2, 2), dtype=torch.float64)
    u, v = Random(2).integers(5, (3, 4)), Random(3).integers(5, (3, 4))
    for w in (0.0, 0.4, 1.0, 1.7):
        for one, two, mixed, left, right in ((p, q, p.tilted(q, w), x, y), (a, b, a.blend(b, w), u, v)):
            wanted = (1 - w) * (one.log_prob(left) - one.log_prob(right)) + w * (
                two.log_prob(left) - two.log_prob(right)
            )
            torch.testing.assert_close(mixed.log_prob(left) - mixed.log_prob(right), wanted)
    assert float(a.blend(b, 3.0).mean.sum()) == pytest.approx(12)
    tilted = Normal(torch.zeros(1, 1), 1.25).tilted(Normal(torch.ones(1, 1), 0.25), 2.0)
    assert (float(tilted.mean), float(tilted.var) ** 0.5) == pytest.approx((1.111, 0.373), abs=1e-3)  # docs/guidance.md


@pytest.mark.each("mine", [0.0, 1.25, torch.zeros(2, 3), torch.tensor([[4.0], [0.5]])])
@pytest.mark.each("theirs", [0.0, 0.25, torch.zeros(2, 3), torch.tensor([[0.1], [9.0]])])
def test_blend_moves_the_mean_and_keeps_the_variance_of_the_guess_guided_to(mine: Any, theirs: Any):
    """Whatever variances the two report: none, zeros written out, narrow against wide."""
    fraction = torch.full((2, 3), 0.3)
    without, given = Normal(torch.zeros(2, 3), mine), Normal(torch.ones(2, 3), theirs, fraction)
    for weight in (0.0, 1.0, 2.5, torch.tensor(3.0), torch.tensor([1.0, 3.0])):
        blended = without.blend(given, weight)
        wanted = torch.as_tensor(weight).reshape(-1, 1).expand(2, 3)
        assert torch.equal(blended.mean, wanted)
        assert blended.var is theirs
        assert blended.fraction is fraction


@pytest.mark.parametrize("pair", [normals, tokens], ids=["normals", "tokens"])
def test_a_weight_a_sample_is_each_samples_own(pair: Any):
    a, b = pair()
    rows = a.blend(b, torch.tensor([1.0, 0.0, 2.0]))
    for i, w in enumerate((1.0, 0.0, 2.0)):
        torch.testing.assert_close(rows.mean[i], a.blend(b, w).mean[i])


def test_blend_keeps_excluded_tokens_excluded():
    a = Tokens(torch.tensor([[[0.0, 0.5, 0.5]]], dtype=torch.float64).log())
    b = Tokens(torch.tensor([[[0.2, 0.0, 0.8]]], dtype=torch.float64).log())
    for w in (0.5, 3.0):
        torch.testing.assert_close(a.blend(b, w).mean, torch.tensor([[[0.0, 0.0, 1.0]]], dtype=torch.float64))


def test_a_mixture_of_densities_without_positive_variance_is_refused():
    narrow, wide = Normal(torch.zeros(1, 1), torch.ones(1, 1)), Normal(torch.zeros(1, 1), torch.full((1, 1), 4.0))
    for one, two in ((narrow, wide), (narrow, narrow.mean_only())):
        with pytest.raises(
            ValueError, match="these densities have no such mixture: its variance would not be positive"
        ):
            one.tilted(two, 3.0)
