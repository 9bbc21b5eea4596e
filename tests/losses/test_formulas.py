"""Each loss is its formula, in units of the data and summed over an item; what it cannot be asked of is refused."""

import math
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from tiny_autoencoder import autoencoder
from torch import Tensor, nn

from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.feature_network import FeatureNetwork, by_depth
from undiffuse.core.item_predictor import ItemPredictor
from undiffuse.core.noisy_classifier import NoisyClassifier
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.reconstruction_loss import Reconstruction
from undiffuse.feature_networks.efficientnet_lite0 import EfficientNetLite0Layers
from undiffuse.losses.dct import DCTLoss
from undiffuse.losses.equivariance import EquivarianceLoss
from undiffuse.losses.gradient import GradientLoss
from undiffuse.losses.laplacian import LaplacianLoss, laplacian_pyramid
from undiffuse.losses.lpips import LPIPSLoss
from undiffuse.losses.perceptual import PerceptualLoss, unit
from undiffuse.networks import MLPClassifier
from undiffuse.networks.encoder import Encoder
from undiffuse.parameterizations.velocity import Velocity
from undiffuse.schedules import VP

SHAPES = [(2, 9), (3, 8, 11), (1, 4, 5, 6)]


def items(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return Random(seed).normal((3, *shape), dtype=torch.float64)


def of(loss: Any, x: Tensor, x_hat: Tensor, z: Tensor | None = None, decode: Any = None, seed: int = 0) -> Tensor:
    """The loss of reconstructions x_hat, which `decode` made of z; items 5, 6 ... of a stream of random numbers."""
    z = x if z is None else z
    model = Mock(spec=Autoencoder, decode=decode)
    none, random = torch.zeros(len(x), dtype=x.dtype), Random(seed).at(torch.arange(5, 5 + len(x)))
    return loss(Reconstruction(model, x, Normal(z, 0.0), z, x_hat, none, random))


@pytest.mark.parametrize("shape", SHAPES)
def test_an_error_that_is_the_same_everywhere_costs_in_the_pyramid_what_it_costs_alone(shape: tuple[int, ...]):
    x = items(shape)
    torch.testing.assert_close(of(LaplacianLoss(), x, x + 0.3), torch.full((3,), 0.3 * math.prod(shape)).double())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_pyramid_holds_its_item(shape: tuple[int, ...]):
    """Blown up and added, the levels are the item again; each is half as long."""
    x, mode = items(shape), {1: "linear", 2: "bilinear", 3: "trilinear"}[len(shape) - 1]
    *levels, made = laplacian_pyramid(x, 9)
    assert min(made.shape[2:]) == 1
    for level in reversed(levels):
        assert made.shape[2:] == tuple(-(-side // 2) for side in level.shape[2:])
        made = level + nn.functional.interpolate(made, size=level.shape[2:], mode=mode, align_corners=False)
    torch.testing.assert_close(made, x)


def test_fine_and_coarse_errors_are_seen_at_their_levels():
    fine = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(16).expand(1, 1, 32)
    coarse = torch.linspace(-1, 1, 32, dtype=torch.float64).expand(1, 1, 32)
    shares = [[float(level.abs().mean()) for level in laplacian_pyramid(each, 2)] for each in (fine, coarse)]
    assert shares[0][0] > 0.9
    assert shares[0][1] + shares[0][2] < 0.2
    assert shares[1][2] > 10 * (shares[1][0] + shares[1][1])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_cosine_transform_is_scipys_of_every_block(shape: tuple[int, ...]):
    x, x_hat, block = items(shape), items(shape, 1), 4
    wanted = np.zeros(3)
    places = [range(0, side, block) for side in shape[1:]]
    for corner in np.ndindex(*map(len, places)):
        part = tuple(slice(block * i, block * (i + 1)) for i in corner)
        error = (x_hat - x).numpy()[(slice(None), slice(None), *part)]
        wanted += np.abs(np.asarray(dctn(error, axes=range(2, error.ndim), norm="ortho"))).reshape(3, -1).sum(1)
    torch.testing.assert_close(of(DCTLoss(block=block), x, x_hat), torch.from_numpy(wanted))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_of_differences_along_every_axis(shape: tuple[int, ...]):
    x, x_hat = items(shape), items(shape, 1)
    error = (x_hat - x).numpy()
    wanted = sum(np.abs(np.diff(error, axis=axis)).reshape(3, -1).sum(1) for axis in range(2, error.ndim))
    torch.testing.assert_close(of(GradientLoss(), x, x_hat), torch.as_tensor(wanted))
    torch.testing.assert_close(of(GradientLoss(), x, x + 0.3), torch.zeros(3).double(), rtol=0, atol=1e-9)


class Seeing(FeatureNetwork):
    """Two depths without weights: x itself with a first channel that is off, and means of two by two."""

    def layers(self, x: Tensor) -> list[Tensor]:
        return [x.relu() * torch.tensor([0.0, 1.0, 1.0], dtype=x.dtype)[:, None, None], nn.functional.avg_pool2d(x, 2)]


def test_the_perceptual_distance_is_of_directions_at_each_place():
    x, x_hat, network = items((3, 4, 6)), items((3, 4, 6), 1), Seeing()
    wanted = torch.zeros(3, dtype=torch.float64)
    for a, b in zip(network.layers(x), network.layers(x_hat), strict=True):
        cosine = nn.functional.cosine_similarity(a, b, dim=1)
        lengths = [(each.norm(dim=1) > 0).double() for each in (a, b)]
        wanted += (lengths[0] + lengths[1] - 2 * cosine).flatten(1).mean(1)
    torch.testing.assert_close(of(PerceptualLoss(network=network), x, x_hat), 72 * wanted / 2, rtol=1e-3, atol=0)


def test_where_nothing_is_active_the_gradient_is_finite():
    layer = torch.zeros(1, 3, 2, 2, requires_grad=True)
    unit(layer).sum().backward()
    assert bool(layer.grad is not None and layer.grad.isfinite().all())


def test_the_depths_of_a_network_are_what_stands_before_each_halving():
    process = Gaussian(VP())
    encoder = Encoder(3, 4, width=8, multipliers=(1, 2, 2), blocks=1, attention=(1,))
    x = items((3, 16, 12)).float()
    seen: list[Tensor] = []
    encoder.down[0].register_forward_hook(lambda module, given, made: seen.append(made[0]))
    for made in (NoisyClassifier(encoder, process, "velocity"), ItemPredictor(encoder, process, Velocity())):
        layers = made.layers(x)
        assert [tuple(layer.shape) for layer in layers] == [(3, 8, 16, 12), (3, 16, 8, 6), (3, 16, 4, 3)]
        assert torch.equal(layers[0], seen[-1])
    ours = autoencoder()
    assert torch.equal(ours.layers(x)[0], ours.network.encode(x))
    of(PerceptualLoss(network=made), x, y := (x + 1).requires_grad_()).sum().backward()
    assert float(y.grad.abs().sum()) > 0  # type: ignore[union-attr]
    assert not any(module._forward_hooks for module in encoder.modules() if module is not encoder.down[0])
    with pytest.raises(Refused, match=r"MLPClassifier keeps no places of items of shape \(3, 4, 4\) apart"):
        by_depth(mlp := MLPClassifier(2, (3, 4, 4)), lambda: mlp(x[..., :4, :4], torch.zeros(3)), x[..., :4, :4])


def test_grey_images_look_as_grey_images_in_colour_and_a_pixel_is_what_the_network_knows():
    network, x = EfficientNetLite0Layers(), items((1, 32, 40)).clamp(-1, 1).float()
    seen: list[Tensor] = []
    network.network._conv_stem.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    grey, colour = network.layers(x), network.layers(x.expand(-1, 3, -1, -1))
    torch.testing.assert_close(seen[0], ((x + 1) * 127.5 - 127).expand(-1, 3, -1, -1) / 128)
    assert [tuple(layer.shape[1:]) for layer in grey] == [
        (16, 16, 20), (24, 8, 10), (40, 4, 5), (112, 2, 3), (1280, 1, 2),
    ]  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(grey, colour, strict=True))


def test_equivariance_is_0_for_areas_of_one_value_and_a_decoder_that_repeats():
    """These scales and turns are exact then; a decoder that adds a number is off by it, whatever the scale."""
    loss = EquivarianceLoss(scales=(0.5, 0.25))

    def repeated(z: Tensor, times: int = 3) -> Tensor:
        return z.repeat_interleave(times, 2).repeat_interleave(times, 3)

    z = repeated(items((2, 1, 2)), 4)
    x = repeated(z)
    for seed in range(8):
        assert float(of(loss, x, x, z, repeated, seed).max()) < 1e-9
    assert float(of(loss, x, x, z, lambda z: repeated(z) + 0.5)[0]) == pytest.approx(0.5 * 2 * 12 * 24)


def test_every_scale_and_turn_comes_up_and_items_share_theirs():
    loss = EquivarianceLoss()
    drawn = [loss.drawn(Random(0).fold(step).at(torch.arange(step, step + 2)), 2) for step in range(600)]
    pairs = {(scale, turns) for scale in (1.0, 0.25, 0.5, 0.75) for turns in range(4)} - {(1.0, 0)}
    counts = {pair: drawn.count(pair) for pair in pairs}
    assert sum(counts.values()) == 600
    assert min(counts.values()) > 15
    assert {loss.drawn(Random(seed), 1)[1] for seed in range(40)} == {0}
    assert loss.drawn(Random(4).at(torch.arange(7)), 3) == loss.drawn(Random(4), 3)


VECTORS = torch.zeros(2, 5)
VOLUME = torch.zeros(1, 4, 2, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: of(LaplacianLoss(), VECTORS, VECTORS), r"laplacian goes along the axes .* shape \(5,\) have none"),
        (lambda: of(DCTLoss(), VECTORS, VECTORS), r"dct goes along the axes .* shape \(5,\) have none: take l1 or l2"),
        (lambda: of(GradientLoss(), VECTORS, VECTORS), r"gradient compares neighbours, and items of shape \(5,\) have"),
        (lambda: of(EquivarianceLoss(), VECTORS, VECTORS), r"latents of shape \(5,\) have none: leave it out"),
        (
            lambda: of(PerceptualLoss(), VOLUME, VOLUME),
            "efficientnet_lite0 sees grey and RGB images, and the data have",
        ),
        (
            lambda: of(LPIPSLoss(), VOLUME, VOLUME),
            r"lpips sees grey and RGB images, and the data have shape \(4,",
        ),
        (lambda: LaplacianLoss(levels=0), "laplacian needs at least 1 level, not 0"),
        (lambda: DCTLoss(block=1), "dct needs blocks of at least 2 numbers, not 1"),
        (lambda: EquivarianceLoss(scales=(0.5, 1.5)), r"by scales above 0 and at most 1, not \(0.5, 1.5\)"),
    ],
)
def test_what_a_loss_cannot_be_asked_is_refused(make: Callable[[], Any], message: str):
    with pytest.raises(Refused, match=message):
        make()


def test_without_its_package_or_its_weights_lpips_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    image = torch.zeros(1, 3, 4, 4)
    with pytest.raises(Refused, match=r"needs the package lpips .*: pip install 'undiffuse\[lpips\]'"):
        of(LPIPSLoss(), image, image)

    def offline(**options: Any) -> Any:
        raise OSError("no route to host")

    package: Any = ModuleType("lpips")
    package.LPIPS = offline
    monkeypatch.setitem(sys.modules, "lpips", package)
    with pytest.raises(Refused, match=r"weights of alex behind lpips cannot be had \(no route to host\)"):
        of(LPIPSLoss(backbone="alex"), image, image)
