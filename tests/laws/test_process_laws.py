"""The one equation: a bridge averaged over q(x_t given x_0) has the law q(x_s given x_0), whatever it keeps of x_t."""

from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.distribution.normal import Normal
from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.errors import Refused
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.product import Product
from undiffuse.core.random import Random
from undiffuse.core.schedule import Schedule
from undiffuse.schedules import (
    VE,
    VP,
    ContinuousCosine,
    EDMSchedule,
    FlowSchedule,
    LinearBeta,
    LogLinear,
    TableSchedule,
)

BACK = [(0.1, 0.6), (0.35, 0.4), (0.5, 1.0), (0.0, 0.3), (0.0, 1.0)]  # s < t
ONWARD = [(0.6, 0.1), (0.4, 0.35), (1.0, 0.5), (0.3, 0.0), (1.0, 0.0)]
TIMES = [*BACK, *ONWARD, (0.4, 0.4), (0.0, 0.0), (1.0, 1.0)]
NOISES = {
    "uniform": uniform(4),
    "mask": mask(4),
    "arbitrary": (0.1, 0.2, 0.3, 0.4),
    "with a hole": (0.5, 0.0, 0.0, 0.5),
}
KEEPS = ["markov", "all", "half", "eta 0.3", "eta 1", "nothing"]


def keep_of(process: Any, name: str, s: Any, t: Any, like: Any) -> Any:
    return {
        "markov": lambda: None,
        "all": lambda: process.keep(s, t, like),
        "half": lambda: process.keep(s, t, like) / 2,
        "eta 0.3": lambda: process.keep(s, t, like, 0.3),
        "eta 1": lambda: process.keep(s, t, like, 1.0),
        "nothing": lambda: 0 * process.keep(s, t, like),
    }[name]()


def affine(
    process: Gaussian, x_0: float, s: float, t: float, keep: Tensor | None, var: float = 0.0
) -> tuple[float, float, float]:
    """The bridge is N(a + b x_t, v): a, b, v read off two values of x_t."""
    belief = process.bridge(
        torch.tensor([[0.0], [1.0]], dtype=torch.float64),
        Normal(torch.full((2, 1), x_0, dtype=torch.float64), var),
        s,
        t,
        keep,
    )
    v = torch.as_tensor(belief.var).expand(2, 1)
    assert float(v[0]) == float(v[1])
    return float(belief.mean[0]), float(belief.mean[1] - belief.mean[0]), float(v[0])


@pytest.mark.each("name", KEEPS)
def test_gaussian_bridge_keeps_the_marginals(schedule: Schedule, name: str):
    process, x_0 = Gaussian(schedule), 0.7
    for s, t in TIMES:
        like = torch.zeros(2, 1)
        a, b, v = affine(process, x_0, s, t, keep_of(process, name, s, t, like))
        (alpha_t, sigma_t), (alpha_s, sigma_s) = ((float(c) for c in schedule.at(u, like)) for u in (t, s))
        assert a + b * alpha_t * x_0 == pytest.approx(alpha_s * x_0, abs=1e-12 * max(1, sigma_t))
        assert b**2 * sigma_t**2 + v == pytest.approx(sigma_s**2, rel=1e-9, abs=1e-12)


@pytest.mark.each("schedule", [VP(), LinearBeta(), EDMSchedule(), FlowSchedule(), LogLinear()], ids=repr)
def test_forward_kernels_compose(schedule: Schedule):
    """keep = alpha_t / alpha_s on the way to noise: q(x_t given x_s),
    which after q(x_s given x_0) gives q(x_t given x_0).
    """
    process, x_0, s, t = Gaussian(schedule), 0.7, 0.3, 0.8
    like = torch.zeros(2, 1, dtype=torch.float64)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (schedule.at(u, like) for u in (t, s))
    a, b, v = affine(process, 123.0, t, s, alpha_t / alpha_s)  # going from s to t; x_0 is not looked at
    assert a == pytest.approx(0, abs=1e-9)
    assert b * float(alpha_s) * x_0 == pytest.approx(float(alpha_t) * x_0, rel=1e-12)
    assert b**2 * float(sigma_s) ** 2 + v == pytest.approx(float(sigma_t) ** 2, rel=1e-9)
    assert v == pytest.approx(float(process.kernel_variance(s, t, like)), rel=1e-9)


