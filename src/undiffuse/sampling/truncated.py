"""Sampling that is stopped early: the state at a level of noise is handed to the next stage of a chain."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.sampling.plan import shown
from undiffuse.sampling.session import Session


@dataclass(frozen=True, eq=False)
class StoppedEarly:
    """What was handed over: states (n, *shape), sqrt(1 - s^2) x_0 + s eps. calls: of the network, a sample. frames: the
    decoded states on the way, () where nobody asked for them.
    """

    states: Tensor
    calls: float
    frames: np.ndarray


def stopped_early(session: Session, s: float, film: bool = False) -> StoppedEarly:
    """The states of a session's samples where sigma/alpha = s/sqrt(1 - s^2), divided by alpha and times sqrt(1 - s^2).

    The sampler takes the steps of its grid down to that level. Raises Refused where sampling begins below it.
    Source: arXiv:2106.15282 (truncated conditioning augmentation).
    """
    session = session.untuned()
    schedule = session.model.denoiser.process.schedule
    kept = 1 - s**2
    last = schedule.time(torch.tensor(math.log(kept / s**2) if kept else -math.inf, dtype=torch.float64))
    if not float(last) < float(session.times[0]):
        raise Refused(
            f"a level of {s:g} is as noisy as where sampling begins: nothing of that stage would be sampled; ask for a "
            "lower augmentation"
        )
    stopped = replace(session, times=torch.cat([session.times[session.times > last], last[None]]))
    frames: list[np.ndarray] = []
    with stopped.measured() as cost:
        if film:
            with shown(session.progress, stopped.steps) as report:
                for state, frame in stopped.decoded_states():
                    frames.append(frame.numpy())
                    report(state.step)
                    states = state.x
        else:
            states = stopped.encoded()
    scale = float(schedule.alpha(last))
    return StoppedEarly(states * (kept**0.5 / scale), cost[0], np.stack(frames) if frames else np.empty(0))
