"""Guesses within the bounds of the data: what is clipped, where gradients pass, and that training finds the mean."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import undiffuse
from undiffuse.core.denoiser import Predictor
from undiffuse.core.derivative import derivative
from undiffuse.core.errors import Refused
from undiffuse.core.heads.bounded import BoundedHead
from undiffuse.core.heads.learned_variance import LearnedVariance
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.evaluation import nll
from undiffuse.objectives.noisy_end import refuse_silent
from undiffuse.parameterizations import Data, Noise, Velocity
from undiffuse.recipes import build
from undiffuse.recipes.recipe import Recipe
from undiffuse.schedules import VP, Cosine
from undiffuse.training.start import data, train

SMALL = [
    *("network.width=8", "network.multipliers=[1]", "network.attention=[]", "denoiser.bounded=true"),
    *("train.steps=2", "train.batch=8", "train.validate_every=0", "train.snapshots=0"),
]
AT = torch.tensor(0.5, dtype=torch.float64)


class Says(nn.Module):
    """A network that says the same numbers of everything."""

    def __init__(self, numbers: Tensor) -> None:
        super().__init__()
        self.numbers = nn.Parameter(numbers)

    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        return self.numbers.expand(len(x), -1)


def bounded(numbers: Tensor, head: Any = None) -> Any:
    return Predictor(Says(numbers), Gaussian(VP()), BoundedHead(head or Data(), -1.0, 1.0))


def test_guesses_are_clipped_and_gradients_pass_inside_and_back_inside_but_not_further_out():
    said = torch.tensor([-3.0, -3.0, -0.5, 0.5, 3.0, 3.0], dtype=torch.float64)
    model = bounded(said)
    guess: Any = model(torch.zeros(1, 6, dtype=torch.float64), AT)
    assert guess.mean.tolist() == [[-1.0, -1.0, -0.5, 0.5, 1.0, 1.0]]
    (guess.mean * torch.tensor([2.0, -2.0, 2.0, -2.0, 2.0, -2.0])).sum().backward()
    assert model.network.numbers.grad.tolist() == [0.0, -2.0, 2.0, -2.0, 2.0, 0.0]


@pytest.mark.parametrize("start", [-4.0, 0.3, 4.0])
def test_the_best_guess_is_the_mean_of_the_data_from_wherever_training_begins(start: float):
    """Of data at both ends and between them, so that the slope outside is not that of the square."""
    data = torch.tensor([[-1.0], [-1.0], [-1.0], [0.2], [1.0]], dtype=torch.float64)
    model = bounded(torch.tensor([start], dtype=torch.float64))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(200):
        optimiser.zero_grad()
        model(torch.zeros(5, 1, dtype=torch.float64), AT).error(data).mean().backward()
        optimiser.step()
    with torch.no_grad():
        found: Any = model(torch.zeros(1, 1, dtype=torch.float64), AT)
    assert float(found.mean) == pytest.approx(float(data.mean()), abs=1e-6)


def test_what_is_surely_at_the_end_need_not_be_hit():
    """Anything below the data's lowest number is as good: no loss, no gradient, and the number itself comes out."""
    model = bounded(torch.tensor([-1.4], dtype=torch.float64))
    loss = model(torch.zeros(3, 1, dtype=torch.float64), AT).error(-torch.ones(3, 1, dtype=torch.float64)).sum()
    loss.backward()
    assert (float(loss.detach()), model.network.numbers.grad.tolist()) == (0.0, [0.0])


def test_the_derivative_by_the_noisy_batch_is_that_of_a_clip():
    """In forward mode, by a difference and backwards, whatever the sign of what is asked for."""
    head = BoundedHead(Velocity(), -1.0, 1.0)

    def inside(x: Tensor, t: Tensor) -> Tensor:
        guess: Any = head.open(Gaussian(VP()), x, t)[2](torch.zeros_like(x))
        return guess.mean

    x = (4 * Random(0).normal((40,), dtype=torch.float64)).requires_grad_()
    alpha = float(VP().alpha(AT))
    true = alpha * ((alpha * x).abs() <= 1).to(x)
    for method in ("forward", "difference"):
        value, slope = derivative(inside, x.detach(), AT, torch.full_like(x, 3.0), torch.zeros_like(AT), method)
        torch.testing.assert_close(value, (alpha * x.detach()).clamp(-1, 1), rtol=1e-14, atol=0)
        torch.testing.assert_close(slope, 3 * true, rtol=1e-9, atol=1e-9)
    for sign in (-1.0, 1.0):
        (slope,) = torch.autograd.grad(sign * inside(x, AT).sum(), x)
        torch.testing.assert_close(slope, sign * true, rtol=1e-12, atol=0)


def test_a_learned_variance_is_kept_and_a_silent_end_still_refused():
    guess: Any = bounded(torch.tensor([3.0, 0.5]), LearnedVariance(Data(), "learned_range"))(torch.zeros(2, 1), 0.5)
    assert (guess.mean.tolist(), guess.fraction.tolist()) == ([[1.0]] * 2, [[0.75]] * 2)
    model = Predictor(Says(torch.zeros(1)), Gaussian(Cosine(20)), BoundedHead(Noise(), -1.0, 1.0))
    with pytest.raises(Refused, match=r"a guess by parameterization 'noise' is .* times as wrong as the network"):
        refuse_silent(model, build.objective(Recipe.find("digits")))


def test_a_run_trains_with_bounds_keeps_them_and_says_what_they_cost(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    train("digits", out=tmp_path / "run", overrides=SMALL).run(progress=False)
    model = undiffuse.load(tmp_path / "run", precision="float32")
    far = 10 * Random(1).normal((4, 1, 8, 8))
    assert float(model.denoiser(far, 0.5, label=torch.tensor([0, 1, 2, 3])).mean.abs().max()) <= 1
    model.sample(2, label=1, steps=3)
    few = data(model.recipe)[1]
    assert few is not None
    nll.score(model, few.some(2), given=True, tolerance=0.1)
    assert "for likelihoods train with --set denoiser.bounded=false" in caplog.text


def test_what_has_no_bounds_is_left_as_it_is_and_tokens_are_refused(tmp_path: Path):
    model = train("digits", out=tmp_path / "run", overrides=[*SMALL, "codec.name=whiten"]).run(progress=False)
    far = 10 * Random(1).normal((4, 1, 8, 8))
    assert float(model.denoiser(far, 0.001, label=torch.tensor([0, 1, 2, 3])).mean.abs().max()) > 3
    with pytest.raises(Refused, match=r"denoiser\.bounded is for guesses of values, not of tokens"):
        build.check(Recipe.find("text").override(["denoiser.bounded=true"]))
