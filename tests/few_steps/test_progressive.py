"""Progressive distillation: its exact target, weights and times, phases that halve, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from flow_maps import MixtureMap, distance, small, train
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.grid import Grid
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.core.schedule import Schedule
from undiffuse.grids import Angle, Even, Karras
from undiffuse.networks.mlp import MLP
from undiffuse.objectives.progressive import Progressive, two_steps
from undiffuse.samplers import DDIM
from undiffuse.schedules import VP, ContinuousCosine, EDMSchedule, FlowSchedule, LinearBeta

DOUBLE: dict[str, Any] = {"dtype": torch.float64}
COSINE = Gaussian(ContinuousCosine())
SCHEDULES = [ContinuousCosine(), EDMSchedule(), FlowSchedule(), VP(), LinearBeta()]
X = Random(0).normal((64, 1), dtype=torch.float64)


class Linear(Denoiser):
    """guess = gain x_t + shift, a pair of numbers at each of some times; it is its own trained network."""

    def __init__(self, process: Gaussian, known: dict[float, tuple[Tensor, Tensor]]) -> None:
        self.process, self.known = process, known

    def __call__(self, x_t: Tensor, t: Tensor | float, *, to: Any = None, **cond: Any) -> Normal:
        at = [self.known[round(float(each), 9)] for each in torch.as_tensor(t).expand(len(x_t))]
        gain, shift = (torch.stack([pair[i] for pair in at]).reshape(-1, 1) for i in range(2))
        return Normal(gain * x_t + shift)


class Curved(Denoiser):
    """A teacher whose guess is no posterior's mean: any will do."""

    def __init__(self, process: Gaussian) -> None:
        self.process = process

    def __call__(self, x_t: Tensor, t: Tensor | float, *, to: Any = None, **cond: Any) -> Normal:
        return Normal((3 * x_t).sin() + 0.3 * x_t**2, 0.1)


class Says(Denoiser):
    """A student that guesses what it is told to."""

    def __init__(self, process: Gaussian, guess: Tensor) -> None:
        self.process, self.guess = process, guess

    def __call__(self, x_t: Tensor, t: Tensor | float, *, to: Any = None, **cond: Any) -> Normal:
        return Normal(self.guess)


def step(denoiser: Denoiser, x_t: Tensor, t: Tensor, s: Tensor) -> Tensor:
    return DDIM().step(denoiser, x_t, t, s, random=Random(0))[0].sample(Random(0))


def test_the_target_has_the_numbers_of_the_paper():
    """alpha = cos(pi t / 2), data N(0, .5^2), x_t = 1.3 at t = .75, N = 4."""
    teacher, x = GaussianOracle(COSINE, 0.0, 0.25), torch.tensor([[1.3]], **DOUBLE)
    t, middle, end = (torch.tensor(time, **DOUBLE) for time in (0.75, 0.625, 0.5))
    assert float(teacher(x, t).mean) == pytest.approx(0.13971804, abs=1e-8)
    assert float(step(teacher, step(teacher, x, t, middle), middle, end)) == pytest.approx(1.07093163, abs=1e-8)
    assert float(two_steps(teacher, x, t, middle, end)) == pytest.approx(0.18337088, abs=1e-8)
    edge = [torch.tensor(time, **DOUBLE) for time in (0.25, 0.125, 0.0)]  # the last step of N = 4 lands on data
    assert float(two_steps(teacher, x, *edge)) == pytest.approx(0.95785202, abs=1e-8)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=registry.name_of)
def test_one_step_by_the_target_is_two_steps_by_any_teacher(schedule: Schedule):
    process = Gaussian(schedule)
    teacher = Curved(process)
    for t, middle, end in zip(*(Angle(0.5)(schedule, 8)[i::2] for i in range(3)), strict=False):
        x = X * schedule.sigma(t)
        wanted = step(teacher, step(teacher, x, t, middle), middle, end)
        target = two_steps(teacher, x, t, middle, end)
        torch.testing.assert_close(step(Says(process, target), x, t, end), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=registry.name_of)
def test_the_default_grid_halves_and_is_the_papers_on_its_schedule(schedule: Schedule):
    for grid in (Angle(), Angle(0.3)):
        for steps in (1, 2, 4, 16):
            torch.testing.assert_close(grid(schedule, 2 * steps)[::2], grid(schedule, steps), rtol=0, atol=1e-12)
    torch.testing.assert_close(Angle()(COSINE.schedule, 8), Even()(COSINE.schedule, 8), rtol=0, atol=1e-12)
    with pytest.raises(Refused, match="angle needs data_std > 0, not -1"):
        Angle(-1.0)


@pytest.mark.parametrize(
    ("weighting", "wanted"), [("truncated_snr", (39.86346, 1.0, 1.0)), ("snr_plus_one", (40.86346, 2.0, 1.02509))]
)
def test_the_weights_are_the_papers(weighting: Any, wanted: tuple[float, ...]):
    """SNR 39.86346, 1 and .02509 at t = .1, .5 and .9."""
    for t, weight in zip((0.1, 0.5, 0.9), wanted, strict=True):

        class One(Grid):
            time: float = t

            def __call__(self, schedule: Schedule, steps: int) -> Tensor:
                return torch.tensor([self.time, 0.5 * self.time, 0.0], **DOUBLE)

        objective = Progressive(Says(COSINE, torch.zeros(64, 1, **DOUBLE)), 1, 1, One(), weighting)
        loss = objective.loss(Says(COSINE, torch.full((64, 1), 0.5, **DOUBLE)), Batch(X), Random(0))
        torch.testing.assert_close(loss, torch.full((64,), 0.25 * weight, **DOUBLE), rtol=1e-5, atol=0)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=registry.name_of)
