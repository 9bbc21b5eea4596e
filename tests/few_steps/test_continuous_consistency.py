"""Continuous consistency: TrigFlow's closed forms on normal data, the tangent, its warm-up, and what is refused."""

import math
from typing import Any, ClassVar

import pytest
import torch
from flow_maps import GaussianMap
from torch import Tensor, nn

from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.networks.mlp import MLP
from undiffuse.objectives import ContinuousConsistency, Uncertainty
from undiffuse.schedules import VP, EDMSchedule, FlowSchedule

DOUBLE: dict[str, Any] = {"dtype": torch.float64}
ANGLES = torch.tensor([math.pi / 8, math.pi / 4, 3 * math.pi / 8, 1.5], **DOUBLE)
SCHEDULES = [EDMSchedule(), VP(), FlowSchedule()]


class Ends(Denoiser, nn.Module):
    """F(z / .5, u) = factor(u) z / .5 of TrigFlow, as a guess of where the path ends; factors: by angle."""

    jumps = "data"

    def __init__(self, schedule: Any, factor: Any) -> None:
        nn.Module.__init__(self)
        self.process, self.factor, self.weight = Gaussian(schedule), factor, nn.Parameter(torch.ones((), **DOUBLE))

    def forward(self, x_t: Tensor, t: Any, *, to: Any = None, **cond: Any) -> Normal:
        alpha, sigma = self.process.schedule.at(t, x_t)
        u, z = torch.atan2(sigma, 0.5 * alpha), x_t / torch.hypot(alpha, sigma / 0.5)
        return Normal(u.cos() * z - u.sin() * self.weight * self.factor(u) * z)

    __call__ = nn.Module.__call__


def exact(std: float) -> Any:
    """(cos u - std/S) / sin u,  S^2 = std^2 cos^2 u + .25 sin^2 u."""
    return lambda u: (u.cos() - std / torch.hypot(std * u.cos(), 0.5 * u.sin())) / u.sin()


def at(schedule: Any, value: float = 0.7) -> tuple[Tensor, Tensor]:
    """Times of the angles, and states there that are `value` on the circle."""
    t = schedule.time(-2 * (0.5 * ANGLES.tan()).log())
    alpha, sigma = schedule.both(t)
    return t, value * torch.hypot(alpha, sigma / 0.5)[:, None]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(("method", "near"), [("forward", 1e-12), ("difference", 1e-5)])
def test_the_exact_function_has_the_numbers_of_the_paper_and_no_tangent(schedule: Any, method: Any, near: float):
    assert exact(0.25)(ANGLES).tolist() == pytest.approx([0.23610928, 0.10557281, -0.15939997, -0.43128402], abs=1e-8)
    assert float(exact(0.5)(ANGLES[1])) == pytest.approx(-math.tan(math.pi / 8))
    (t, x), model, truth = at(schedule), Ends(schedule, exact(0.25)), GaussianMap(schedule, 0.0, 0.25)
    torch.testing.assert_close(model(x, t).mean.detach(), truth(x, t, to=torch.zeros(4, **DOUBLE)).mean)
    end = truth(x, t).mean
    g = ContinuousConsistency(derivative=method).tangent(model, x, t, end, {})
    torch.testing.assert_close(g, torch.zeros(4, 1, **DOUBLE), rtol=0, atol=near)
    wrong = ContinuousConsistency(derivative=method).tangent(Ends(schedule, exact(0.4)), x, t, end, {})
    assert float(wrong.abs().min()) > 0.01


