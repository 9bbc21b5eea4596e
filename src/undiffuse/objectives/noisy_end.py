"""Whether a model says something of the data where there is next to no signal, as a first step from noise needs."""

import torch

from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused

MOST = 10.0  # times as far as a network's output may a guess move at t = 1


def refuse_silent(model: Denoiser, objective: object) -> None:
    """Raises Refused, by name, for a model whose guess at t = 1 is a difference of large numbers, as of noise.

    guess = c_skip x_t + c_out F: with c_out far above 1 an error of the network is as much larger in the guess.
    """
    if (predictor := model.predictor) is None:
        return
    x, end = (torch.ones(size, dtype=torch.float64) for size in ((1, 1), ()))
    head = predictor.head.unbounded
    belief = head.open(predictor.process, x, end)[2]
    times = float((belief(x).mean - belief(torch.zeros_like(x)).mean).abs())  # pyright: ignore
    if times > MOST:
        raise Refused(
            f"{registry.name_of(objective)} takes a first step from noise, where a guess by parameterization "
            f"{registry.name_of(head)!r} is {times:.3g} times as wrong as the network: take a run that "
            "predicts velocity, flow, data or edm"
        )
