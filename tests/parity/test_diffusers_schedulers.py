"""Parity with diffusers' schedulers where those follow the papers: the same guesses and noise give the same states."""

from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.oracles import MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import trajectory
from undiffuse.grids.leading import Leading
from undiffuse.grids.trailing import Trailing
from undiffuse.samplers import DDIM, Ancestral, Heun, Multistep
from undiffuse.schedules import LinearBeta, ScaledLinearBeta, TableSchedule

pytestmark = pytest.mark.parity
# Those schedulers turn tensors into arrays in a way that NumPy 2 deprecates; the warning is theirs.
OLD_NUMPY = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

PROCESS = Gaussian(LinearBeta())
WEIGHTS, MEANS, VARIANCES = [0.3, 0.7], torch.tensor([[-0.6, 0.2], [0.5, 0.1]]), torch.tensor([0.04, 0.09])
ORACLE = MixtureOracle(PROCESS, WEIGHTS, MEANS, VARIANCES)
START = Random(0).normal((6, 2), dtype=torch.float64)


@pytest.fixture(scope="module")
def diffusers() -> Any:
    """The other library; importing it takes seconds, so only a process that comes to these tests does."""
    return pytest.importorskip("diffusers")


def noise(x: Tensor, index: Any) -> Tensor:
    """The noise guess at DDPM's index, as those schedulers want it."""
    t = (torch.as_tensor(float(index), dtype=torch.float64) + 1) / 1000
    return PROCESS.noise(x, ORACLE(x, t), t)


def at(index: int) -> Tensor:
    return torch.tensor((index + 1) / 1000, dtype=torch.float64)


def test_alpha_bars(diffusers: Any):
    for theirs, ours in (
        ("linear", LinearBeta(beta_start=0.0001, beta_end=0.02)),
        ("scaled_linear", ScaledLinearBeta(beta_start=0.0001, beta_end=0.02)),
    ):
        table = diffusers.DDPMScheduler(beta_schedule=theirs).alphas_cumprod.double()
        torch.testing.assert_close(torch.from_numpy(ours.table()), table, rtol=3e-5, atol=0)  # theirs is float32
    table = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, beta_schedule="linear").alphas_cumprod.double()
    ours = TableSchedule(
        betas=tuple(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64).tolist()), zero_terminal_snr=True
    )
    torch.testing.assert_close(torch.from_numpy(ours.table()), table, rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize(("theirs", "ours"), [("fixed_small", "posterior"), ("fixed_large", "beta")])
@pytest.mark.parametrize("index", [1, 2, 500, 999])
def test_ddpm_steps(diffusers: Any, theirs: str, ours: Any, index: int):
    scheduler = diffusers.DDPMScheduler(variance_type=theirs, clip_sample=False)
    z = torch.randn(START.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    wanted = scheduler.step(noise(START, index), index, START, generator=torch.Generator().manual_seed(3)).prev_sample
    belief: Any = Ancestral(ours).step(ORACLE, START, at(index), at(index - 1), random=Random(0))[0]
    tolerance = 5e-4 if index < 10 else 2e-5  # 1 - alpha_bar of the first steps is small and theirs is float32
    torch.testing.assert_close(belief.mean + torch.as_tensor(belief.var).sqrt() * z, wanted, rtol=0, atol=tolerance)


def test_the_last_ddpm_step_adds_no_noise(diffusers: Any):
    wanted = diffusers.DDPMScheduler(clip_sample=False).step(noise(START, 0), 0, START).prev_sample
    for variance in ("posterior", "beta"):
        belief: Any = Ancestral(variance).step(
            ORACLE, START, at(0), torch.tensor(0.0, dtype=torch.float64), random=Random(0)
        )[0]
        torch.testing.assert_close(belief.sample(Random(0)), wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("steps", [1, 10, 50])
@pytest.mark.parametrize(("spacing", "grid"), [("leading", Leading()), ("trailing", Trailing())])
def test_ddim_runs(diffusers: Any, steps: int, spacing: str, grid: Any):
    """Only where the steps divide the table: elsewhere their previous time is t - T // steps,
    which is not the grid's.
    """
    if spacing == "leading" and steps == 1:
        return  # starts at the cleanest step; refused here
    scheduler = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing=spacing, set_alpha_to_one=True)
    scheduler.set_timesteps(steps)
    x = START
    for index in scheduler.timesteps:
        x = scheduler.step(noise(x, index), int(index), x, eta=0.0).prev_sample
    *_, ours = trajectory(ORACLE, DDIM(), START, grid(LinearBeta(), steps), random=Random(0))
    torch.testing.assert_close(ours, x, rtol=0, atol=5e-5)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_steps_with_noise(diffusers: Any, eta: float):
    scheduler = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(20)
    z = Random(5).normal((6, 2), dtype=torch.float64)
    for index in (950, 500, 50):
        wanted = scheduler.step(noise(START, index), index, START, eta=eta, variance_noise=z).prev_sample
        belief: Any = DDIM(eta).step(ORACLE, START, at(index), at(index - 50), random=Random(0))[0]
        torch.testing.assert_close(belief.mean + torch.as_tensor(belief.var).sqrt() * z, wanted, rtol=0, atol=2e-5)


@OLD_NUMPY
def test_second_order_multistep_runs(diffusers: Any):
    """DPM-Solver++(2M) on their own timesteps, down to their last one and then onto clean data."""
    scheduler = diffusers.DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
        lower_order_final=True,
    )
    scheduler.set_timesteps(12)
    x = START
    for index in scheduler.timesteps:
        x = scheduler.step(noise(x, index), index, x).prev_sample
    times = torch.cat([(scheduler.timesteps.double() + 1) / 1000, torch.zeros(1, dtype=torch.float64)])
    *_, ours = trajectory(ORACLE, Multistep(2), START, times, random=Random(0))
    torch.testing.assert_close(ours, x, rtol=0, atol=2e-4)  # their log-SNRs are float32


@OLD_NUMPY
def test_heun_runs(diffusers: Any):
    """HeunDiscreteScheduler: the trapezoidal rule in x/alpha over sigma/alpha, as under EDM's schedule."""
    from undiffuse.schedules import EDMSchedule

    scheduler = diffusers.HeunDiscreteScheduler(
        beta_start=1e-4, beta_end=0.02, beta_schedule="linear", timestep_spacing="linspace"
    )
    scheduler.set_timesteps(15)
    sigmas = torch.cat([scheduler.sigmas[:1], scheduler.sigmas[1::2]]).double()
    x = START * sigmas[0]
    schedule = EDMSchedule(sigma_max=float(sigmas[0]))
    process = Gaussian(schedule)
    oracle = MixtureOracle(process, WEIGHTS, MEANS, VARIANCES)
    *_, ours = trajectory(oracle, Heun(), x, sigmas / sigmas[0], random=Random(0))
    for i, timestep in enumerate(scheduler.timesteps):
        t = scheduler.sigmas[i].double() / sigmas[0]
        x = scheduler.step(process.noise(x, oracle(x, t), t), timestep, x).prev_sample
    torch.testing.assert_close(ours, x, rtol=0, atol=2e-4)