def test_the_tangent_is_that_of_the_paper():
    """g = -cos^2 u (data_std F - dz/du) - r cos u sin u (z + data_std dF/du), then over |g| + c."""
    schedule, (t, x) = EDMSchedule(), at(EDMSchedule())
    model, x_0 = Ends(schedule, lambda u: (2 * u).sin()), torch.tensor([[0.3], [-0.2], [0.5], [0.1]], **DOUBLE)
    u, z = ANGLES[:, None], torch.full((4, 1), 0.7, **DOUBLE)
    noise = (z - u.cos() * x_0) / u.sin()
    rate = u.cos() * noise - u.sin() * x_0
    F, slope = (2 * u).sin() * z, 2 * (2 * u).cos() * z + (2 * u).sin() * rate
    for done, r in ((0, 0.0), (5, 0.5), (10, 1.0), (70, 1.0)):
        objective = ContinuousConsistency()
        objective.begin(model, 100)
        objective.after(model, done)
        g = -(u.cos() ** 2) * (F - rate) - r * u.cos() * u.sin() * (z + slope)
        torch.testing.assert_close(objective.tangent(model, x, t, x_0, {}), g / (g.abs() + 0.1))
        assert int(objective.state()["reached"]) == done


def test_the_gradient_is_of_the_network_and_the_loss_the_tangents_square():
    schedule, x_0 = EDMSchedule(), 0.5 * Random(1).normal((64, 3), **DOUBLE)
    model, objective = Ends(schedule, exact(0.4)), ContinuousConsistency()
    t = objective.times(schedule, Random(2), 64)
    loss = objective.at(t, model, Batch(x_0), Random(0))
    x_t = model.process.marginal(x_0, t).sample(Random(0).fold(0))
    g = objective.tangent(model, x_t, t, x_0, {})
    torch.testing.assert_close(loss.detach(), g.square().mean(1))
    alpha, sigma = schedule.at(t, x_t)
    u, z = torch.atan2(sigma, 0.5 * alpha), x_t / torch.hypot(alpha, sigma / 0.5)
    wanted = -2 * (g * exact(0.4)(u) * z / 0.5).mean(1).sum()
    torch.testing.assert_close(torch.autograd.grad(loss.sum(), model.weight)[0], wanted)


def test_a_learned_uncertainty_is_its_adaptive_weight():
    model = Ends(EDMSchedule(), exact(0.4))
    weighed = Uncertainty(ContinuousConsistency(GaussianMap(EDMSchedule(), 0.0, 0.25).denoiser))
    weighed.begin(model, 10)
    weighed.after(model, 4)
    assert weighed.jumps == {"data"}
    assert int(weighed.state()["reached"]) == 4
    assert weighed.reference(model) is weighed.base.teacher  # type: ignore[attr-defined]
    batch = Batch(0.5 * Random(1).normal((8, 3), **DOUBLE))
    torch.testing.assert_close(weighed.loss(model, batch, Random(0)), weighed.base.loss(model, batch, Random(0)))


def test_dropout_is_the_same_in_the_guess_and_its_derivative():
    class Noisy(nn.Module):
        seen: ClassVar[list[Tensor]] = []

        def forward(self, x: Tensor, c_time: Tensor, **cond: Any) -> Tensor:
            dropped = nn.functional.dropout(torch.ones(x.shape), 0.5)
            self.seen.append(dropped)
            return x * dropped

    model = Predictor(Noisy(), Gaussian(EDMSchedule()), "edm", "data")
    ContinuousConsistency().loss(model, Batch(torch.ones(8, 4)), Random(0))
    one, other = Noisy.seen
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ContinuousConsistency(data_std=0.0),
            "a warmup from 0 to 1 and c > 0, not 0, 0.1 and 0.1",
        ),
        (lambda: ContinuousConsistency(warmup=2.0), "not 0.5, 2 and 0.1"),
        (lambda: ContinuousConsistency(c=0.0), "not 0.5, 0.1 and 0"),
        (
            lambda: ContinuousConsistency(Ends(EDMSchedule(), exact(0.4))).begin(Ends(EDMSchedule(), exact(0.4)), 9),
            "the teacher is a consistency function",
        ),
        (
            lambda: ContinuousConsistency().begin(
                Predictor(MLP(shape=(1,), width=4), Gaussian(EDMSchedule()), "noise", "data"), 9
            ),
            "continuous_consistency takes a first step from noise",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()
