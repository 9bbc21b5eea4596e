"""Two objectives around another: features aligned with a run's own, and losses weighed by a learned uncertainty."""

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import tiny_run as tiny
import torch
from torch import Tensor

import undiffuse
from undiffuse import Train, Training, schedules
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.networks.mlp import MLP
from undiffuse.networks.unet import UNet
from undiffuse.objectives import Alignment, Denoising, Uncertainty
from undiffuse.objectives.timed import Timed
from undiffuse.time_distributions.uniform import Uniform

BATCH = Batch(torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0)))
RANDOM = Random(5)
FEW = {**tiny.TABLES["train"], "steps": 4, "validate_every": 2, "snapshots": 0, "batch": 8, "log_every": 1}
TABLES: dict[str, Any] = {**tiny.TABLES, "train": FEW}


def denoiser(seed: int, **options: Any) -> Predictor:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"width": 4, "multipliers": (1, 2), "blocks": 1, "attention": ()}
    network = UNet(channels=1, **{**sizes, **options})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Predictor(network, Gaussian(schedules.EDMSchedule()), "edm")


@pytest.fixture
def teacher() -> Predictor:
    return denoiser(1, width=8).eval().requires_grad_(False)


def gradients(objective: Any, model: Predictor, step: int) -> tuple[Tensor, list[Any]]:
    """The losses, and the gradients of the student and then of the projector."""
    player, *_ = objective.players(model)
    loss = objective.loss(model, BATCH, RANDOM, step)
    weights = [p for module in player.modules for p in module.parameters()]
    return loss.detach(), list(torch.autograd.grad(loss.sum(), weights, allow_unused=True))


def test_alignment_teaches_the_student_and_its_projector_alone(teacher: Predictor):
    student, base = denoiser(0), Denoising("edm")
    loss, found = gradients(Alignment(teacher, base), student, 0)
    own, plain = gradients(base, student, 0)
    assert ((own - loss).abs() <= 0.5 + 1e-6).all()  # half a cosine
    assert (own != loss).all()
    names = [name for name, _ in student.named_parameters()]
    moved = {n for n, a, b in zip(names, found, plain, strict=False) if a is not None and not torch.equal(a, b)}
    before = {name for name in names if not name.startswith(("network.up", "network.leave"))}
    assert {"network.enter.weight", "network.middle.residuals.1.conv2.weight"} <= moved <= before
    assert all(gradient is not None and gradient.any() for gradient in found[len(names) :])
    assert all(weight.grad is None for weight in teacher.parameters())


def test_alignment_is_a_cosine_of_the_projected_features_and_the_teachers(teacher: Predictor):
    base, network = Denoising("edm"), denoiser(0).network
    student: Any = Predictor(network, Gaussian(schedules.EDMSchedule()), "edm")
    aligned = Alignment(teacher, base, weight=2.0, teacher_depth="down1", noise=0.3)
    teaching, seen = aligned.target(BATCH, RANDOM.fold(71)), []
    student.network.middle.register_forward_hook(lambda module, given, output: seen.append(output))
    loss = aligned.loss(student, BATCH, RANDOM)
    projected = aligned.projector(student)(seen[0].flatten(2).mT)
    cosine = (projected * teaching).sum(2) / (projected.norm(dim=2) * teaching.norm(dim=2))
    torch.testing.assert_close(loss, base.loss(student, BATCH, RANDOM) - 2 * cosine.mean(1))
    assert teaching.shape == (4, 4, 16)
    assert not torch.allclose(teaching, Alignment(teacher, noise=3.0, teacher_depth="down1").target(BATCH, RANDOM))


def test_from_the_stop_on_there_is_the_base_alone(teacher: Predictor):
    student, base = denoiser(0), Denoising("edm")
    aligned = Alignment(teacher, base, stop=3)
    for step in (3, 4):
        loss, found = gradients(aligned, student, step)
        own, plain = gradients(base, student, step)
        assert torch.equal(loss, own)
        assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=False) if b is not None)
        assert found[len(plain) :] == [None] * 6
    assert not torch.equal(gradients(aligned, student, 2)[0], base.loss(student, BATCH, RANDOM, 2))


def test_training_aligns_the_features(teacher: Predictor):
    student = denoiser(0)
    aligned, data = Alignment(teacher, hidden=32), torch.utils.data.TensorDataset(BATCH.x)

    def apart() -> float:
        return float((aligned.loss(student, BATCH, RANDOM) - aligned.base.loss(student, BATCH, RANDOM)).detach().mean())

    before = apart()
    Training(student, aligned, data, Train(steps=25, batch=4, lr=0.01, warmup=0, snapshots=0)).run(progress=False)
    assert apart() < before - 0.12  # a cosine that grew by a quarter


