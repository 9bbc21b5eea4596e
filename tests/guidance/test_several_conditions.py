"""Guidance to several conditions: each by its own weight, in one call, and what it refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.condition_dropout import Drop, drop_mask
from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.process.categorical import Categorical, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.guidance import ClassifierFree, FixedConditions, MeanShift
from undiffuse.guidance.classifier import ClassifierGuidance as Guided
from undiffuse.samplers import Ancestral
from undiffuse.schedules import VP, LogLinear


class Counted(nn.Module):
    """Guesses the sum of its conditions, each times its own sample, and counts the samples it was asked about."""

    def __init__(self, outputs: int = 0) -> None:
        super().__init__()
        self.calls: list[int] = []
        self.outputs = outputs

    def forward(self, x: Tensor, c_time: Tensor, drop: Drop = None, **cond: Tensor) -> Tensor:
        self.calls.append(len(x))
        value = torch.zeros(len(x), dtype=torch.float64)
        for name, given in cond.items():
            null = drop_mask(drop, name)
            value = value + (given.double() if null is None else torch.where(null, 0.0, given.double()))
        y = 0.1 * x * (1 + value[:, None] ** 2) + value[:, None]
        return torch.stack([y.sin(), y.cos()], -1) if self.outputs else y.to(x.dtype)


X = Random(0).normal((3, 4), dtype=torch.float64)
COND = {
    "one": torch.tensor([1.0, 2.0, -1.0]),
    "two": torch.tensor([0.5, 0.1, 3.0]),
    "map": torch.tensor([1.0, 1.0, 2.0]),
}
T = 0.4


def model() -> tuple[Predictor, Counted]:
    network = Counted()
    return Predictor(network, Gaussian(VP()), "data"), network


def mean(denoiser: Denoiser, t: Any = T, **cond: Any) -> Tensor:
    guess: Any = denoiser(X, t, **cond)
    return guess.mean


def test_the_guess_is_the_sum_of_what_each_condition_alone_changes_in_one_call():
    denoiser, network = model()
    guided = ClassifierFree(denoiser, weight={"one": 2.0, "two": -0.5})
    found = mean(guided, **COND)
    assert network.calls == [9]
    none = mean(denoiser, map=COND["map"])
    one, two = (mean(denoiser, map=COND["map"], **{name: COND[name]}) for name in ("one", "two"))
    torch.testing.assert_close(found, none + 2.0 * (one - none) - 0.5 * (two - none), rtol=1e-12, atol=1e-12)
    network.calls.clear()
    torch.testing.assert_close(mean(ClassifierFree(denoiser, weight={"one": 1.0}), **COND), mean(denoiser, **{
        name: COND[name] for name in ("one", "map")} | {"two": COND["two"]}), rtol=1e-12, atol=1e-12)  # fmt: skip
    assert network.calls == [6, 3]
    assert "several weights" in guided.no_density()


def test_each_sample_is_guided_by_itself_and_what_is_dropped_stays_dropped():
    guided = ClassifierFree(model()[0], weight={"one": 2.0, "two": 3.0})
    drop = {"one": torch.tensor([True, False, False]), "map": torch.tensor([False, False, True])}
    whole = mean(guided, drop=drop, **COND)
    alone: Any = guided(X[:1], T, drop={k: v[:1] for k, v in drop.items()}, **{k: v[:1] for k, v in COND.items()})
    torch.testing.assert_close(alone.mean, whole[:1], rtol=1e-12, atol=1e-12)
    left: Any = ClassifierFree(model()[0], weight={"two": 3.0})(X[:1], T, **{k: COND[k][:1] for k in ("two", "map")})
    torch.testing.assert_close(alone.mean, left.mean, rtol=1e-12, atol=1e-12)
    every = torch.tensor([False, True, True])
    torch.testing.assert_close(mean(guided, drop=every, **COND)[1:], mean(model()[0])[1:], rtol=1e-12, atol=1e-12)


def test_outside_the_interval_the_guess_is_the_plain_one():
    denoiser, network = model()
    level = float((-0.5 * denoiser.process.schedule.log_snr(torch.tensor(0.5, dtype=torch.float64))).exp())
    guided = ClassifierFree(denoiser, weight={"one": 2.0, "two": 3.0}, interval=(0.0, level))
    assert torch.equal(mean(guided, 0.7, **COND), mean(denoiser, 0.7, **COND))
    assert network.calls == [3, 3]
    network.calls.clear()
    t = torch.tensor([0.7, 0.4, 0.2], dtype=torch.float64)
    mixed = mean(guided, t, **COND)
    assert network.calls == [12]
    torch.testing.assert_close(mixed[0], mean(denoiser, t, **COND)[0], rtol=1e-12, atol=1e-12)
    free = ClassifierFree(denoiser, weight={"one": 2.0, "two": 3.0})
    torch.testing.assert_close(mixed[1:], mean(free, t, **COND)[1:], rtol=1e-12, atol=1e-12)


def test_one_weight_may_leave_a_condition_in_every_guess():
    denoiser, network = model()
    found = mean(ClassifierFree(denoiser, weight=3.0, hide=("one", "two")), **COND)
    assert network.calls == [6]
    without, told = mean(denoiser, map=COND["map"]), mean(denoiser, **COND)
    torch.testing.assert_close(found, without + 3.0 * (told - without), rtol=1e-12, atol=1e-12)


def test_tokens_are_guided_in_their_log_probabilities():
    process = Categorical(LogLinear(), uniform(2))
    denoiser = Predictor(Counted(outputs=2), process, "probabilities")
    x = torch.randint(2, (3, 4), generator=torch.Generator().manual_seed(0))
    cond = {name: COND[name] for name in ("one", "two")}
    guess: Any = ClassifierFree(denoiser, weight={"one": 2.0, "two": 3.0})(x, T, **cond)
    none: Any = denoiser(x, T)
    one, two = (denoiser(x, T, **{name: cond[name]}) for name in cond)
    wanted = none.log_probs + 2 * (one.log_probs - none.log_probs) + 3 * (two.log_probs - none.log_probs)
    torch.testing.assert_close(guess.log_probs, wanted.log_softmax(-1))


def test_a_classifier_follows_the_drops_of_what_it_reads():
    denoiser, _ = model()
    guided = Guided(denoiser, lambda x, t, label: (label[:, None] * x).sum(1), reads=("label",))
    label, null = torch.ones(3), torch.tensor([True, False, False])
    plain, moved = mean(denoiser), mean(guided, label=label)
    assert not torch.isclose(plain, moved).any()
    torch.testing.assert_close(mean(guided, label=label, drop={"label": null}), torch.cat([plain[:1], moved[1:]]))
    torch.testing.assert_close(mean(guided, label=label, drop={"other": null}), moved)


def test_a_shifted_mean_follows_them_alike():
    """The step of a sample whose label is hidden is the plain step, that of the others the guided one."""
    denoiser, _ = model()
    sampler = MeanShift(Ancestral(), lambda x, t, label: (label[:, None] * x).sum(1))
    x, t, s = Random(3).normal((3, 2)), torch.tensor(0.7).double(), torch.tensor(0.4).double()

    def stepped(**cond: Any) -> Tensor:
        belief: Any = sampler.step(denoiser, x, t, s, random=Random(0), **cond)[0]
        return belief.mean

    label, null = torch.ones(3), torch.tensor([True, False, False])
    plain, guided = stepped(), stepped(label=label)
    assert not torch.isclose(plain, guided).any()
    for drop in (null, {"label": null}):
        torch.testing.assert_close(stepped(label=label, drop=drop), torch.cat([plain[:1], guided[1:]]))
    torch.testing.assert_close(stepped(label=label, drop={"other": null}), guided)


def test_mistakes_are_refused_by_name():
    denoiser, _ = model()
    with pytest.raises(Refused, match="a weight for 'tow', and the conditions given are: one, two, map"):
        mean(ClassifierFree(denoiser, weight={"tow": 2.0}), **COND)
    with pytest.raises(Refused, match="needs a condition's name and weight, and there is none"):
        ClassifierFree(denoiser, weight={})
    with pytest.raises(Refused, match="several weights guide one denoiser alone, without rescale"):
        ClassifierFree(denoiser, weight={"one": 2.0}, rescale=0.5)
    with pytest.raises(Refused, match="the condition 'one' is given twice"):
        mean(FixedConditions(denoiser, one=COND["one"]), **COND)
