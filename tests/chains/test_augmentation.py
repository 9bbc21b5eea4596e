"""Noise on conditions: what training draws, what the network is told, and levels that it never saw."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.conditions.image import ImageCondition
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.networks.conditions import ConditionEmbedding, scaled
from undiffuse.operators.blur import Blur, blurred

X = np.random.default_rng(0).integers(0, 256, (2000, 1, 2, 2)).astype(np.uint8)


def condition(noise: float = 0.6) -> ImageCondition:
    return ImageCondition(noise=noise).fit(X, ())


def test_training_draws_the_level_and_the_noise_and_tells_the_level():
    values = condition().encode(X)
    assert values.dtype == torch.uint8  # no larger in memory
    drawn = condition().drawn(values, Random(0, torch.arange(2000)))
    assert drawn.shape == (2000, 2, 2, 2)
    levels = (drawn[:, 1, 0, 0] + 1) / 2
    assert torch.equal(drawn[:, 1], drawn[:, 1, :1, :1].expand(2000, 2, 2))
    assert 0 <= float(levels.min()) < 0.01
    assert 0.59 < float(levels.max()) <= 0.6
    clean = torch.from_numpy(X[:, 0]).float() / 127.5 - 1
    s = levels[:, None, None]
    noise = (drawn[:, 0] - (1 - s**2).sqrt() * clean) / s
    assert abs(float(noise.mean())) < 0.04
    assert float(noise.std()) == pytest.approx(1, abs=0.04)
    again = condition().drawn(values[5:9], Random(0, torch.arange(5, 9)))
    assert torch.equal(again, drawn[5:9])  # whatever the batch


def test_without_noise_the_network_is_told_so_and_sees_the_picture():
    told = scaled(condition().encode(X[:3]))
    torch.testing.assert_close(told[:, :1], torch.from_numpy(X[:3]).float() / 127.5 - 1)
    assert torch.equal(told[:, 1:], -torch.ones(3, 1, 2, 2))
    given = condition().given(X[0], 4, "low")
    torch.testing.assert_close(given, told[:1].expand(4, 2, 2, 2))
    torch.testing.assert_close(condition().noised(given, 0.0, Random(1, torch.arange(4))), given)
    kind, shape = condition().spec
    embedding = ConditionEmbedding({"low": (kind, shape)}, 4, "a network", ("image",))
    assert embedding.beside(torch.zeros(4, 1, 2, 2), {"low": given}, None).shape == (4, 4, 2, 2)
    assert condition().null(3).shape == (3, 2, 2, 2)
    assert ImageCondition().fit(X, ()).spec == ("image", (1, 2, 2))


def test_levels_that_the_network_never_saw_are_refused():
    given = condition().given(X[0], 4, "low")
    with pytest.raises(Refused, match=r"noise of a level from 0 to 0.6 was trained, and asked for is 0.7"):
        condition().noised(given, 0.7, Random(0))
    with pytest.raises(Refused, match=r"from 0 to 1, not 1.5"):
        ImageCondition(noise=1.5)
    with pytest.raises(Refused, match="this image has no noise"):
        ImageCondition().fit(X, ()).noised(given[:, :1], 0.1, Random(0))


def test_a_run_is_sampled_at_a_level_and_says_what_it_cannot(tmp_path: Path):
    np.savez(tmp_path / "x.npz", images=np.random.default_rng(0).integers(0, 256, (60, 4, 4), np.uint8))
    tables: dict[str, Any] = {
        "data": {"name": "file", "path": str(tmp_path / "x.npz")},
        "codec": {"name": "pixels"},
        "schedule": {"name": "edm"},
        "parameterization": {"name": "edm"},
        "network": {"name": "unet", "width": 8, "multipliers": [1], "blocks": 1, "attention": []},
        "objective": {"name": "denoising", "weighting": "edm", "times": "log_normal"},
        "conditions": {"low": {"kind": "image", "of": "superresolve:2", "noise": 0.5}},
        "sampler": {"name": "ddim", "steps": 2, "augmentation": 0.2},
        "train": {"steps": 3, "batch": 8, "warmup": 0, "snapshots": 0, "validate_every": 3},
    }
    run = undiffuse.train(tables, out=tmp_path / "run").run(progress=False)
    low = np.full((1, 2, 2), 128, np.uint8)
    drawn = run.sample(3, low=low)
    assert torch.equal(drawn, run.sample(3, low=low, augmentation=0.2))
    assert not torch.equal(drawn, run.sample(3, low=low, augmentation=0.0))
    assert torch.equal(drawn[2:], run.sample(1, low=low, indices=[2]))
    assert torch.equal(undiffuse.load(tmp_path / "run").sample(3, low=low), drawn)
    with pytest.raises(Refused, match=r"from 0 to 0.5 was trained, and asked for is 0.6"):
        run.sample(1, low=low, augmentation=0.6)
    plain = undiffuse.train({**tables, "conditions": {}, "sampler": {"name": "ddim"}}, out=tmp_path / "b").run()
    with pytest.raises(Refused, match=r"augmentation = 0.1 is noise on a condition that was trained with some"):
        plain.sample(1, augmentation=0.1)


def test_training_blurs_every_second_picture_by_a_drawn_width():
    """Of white noise a Gaussian blur of deviation b leaves the share sum(kernel^2)^2 of the variance."""
    x = np.random.default_rng(0).normal(size=(400, 1, 16, 16)).astype(np.float32)
    made = ImageCondition(blur=(0.5, 1.5)).fit(x, ())
    assert made.redrawn
    assert made.spec == ("image", (1, 16, 16))
    drawn = made.drawn(made.encode(x), Random(0, torch.arange(400)))
    share = drawn.double().var((1, 2, 3)) / torch.from_numpy(x).double().var((1, 2, 3))
    as_it_was = share > 0.999
    assert abs(float(as_it_was.double().mean()) - 0.5) < 0.1
    assert torch.equal(drawn[as_it_was], torch.from_numpy(x)[as_it_was])
    assert 0.02 < float(share[~as_it_was].min()) < 0.08 < 0.3 < float(share[~as_it_was].max()) < 0.5
    assert torch.equal(made.drawn(made.encode(x[7:9]), Random(0, torch.arange(7, 9))), drawn[7:9])
    noisy = ImageCondition(noise=0.5, blur=(1.0, 1.0)).fit(X, ())
    assert noisy.drawn(noisy.encode(X[:4]), Random(0)).shape == (4, 2, 2, 2)
    with pytest.raises(Refused, match=r"least and the greatest deviation in pixels, as \[0.4, 0.6\]"):
        ImageCondition(blur=(0.6, 0.4))


def test_each_item_is_blurred_by_its_own_width():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 2, 9, 8)))
    std = torch.tensor([0.4, 1.0, 2.0], dtype=torch.float64)
    each = torch.cat([Blur(float(s))(x[i : i + 1]) for i, s in enumerate(std)])
    torch.testing.assert_close(blurred(x, std), each)
