"""Gradients of distribution matching and score distillation in closed form, and a law that a student reaches."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from flow_maps import MixtureMap, small, train
from torch import Tensor, nn

from undiffuse import schedules
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.objectives import Denoising, DistributionMatching
from undiffuse.objectives.distribution_matching import FAKE
from undiffuse.time_distributions import LogNormal

EDM = Gaussian(schedules.EDMSchedule())
M, C, A, B = 1.0, 0.5, 0.3, 0.4  # the teacher's data, and the student a z + b


@dataclass(frozen=True)
class At(TimeDistribution):
    """One noise level."""

    sigma: float

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        return schedule.time(torch.tensor(-2 * math.log(self.sigma), dtype=torch.float64)).expand(count)


class Affine(nn.Module, Denoiser):
    """A student of one step: a z + b of the noise z = x / sigma."""

    jumps = "data"

    def __init__(self, a: float = A, b: float = B) -> None:
        super().__init__()
        self.process = EDM
        self.a, self.b = (nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (a, b))

    @property
    def predictor(self) -> Any:  # type: ignore[override]
        return self

    def forward(self, x: Tensor, t: Any, *, to: Any = None, **cond: Any) -> Normal:
        return Normal(self.a * x / self.process.schedule.sigma(torch.as_tensor(t, dtype=torch.float64)) + self.b)

    __call__ = nn.Module.__call__


class Exact(nn.Module, Denoiser):
    """What a perfect fake denoiser of the affine student says."""

    def __init__(self, student: Affine) -> None:
        super().__init__()
        self.process, self.student = EDM, student

    @property
    def predictor(self) -> Any:  # type: ignore[override]
        return self

    def forward(self, x: Tensor, t: Any, **cond: Any) -> Normal:
        a, b = self.student.a.item(), self.student.b.item()
        return GaussianOracle(EDM, b, a**2)(x, t)

    __call__ = nn.Module.__call__


def matching(method: Any, sigma: float, student: Affine) -> DistributionMatching:
    made = DistributionMatching(GaussianOracle(EDM, M, C**2), method, times=At(sigma))
    made._made[FAKE] = Exact(student)
    return made


def slopes(method: Any, sigma: float, a: float = A, b: float = B) -> tuple[float, float]:
    """d/da and d/db of what the gradient lowers, exactly: it is linear in the two draws, so that their signs do."""
    student = Affine(a, b)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 2)
    z, noise = signs[:, :1], signs[:, 1:]
    x = (a * z + b).detach()
    made, t = matching(method, sigma, student), At(sigma)(EDM.schedule, Random(0), 4)
    guesses = (each(x + sigma * noise, t).mean for each in (made.teacher, made.fake))
    g = made.gradient(x, next(guesses), None if method == "sds" else next(guesses), *EDM.schedule.at(t, x)) / sigma
    return float((g * z).mean()), float(g.mean())


@pytest.mark.parametrize(
    ("sigma", "vsd", "sds"),
    [
        (0.2, (-0.05092838, -0.08275862), 0.04137931),
        (1.0, (-0.03522936, -0.48), 0.24),
        (5.0, (-0.00189417, -0.59405941), 0.29702970),
    ],
)
def test_the_gradients_of_variational_and_plain_score_distillation_are_told_apart(
    sigma: float, vsd: tuple[float, float], sds: float
):
    """On a Gaussian the first is sigma^2 times that of KL(student || data), with noise; the second narrows a always."""
    assert slopes("vsd", sigma) == pytest.approx(vsd, abs=1e-8)
    assert slopes("sds", sigma) == pytest.approx((sds * A / 0.3, vsd[1]), abs=1e-8)
    assert slopes("vsd", sigma, C, M) == pytest.approx((0, 0), abs=1e-12)
    assert slopes("sds", sigma, C, M)[0] > 0


@pytest.mark.parametrize(("method", "scale"), [("vsd", 5.0), ("sds", 5.0), ("dmd", None)])
def test_the_loss_has_this_gradient(method: str, scale: float | None):
    student, batch, random = Affine(), Batch(torch.zeros(40_000, 1, dtype=torch.float64)), Random(3)
    made = matching(method, 5.0, student)
    loss = made.loss(student, batch, random).mean()
    found = [float(each) for each in torch.autograd.grad(loss, [student.a, student.b])]
    if scale is not None:
        expected = [scale * slope for slope in slopes(method, 5.0)]
        assert found == pytest.approx(expected, abs=0.1 if method == "vsd" else 0.05)
        return
    with torch.no_grad():  # each item's gradient over the mean of |x - D_real|
        x = made.drawn(student, batch, random.fold(0))
        x_t = EDM.marginal(x, made.times(EDM.schedule, random, len(x))).sample(random.fold(3))
        t = made.times(EDM.schedule, random, len(x))
        real, fake = made.teacher(x_t, t).mean, made.fake(x_t, t).mean
        g = (fake - real) / (x - real).abs()
    torch.testing.assert_close(loss.detach(), (g**2).mean() / 2)
    assert found[1] == pytest.approx(float(g.mean()))


def test_score_distillation_of_a_point_has_dreamfusions_gradient():
    """E_t[sigma^2 (eps_hat - eps)] = -.221811 at x = .2 for data N(1, .3^2), t even on (.02, .98)."""
    schedule = schedules.ContinuousCosine()
    process = Gaussian(schedule)
    t = torch.linspace(0.02, 0.98, 4001, dtype=torch.float64)
    t = (t[1:] + t[:-1]) / 2
    made = DistributionMatching(GaussianOracle(process, 1.0, 0.09), "sds")
    x = torch.full((len(t), 1), 0.2, dtype=torch.float64)
    noise = Random(0).normal((len(t), 1), dtype=torch.float64)
    alpha, sigma = schedule.at(t, x)
    exact = made.gradient(x, made.teacher(alpha * x, t).mean, None, alpha, sigma).mean()
    assert float(exact) == pytest.approx(-0.221811, abs=1e-6)
    drawn = made.gradient(x, made.teacher(alpha * x + sigma * noise, t).mean, None, alpha, sigma)
    assert float(drawn.mean()) == pytest.approx(-0.221811, abs=4 * float(drawn.std()) / math.sqrt(len(t)))


class Taught(Denoiser):
    """The exact denoiser of a mixture, whose fake one starts from nothing."""

    def __init__(self, exact: MixtureMap, fresh: Predictor) -> None:
        self.process, self.exact, self.fresh = exact.process, exact, fresh

    @property
    def predictor(self) -> Predictor:
        return self.fresh

    def __call__(self, x_t: Tensor, t: Any, *, to: Any = None, **cond: Any) -> Normal:
        return self.exact(x_t, t)


class Nothing(MixtureMap):
    """No data: all that is learned comes from the teacher."""

    def draw(self, count: int, random: Random) -> Tensor:
        return torch.zeros(count, 1, dtype=torch.float32)


@pytest.mark.slow
def test_a_student_of_one_step_reaches_the_law_of_a_mixture():
    """The root mean square between its quantiles and the data's is .05 of the data's deviation."""
    torch.manual_seed(1)
    exact, times = MixtureMap(schedules.FlowSchedule()), LogNormal(-0.5, 1.2)
    student, fresh = (small(exact.process.schedule, jumps=jumps) for jumps in ("data", "none"))
    critic = Denoising("edm", times, data_std=1.0)
    made = DistributionMatching(Taught(exact, fresh), "vsd", times=times, critic=critic, updates=3, fake_lr=6e-3)
    train(student, made, Nothing(exact.process.schedule), steps=260, batch=768, lr=3e-3)
    ranks = (torch.arange(1024, dtype=torch.float64)[:, None] + 0.5) / 1024
    with torch.no_grad():
        drawn = student(torch.special.ndtri(ranks).float(), 1.0, to=0.0).mean.double().sort(0).values
    assert float((drawn - exact.quantiles(1024, 0.0)).square().mean().sqrt()) < 0.05 * exact.std
