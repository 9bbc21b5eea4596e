"""The picture of a process in the plane, and pictures of tokens."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from undiffuse import pictures
from undiffuse.codecs.identity import Identity
from undiffuse.core.denoiser import Predictor
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.evaluation.drift_field import way
from undiffuse.models.diffusion import Diffusion
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.file_content import text
from undiffuse.sampling.samples import Samples
from undiffuse.schedules import Harmonic

TABLES: dict[str, Any] = {
    "data": {"name": "swiss_roll"},
    "codec": {"name": "identity"},
    "schedule": {"name": "harmonic", "steps": 20},
    "network": {"name": "mlp"},
    "parameterization": {"name": "data"},
    "objective": {"name": "denoising"},
    "sampler": {"name": "ancestral", "steps": 20},
    "train": {"steps": 1},
}


class Point(torch.nn.Module):
    """A network that guesses the data to be at one point."""

    def __init__(self) -> None:
        super().__init__()
        self.point = torch.nn.Parameter(torch.tensor([0.5, -1.0]))

    def forward(self, x: torch.Tensor, c_time: torch.Tensor) -> torch.Tensor:
        return self.point.expand_as(x)


def model() -> Diffusion:
    return Diffusion(Predictor(Point(), Gaussian(Harmonic(20)), "data"), Identity(), (2,), Recipe.find(TABLES))


def samples(frames: np.ndarray) -> Samples:
    """The last of these states, with all of them."""
    return Samples.made(torch.from_numpy(frames[-1]), model().description, frames=frames)


def test_the_drift_points_to_the_guess_and_the_way_ends_in_it():
    x = np.tile(np.array([[0.5, -1.0]], np.float32), (50, 1))
    points = model()
    session = points.open(n=40)
    found = way(points, x, session.film(), session.times)
    assert found is not None
    assert (found.times[0], found.times[-1]) == (1.0, 0.0)
    assert found.times == sorted(found.times, reverse=True)
    np.testing.assert_allclose(found.reverse[-1], x[:40], atol=1e-5)
    np.testing.assert_allclose(found.forward[-1], x, atol=1e-6)
    aim = x[0] - found.places[-1]
    cosine = (aim * found.drift[-1]).sum(1) / np.linalg.norm(aim, axis=1) / np.linalg.norm(found.drift[-1], axis=1)
    assert cosine.min() > 0.99
    picture = found.picture()
    assert picture.width > picture.height
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 10


def test_only_points_in_the_plane_have_such_a_picture():
    path = samples(np.zeros((1, 3, 3), np.float32))
    assert way(model(), np.zeros((3, 3), np.float32), path, model().open(n=3).times) is None


def test_tokens_become_rows_of_squares():
    x = np.array([[0, 1, 0], [2, 1, 1]])
    found = pictures.as_images(x)
    assert found.shape == (2, 3, 1, 3)
    colours = {int(s): tuple(found[i, :, 0, j]) for (i, j), s in np.ndenumerate(x)}
    assert len(set(colours.values())) == 3
    alone = pictures.as_images(np.array([[2, 2]]))
    assert tuple(alone[0, :, 0, 0]) == colours[2]  # a symbol's colour does not depend on what is beside it
    sheet = np.asarray(pictures.rows(x))
    assert tuple(sheet[4, 4]) == colours[0]
    beside = pictures.overview(x, beside=x[::-1])
    assert beside.width > pictures.overview(x).width


def test_tokens_are_printed_as_digits_where_they_are():
    assert text(samples(np.array([[[0, 1], [9, 0]]]))) == "01\n90"
    assert text(samples(np.array([[[10, 1]] * 30]))).splitlines() == ["10 1"] * 10


@pytest.mark.parametrize("ending", ["strip", "gif"])
def test_the_way_of_tokens_is_a_picture_too(ending: str, tmp_path: Path):
    from undiffuse.sampling import file_content

    frames = np.random.default_rng(0).integers(0, 3, (5, 4, 6))
    drawn = samples(frames)
    made = getattr(file_content, ending)(drawn)
    assert made.startswith(b"\x89PNG" if ending == "strip" else b"GIF")
