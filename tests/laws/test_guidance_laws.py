"""Laws of classifier-free guidance: weight 1 is the model itself, other weights extrapolate its guess."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.condition_dropout import drop_mask
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.categorical import Categorical, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.grids.karras import Karras
from undiffuse.guidance import Autoguidance, ClassifierFree, Composition, OptimalVariance
from undiffuse.samplers import Heun
from undiffuse.schedules import VP, EDMSchedule, LogLinear


class Shifted(nn.Module):
    """Guesses its label everywhere, and 10 where it has none; counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[int] = []

    def forward(self, x: Tensor, c_time: Tensor, label: Tensor | None = None, drop: Tensor | None = None) -> Tensor:
        self.calls.append(len(x))
        value = torch.full((len(x),), 10.0) if label is None else label.float()
        if drop is not None:
            value = torch.where(drop, 10.0, value)
        return value[:, None].expand_as(x).to(x.dtype) + 0.1 * x


def model() -> tuple[Predictor, Shifted]:
    network = Shifted()
    return Predictor(network, Gaussian(VP()), "data"), network


X, LABEL = Random(0).normal((3, 2)), torch.tensor([1, 2, 3])


def test_weight_one_is_the_model_bit_for_bit_in_one_call():
    denoiser, network = model()
    guided = ClassifierFree(denoiser, weight=1.0)(X, 0.5, label=LABEL)
    assert network.calls == [3]
    assert isinstance(guided, Normal)
    assert torch.equal(guided.mean, denoiser(X, 0.5, label=LABEL).mean)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.5, 4.0])
@pytest.mark.parametrize("t", [0.5, torch.tensor([0.2, 0.5, 0.9])])
def test_other_weights_extrapolate_in_one_call_of_twice_the_batch(weight: float, t: Any):
    denoiser, network = model()
    guided: Any = ClassifierFree(denoiser, weight=weight)(X, t, label=LABEL)
    assert network.calls == [6]
    with_label, without = denoiser(X, t, label=LABEL).mean, denoiser(X, t).mean
    torch.testing.assert_close(guided.mean, without + weight * (with_label - without))


def test_samples_that_were_dropped_anyway_are_not_guided():
    denoiser, _ = model()
    drop = torch.tensor([False, True, False])
    guided: Any = ClassifierFree(denoiser, weight=3.0)(X, 0.5, label=LABEL, drop=drop)
    torch.testing.assert_close(guided.mean[1], denoiser(X, 0.5).mean[1])
    free: Any = ClassifierFree(denoiser, weight=3.0)(X, 0.5, label=LABEL)
    torch.testing.assert_close(guided.mean[[0, 2]], free.mean[[0, 2]])


def test_another_denoiser_may_be_the_one_without():
    """Autoguidance's form: D = lerp(D_ref, D, weight), the reference without conditions."""
    denoiser, network = model()
    other = Predictor(Shifted(), Gaussian(VP()), "velocity")
    guided: Any = ClassifierFree(denoiser, without=other, weight=2.0)(X, 0.5, label=LABEL)
    wanted = 2 * denoiser(X, 0.5, label=LABEL).mean - other(X, 0.5).mean
    torch.testing.assert_close(guided.mean, wanted)
    assert network.calls[0] == 3
    assert ClassifierFree(denoiser).process is denoiser.process


def test_tokens_are_guided_by_their_log_probabilities():
    class Logits(nn.Module):
        def forward(self, x: Tensor, c_time: Tensor, label: Tensor | None = None, drop: Tensor | None = None) -> Tensor:
            gate = torch.ones(len(x)) if drop is None else 1.0 - drop.float()
            gate = gate * (0 if label is None else 1)
            return gate[:, None, None] * torch.tensor([0.0, 1.0, 2.0]) + torch.zeros(*x.shape, 3)

    denoiser = Predictor(Logits(), Categorical(LogLinear(), uniform(3)), "probabilities")
    x = torch.zeros(2, 4, dtype=torch.long)
    guided: Any = ClassifierFree(denoiser, weight=2.5)(x, 0.5, label=torch.tensor([0, 1]))
    wanted = (2.5 * torch.tensor([0.0, 1.0, 2.0])).softmax(-1).expand(2, 4, 3)
    torch.testing.assert_close(guided.mean, wanted)


