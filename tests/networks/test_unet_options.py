"""What ADM and NCSN++ add to the U-Net: blocks that change the resolution, filters, rescaled sums, Fourier features."""

import math
from functools import reduce

import pytest
import torch
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.networks.blocks import Attention, Residual
from undiffuse.networks.embeddings import fourier_features
from undiffuse.networks.resampling import CHANGES, average, filtered_double, filtered_half, repeat
from undiffuse.networks.unet import UNet

SMALL = {"channels": 2, "width": 16, "multipliers": (1, 2), "blocks": 1, "attention": (1,), "classes": 3}
ADM = {"resample": "residual", "scale_shift": True, "head_width": 8, "attention": (0, 1)}
NCSNPP = {"resample": "fir", "rescale": True, "fourier": 2.0, "time_scale": 4.0}
BOTH = pytest.mark.parametrize("options", [ADM, NCSNPP], ids=["ADM", "NCSN++"])
SIZES = {1: (8,), 2: (8, 4), 3: (4, 8, 6)}
TIMES, LABELS = torch.tensor([0.3, 2.0]), torch.tensor([1, 0])


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trained(dimensions: int = 2, **options) -> UNet:
    torch.manual_seed(0)
    unet = UNet(**{**SMALL, **options}, dimensions=dimensions)
    with torch.no_grad():
        for p in unet.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return unet.double().eval()


@pytest.mark.parametrize(
    ("width", "multipliers", "blocks", "attention", "classes", "millions"),
    [
        (192, (1, 2, 3, 4), 3, (1, 2, 3), 1000, 296),
        (256, (1, 1, 2, 3, 4), 2, (2, 3, 4), 1000, 422),
        (256, (1, 1, 2, 2, 4, 4), 2, (3, 4, 5), 1000, 554),
        (256, (0.5, 1, 1, 2, 2, 4, 4), 2, (4, 5, 6), 1000, 559),
    ],
    ids=["64 x 64", "128 x 128", "256 x 256", "512 x 512"],
)
def test_adms_networks_have_their_published_sizes(width, multipliers, blocks, attention, classes, millions):
    """arXiv:2105.05233, table 4: 296, 422, 554 and 559 million parameters, with mean and variance as output."""
    adm = {"scale_shift": True, "head_width": 64, "resample": "residual", "channels": 3, "out_channels": 6}
    sizes = {"width": width, "multipliers": multipliers, "blocks": blocks, "attention": attention, "classes": classes}
    with torch.device("meta"):
        unet = UNet(**adm, **sizes)
    assert round(sum(p.numel() for p in unet.parameters()) / 1e6) == millions


