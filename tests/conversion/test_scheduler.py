"""A scheduler's configuration becomes tables that mean the same, and back; what has no meaning here is named."""

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.conversion import scheduler
from undiffuse.conversion.pipeline_folder import PipelineFolder
from undiffuse.conversion.scheduler_writing import config
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import trajectory
from undiffuse.recipes.recipe import Recipe
from undiffuse.samplers.plms import PLMS

pytestmark = pytest.mark.parity
OLD_NUMPY = pytest.mark.filterwarnings(  # theirs turn tensors into arrays in a way that NumPy 2 deprecates
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
DDIM, PNDM, EULER = "DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler"
DPM, UNIPC, HEUN, LMS = (
    *("DPMSolverMultistepScheduler", "UniPCMultistepScheduler"),
    *("HeunDiscreteScheduler", "LMSDiscreteScheduler"),
)
ANCESTRAL, DDPM, DEIS_ = "EulerAncestralDiscreteScheduler", "DDPMScheduler", "DEISMultistepScheduler"


@cache
def theirs(name: str) -> Any:
    from diffusers import schedulers  # seconds faster than the whole library

    return getattr(schedulers, name)


def made(name: str, **own: Any) -> tuple[Any, dict[str, Any]]:
    """Their scheduler, and our tables of the configuration that it saves."""
    there = theirs(name)(**own)
    return there, scheduler.tables({**there.config, "_class_name": name})


def schedule_of(tables: dict[str, Any]) -> Any:
    return registry.build("schedules", tables["schedule"])


def sampler_of(tables: dict[str, Any]) -> Any:
    known = registry.fields(registry.get("samplers", tables["sampler"]["name"]))
    return registry.build("samplers", {k: v for k, v in tables["sampler"].items() if k in {"name", *known}})


def grid_of(tables: dict[str, Any], steps: int) -> Tensor:
    grid = tables["sampler"]["grid"]
    return registry.build("grids", {"name": grid} if isinstance(grid, str) else grid)(schedule_of(tables), steps)


def zero_terminal(bars: np.ndarray) -> np.ndarray:
    """arXiv:2305.08891, algorithm 1."""
    root = np.sqrt(bars)
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2", "trained_betas"])
def test_alpha_bar_at_every_step(kind: str, zero: bool):
    """Theirs is float32; the same formula in float64 tells how near ours is."""
    own: dict[str, Any] = {"beta_schedule": kind, "beta_start": 0.00085, "beta_end": 0.012}
    grid = np.arange(1001) / 1000
    law = np.cos((grid + 0.008) / 1.008 * np.pi / 2) ** 2
    betas = {
        "linear": np.linspace(0.00085, 0.012, 1000),
        "scaled_linear": np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2,
        "squaredcos_cap_v2": np.minimum(1 - law[1:] / law[:-1], 0.999),
        "trained_betas": np.linspace(0.001, 0.03, 1000),
    }[kind]
    own |= {"trained_betas": betas.tolist(), "beta_schedule": "linear"} if kind == "trained_betas" else {}
    there, tables = made(DDIM, **own, rescale_betas_zero_snr=zero)
    bars = np.cumprod(1 - betas)
    bars = zero_terminal(bars) if zero else bars
    alpha, sigma = schedule_of(tables).both(torch.arange(1, 1001, dtype=torch.float64) / 1000)
    np.testing.assert_allclose((alpha**2).numpy(), bars, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose((alpha**2 + sigma**2).numpy(), 1, rtol=1e-14)
    np.testing.assert_allclose((alpha**2).numpy(), there.alphas_cumprod.numpy(), rtol=5e-4, atol=1e-6)


def test_stable_diffusions_table_is_the_published_one():
    """alpha_bar of the first, middle and last step (arXiv:2112.10752's released configuration, computed once)."""
    schedule = schedule_of(made(PNDM, **SD, skip_prk_steps=True)[1])
    bars = schedule.alpha(torch.tensor([1, 500, 1000], dtype=torch.float64) / 1000) ** 2
    torch.testing.assert_close(
        bars, torch.tensor([0.999150, 0.277670, 4.660099e-3], dtype=torch.float64), rtol=2e-6, atol=0
    )


@OLD_NUMPY
@pytest.mark.parametrize("steps", [10, 50])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("name", [DDPM, DDIM, EULER, ANCESTRAL, HEUN, LMS, DPM, UNIPC, DEIS_])
def test_timesteps_are_theirs(name: str, spacing: str, steps: int):
    there, tables = made(name, **SD, timestep_spacing=spacing)
    there.set_timesteps(steps)
    wanted = there.timesteps.double()
    wanted = torch.cat([wanted[:1], wanted[1::2]]) if name == HEUN else wanted  # each is there twice
    times = grid_of(tables, steps)
    assert times[-1] == (0.001 if name == DEIS_ else 0)
    torch.testing.assert_close(times[:-1] * 1000 - 1, wanted, rtol=0, atol=5e-5)  # theirs are float32


def test_pndm_visits_the_same_timesteps():
    """Its first step is computed twice, which a solver that remembers needs not."""
    there, tables = made(PNDM, **SD, skip_prk_steps=True)
    there.set_timesteps(50)
    times = grid_of(tables, 50)
    assert (times[:-1] * 1000 - 1).round().long().tolist() == sorted(set(there.timesteps.tolist()), reverse=True)
    assert times[-1] == 0.001  # alpha_bar of the first step in place of 1
    assert sampler_of(tables) == PLMS()


@OLD_NUMPY
@pytest.mark.parametrize("field", ["use_karras_sigmas", "use_exponential_sigmas"])
@pytest.mark.parametrize(
    ("name", "own"),
    [
        *((name, SD) for name in (EULER, DPM, UNIPC, HEUN)),
        *((name, {"beta_schedule": "squaredcos_cap_v2"}) for name in (EULER, LMS)),  # sigma ends at 20,000
        *((name, {**SD, "rescale_betas_zero_snr": True}) for name in (EULER, DPM)),
    ],
)
def test_noise_levels_are_theirs(name: str, own: dict[str, Any], field: str):
    there, tables = made(name, **own, timestep_spacing="linspace", **{field: True})
    there.set_timesteps(12)
    wanted = torch.cat([there.sigmas[:1], there.sigmas[1::2]]) if name == HEUN else there.sigmas
    found = (-schedule_of(tables).log_snr(grid_of(tables, 12)) / 2).exp()
    first = 1 if found[0].isinf() else 0  # without signal; theirs is 4096 there
    torch.testing.assert_close(found[first:], wanted[first:].double(), rtol=6e-4 if own != SD else 2e-5, atol=1e-6)


WEIGHTS, MEANS, VARIANCES = [0.3, 0.7], torch.tensor([[-0.6, 0.2], [0.5, 0.1]]), torch.tensor([0.04, 0.09])


@pytest.mark.parametrize(("steps", "own"), [(10, {}), (50, {"prediction_type": "v_prediction"}), (10, {"zero": True})])
@pytest.mark.parametrize("one", [False, True])
def test_a_whole_ddim_run_in_float64(steps: int, own: dict[str, Any], one: bool):
    """With alpha_bar in float64 in both, all that is left is rounding."""
    if own.pop("zero", False):
        own = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    there, tables = made(DDIM, **SD, set_alpha_to_one=one, clip_sample=False, **own)
    process = Gaussian(schedule_of(tables))
    oracle = MixtureOracle(process, WEIGHTS, MEANS, VARIANCES)
    bars = process.schedule.alpha(torch.arange(1, 1001, dtype=torch.float64) / 1000) ** 2
    there.alphas_cumprod, there.final_alpha_cumprod = bars, torch.ones(()).double() if one else bars[0]
    there.set_timesteps(steps)
    x = start = Random(0).normal((6, 2), dtype=torch.float64)
    for index in there.timesteps:
        t = (index.double() + 1) / 1000
        alpha, sigma = process.schedule.at(t, x)
        guess = oracle(x, t).mean
        if there.config["prediction_type"] == "epsilon":
            said = (x - alpha * guess) / sigma
        else:
            said = (alpha * x - guess) / sigma  # alpha noise - sigma x_0, with alpha^2 + sigma^2 = 1
        x = there.step(said, int(index), x, eta=0.0).prev_sample
    *_, ours = trajectory(oracle, sampler_of(tables), start, grid_of(tables, steps), random=Random(0))
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-11)


@OLD_NUMPY
@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "own"),
    [
        (UNIPC, {"solver_order": 3, "final_sigmas_type": "sigma_min", "lower_order_final": False}),
        (DPM, {"solver_order": 2, "final_sigmas_type": "sigma_min", "lower_order_final": False}),
        (DEIS_, {"solver_order": 3, "lower_order_final": False}),
    ],
)
def test_whole_runs_that_end_at_the_tables_lowest_noise_in_float64(name: str, own: dict[str, Any]):
    there, tables = made(name, **SD, **own)
    there.set_timesteps(10)
    process, times = Gaussian(schedule_of(tables)), grid_of(tables, 10)
    sigmas = (-process.schedule.log_snr(times) / 2).exp()
    torch.testing.assert_close(there.sigmas.double(), sigmas, rtol=2e-5, atol=0)
    there.sigmas = sigmas
    oracle = MixtureOracle(process, WEIGHTS, MEANS, VARIANCES)
    x = start = Random(0).normal((6, 2), dtype=torch.float64)
    for index, t in zip(there.timesteps, times, strict=False):
        x = there.step(process.noise(x, oracle(x, t), t), index, x).prev_sample
    *_, ours = trajectory(oracle, sampler_of(tables), start, times, random=Random(0))
    rounding = 1e-6 if name == DPM else 1e-9  # it steps in float32, whatever it is given
    torch.testing.assert_close(ours, x, rtol=0, atol=rounding)


