"""Consistency models: tables of the papers, exact functions of normal data, targets, and what is refused."""

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.networks.mlp import MLP
from undiffuse.objectives import ConsistencyObjective, EasyConsistency, ImprovedConsistency
from undiffuse.objectives.path_pair import PathPair
from undiffuse.samplers import Ancestral, Heun, Jump, ProbabilityFlow
from undiffuse.schedules import VP, EDMSchedule, FlowSchedule, LinearBeta

DOUBLE: dict[str, Any] = {"dtype": torch.float64}
EDM = Gaussian(EDMSchedule())
LEAST = 0.002
ONES = Batch(torch.ones(2, 2))


class Linear(Denoiser, nn.Module):
    """f(x, sigma) = factor(sigma) x, times a weight to have gradients of."""

    jumps = "data"

    def __init__(self, factor: Callable[[Tensor], Tensor], process: Gaussian = EDM) -> None:
        nn.Module.__init__(self)
        self.factor, self.process, self.weight = factor, process, nn.Parameter(torch.ones((), **DOUBLE))

    def forward(self, x_t: Tensor, t: Any, *, to: Any = None, **cond: Any) -> Normal:
        alpha, sigma = self.process.schedule.at(t, x_t)
        return Normal((self.weight * self.factor(sigma / alpha) / alpha * x_t.double()).to(x_t.dtype))

    __call__ = nn.Module.__call__


def exact(sigma: Tensor) -> Tensor:
    """The consistency function of N(0, .5^2) that leaves sigma = .002 as it is."""
    return ((0.25 + LEAST**2) / (0.25 + sigma**2)).sqrt()


def begun(objective: PathPair, steps: int, done: int = 0, model: Any = None) -> Any:
    objective.begin(Linear(exact) if model is None else model, steps)
    objective.state()["reached"].fill_(done)
    return objective


def test_levels_and_averages_grow_as_in_the_papers():
    counts = [begun(ConsistencyObjective(), 800_000, k) for k in (0, 100_000, 400_000, 800_000)]
    assert [each.levels for each in counts] == [2, 54, 107, 151]
    assert [each.mu for each in counts[::2]] == pytest.approx([0.9025, 0.9990326], abs=1e-6)
    assert counts[-1].mu == pytest.approx(0.9993161, abs=1e-6)
    distilled = [begun(ConsistencyObjective(first=40, last=40, decay=0.95), 600, k) for k in (0, 1, 599)]
    assert [(each.levels, each.mu) for each in distilled] == [(40, 0.95)] * 3
    doubled = [begun(ImprovedConsistency(), 400_000, k).levels for k in (0, 49_999, 50_000, 100_000, 399_999)]
    assert doubled == [11, 11, 21, 41, 1281]
    assert [begun(EasyConsistency(), 900, k).exponent for k in (0, 99, 100, 450, 899, 900)] == [0, 0, 1, 4, 8, 8]
    assert ImprovedConsistency().levels == 1281  # outside of a training


def test_levels_and_their_chances_are_those_of_the_papers():
    """Grid indices of the released code, and the discretised log-normal law of 11 levels."""
    forty, many = (80 * ConsistencyObjective().grid(EDM.schedule, n)[:-1] for n in (40, 201))
    assert [float(forty[i]) for i in (0, 17, 22, 39)] == pytest.approx([80, 4.36556168, 1.38236796, 0.002])
    assert float(many[106]) == pytest.approx(1.91284362)
    times = ImprovedConsistency().grid(EDM.schedule, 11)[:-1]
    wanted = [0.06263, 0.18174, 0.2455, 0.21349, 0.14245, 0.0806, 0.04108, 0.01958, 0.00894, 0.00398]
    chances = ImprovedConsistency().chances(EDM.schedule, times).flip(0)
    assert chances.tolist() == pytest.approx(wanted, abs=6e-6)
    t, s, boundary = begun(ImprovedConsistency(), 100).pairs(EDM.schedule, Random(0), 20_000)
    assert float(s.min()) == boundary == float(times[-1])
    shares = torch.stack([(t == time).double().mean() for time in times[:-1]]).flip(0)
    torch.testing.assert_close(shares, chances, rtol=0, atol=0.015)


def test_the_mean_of_the_log_levels_is_negative():
    """With the sign of +1.1, a mistake that has been made, hardly a pair is where the data still show."""
    times = ImprovedConsistency().grid(EDM.schedule, 81)[:-1]
    low = [
        float(ImprovedConsistency(mean=mean).chances(EDM.schedule, times)[80 * times[:-1] < 0.5].sum())
        for mean in (ImprovedConsistency().mean, 1.1)
    ]
    assert low[0] > 0.5
    assert low[1] < 0.25