def test_linear_students_end_where_the_teacher_does(schedule: Schedule):
    """On Gaussian data a linear family has a student without loss, in every phase, down to one step."""
    process, grid, objective = Gaussian(schedule), Angle(0.5), None
    teacher: Denoiser = GaussianOracle(process, 0.7, 0.25)
    start = process.prior((64, 1), 1.0).sample(Random(1)).double()
    wanted = sample(teacher, (64, 1), sampler=DDIM(), times=grid(schedule, 16), start=start)
    for count in (8, 4, 2, 1):
        known: dict[float, tuple[Tensor, Tensor]] = {}
        times = grid(schedule, 2 * count)
        for t, middle, end in zip(times[:-1:2], times[1::2], times[2::2], strict=True):
            zero, one = two_steps(teacher, torch.tensor([[0.0], [1.0]], **DOUBLE), t, middle, end)
            known[round(float(t), 9)] = (one - zero, zero)
        student, objective = Linear(process, known), Progressive(teacher, count, count, grid)
        losses = objective.loss(student, Batch(0.7 + 0.5 * X), Random(2))
        assert float(losses.max()) < 1e-20
        found = sample(student, (64, 1), sampler=DDIM(), times=grid(schedule, count), start=start)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12 * float(schedule.sigma(torch.ones(()))))
        teacher = student


def predictor(seed: int = 0, process: Gaussian | None = None, head: str = "velocity", **options: Any) -> Predictor:
    torch.manual_seed(seed)
    made = Predictor(MLP(shape=(2,), width=8, depth=1), process or COSINE, head, **options)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return made


class Apart(Denoiser):
    """A denoiser with declarations of its own."""

    def __init__(self, **said: Any) -> None:
        self.process = COSINE
        for name, value in said.items():
            setattr(self, name, value)

    def __call__(self, x_t: Tensor, t: Tensor | float, *, to: Any = None, **cond: Any) -> Normal:
        return Normal(x_t)


ONE = tuple(Angle()(COSINE.schedule, 4).tolist())


@pytest.mark.each(
    ("make", "message"),
    [
        (
            lambda: Progressive(predictor(), 6, 4),
            "first is 1, 2, 4, 8 ... times last, and last at least 1, not 6 and 4",
        ),
        (lambda: Progressive(predictor(), 4, 0), "not 4 and 0"),
        (lambda: Progressive(predictor(), 2, 4), "not 2 and 4"),
        (
            lambda: Progressive(predictor(), 4, 1, lengths=(1.0,)),
            "3 phases here, of 4, 2, 1 steps: lengths are as many",
        ),
        (lambda: Progressive(predictor(), 4, 4, Karras()).begin(predictor(), 9), "karras is none: take angle or even"),
        (
            lambda: Progressive(predictor(), 4).begin(predictor(0, Gaussian(VP())), 9),
            "the teacher's process is Gaussian.*a student has that of its teacher",
        ),
        (
            lambda: Progressive(Apart(jumps="data")).begin(predictor(), 9),
            "the teacher is a consistency function, whose",
        ),
        (
            lambda: Progressive(Apart(jumps="fixed", jump_times=ONE), 4).begin(predictor(), 9),
            "a student of one grid of times, .* of 4 steps, and its first student is to have 4 on grid angle: half as",
        ),
        (
            lambda: Progressive(Apart()).begin(predictor(0, Gaussian(LinearBeta()), "noise"), 9),
            "a first step from noise, where a guess by parameterization 'noise' is 157 times as wrong",
        ),
    ],
)
def test_what_cannot_be_distilled_is_refused(make: Callable[[], Any], message: str):
    with pytest.raises(Refused, match=message):
        make()


def test_a_student_of_a_student_goes_on_halving():
    Progressive(Apart(jumps="fixed", jump_times=ONE), 2, 1).begin(predictor(), 9)


def test_a_student_takes_its_own_times_alone():
    student = predictor(jumps="fixed", jump_times=ONE)
    assert sample(student, (3, 2)).shape == (3, 2)
    assert torch.equal(sample(student, (3, 2)), sample(student, (3, 2), times=torch.tensor(ONE)))
    sample(student, (3, 2), times=torch.tensor(ONE[1:]), start=torch.zeros(3, 2))  # the rest of the way, as edits do
    wrongs: list[dict[str, Any]] = [{"steps": 8}, {"steps": 2}, {"times": torch.tensor([1.0, 0.4, 0.3, 0.2, 0.0])}]
    for wrong in wrongs:
        with pytest.raises(
            Refused, match=r"trained for 4 steps on one grid, 1, 0.75, 0.5, 0.25, 0, and takes no other"
        ):
            sample(student, (3, 2), **wrong)
    with pytest.raises(Refused, match="ddim with eta = 1 adds noise, and this model is a student of one grid"):
        sample(student, (3, 2), sampler=DDIM(1.0))


def test_a_student_of_one_step_reaches_the_exact_map_of_a_mixture():
    """A small network in six phases, by the exact denoiser: to .05 of the data's deviation."""
    exact = MixtureMap(COSINE.schedule)
    objective = Progressive(exact.denoiser, 32, 1)
    student = train(small(COSINE.schedule, "velocity", "fixed"), objective, exact, steps=400, batch=192, lr=4e-3)
    assert objective.steps == 1
    assert distance(student, exact) < 0.05
