"""A picture with a hole: what networks are told of it, what stands for none, and a model that learns to paint in."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import undiffuse
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.conditions.hole import HoleCondition
from undiffuse.core.errors import Refused
from undiffuse.editing.inverse_problems import inpaint
from undiffuse.networks.unet import UNet

X = np.random.default_rng(0).integers(0, 256, (30, 3, 8, 8), dtype=np.uint8)
KNOWN = np.ones((1, 8, 8), np.uint8)
KNOWN[:, 2:5, 1:7] = 0
TABLES: dict[str, Any] = {
    "data": {"name": "file", "path": "pictures.npz"},
    "codec": {"name": "pixels"},
    "schedule": {"name": "cosine"},
    "network": {"name": "unet", "width": 8, "multipliers": [1], "blocks": 1, "attention": []},
    "parameterization": {"name": "velocity"},
    "objective": {"name": "denoising"},
    "conditions": {"hole": {"kind": "hole", "of": "hole:3"}},
    "sampler": {"name": "ddim", "steps": 2},
    "train": {"steps": 2, "batch": 4, "lr": 0.05, "warmup": 0, "validate_every": 0, "preview_every": 0, "snapshots": 0},
}


def kind() -> HoleCondition:
    made = HoleCondition(of="hole:3").within(PixelsCodec(0.0, 255.0))
    return made.fit(np.concatenate([X, X[:, :1]], axis=1), ())


def test_networks_are_told_the_hole_and_the_picture_with_grey_in_it():
    found = kind().encode(np.concatenate([X[:1], 255 * KNOWN[None]], axis=1))
    assert found.shape == (1, 4, 8, 8)
    assert kind().shape == (4, 8, 8)
    assert torch.equal(found[0, 0], torch.from_numpy(1.0 - KNOWN[0]).float())
    seen = torch.from_numpy(X[0] / 127.5 - 1).float() * torch.from_numpy(KNOWN)
    torch.testing.assert_close(found[0, 1:], seen)
    given = kind().given(np.concatenate([X[0], 255 * KNOWN]), 2, "hole")
    torch.testing.assert_close(given, found.expand(2, -1, -1, -1))


def test_none_is_all_hole_and_so_is_one_that_is_dropped_or_left_out():
    unet = UNet(3, width=8, multipliers=(1,), blocks=1, attention=(), conditions={"hole": kind().spec})
    torch.nn.init.normal_(unet.leave.weight)
    x, t, hole = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 5.0]), torch.rand(2, 4, 8, 8)
    none = kind().usual(2)
    assert none is not None
    with torch.no_grad():
        wanted = unet(x, t, hole=none)
        assert torch.equal(unet(x, t), wanted)
        assert torch.equal(unet(x, t, hole=hole, drop=torch.tensor([True, True])), wanted)
        half = unet(x, t, hole=hole, drop=torch.tensor([True, False]))
        assert torch.allclose(half[0], wanted[0], atol=1e-6)
        assert not torch.allclose(half[1], wanted[1], atol=1e-3)


def test_a_model_is_trained_to_paint_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    np.savez("pictures.npz", images=X.transpose(0, 2, 3, 1))
    run = undiffuse.train(TABLES, out="run").run(progress=False)
    again = undiffuse.load("run", "float32")
    for each in (run, again):
        painted = inpaint(each, X[0], KNOWN, n=2, seed=1).numpy()
        assert np.array_equal(painted * KNOWN, np.broadcast_to(X[0] * KNOWN, painted.shape))
        drawn = again.sample(2, seed=1, hole=np.concatenate([X[0], 255 * KNOWN])).numpy()
        assert np.array_equal(painted * (1 - KNOWN), drawn * (1 - KNOWN))
    assert not np.array_equal(again.sample(2, seed=1).numpy(), drawn)
    Image.fromarray(np.concatenate([X[0], 255 * KNOWN]).transpose(1, 2, 0)).save("hole.png")
    value = again.conditions["hole"].from_word("hole.png", "hole")
    assert np.array_equal(value[3], 255 * KNOWN[0])
    assert np.array_equal(again.sample(2, seed=1, hole=value).numpy() * (1 - KNOWN), drawn * (1 - KNOWN))


def test_what_a_hole_cannot_be_is_refused():
    with pytest.raises(Refused, match=r"there is no file none\.png for 'hole'"):
        kind().from_word("none.png", "hole")
    with pytest.raises(Refused, match="cannot be read for 'hole'"):
        kind().from_word(__file__, "hole")
    latents: Any = SimpleNamespace(lossy=True)
    with pytest.raises(
        Refused, match=r"train\.flip: the latents of a mirrored picture with a hole are not the mirrored"
    ):
        kind().within(latents).mirror(torch.zeros(1, 4, 8, 8), -1)
    assert torch.equal(kind().mirror(torch.arange(4.0).reshape(1, 1, 1, 4), -1).flatten(), torch.tensor([3.0, 2, 1, 0]))
