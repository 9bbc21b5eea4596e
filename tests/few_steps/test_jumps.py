"""Denoisers that are told where a step goes: what their networks read, and what is refused."""

from functools import partial
from typing import Any

import pytest
import torch
from flow_maps import GaussianMap, MixtureMap, small
from torch import Tensor

from undiffuse.core import jumps, registry
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.function_denoiser import FunctionDenoiser
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.categorical import Categorical, mask
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.editing.interpolate import inverted
from undiffuse.guidance import Autoguidance, ClassifierFree, FixedConditions, MultiDiffusion, Threshold
from undiffuse.likelihood import ode
from undiffuse.networks.mlp import MLP
from undiffuse.samplers import DDIM, Adams, Jump
from undiffuse.schedules import VP, EDMSchedule, FlowSchedule, LogLinear

STUDENTS: tuple[tuple[jumps.Jumps, tuple[float, float] | None], ...] = (("none", None), ("any", (1.0, 8.0)))
X = Random(0).normal((6, 1))
T = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 1.0], dtype=torch.float64)


def labelled(guidance_input: tuple[float, float] | None = (0.5, 8.0)) -> Predictor:
    """A network with a label that jumps anywhere, and has something to say of all that it is told."""
    network = MLP(shape=(1,), classes=3, width=16, conditions=jumps.conditions("any", guidance_input))
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return Predictor(network, Gaussian(FlowSchedule()), "flow", "any", guidance_input)


@pytest.mark.parametrize("schedule", [FlowSchedule(), VP(), EDMSchedule()], ids=lambda s: type(s).__name__)
def test_what_tells_two_times_is_smooth_and_nothing_where_they_are_one(schedule: Any):
    found = jumps.pair_features(schedule, T, T / 2)
    assert found.shape == (6, jumps.PAIR)
    assert float(found.abs().max()) <= 2
    assert torch.equal(jumps.pair_features(schedule, T, T), torch.zeros(6, jumps.PAIR, dtype=torch.float64))
    near = jumps.pair_features(schedule, T * (1 - 1e-7), T / 2)
    torch.testing.assert_close(near, found, rtol=0, atol=1e-4)
    one = torch.ones((), dtype=torch.float64)
    assert float((jumps.pair_features(schedule, one, 0 * one) - jumps.pair_features(schedule, one, one)).norm()) > 1
    weights = torch.tensor([0.0, 1.0, 8.0], dtype=torch.float64)
    told = jumps.weight_features(weights)
    assert told.shape == (3, jumps.WEIGHT)
    assert float(told[1].abs().max()) < 1e-15
    assert float((told[0] - told[2]).norm()) > 1


def test_no_place_to_land_on_is_the_time_itself_and_no_weight_is_one():
    model = labelled()
    label = torch.tensor([0, 1, 2, 0, 1, 2])
    plain = model(X, T, label=label).mean
    for same in ({"to": T}, {"guidance": 1.0}, {"to": T, "guidance": torch.ones(6)}):
        assert torch.equal(model(X, T, label=label, **same).mean, plain)
    assert torch.equal(model(X, 0.5, to=0.5, label=label).mean, model(X, 0.5, label=label).mean)
    assert not torch.equal(model(X, T, label=label, to=T / 2).mean, plain)
    assert not torch.equal(model(X, T, label=label, guidance=3.0).mean, plain)
    one = torch.cat([model(X[i : i + 1], T[i], label=label[i : i + 1], to=T[i] / 2).mean for i in range(6)])
    torch.testing.assert_close(model(X, T, label=label, to=T / 2).mean, one)


def test_where_to_jump_and_the_weight_are_never_dropped():
    model = labelled()
    label, drop = torch.tensor([0, 1, 2, 0, 1, 2]), torch.ones(6, dtype=torch.bool)
    there = {"to": T / 2, "guidance": 3.0}
    null = model(X, T, **there).mean
    for hidden in (drop, {"label": drop}, {"label": drop, "to": drop, "guidance": drop}):
        assert torch.equal(model(X, T, label=label, drop=hidden, **there).mean, null)
    assert not torch.equal(model(X, T, label=label, **there).mean, null)


