"""Distribution matching: rollouts as in sampling, a game that moves whom it should, runs that name a teacher."""

import math
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import players
import pytest
import tiny_run as tiny
import torch
from torch import Tensor

import undiffuse
from undiffuse import schedules
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.jumps import conditions
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample, trajectory
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.guidance import ClassifierFree
from undiffuse.networks.mlp import MLP
from undiffuse.objectives import Denoising, DistributionMatching
from undiffuse.objectives.distribution_matching import FAKE
from undiffuse.samplers import Jump
from undiffuse.training.distill import student as recipe_of_student
from undiffuse.training.start import data

EDM = Gaussian(schedules.EDMSchedule())
FEW = {**tiny.TABLES["train"], "steps": 2, "validate_every": 2, "snapshots": 0, "batch": 8, "log_every": 1}


@dataclass(frozen=True)
class At(TimeDistribution):
    """One noise level."""

    sigma: float

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        return schedule.time(torch.tensor(-2 * math.log(self.sigma), dtype=torch.float64)).expand(count)


BATCH = Batch(Random(7).normal((6, 1, 4, 4)))


@pytest.fixture
def teacher() -> Predictor:
    return players.denoiser(seed=1).eval().requires_grad_(False)


@pytest.fixture
def student() -> Predictor:
    return players.denoiser(jumps="data")


def test_the_fake_denoiser_starts_as_the_teacher_and_weighs_levels_by_snr_and_data(
    teacher: Predictor, student: Predictor
):
    """w = sigma^-2 + 1/data_std^2 on the squared error of the student's own samples."""
    made = DistributionMatching(teacher, critic=Denoising("edm", At(0.3)))
    assert all(torch.equal(a, b) for a, b in zip(made.fake.parameters(), teacher.parameters(), strict=True))
    assert all(weight.requires_grad for weight in made.fake.parameters())
    loss = made.loss(student, BATCH, Random(2), player=FAKE)
    x = made.drawn(student, BATCH, Random(2).fold(0)).detach()
    t = At(0.3)(EDM.schedule, Random(0), 6)
    x_t = EDM.marginal(x, t).sample(Random(2).fold(1, 0, 1))
    error = (made.fake(x_t, t).mean - x).square().mean((1, 2, 3))
    torch.testing.assert_close(loss, (0.3**-2 + 0.5**-2) * error)
    found = torch.autograd.grad(loss.sum(), list(student.parameters()), allow_unused=True, retain_graph=True)
    assert found == (None,) * len(found)


class Grads:
    """Notes for each call of a network whether it has a gradient."""

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def __call__(self, *given: Any) -> None:
        self.seen.append(torch.is_grad_enabled())


@pytest.mark.parametrize("steps", [1, 3])
def test_what_training_sees_is_what_sampling_sees(steps: int, teacher: Predictor, student: Predictor):
    """The samples are those of the sampler `jump` on the same times, stopped at a step that all items share."""
    made, batch = DistributionMatching(teacher, steps=steps), replace(BATCH, cond={})
    (_, times), seen = made.sampled(EDM), set[int]()
    for seed in range(8):
        random, grads = Random(seed, torch.tensor([5, 3, 0, 9, 8, 2])), Grads()
        hook = student.network.register_forward_pre_hook(grads)
        x = made.drawn(student, batch, random)
        hook.remove()
        last = len(grads.seen) - 1
        assert grads.seen == [*[False] * last, True]
        seen.add(last)
        start = EDM.prior(tuple(BATCH.x.shape), times[0]).sample(random.fold(-1))
        with torch.no_grad():
            states = [start, *trajectory(student, Jump(1.0), start, times, random=random.fold(1))]
            torch.testing.assert_close(x.detach(), student(states[last], times[last], to=0.0).mean)
            if last == steps - 1:
                torch.testing.assert_close(x.detach(), states[-1])
        again = made.drawn(student, replace(batch, x=BATCH.x[:2]), random.at(torch.tensor([0, 9])))
        torch.testing.assert_close(again, x[2:4])
    assert seen == set(range(steps))
    drawn = sample(student, (2, 1, 4, 4), steps=steps)
    assert torch.equal(drawn, sample(student, (2, 1, 4, 4), sampler=Jump(1.0), times=times))


