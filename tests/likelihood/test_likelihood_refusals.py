"""What has no likelihood is refused by name, and so is what makes no sense."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.product import Product
from undiffuse.core.random import Random
from undiffuse.guidance import ClassifierFree
from undiffuse.likelihood import Decoder, continuous, elbo, encode, ode
from undiffuse.likelihood.question import checked
from undiffuse.schedules import VP, ContinuousCosine, LinearBeta, LogLinear

ORACLE = GaussianOracle(Gaussian(LinearBeta()))
X = torch.zeros(3, 2)
TOKENS = TokenOracle(Categorical(LogLinear(floor=0), uniform(3)), torch.tensor([[0, 1]]), [1.0])
STEPS = TokenOracle(Categorical(LogLinear(floor=0, steps=4), uniform(3)), torch.tensor([[0, 1]]), [1.0])
BOTH: list[Any] = [elbo, continuous, ode, encode]


class Nothing(nn.Module):
    """A network that says 0."""

    def forward(self, x: Tensor, c_time: Tensor, **cond: Any) -> Tensor:
        return 0 * x


@pytest.mark.parametrize("likelihood", BOTH)
def test_a_guided_denoiser_has_no_density(likelihood: Any):
    with pytest.raises(Refused, match=r"ClassifierFree has no likelihood: guidance with weight 2 moves"):
        likelihood(ClassifierFree(ORACLE, weight=2.0), X)


def test_guidance_of_weight_one_is_none():
    torch.testing.assert_close(ode(ClassifierFree(ORACLE, weight=1.0), X).log_prob, ode(ORACLE, X).log_prob)
    wrapped = ClassifierFree(Predictor(Nothing(), Gaussian(VP()), "consistency"), weight=1.0)
    with pytest.raises(Refused, match="consistency function"):
        ode(wrapped, X)


@pytest.mark.parametrize("likelihood", BOTH)
def test_a_consistency_function_has_no_density(likelihood: Any):
    with pytest.raises(Refused, match=r"Predictor has no likelihood: a consistency function guesses where a path ends"):
        likelihood(Predictor(Nothing(), Gaussian(VP()), "consistency"), X)


@pytest.mark.parametrize("likelihood", [elbo, ode, encode])
def test_noise_prediction_where_no_signal_is_left(likelihood: Any):
    model = Predictor(Nothing(), Gaussian(ContinuousCosine()), "noise")
    with pytest.raises(Refused, match="noise prediction is undefined where alpha = 0"):
        likelihood(model, X)


def test_a_start_before_the_signal_is_gone_is_the_way_out():
    model = Predictor(Nothing(), Gaussian(ContinuousCosine()), "noise")
    assert bool(ode(model, X, start=0.99).log_prob.isfinite().all())
    assert bool(elbo(model, X, torch.linspace(0.99, 0, 20)).nats.isfinite().all())
    assert bool(continuous(model, X, points=5, start=0.99).nats.isfinite().all())


@pytest.mark.each(
    ("call", "message"),
    [
        (lambda: ode(TOKENS, torch.tensor([[0, 1]])), "the probability-flow ODE is for values; tokens have the bound"),
        (lambda: continuous(STEPS, torch.tensor([[0, 1]])), "the bound of tokens on a schedule of steps is that of"),
        (lambda: elbo(TOKENS, torch.tensor([[0, 1]]), decoder=Decoder()), "tokens have an exact bound"),
        (
            lambda: elbo(TOKENS, torch.tensor([[0, 1]]), variance="beta"),
            "the bound with variance 'beta' is for a Gaussian process, not Categorical",
        ),
        (lambda: elbo(TOKENS, torch.tensor([[0.0, 1]])), "needs integers, which its tokens are"),
        (lambda: elbo(ORACLE, torch.zeros(2, 2, dtype=torch.int64)), "needs floating-point numbers"),
        (lambda: elbo(ORACLE, X[:0]), "there are no data to score"),
        (lambda: ode(ORACLE, X / 0), "numbers that are not finite"),
        (lambda: elbo(ORACLE, X + 2, decoder=Decoder()), r"outside the decoder's range \[-1, 1\]"),
        (lambda: ode(ORACLE, X + 2, decoder=Decoder()), r"between 2 and 2, outside the decoder's range \[-1, 1\]"),
        (lambda: elbo(ORACLE, X, torch.tensor([0.5, 1.0, 0.0])), "must fall strictly inside"),
        (lambda: elbo(ORACLE, X, torch.tensor([1.5, 0.5])), "must fall strictly inside"),
        (lambda: elbo(ORACLE, X, torch.tensor(0.5)), "must fall strictly inside"),
        (lambda: elbo(ORACLE, X, draws=0), "at least 1 draw of noise, not 0"),
        (lambda: elbo(ORACLE, X, subset=0), "at least 1 step, not 0"),
        (lambda: elbo(ORACLE, X, chances=torch.ones(999)), "say how many with subset"),
        (lambda: elbo(ORACLE, X, subset=2, chances=torch.ones(3)), "must be 999 positive numbers"),
        (lambda: elbo(ORACLE, X, batch=0), "batch must be at least 1, not 0"),
        (lambda: elbo(ORACLE, X, indices=torch.arange(2)), "3 data need 3 indices, not 2"),
        (lambda: elbo(ORACLE, X, variance="small"), "no variance 'small'; it has: posterior, beta, exact, learned"),  # type: ignore[arg-type]
        (lambda: continuous(ORACLE, X, points=0), "at least 1 point, not 0"),
        (lambda: continuous(ORACLE, X, t_min=0.0), "0 < t_min < start <= 1, not t_min = 0.0 and 1.0"),
        (lambda: continuous(ORACLE, X + 2, decoder=Decoder()), r"outside the decoder's range \[-1, 1\]"),
        (lambda: ode(ORACLE, X, draws=0), "at least 1 draw, not 0"),
        (lambda: ode(ORACLE, X, draws=2), "several draws are for levels"),
        (lambda: ode(ORACLE, X, trace="rademacher", probes=0), "at least 1 probe, not 0"),
        (lambda: ode(ORACLE, X, trace="cube"), "no trace is called 'cube'; there are: exact, rademacher"),  # type: ignore[arg-type]
        (lambda: ode(ORACLE, X, t_min=0.0), "0 < t_min < start <= 1, not t_min = 0.0 and 1.0"),
        (lambda: ode(ORACLE, X, rtol=0.0), "tolerances are above 0, not rtol = 0"),
    ],
)
def test_refusals(call: Any, message: str):
    with pytest.raises(Refused, match=message):
        call()


def test_an_exact_variance_needs_a_denoiser_that_tells_one():
    with pytest.raises(Refused, match="the bound with variance 'exact' needs a denoiser that reports its variance"):
        elbo(Predictor(Nothing(), Gaussian(VP()), "noise"), X, variance="exact")


def test_several_parts_are_not_scored_together():
    process = Product({"a": Gaussian(VP()), "b": Gaussian(VP())})
    model = ClassifierFree(ORACLE, weight=1.0)
    with pytest.raises(Refused, match="several parts together"):
        checked(model, process.prior({"a": (2, 2), "b": (2, 2)}).sample(Random(0)))


def test_a_mask_that_cannot_be_reached_has_no_finite_bound():
    """alpha(1) = 0.001: a token in a thousand is left at t = 1, where the prior has masks alone."""
    oracle = TokenOracle(Categorical(LogLinear(), mask(3)), torch.tensor([[0, 1]]), [1.0])
    with pytest.raises(Refused, match="at t = 1 tokens of the data are left that the prior cannot produce"):
        elbo(oracle, torch.tensor([[0, 1]]))


def test_an_ode_that_cannot_be_solved_says_so():
    class Wild(Nothing):
        def forward(self, x: Tensor, c_time: Tensor, **cond: Any) -> Tensor:
            return x * torch.nan if float(c_time[0]) > 500 else x

    with pytest.raises(Refused, match=r"the ODE cannot be solved to rtol = 1e-05, atol = 1e-05 \(.*allow larger"):
        ode(Predictor(Wild(), Gaussian(LinearBeta()), "noise"), X)