@pytest.mark.parametrize("name", ["mlp", "unet", "dit", "edm2_unet"])
def test_a_student_starts_as_its_teacher(name: str):
    """Its new layers are zero, whatever else they are in: a network says the same with and without them."""
    given: dict[str, Any] = {"channels": 2, "shape": (2, 4, 4), "size": 4, "classes": 3, "width": 8, "dimensions": 2}
    given |= {"patch": 2, "heads": 2, "depth": 1, "multipliers": (1,), "attention": (), "blocks": 1, "features": 2}
    x = Random(1).normal((6, 2, 4, 4))
    component = registry.get("networks", name)
    table = {key: value for key, value in given.items() if key in registry.fields(component)}
    teacher, student = (
        Predictor(component(**table, conditions=jumps.conditions(to, told)), Gaussian(FlowSchedule()), "flow", to, told)
        for to, told in STUDENTS
    )
    for i, weight in enumerate(teacher.parameters()):
        weight.data = Random(5).fold(i).normal((1, *weight.shape))[0] * 0.3
    missing = student.load_state_dict(teacher.state_dict(), strict=False)
    assert len(missing.missing_keys) == 4
    assert not missing.unexpected_keys
    label = torch.tensor([0, 1, 2, 0, 1, 2])
    with torch.no_grad():
        there = student.eval()(x, T, label=label, to=T / 2, guidance=4.0).mean
        torch.testing.assert_close(there, teacher.eval()(x, T, label=label).mean, rtol=0, atol=0)
        for key in missing.missing_keys:
            student.get_parameter(key).normal_(std=1e-4)
        near = student(x, T, label=label, to=T / 2, guidance=4.0).mean
    assert 0 < float((near - there).abs().max()) < 0.01  # and leaves it step by step


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: FixedConditions(model, guidance=torch.tensor([3.0])),
        lambda model: ClassifierFree(model, weight=2.0),
        lambda model: ClassifierFree(model, weight={"label": 2.0}),
        lambda model: ClassifierFree(model, weight=2.0, interval=(0.2, 3.0)),
        lambda model: Autoguidance(model, labelled(), 2.0),
        lambda model: Threshold(model, (-0.1, 0.1)),
        lambda model: MultiDiffusion(model, (1,)),
    ],
)
def test_guidance_passes_on_where_a_step_goes(wrap: Any):
    model = labelled()
    guided = wrap(model)
    assert guided.jumps == "any"
    assert guided.guidance_input == (0.5, 8.0)
    label = torch.tensor([0, 1, 2, 0, 1, 2])
    plain, there = guided(X, T, label=label).mean, guided(X, T, to=T / 2, label=label).mean
    assert not torch.equal(plain, there)
    assert torch.equal(guided(X, T, to=T, label=label).mean, plain)
    each = (torch.full_like(T, 0.5), torch.full_like(T, 0.2))
    at_once = guided(X, 0.5, to=0.2, label=label).mean
    torch.testing.assert_close(guided(X, each[0], to=each[1], label=label).mean, at_once)
    drawn = sample(guided, (6, 1), sampler=Jump(), steps=2, label=label)
    assert not torch.equal(drawn, sample(guided, (6, 1), sampler=DDIM(), steps=2, label=label))


def test_classifier_free_guidance_of_a_flow_map_is_of_its_jumps():
    model = labelled()
    label = torch.tensor([0, 1, 2, 0, 1, 2])
    with_it, without = model(X, T, to=T / 2, label=label).mean, model(X, T, to=T / 2).mean
    found = ClassifierFree(model, weight=3.0)(X, T, to=T / 2, label=label).mean
    torch.testing.assert_close(found, without + 3 * (with_it - without))


def test_the_default_sampler_is_the_one_for_what_the_model_guesses():
    exact = MixtureMap(VP())
    assert jumps.default_sampler(exact) == Jump()
    assert jumps.default_sampler(small(VP(), "velocity", "data")) == Jump(fresh=1.0)
    assert jumps.default_sampler(small(VP(), "velocity", "fixed")) == DDIM()
    assert jumps.default_sampler(small(VP(), "velocity", "none")) == Adams()
    assert torch.equal(sample(exact, (5, 1)), sample(exact, (5, 1), sampler=Jump(), steps=4))
    assert registry.build("samplers", {"name": "lcm"}) == registry.build("samplers", {"name": "renoise"}) == Jump(1.0)


class Ends(Denoiser):
    """The exact consistency function: where paths of Gaussian data end."""

    jumps = "data"

    def __init__(self) -> None:
        self.exact = GaussianMap(VP(), 0.3)
        self.process = self.exact.process

    def __call__(self, x_t: Tensor, t: Any, *, to: Any = None, **cond: Any) -> Normal:
        jumps.refuse(self.jumps, to)
        return self.exact(x_t, t, to=0.0)


