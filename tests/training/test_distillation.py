"""Distillation as training: phases, resuming, several processes, and the command."""

from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import tiny_run as tiny
import torch
from torch.utils.data import TensorDataset

from undiffuse import Train, Training
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.grids import Angle
from undiffuse.networks.mlp import MLP
from undiffuse.objectives.progressive import Progressive
from undiffuse.schedules import ContinuousCosine

COSINE = Gaussian(ContinuousCosine())


def predictor(seed: int = 0, **options: Any) -> Predictor:
    torch.manual_seed(seed)
    made = Predictor(MLP(shape=(2,), width=8, depth=1), COSINE, "velocity", **options)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return made


def training(folder: Path | None, teacher: Denoiser | None = None, first: int = 4, **settings: Any) -> Training[Any]:
    objective = Progressive(teacher or predictor(1).eval().requires_grad_(False), first, 1)
    chosen = Train(**({"steps": 12, "batch": 8, "lr": 0.01, "warmup": 1, "snapshots": 0, "log_every": 1} | settings))
    points = torch.randn(24, 2, generator=torch.Generator().manual_seed(0))
    times = tuple(Angle()(COSINE.schedule, 1).tolist())
    return Training(
        predictor(2, jumps="fixed", jump_times=times), objective, TensorDataset(points), chosen, folder=folder
    )


def test_after_each_phase_the_student_is_the_teacher_and_the_steps_are_halved():
    run = training(None, steps=10)
    objective: Any = run.objective
    assert objective.phase_ends(10) == (2, 6, 10)  # of 4, 2 and 1 steps, the last two twice as long
    assert Progressive(predictor(), 4, 1, lengths=(3.0, 1.0, 1.0)).phase_ends(10) == (6, 8, 10)
    teacher = objective.teacher.state_dict()
    assert all(torch.equal(value, teacher[name]) for name, value in run.module.state_dict().items())
    seen: list[int] = []
    for numbers in run:
        seen.append(objective.steps)
        if numbers["step"] in (2, 6):
            moving = {name.removeprefix("teacher."): value for name, value in objective.state().items()}
            assert all(torch.equal(value, moving[name]) for name, value in run.module.state_dict().items())
    assert seen == [4, 2, 2, 2, 2, 1, 1, 1, 1, 1]
    assert all(torch.equal(value, teacher[name]) for name, value in objective.teacher.state_dict().items())


def test_the_learning_rate_anneals_in_each_phase():
    rates = [numbers["lr"] for numbers in training(None, steps=20)]
    assert [i + 1 for i, (one, other) in enumerate(pairwise(rates)) if other > one] == [4, 12]


def test_a_run_that_was_stopped_in_any_phase_is_the_one_that_was_not(tmp_path: Path):
    training(tmp_path / "whole", checkpoint_every=5).run(progress=False)
    for _ in islice(training(tmp_path / "parts", checkpoint_every=5), 7):
        pass
    training(tmp_path / "parts", checkpoint_every=5).resume().run(progress=False)
    tiny.same(tmp_path / "whole", tmp_path / "parts")
    held = tiny.tensors(tmp_path / "whole")
    assert int(held["objective.phase"]) == 2
    assert any(name.startswith("objective.teacher.network.") for name in held)