def test_easy_consistency_begins_as_diffusion_and_comes_closer():
    sigma = torch.tensor([0.01, 0.5, 3.0, 80.0], **DOUBLE)
    ratio = (1 - (1 + 8 * torch.sigmoid(-sigma)) / 2**5).clamp(min=0)
    torch.testing.assert_close(begun(EasyConsistency(), 9, 5).earlier(sigma), sigma * ratio)
    first = begun(EasyConsistency(), 9)
    t, s, boundary = first.pairs(EDM.schedule, Random(0), 64)
    assert not s.any()
    assert boundary == 0
    batch, model = Batch(Random(1).normal((64, 3), **DOUBLE)), Linear(exact)
    x_t = EDM.marginal(batch.x, t).sample(Random(0).fold(0).fold(1))
    t = first.times(EDM.schedule, Random(0).fold(0), 64)
    x_t = EDM.marginal(batch.x, t).sample(Random(0).fold(1))
    error, c = (model(x_t, t).mean - batch.x).square().sum(1), 0.00054 * math.sqrt(3)
    torch.testing.assert_close(first.loss(model, batch, Random(0)), ((error + c**2).sqrt() - c) / (80 * t))


def test_the_exact_function_of_normal_data_is_consistent_and_samples_them():
    """f(x, 80) = .00624993 x; after one step the deviation is .49999423, after another at 1.38236796 .50000287."""
    assert float(exact(torch.tensor(80.0, **DOUBLE))) == pytest.approx(0.00624993, abs=1e-8)
    one = float(exact(torch.tensor(80.0, **DOUBLE))) * 80
    assert one == pytest.approx(0.49999423, abs=1e-8)
    middle = torch.tensor(1.38236796, **DOUBLE)
    assert float(exact(middle)) * math.sqrt(one**2 + float(middle) ** 2 - LEAST**2) == pytest.approx(
        0.50000287, abs=1e-7
    )
    times = torch.tensor([1.0, 1.38236796 / 80, 0.0], **DOUBLE)
    drawn = sample(Linear(exact), (20_000, 1), sampler=Jump(fresh=1.0), times=times)
    assert float(drawn.std()) == pytest.approx(0.5, abs=0.01)
    teacher = GaussianOracle(EDM, 0.0, 0.25)
    x = torch.full((40, 1), 3.0, **DOUBLE)
    fine = ConsistencyObjective().grid(EDM.schedule, 400)[:-1]
    for t, s in pairwise(fine):  # along a trajectory of the ODE f says where it ends
        before, x = x, Heun().step(teacher, x, t, s, random=Random(0))[0].mean
        torch.testing.assert_close(Linear(exact)(x, s).mean, Linear(exact)(before, t).mean, rtol=2e-5, atol=0)
    torch.testing.assert_close(x, Linear(exact)(torch.full((40, 1), 3.0, **DOUBLE), 1.0).mean, rtol=1e-4, atol=0)


@pytest.mark.parametrize("schedule", [EDMSchedule(), VP(), LinearBeta()], ids=lambda s: type(s).__name__)
@torch.no_grad()
def test_the_exact_function_has_no_loss_with_the_exact_teacher(schedule: Any):
    """By one step of Heun between close levels, on any schedule; without the teacher the noise of the data is left."""
    process, x = Gaussian(schedule), 0.5 * Random(3).normal((256, 2), **DOUBLE)
    low = float(schedule.log_snr(ConsistencyObjective().grid(schedule, 2)[-2]).mul(-0.5).exp())
    model = Linear(lambda sigma: ((0.25 + low**2) / (0.25 + sigma**2)).sqrt(), process)
    teacher, fixed = GaussianOracle(process, 0.0, 0.25), {"first": 200, "last": 200}
    distilled = ConsistencyObjective(teacher, **fixed).loss(model, Batch(x), Random(0))
    trained = ConsistencyObjective(**fixed).loss(model, Batch(x), Random(0))
    assert float(distilled.max()) < 1e-8
    assert float(trained.mean()) > 100 * float(distilled.mean())


def test_the_gradient_of_training_tends_to_that_of_distillation():
    """Of a linear function that is wrong, over the same pairs: the difference falls faster than the gradient."""
    x = 0.5 * Random(3).normal((60_000, 1), **DOUBLE)
    teacher, gaps = GaussianOracle(EDM, 0.0, 0.25), []
    for count in (10, 40, 160):
        fixed: dict[str, Any] = {"first": count, "last": count, "decay": 0.0}
        found: list[float] = []
        for objective in (ConsistencyObjective(teacher, **fixed), ConsistencyObjective(**fixed)):
            model = Linear(lambda sigma: 0.3 / (0.3 + sigma))
            loss = objective.loss(model, Batch(x), Random(0)).mean()
            found.append(float(torch.autograd.grad(loss, model.weight)[0]))
        gaps.append(abs(found[0] - found[1]) / abs(found[0]))
    assert gaps[0] > 3 * gaps[1] > 6 * gaps[2]


