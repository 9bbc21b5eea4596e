"""Distillation as training: phases, resuming, several processes, and the command."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny_run as tiny
import torch
from torch.utils.data import TensorDataset

import undiffuse
from undiffuse import Train, Training
from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.grids import Angle
from undiffuse.guidance import ClassifierFree, ClassifierFreeInput
from undiffuse.networks.mlp import MLP
from undiffuse.objectives.progressive import Progressive
from undiffuse.schedules import ContinuousCosine
from undiffuse.training.angle_width import angle_width
from undiffuse.training.distill import distill
from undiffuse.training.distill import student as recipe_of

COSINE = Gaussian(ContinuousCosine())


def predictor(seed: int = 0, **options: Any) -> Predictor:
    torch.manual_seed(seed)
    made = Predictor(MLP(shape=(2,), width=8, depth=1), COSINE, "velocity", **options)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return made


class Trained(torch.nn.Module, Denoiser):
    """A denoiser in closed form in the place of a network."""

    def __init__(self, oracle: GaussianOracle) -> None:
        super().__init__()
        self.oracle, self.process, self.weight = oracle, oracle.process, torch.nn.Parameter(torch.zeros(()))

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, **cond: Any) -> Any:
        return self.oracle(x_t, t)


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


FEW = {**tiny.TABLES["train"], "steps": 6, "batch": 8, "validate_every": 0, "snapshots": 0}
TABLES: dict[str, Any] = {**tiny.TABLES, "train": FEW}
METHODS = [name for name in registry.names("objectives") if registry.get("objectives", name).distils]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is sampled with guidance 1.5."""
    folder = tmp_path_factory.mktemp("runs") / "base"
    undiffuse.train(TABLES, out=folder, overrides=["train.steps=2"]).run(progress=False)
    return folder