@pytest.fixture(scope="module")
def base_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "base"
    undiffuse.train(TABLES, out=folder, overrides=["train.steps=1"]).run(progress=False)
    return folder


def test_a_run_names_its_teacher_and_logs_the_loss_without_it(base_run: Path, tmp_path: Path):
    objective = {"name": "alignment", "teacher": str(base_run), "stop": 3, "base": tiny.TABLES["objective"]}
    training = undiffuse.train({**TABLES, "objective": objective}, out=tmp_path / "run", overrides=["train.steps=2"])
    assert set(training.run(progress=False).facts["runs"]) == {"objective.teacher"}
    assert "validation_unaligned" in tiny.metrics(tmp_path / "run")[0]
    names = tiny.tensors(tmp_path / "run").keys()
    assert any(name.startswith("players.run.weights.") for name in names)
    assert not any("teacher" in name for name in names)


@pytest.mark.parametrize("name", ["alignment", "uncertainty"])
def test_a_run_that_was_stopped_is_the_one_that_was_not(name: str, teacher: Predictor, tmp_path: Path):
    settings = Train(steps=4, batch=4, lr=0.01, warmup=1, snapshots=0, checkpoint_every=2, log_every=1)

    def training(folder: str) -> Training[Any]:
        objective = Alignment(teacher, Denoising("edm"), stop=3, hidden=8) if name == "alignment" else Uncertainty()
        data = torch.utils.data.TensorDataset(BATCH.x)
        torch.manual_seed(0)
        return Training(denoiser(0), objective, data, settings, folder=tmp_path / folder)

    training("whole").run(progress=False)
    for _ in islice(training("parts"), 3):
        pass  # the third step is lost
    training("parts").resume().run(progress=False)
    tiny.same(tmp_path / "whole", tmp_path / "parts")
    beside = [key for key in tiny.tensors(tmp_path / "whole") if key.startswith("players.run.")]
    assert any(".weights." in key for key in beside)
    assert any(".optimiser." in key for key in beside)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1.0}, "alignment needs a weight of 0 or more"),
        ({"noise": 0.0}, "noise above 0"),
        ({"depth": "midle"}, r"alignment: the run's network has no 'midle' \(did you mean 'middle'\?\); it has:"),
        ({"teacher_depth": "down9"}, "alignment: the teacher's network has no 'down9'"),
        ({"depth": "up0"}, "alignment needs as many places at both depths: 'up0' has 16, the teacher's 'middle' 4"),
    ],
)
def test_what_cannot_be_aligned_is_refused(options: dict[str, Any], message: str, teacher: Predictor):
    with pytest.raises(Refused, match=message):
        Alignment(teacher, **options).loss(denoiser(0), BATCH, RANDOM)


def test_a_network_without_depths_is_refused(teacher: Predictor):
    plain = Predictor(MLP(shape=(2,)), Gaussian(schedules.EDMSchedule()), "edm")
    with pytest.raises(Refused, match="alignment: the run's network, MLP, has no features to read: take unet"):
        Alignment(teacher).loss(plain, BATCH, RANDOM)


def test_features_that_compiling_hides_are_refused(teacher: Predictor):
    student = denoiser(0)
    whole = student.network.forward
    other = denoiser(0).network
    student.network.forward = lambda *given, **cond: other(*given, **cond)
    with pytest.raises(Refused, match=r"which train.compile hides: leave compile out"):
        Alignment(teacher).loss(student, BATCH, RANDOM)
    student.network.forward = whole


@dataclass(frozen=True)
class Known(Timed):
    """A loss whose mean at each time is known: exp(3 t - 2) times a draw of mean 1."""

    times: TimeDistribution = field(default_factory=Uniform)

    def at(self, t: Tensor, model: Any, batch: Batch, random: Random) -> Tensor:
        return (3 * t - 2).exp().float() * (0.5 + random.uniform((len(t),)))


def test_uncertainty_learns_how_large_a_loss_is_at_each_level():
    model, known = denoiser(0), Known()
    weighed = Uncertainty(known)
    batch, random = Batch(torch.zeros(64, 1, 4, 4)), Random(1)
    first = weighed.loss(model, batch, random)
    torch.testing.assert_close(first, known.loss(model, batch, random))  # u is 0
    optimiser = torch.optim.Adam(weighed.log_variance.parameters(), lr=0.02, fused=True)
    for step in range(250):
        weighed.loss(model, batch, random.fold(step)).mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    found = weighed.uncertainty(model.process.schedule.log_snr(t).float())
    torch.testing.assert_close(found, (3 * t - 2).float(), rtol=0, atol=0.25)


def test_uncertainty_has_the_times_and_the_masks_of_its_base():
    times = Uniform()
    weighed = Uncertainty(Denoising("snr", times))
    assert weighed.times is times
    assert weighed.masks
    assert weighed.timed
