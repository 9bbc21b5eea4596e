"""Small networks learn the exact consistency function of two modes, by every form of its training."""

from typing import Any

import flow_maps
import pytest
import torch

from undiffuse.core.denoiser import Predictor
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.networks.mlp import MLP
from undiffuse.objectives import ConsistencyObjective, ContinuousConsistency, EasyConsistency, ImprovedConsistency
from undiffuse.parameterizations import EDMParameterization
from undiffuse.schedules import EDMSchedule
from undiffuse.time_distributions import LogNormal

EXACT, NEAR = (flow_maps.MixtureMap(EDMSchedule(sigma)) for sigma in (2.0, 1.0))
STD = EXACT.std
LAW: dict[str, Any] = {"mean": -0.4, "std": 1.0}
FORMS: dict[str, tuple[Any, Any, int, int]] = {  # the objective, the data, steps of training, and its batch
    "distillation": (ConsistencyObjective(EXACT.denoiser, first=18, last=18, decay=0.8), EXACT, 110, 384),
    "training": (ConsistencyObjective(first=60, last=80, decay=0.8), EXACT, 270, 384),
    "improved": (ImprovedConsistency(first=20, last=160, huber=3.0, **LAW), EXACT, 200, 768),
    "easy": (EasyConsistency(times=LogNormal(**LAW), k=1.0, first=2, last=6, huber=3.0), EXACT, 200, 384),
    "continuous": (ContinuousConsistency(NEAR.denoiser, LogNormal(**LAW), STD, c=1.0), NEAR, 115, 768),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_small_network_reaches_the_exact_map(form: str):
    """In one jump from noise, to .05 of the data's deviation; data without noise stay as they are."""
    objective, exact, steps, batch = FORMS[form]
    network = MLP(shape=(1,), width=64, depth=3, time_scale=0.4, time_shift=0.1, waves=4)
    model = Predictor(network, Gaussian(exact.process.schedule), EDMParameterization(STD), "data")
    flow_maps.train(model, objective, exact, steps=steps, batch=batch, lr=6e-3)
    assert flow_maps.distance(model, exact) < 0.05
    clean = exact.quantiles(8, 0.0).float()
    assert torch.equal(model(clean, 0.0).mean, clean)
