"""A batch whose samples stand at different times gives what each of them gives alone."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical, mask
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import trajectory
from undiffuse.core.sampler import Sampler
from undiffuse.guidance import ClassifierFree
from undiffuse.schedules import VP, LogLinear

TIMES = torch.tensor([[1.0, 0.9, 0.31], [0.7, 0.8, 0.3], [0.4, 0.2, 0.1], [0.0, 0.1, 0.0]], dtype=torch.float64)
VALUES = GaussianOracle(Gaussian(VP()), 0.3, 0.25)
WORDS = TokenOracle(Categorical(LogLinear(), mask(3)), torch.tensor([[0, 0], [1, 1], [0, 1]]), [0.5, 0.3, 0.2])


def compare(denoiser: Any, sampler: Sampler, x: Tensor) -> None:
    """Every step of the batch beside those of each sample alone; or the refusal, by the sampler's name."""
    steps = trajectory(denoiser, sampler, x, TIMES, random=Random(1))
    if not sampler.batch_times:
        name = registry.name_of(sampler)
        with pytest.raises(Refused, match=re.escape(f"{name} takes one time for a whole batch")):
            next(steps)
        return
    together = torch.stack(list(steps), dim=1)
    for i in range(len(x)):
        stream = Random(1, torch.tensor([i]))
        alone = torch.cat(list(trajectory(denoiser, sampler, x[i : i + 1], TIMES[:, i], random=stream)))
        torch.testing.assert_close(together[i], alone, msg=lambda text: f"{sampler!r}: {text}")


def test_samples_of_values_stand_at_times_of_their_own(sampler: Sampler):
    compare(VALUES, sampler, Random(0).normal((3, 2), torch.float64))
    if sampler.batch_times:
        compare(ClassifierFree(VALUES, VALUES, 2.0, interval=(0.1, 1.0)), sampler, Random(0).normal((3, 2, 2)))


def test_samples_of_tokens_stand_at_times_of_their_own(token_sampler: Sampler):
    compare(WORDS, token_sampler, torch.tensor([[2, 2], [2, 1], [0, 2]]))


def test_some_samplers_of_every_family_take_times_of_their_own():
    for family in ("values", "tokens", "mixed"):
        able: list[Any] = [registry.get("samplers", name) for name in registry.names("samplers")]
        assert any(family in each.families and each().batch_times for each in able), family
