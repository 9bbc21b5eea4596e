"""The identities and the floors of objectives that learn average velocities, on exact flow maps."""

from typing import Any

import pytest
import torch
from flow_maps import GaussianMap, MixtureMap
from torch import Tensor

from undiffuse.core import straight_path
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.objectives import MeanFlow, Shortcut
from undiffuse.schedules import VP, ContinuousCosine, EDMSchedule, FlowSchedule
from undiffuse.time_distributions.uniform import Uniform

SCHEDULES = [FlowSchedule(), VP(), EDMSchedule(), ContinuousCosine()]
X = Random(3).normal((5, 1), dtype=torch.float64)


def times(*places: float, schedule: Any) -> Tensor:
    return straight_path.time_of(schedule, torch.tensor(places, dtype=torch.float64))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_every_schedule_is_the_straight_path(schedule: Any):
    """z moves along its velocity: over a short piece to second order, over a long one by the average velocity."""
    exact = GaussianMap(schedule, 0.3)
    t, near, far = (times(*[place] * 5, schedule=schedule) for place in (0.6, 0.6 - 1e-5, 0.2))
    torch.testing.assert_close(straight_path.place(schedule, t), torch.full_like(t, 0.6), rtol=1e-9, atol=0)
    z = X / sum(schedule.at(t, X))
    for to, span in ((near, 1e-5), (far, 0.4)):
        moved = exact.moved(X, t, to) / sum(schedule.at(to, X))
        for end in (None, t) if to is near else (to,):
            u = straight_path.velocity(exact, X, t, end)
            torch.testing.assert_close((z - moved) / span, u, rtol=0, atol=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_identity_of_mean_flow(schedule: Any):
    """u + (tau - r) du/dtau = v for the exact map of anything, arXiv:2505.13447, eq. 6; so is a finite difference."""
    t, r = (times(*places, schedule=schedule) for places in ((0.9, 0.7, 0.5, 0.3, 0.2), (0.1, 0.5, 0.0, 0.2, 0.1)))
    span = (straight_path.place(schedule, t) - straight_path.place(schedule, r))[:, None]
    exact = GaussianMap(schedule, 0.3)
    v = straight_path.velocity(exact, X, t)
    methods: tuple[tuple[Any, float], ...] = (("forward", 1e-9), ("difference", 1e-5))
    for method, rounding in methods:
        rate = straight_path.velocity_rate(exact, X, t, r, v, {}, method)
        torch.testing.assert_close(straight_path.velocity(exact, X, t, r) + span * rate, v, rtol=0, atol=rounding)
    mixture = MixtureMap(schedule)
    v = straight_path.velocity(mixture, X, t)
    rate = straight_path.velocity_rate(mixture, X, t, r, v, {}, "difference")  # bisection has no derivative
    torch.testing.assert_close(straight_path.velocity(mixture, X, t, r) + span * rate, v, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("form", "t", "r", "floor"),
    [
        ("original", 1.0, 0.0, 0.0625),
        ("original", 0.5, 0.0, 0.64),
        ("original", 0.5, 0.25, 0.52),
        ("original", 0.8, 0.2, 0.11834320),
        ("improved", 1.0, 0.0, 0.25),
        ("improved", 0.8, 0.2, 0.384615),
        ("improved", 0.5, 0.0, 0.8),
        ("original", 0.5, 0.5, 0.8),
    ],
)
def test_the_floors_of_mean_flow(form: Any, t: float, r: float, floor: float):
    """What a perfect map loses on data N(0, 1/4), c^2 s_r^2/s_t^4 and c^2/s_t^2: the two are not comparable."""
    n = 20000
    exact = GaussianMap(FlowSchedule())
    pair = (torch.full((n,), each, dtype=torch.float64) for each in (t, r))
    loss = MeanFlow(form, power=0.0).between(*pair, exact, Batch(0.5 * Random(1).normal((n, 1))), Random(2))
    assert float(loss.mean()) == pytest.approx(floor, rel=0.04)  # the mean of n squares: 1 % is one deviation


def test_the_weight_of_mean_flow_is_of_the_whole_sample():
    exact, batch = GaussianMap(FlowSchedule()), Batch(Random(1).normal((6, 3)))
    plain = MeanFlow(power=0.0).loss(exact, batch, Random(2))
    weighted = MeanFlow(power=0.75, epsilon=1e-3).loss(exact, batch, Random(2))
    torch.testing.assert_close(weighted, plain / (plain + 1e-3) ** 0.75)
    assert MeanFlow(power=1.0).beside["flow_matching"] == MeanFlow(instant=1.0)


def test_the_laws_of_both_times():
    random, n = Random(0), 4000
    t, r = MeanFlow(times=Uniform(), instant=0.25).pair(FlowSchedule(), random, n)
    assert bool((r <= t).all())
    assert float((r == t).double().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(t[r < t].mean()) == pytest.approx(2 / 3, abs=0.02)  # the larger one of two
    t, r = MeanFlow(times=Uniform(), ends=Uniform(), instant=0.0).pair(FlowSchedule(), random, n)
    assert float(t.mean()) == pytest.approx(0.5, abs=0.02)
    assert float((r == t).double().mean()) == pytest.approx(0.5, abs=0.03)  # r is at most t


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_the_identity_of_shortcuts(schedule: Any):
    """A long jump is the mean of two halves, for the exact map of anything; at the shortest the halves are instants."""
    t, end = (times(*places, schedule=schedule) for places in ((0.9, 0.7, 0.5, 0.3, 0.2), (0.1, 0.5, 0.0, 0.2, 0.1)))
    never = torch.zeros(5, dtype=torch.bool)
    for exact in (GaussianMap(schedule, 0.3), MixtureMap(schedule)):
        found = Shortcut().halves(exact, X, t, end, never, {})
        torch.testing.assert_close(found, straight_path.velocity(exact, X, t, end), rtol=0, atol=1e-6)
    exact = GaussianMap(FlowSchedule())
    one, t, end = (
        torch.full(shape, each, dtype=torch.float64) for shape, each in (((1, 1), 1), ((1,), 0.75), ((1,), 0.25))
    )
    assert float(Shortcut().halves(exact, one, t, end, never[:1], {})) == pytest.approx(0.81450204, abs=1e-8)
    v = straight_path.velocity(exact, one, t)
    middle = torch.tensor([0.5], dtype=torch.float64)
    after = straight_path.velocity(exact, one - 0.25 * v, middle)
    torch.testing.assert_close(Shortcut().halves(exact, one, t, end, ~never[:1], {}), (v + after) / 2)


def test_shortcuts_start_and_end_on_the_grids_of_powers_of_two():
    schedule = EDMSchedule()
    t, end, shortest = Shortcut(finest=8, bootstrap=0.5).places(schedule, Random(0), 4000)
    whole = straight_path.place(schedule, torch.ones((), dtype=torch.float64))
    jumps = end < t
    start, stop = (straight_path.place(schedule, each[jumps]) / whole for each in (t, end))
    count = 1 / (start - stop)
    assert float(jumps.double().mean()) == pytest.approx(0.5, abs=0.03)
    assert sorted(set(count.round(decimals=6).tolist())) == [1, 2, 4]
    assert bool((shortest[jumps] == (count.round() == 4)).all())
    torch.testing.assert_close(start * count, (start * count).round(), rtol=0, atol=1e-6)


def test_the_floor_of_shortcuts_is_that_of_flow_matching_for_instants_alone():
    """The shortest of seven lengths lose a little by taking their halves for instants."""
    exact, batch = GaussianMap(FlowSchedule()), Batch(0.5 * Random(1).normal((4000, 1), dtype=torch.float64))
    loss = Shortcut(bootstrap=1.0).loss(exact, batch, Random(2)).sort().values
    assert float(loss[:3000].max()) < 1e-9
    assert float(loss.max()) < 2e-3
    assert float(Shortcut(bootstrap=0.0).loss(exact, batch, Random(2)).mean()) > 0.3


class Two(Denoiser):
    """Data N(1, 1/4) with the condition and N(0, 1/4) without; asked for `guidance`, it notes it."""

    jumps = "any"
    process: Any

    def __init__(self, guidance_input: tuple[float, float] | None = None) -> None:
        self.process, self.guidance_input = Gaussian(FlowSchedule()), guidance_input
        self.seen: list[Any] = []

    def __call__(self, x_t: Tensor, t: Any, *, to: Any = None, label: Any, drop: Any, guidance: Any = None) -> Normal:
        self.seen.append(guidance)
        told = GaussianOracle(self.process, 1.0, 0.25)(x_t, t).mean
        return Normal(torch.where(drop[:, None], GaussianOracle(self.process, 0.0, 0.25)(x_t, t).mean, told))


def test_guidance_inside_training():
    """The target (1-k) w v + k v_c + (1-k)(1-w) v_n has v_n + w (v_c - v_n) for its fixed point; dropped: v."""
    model, n = Two(), 4
    drop = torch.tensor([False, False, True, False])
    cond: dict[str, Any] = {"label": torch.zeros(n, dtype=torch.int64), "drop": drop}
    x, t = Random(0).normal((n, 1), dtype=torch.float64), torch.full((n,), 0.5, dtype=torch.float64)
    v_c = straight_path.velocity(model, x, t, **{**cond, "drop": torch.zeros(n, dtype=torch.bool)})
    v_n = straight_path.velocity(model, x, t, **{**cond, "drop": torch.ones(n, dtype=torch.bool)})
    v = Random(1).normal((n, 1), dtype=torch.float64)
    wide = drop[:, None]
    for mix, k in ((0.3, 0.3), (None, 1 - 1 / 3.0), (0.0, 0.0)):
        found = MeanFlow(guidance=3.0, mix=mix).guided(model, x, t, v, cond)
        wanted = (1 - k) * 3 * v + k * v_c + (1 - k) * (1 - 3) * v_n
        torch.testing.assert_close(found, torch.where(wide, v, wanted), rtol=0, atol=1e-14)
    assert MeanFlow().guided(model, x, t, v, cond) is v
    by_name = {**cond, "drop": {"label": drop}}
    torch.testing.assert_close(
        MeanFlow(guidance=3.0).guided(Two(), x, t, v, by_name | {"drop": drop}),
        torch.where(wide, v, v + (1 - 1 / 3.0) * (v_c - v_n)),
    )


def test_a_weight_that_is_an_input_is_drawn_and_told():
    model = Two((1.0, 8.0))
    cond = {"label": torch.zeros(500, dtype=torch.int64), "drop": torch.zeros(500, dtype=torch.bool)}
    MeanFlow(instant=1.0).loss(model, Batch(Random(0).normal((500, 1)), cond), Random(1))
    for weight in model.seen:
        assert 1 <= float(weight.min()) < 1.1
        assert 7 < float(weight.max()) <= 8
        assert float(weight.log().mean()) == pytest.approx(1.04, abs=0.1)  # half of log 8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MeanFlow(instant=2.0), r"mean_flow needs instant in \[0, 1\], power of 0 or more and epsilon above 0"),
        (lambda: MeanFlow(guidance=0.5), r"guidance of 1 or more and mix in \[0, 1\), not 0.5 and none"),
        (lambda: MeanFlow(mix=1.0), r"guidance of 1 or more and mix in \[0, 1\), not 1 and 1"),
        (lambda: Shortcut(finest=100), "a power of 2 as its finest number of steps, such as 128, not 100"),
        (lambda: Shortcut(bootstrap=-1.0), r"shortcut needs a bootstrap share in \[0, 1\], not -1"),
        (
            lambda: MeanFlow(guidance=2.0).loss(GaussianMap(FlowSchedule()), Batch(torch.zeros(2, 1)), Random(0)),
            "mean_flow with guidance needs a condition to guide to, and there is none: leave guidance at 1",
        ),
        *[
            (
                lambda each=each: each.loss(
                    GaussianMap(FlowSchedule()), Batch(torch.zeros(2, 1), mask=torch.ones(2, 1)), Random(0)
                ),
                "cannot leave padding out: take denoising",
            )
            for each in (MeanFlow(), Shortcut())
        ],
    ],
)
def test_meaningless_objectives_are_refused(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()
