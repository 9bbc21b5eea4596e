"""Every guidance with every sampler: what makes sense stays finite and sees no batch, and the rest is refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.condition_dropout import drop_mask
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import TokenOracle
from undiffuse.core.process.categorical import Categorical, mask
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.core.sampler import Sampler
from undiffuse.grids.even import Even
from undiffuse.grids.log_snr import LogSNR
from undiffuse.guidance import (
    DPS,
    MMPS,
    Autoguidance,
    Clamp,
    ClassifierFree,
    ClassifierFreeInput,
    ClassifierGuidance,
    Composition,
    Constraint,
    EnergyGuidance,
    FixedConditions,
    GradientControl,
    Inpaint,
    MeanShift,
    MultiDiffusion,
    OptimalVariance,
    Particles,
    PiGDM,
    RePaint,
    Threshold,
)
from undiffuse.guidance.measurement import Measurement
from undiffuse.samplers import Ancestral
from undiffuse.samplers.jump import Jump
from undiffuse.schedules import VP, LogLinear


class Told(Denoiser):
    """Numbers of N(label, 1/2), and of N(0, 1) for samples without a label: exact for both."""

    process = Gaussian(VP())

    def __init__(self, spread: float = 1.0) -> None:
        self.spread = spread

    def __call__(self, x_t: Tensor, t: Any, label: Any = None, drop: Any = None, **cond: Any) -> Normal:
        alpha, sigma = self.process.schedule.at(t, x_t)
        told = torch.zeros(len(x_t), dtype=torch.bool) if label is None else torch.ones(len(x_t), dtype=torch.bool)
        if (null := drop_mask(drop, "label")) is not None:
            told = told & ~null
        centre = torch.where(told, torch.zeros(len(x_t)) if label is None else label, 0.0)[:, None]
        var = self.spread * torch.where(told, 0.5, 1.0)[:, None]
        return Normal((centre + alpha * var / (alpha**2 * var + sigma**2) * (x_t - alpha * centre)).to(x_t), 0.1)


def log_prob(x: Tensor, t: Any, label: Tensor) -> Tensor:
    return -0.5 * (x - label[:, None]).square().sum(1)


def score(x: Tensor) -> Tensor:
    return -x.square().sum(1)


KNOWN, PART = torch.tensor([[0.3, 0.0]]), torch.tensor([1.0, 0.0])
SEEN = Measurement(lambda x: x.sum(1, keepdim=True), torch.tensor([[0.5]]), 0.3)
Maker = Callable[[Any, Sampler], tuple[Denoiser, Sampler]]
VALUES: dict[str, Maker] = {
    "autoguidance": lambda d, s: (Autoguidance(d, Told(2.0), 2.0), s),
    "classifier": lambda d, s: (ClassifierGuidance(d, log_prob), s),
    "clamp": lambda d, s: (Clamp(d, torch.round, (0.0, 1.0)), s),
    "classifier_free": lambda d, s: (ClassifierFree(d, weight=2.0, interval=(0.1, 50.0), rescale=0.5), s),
    "classifier_free_input": lambda d, s: (FixedConditions(ClassifierFreeInput(d), guidance=2.0), s),
    "dps": lambda d, s: (d, DPS(s, SEEN, 0.2)),
    "energy": lambda d, s: (EnergyGuidance(d, score, 0.5), s),
    "composition": lambda d, s: (Composition(d, [FixedConditions(d, other=1.0), Told(1.5)]), s),
    "fixed_conditions": lambda d, s: (FixedConditions(d, other=1.0), s),
    "gradient_control": lambda d, s: (d, GradientControl(s, lambda x, t: score(x))),
    "inpaint": lambda d, s: (d, Inpaint(s, KNOWN, PART)),
    "mean_shift": lambda d, s: (d, MeanShift(s, log_prob)),
    "mmps": lambda d, s: (MMPS(d, SEEN, 2), s),
    "optimal_variance": lambda d, s: (OptimalVariance(d, (0.5, 1.0), (0.1, 0.6)), s),
    "particles": lambda d, s: (d, Particles(s, SEEN, count=2)),
    "pigdm": lambda d, s: (PiGDM(d, SEEN), s),
    "repaint": lambda d, s: (d, RePaint(s, KNOWN, PART, jump=1, resample=2)),
    "threshold": lambda d, s: (Threshold(d, (-1.0, 1.0), 0.9), s),
    "multidiffusion": lambda d, s: (MultiDiffusion(d, (1,)), s),
}
EXACT = Ancestral("exact")
READ_VARIANCE = {
    EXACT: "needs a denoiser that reports its variance",
    Jump(1.0): "renoise adds noise to the guess",
}
QUICK: dict[str, Any] = {"rtol": 0.05, "atol": 0.05, "updates": 1}  # where these are fields: few calls of the network
WITHOUT_VARIANCE = {"classifier", "energy", "mmps", "pigdm", "multidiffusion"}
OF_TOKENS: dict[str, dict[str, Any]] = {
    "constraint": {"allowed": [{0}]},
    "infill": {"known": KNOWN, "where": PART},
    "token_classifier": {"classifier": log_prob},
    "truncation": {},
}
N, TIMES, LABEL = 4, LogSNR()(VP(), 3), torch.tensor([1.0, -1.0, 0.5, 2.0])


def drawn(denoiser: Denoiser, sampler: Sampler, rows: slice = slice(0, N)) -> Tensor:
    which = torch.arange(N)[rows]
    return sample(denoiser, (len(which), 2), sampler=sampler, times=TIMES, indices=which, label=LABEL[rows])


def draws_noise(sampler: Sampler) -> bool:
    x = torch.zeros(2, 2)
    belief, _ = sampler.step(Told(), x, torch.tensor(0.9), torch.tensor(0.5), random=Random(0))
    return not getattr(belief, "certain", False)


def test_every_guidance_is_tried_here_with_the_families_that_it_declares():
    families: dict[str, Any] = {name: registry.get("guidance", name) for name in registry.names("guidance")}
    for family, tried in (("values", {*VALUES}), ("tokens", {*ABLE, *OF_TOKENS})):
        assert tried == {name for name, guidance in families.items() if family in guidance.families}


def test_every_guidance_of_values_works_with_every_sampler_and_does_not_see_the_batch(sampler: Sampler):
    """Samplers that draw no noise cannot carry particles, and one that asks for the guess's variance does not go with
    guidance that leaves none; nothing else is refused.
    """
    sampler = replace(sampler, **{name: value for name, value in QUICK.items() if hasattr(sampler, name)})  # type: ignore[type-var]
    for name, make in VALUES.items():
        denoiser, steered = make(Told(), sampler)
        if name == "particles" and not draws_noise(sampler):
            with pytest.raises(Refused, match="needs a sampler that draws noise"):
                drawn(denoiser, steered)
            continue
        if sampler in READ_VARIANCE and name in WITHOUT_VARIANCE:
            with pytest.raises(Refused, match=READ_VARIANCE[sampler]):
                drawn(denoiser, steered)
            continue
        x = drawn(denoiser, steered)
        assert x.shape == (N, 2)
        assert bool(x.isfinite().all()), name
        half = drawn(denoiser, steered, slice(2, 4))
        torch.testing.assert_close(half, x[2:], msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", OF_TOKENS)
def test_guidance_of_tokens_is_refused_for_values(name: str):
    with pytest.raises(Refused, match=f"{name} is for tokens, and Gaussian is a process of values; guidance for it: a"):
        registry.get("guidance", name)(Told(), **OF_TOKENS[name])


WORDS = TokenOracle(Categorical(LogLinear(), mask(3)), torch.tensor([[0, 0], [1, 1], [0, 1]]), [0.5, 0.3, 0.2])
OTHER = TokenOracle(WORDS.process, torch.tensor([[0, 0], [1, 1], [1, 0]]), [0.1, 0.1, 0.8])  # type: ignore[arg-type]
ABLE: dict[str, Maker] = {
    "autoguidance": lambda d, s: (Autoguidance(d, OTHER, 1.5), s),
    "classifier_free": lambda d, s: (ClassifierFree(d, weight=2.0), s),
    "classifier_free_input": VALUES["classifier_free_input"],
    "composition": lambda d, s: (Composition(d, [FixedConditions(d, other=1.0)]), s),
    "constraint": lambda d, s: (Constraint(d, [{0}, {0, 1}]), s),
    "fixed_conditions": VALUES["fixed_conditions"],
    "inpaint": lambda d, s: (d, Inpaint(s, torch.tensor([[0, 1]]), PART)),
}


def words(denoiser: Denoiser, sampler: Sampler) -> Tensor:
    return sample(denoiser, (N, 2), sampler=sampler, times=Even()(LogLinear(), 3), label=LABEL)


def test_guidance_that_has_a_meaning_for_tokens_gives_tokens_with_every_sampler_of_them(token_sampler: Sampler):
    for name, make in ABLE.items():
        guided, steered = make(WORDS, token_sampler)
        if registry.name_of(token_sampler) == "cached" and not getattr(guided, "timeless", False):
            with pytest.raises(Refused, match="needs a denoiser that does not hear the time"):
                words(guided, steered)
            continue
        x = words(guided, steered)
        assert x.shape == (N, 2), name
        assert set(x.flatten().tolist()) <= {0, 1}, name


@pytest.mark.parametrize("name", sorted(VALUES.keys() - ABLE.keys()))
def test_guidance_of_values_is_refused_for_tokens_in_words(name: str):
    with pytest.raises(Refused, match="is for values, and Categorical is a process of tokens; guidance for it: a"):
        words(*VALUES[name](WORDS, registry.build("samplers", {"name": "ancestral"})))
