"""The distance of few-step samples to fine trajectories: known in closed form on Gaussian data."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flow_maps import GaussianMap
from test_shown import POINTS
from torch import Tensor, nn

import undiffuse
from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.objective import Objective
from undiffuse.recipes.recipe import Recipe
from undiffuse.schedules import FlowSchedule
from undiffuse.training.reference_distance import ReferenceDistance

C = 0.5


class Known(nn.Module, Denoiser):
    """The exact flow map of N(0, C^2), or its mean alone."""

    def __init__(self, jumps: str = "any") -> None:
        super().__init__()
        self.exact, self.jumps = GaussianMap(FlowSchedule(), 0.0, C), jumps
        self.process = self.exact.process
        self.unused = nn.Parameter(torch.zeros(1, dtype=torch.float32))
        self.calls = 0

    def forward(self, x_t: Tensor, t: Any, *, to: Any = None, **cond: Any) -> Any:
        self.calls += 1
        return self.exact(x_t, t, to=to)

    __call__ = nn.Module.__call__


@dataclass(frozen=True, eq=False)
class Held(Objective):
    """Whose trajectories count; None: the model's own."""

    teacher: Denoiser | None = None

    def loss(self, model: Any, batch: Any, random: Any, step: int = 0, player: str = "run") -> Any: ...

    def reference(self, model: Any) -> Denoiser:
        return self.teacher or model


class Unseen:
    """Data of unit deviation."""

    def __len__(self) -> int:
        return 4

    def encoded(self, which: Tensor) -> Tensor:
        return torch.tensor([[1.0, -1.0]], dtype=torch.float32).repeat(len(which), 1)


def few_steps(name: str) -> frozenset[str]:
    """What denoisers of few steps an objective trains."""
    component: Any = registry.get("objectives", name)
    return component.jumps if isinstance(component.jumps, frozenset) else frozenset()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return undiffuse.train(POINTS, out=tmp_path_factory.mktemp("runs") / "run").result


def of(run: Any, model: Known, objective: Held, sampler: dict[str, Any]) -> tuple[dict[str, float], float]:
    """The distance with this [sampler], and the root mean square of the noise that it starts from."""
    recipe: Recipe = run.recipe.with_tables(sampler=sampler)
    made = replace(run, module=model, recipe=recipe)
    noise = next(iter(made.open(n=32))).x
    distance = ReferenceDistance(objective, lambda module, step: made, Unseen(), {})  # type: ignore[arg-type]
    return distance(model), float(noise.square().mean().sqrt())


def test_an_exact_flow_map_has_no_distance_and_one_step_of_euler_that_of_the_mean(run: Any):
    """From t = 1 the exact map gives C z, and Euler's step the mean, whatever the noise is."""
    found, _ = of(run, Known(), Held(), {"name": "jump", "steps": 1})
    assert list(found) == ["distance_to_fine_steps"]
    assert found["distance_to_fine_steps"] < 2e-3
    found, noise = of(run, Known("none"), Held(), {"name": "euler", "steps": 1})
    assert found["distance_to_fine_steps"] == pytest.approx(C * noise, abs=2e-3)


def test_a_teachers_trajectories_are_taken_once(run: Any):
    teacher, student = Known("none"), Known()
    made = replace(run, module=student, recipe=run.recipe.with_tables(sampler={"name": "jump", "steps": 2}))
    distance = ReferenceDistance(Held(teacher), lambda module, step: made, Unseen(), {})  # type: ignore[arg-type]
    first, calls = distance(student), teacher.calls
    assert first == distance(student)
    assert list(first) == ["distance_to_teacher"]
    assert calls == teacher.calls == 32
    assert first["distance_to_teacher"] < 2e-3


@pytest.mark.parametrize("name", [n for n in registry.names("objectives") if "any" in few_steps(n)])
def test_flow_maps_are_held_against_their_own_fine_steps(name: str):
    model = Known()
    assert registry.build("objectives", {"name": name}).reference(model) is model


def test_other_runs_have_no_such_number(run: Any, tmp_path: Path):
    class Plain(Held):
        def reference(self, model: Any) -> None:  # type: ignore[override]
            return None

    assert ReferenceDistance(Plain(), lambda module, step: run, Unseen(), {})(run.module) == {}  # type: ignore[arg-type]