@pytest.fixture(scope="module")
def guided(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of two steps that takes the weight as an input."""
    folder = tmp_path_factory.mktemp("runs") / "guided"
    distill(base, "progressive", 2, out=folder, steps=4, guidance=(1.0, 4.0)).run(progress=False)
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_every_method_starts_from_its_teacher_and_samples_without_a_word(method: str, base: Path, tmp_path: Path):
    training = distill(base, method, 2, out=tmp_path / "student", steps=1)
    teacher = undiffuse.load(base, "float32").module.state_dict()
    own = training.module.state_dict()
    assert all(torch.equal(own[name], value) for name, value in teacher.items())
    training.run(progress=False)
    student = undiffuse.load(tmp_path / "student", "float32")
    samples = student.sample(2, label=3)
    assert samples.calls == 2
    assert student.recipe["train"]["steps"] == 1
    assert str(base) in str(student.tree())  # names its teacher
    if student.denoiser.jumps == "any":
        with pytest.raises(Refused, match=r"student is a flow map, .*, and a student by progressive is none: take"):
            recipe_of(tmp_path / "student", "progressive", 1)


def test_a_student_learns_the_guidance_that_its_teacher_samples_with(base: Path):
    built = {"name": "classifier_free", "denoiser": str(base), "rescale": 0.0, "weight": 1.5}
    asked: Any = recipe_of(base, "progressive", 4)["objective"]["teacher"]
    assert asked == {name: value for name, value in built.items() if name != "rescale"}
    assert recipe_of(base, "progressive", 4, guidance=1)["objective"]["teacher"] == str(base)
    ranged = recipe_of(base, "progressive", 4, guidance=(1, 3))
    assert ranged["objective"]["teacher"] == {"name": "classifier_free_input", "denoiser": str(base)}
    assert ranged["denoiser"] == {"guidance_input": [1.0, 3.0], "jumps": "fixed"}
    assert recipe_of(base, "mean_flow", 1)["objective"]["guidance"] == 1.5
    assert recipe_of(base, "mean_flow", 1, guidance=(1, 3))["denoiser"]["guidance_input"] == [1.0, 3.0]
    assert recipe_of(base, "dmd2", 1, guidance=3)["objective"]["teacher"]["weight"] == 3


@pytest.mark.parametrize(("deviation", "wanted"), [(0.1, 0.1), (0.4, 0.28)], ids=["alike", "uneven"])
def test_the_grid_of_a_student_is_as_wide_as_what_decides_its_samples(deviation: float, wanted: float, base: Path):
    """DDIM strays where the largest variance is: data of one variance want its own deviation, the paper's grid."""
    teacher = undiffuse.load(base, "float32")
    variances = torch.full((1, 8, 8), 0.1**2, dtype=torch.float64)
    variances[0, :2] = deviation**2
    oracle = Trained(GaussianOracle(teacher.denoiser.process, 0.0, variances))
    assert angle_width(replace(teacher, module=oracle), 0.1) == pytest.approx(wanted)


def test_a_threshold_of_the_teacher_clips_what_the_student_learns(base: Path, tmp_path: Path):
    run = undiffuse.load(base, "float32")
    sampler = {**run.recipe["sampler"], "threshold": "dynamic:0.9"}
    undiffuse.train(run.recipe.with_tables(sampler=sampler), out=tmp_path / "clipped").run(progress=False)
    made: Any = recipe_of(tmp_path / "clipped", "progressive", 1)["objective"]["teacher"]
    assert (made["name"], made["bounds"], made["percentile"]) == ("threshold", [-1.0, 1.0], 0.9)
    assert made["denoiser"]["weight"] == 1.5
    distill(tmp_path / "clipped", "progressive", 1, out=tmp_path / "student", steps=1).run(progress=False)


def test_a_guided_student_takes_the_weight_in_one_call(guided: Path):
    student = undiffuse.load(guided, "float32")
    drawn = {weight: student.sample(2, label=3, guidance=weight) for weight in (1.0, 3.0)}
    assert {samples.calls for samples in drawn.values()} == {2}
    assert not torch.equal(drawn[1.0], drawn[3.0])
    assert torch.equal(student.sample(2, label=3), drawn[1.0])
    for asked, message in (
        ({"guidance": 5.0}, "guidance = 5: this model was trained with weights from 1 to 4"),
        ({"guidance": 0.5}, "guidance = 0.5: this model was trained with weights from 1 to 4"),
        ({"guidance": {"label": 2.0}}, "takes the guidance weight as an input: guidance is one number"),
        ({"guidance": 2.0, "interval": (0.1, 1.0)}, "interval is of guidance by two guesses, and this model takes"),
        ({"steps": 4}, "this model was trained for 2 steps on one grid"),
    ):
        with pytest.raises(Refused, match=message):
            student.sample(1, label=3, **asked)  # type: ignore[arg-type]
    about = student.about()
    assert about["guidance"] == "the weight, 1 to 4, is an input of the network"


def test_the_teacher_of_a_guided_student_is_asked_with_the_students_weight(base: Path, tmp_path: Path):
    training = distill(base, "progressive", 2, out=tmp_path / "run", steps=4, guidance=(1.0, 4.0))
    objective, teacher = training.objective, undiffuse.load(base, "float32").module
    seen: list[Any] = []
    network: Any = training.module.network
    network.register_forward_pre_hook(lambda _, given, cond: seen.append(cond), with_kwargs=True)
    batch = training.data.at(0)
    objective.loss(training.module, batch, training.data.random)
    assert seen[0]["guidance"].shape[0] == len(batch)
    assert len(set(seen[0]["guidance"][:, 0].tolist())) > 1  # a weight for each item
    x, label = torch.randn(3, 1, 8, 8), torch.tensor([1, 2, 3])
    weights = torch.tensor([1.0, 2.5, 4.0])
    found = ClassifierFreeInput(teacher)(x, 0.01, guidance=weights, label=label).mean
    for i, weight in enumerate(weights.tolist()):
        wanted = ClassifierFree(teacher, weight=weight)(x, 0.01, label=label).mean[i]
        torch.testing.assert_close(found[i], wanted, rtol=1e-5, atol=1e-5)
    reference: Any = objective.reference(training.module)
    torch.testing.assert_close(reference(x, 0.01, label=label).mean, teacher(x, 0.01, label=label).mean)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda base, guided: recipe_of(base, "progresive", 4),
            r"no 'progresive' \(did you mean 'progressive'\?\)",
        ),
        (lambda base, guided: recipe_of(base, "alignment", 4), "distillation has no 'alignment'"),
        (lambda base, guided: recipe_of(base, "progressive", 0), "to is how many steps the student takes, 1 or more"),
        (lambda base, guided: recipe_of(guided, "progressive", 3), r"a student of 2 steps, .*: --to is 1, not 3"),
        (
            lambda base, guided: recipe_of(guided, "progressive", 1, guidance=2),
            "takes the guidance weight as an input",
        ),
        (
            lambda base, guided: recipe_of(base, "progressive", 1, guidance=(4, 1)),
            "guidance is one weight, as 3, or",
        ),
        (lambda base, guided: recipe_of(base, "shortcut", 3), "shortcut takes 1, 2, 4 ... 128 steps, .*: not 3"),
        (
            lambda base, guided: recipe_of(base, "shortcut", 2, guidance=2),
            "shortcut asks its teacher for no guesses, and so learns no guidance: leave it out",
        ),
        (
            lambda base, guided: distill(guided, "consistency", 1, out=base.parent / "no"),
            "the teacher is a student of one grid of times, .*: take the run that it was made from",
        ),
        (
            lambda base, guided: distill(base, "dmd", 1, out=base.parent / "no", guidance=(1, 2)),
            "distribution_matching builds one guidance weight into its student: leave denoiser.guidance_input",
        ),
        (
            lambda base, guided: undiffuse.train(guided, resume=True, overrides=["train.steps=9"]),
            "is trained in phases, which divide its 4 steps: train.steps stays as it is, not 9",
        ),
        (
            lambda base, guided: undiffuse.train(
                recipe_of(base, "progressive", 2), out=base.parent / "no", overrides=["sampler.steps=4"]
            ),
            "objective 'progressive' trains for DDIM.* in 2 steps at t = 1, .*, and the recipe samples by DDIM.* in 4",
        ),
        (
            lambda base, guided: undiffuse.train(
                recipe_of(base, "progressive", 2).with_tables(sampler={"name": "ddim"}), out=base.parent / "no"
            ),
            'denoiser.jumps = "fixed" is for one grid of times: give sampler.steps and sampler.grid, as 4 and "angle"',
        ),
        (
            lambda base, guided: undiffuse.train(
                recipe_of(base, "progressive", 2), out=base.parent / "no", overrides=["denoiser.guidance_input=[1,2]"]
            ),
            "the student takes a guidance weight as an input, and the teacher none: set objective.teacher.name",
        ),
        (
            lambda base, guided: undiffuse.train(
                recipe_of(base, "progressive", 2, guidance=(1, 2)).with_tables(denoiser={"jumps": "fixed"}),
                out=base.parent / "no",
            ),
            "the teacher takes a guidance weight as an input, and the student none: set denoiser.guidance_input",
        ),
        (
            lambda base, guided: undiffuse.train(
                recipe_of(guided, "progressive", 1), out=base.parent / "no", overrides=["denoiser.guidance_input=[1,9]"]
            ),
            "guidance weights from 1 to 9, and the teacher knows those from 1 to 4",
        ),
        (
            lambda base, guided: undiffuse.train(
                recipe_of(guided, "progressive", 1), out=base.parent / "no", overrides=["denoiser.guidance_input=[3,1]"]
            ),
            r"denoiser.guidance_input is a range of weights from 0 on, as \[1, 4\], not \[3, 1\]",
        ),
    ],
)
def test_what_makes_no_student_is_refused(make: Callable[[Path, Path], Any], message: str, base: Path, guided: Path):
    with pytest.raises(Refused, match=message):
        make(base, guided)
    assert not (base.parent / "no" / "recipe.toml").exists()


def test_a_run_that_is_no_denoiser_is_no_teacher(tmp_path: Path):
    reader = {**TABLES, "kind": "classifier", "objective": {"name": "label_cross_entropy"}, "conditions": {"label": {}}}
    reader |= {"network": {"name": "encoder", "width": 4, "attention": [], "multipliers": [1]}}
    del reader["sampler"]
    undiffuse.train(reader, out=tmp_path / "reader", overrides=["train.steps=1"]).run(progress=False)
    with pytest.raises(Refused, match=r"reader holds a classifier"):
        distill(tmp_path / "reader", "progressive", 4, out=tmp_path / "no")
    (tmp_path / "rows.csv").write_text("a,b,c\n" + "".join(f"{i}.5,x{i % 3},{i % 2}\n" for i in range(40)))
    settings = ["data.path=" + str(tmp_path / "rows.csv"), "data.label=c", "train.steps=1", "train.batch=8"]
    undiffuse.train("table-mixed", out=tmp_path / "rows", overrides=settings).run(progress=False)
    with pytest.raises(Refused, match="progressive is for values, and Product is a process of values and tokens"):
        distill(tmp_path / "rows", "progressive", 4, out=tmp_path / "no")