def test_markov_bridge_is_bayes_rule(schedule: Schedule):
    """q(x_s given x_t, x_0) = q(x_t given x_s) q(x_s given x_0) / q(x_t given x_0), as log-densities."""
    process = Gaussian(schedule)
    s, t = 0.4, 0.7
    x_0, x_s, x_t = (torch.tensor([[v]], dtype=torch.float64) for v in (0.3, -0.2, 0.5))
    (alpha_t, _), (alpha_s, _) = (schedule.at(u, x_0) for u in (t, s))
    forward = Normal(alpha_t / alpha_s * x_s, process.kernel_variance(s, t, x_s))
    wanted = forward.log_prob(x_t) + process.marginal(x_0, s).log_prob(x_s) - process.marginal(x_0, t).log_prob(x_t)
    torch.testing.assert_close(
        process.bridge(x_t, process.point(x_0), s, t).log_prob(x_s), wanted, rtol=1e-7, atol=1e-7
    )


def test_a_belief_with_a_variance_widens_the_bridge_by_its_pull(schedule: Schedule):
    process = Gaussian(schedule)
    for s, t in BACK[:3]:
        keep = process.keep(s, t, torch.zeros(2, 1), 0.5)
        a, b, v = affine(process, 0.7, s, t, keep)
        a_2, b_2, v_2 = affine(process, 0.7, s, t, keep, var=2.0)
        (alpha_t, _), (alpha_s, _) = (schedule.at(u, torch.zeros(2, 1)) for u in (t, s))
        assert (a, b) == (a_2, b_2)
        assert v_2 - v == pytest.approx(2 * float(alpha_s - keep * alpha_t) ** 2, rel=1e-6, abs=1e-9)


def test_eta_runs_from_no_noise_to_the_markov_reverse(schedule: Schedule):
    process = Gaussian(schedule)
    fresh = [
        affine(process, 0.7, 0.3, 0.6, process.keep(0.3, 0.6, torch.zeros(2, 1), eta))[2] for eta in (0.0, 0.5, 1.0)
    ]
    markov = affine(process, 0.7, 0.3, 0.6, None)[2]
    assert fresh[0] == 0
    assert fresh[1] == pytest.approx(markov / 4, rel=1e-9)  # the paper's eta multiplies the standard deviation
    assert fresh[2] == pytest.approx(markov, rel=1e-9)


def test_the_bridge_to_where_one_is_changes_nothing_and_to_data_gives_the_guess(schedule: Schedule):
    process = Gaussian(schedule)
    x_t, guess = Random(0).normal((3, 2), dtype=torch.float64), Normal(Random(1).normal((3, 2), dtype=torch.float64))
    for keep in (None, process.keep(0.4, 0.4, x_t), process.keep(0.4, 0.4, x_t, 1.0)):
        same = process.bridge(x_t, guess, 0.4, 0.4, keep)
        torch.testing.assert_close(same.mean, x_t)
        assert float(torch.as_tensor(same.var).max()) == 0
    for t in (0.4, 1.0):
        data = process.bridge(x_t, guess, 0.0, t)
        assert torch.equal(data.mean, guess.mean)
        assert float(torch.as_tensor(data.var).max()) == 0


def test_from_data_the_bridge_is_the_marginal(schedule: Schedule):
    """t = 0, where x_t = x_0: one equation is q(x_s given x_0) too."""
    process = Gaussian(schedule)
    x_0 = Random(0).normal((3, 2), dtype=torch.float64)
    for keep in (process.keep(0.6, 0.0, x_0), torch.tensor(0.0)):
        belief, marginal = process.bridge(x_0, process.point(x_0), 0.6, 0.0, keep), process.marginal(x_0, 0.6)
        torch.testing.assert_close(belief.mean, marginal.mean)
        torch.testing.assert_close(torch.as_tensor(belief.var).expand(3, 2), torch.as_tensor(marginal.var).expand(3, 2))