def test_the_game_gives_each_player_its_own_gradient(teacher: Predictor, student: Predictor):
    plain, game = (DistributionMatching(teacher, gan_weight=weight, gan_start=2) for weight in (0.0, 0.5))
    run, fake = game.players(student)
    assert (run.name, fake.name, fake.updates, run.updates) == ("run", FAKE, 5, 1)
    mine = [p for module in run.modules for p in module.parameters()]
    theirs = [p for module in fake.modules for p in module.parameters()]
    head = list(game.head.parameters())
    assert theirs[-len(head) :] == head
    random = Random(1)
    for step in (0, 1):
        assert torch.equal(game.loss(student, BATCH, random, step), plain.loss(student, BATCH, random, step))
        before = game.loss(student, BATCH, random, step, FAKE)
        assert torch.equal(before, plain.loss(student, BATCH, random, step, FAKE))
    for each in theirs:
        each.requires_grad_(False)
    more = game.loss(student, BATCH, random, 2) - plain.loss(student, BATCH, random, 2)
    assert bool((more > 0).all())
    assert any(bool(g.any()) for g in torch.autograd.grad(more.sum(), mine))
    for each in theirs:
        each.requires_grad_(True)
    for each in mine:
        each.requires_grad_(False)
    judged = game.loss(student, BATCH, random, 2, FAKE) - plain.loss(student, BATCH, random, 2, FAKE)
    assert all(bool(g.any()) for g in torch.autograd.grad(judged.sum(), head))
    assert all(weight.grad is None for weight in teacher.parameters())


def test_the_head_learns_to_tell_data_from_samples(teacher: Predictor, student: Predictor):
    game = DistributionMatching(teacher, gan_weight=0.5, critic_gan_weight=1.0, critic=Denoising("edm", At(0.1)))
    moves = torch.optim.Adam(game.head.parameters(), lr=0.05, fused=True)
    batch = replace(BATCH, x=BATCH.x * 0.1 + 2)
    for step in range(12):
        game.loss(student, batch, Random(step), player=FAKE).mean().backward()
        moves.step()
        moves.zero_grad()
    t, x = At(0.1)(EDM.schedule, Random(0), 6), game.drawn(student, batch, Random(0))
    real, made = (game._judged(each, t, batch, Random(50 + i)) for i, each in enumerate((batch.x, x)))
    assert bool(real.min() > made.max())


def test_score_distillation_has_no_fake_and_starts_from_the_students_own_weights(
    teacher: Predictor, student: Predictor
):
    assert [player.name for player in DistributionMatching(teacher, "sds").players(student)] == ["run"]
    starts = [DistributionMatching(teacher, method).initial() for method in ("dmd", "vsd", "sds")]
    assert starts == [teacher, None, None]


def test_a_guided_teacher_guides_the_gradient_and_its_own_network_becomes_the_fake(student: Predictor):
    label = torch.arange(6) % 3
    torch.manual_seed(0)
    net = MLP(shape=(2,), classes=3, width=16, depth=2)
    plain = Predictor(net, EDM, "edm").requires_grad_(False)
    made = DistributionMatching(ClassifierFree(plain, weight=3.0))
    pupil = Predictor(MLP(shape=(2,), classes=3, width=16, depth=2), EDM, "edm", "data")
    assert made.initial() is plain
    assert made.reference(pupil) is made.teacher
    batch = Batch(Random(0).normal((6, 2)), {"label": label})
    both = (made, DistributionMatching(plain))
    assert not torch.equal(*[each.loss(pupil, batch, Random(0)) for each in both])
    hidden = replace(batch, cond={"label": label, "drop": torch.ones(6, dtype=torch.bool)})
    torch.testing.assert_close(*[each.loss(pupil, hidden, Random(0)) for each in both])


