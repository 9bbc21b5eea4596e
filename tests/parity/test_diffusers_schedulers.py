"""Parity with diffusers' schedulers where those follow the papers: the same guesses and noise give the same states."""

from dataclasses import replace
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
from undiffuse.samplers import DDIM, DEIS, SA, Ancestral, Heun, Multistep, Singlestep, UniPC
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


TABLE = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "timestep_spacing": "linspace"}


def levels_of(scheduler: Any, steps: int) -> Tensor:
    """sigma/alpha of a scheduler's states, in float64; its own float32 is what remains of the difference."""
    scheduler.set_timesteps(steps)
    return scheduler.sigmas.double()


def times_of(sigmas: Tensor) -> Tensor:
    return PROCESS.schedule.time(-2 * sigmas.log())


def their_run(scheduler: Any, sigmas: Tensor, x: Tensor) -> list[Tensor]:
    """Their states after each step, fed with the exact noise at their own noise levels."""
    states: list[Tensor] = []
    for t, sigma in zip(scheduler.timesteps, sigmas, strict=False):
        at = times_of(sigma)
        x = scheduler.step(PROCESS.noise(x, ORACLE(x, at), at), t, x).prev_sample
        states.append(x)
    return states


def our_run(samplers: list[Any], times: Tensor, x: Tensor) -> list[Tensor]:
    """Our states after each step, one sampler a step."""
    states, memory = list[Tensor](), None
    for sampler, t, s in zip(samplers, times[:-1], times[1:], strict=True):
        belief, memory = sampler.step(ORACLE, x, t, s, memory, random=Random(0))
        x = belief.mean
        states.append(x)
    return states


def lowered(sampler: Any, steps: int) -> list[Any]:
    """The orders of the last steps as theirs are: 2, then 1."""
    return [replace(sampler, order=min(sampler.order, steps - i)) for i in range(steps)]


@OLD_NUMPY
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_runs(diffusers: Any, order: int, variant: Any):
    """All states of a run, down to data; with "bh1" to their table's lowest noise: at data their B is infinite."""
    last = {"bh1": "sigma_min", "bh2": "zero"}[variant]
    scheduler = diffusers.UniPCMultistepScheduler(
        **TABLE, solver_order=order, solver_type=variant, final_sigmas_type=last
    )
    sigmas = levels_of(scheduler, 12)
    theirs, ours = (
        their_run(scheduler, sigmas, START),
        our_run(lowered(UniPC(order, variant), 12), times_of(sigmas), START),
    )
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=0, atol=3e-4)


@OLD_NUMPY
@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")
@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis_runs(diffusers: Any, order: int):
    """Their polynomials are in log(sigma/alpha); from 15 steps on they do not lower the order at the end, which is
    their table's lowest noise.
    """
    scheduler = diffusers.DEISMultistepScheduler(**TABLE, solver_order=order)
    sigmas = levels_of(scheduler, 16)
    theirs = their_run(scheduler, sigmas, START)
    ours = our_run([DEIS(order, "log_rho")] * 16, times_of(sigmas), START)
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=0, atol=3e-4)


@OLD_NUMPY
def test_singlestep_runs(diffusers: Any):
    """On a grid even in log-SNR, where two of their steps are one of ours: the first goes to its middle."""
    scheduler = diffusers.DPMSolverSinglestepScheduler(
        beta_start=1e-4, beta_end=0.02, beta_schedule="linear", use_exponential_sigmas=True, solver_order=2,
        final_sigmas_type="zero",
    )  # fmt: skip
    sigmas = levels_of(scheduler, 13)
    theirs = their_run(scheduler, sigmas, START)
    ours = our_run([Singlestep()] * 7, times_of(torch.cat([sigmas[:-1:2], sigmas[-1:]])), START)
    for mine, wanted in zip(ours, [*theirs[1:-1:2], theirs[-1]], strict=True):
        torch.testing.assert_close(mine, wanted, rtol=0, atol=3e-4)


@OLD_NUMPY
@pytest.mark.parametrize("tau", [0.0, 0.7])
@pytest.mark.parametrize(("order", "corrector"), [(1, 1), (3, 3)])
def test_sa_runs(diffusers: Any, order: int, corrector: int, tau: float):
    """The same noise in both, and from step 4 on, where no two guesses are left that theirs counts otherwise."""
    scheduler = diffusers.SASolverScheduler(
        beta_start=1e-4, beta_end=0.02, beta_schedule="linear", timestep_spacing="linspace", predictor_order=order,
        corrector_order=corrector, tau_func=lambda _: tau, lower_order_final=False,
    )  # fmt: skip
    sigmas = levels_of(scheduler, 12)
    times, x, memory, mine = times_of(sigmas), START, None, START
    generator = torch.Generator().manual_seed(1)
    for i, t in enumerate(scheduler.timesteps):
        z = torch.randn(START.shape, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
        generator.manual_seed(i)
        belief, memory = SA(order, corrector, tau).step(ORACLE, mine, times[i], times[i + 1], memory, random=Random(0))
        x = scheduler.step(PROCESS.noise(x, ORACLE(x, times[i]), times[i]), t, x, generator=generator).prev_sample
        ahead: Any = belief
        mine = ahead.mean + torch.as_tensor(ahead.var).sqrt() * z
        mine = x if i < 3 and order == 3 else mine
    torch.testing.assert_close(mine, x, rtol=0, atol=3e-4)
