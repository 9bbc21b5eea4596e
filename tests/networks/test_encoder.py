"""Networks that tell classes: the encoder is a U-Net's way down, and both start by telling nothing."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.networks.encoder import Encoder
from undiffuse.networks.mlp_classifier import MLPClassifier
from undiffuse.networks.unet import UNet

SMALL: dict[str, Any] = {"channels": 2, "classes": 3, "width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (1,)}
SIZES = {1: (12,), 2: (8, 4), 3: (4, 8, 6)}
TIMES = torch.tensor([3.0, 700.0])


def moved(network: Any) -> Any:
    """The network in float64 with weights that are not the zeros it starts from."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return network.double().eval()


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("network", [Encoder(**SMALL), MLPClassifier(3, (2, 8, 4))], ids=lambda n: type(n).__name__)
def test_every_class_is_as_likely_before_training_and_not_after(network: nn.Module):
    x = noise(2, 2, 8, 4)
    assert not network(x.float(), TIMES).any()
    moved(network)
    logits = network(x, TIMES)
    assert logits.shape == (2, 3)
    assert (logits.std(1) > 1e-3).all()
    torch.testing.assert_close(network(x[1:], TIMES[1:]), logits[1:])  # each sample by itself
    assert not torch.allclose(network(x, TIMES.flip(0)), logits)  # the time is heard


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("more", [{}, {"pool": "mean", "resample": "residual", "scale_shift": True, "head_width": 4}])
def test_a_gradient_reaches_every_parameter_and_every_place(dimensions: int, more: dict[str, Any]):
    network = moved(Encoder(**SMALL, dimensions=dimensions, **more))
    x = noise(2, 2, *SIZES[dimensions]).requires_grad_()
    network(x, TIMES).square().sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_it_is_the_way_down_of_a_u_net():
    """With a U-Net's weights the features in the middle are that U-Net's."""
    rest = {name: value for name, value in SMALL.items() if name != "classes"}
    unet, encoder = moved(UNet(**rest, time_scale=2.0)), moved(Encoder(**SMALL, time_scale=2.0))
    given = unet.state_dict()
    shared = {name: given[name] for name in encoder.state_dict() if name in given and "leave" not in name}
    rows = sum(encoder.time_widths)
    shared |= {name: given[name][:rows] for name in ("time_out.weight", "time_out.bias")}
    encoder.load_state_dict(shared, strict=False)
    assert {name.split(".")[0] for name in encoder.state_dict() if name not in shared} == {"leave_norm", "leave", "qkv"}
    seen: list[Tensor] = []
    for network in (unet, encoder):
        network.middle.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
        network(noise(2, 2, 8, 4), TIMES)
    torch.testing.assert_close(seen[0], seen[1])


def test_the_pool_does_not_depend_on_the_order_of_places_and_takes_any_number_of_them():
    network = moved(Encoder(**SMALL))
    places = noise(2, 12, 16)
    torch.testing.assert_close(network.pooled(places[:, torch.randperm(12)]), network.pooled(places))
    values = network.qkv(places[:, :1])[..., 32:]
    torch.testing.assert_close(network.pooled(places[:, :1].expand(2, 7, 16)), values[:, 0])  # all places are one
    mean = moved(Encoder(**SMALL, pool="mean"))
    torch.testing.assert_close(mean.pooled(places), places.mean(1))
    assert network(noise(2, 2, 16, 16), TIMES).shape == network(noise(2, 2, 8, 4), TIMES).shape


@pytest.mark.each(
    ("make", "message"),
    [
        (lambda: Encoder(classes=0), "classes = 0: an encoder gives at least 1 number"),
        (lambda: MLPClassifier(classes=0), "classes = 0: an MLP gives at least 1 number"),
        (lambda: MLPClassifier(depth=0), "depth = 0: an MLP needs at least 1"),
        (lambda: MLPClassifier(2, (2,))(torch.zeros(1, 3), torch.zeros(1)), r"takes 2 numbers a sample, not \(3,\)"),
        (lambda: Encoder(blocks=0), "blocks = 0: an encoder needs at least 1"),
        (lambda: Encoder(multipliers=()), r"multipliers = \(\): give one positive number a level"),
        (lambda: Encoder(attention=(4,)), r"attention = \(4,\): this encoder has the levels 0 to 3"),
        (lambda: Encoder(downsample_padding=2), "downsample_padding = 2: it is 0"),
        (lambda: Encoder(resample="bilinear"), "an encoder's resample has no 'bilinear'"),
        (lambda: Encoder(pool="max"), "an encoder's pool has no 'max'"),
        (lambda: Encoder(dimensions=0), "dimensions = 0: an encoder takes sequences"),
        (lambda: Encoder(**SMALL)(torch.zeros(1, 2, 8, 5), torch.zeros(1)), "needs a width that 2 divides, not 5"),
        (lambda: Encoder(**SMALL)(torch.zeros(1, 1, 8, 8), torch.zeros(1)), r"this encoder takes \(batch, 2, height"),
    ],
)
def test_what_makes_no_classifier_is_refused(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()