class Noisy(nn.Module):
    """A network with dropout that says what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []
        self.layer, self.dropout = nn.Linear(4, 4), nn.Dropout(0.5)

    def forward(self, x: Tensor, c_time: Tensor, **cond: Any) -> Tensor:
        dropped = self.dropout(torch.ones_like(x))
        self.seen.append(dropped)
        return self.layer(x) * dropped


@pytest.mark.parametrize("objective", [ConsistencyObjective(first=10), EasyConsistency(), ImprovedConsistency()])
def test_dropout_is_the_same_at_both_times(objective: Any):
    model = Predictor(Noisy(), EDM, "consistency", "data")
    before = torch.default_generator.get_state()
    for _ in range(2):
        objective.loss(model, Batch(torch.ones(8, 4)), Random(0))
    one, other, later, _ = model.network.seen  # type: ignore[misc]
    assert torch.equal(one, other)
    assert not torch.equal(one, later)
    assert not torch.equal(before, torch.default_generator.get_state())


def small(seed: int = 0, jumps: Any = "data", process: Gaussian = EDM, head: str = "edm", **options: Any) -> Predictor:
    torch.manual_seed(seed)
    return Predictor(MLP(shape=(2,), width=8, **options), process, head, jumps)


def test_the_boundary_is_exact_whatever_the_network_says():
    x, random = torch.randn(6, 2), Random(4)
    for head in ("edm", "data", "consistency"):
        objective = begun(ConsistencyObjective(first=2, last=2, decay=0.0), 10, model=small(head=head))
        seen = objective.loss(small(head=head), Batch(x), random)
        x_t, x_s = (EDM.marginal(x, t).sample(random.fold(1)) for t in (1.0, LEAST / 80))
        torch.testing.assert_close(seen, (small(head=head)(x_t, 1.0).mean - x_s).square().mean(1))
    torch.testing.assert_close(small(head="consistency")(x, LEAST / 80).mean, x, rtol=1e-6, atol=1e-7)
    assert torch.equal(small(head="edm")(x, 0.0).mean, x)


def test_an_averaged_target_follows_the_weights():
    model, objective = small(0), ConsistencyObjective(first=3, last=3, decay=0.8)
    objective.begin(model, 10)
    start = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
        objective.after(model, 1)
    state = objective.state()
    assert int(state["reached"]) == 1
    for name, value in start.items():
        torch.testing.assert_close(state[f"target.{name}"], value + 0.2)
    assert objective.target(model.eval()).training is False
    assert ConsistencyObjective(decay=0.0).target(model) is model


@pytest.mark.each(
    ("make", "message"),
    [
        (
            lambda: ConsistencyObjective(first=1),
            "consistency needs 2 <= first <= last levels and a decay from 0 to below",
        ),
        (lambda: ConsistencyObjective(first=9, last=8), "not 9, 8 and 0.9025"),
        (lambda: ConsistencyObjective(decay=1.0), "not 2, 151 and 1"),
        (lambda: ImprovedConsistency(first=0), "improved_consistency needs 1 <= first <= last pairs of levels"),
        (lambda: ImprovedConsistency(std=0.0), "a finite mean and std > 0, not 10, 1280, -1.1 and 0"),
        (lambda: ImprovedConsistency(huber=0.0), "improved_consistency needs huber > 0, .* not 0"),
        (lambda: EasyConsistency(huber=math.inf), "easy_consistency needs huber > 0, .* not inf"),
        (lambda: EasyConsistency(q=1.0), "easy_consistency needs q > 1, k >= 0 and b >= 0, not 1, 8 and 1"),
        (lambda: EasyConsistency(first=3, last=2), "easy_consistency needs 0 <= first <= last, not 3 and 2"),
        (
            lambda: begun(EasyConsistency(), 9, model=small(process=Gaussian(FlowSchedule()), head="flow")),
            "objective 'easy_consistency' needs finite noise levels, and schedule 'flow' leaves no signal at t = 1",
        ),
        (
            lambda: begun(EasyConsistency(small(jumps="data")), 9, model=small()),
            "the teacher is a consistency function, whose guess is where the path ends: take the run that it was made",
        ),
        (
            lambda: begun(EasyConsistency(small(jumps="none", process=Gaussian(EDMSchedule(5.0)))), 9, model=small()),
            r"the teacher's process is Gaussian\(schedule=EDMSchedule\(sigma_max=5.0\)\), and the student's",
        ),
        (
            lambda: begun(ConsistencyObjective(small(jumps="none"), ProbabilityFlow()), 9, model=small()),
            "solver 'probability_flow' takes one time for a whole batch: take heun",
        ),
        (
            lambda: ConsistencyObjective(GaussianOracle(EDM), Ancestral()).loss(
                small(), Batch(torch.ones(2, 2)), Random(0)
            ),
            "solver 'ancestral' draws noise, and a path has none: take heun",
        ),
        (
            lambda: begun(EasyConsistency(), 9, model=small(head="noise")),
            "easy_consistency takes a first step from noise, where a guess by parameterization 'noise' is 80 times",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], Any], message: str):
    with pytest.raises(Refused, match=message):
        make()
