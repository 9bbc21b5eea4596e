"""Distribution matching: gradients in closed form, rollouts as in sampling, a game that moves whom it should."""

import math
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import players
import pytest
import tiny_run as tiny
import torch
from torch import Tensor, nn

from undiffuse import schedules
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
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

EDM = Gaussian(schedules.EDMSchedule())
M, C, A, B = 1.0, 0.5, 0.3, 0.4  # the teacher's data, and the student a z + b


@dataclass(frozen=True)
class At(TimeDistribution):
    """One noise level."""

    sigma: float

    def __call__(self, schedule: Schedule, random: Random, count: int) -> Tensor:
        return schedule.time(torch.tensor(-2 * math.log(self.sigma), dtype=torch.float64)).expand(count)


class Affine(nn.Module, Denoiser):
    """A student of one step: a z + b of the noise z = x / sigma."""

    jumps = "data"

    def __init__(self, a: float = A, b: float = B) -> None:
        super().__init__()
        self.process = EDM
        self.a, self.b = (nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (a, b))

    @property
    def predictor(self) -> Any:  # type: ignore[override]
        return self

    def forward(self, x: Tensor, t: Any, *, to: Any = None, **cond: Any) -> Normal:
        return Normal(self.a * x / self.process.schedule.sigma(torch.as_tensor(t, dtype=torch.float64)) + self.b)

    __call__ = nn.Module.__call__


class Exact(nn.Module, Denoiser):
    """What a perfect fake denoiser of the affine student says."""

    def __init__(self, student: Affine) -> None:
        super().__init__()
        self.process, self.student = EDM, student

    @property
    def predictor(self) -> Any:  # type: ignore[override]
        return self

    def forward(self, x: Tensor, t: Any, **cond: Any) -> Normal:
        a, b = self.student.a.item(), self.student.b.item()
        return GaussianOracle(EDM, b, a**2)(x, t)

    __call__ = nn.Module.__call__


def matching(method: Any, sigma: float, student: Affine) -> DistributionMatching:
    made = DistributionMatching(GaussianOracle(EDM, M, C**2), method, times=At(sigma))
    made._made[FAKE] = Exact(student)
    return made


def slopes(method: Any, sigma: float, a: float = A, b: float = B) -> tuple[float, float]:
    """d/da and d/db of what the gradient lowers, exactly: it is linear in the two draws, so that their signs do."""
    student = Affine(a, b)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 2)
    z, noise = signs[:, :1], signs[:, 1:]
    x = (a * z + b).detach()
    made, t = matching(method, sigma, student), At(sigma)(EDM.schedule, Random(0), 4)
    guesses = (each(x + sigma * noise, t).mean for each in (made.teacher, made.fake))
    g = made.gradient(x, next(guesses), None if method == "sds" else next(guesses), *EDM.schedule.at(t, x)) / sigma
    return float((g * z).mean()), float(g.mean())


@pytest.mark.parametrize(
    ("sigma", "vsd", "sds"),
    [
        (0.2, (-0.05092838, -0.08275862), 0.04137931),
        (1.0, (-0.03522936, -0.48), 0.24),
        (5.0, (-0.00189417, -0.59405941), 0.29702970),
    ],
)
def test_the_gradients_of_variational_and_plain_score_distillation_are_told_apart(
    sigma: float, vsd: tuple[float, float], sds: float
):
    """On a Gaussian the first is sigma^2 times that of KL(student || data), with noise; the second narrows a always."""
    assert slopes("vsd", sigma) == pytest.approx(vsd, abs=1e-8)
    assert slopes("sds", sigma) == pytest.approx((sds * A / 0.3, vsd[1]), abs=1e-8)
    assert slopes("vsd", sigma, C, M) == pytest.approx((0, 0), abs=1e-12)
    assert slopes("sds", sigma, C, M)[0] > 0


