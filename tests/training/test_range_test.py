"""The range test: the edge of a quadratic, what a test of a recipe leaves behind, and what is refused."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from undiffuse import Train, Training, tuning
from undiffuse.core.errors import Refused
from undiffuse.core.objective import RUN, Batch, Objective
from undiffuse.core.random import Random
from undiffuse.optimisers.by_name import optimiser
from undiffuse.training.range_test import RangeTest, range_test

CURVATURE = 5.0


@dataclass(frozen=True, eq=False)
class Quadratic(Objective):
    """CURVATURE |w|^2 / 2, whatever the data are."""

    trains: ClassVar[type] = nn.Module

    def loss(self, model: Any, batch: Batch, random: Random, step: int = 0, player: str = RUN) -> Tensor:
        return CURVATURE / 2 * model.weight.square().sum().expand(len(batch))


def test_the_edge_of_a_quadratic_is_the_limit_of_gradient_descent():
    data = TensorDataset(torch.zeros(8, 2))
    settings = Train(steps=1, batch=4, clip=0.0, precision="float32")
    net = nn.Linear(2, 2, bias=False, dtype=torch.float32)
    training = Training(net, Quadratic(), data, settings, optimiser=optimiser({"name": "sgd"}))
    found = range_test(training, 0.02, 10.0, 60)
    ratio = found.rates[1] / found.rates[0]
    assert found.found
    assert found.edge <= 2 / CURVATURE < found.edge * ratio
    assert 2 / CURVATURE / ratio / 2.01 < found.suggested * 1.5 < 2 / CURVATURE  # half, to 1, 1.5, 2, 3, 5 or 7
    assert found.losses[-1] > 2 * found.losses[0] > 2 * found.losses[-2] or len(found.losses) == 60
    assert not RangeTest((0.1, 0.2), (3.0, 2.0)).found


def test_a_recipe_is_tried_and_nothing_but_the_result_is_left(tmp_path: Path):
    recipe = {
        "data": {"name": "moons", "count": 200},
        "codec": {"name": "whiten"},
        "schedule": {"name": "vp"},
        "parameterization": {"name": "velocity"},
        "network": {"name": "mlp", "width": 32},
        "objective": {"name": "denoising"},
        "train": {"steps": 40, "batch": 128, "held_out": 0.2},
    }
    out = tmp_path / "there"
    told: list[tuple[int, int]] = []
    found = tuning.learning_rate(
        recipe, first=1e-3, steps=20, out=out, advance=lambda done, total: told.append((done, total))
    )
    again = tuning.learning_rate(recipe, first=1e-3, steps=20)
    assert found == again
    assert told[0] == (1, 20)
    assert found.losses[0] > min(found.losses)
    assert sorted(each.name for each in out.iterdir()) == [tuning.RATE_TABLE, tuning.RATE_CURVE]
    table = json.loads((out / tuning.RATE_TABLE).read_text())
    assert (table["edge"], table["suggested"]) == (found.edge, found.suggested)
    for words, message in (
        ({"first": 1.0, "last": 0.1}, "rises, from above 0: not from 1 to 0.1"),
        ({"first": 0.0}, "rises, from above 0: not from 0 to 1"),
        ({"steps": 5}, "at least 20 steps, not 5"),
    ):
        with pytest.raises(Refused, match=message):
            tuning.learning_rate(recipe, **words)  # type: ignore[arg-type]
