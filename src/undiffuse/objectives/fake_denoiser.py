"""The fake denoiser of variational score distillation: a copy of a trained one, which learns another distribution."""

import copy

from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.errors import Refused


def fake_denoiser(teacher: Denoiser, who: str, instead: str) -> Predictor:
    """A trainable copy of what a teacher, maybe with guidance around it, is made of, without dropout.

    who: asks for it; instead: what needs none. Raises Refused for a teacher without a network.
    """
    if (predictor := teacher.predictor) is None:
        raise Refused(
            f"{who} starts its fake denoiser as the teacher's network, and {type(teacher).__name__} has none: take a "
            f"trained run, or {instead}"
        )
    return copy.deepcopy(predictor).requires_grad_(True).eval()
