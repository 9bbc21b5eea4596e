"""Networks for sequences, images and volumes are one network: the laws that join and bind the three."""

from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.codecs.identity import Identity
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.networks.axes import KINDS
from undiffuse.networks.convnet import ConvNet
from undiffuse.networks.precision import place
from undiffuse.networks.resampling import Double, Halve
from undiffuse.networks.unet import UNet
from undiffuse.recipes import build
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe

SMALL = {"channels": 2, "width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (0,), "classes": 2}
TIMES, LABELS = torch.tensor([3.0, 700.0]), torch.tensor([1, 0])
SIZES = {1: (12,), 2: (8, 4), 3: (4, 8, 6)}
Make = Callable[..., nn.Module]


def unet(dimensions: int, **arguments) -> UNet:
    return trained(UNet(**{**SMALL, **arguments}, dimensions=dimensions))


def convnet(dimensions: int, **arguments) -> ConvNet:
    return trained(ConvNet(channels=2, width=6, depth=3, kernel=3, classes=2, dimensions=dimensions, **arguments))


def trained(network):
    """The network in float64 with weights that are not the zeros that a U-Net starts from."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return network.double().eval()


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


EVERY = pytest.mark.parametrize(
    ("make", "dimensions"),
    [(make, d) for make in (unet, convnet) for d in (1, 2, 3)],
    ids=lambda v: getattr(v, "__name__", v),
)


@EVERY
def test_a_gradient_reaches_every_parameter_and_every_place(make: Make, dimensions: int):
    network, x = make(dimensions), noise(2, 2, *SIZES[dimensions]).requires_grad_()
    output = network(x, TIMES, label=LABELS)
    output.square().sum().backward()
    assert output.shape == x.shape
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    assert x.grad is not None
    assert (x.grad != 0).all()


@pytest.mark.parametrize(("make", "arguments"), [(unet, {"multipliers": (1,)}), (convnet, {})], ids=["unet", "convnet"])
@pytest.mark.parametrize("dimensions", [1, 2])
def test_what_is_one_place_thin_is_what_lacks_that_axis(make: Make, arguments: dict, dimensions: int):
    """Around an image of height 1 are zeros, so only a kernel's middle row counts: the sequence network's kernel."""
    thick, thin = make(dimensions + 1, **arguments), make(dimensions, **arguments)
    middle = {n: w[:, :, w.shape[2] // 2] if w.ndim == dimensions + 3 else w for n, w in thick.state_dict().items()}
    thin.load_state_dict(middle)
    x = noise(2, 2, *SIZES[dimensions])
    close(thick(x[:, :, None], TIMES, label=LABELS)[:, :, 0], thin(x, TIMES, label=LABELS))


@pytest.mark.parametrize("make", [unet, convnet])
@pytest.mark.parametrize("order", [(1, 0), *list(permutations(range(3)))[1:]])
def test_no_axis_is_special(make: Make, order: tuple[int, ...]):
    """Data and kernels with their axes exchanged give the output with its axes exchanged."""
    network, turn = make(len(order)), (0, 1, *(2 + i for i in order))
    x = noise(2, 2, *SIZES[len(order)])
    expected = network(x, TIMES, label=LABELS).permute(turn)
    turned = {n: w.permute(turn).clone() if w.ndim > 2 else w for n, w in network.state_dict().items()}
    network.load_state_dict(turned)
    close(network(x.permute(turn), TIMES, label=LABELS), expected)


REACH = {convnet: 3, unet: 36}  # no output sees further than so many places


@EVERY
def test_what_moves_in_the_data_moves_in_the_output(make: Make, dimensions: int):
    """A pattern amid zeros, far from the edges, moved by a multiple of 2^(levels - 1), is answered as before, moved.

    Norms and attention look everywhere, but what they see is the same set of places.
    """
    reach, axis = REACH[make], dimensions + 1
    shape = (*(6,) * (dimensions - 1), 4 * reach + 4)
    x, network = torch.zeros(1, 2, *shape, dtype=torch.float64), make(dimensions)
    x.narrow(axis, 2 * reach, 2).copy_(noise(1, 2, *shape[:-1], 2))
    with torch.no_grad():
        here, there = (network(v, TIMES[:1]) for v in (x, x.roll(2, axis)))
    close(here.roll(2, axis).narrow(axis, reach + 2, 2 * reach), there.narrow(axis, reach + 2, 2 * reach))
    assert (here - there).abs().max() > 1e-3


@EVERY
def test_what_is_constant_stays_constant_away_from_the_edges(make: Make, dimensions: int):
    reach = REACH[make]
    x = torch.full((1, 2, *(6,) * (dimensions - 1), 2 * reach + 4), 0.7, dtype=torch.float64)
    with torch.no_grad():
        output = make(dimensions)(x, TIMES[:1])
    inside = output.narrow(-1, reach, 4)
    close(inside, inside[..., :1].expand_as(inside))
    assert output.std() > 1e-6


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_halving_takes_every_second_place_and_doubling_repeats_each(dimensions: int):
    torch.manual_seed(0)
    x, strides = noise(2, 5, *SIZES[dimensions]), (slice(None), slice(None))
    for padding, first in ((1, 0), (0, 1)):
        halve = Halve(5, padding, dimensions).double()
        full = KINDS[dimensions](5, 5, 3, padding=1).double()
        full.load_state_dict(halve.conv.state_dict())
        close(halve(x), full(x)[(*strides, *(slice(first, None, 2),) * dimensions)])
    double = Double(5, dimensions).double()
    close(double(x), double.conv(F.interpolate(x, scale_factor=2.0, mode="nearest")))


@EVERY
def test_bfloat16_in_the_kernels_own_memory_order_is_close(make: Make, dimensions: int):
    network, x = make(dimensions).float(), noise(2, 2, *SIZES[dimensions]).float()
    with torch.inference_mode():
        exact = network(x, TIMES, label=LABELS)
        half = place(network, torch.bfloat16, torch.device("cpu"))(x.bfloat16(), TIMES, label=LABELS)
    assert (half.float() - exact).pow(2).mean().sqrt() < 0.04 * exact.pow(2).mean().sqrt()
    if dimensions == 3:
        kernels = [p for p in network.parameters() if p.ndim == 5 and p.shape[1] > 1 and p.shape[2] > 1]
        assert all(p.is_contiguous(memory_format=torch.channels_last_3d) for p in kernels)


@pytest.mark.parametrize(
    "network",
    [
        {"name": "convnet", "width": 24, "depth": 4, "waves": 4, "time_scale": 0.4, "time_shift": 0.1},
        {"name": "unet", "width": 16, "multipliers": [1, 2], "blocks": 1, "attention": [], "time_scale": 250.0},
    ],
    ids=["convnet", "unet"],
)
def test_a_network_for_sequences_learns_sines_of_random_phase(network: dict):
    """The shape of the data alone makes the recipe's network one for sequences; its guess beats the data's mean."""
    tables = {
        "data": {"name": "digits"},
        "codec": {"name": "identity"},
        "schedule": {"name": "edm"},
        "network": network,
    }
    objective = {"name": "denoising", "weighting": "edm", "times": "log_normal"}
    recipe = Recipe.find({**tables, "parameterization": {"name": "edm"}, "objective": objective, "train": {"steps": 1}})
    torch.manual_seed(0)
    denoiser = build.predictor(Description(recipe, (1, 16), {}, Identity()))
    loss = build.objective(recipe)
    phase = 2 * torch.pi * torch.rand(512, 1, 1)
    x, random = torch.sin(2 * torch.pi * torch.arange(16) / 8 + phase), Random(0)
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=3e-3, fused=True)
    for step in range(80):
        rows = torch.arange(32) + 32 * (step % 15)
        loss.loss(denoiser, Batch(x[rows]), random.fold(step).at(rows)).mean().backward()
        optimiser.step()
        optimiser.zero_grad()
    unseen, t = x[480:], 0.7 / denoiser.process.schedule.sigma(torch.tensor(1.0))  # sigma = 0.7: as strong as the sine
    with torch.no_grad():
        x_t = denoiser.process.marginal(unseen, float(t)).sample(random)
        error = (denoiser(x_t, float(t)).mean - unseen).square().mean()
    assert float(unseen.square().mean()) == pytest.approx(0.5, abs=0.02)  # the error of guessing the mean, 0
    assert float(error) < 0.12  # half of 0.247, which the best linear guess from each place alone leaves


def test_shapes_and_sizes_that_do_not_fit_are_refused_by_axis():
    x = torch.zeros(2, 2, 8, 8, 6, dtype=torch.float64)
    with pytest.raises(Refused, match=r"this U-Net takes \(batch, 2, length\), not \(2, 2, 8, 8\)"):
        unet(1)(x[..., 0], TIMES)
    with pytest.raises(Refused, match=r"this ConvNet takes \(batch, 2, depth, height, width\), not \(2, 1, 8, 8, 6\)"):
        convnet(3)(x[:, :1], TIMES)
    deep = {"multipliers": (1, 1, 1)}
    with pytest.raises(Refused, match=r"of 3 levels needs a width that 4 divides, not 6: 4 or 8 fits"):
        unet(3, **deep)(x, TIMES)
    with pytest.raises(Refused, match=r"needs a depth that 4 divides, not 2: 4 fits; .*data\.size=4.*network\.multipl"):
        unet(3, **deep)(x[:, :, :2], TIMES)
    with pytest.raises(Refused, match=r"a length that 4 divides, not 9: 8 or 12 fits; .*data\.window=12 of series"):
        unet(1, **deep)(torch.zeros(2, 2, 9, dtype=torch.float64), TIMES)


@pytest.mark.parametrize("dimensions", [0, 4, -1])
def test_data_with_no_axes_or_too_many_are_refused(dimensions: int):
    for network, name in ((UNet, "a U-Net"), (ConvNet, "a ConvNet")):
        with pytest.raises(Refused, match=rf"dimensions = {dimensions}: {name} takes sequences \(1\), images \(2\)"):
            network(dimensions=dimensions)


def test_only_images_go_to_a_unet2dmodel(tmp_path):
    with pytest.raises(Refused, match=r"dimensions = 1: a UNet2DModel is for images"):
        unet(1).to_diffusers(tmp_path / "out")
    assert not (tmp_path / "out").exists()