@BOTH
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_the_output_is_zero_at_first_and_then_every_parameter_and_place_counts(options, dimensions):
    x = noise(2, 2, *SIZES[dimensions])
    first = UNet(**{**SMALL, **options}, dimensions=dimensions).double()
    assert (first(x, TIMES, label=LABELS) == 0).all()
    unet, x = trained(dimensions, **options), x.requires_grad_()
    output = unet(x, TIMES, label=torch.tensor([2, 1]))
    (output.square().sum() + unet(x, TIMES, label=torch.tensor([0, 0])).square().sum()).backward()
    assert output.shape == x.shape
    assert [n for n, p in unet.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    assert x.grad is not None
    assert (x.grad != 0).all()


@BOTH
def test_twice_the_channels_leave_where_asked(options):
    assert UNet(**{**SMALL, **options}, out_channels=4)(torch.zeros(2, 2, 8, 4), TIMES).shape == (2, 4, 8, 4)


@BOTH
def test_the_gradient_is_the_same_as_without_in_place_arithmetic(options):
    unet = trained(**options)
    x = noise(1, 2, 4, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: unet(x, TIMES[:1]), x)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_the_filter_is_1_3_3_1_between_zeros(dimensions):
    """On the way down divided by 8 along each axis, on the way up by 4; each the other's transpose, up to 2 an axis."""
    x, y = noise(2, 3, *SIZES[dimensions]), noise(2, 3, *(n // 2 for n in SIZES[dimensions]), seed=2)
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)
    kernel = reduce(torch.kron, [line] * dimensions).view(*(4,) * dimensions).expand(3, 1, *(4,) * dimensions)
    down = (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1]
    up = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dimensions - 1]
    expected = down(x, kernel / 8**dimensions, stride=2, padding=1, groups=3)
    torch.testing.assert_close(filtered_half(x), expected, rtol=1e-12, atol=1e-14)
    expected = up(y, kernel / 4**dimensions, stride=2, padding=1, groups=3)
    torch.testing.assert_close(filtered_double(y), expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(2**dimensions * (filtered_half(x) * y).sum(), (x * filtered_double(y)).sum())


@pytest.mark.parametrize(("half", "double"), [(average, repeat), (filtered_half, filtered_double)])
def test_changes_of_resolution_keep_what_is_constant_and_move_with_the_data(half, double):
    flat = torch.full((1, 1, 8, 12), 0.7, dtype=torch.float64)
    inside = (..., slice(1, -1), slice(1, -1))
    assert torch.allclose(half(flat)[inside], flat[..., :2, :4], rtol=1e-14)
    assert torch.allclose(double(flat)[inside], torch.tensor(0.7, dtype=torch.float64), rtol=1e-14)
    x = F.pad(noise(1, 1, 4, 4), (6, 6, 6, 6))
    torch.testing.assert_close(half(x.roll((2, 4), (2, 3))), half(x).roll((1, 2), (2, 3)))
    torch.testing.assert_close(double(x.roll((1, 2), (2, 3))), double(x).roll((2, 4), (2, 3)))
    assert half(x).sum() == pytest.approx(float(x.sum()) / 4)  # each pixel counts the same
    assert double(x).sum() == pytest.approx(4 * float(x.sum()))


@pytest.mark.parametrize("name", ["residual", "fir"])
def test_a_block_that_changes_the_resolution_is_that_change_at_first(name):
    x, time = noise(2, 16, 8, 4), noise(2, 16)
    for change in CHANGES[name]:
        assert change is not None
        block = Residual(16, 16, 0, 1e-6, 0.0, False, change=change).double()
        torch.testing.assert_close(block(x, time), change(x), rtol=0, atol=0)


def test_rescaled_sums_keep_the_variance():
    """(x + h)/sqrt 2 of x and h independent with variance 1 has variance 1; without it 2."""
    torch.manual_seed(0)
    x = torch.randn(8, 32, 16, 16)
    for rescale, expected in ((True, 1.0), (False, 2.0)):
        block = Residual(32, 32, 0, 1e-6, 0.0, False, rescale=rescale)
        with torch.no_grad():
            h = block(x, torch.zeros(8, 32)) / (math.sqrt(0.5) if rescale else 1.0)
            assert torch.allclose(h, x, atol=1e-6)  # the block adds nothing at first ...
            block.conv2.weight.normal_()
            added = block(x, torch.zeros(8, 32)) / (math.sqrt(0.5) if rescale else 1.0) - x
            block.conv2.weight /= added.std()  # ... and then a part of variance 1
            assert float(block(x, torch.zeros(8, 32)).var()) == pytest.approx(expected, rel=0.05)
    attention = Attention(32, 0, 1e-6, 4, rescale=True)
    torch.testing.assert_close(attention(x), x * math.sqrt(0.5))


def test_fourier_features_tell_times_apart_as_a_normal_law_of_frequencies_does():
    """Their inner product is the kernel exp(-(2 pi scale difference)^2 / 2) (arXiv:2006.10739, eq. 4)."""
    times = torch.tensor([0.0, 0.02, 0.05, 0.1, 0.3])
    features = fourier_features(times, 512, 2.0)
    assert features.shape == (5, 512)
    kernel = (features @ features.T) / 256
    expected = (-((2 * math.pi * 2.0 * (times[:, None] - times)) ** 2) / 2).exp()
    torch.testing.assert_close(kernel, expected, rtol=0, atol=0.01)
    assert fourier_features(times, 7, 2.0).shape == (5, 7)
    assert (fourier_features(times, 7, 2.0)[:, -1] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"resample": "firs"},
            r"a U-Net's resample has no 'firs' \(did you mean 'fir'\?\); it has: conv, fir, residual",
        ),
        ({"fourier": -1.0}, "fourier = -1: the scale of the frequencies is above 0, or 0 for `positional`"),
        ({"fourier": math.inf}, "fourier = inf: the scale of the frequencies"),
    ],
)
def test_options_that_do_not_exist_are_refused(options, message):
    with pytest.raises(Refused, match=message):
        UNet(**{**SMALL, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resample": "fir"}, "resample = 'fir': a UNet2DModel is written with resample = 'conv' only"),
        ({"rescale": True}, "rescale = True: a UNet2DModel is written with rescale = False only"),
        ({"fourier": 16.0}, r"fourier = 16.0: a UNet2DModel is written with fourier = 0.0 only"),
    ],
)
def test_what_a_unet2dmodel_is_not_written_with_is_refused(tmp_path, options, message):
    with pytest.raises(Refused, match=message):
        UNet(**{**SMALL, "multipliers": (1, 1), **options}).to_diffusers(tmp_path / "out")
    assert not (tmp_path / "out").exists()
