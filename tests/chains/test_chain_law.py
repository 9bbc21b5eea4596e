"""The law of a cascade of exact models is the closed form, and noise on its condition lessens the base's error."""

from functools import partial

import numpy as np
import pytest
import torch
import toy

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.models.chain import Chain
from undiffuse.sampling.chained import StageTable
from undiffuse.tuning.augmentation import distance, numbers

N = 3000


def chain(level: float, shift: float = 0.0) -> Chain:
    runs = {"base": toy.run(toy.Base(shift)), "up": toy.run(toy.Up(), low=toy.low())}
    return Chain.of_runs(runs, {"up": StageTable("runs/up", augmentation=level)})


@pytest.mark.each("level", [0.0, 0.3, 0.7])
def test_the_law_of_the_chain_is_the_closed_form_at_every_level(level: float):
    """high ~ N(0, C^2 V + W), whatever the level: re-noised samples of an exact base are noisy data."""
    found = chain(level).sample(N).double().flatten()
    variance = toy.C**2 * toy.V + toy.W
    assert abs(float(found.mean())) < 4 * (variance / N) ** 0.5
    assert float(found.var()) == pytest.approx(variance, rel=4 * (2 / N) ** 0.5)


@pytest.mark.each("level", [0.0, 0.3, 0.7])
def test_noise_on_the_condition_multiplies_the_gain_of_the_bases_error(level: float):
    """A base whose mean is off by d moves the chain's by C d alpha^2 V / (alpha^2 V + s^2) (the same noise in both)."""
    moved = (chain(level, 0.5).sample(N).double() - chain(level).sample(N).double()).mean()
    signal = (1 - level**2) * toy.V
    assert float(moved) == pytest.approx(0.5 * toy.C * signal / (signal + level**2), rel=0.02)


def test_the_distance_that_levels_are_chosen_by_tells_the_right_one():
    """Of a base that is off the largest level is the best; of an exact one all are alike."""
    variance = toy.C**2 * toy.V + toy.W
    real = Dataset((np.random.default_rng(0).normal(size=(4000, 1, 1, 1)) * variance**0.5).astype(np.float32))
    flat = partial(numbers, chain(0.0))
    off = [distance(chain(0.0, 1.0), real, 2000, {"up": {"augmentation": level}}, flat) for level in (0.0, 0.5, 0.9)]
    assert off[0] > off[1] > off[2]
    exact = [distance(chain(0.0), real, 2000, {"up": {"augmentation": level}}, flat) for level in (0.0, 0.5, 0.9)]
    assert max(exact) < 0.02
    assert off[2] < 0.1 * off[0]


def test_samples_depend_on_seed_and_index_alone_and_stages_on_their_own_requests():
    found = chain(0.3)
    drawn = found.sample(6, seed=3)
    assert torch.equal(found.sample(2, seed=3, indices=[4, 5]), drawn[4:])
    assert torch.equal(found.sample(6, seed=3, batch=4), drawn)
    assert not torch.equal(found.sample(6, seed=4), drawn)
    few = found.sample(6, seed=3, stages={"up": {"steps": 7}})
    assert few.calls < drawn.calls
    fine = found.sample(6, seed=3, sampler="euler", stages={"base": {"sampler": "ddim", "settings": {"eta": 1.0}}})
    alone = found.stages[0].run.sample(6, seed=3, sampler="ddim", settings={"eta": 1.0})
    assert torch.equal(fine, found.sample(6, seed=3, sampler="euler", low=alone.numpy()))  # of all stages, but of one
    with pytest.raises(Refused, match="guidance means nothing to the stages of this chain, since"):
        found.sample(1, guidance=2.0)
    with pytest.raises(Refused, match="stage 'base' of the chain: samplers has no 'eulerr'"):
        found.sample(1, sampler="eulerr")
    for field in ("n", "seed", "indices", "batch"):
        with pytest.raises(Refused, match=f"{field} is of the whole chain, and not of stage 'up'"):
            found.sample(1, stages={"up": {field: 3}})
    base = found.stages[0].run.sample(6, seed=3)
    told = found.sample(6, seed=3, low=base.numpy())
    assert torch.equal(told, drawn)  # the base's samples given: only the second stage is sampled
    assert told.calls < drawn.calls
    assert found.sample(6, seed=3, augmentation=0.3).equal(drawn)
    filmed = found.open(n=6, seed=3).film()
    assert torch.equal(filmed, drawn)
    assert filmed.frames is not None
    assert filmed.frames.shape == (82, 6, 1, 1, 1)  # 41 states of each stage
