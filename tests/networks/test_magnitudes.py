"""EDM2's layers keep unit magnitude, their weights are forced to length 1, and the U-Net of them starts at zero."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from undiffuse import Train, Training, schedules
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.network import AfterStep, after_step, features
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.networks.dit import DiT
from undiffuse.networks.edm2_unet import EDM2UNet
from undiffuse.networks.magnitude_blocks import UnitAttention, UnitResidual
from undiffuse.networks.magnitudes import UnitWeights, unit, unit_join, unit_silu, unit_sum
from undiffuse.networks.reading import TextTokens
from undiffuse.networks.resampling import average, repeat
from undiffuse.networks.unet import UNet
from undiffuse.objectives import Denoising

SMALL = {"channels": 2, "width": 16, "multipliers": (1, 2), "blocks": 1, "attention": (1,), "classes": 3}
SIZES = {1: (8,), 2: (8, 4), 3: (4, 8, 6)}
TIMES, LABELS = torch.tensor([-0.3, 0.4]), torch.tensor([1, 0])


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def size(x: Tensor) -> float:
    return float(x.detach().square().mean().sqrt())


def inner(x: Tensor) -> Tensor:
    """Away from the rim, where convolutions see zeros."""
    return x[(..., *[slice(2, -2)] * (x.ndim - 2))]


LAYERS = {
    "linear": lambda: UnitWeights(48, 32)(noise(512, 48)),
    "convolution": lambda: inner(UnitWeights(8, 24, (3, 3))(noise(8, 8, 24, 24))),
    "silu": lambda: unit_silu(noise(200_000)),
    "sum": lambda: unit_sum(noise(200_000), noise(200_000, seed=2), 0.3),
    "join": lambda: unit_join(noise(8, 12, 900), noise(8, 36, 900, seed=2)),
    "pixel norm": lambda: unit(3 * noise(4, 16, 50)),
    "down": lambda: inner(UnitResidual(16, 32, True, 0.0, 2)(noise(8, 16, 24, 24), noise(8, 32))),
    "halve": lambda: inner(UnitResidual(16, 16, True, 0.0, 2, average)(noise(8, 16, 48, 48), noise(8, 16))),
    "up": lambda: inner(UnitResidual(32, 16, False, 0.0, 2)(noise(8, 32, 24, 24), noise(8, 16))),
    "double": lambda: inner(UnitResidual(16, 16, False, 0.0, 2, repeat)(noise(8, 16, 12, 12), noise(8, 16))),
    "attention to one place": lambda: UnitAttention(32, 8)(noise(512, 32, 1)),
    "attention to one word": lambda: UnitAttention(32, 8, 24)(
        noise(512, 32, 1), TextTokens(5 * noise(512, 1, 24, seed=3), torch.ones(512, 1, dtype=torch.bool))
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_keeps_unit_magnitude(name):
    torch.manual_seed(0)
    assert size(LAYERS[name]()) == pytest.approx(1, abs=0.04)


def test_features_of_time_and_conditions_have_unit_magnitude_however_many_there_are():
    torch.manual_seed(0)
    specs = {"style": ("vector", (4,))}
    network = EDM2UNet(**{**SMALL, "width": 128}, conditions=specs).eval()
    said = []
    network.time_out.register_forward_pre_hook(lambda _, given: said.append(given[0]))
    style, times = 10 * noise(64, 4), noise(64)
    added = network.conditioning.read(64, {"style": style}, None)[0]
    labels = torch.arange(64) % 3
    network.embed(times, None, None)
    network.embed(times, labels, None)
    network.embed(times, labels, torch.ones(64, dtype=torch.bool))
    network.embed(times, labels, {"label": torch.zeros(64, dtype=torch.bool)}, added)
    assert [size(each) for each in said] == pytest.approx([1.0] * 4, abs=0.12)
    assert torch.equal(said[0], said[2])


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_the_output_is_zero_at_first_and_then_every_parameter_and_place_counts(dimensions):
    torch.manual_seed(0)
    x = noise(2, 2, *SIZES[dimensions]).double()
    network = EDM2UNet(**SMALL, dimensions=dimensions).double()
    assert (network(x, TIMES, label=LABELS) == 0).all()
    with torch.no_grad():
        for parameter in (p for p in network.parameters() if p.ndim == 0):
            parameter.fill_(0.7)
    x.requires_grad_()
    output = network(x, TIMES, label=torch.tensor([2, 1]))
    (output.square().sum() + network(x, TIMES, label=torch.tensor([0, 0])).square().sum()).backward()
    assert output.shape == x.shape
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    assert x.grad is not None
    assert (x.grad != 0).all()


@pytest.mark.parametrize(("width", "millions"), [(192, 280.2), (320, 777.5)])
def test_the_papers_networks_have_their_published_sizes(width, millions):
    """arXiv:2312.02696: S and L."""
    with torch.device("meta"):
        network = EDM2UNet(channels=4, classes=1000, width=width)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == millions


def test_conditions_are_heard_and_nothing_is_heard_of_those_that_are_dropped():
    torch.manual_seed(0)
    specs = {"text": ("text", (6,)), "map": ("image", (1, 16, 8)), "style": ("vector", (4,))}
    network = EDM2UNet(**SMALL, text_width=8, conditions=specs).double().eval()
    with torch.no_grad():
        for parameter in (p for p in network.parameters() if p.ndim == 0):
            parameter.fill_(0.5)
    x = noise(2, 2, 8, 4).double()
    given = {"text": torch.tensor([[257, 98, 99, 0, 0, 0]] * 2), "map": noise(2, 1, 16, 8), "style": noise(2, 4)}
    everything, nothing = network(x, TIMES, label=LABELS, **given), network(x, TIMES)
    for name in given:
        rest = {key: value for key, value in given.items() if key != name}
        without = network(x, TIMES, label=LABELS, **rest)
        assert not torch.allclose(everything, without)
        dropped = network(x, TIMES, label=LABELS, **given, drop={name: torch.ones(2, dtype=torch.bool)})
        torch.testing.assert_close(dropped, without)
    torch.testing.assert_close(network(x, TIMES, label=LABELS, **given, drop=torch.ones(2, dtype=torch.bool)), nothing)


def test_weights_have_length_1_after_every_step_and_stay_free_to_turn():
    torch.manual_seed(0)
    network = EDM2UNet(**{**SMALL, "width": 8})
    first = copy.deepcopy(network.state_dict())
    settings = Train(steps=3, batch=8, lr=0.05, warmup=0, snapshots=0, ema_decay=0.0)
    data = torch.utils.data.TensorDataset(noise(16, 2, 4, 4))
    denoiser = Predictor(network, Gaussian(schedules.EDMSchedule()), "edm")
    Training(denoiser, Denoising("edm"), data, settings).run(progress=False)
    layers = [m for m in network.modules() if isinstance(m, UnitWeights)]
    assert len(layers) > 20
    for layer in layers:
        torch.testing.assert_close(
            layer.weight.square().flatten(1).mean(1), torch.ones(len(layer.weight)), rtol=1e-3, atol=0
        )
    turned = [name for name, value in network.state_dict().items() if not torch.equal(value, first[name])]
    assert {"enter.weight", "leave.weight", "gain", "time_out.weight"} <= set(turned)


def test_a_longer_weight_means_the_same():
    """The forward pass divides by the length: an average of weights is no shorter in effect."""
    torch.manual_seed(0)
    layer, x = UnitWeights(6, 4, (3,)), noise(2, 6, 9)
    before = layer(x)
    with torch.no_grad():
        layer.weight.mul_(3)
    torch.testing.assert_close(layer(x), before, rtol=1e-3, atol=1e-4)


def test_what_has_something_to_do_after_a_step_is_asked_wherever_it_stands():
    class Counts(nn.Module, AfterStep):
        def __init__(self) -> None:
            super().__init__()
            self.steps = 0

        def after_step(self) -> None:
            assert not torch.is_grad_enabled()
            self.steps += 1

    counts = Counts()
    after_step([nn.Sequential(nn.Linear(2, 2), nn.Sequential(counts)), counts])
    assert counts.steps == 1


def test_depths_are_where_their_sizes_say():
    for made in (EDM2UNet(**SMALL), UNet(**SMALL)):
        seen = {}
        for name, depth in made.depths().items():
            with features(depth) as found:
                made(noise(2, 2, 8, 4), TIMES)
            seen[name] = found[0].shape
        assert list(seen) == ["down0", "down1", "middle", "up1", "up0"]
        places = {"down0": 32, "down1": 8, "middle": 8, "up1": 8, "up0": 32}
        assert seen == {name: (2, places[name], depth.width) for name, depth in made.depths().items()}


def test_the_depths_of_a_dit_are_its_blocks():
    network = DiT(channels=2, shape=(2, 8, 4), width=8, depth=3, heads=2)
    for name, depth in network.depths().items():
        with features(depth) as found:
            network(noise(2, 2, 8, 4), TIMES)
        assert found[0].shape == (2, 8, 8), name
    assert list(network.depths()) == ["block1", "block2", "block3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width = 0: an EDM2 U-Net needs at least 1"),
        ({"head_width": 5}, r"head_width = 5 does not divide the 32 channels"),
        ({"attention": (2,)}, r"attention = \(2,\): this EDM2 U-Net has the levels 0 to 1"),
        ({"dimensions": 4}, "dimensions = 4: an EDM2 U-Net takes sequences"),
    ],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(Refused, match=message):
        EDM2UNet(**{**SMALL, **options})


def test_inputs_that_do_not_fit_are_refused():
    network = EDM2UNet(**{**SMALL, "classes": 0})
    with pytest.raises(Refused, match=r"an EDM2 U-Net of 2 levels needs a height that 2 divides, not 5"):
        network(noise(2, 2, 5, 4), TIMES)
    with pytest.raises(Refused, match=r"this EDM2 U-Net takes \(batch, 2, height, width\)"):
        network(noise(2, 3, 4, 4), TIMES)
    with pytest.raises(Refused, match="built without classes"):
        network(noise(2, 2, 4, 4), TIMES, label=LABELS)


def test_time_is_told_apart_at_the_scale_of_edm():
    """The features of noise levels that are twice apart, sigma and 2 sigma, differ."""
    network = EDM2UNet(**SMALL)
    near = network.embed(torch.tensor([0.0, math.log(2) / 4]), None, None)
    assert size(near[0] - near[1]) > 0.5
