"""The digits and the toys are what they say, the same for the same seed."""

import numpy as np
import pytest

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data.sources.digits import Digits
from undiffuse.data.toys.checkerboard import Checkerboard
from undiffuse.data.toys.eight_gaussians import EightGaussians
from undiffuse.data.toys.moons import Moons
from undiffuse.data.toys.swiss_roll import SwissRoll
from undiffuse.data.toys.two_spirals import TwoSpirals

STORED = ["digits", "file", "folder", "hdf5", "huggingface", "shards", "table", "text", "video"]
TOYS = ["checkerboard", "eight_gaussians", "moons", "swiss_roll", "two_spirals"]


OTHERS = [
    *(
        "audio",
        "cameras",
        "census",
        "heartbeat",
        "moving_digits",
        "plucked_strings",
        "point_clouds",
        "seasonal",
        "series",
        "solids",
    ),
    *("surfaces", "toy_regression"),
]


def test_the_registry_lists_places_that_data_come_from_and_nothing_else():
    assert registry.names("data") == sorted([*TOYS, *STORED, *OTHERS])


def test_digits_are_the_sources_grey_levels():
    from sklearn.datasets import load_digits

    levels, target = load_digits(return_X_y=True)
    data = Digits().load()
    np.testing.assert_array_equal(np.round(np.asarray(data.x).reshape(1797, 64) * (16 / 255)), levels)
    np.testing.assert_array_equal(data.labels, target)
    assert (np.min(data.x), np.max(data.x), data.classes) == (0, 255, tuple("0123456789"))


@pytest.mark.parametrize("name", TOYS)
def test_a_toy_is_the_same_for_the_same_seed_and_of_unit_scale(name: str):
    first, again, other = (registry.build("data", {"name": name, "count": 4000, "seed": s}).load() for s in (3, 3, 4))
    np.testing.assert_array_equal(first.x, again.x)
    assert not {x.tobytes() for x in first.x} & {x.tobytes() for x in other.x}
    assert np.all(np.abs(first.x.mean(0)) < 0.3)
    assert np.all((first.x.std(0) > 0.4) & (first.x.std(0) < 1.3))
    if first.labels is not None:
        counts = np.bincount(first.labels, minlength=len(first.classes)) / 4000
        np.testing.assert_allclose(counts, 1 / len(first.classes), atol=0.05)


def test_points_without_noise_lie_on_their_shape():
    roll = np.asarray(SwissRoll(2000, noise=0).load().x)
    radius, angle = np.hypot(*roll.T), np.arctan2(roll[:, 1], roll[:, 0])
    turns = (radius * 3 * np.pi - angle) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-4)
    assert radius.min() >= 0.5 - 1e-6
    assert radius.max() <= 1.5 + 1e-6

    moons = Moons(2000, noise=0).load()
    for moon, centre in enumerate(np.array([[-0.5, -0.25], [0.5, 0.25]], np.float32)):
        points = moons.x[moons.labels == moon] - centre
        np.testing.assert_allclose(np.hypot(*points.T), 1, atol=1e-5)
        assert np.all(points[:, 1] * (1 - 2 * moon) >= -1e-5)

    spirals = TwoSpirals(2000, noise=0).load()
    x = spirals.x * np.where(spirals.labels == 0, 1, -1)[:, None]
    turns = np.hypot(*x.T) - np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-4)


def test_the_checkerboards_dark_squares_are_filled_evenly():
    x = Checkerboard(16_000).load().x
    square = np.floor(x).astype(int) + 2
    assert np.all(square.sum(1) % 2 == 0)
    counts = np.bincount(square @ [4, 1], minlength=16)
    assert np.abs(counts[counts > 0] - 2000).max() < 5 * np.sqrt(2000)
    assert (counts > 0).sum() == 8


def test_the_eight_clusters_have_the_noise_asked_for():
    data = EightGaussians(40_000, noise=0.1).load()
    for cluster in range(8):
        x = data.x[data.labels == cluster]
        angle = cluster * np.pi / 4
        np.testing.assert_allclose(x.mean(0), np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)]), atol=0.01)
        np.testing.assert_allclose(x.std(0), 0.1, rtol=0.05)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"noise": -1.0}, {"seed": -1}])
def test_a_toy_refuses_what_it_cannot_draw(wrong: dict[str, float]):
    with pytest.raises(Refused, match="count >= 1, noise >= 0 and seed >= 0"):
        registry.build("data", {"name": "moons", **wrong})
