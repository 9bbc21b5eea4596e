"""The schedulers of diffusers: which fields each has, what it takes for one that is left out, and what samples so."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

TABLE: Final[Mapping[str, Any]] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
}
LEADING: Final[Mapping[str, Any]] = {"timestep_spacing": "leading", "steps_offset": 0}
LINSPACE: Final[Mapping[str, Any]] = {"timestep_spacing": "linspace", "steps_offset": 0}
ZERO: Final[Mapping[str, Any]] = {"rescale_betas_zero_snr": False}
CLIP: Final[Mapping[str, Any]] = {"clip_sample": True, "clip_sample_range": 1.0}
THRESHOLD: Final[Mapping[str, Any]] = {
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0,
}
LEVELS: Final[Mapping[str, Any]] = {"use_karras_sigmas": False, "use_exponential_sigmas": False}
FINAL: Final[Mapping[str, Any]] = {"final_sigmas_type": "zero"}
# values that are known of fields that ask for what is not here
OFF: Final[Mapping[str, tuple[Any, ...]]] = {
    "use_beta_sigmas": (False,),
    "use_flow_sigmas": (False,),
    "use_dynamic_shifting": (False,),
    "lambda_min_clipped": (float("-inf"), "-Infinity", "-inf", None),
}
# what changes nothing while those are off, or the last of a few steps at most
FREE: Final[tuple[str, ...]] = ("flow_shift", "time_shift_type", "lower_order_final", "euler_at_final")


@dataclass(frozen=True)
class SchedulerClass:
    """sampler: the table of what samples so. fields: that mean something here, with what the class takes for one that
    is left out. only: the values that are known of others. setting: fields of the sampler that a field of the class is.
    left_out, rounded: as of the grid `Timesteps`. first: whether it ends on the table's first entry, whatever a field
    says. lowered: a field, and what the class takes for it, that lowers the order of a step that ends there.
    """

    sampler: Mapping[str, Any]
    fields: Mapping[str, Any]
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    setting: Mapping[str, str] = field(default_factory=dict)
    left_out: int = 0
    rounded: bool = True
    first: bool = False
    lowered: tuple[str, bool] | None = None

    @property
    def known(self) -> set[str]:
        """All its fields."""
        return {*self.fields, *self.only, *FREE} | {name for name in OFF if self.levelled or name in self.only}

    @property
    def levelled(self) -> bool:
        """Whether it may be given noise levels in place of indices."""
        return "use_karras_sigmas" in self.fields


CLASSES: Final[Mapping[str, SchedulerClass]] = {
    "DDPMScheduler": SchedulerClass(
        {"name": "ancestral"}, {**TABLE, **LEADING, **ZERO, **CLIP, **THRESHOLD, "variance_type": "fixed_small"}
    ),
    "DDIMScheduler": SchedulerClass(
        {"name": "ddim"}, {**TABLE, **LEADING, **ZERO, **CLIP, **THRESHOLD, "set_alpha_to_one": True}
    ),
    "PNDMScheduler": SchedulerClass(
        {"name": "plms"},
        {**TABLE, **LEADING, "set_alpha_to_one": False},
        only={"skip_prk_steps": (True, False)},
    ),
    "EulerDiscreteScheduler": SchedulerClass(
        {"name": "euler"},
        {**TABLE, **LINSPACE, **ZERO, **LEVELS, **FINAL},
        only={
            "interpolation_type": ("linear",),
            "timestep_type": ("discrete",),
            "sigma_min": (None,),
            "sigma_max": (None,),
        },
        rounded=False,
    ),
    "EulerAncestralDiscreteScheduler": SchedulerClass(
        {"name": "ancestral"}, {**TABLE, **LINSPACE, **ZERO}, rounded=False
    ),
    "HeunDiscreteScheduler": SchedulerClass(
        {"name": "heun"},
        {
            **TABLE,
            "beta_start": 0.00085,
            "beta_end": 0.012,
            **LINSPACE,
            **LEVELS,
            **CLIP,
            "clip_sample": False,
        },
        rounded=False,
    ),
    "LMSDiscreteScheduler": SchedulerClass(
        {"name": "deis", "order": 4, "variable": "rho"}, {**TABLE, **LINSPACE, **LEVELS}, rounded=False
    ),
    "DPMSolverMultistepScheduler": SchedulerClass(
        {"name": "multistep"},
        {
            **TABLE,
            **LINSPACE,
            **ZERO,
            **THRESHOLD,
            **LEVELS,
            **FINAL,
            "solver_order": 2,
            "algorithm_type": "dpmsolver++",
            "use_lu_lambdas": False,
            "variance_type": None,
        },
        only={"solver_type": ("midpoint",)},
        setting={"solver_order": "order"},
        left_out=1,
        lowered=("euler_at_final", False),
    ),
    "DEISMultistepScheduler": SchedulerClass(
        {"name": "deis", "variable": "log_rho"},
        {**TABLE, **LINSPACE, **THRESHOLD, **LEVELS, "solver_order": 2},
        only={"algorithm_type": ("deis",), "solver_type": ("logrho",)},
        setting={"solver_order": "order"},
        left_out=1,
        first=True,
    ),
    "UniPCMultistepScheduler": SchedulerClass(
        {"name": "unipc"},
        {
            **TABLE,
            **LINSPACE,
            **ZERO,
            **THRESHOLD,
            **LEVELS,
            **FINAL,
            "solver_order": 2,
            "solver_type": "bh2",
        },
        only={
            "predict_x0": (True,),
            "disable_corrector": ([],),
            "solver_p": (None,),
            "sigma_min": (None,),
            "sigma_max": (None,),
            "shift_terminal": (None,),
        },
        setting={"solver_order": "order", "solver_type": "variant"},
        left_out=1,
        lowered=("lower_order_final", True),
    ),
}
EVERY: Final[frozenset[str]] = frozenset().union(*(each.known for each in CLASSES.values())) | {"timestep_values"}
