"""The width of a grid even in the angle, on which a teacher's few steps of DDIM stray least."""

from collections.abc import Mapping
from typing import Any

import torch

from undiffuse.conditions.from_data import examples
from undiffuse.conditions.label import LABEL
from undiffuse.core.sample import sample
from undiffuse.data.derived_conditions import of_model
from undiffuse.grids.angle import Angle
from undiffuse.progress import progress_bar
from undiffuse.samplers.ddim import DDIM
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.session import labels_in_turn

WIDTHS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)  # times the deviation of the data's numbers
STARTS, STEPS, FINE = 32, 8, 64


@torch.no_grad()
def angle_width(teacher: DenoisingGenerator, data_std: float, guidance: float | None = None) -> float:
    """The `data_std` of the grid `angle` for a few steps of DDIM by a teacher, guided as asked or as it samples.

    Of `WIDTHS` times the data's own deviation it is the one whose 8 steps end nearest to 64 from the same noise, by the
    mean square over starts and numbers. Neighbouring pixels are alike, so that what decides a picture deviates by more
    than each of its numbers does: the best widths of pictures are larger than their deviation, and grow with them.
    """
    given: Mapping[str, Any] = {}
    if set(teacher.conditions) - {LABEL}:
        given = examples(teacher.conditions, of_model(teacher).conditions, STARTS)
    asked = SampleRequest(n=STARTS, guidance=guidance, conditions=given)
    session = teacher.open(labels_in_turn(teacher, asked))
    cond: Mapping[str, Any] = session.cond
    denoiser, schedule = session.denoiser, teacher.denoiser.process.schedule

    def ends(width: float, count: int) -> torch.Tensor:
        times = Angle(width * data_std)(schedule, count)
        return sample(denoiser, (STARTS, *teacher.shape), sampler=DDIM(), times=times, **cond)

    fine = ends(2.0, FINE)
    bar = progress_bar(WIDTHS, desc="steps of the student", leave=False, delay=2)
    strayed = {width: float((ends(width, STEPS) - fine).double().square().mean()) for width in bar}
    return data_std * min(strayed, key=strayed.__getitem__)
