"""A warning where signal is left at t = 1, so that noise alone is no start for sampling."""

import logging
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.likelihood.terms import prior

MUCH = 1 / 8  # of the signal, in deviations of the noise that sampling starts from, by which a mean may be off


def warn_of_signal_left(denoiser: Any, x_0: Tensor) -> None:
    """Warn where the bound of tokens will be infinite, since the prior cannot draw what is left, and where samples will
    miss much of the mean and spread of the data.
    """
    process: Any = denoiser.process
    end, warn = torch.ones((), dtype=torch.float64), logging.getLogger("undiffuse").warning
    silenced = " ".join(f"schedule.{field}={value:g}" for field, value in process.schedule.noisiest.items())
    share = float(process.schedule.alpha(end) / process.schedule.prior_std(end))
    try:
        if process.family != "values":
            prior(process, denoiser.state_of(x_0), end)
    except Refused:
        other = "schedule.name=flow" if process.family == "mixed" else "schedule.name=log_linear schedule.floor=0"
        warn(
            "the bound of this model will be infinite, and `score` will refuse it: a share %.3g of the tokens is left "
            "at t = 1, which the prior never draws; --set %s leaves none",
            float(process.schedule.alpha(end)),
            silenced or other,
        )
    else:
        if share > MUCH:
            steps = process.schedule.steps
            other = f"schedule.name=cosine schedule.steps={steps or 1000}"
            warn(
                "samples of this model will miss some of the data's mean and spread: %.3g of the signal is left at "
                "t = 1, where sampling starts from noise alone; --set %s leaves next to none",
                share,
                silenced or other,
            )
