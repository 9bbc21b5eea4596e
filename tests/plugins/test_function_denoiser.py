"""FunctionDenoiser: models of other libraries, sampled by ours, against what is known of them."""

from typing import Any

import pages
import pytest
import torch

import undiffuse
from undiffuse.core.errors import Refused

PROCESS = undiffuse.Gaussian(undiffuse.schedules.VP())


def example(word: str) -> dict[str, Any]:
    """What the example of the documentation that has this word leaves behind."""
    names: dict[str, Any] = {}
    exec(next(code for code in pages.EXAMPLES if word in code), names)  # noqa: S102 - the page's own code
    return names


def test_a_function_is_the_denoiser_that_its_formula_is():
    oracle = undiffuse.oracles.GaussianOracle(PROCESS, mean=1.0, cov=0.25)

    def guess(x: Any, alpha: Any, sigma: Any, shift: float = 0.0) -> Any:
        assert alpha.shape == sigma.shape == (5, 1, 1)
        assert alpha.dtype == x.dtype
        return shift + 1.0 + alpha * 0.25 * (x - alpha) / (alpha**2 * 0.25 + sigma**2)

    denoiser = undiffuse.FunctionDenoiser(guess, PROCESS)
    for t in (0.3, torch.linspace(0.1, 1.0, 5, dtype=torch.float64)):
        x = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(denoiser(x, t).mean, oracle(x, t).mean)
        torch.testing.assert_close(denoiser(x, t, shift=2.0).mean, oracle(x, t).mean + 2.0)
    ours, exact = (
        undiffuse.sample(d, (5, 2, 3), sampler=undiffuse.samplers.DDIM(), steps=10, seed=3) for d in (denoiser, oracle)
    )
    torch.testing.assert_close(ours, exact, rtol=0, atol=1e-5)


def test_a_sampler_may_be_named_and_what_is_no_guess_and_no_denoiser_is_refused():
    with pytest.raises(Refused, match="returns its guess of x_0, a tensor, and returned None"):
        undiffuse.FunctionDenoiser(lambda x, alpha, sigma: None, PROCESS)(torch.ones(4, 2), 0.5)  # type: ignore
    own = undiffuse.FunctionDenoiser(lambda x, alpha, sigma: x / (alpha**2 + sigma**2), PROCESS)
    drawn = [undiffuse.sample(own, (4, 2), sampler=each, steps=3) for each in ("ddim", undiffuse.samplers.DDIM())]
    assert torch.equal(*drawn)
    with pytest.raises(Refused, match=r"samplers has no 'ddimm' \(did you mean 'ddim'\?\)"):
        undiffuse.sample(own, (4, 2), sampler="ddimm")
    with pytest.raises(Refused, match=r"needs a Denoiser, and this is a Linear: wrap it, undiffuse.Predictor"):
        undiffuse.sample(torch.nn.Linear(2, 2), (4, 2))


def test_a_guess_of_another_shape_is_refused():
    denoiser = undiffuse.FunctionDenoiser(lambda x, alpha, sigma: x[:, :1], PROCESS)
    with pytest.raises(Refused, match=r"returned the shape \(4, 1\) for x_t of \(4, 2\): it returns its guess of x_0"):
        denoiser(torch.zeros(4, 2), 0.5)


def test_a_model_of_k_diffusion_gives_the_law_of_its_data():
    x = example("Karras")["x"]
    assert float(x.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(x.std()) == pytest.approx(0.5, abs=0.015)


@pytest.mark.parity
def test_a_model_of_diffusers_gives_the_pictures_of_its_own_scheduler():
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    names = example("UNet2DModel")
    start = torch.randn(4, 1, 8, 8)
    ours = undiffuse.sample(
        names["denoiser"], start.shape, sampler=undiffuse.samplers.DDIM(), times=names["times"], start=start
    )
    scheduler = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="leading", set_alpha_to_one=True)
    scheduler.set_timesteps(20)
    theirs = start
    with torch.no_grad():
        for i in scheduler.timesteps:
            theirs = scheduler.step(names["unet"](theirs, i).sample, i, theirs).prev_sample
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))
