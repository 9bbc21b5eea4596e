"""Small networks learn to jump from data alone, far from where one step of an ODE lands."""

from typing import Any

import pytest
import torch
from flow_maps import MixtureMap, distance, small, train

from undiffuse.objectives import MeanFlow, Shortcut
from undiffuse.schedules import FlowSchedule
from undiffuse.time_distributions.uniform import Uniform


@pytest.mark.parametrize(
    ("objective", "steps", "bound"),
    [
        (Shortcut(bootstrap=0.5, times=Uniform(), finest=32), 250, 0.1),
        (MeanFlow("original", times=Uniform(), instant=0.4, derivative="difference"), 130, 0.35),
    ],
    ids=lambda value: type(value).__name__,
)
def test_one_jump_lands_near_the_exact_end(objective: Any, steps: int, bound: float):
    """In standard deviations of the data, of which one Euler step, which lands on the mean, is 1 away."""
    torch.manual_seed(0)
    exact = MixtureMap(FlowSchedule())
    model = train(small(FlowSchedule(), width=32), objective, steps=steps, batch=512, lr=1e-2)
    assert distance(model, exact) < bound
    assert distance(model, exact, (1.0, 0.5, 0.0)) < bound