@OLD_NUMPY
@pytest.mark.parametrize("own", [{}, {"use_karras_sigmas": True}])
def test_whole_runs_of_the_linear_multistep_method_in_float64(own: dict[str, Any]):
    there, tables = made(LMS, **{**SD, "timestep_spacing": "linspace"}, **own)
    there.set_timesteps(10)
    process, times = Gaussian(schedule_of(tables)), grid_of(tables, 10)
    there.sigmas = (-process.schedule.log_snr(times) / 2).exp()
    oracle = MixtureOracle(process, WEIGHTS, MEANS, VARIANCES)
    start = Random(0).normal((6, 2), dtype=torch.float64)
    x = start * (1 + there.sigmas[0] ** 2).sqrt()  # theirs has alpha = 1
    for index, t in zip(there.timesteps, times, strict=False):
        shown = there.scale_model_input(x, index)
        x = there.step(process.noise(shown, oracle(shown, t), t), index, x).prev_sample
    *_, ours = trajectory(oracle, sampler_of(tables), start, times, random=Random(0))
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-7)  # their integrals are by a tolerance


@pytest.mark.parametrize("one", [False, True])
def test_whole_runs_of_pndm_in_float64(one: bool):
    there, tables = made(PNDM, **SD, set_alpha_to_one=one, skip_prk_steps=True)
    process, times = Gaussian(schedule_of(tables)), grid_of(tables, 10)
    bars = process.schedule.alpha(torch.arange(1, 1001, dtype=torch.float64) / 1000) ** 2
    there.alphas_cumprod, there.final_alpha_cumprod = bars, torch.ones(()).double() if one else bars[0]
    there.set_timesteps(10)
    oracle = MixtureOracle(process, WEIGHTS, MEANS, VARIANCES)
    x = start = Random(0).normal((6, 2), dtype=torch.float64)
    for index in there.timesteps:
        t = (index.double() + 1) / 1000
        x = there.step(process.noise(x, oracle(x, t), t), int(index), x).prev_sample
    *_, ours = trajectory(oracle, sampler_of(tables), start, times, random=Random(0))
    torch.testing.assert_close(ours, x, rtol=0, atol=1e-11)