def test_a_run_that_was_stopped_is_the_one_that_was_not(tmp_path: Path):
    players.matching(tmp_path / "whole", checkpoint_every=2).run(progress=False)
    for _ in islice(players.matching(tmp_path / "parts", checkpoint_every=2), 3):
        pass  # the third step is lost
    players.matching(tmp_path / "parts", checkpoint_every=2).resume().run(progress=False)
    tiny.same(tmp_path / "whole", tmp_path / "parts")
    held = tiny.tensors(tmp_path / "whole")
    moved = [key for key in held if key.startswith("players.fake.optimiser.step.")]
    assert {float(held[key]) for key in moved} == {8.0, 6.0}  # of the head, which moves from step 1 on, six


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "dmb"}, r"the method of distribution_matching has no 'dmb' \(did you mean 'dmd'\?\)"),
        ({"steps": 0}, "needs steps and updates of 1 or more and a gan_start of 0 or more, not 0, 5 and 0"),
        ({"gan_weight": -1.0}, "needs a gan_weight of 0 or more, not -1"),
        ({"method": "sds", "gan_weight": 1.0}, "gan_weight reads features of the fake denoiser, and method 'sds' has"),
        ({"gan_weight": 1.0, "depth": "midle"}, r"the teacher's network has no 'midle' \(did you mean 'middle'\?\)"),
        ({"teacher": GaussianOracle(EDM)}, "starts its fake denoiser as the teacher's network, and GaussianOracle has"),
        ({"teacher": players.denoiser(jumps="data")}, r"this one has jumps = 'data': take the run that it was distil"),
        ({"teacher": players.denoiser(schedule=schedules.EDMSchedule(50.0))}, "sigma_max=50.0.*, and the student's"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], message: str, teacher: Predictor, student: Predictor):
    with pytest.raises(Refused, match=message):
        DistributionMatching(**{"teacher": teacher, **options}).loss(student, BATCH, Random(0), player=FAKE)


def test_models_and_data_that_cannot_be_trained_so_are_refused(teacher: Predictor, student: Predictor):
    made = DistributionMatching(teacher)
    with pytest.raises(Refused, match=r"set denoiser.jumps = 'data', not 'none'"):
        made.loss(players.denoiser(), BATCH, Random(0))
    with pytest.raises(Refused, match="cannot leave padding out"):
        made.loss(student, replace(BATCH, mask=torch.ones(6, 4, 4, dtype=torch.bool)), Random(0))
    weighted = Predictor(MLP(shape=(2,), conditions=conditions("data", (1.0, 4.0))), EDM, "edm", "data", (1.0, 4.0))
    with pytest.raises(Refused, match="builds one guidance weight into its student"):
        made.loss(weighted, Batch(torch.zeros(2, 2)), Random(0))
    flat = Predictor(MLP(shape=(2,)), EDM, "edm")
    pupil = Predictor(MLP(shape=(2,)), EDM, "edm", "data")
    with pytest.raises(Refused, match="distribution_matching: the teacher's network, MLP, has no features to read"):
        DistributionMatching(flat, gan_weight=1.0).loss(pupil, Batch(torch.zeros(2, 2)), Random(0), player=FAKE)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "base"
    undiffuse.train({**tiny.TABLES, "train": FEW}, out=folder, overrides=["train.steps=1"]).run(progress=False)
    return folder


def test_a_distilled_run_samples_without_flags_and_logs_how_far_it_is_from_its_guided_teacher(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    recipe = recipe_of_student(base, "dmd", 2, steps=2, guidance=2.0)
    assert recipe["objective"]["critic"]["weighting"] == "edm"
    run = undiffuse.train(recipe, out=tmp_path / "run", overrides=["objective.updates=1"]).run()
    assert "distance to teacher 0." in capsys.readouterr().err
    found = {line["step"]: line.get("distance_to_teacher") for line in tiny.metrics(tmp_path / "run")}
    given: dict[str, Any] = {"label": [i % 10 for i in range(32)]}
    mine = run.open(n=32, **given).encoded()
    steps = {"sampler": "adams", "steps": 32, "guidance": 2.0}
    teacher = undiffuse.load(base, "float32").open(n=32, **steps, **given).encoded()
    held_out: Any = data(run.recipe)[1]
    spread = run.codec.encode(torch.as_tensor(held_out.x)).std(correction=0)
    expected = (mine - teacher).square().mean().sqrt() / spread
    assert found[2] == pytest.approx(float(expected), rel=1e-5)
    assert found[0] != found[2]
    assert run.sample(3).shape == (3, 1, 8, 8)
    large = np.random.default_rng(0).integers(0, 256, (40, 12, 12), dtype=np.uint8)
    np.savez(tmp_path / "large.npz", images=large, labels=np.arange(40) % 10)
    with pytest.raises(Refused, match=r"base' is of samples of shape \(1, 8, 8\), and these data are of shape \(1, 12"):
        undiffuse.train(recipe, out=tmp_path / "other", overrides=[f"data.path={tmp_path / 'large.npz'}"])
    with pytest.raises(Refused, match=r"trains for Jump\(fresh=1.0\) in 2 steps at t = 1, .*samples by .* in 3: make"):
        undiffuse.train(recipe, out=tmp_path / "other", overrides=["sampler.steps=3"])
