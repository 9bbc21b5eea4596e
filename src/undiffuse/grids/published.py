"""Published: noise levels that papers found for one model, by the name of the list."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid, ending_at_data, noise_ends, positive
from undiffuse.core.schedule import Schedule


class _Found(NamedTuple):
    """Noise levels sigma/alpha that fall to where data begins, and the models that they are for."""

    levels: tuple[float, ...]
    models: str


_LISTS: Final[Mapping[str, _Found]] = {
    "ays_sd": _Found(
        (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
        "Stable Diffusion 1.5 (schedule scaled_linear_beta)",
    ),
    "ays_sdxl": _Found(
        (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
        "Stable Diffusion XL (schedule scaled_linear_beta)",
    ),
    "ays_svd": _Found(
        (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002),
        "Stable Video Diffusion (schedule edm with sigma_max = 700)",
    ),
    "gits_cifar10": _Found(
        (80.0, 10.9836, 3.8811, 1.584, 0.5666, 0.1698, 0.002), "EDM's CIFAR-10 model (schedule edm)"
    ),
}
_NEAR = 0.01  # of log(sigma/alpha) at t = 1, by which the schedule is known


@dataclass(frozen=True)
class Published(Grid):
    """The noise levels sigma/alpha of a list; for another number of steps even ones on the line through their
    logarithms. The last step lands on data.

    list: "ays_sd", "ays_sdxl", "ays_svd" (ten steps each) or "gits_cifar10" (six). `undiffuse tune RUN grid` finds such
    a list for a model of one's own. Raises Refused for a schedule whose noise ends elsewhere than the list's.
    Source: arXiv:2404.14507 (AYS), arXiv:2405.11326 (GITS), the lists that their authors released.
    """

    list: Literal["ays_sd", "ays_sdxl", "ays_svd", "gits_cifar10"] = "ays_sd"

    aliases: ClassVar[dict[str, dict[str, Any]]] = {
        "ays": {},
        "ays_sd": {},
        "ays_sdxl": {"list": "ays_sdxl"},
        "ays_svd": {"list": "ays_svd"},
        "gits_cifar10": {"list": "gits_cifar10"},
    }

    def __call__(self, schedule: Schedule, steps: int) -> Tensor:
        levels, models = _LISTS[self.list]
        points = positive(steps) + 1
        noisiest = float(noise_ends(schedule)[0].exp())
        if not abs(math.log(noisiest / levels[0])) < _NEAR:
            raise Refused(
                f"{self.list} was found for {models}, whose noise ends at sigma/alpha = {levels[0]:g}; this "
                f"schedule's ends at {noisiest:.4g}: tune a grid for this run by `undiffuse tune RUN grid`"
            )
        places = np.linspace(0, 1, len(levels))
        logs = np.interp(np.linspace(0, 1, points), places, np.log(levels))
        return ending_at_data(schedule.time(-2 * torch.from_numpy(logs[:-1])), start=1.0)