@pytest.mark.parametrize(("method", "scale"), [("vsd", 5.0), ("sds", 5.0), ("dmd", None)])
def test_the_loss_has_this_gradient(method: str, scale: float | None):
    student, batch, random = Affine(), Batch(torch.zeros(40_000, 1, dtype=torch.float64)), Random(3)
    made = matching(method, 5.0, student)
    loss = made.loss(student, batch, random).mean()
    found = [float(each) for each in torch.autograd.grad(loss, [student.a, student.b])]
    if scale is not None:
        expected = [scale * slope for slope in slopes(method, 5.0)]
        assert found == pytest.approx(expected, abs=0.1 if method == "vsd" else 0.05)
        return
    with torch.no_grad():  # each item's gradient over the mean of |x - D_real|
        x = made.drawn(student, batch, random.fold(0))
        x_t = EDM.marginal(x, made.times(EDM.schedule, random, len(x))).sample(random.fold(3))
        t = made.times(EDM.schedule, random, len(x))
        real, fake = made.teacher(x_t, t).mean, made.fake(x_t, t).mean
        g = (fake - real) / (x - real).abs()
    torch.testing.assert_close(loss.detach(), (g**2).mean() / 2)
    assert found[1] == pytest.approx(float(g.mean()))


def test_score_distillation_of_a_point_has_dreamfusions_gradient():
    """E_t[sigma^2 (eps_hat - eps)] = -.221811 at x = .2 for data N(1, .3^2), t even on (.02, .98)."""
    schedule = schedules.ContinuousCosine()
    process = Gaussian(schedule)
    t = torch.linspace(0.02, 0.98, 4001, dtype=torch.float64)
    t = (t[1:] + t[:-1]) / 2
    made = DistributionMatching(GaussianOracle(process, 1.0, 0.09), "sds")
    x = torch.full((len(t), 1), 0.2, dtype=torch.float64)
    noise = Random(0).normal((len(t), 1), dtype=torch.float64)
    alpha, sigma = schedule.at(t, x)
    exact = made.gradient(x, made.teacher(alpha * x, t).mean, None, alpha, sigma).mean()
    assert float(exact) == pytest.approx(-0.221811, abs=1e-6)
    drawn = made.gradient(x, made.teacher(alpha * x + sigma * noise, t).mean, None, alpha, sigma)
    assert float(drawn.mean()) == pytest.approx(-0.221811, abs=4 * float(drawn.std()) / math.sqrt(len(t)))


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


@pytest.mark.parametrize("steps", [1, 3])
def test_what_training_sees_is_what_sampling_sees(steps: int, teacher: Predictor, student: Predictor):
    """The samples are those of the sampler `jump` on the same times, stopped at a step that all items share."""
    made, batch = DistributionMatching(teacher, steps=steps), replace(BATCH, cond={})
    times, seen = made.rollout(EDM), set[int]()
    for seed in range(8):
        random, calls = Random(seed, torch.tensor([5, 3, 0, 9, 8, 2])), list[tuple[bool, float]]()
        hook = student.network.register_forward_pre_hook(
            lambda module, given, calls=calls: calls.append((torch.is_grad_enabled(), float(given[1][0])))
        )
        x = made.drawn(student, batch, random)
        hook.remove()
        assert [grad for grad, _ in calls] == [*[False] * (len(calls) - 1), True]
        last = len(calls) - 1
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
    moves = torch.optim.Adam(game.head.parameters(), lr=0.05)
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
        ({"teacher": players.denoiser(jumps="data")}, r"this one has jumps = 'data': take the run that it was distil"),
        ({"teacher": players.denoiser(schedule=schedules.EDMSchedule(50.0))}, "sigma_max=50.0.*, and the process here"),
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
    flat = Predictor(MLP(shape=(2,)), EDM, "edm")
    pupil = Predictor(MLP(shape=(2,)), EDM, "edm", "data")
    with pytest.raises(Refused, match="distribution_matching: the teacher's network, MLP, has no features to read"):
        DistributionMatching(flat, gan_weight=1.0).loss(pupil, Batch(torch.zeros(2, 2)), Random(0), player=FAKE)
