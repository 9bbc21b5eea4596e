"""Score distillation of scenes, in closed form: priors that are Gaussians or mixtures."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse import schedules
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.objective import RUN, Batch
from undiffuse.core.oracles import GaussianOracle, MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.objectives import ScoreDistillation
from undiffuse.objectives.score_distillation import FAKE, at_angle, inverted
from undiffuse.rendering.scene_module import SceneModule
from undiffuse.sampling.scene_prior import PriorSettings, ScenePrior
from undiffuse.scenes import ImageScene, Voxels

EDM, COSINE = Gaussian(schedules.EDMSchedule()), Gaussian(schedules.ContinuousCosine())


def told(denoiser: Denoiser, inverse: Denoiser | None = None) -> Any:
    """A prior that is told nothing of a camera."""
    return SimpleNamespace(denoiser=denoiser, inverse=inverse or denoiser, conditions=lambda cameras: {})


def scene(prior: Denoiser, renderable: Any) -> SceneModule:
    return SceneModule(renderable, told(prior))


def cameras(count: int) -> Tensor:
    return torch.tensor([[0.3, 0.2, 3.0]]).repeat(count, 1)


@pytest.mark.parametrize("process", [COSINE, EDM], ids=["cosine", "edm"])
def test_a_point_has_dreamfusions_gradient(process: Gaussian):
    """E_t[sigma^2 (eps_hat - eps)] = -.221811 at x = .2 for data N(1, .3^2), whatever the schedule is called."""
    angle = torch.linspace(0.02, 0.98, 4001, dtype=torch.float64)
    angle = (angle[1:] + angle[:-1]) / 2
    oracle, made = GaussianOracle(process, 1.0, 0.09), ScoreDistillation()
    x = torch.full((4000, 1), 0.2, dtype=torch.float64)
    found = torch.stack([made.gradient(told(oracle), x, angle, Random(seed), {}) for seed in range(4)])
    spread = float(found.std()) / math.sqrt(found.numel())
    assert float(found.mean()) == pytest.approx(-0.221811, abs=4 * spread)
    assert spread < 2e-3


def test_levels_fall_over_training_and_are_the_rows_own():
    made = ScoreDistillation(high=0.9, last_high=0.4, low=0.1)
    made._steps[:] = [100]
    for step, high in ((0, 0.9), (50, 0.65), (100, 0.4), (200, 0.4)):
        found = made.angles(Random(0), 4000, step)
        assert 0.1 < float(found.min()) < 0.11
        assert high - 0.01 < float(found.max()) < high
    schedule = EDM.schedule
    alpha, sigma = schedule.at(at_angle(schedule, found), found)
    torch.testing.assert_close(torch.atan2(sigma, alpha) * 2 / math.pi, found)


def test_inversion_leads_along_the_ode_of_a_gaussian():
    """x_t = alpha mean + sqrt(alpha^2 c^2 + sigma^2) / c (x - mean), as the steps become many."""
    oracle, x = GaussianOracle(COSINE, 1.0, 0.25), torch.tensor([[0.2], [1.7]], dtype=torch.float64)
    angle = torch.tensor([0.6, 0.9], dtype=torch.float64)
    alpha, sigma = COSINE.schedule.at(at_angle(COSINE.schedule, angle), x)
    exact = alpha + (alpha**2 * 0.25 + sigma**2).sqrt() / 0.5 * (x - 1)
    errors = [(inverted(oracle, x, angle, n, 0.001, {}) - exact).abs().max() for n in (25, 100)]
    assert float(errors[1]) < 0.02
    assert float(errors[1]) < 0.35 * float(errors[0])
    g = ScoreDistillation("sdi", inversion=100, low=0.001).gradient(told(oracle), x, angle, Random(0), {})
    pull = alpha * sigma * (x - 1) * (1 - alpha * 0.5 / (alpha**2 * 0.25 + sigma**2).sqrt())
    torch.testing.assert_close(g, pull, rtol=0.05, atol=1e-3)


class Fit(nn.Module, Denoiser):
    """A fake denoiser that is exact for items N(mean, std^2), both of which it learns."""

    jumps = "none"

    def __init__(self, process: Gaussian, mean: float, std: float) -> None:
        super().__init__()
        self.process = process
        self.mean, self.log_std = (nn.Parameter(torch.tensor(v)) for v in (mean, math.log(std)))

    @property
    def predictor(self) -> Any:  # type: ignore[override]
        return self

    def forward(self, x_t: Tensor, t: Any, **cond: Any) -> Normal:
        alpha, sigma = (c.to(x_t) for c in self.process.schedule.at(t, x_t))
        var = (2 * self.log_std).exp()
        return Normal(self.mean + alpha * var / (alpha**2 * var + sigma**2) * (x_t - alpha * self.mean))

    __call__ = nn.Module.__call__


def test_sdi_finds_noise_by_the_inverse_and_removes_it_by_the_denoiser():
    """At the mode of the one, g is alpha sigma (x - D(x_t)) of the other at the x_t that leads to x in the first."""
    here, there = GaussianOracle(COSINE, 1.0, 0.25), GaussianOracle(COSINE, -1.0, 0.25)
    x, angle = torch.ones(1, 1, dtype=torch.float64), torch.tensor([0.6], dtype=torch.float64)
    made, t = ScoreDistillation("sdi", inversion=50, low=0.001), at_angle(COSINE.schedule, angle)
    alpha, sigma = COSINE.schedule.at(t, x)
    expected = alpha * sigma * (x - there(alpha * x, t).mean)
    torch.testing.assert_close(
        made.gradient(told(there, here), x, angle, Random(0), {}), expected, rtol=0.05, atol=1e-3
    )
    still = made.gradient(told(here, here), x, angle, Random(0), {})
    assert float(still.abs()) < 0.01 * float(expected.abs())


@pytest.mark.parametrize(("guidance", "inverse"), [(2.0, -2.0), (1.0, None)])
def test_noise_is_found_with_the_opposite_guidance(guidance: float, inverse: float | None):
    run = SimpleNamespace(denoiser=GaussianOracle(COSINE), conditions={})
    prior = ScenePrior(run, PriorSettings("", {}, guidance), solid=True)
    found: Any = prior.inverse
    assert (None if found is run.denoiser else found.weight) == inverse


@pytest.mark.parametrize(("method", "std"), [("sds", 0.25), ("sdi", 0.05)])
def test_sds_collapses_onto_the_mode(method: Any, std: float):
    """64 numbers that start from N(0, 1) all end at the mode of their prior, N(1, .5^2)."""
    torch.manual_seed(0)
    made = ScoreDistillation(method, high=0.9, last_high=0.9, inversion=2)
    model = scene(GaussianOracle(COSINE, 1.0, 0.25), ImageScene((1,), count=64, noise=1.0))
    optimiser = torch.optim.SGD(model.parameters(), 64 * 2.0)
    for step in range(40):
        optimiser.zero_grad()
        made.loss(model, Batch(cameras(64)), Random(0).fold(step), step).mean().backward()
        optimiser.step()
    renderable: Any = model.renderable
    values = renderable.values.detach()
    assert float(values.mean()) == pytest.approx(1, abs=0.1)
    assert float(values.std()) < std


def test_vsd_moves_a_distribution_until_it_is_the_prior():
    """Items N(b, a^2) with an exact fake denoiser: the mean gradient is alpha^2 sigma^3 / (...) times the difference of
    the scores, and is 0 where the items are as the prior says, however far each lies from the mode.
    """
    prior, made, angle = (
        Fit(COSINE, 1.0, 0.5),
        ScoreDistillation("vsd"),
        torch.tensor([0.3, 0.6, 0.9], dtype=torch.float64),
    )
    x = torch.tensor([[0.1], [1.2], [2.0]], dtype=torch.float64)
    for mean, std in ((1.0, 0.5), (0.4, 0.3)):
        made._made[FAKE] = Fit(COSINE, mean, std)
        with torch.no_grad():
            g = made.gradient(told(prior), x, angle, Random(0), {})
        t = at_angle(COSINE.schedule, angle)
        alpha, sigma = COSINE.schedule.at(t, x)
        x_t = COSINE.marginal(x, t).sample(Random(0))
        scores = [-(x_t - alpha * m) / (alpha**2 * s**2 + sigma**2) for m, s in ((mean, std), (1.0, 0.5))]
        torch.testing.assert_close(g, sigma**3 * (scores[0] - scores[1]), rtol=1e-5, atol=1e-6)


def test_each_player_moves_its_own_weights():
    prior, made = Fit(COSINE, 1.0, 0.5), ScoreDistillation("vsd")
    model = scene(prior, ImageScene((1,), count=4))
    scene_player, fake = made.players(model)
    assert (scene_player.name, fake.name, fake.lr) == (RUN, FAKE, 1e-4)
    batch = Batch(cameras(4))
    made.loss(model, batch, Random(0), 0, RUN).mean().backward()
    assert model.renderable.values.grad is not None  # type: ignore[union-attr]
    assert all(weight.grad is None for weight in (*prior.parameters(), *fake.modules[0].parameters()))
    model.zero_grad()
    made.loss(model, batch, Random(0), 0, FAKE).mean().backward()
    assert model.renderable.values.grad is None  # type: ignore[union-attr]
    assert all(weight.grad is not None for weight in fake.modules[0].parameters())
    assert all(weight.grad is None for weight in prior.parameters())


def test_sdi_draws_no_noise():
    oracle, x = (
        MixtureOracle(COSINE, [0.5, 0.5], torch.tensor([[-1.0], [1.0]]), torch.tensor([0.01, 0.01])),
        torch.full((3, 1), 0.9),
    )
    angle = torch.full((3,), 0.15, dtype=torch.float64)
    g = [ScoreDistillation("sdi").gradient(told(oracle), x, angle, Random(seed), {}) for seed in range(2)]
    assert torch.equal(*g)
    assert float(g[0].max()) < 0  # towards the mode at 1


def test_the_loss_has_the_gradient_and_the_terms_that_it_says():
    torch.manual_seed(0)
    oracle, batch = GaussianOracle(COSINE, 0.0, 1.0), Batch(cameras(2))
    model = scene(oracle, Voxels((3, 8, 8), side=6, samples=6))
    plain = ScoreDistillation()
    seen = model(batch.x, Random(0).fold(0))
    with torch.no_grad():
        g = plain.gradient(told(oracle), seen.pictures, plain.angles(Random(0).fold(2), 2), Random(0).fold(3), {})
    expected = torch.autograd.grad((seen.pictures * g).sum() / 192 / 2, model.renderable.grid)[0]  # type: ignore[union-attr]
    found = torch.autograd.grad(plain.loss(model, batch, Random(0)).mean(), model.renderable.grid)[0]  # type: ignore[union-attr]
    torch.testing.assert_close(found, expected)
    base = plain.loss(model, batch, Random(0)).detach()
    seen = model(batch.x, Random(0).fold(0), normals=True)
    more = {
        "opacity": (seen.opacity.square() + 0.01).sqrt().mean(1),  # type: ignore[union-attr]
        "orientation": seen.turned_away,
        "roughness": model.renderable.roughness(),
    }
    for name, term in more.items():
        weighted = ScoreDistillation(**{name: 2.0}).loss(model, batch, Random(0)).detach()
        torch.testing.assert_close(weighted - base, (2 * term).detach().expand(2), rtol=1e-4, atol=1e-6)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "sdss"}, r"the method of score_distillation has no 'sdss' \(did you mean 'sds'"),
        (
            {"high": 0.3},
            "needs 0 < low < last_high <= high < 1 and an inversion of 1 or more steps, not 0.02, 0.5, 0.3",
        ),
        ({"opacity": -1.0}, "score_distillation needs opacity of 0 or more, not -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: Any, message: str):
    with pytest.raises(Refused, match=message):
        ScoreDistillation(**fields)


def test_an_oracle_has_no_network_for_a_fake_denoiser():
    model = scene(GaussianOracle(COSINE), ImageScene((1,), count=2))
    made = ScoreDistillation("vsd")
    with pytest.raises(Refused, match="starts its fake denoiser as the teacher's network, and GaussianOracle has none"):
        made.players(model)
    assert [player.name for player in ScoreDistillation().players(model)] == [RUN]
    assert FAKE not in made._made