OTHERS: dict[str, Any] = {
    "data": {"name": "digits"},
    "codec": {"name": "pixels"},
    "network": {"name": "unet"},
    "objective": {"name": "denoising"},
    "train": {"steps": 1},
}


def recipe(**tables: Any) -> Recipe:
    return Recipe.of("there", {"about": "a test", **OTHERS, **tables})


BACK = [
    (DDPM, {"beta_schedule": "squaredcos_cap_v2", "variance_type": "fixed_large"}),
    (DDPM, {"variance_type": "learned_range", "clip_sample": False, "timestep_spacing": "trailing"}),
    (DDIM, {**SD, "set_alpha_to_one": False, "clip_sample": False}),
    (DDIM, {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}),
    (DDIM, {"trained_betas": [0.1, 0.2, 0.3], "num_train_timesteps": 3, "prediction_type": "sample"}),
    (EULER, {**SD, "timestep_spacing": "leading"}),
    (EULER, {**SD, "timestep_spacing": "linspace", "use_karras_sigmas": True}),
    (HEUN, {}),
    (DPM, {**SD, "solver_order": 3, "final_sigmas_type": "sigma_min", "lower_order_final": False}),
    (DPM, {**SD, "algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}),
    (UNIPC, {**SD, "solver_type": "bh1", "timestep_spacing": "leading"}),
    (UNIPC, {**SD, "final_sigmas_type": "sigma_min", "lower_order_final": False}),
    (PNDM, {**SD, "skip_prk_steps": True}),
    (PNDM, {**SD, "skip_prk_steps": True, "set_alpha_to_one": True, "timestep_spacing": "trailing"}),
    (LMS, {**SD, "timestep_spacing": "linspace", "use_karras_sigmas": True}),
    (DEIS_, {**SD, "solver_order": 3, "lower_order_final": False}),
]


@OLD_NUMPY
@pytest.mark.parametrize(("name", "own"), BACK)
def test_there_and_back(name: str, own: dict[str, Any]):
    """Our tables of what we write are those of what we read, and theirs reads it as it was."""
    there, tables = made(name, **own)
    written = config(recipe(**tables))
    assert written["_class_name"] == name
    again = theirs(name).from_config(json.loads(json.dumps(written)))
    before, after = scheduler.tables({**there.config, "_class_name": name}), scheduler.tables(written)
    bars = [schedule_of(each).alpha(torch.arange(1, 4, dtype=torch.float64) / 4) for each in (before, after)]
    torch.testing.assert_close(*bars, rtol=1e-11, atol=0)
    assert before["sampler"] == after["sampler"]
    assert before["parameterization"] == after["parameterization"]
    torch.testing.assert_close(again.alphas_cumprod, there.alphas_cumprod, rtol=1e-3, atol=1e-6)
    differing = {k for k, v in again.config.items() if k[0] != "_" and there.config[k] != v}
    unread = set() if there.config["timestep_spacing"] == "leading" else {"steps_offset"}
    assert differing <= {"trained_betas", "beta_schedule", "beta_start", "beta_end"} | unread


def test_any_schedule_that_preserves_variance_is_written_number_by_number():
    for name in ("vp", "continuous_cosine", "sigmoid"):
        written = config(recipe(schedule={"name": name}, parameterization={"name": "velocity"}))
        ours, back = (
            registry.build("schedules", table) for table in ({"name": name}, scheduler.tables(written)["schedule"])
        )
        steps = len(written["trained_betas"])
        t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
        torch.testing.assert_close(back.alpha(t), ours.alpha(t), rtol=1e-9, atol=1e-12)


def test_samplers_and_grids_that_diffusers_has_not_become_ddim_spaced_trailing():
    tables = {"schedule": {"name": "linear_beta"}, "parameterization": {"name": "noise"}}
    for sampler in ({}, {"sampler": {"name": "adams", "grid": "even"}}):
        written = config(recipe(**tables, **sampler))
        assert (written["_class_name"], written["timestep_spacing"], written["clip_sample"]) == (
            DDIM,
            "trailing",
            False,
        )


@pytest.mark.parametrize(
    ("sampler", "spaced"),
    [
        ({"name": "unipc", "grid": "leading"}, "trailing"),  # theirs leaves out the cleanest of one step more
        ({"name": "multistep", "grid": {"name": "timesteps", "spacing": "leading", "left_out": 1}}, "leading"),
        ({"name": "euler", "grid": "linspace"}, "trailing"),  # theirs lies between the table's entries
        ({"name": "euler", "grid": "leading"}, "leading"),
        ({"name": "ddim", "grid": "linspace"}, "linspace"),
        ({"name": "euler", "grid": "karras"}, "trailing"),
        ({"name": "euler", "grid": {"name": "karras", "rho": 5.0}}, "trailing"),
    ],
)
def test_a_grid_is_written_where_the_scheduler_has_the_same(sampler: dict[str, Any], spaced: str):
    tables = {"schedule": {"name": "linear_beta"}, "parameterization": {"name": "noise"}}
    assert config(recipe(**tables, sampler=sampler))["timestep_spacing"] == spaced


def test_guesses_within_bounds_are_what_clip_sample_clips():
    tables = {"schedule": {"name": "linear_beta"}, "parameterization": {"name": "noise"}, "codec": {"name": "pixels"}}
    for sampler in ({}, {"sampler": {"name": "ancestral", "variance": "posterior"}}):
        assert config(recipe(**tables, denoiser={"bounded": True}, **sampler))["clip_sample"] is True
    unbounded = {**tables, "codec": {"name": "whiten"}}
    assert config(recipe(**unbounded, denoiser={"bounded": True}))["clip_sample"] is False
    for sampler in ("plms", "euler"):
        with pytest.raises(Refused, match=rf"denoiser.bounded with sampler '{sampler}': schedulers of diffusers keep"):
            config(recipe(**tables, denoiser={"bounded": True}, sampler={"name": sampler}))


@OLD_NUMPY
@pytest.mark.parametrize("own", [{"denoiser": {"bounded": True}}, {}])
@pytest.mark.parametrize(
    ("name", "field"),
    [("ddim", "clip_sample"), ("heun", "clip_sample"), ("multistep", "thresholding"), ("unipc", "thresholding")],
)
def test_bounds_of_guesses_are_kept_by_each_scheduler_that_can(name: str, field: str, own: dict[str, Any]):
    tables = {"schedule": {"name": "linear_beta"}, "parameterization": {"name": "data"}, **own}
    written = config(recipe(**tables, sampler={"name": name, **({} if own else {"threshold": "static"})}))
    assert written[field] is True
    there = theirs(written["_class_name"]).from_config(written)
    there.set_timesteps(4)
    x = there.scale_model_input(torch.zeros(1, 1, 2, 2), there.timesteps[0])
    for index in there.timesteps:  # ever the same guess: the last step lands on it
        x = there.step(torch.full_like(x, 3.0), index, x).prev_sample
    torch.testing.assert_close(x, torch.ones_like(x))
    assert scheduler.tables(written)["sampler"]["threshold"] == "static"


def test_a_threshold_that_no_scheduler_has_is_not_written():
    tables = {"schedule": {"name": "linear_beta"}, "parameterization": {"name": "noise"}}
    for sampler, threshold in (("euler", "static"), ("ddim", "dynamic")):
        with pytest.raises(Refused, match=rf"sampler.threshold = '{threshold}' with sampler '{sampler}': schedulers"):
            config(recipe(**tables, sampler={"name": sampler, "threshold": threshold}))
    assert config(recipe(**tables, sampler={"name": "euler", "threshold": "none"}))["_class_name"] == EULER


def test_noise_between_none_and_all_is_no_solver_of_diffusers():
    tables = {"schedule": {"name": "linear_beta"}, "parameterization": {"name": "noise"}}
    kinds = [config(recipe(**tables, sampler={"name": "multistep", "eta": eta}))["_class_name"] for eta in (0, 0.5, 1)]
    assert kinds == [DPM, DDIM, DPM]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"schedule": {"name": "flow"}, "parameterization": {"name": "velocity"}}, r"schedule 'flow': schedulers of"),
        ({"schedule": {"name": "vp"}, "parameterization": {"name": "edm"}}, r"parameterization 'edm': schedulers of"),
    ],
)
def test_what_no_scheduler_has_is_not_written(tables: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        config(recipe(**tables))


@pytest.mark.parametrize(
    ("name", "own", "message"),
    [
        ("", {}, "names no class, and is none that is known here"),
        ("DDIMSchedular", {}, r"DDIMSchedular is none that is known here \(did you mean 'DDIMScheduler'"),
        (DDIM, {"sigma_data": 0.5}, "this DDIMScheduler has sigma_data = 0.5, which no scheduler that is known here"),
        (DDIM, {"beta_schedule": "laplace"}, "has beta_schedule = 'laplace'; known are linear, scaled_linear"),
        (DDIM, {"prediction_type": "flow_prediction"}, "has prediction_type = 'flow_prediction'; known are epsilon"),
        (DDIM, {"timestep_spacing": "even"}, "has timestep_spacing = 'even'; known are leading"),
        (DDIM, {"clip_sample_range": 3.0}, "clips guesses by clip_sample_range = 3.0; known is only 1"),
        (DDIM, {"thresholding": True, "sample_max_value": 1.5}, "clips guesses by sample_max_value = 1.5"),
        (DDIM, {"set_alpha_to_one": False}, "has set_alpha_to_one = False and ends where its last step begins"),
        (DDIM, {"trained_betas": [0.1]}, "has 1 trained_betas for num_train_timesteps = 1000"),
        (DDPM, {"variance_type": "learned"}, "has variance_type = 'learned'; known are None, fixed_small"),
        (EULER, {"timestep_type": "continuous"}, "has timestep_type = 'continuous'; known is only 'discrete'"),
        (EULER, {"use_beta_sigmas": True}, "has use_beta_sigmas = True; known is only False"),
        (EULER, {"final_sigmas_type": "sigma_min"}, "has final_sigmas_type = 'sigma_min' and ends where its last"),
        (EULER, {"use_karras_sigmas": True, "timestep_spacing": "leading"}, "use_karras_sigmas = true beside other"),
        (DPM, {"use_karras_sigmas": True, "use_lu_lambdas": True}, "use_karras_sigmas = true beside use_lu_lambdas"),
        (DPM, {"algorithm_type": "dpmsolver"}, r"has algorithm_type = 'dpmsolver'; known are dpmsolver\+\+"),
        (DPM, {"solver_type": "heun"}, "has solver_type = 'heun'; known is only 'midpoint'"),
        (DPM, {"lambda_min_clipped": -5.1}, "has lambda_min_clipped = -5.1; known is only -inf"),
        (DPM, {"final_sigmas_type": "sigma_min", "euler_at_final": True}, "has euler_at_final = true beside final_sig"),
        (UNIPC, {"final_sigmas_type": "sigma_min"}, "has lower_order_final = true beside final_sigmas_type = 'sigma_m"),
        (UNIPC, {"predict_x0": False}, "has predict_x0 = False; known is only True"),
    ],
)
def test_what_has_no_meaning_here_is_refused_by_name(name: str, own: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        scheduler.tables({"_class_name": name, **own})


def test_latents_are_not_clipped():
    with pytest.raises(Refused, match=r"has clip_sample = true, and latents, which it would clip"):
        scheduler.tables({"_class_name": DDIM}, bounded=False)
    assert "threshold" not in scheduler.tables({"_class_name": DDIM, "clip_sample": False}, bounded=False)["sampler"]
    assert scheduler.tables({"_class_name": DDIM})["sampler"]["threshold"] == "static"


def test_fields_that_another_scheduler_left_behind_mean_nothing():
    """Stable Diffusion's PNDM has DDIM's clip_sample, which PNDM does not read."""
    left = {"clip_sample": True, "use_karras_sigmas": True, "timestep_values": None}
    said = {"_class_name": PNDM, "_diffusers_version": "0.6.0", **SD}
    assert scheduler.tables({**said, **left}) == scheduler.tables(said)


def test_a_folder_is_read_with_its_infinities(tmp_path: Path):
    tmp_path = tmp_path / "scheduler"
    with pytest.raises(Refused, match=r"lacks its scheduler: .*scheduler_config\.json is not there; put it there"):
        PipelineFolder(tmp_path.parent).scheduler()
    tmp_path.mkdir()
    for text, message in (("{", "is not JSON"), ("[]", "holds no JSON object")):
        (tmp_path / "scheduler_config.json").write_text(text)
        with pytest.raises(Refused, match=message):
            PipelineFolder(tmp_path.parent).scheduler()
    theirs(DPM)().save_pretrained(tmp_path)
    said = PipelineFolder(tmp_path.parent).scheduler()
    assert said["lambda_min_clipped"] == float("-inf")
    assert scheduler.tables(said)["sampler"]["grid"] == {"name": "timesteps", "spacing": "linspace", "left_out": 1}


def test_the_grid_of_a_person():
    build = registry.build
    for own, message in (
        ({"spacing": "even"}, "spac"),
        ({"offset": -1}, "offset and left_out are 0 or more, not -1 and 0"),
    ):
        with pytest.raises(Refused, match=message):
            build("grids", {"name": "timesteps", **own})
    schedule = schedule_of({"schedule": {"name": "linear_beta", "steps": 100}})
    for own, steps, message in (
        ({"offset": 1}, 100, "offset = 1 leaves a table of 100 with 100 steps"),
        ({"first": True}, 10, "the last step would begin where it lands, on the table's first entry: set offset = 1"),
        ({"left_out": 1}, 100, "has at most 99 steps here, not 100"),
        ({}, 1, "leading with 1 step would see the cleanest step only"),
    ):
        with pytest.raises(Refused, match=message):
            build("grids", {"name": "timesteps", **own})(schedule, steps)
    times = build("grids", {"name": "timesteps", "offset": 3})(schedule, 5)
    assert [round(100 * (t - s)) for t, s in pairwise(times.tolist())] == [20, 20, 20, 20, 4]