def test_times_may_differ_between_the_samples_of_a_batch(schedule: Schedule):
    process = Gaussian(schedule)
    s, t = torch.tensor([0.1, 0.2, 0.0]), torch.tensor([0.3, 0.9, 0.5])
    x_t, guess = Random(0).normal((3, 2, 2), dtype=torch.float64), Random(1).normal((3, 2, 2), dtype=torch.float64)
    for name in KEEPS:
        together = process.bridge(x_t, Normal(guess), s, t, keep_of(process, name, s, t, x_t))
        for i in range(3):
            row = slice(i, i + 1)
            alone = process.bridge(
                x_t[row], Normal(guess[row]), s[i], t[i], keep_of(process, name, s[i], t[i], x_t[row])
            )
            torch.testing.assert_close(together.mean[row], alone.mean, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(
                torch.as_tensor(together.var)[row].flatten(),
                torch.as_tensor(alone.var).flatten(),
                rtol=1e-9,
                atol=1e-12,
            )


def test_float32_samples_stay_float32(schedule: Schedule):
    process = Gaussian(schedule)
    x = torch.ones(2, 3)
    for belief in (process.marginal(x, 0.5), process.bridge(x, process.point(x), 0.2, 0.5), process.prior((2, 3))):
        assert belief.mean.dtype == torch.float32
        assert belief.sample(Random(0)).dtype == torch.float32


def test_velocity_is_the_slope_of_the_path(schedule: Schedule):
    """d/dt (alpha x_0 + sigma noise), by differences."""
    process = Gaussian(schedule)
    x_0, noise = (
        torch.tensor([[0.7, -0.3]] * 2, dtype=torch.float64),
        torch.tensor([[0.2, 1.4]] * 2, dtype=torch.float64),
    )
    t, step = torch.tensor([0.25, 0.61], dtype=torch.float64), 1e-7

    def path(u: Tensor) -> Tensor:
        alpha, sigma = schedule.at(u, x_0)
        return alpha * x_0 + sigma * noise

    wanted = (path(t + step) - path(t)) / step
    torch.testing.assert_close(process.velocity(path(t), Normal(x_0), t), wanted, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(
            process.velocity(path(t)[:1], Normal(x_0[:1]), t[0]), wanted[:1], rtol=1e-4, atol=1e-4
        )


@pytest.mark.each(("s", "t"), [*ONWARD, (0.4, 0.4)])
def test_towards_noise_the_markov_bridge_is_the_forward_kernel_and_the_guess_has_no_say(
    schedule: Schedule, s: float, t: float
):
    """q(x_s given x_t), which over x_t in q(x_t given x_0) leads to q(x_s given x_0): N(a x_t, sigma_s^2 - a^2
    sigma_t^2) with a = alpha_s/alpha_t, and a onehot(x_t) + (1 - a) noise.
    """
    x, far = Random(0).normal((3, 1), dtype=torch.float64), Normal(torch.full((3, 1), 50.0), 7.0)
    (alpha_s, sigma_s), (alpha_t, sigma_t) = (schedule.at(u, x) for u in (s, t))
    a = alpha_s / alpha_t
    for keep in (None, Gaussian(schedule).keep(s, t, x, eta=1.0)):
        found = Gaussian(schedule).bridge(x, far, s, t, keep)
        torch.testing.assert_close(found.mean, a * x, rtol=1e-9, atol=1e-9)
        wanted = (sigma_s**2 - a**2 * sigma_t**2).expand(3, 1)
        torch.testing.assert_close(torch.as_tensor(found.var).expand(3, 1), wanted, rtol=1e-6, atol=1e-9)
    if float(schedule.alpha(torch.tensor(1.0))) > 0.5:
        return  # no schedule of tokens
    for noise in NOISES.values():
        process, here = Categorical(schedule, noise), every_token(4)
        guess = Tokens(torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log().expand(4, 1, 4))
        kernel = a * torch.eye(4, dtype=torch.float64) + (1 - a) * torch.tensor(noise, dtype=torch.float64)
        for keep in (None, process.keep(s, t, here), process.keep(s, t, here, eta=1.0)):
            moves = process.bridge(here, guess, s, t, keep).mean[:, 0]
            torch.testing.assert_close(moves, kernel, rtol=0, atol=1e-9)


def test_too_large_a_keep_is_refused():
    x = torch.zeros(2, 1)
    with pytest.raises(
        ValueError, match="keep is larger than sigma_s/sigma_t: the bridge would need a negative variance"
    ):
        Gaussian(VP()).bridge(x, Normal(x), 0.2, 0.5, torch.tensor(0.9))
    tokens = torch.zeros(2, 1, dtype=torch.long)
    process = Categorical(FlowSchedule(), uniform(2))
    with pytest.raises(ValueError, match="keep is too large: the bridge would need a negative probability"):
        process.bridge(tokens, process.point(tokens), 0.2, 0.5, torch.tensor(0.9))


def test_the_prior_is_drawn_in_float32_with_the_schedules_width():
    for schedule, t, std in (
        (VP(), 1.0, 1.0),
        (EDMSchedule(), 1.0, 80.0),
        (EDMSchedule(), 0.5, 40.0),
        (FlowSchedule(), 1.0, 1.0),
        (VE(), 1.0, 50.0),
    ):
        draws = Gaussian(schedule).prior((200, 50), t).sample(Random(0))
        assert draws.dtype == torch.float32
        assert float(draws.std()) == pytest.approx(std, rel=0.03)
        assert float(draws.mean()) == pytest.approx(0, abs=0.05 * std)


# Tokens: every sum is over all of the vocabulary, so the law holds to rounding.


def every_token(size: int) -> Tensor:
    return torch.arange(size)[:, None]  # (size, 1): a batch that holds each token once


@pytest.mark.each("noise", NOISES.values(), ids=NOISES.keys())
@pytest.mark.each(
    "schedule",
    [LogLinear(), ContinuousCosine(), TableSchedule(betas=(0.1, 0.3, 0.9))],
    ids=lambda s: type(s).__name__,
)
@pytest.mark.each("name", KEEPS)
def test_categorical_bridge_keeps_the_marginals(noise: tuple[float, ...], schedule: Schedule, name: str):
    process, size = Categorical(schedule, noise), 4
    x_0, here = every_token(size).repeat_interleave(size, 0), every_token(size).repeat(size, 1)  # every pair (x_0, x_t)
    for s, t in TIMES:
        at_t = process.marginal(every_token(size), t).mean[:, 0]  # q(x_t given x_0)
        moves = process.bridge(here, process.point(x_0), s, t, keep_of(process, name, s, t, here)).mean
        moves = moves.reshape(size, size, size)  # (x_0, x_t, x_s)
        torch.testing.assert_close(moves.sum(-1), torch.ones_like(moves[..., 0]), rtol=0, atol=1e-12)
        wanted = process.marginal(every_token(size), s).mean[:, 0]
        torch.testing.assert_close((at_t[:, None] @ moves)[:, 0], wanted, rtol=0, atol=1e-12)


@pytest.mark.each("noise", NOISES.values(), ids=NOISES.keys())
def test_the_markov_bridge_of_tokens_is_bayes_rule(noise: tuple[float, ...]):
    """Over all (x_s, x_t): q(x_t given x_s) q(x_s given x_0) / q(x_t given x_0),
    and averaged over a belief about x_0.
    """
    process, size, s, t = Categorical(LogLinear(), noise), 4, 0.3, 0.8
    alpha_s, alpha_t = (float(process.schedule.alpha(torch.tensor(u, dtype=torch.float64))) for u in (s, t))
    eye, vector = torch.eye(size, dtype=torch.float64), torch.tensor(noise, dtype=torch.float64)
    kernel = alpha_t / alpha_s * eye + (1 - alpha_t / alpha_s) * vector  # (x_s, x_t)
    at_s, at_t = (a * eye + (1 - a) * vector for a in (alpha_s, alpha_t))  # (x_0, .)
    belief = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    for x_t in range(size):
        possible = belief * (at_t[:, x_t] > 0)
        if not bool(possible.sum() > 0):
            continue
        possible = possible / possible.sum()
        posterior = torch.where(
            at_t[:, x_t, None] > 0, kernel[None, :, x_t] * at_s / at_t[:, x_t, None], 0.0
        )  # (x_0, x_s)
        got = process.bridge(torch.tensor([[x_t]]), Tokens(belief.log()[None, None]), s, t).mean[0, 0]
        weighed = (belief / at_t[:, x_t].clamp(min=1e-300) * (at_t[:, x_t] > 0)) @ (kernel[None, :, x_t] * at_s)
        torch.testing.assert_close(got, weighed / weighed.sum(), rtol=0, atol=1e-12)
        for x_0 in range(size):
            if at_t[x_0, x_t] > 0:
                sure = process.bridge(torch.tensor([[x_t]]), process.point(torch.tensor([[x_0]])), s, t).mean[0, 0]
                torch.testing.assert_close(sure, posterior[x_0], rtol=0, atol=1e-12)


def test_masked_tokens_are_revealed_and_stay():
    """With the mask as noise and no fresh noise a revealed token never changes (arXiv:2406.07524, eq. 6)."""
    process, s, t = Categorical(LogLinear(floor=0.0), mask(3)), 0.3, 0.6
    belief = Tokens(torch.tensor([[[0.7, 0.3, 0.0]], [[0.0, 1.0, 0.0]]], dtype=torch.float64).log())
    x_t = torch.tensor([[2], [1]])
    for keep in (None, process.keep(s, t, x_t)):
        probs = process.bridge(x_t, belief, s, t, keep).mean[:, 0]
        torch.testing.assert_close(probs[0], torch.tensor([0.35, 0.15, 0.5], dtype=torch.float64), rtol=0, atol=1e-12)
        torch.testing.assert_close(probs[1], torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), rtol=0, atol=1e-12)


def test_times_may_differ_between_sequences():
    process = Categorical(LinearBeta(), (0.1, 0.2, 0.7))
    s, t = torch.tensor([0.1, 0.9, 0.0]), torch.tensor([0.3, 0.2, 0.5])
    x_t = Random(0).integers(3, (3, 4))
    guess = Random(1).normal((3, 4, 3), dtype=torch.float64).log_softmax(-1)
    for name in KEEPS:
        together = process.bridge(x_t, Tokens(guess), s, t, keep_of(process, name, s, t, x_t))
        for i in range(3):
            row = slice(i, i + 1)
            alone = process.bridge(
                x_t[row], Tokens(guess[row]), s[i], t[i], keep_of(process, name, s[i], t[i], x_t[row])
            )
            torch.testing.assert_close(together.mean[row], alone.mean, rtol=0, atol=1e-12)


@pytest.mark.each(
    ("make", "message"),
    [
        (
            lambda: Categorical(FlowSchedule(), (0.5, 0.6)),
            "a noise vector needs 2 or more probabilities that sum to 1; these 2 sum to 1.1",
        ),
        (
            lambda: Categorical(FlowSchedule(), (1.5, -0.5)),
            "a noise vector needs 2 or more probabilities that sum to 1",
        ),
        (
            lambda: Categorical(FlowSchedule(), (1.0,)),
            "a noise vector needs 2 or more probabilities that sum to 1; these 1 sum to 1",
        ),
        (
            lambda: Categorical(EDMSchedule(), uniform(2)),
            r"EDMSchedule\(sigma_max=80.0\) keeps the signal; tokens need a schedule whose alpha falls",
        ),
        (
            lambda: Categorical(FlowSchedule(), uniform(2)).point(torch.tensor([[2]])),
            r"tokens must be integers 0 ... 1; got torch.int64 from 2 to 2",
        ),
        (
            lambda: Categorical(FlowSchedule(), uniform(2)).point(torch.tensor([[0.5]])),
            r"tokens must be integers 0 ... 1; got torch.float32 from 0.5 to 0.5",
        ),
        (lambda: Product({}), "a product needs at least one named part"),
    ],
)
def test_meaningless_processes_are_refused(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()


# Several parts at once.