def test_multistep_consistency_sampling_is_a_jump_with_fresh_noise():
    """x_s = alpha_s f(x_t) + sigma_s noise (arXiv:2303.01469, alg. 1), for a consistency function as for a flow map."""
    times = torch.tensor([1.0, 0.4, 0.0], dtype=torch.float64)
    ends, x = Ends(), Random(4).normal((3, 1), dtype=torch.float64)
    found = sample(ends, (3, 1), sampler=Jump(fresh=1.0), times=times, start=x, seed=7)
    alpha, sigma = VP().at(times[1], x)
    noise = Random(7).fold(0).normal((3, 1), dtype=torch.float64)
    middle = alpha * ends.exact.moved(x, 1.0, 0.0) + sigma * noise
    torch.testing.assert_close(found, ends.exact.moved(middle, 0.4, 0.0))
    torch.testing.assert_close(sample(ends.exact, (3, 1), sampler=Jump(fresh=1.0), times=times, start=x, seed=7), found)


def test_a_function_of_another_library_may_be_a_flow_map():
    exact = MixtureMap(FlowSchedule())

    def guess(x: Tensor, alpha: Tensor, sigma: Tensor, to: tuple[Tensor, Tensor]) -> Tensor:
        return exact(x, sigma[:, 0], to=to[1][:, 0]).mean

    model = FunctionDenoiser(guess, Gaussian(FlowSchedule()), jumps="any")
    x = Random(0).normal((4, 1), dtype=torch.float64)
    torch.testing.assert_close(model(x, 0.7, to=0.2).mean, exact(x, 0.7, to=0.2).mean)
    torch.testing.assert_close(model(x, 0.7).mean, exact(x, 0.7, to=0.7).mean)


def likelihood(kind: jumps.Jumps) -> None:
    ode(small(VP(), "velocity", kind), X.double())


FEW: tuple[jumps.Jumps, ...] = ("data", "fixed", "any")
ORDINARY = FunctionDenoiser(lambda x, alpha, sigma: x, Gaussian(VP()))


@pytest.mark.each(
    ("ask", "message"),
    [
        (lambda: small(VP(), jumps="none")(X, T, to=0.0), "was not trained to jump .denoiser.jumps = 'none'., so it"),
        (lambda: ORDINARY(X, T, to=0.0), "an ordinary denoiser, whose guess is the mean of the data"),
        (lambda: small(VP(), jumps="data")(X, T, to=T / 2), "it jumps to 0 alone, not to 0.5"),
        (lambda: small(VP())(X, T, guidance=2.0), r"guidance weight as an input \(denoiser.guidance_input\)"),
        (lambda: labelled()(X, T, guidance=-1.0), "guidance = -1: this model was trained with weights from 0.5 to 8"),
        (
            lambda: Predictor(torch.nn.Identity(), Categorical(LogLinear(), mask(3)), "subs", "any"),
            "jumps = 'any' is for values, and Categorical is tokens",
        ),
        (lambda: Jump(1.5), r"jump needs fresh in \[0, 1\], not 1.5"),
        (
            lambda: sample(ORDINARY, (2, 1), sampler=Jump(fresh=1.0)),
            (
                "renoise adds noise to the guess again, which is for consistency functions and flow maps, and this "
                "model is an ordinary denoiser, whose guess is the mean of the data: take ddim or ancestral"
            ),
        ),
        (
            lambda: sample(ORDINARY, (2, 1), sampler=Jump()),
            "jump with fresh = 0 needs a flow map, and this model is an ordinary denoiser",
        ),
        (
            lambda: sample(Ends(), (2, 1), sampler=Jump(0.5)),
            "jump with fresh = 0.5 needs .* consistency .*: take renoise",
        ),
        (
            lambda: sample(Ends(), (2, 1), sampler=DDIM()),
            (
                "ddim needs guesses that are means of the data, and this model is a consistency function, whose "
                "guess is where the path ends: take renoise"
            ),
        ),
        (
            lambda: sample(small(VP(), "velocity", "fixed"), (2, 1), sampler=Adams()),
            "adams needs guesses .* a student of one grid of times, .*: take ddim on the times that it was trained for",
        ),
        (
            lambda: inverted(Ends(), X, torch.tensor([1.0, 0.5, 0.0])),
            "the code of an item is found step by step backwards, and this model is a consistency function, .*teacher",
        ),
        *[
            (
                partial(likelihood, each),
                f"{jumps.NO_DENSITY[each][:30]}",
            )
            for each in FEW
        ],
    ],
)
def test_what_makes_no_sense_is_refused_by_name(ask: Any, message: str):
    with pytest.raises(Refused, match=message):
        ask()


def test_renoise_is_for_guesses_with_a_variance_too():
    """An exact posterior, averaged over, is exact: it need not be a consistency function."""
    assert sample(GaussianOracle(Gaussian(VP()), 0.3, 0.25), (2, 1), sampler=Jump(fresh=1.0)).isfinite().all()