class TwoLevels(Denoiser):
    """x given m ~ N(m, .25), m ~ N(0, 1), conditioned on m = 1 or on nothing: exact for both."""

    process: Gaussian = Gaussian(EDMSchedule())

    def __init__(self, reports: bool = True) -> None:
        self.reports = reports

    def __call__(self, x_t: Tensor, t: Tensor | float, drop: Any = None, **cond: Any) -> Normal:
        _, sigma = self.process.schedule.at(t, x_t)
        hides = drop_mask(drop, "label")
        dropped = torch.zeros(len(x_t), dtype=torch.bool) if hides is None else hides
        mean = torch.where(dropped, 0.0, 1.0)[:, None].to(x_t)
        var = torch.where(dropped, 1.25, 0.25)[:, None].to(x_t)
        return Normal(mean + var / (var + sigma**2) * (x_t - mean), var * sigma**2 / (var + sigma**2) * self.reports)


DOGS, PETS = (GaussianOracle(TwoLevels.process, mean, var) for mean, var in ((1.0, 0.25), (0.0, 1.25)))
GUIDED = {
    "no variance": lambda w: ClassifierFree(TwoLevels(reports=False), weight=w),
    "in one call": lambda w: ClassifierFree(TwoLevels(), weight=w),
    "oracles": lambda w: ClassifierFree(DOGS, without=PETS, weight=w),
    "by name": lambda w: ClassifierFree(TwoLevels(), weight={"label": w}),
    "experts": lambda w: Composition(PETS, [DOGS], [w]),
    "autoguidance": lambda w: Autoguidance(DOGS, PETS, weight=w),
    "optimal variances": lambda w: Autoguidance(*(OptimalVariance(d, (1.0,), (0.2,)) for d in (DOGS, PETS)), weight=w),
    "zeros": lambda w: ClassifierFree(OptimalVariance(DOGS, (1.0,), (0.0,)), without=PETS, weight=w),
    "projected": lambda w: ClassifierFree(DOGS, without=PETS, weight=w, largest=1e9),
}


@pytest.mark.parametrize(
    ("weight", "mean", "std"), [(1.0, 0.99375, 0.49999), (2.0, 1.31722, 0.22362), (4.0, 1.39461, 0.04473)]
)
def test_guided_gaussians_end_where_the_ode_ends_and_not_at_the_tilted_density(weight: float, mean: float, std: float):
    """X16: from sigma = 80 with a zero-mean start (the paper's w = weight - 1);
    the tilted law would be 1/.5, 1.111/.373, 1.176/.271. The variances that guesses report change nothing.
    """
    start = 80 * torch.tensor([[0.0], [1.0]], dtype=torch.float64)  # the map is affine: its value and slope say all
    times = Karras(sigma_min=1e-4)(EDMSchedule(), 400)
    end = sample(GUIDED["oracles"](weight), (2, 1), sampler=Heun(), times=times, start=start)
    assert float(end[0]) == pytest.approx(mean, abs=1e-4)
    assert float(end[1] - end[0]) == pytest.approx(std, abs=1e-4)


@pytest.mark.each("weight", [1.0, 2.0, 4.0])
@pytest.mark.each("made", GUIDED.values(), ids=GUIDED.keys())
def test_the_guided_guess_is_the_formula_whatever_variances_the_two_report(made: Any, weight: float):
    """So at sigma = 1.6 the guesses 1.0890 and 0.6562 at x = 2 make 1.0890 + 0.4328 = 1.5218 of weight 2."""
    x = torch.tensor([[2.0], [-30.0]], dtype=torch.float64)
    for t in (1.0, 0.5, 0.02, 1e-4):
        better, worse = DOGS(x, t), PETS(x, t)
        guess = made(weight)(x, t, label=torch.zeros(2))
        torch.testing.assert_close(guess.mean, worse.mean + weight * (better.mean - worse.mean))
        if made in (GUIDED["oracles"], GUIDED["experts"], GUIDED["autoguidance"], GUIDED["by name"]):
            torch.testing.assert_close(
                torch.as_tensor(guess.var).expand(2, 1), torch.as_tensor(better.var).expand(2, 1)
            )
    if weight == 2:
        assert float(made(weight)(x, 0.02, label=torch.zeros(2)).mean[0]) == pytest.approx(1.5218, abs=1e-4)
