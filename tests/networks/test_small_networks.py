"""The lectures' networks: their sizes, what they do with time and classes, and what they refuse."""

import pytest
import torch

from undiffuse.core.errors import Refused
from undiffuse.networks.convnet import ConvNet
from undiffuse.networks.embeddings import RawTime, positional
from undiffuse.networks.mlp import MLP

POINTS = (torch.linspace(-2, 2, 12).view(6, 2), lambda **a: MLP(channels=2, **a))
FLAT = (torch.linspace(-2, 2, 96).view(6, 1, 4, 4), lambda **a: MLP(channels=1, shape=(1, 4, 4), **a))
IMAGES = (torch.linspace(-2, 2, 240).view(6, 2, 4, 5), lambda **a: ConvNet(channels=2, width=8, depth=3, **a))
EVERY = pytest.mark.parametrize(("x", "make"), [POINTS, FLAT, IMAGES], ids=["points", "flattened images", "images"])
TIMES = torch.tensor([0.0, 100.0, 400.0, 500.0, 998.0, 999.0])


@EVERY
def test_labels_and_null_labels(x, make):
    torch.manual_seed(0)
    network = make(classes=3)
    label, drop = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([True, False] * 3)
    null, full, mixed = network(x, TIMES), network(x, TIMES, label=label), network(x, TIMES, label=label, drop=drop)
    assert torch.equal(mixed[drop], null[drop])
    assert torch.equal(mixed[~drop], full[~drop])
    assert not torch.allclose(full, null, atol=1e-3)
    with pytest.raises(Refused, match="built without classes"):
        make()(x, TIMES, label=label)


@EVERY
def test_samples_do_not_see_each_other(x, make):
    torch.manual_seed(0)
    network = make(waves=2)
    apart = torch.cat([network(x[i : i + 1], TIMES[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(network(x, TIMES), apart, rtol=1e-4, atol=1e-5)


@EVERY
def test_a_gradient_reaches_every_parameter_and_every_input(x, make):
    torch.manual_seed(0)
    network, x, t = make(classes=2, waves=1), x.clone().requires_grad_(), TIMES.clone().requires_grad_()
    network(x, t, label=torch.tensor([0, 1] * 3)).square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    assert x.grad is not None
    assert t.grad is not None
    assert x.grad.abs().sum() > 0
    assert (t.grad != 0).all()


@EVERY
def test_bfloat16_is_close_to_float32(x, make):
    torch.manual_seed(0)
    network = make(waves=4)
    exact = network(x, TIMES)
    half = network.bfloat16()(x.bfloat16(), TIMES)
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).abs().max() < 0.03 * exact.abs().max()


def test_sizes_are_the_lectures():
    assert sum(p.numel() for p in MLP(channels=2).parameters()) == 4 * 256 + 2 * (256 * 257) + 257 * 2
    assert sum(p.numel() for p in ConvNet(channels=1).parameters()) == (50 + 1) * 64 + 5 * (1600 + 1) * 64 + 1601


def test_a_convnet_sees_one_plus_depth_times_kernel_minus_one_pixels():
    torch.manual_seed(0)
    x = torch.zeros(1, 1, 41, 41, requires_grad=True)
    ConvNet(width=4)(x, torch.zeros(1))[0, 0, 20, 20].backward()
    assert x.grad is not None
    seen = x.grad[0, 0].abs().sum(0).nonzero()
    assert seen.max() - seen.min() + 1 == 1 + 7 * 4


def test_the_lectures_time_is_their_default():
    torch.testing.assert_close(RawTime(1 / 999, -0.5, 0)(TIMES)[:, 0], TIMES / 999 - 0.5)


def test_waves_are_sines_and_cosines_of_the_feature():
    features = RawTime(0.5, 0.25, 2)(torch.tensor([1.0]))
    f = torch.tensor(0.75 * torch.pi)
    torch.testing.assert_close(features[0], torch.stack([f / torch.pi, f.sin(), (2 * f).sin(), f.cos(), (2 * f).cos()]))


def test_positional_embedding_by_hand():
    phase = torch.tensor([2.0, 2e-4])  # DDPM's frequencies end at exactly 1e-4
    embedding = positional(torch.tensor([2.0]), 4, shift=1)[0]
    torch.testing.assert_close(embedding, torch.cat([phase.sin(), phase.cos()]))
    assert torch.equal(positional(torch.tensor([2.0]), 4, shift=1, cos_first=True)[0], embedding.roll(2))
    phase = torch.tensor([3.0, 0.03])  # without the shift they end one step earlier; an odd width ends with a zero
    torch.testing.assert_close(
        positional(torch.tensor([3.0]), 5, shift=0)[0], torch.cat([phase.sin(), phase.cos(), torch.zeros(1)])
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MLP(channels=3)(torch.zeros(4, 2), torch.zeros(4)), r"takes 3 numbers a sample, not \(2,\)"),
        (lambda: MLP(width=0), "width = 0: an MLP needs at least 1"),
        (lambda: MLP(shape=(1, 0)), r"shape \(1, 0\) = 0: an MLP needs at least 1"),
        (lambda: MLP(waves=-1), "waves = -1"),
        (
            lambda: ConvNet(channels=3)(torch.zeros(4, 1, 8, 8), torch.zeros(4)),
            r"takes \(batch, 3, height, width\), not \(4, 1, 8, 8\)",
        ),
        (lambda: ConvNet(kernel=4), "kernel = 4: it must be odd"),
        (lambda: ConvNet(depth=1), "depth = 1: a ConvNet needs at least 2"),
    ],
)
def test_refusals_say_what_is_possible(call, message):
    with pytest.raises(Refused, match=message):
        call()
