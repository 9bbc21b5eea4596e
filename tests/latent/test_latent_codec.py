"""The codec of latents: statistics, draws, tiles, and what it refuses."""

from typing import Any

import numpy as np
import pytest
import torch
from latent_spaces import Blocks, Linear, pictures

from undiffuse.codecs import latent_tiles
from undiffuse.codecs.codec import fitted
from undiffuse.codecs.latent import Latent
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random


def principal(points: np.ndarray, k: int) -> Linear:
    """The autoencoder of the first k principal axes; the points have mean 0."""
    _, axes = np.linalg.eigh(np.cov(points.astype(np.float64).T))
    first = torch.as_tensor(axes[:, ::-1][:, :k].copy())
    return Linear(first.T, first)


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    found = np.random.default_rng(0).normal(size=(500, 5)) @ np.diag([3.0, 2.0, 1.0, 0.5, 0.1])
    found = found @ np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
    return (found - found.mean(0)).astype(np.float32)


def test_statistics_are_the_eigenvalues_and_whitened_data_have_unit_deviation(points: np.ndarray):
    codec = Latent(principal(points, 3)).fit(points)
    values = np.linalg.eigvalsh(np.cov(points.astype(np.float64).T, bias=True))[::-1][:3]
    assert np.allclose(np.square(codec.std), values, rtol=1e-6)
    z = codec.encode(points)
    assert z.dtype == torch.float32
    assert torch.allclose(z.double().mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(z.double().std(0, unbiased=False), torch.ones(3, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(z.double().T @ z.double() / len(z), torch.eye(3, dtype=torch.float64), atol=1e-5)
    back = codec.decode(z)  # the projection on the axes
    assert torch.allclose(back.double(), torch.as_tensor(points).double() @ _projection(codec), atol=1e-5)


def _projection(codec: Latent) -> torch.Tensor:
    space = codec.autoencoder
    assert isinstance(space, Linear)
    return space.decoder @ space.encoder


def test_statistics_of_drawn_latents_count_the_spread_of_each(points: np.ndarray):
    space = principal(points, 2)
    space.var = torch.tensor([0.5, 4.0], dtype=torch.float64)
    codec, modes = Latent(space).fit(points), Latent(space, sampled=False).fit(points)
    assert np.allclose(np.square(codec.std), np.square(modes.std) + np.array([0.5, 4.0]), rtol=1e-6)
    z = torch.cat([codec.encode(points, Random(i)) for i in range(40)])
    assert torch.allclose(z.std(0), torch.ones(2), atol=0.02)
    assert torch.equal(codec.encode(points), codec.encode(points))
    assert torch.equal(codec.encode(points, Random(3)), codec.encode(points, Random(3)))
    assert torch.equal(modes.encode(points, Random(3)), modes.encode(points))
    assert not torch.equal(codec.encode(points, Random(3)), codec.encode(points))


def test_a_scalar_deviation_is_that_of_all_numbers():
    x = pictures(channels=2)
    codec = Latent(Blocks(2), scale="scalar").fit(x)
    assert len(codec.mean) == len(codec.std) == 1
    z = codec.encode(x).double()
    assert abs(float(z.mean())) < 1e-6
    assert abs(float(z.std(unbiased=False)) - 1) < 1e-6
    assert not np.allclose(z.std((0, 2, 3)), 1, atol=1e-4)
    raw = codec.autoencoder.decode(Blocks(2).posterior(x).mean)
    assert int((codec.decode(z.float()).int() - raw.int()).abs().max()) <= 1  # a level, by rounding


def test_statistics_do_not_depend_on_how_the_data_are_cut(points: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    whole = Latent(principal(points, 3)).fit(points)
    monkeypatch.setattr("undiffuse.codecs.codec.SLICE", 1000)
    cut = Latent(principal(points, 3)).fit(points)
    assert np.allclose(whole.std, cut.std, rtol=1e-12)
    assert np.allclose(whole.mean, cut.mean, atol=1e-12)


def test_preparing_once_is_encoding():
    x = pictures()
    codec = Latent(Blocks(std=0.3)).fit(x)
    ready = codec.prepare(x)
    assert ready.shape == (40, 2, 4, 4)
    assert codec.fit_prepared(x, ready.numpy()) == codec
    assert torch.equal(codec.finish(ready, Random(1)), codec.encode(x, Random(1)))


def test_without_statistics_nothing_is_decoded_or_encoded():
    codec = Latent(Blocks())
    for call in (lambda: codec.decode(torch.zeros(1, 1, 4, 4)), lambda: codec.encode(pictures())):
        with pytest.raises(Refused, match=r"the latents have no statistics: call fit\(x\)"):
            call()


@pytest.mark.parametrize("margin", [0, 1, 2])
def test_tiles_are_the_whole_for_what_looks_no_further_than_the_margin(margin: int):
    x = torch.rand(2, 3, 70, 46)
    kernel = torch.rand(3, 3, 2 * margin + 1, 2 * margin + 1)

    def near(z: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(z, kernel, padding=margin).repeat_interleave(2, 2).repeat_interleave(3, 3)

    assert latent_tiles.margin(32) == 2
    found = latent_tiles.in_tiles(lambda place: near(x[(..., *place)]), (70, 46), 32, (2, 3))
    assert torch.allclose(found, near(x).double(), rtol=1e-6)


def test_larger_pictures_are_encoded_and_decoded_in_tiles(monkeypatch: pytest.MonkeyPatch):
    small, large = pictures(), pictures(2, side=96)
    assert (latent_tiles.latent_tile(512, (8, 8)), latent_tiles.latent_tile(16, (32, 32))) == (64, 4)
    codec, tiled = (Latent(Blocks(), tile=tile).fit(small) for tile in (512, 32))
    z = codec.encode(large)
    assert z.shape == (2, 1, 48, 48)
    assert torch.allclose(tiled.encode(large), z, atol=1e-6)
    assert codec.decoded_shape((1, 48, 48)) == (1, 96, 96)
    assert torch.equal(tiled.decode(z), codec.decode(z))
    monkeypatch.setattr(latent_tiles, "MEMORY", 2**12)  # one item at a time
    assert torch.equal(codec.decode(z), tiled.decode(z))


def test_rows_are_halved_where_memory_runs_out():
    asked: list[int] = []

    def greedy(rows: slice) -> torch.Tensor:
        asked.append(rows.stop - rows.start)
        if asked[-1] > 2:
            raise torch.OutOfMemoryError("too much")
        return torch.arange(rows.start, rows.stop)

    assert torch.equal(latent_tiles.in_rows(greedy, 7, 1), torch.arange(7))
    assert asked == [7, 4, 2, 2, 2, 1]


def test_what_does_not_fit_is_refused_by_name():
    x = pictures()
    codec = Latent(Blocks()).fit(x)
    with pytest.raises(Refused, match="1 channels of even sides, not of shape \\(3, 8, 8\\)"):
        Latent(Blocks()).fit(pictures(channels=3))
    with pytest.raises(Refused, match="was trained on data of uint8, and these are of float32"):
        codec.encode(x.astype(np.float32))
    with pytest.raises(Refused, match="latents have 1 channels, and z has shape"):
        codec.decode(torch.zeros(1, 2, 4, 4))
    with pytest.raises(Refused, match="a likelihood of pixels through a lossy codec"):
        codec.log_det((1, 4, 4))
    with pytest.raises(Refused, match=r"a likelihood of pixels through a lossy codec.* no normalised density"):
        codec.explained(x, Random(0))
    with pytest.raises(Refused, match="as many std as mean, all above 0"):
        Latent(Blocks(), mean=(0.0,), std=(0.0,))
    with pytest.raises(Refused, match="a tile has 16 pixels a side or more"):
        Latent(Blocks(), tile=8)


def test_a_latent_is_known_where_all_of_its_pixels_are():
    codec = Latent(Blocks()).fit(pictures(side=4))
    mask = torch.tensor([[1, 1, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]], dtype=torch.float32)
    assert codec.known(mask).tolist() == [[[[1.0, 0.0], [0.0, 1.0]]]]


def test_statistics_set_by_hand_are_honoured_and_others_are_refused():
    space: Any = Blocks()
    found: Any = fitted({"name": "latent", "autoencoder": space, "mean": [0.5], "std": [2.0]}, pictures())
    assert (found.mean, found.std) == ((0.5,), (2.0,))
    assert torch.allclose(found.encode(pictures()), (space.posterior(pictures()).mean - 0.5) / 2)
    alone: Any = fitted({"name": "latent", "autoencoder": space, "std": [2.0]}, pictures())
    assert (alone.mean, alone.std) == ((0.0,), (2.0,))
    with pytest.raises(Refused, match=r"codec.std has 2 numbers, and by codec.scale = 'channel' latents have 1"):
        fitted({"name": "latent", "autoencoder": space, "mean": [0.5, 0.5], "std": [2.0, 2.0]}, pictures())
    with pytest.raises(Refused, match=r"codec.dtype = int16 cannot be set: the data say it, uint8"):
        fitted({"name": "latent", "autoencoder": space, "dtype": "int16"}, pictures())
