"""Training on random crops: the same part of the pictures beside them, the whole picture when sampled."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.codecs.identity import Identity
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.conditions.boxes import BoxesCondition
from undiffuse.conditions.image import ImageCondition
from undiffuse.conditions.label import LabelCondition
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.data.dataset import Dataset
from undiffuse.operators.pool import Pool
from undiffuse.training.crops import Crops

X = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8)).astype(np.uint8)
DATA = Dataset(X)


class Centred(Identity):
    """Of each picture its mean is taken away."""

    def encode(self, x: Any, random: Random | None = None, **cond: torch.Tensor) -> torch.Tensor:
        return x - x.float().mean((1, 2, 3), keepdim=True)


def low(factor: int = 2) -> ImageCondition:
    return ImageCondition().fit(Pool(factor)(torch.from_numpy(X).float()).numpy(), ())


def test_a_crop_and_the_condition_beside_it_show_the_same_place():
    x = torch.from_numpy(X).float()
    given = {"low": Pool(2)(x), "label": torch.arange(40)}
    crops = Crops.of(4, DATA, {"low": low(), "label": LabelCondition()}, PixelsCodec())
    assert crops is not None
    part, conditions = crops(x, given, Random(0, torch.arange(40)))
    assert part.shape == (40, 1, 4, 4)
    assert torch.equal(conditions["low"], Pool(2)(part))
    assert torch.equal(conditions["label"], given["label"])
    every = {(top, left): x[:, :, top : top + 4, left : left + 4] for top in (0, 2, 4) for left in (0, 2, 4)}
    hits = {place: int((part == piece).all((1, 2, 3)).sum()) for place, piece in every.items()}
    assert sum(hits.values()) == 40  # never between the pixels of the condition ...
    assert min(hits.values()) > 0  # ... and at all of the others
    again, _ = crops(x[5:7], {"low": given["low"][5:7]}, Random(0, torch.arange(5, 7)))
    assert torch.equal(again, part[5:7])
    assert Crops.of(0, DATA, {}, PixelsCodec()) is None


@pytest.mark.parametrize(
    ("side", "data", "conditions", "codec", "says"),
    [
        (8, DATA, {}, PixelsCodec(), "a crop is smaller than the pictures, which are 8 x 8"),
        (3, DATA, {"low": low()}, PixelsCodec(), "'low' of 4 x 4 has no whole pixels in such a part"),
        (4, DATA, {"where": BoxesCondition()}, PixelsCodec(), "'where' names places of the whole picture"),
        (4, Dataset(X[:, :, 0]), {}, PixelsCodec(), "crops are of pictures"),
        (4, DATA, {}, Centred(), "what this codec makes of a picture is not of each pixel"),
    ],
)
def test_what_cannot_be_cropped_is_refused(side: int, data: Dataset, conditions: Any, codec: Any, says: str):
    with pytest.raises(Refused, match=says):
        Crops.of(side, data, conditions, codec)


def test_a_run_that_learns_from_crops_draws_whole_pictures(tmp_path: Path):
    np.savez(tmp_path / "x.npz", images=X[:, 0])
    tables: dict[str, Any] = {
        "data": {"name": "file", "path": str(tmp_path / "x.npz")},
        "codec": {"name": "pixels"},
        "schedule": {"name": "edm"},
        "parameterization": {"name": "edm"},
        "network": {"name": "unet", "width": 4, "multipliers": [1], "blocks": 1, "attention": []},
        "objective": {"name": "denoising", "weighting": "edm", "times": "log_normal"},
        "conditions": {"low": {"kind": "image", "of": "superresolve:2", "noise": 0.3}},
        "sampler": {"name": "ddim", "steps": 1},
        "train": {"steps": 1, "batch": 4, "warmup": 0, "snapshots": 0, "crop": 4, "preview_every": 0},
    }
    training = undiffuse.train(tables, out=tmp_path / "run")
    batch = training.data.at(0)
    assert batch.x.shape == (4, 1, 4, 4)
    assert batch.cond["low"].shape == (4, 2, 2, 2)
    run = training.run(progress=False)
    assert run.shape == (1, 8, 8)
    assert run.sample(1, low=np.zeros((1, 4, 4), np.uint8)).shape == (1, 1, 8, 8)
