"""The U-Net is DDPM's: its size, its start, what it does with sizes, classes and dtypes."""

import pytest
import torch

from undiffuse.core.errors import Refused
from undiffuse.networks.blocks import Attention, Residual, normalise
from undiffuse.networks.resampling import Double
from undiffuse.networks.unet import UNet

SMALL = {"channels": 2, "width": 16, "multipliers": (1, 2), "blocks": 1, "attention": (1,)}


def trained(**arguments) -> UNet:
    """A small U-Net whose zero-initialised weights have been moved, as training would."""
    torch.manual_seed(0)
    unet = UNet(**{**SMALL, **arguments})
    with torch.no_grad():
        for p in unet.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return unet.eval()


def batch(count: int = 4, channels: int = 2, height: int = 8, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, channels, height, width, generator=generator), torch.tensor([3.0, 250.0, 500.5, 999.0])[
        :count
    ]


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ({}, 35_746_307),
        ({"multipliers": (1, 1, 2, 2, 4, 4), "attention": (4,)}, 113_673_219),
        ({"attention": (-3,)}, 35_746_307),
    ],
    ids=["CIFAR-10", "256 x 256", "levels count from the deepest too"],
)
def test_parameter_counts_are_ddpms(arguments, count):
    with torch.device("meta"):
        unet = UNet(**arguments)
    assert sum(p.numel() for p in unet.parameters()) == count


def test_the_output_is_zero_at_first():
    torch.manual_seed(0)
    x, t = batch()
    assert (UNet(**SMALL, classes=3)(x, t, label=torch.tensor([0, 1, 2, 0])) == 0).all()


def test_blocks_are_the_identity_at_first():
    torch.manual_seed(0)
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(Residual(16, 16, 0, 1e-6, 0.0, False)(x, torch.randn(2, 16)), x)
    assert torch.equal(Residual(16, 16, 0, 1e-6, 0.0, True)(x, torch.randn(2, 32)), x)
    assert torch.equal(Attention(16, 0, 1e-6, 2)(x), x)


def test_doubling_is_repetition_then_convolution():
    torch.manual_seed(0)
    double, x = Double(5), torch.randn(2, 5, 3, 4)
    expected = double.conv(torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"))
    torch.testing.assert_close(double(x), expected, rtol=1e-5, atol=1e-5)


def test_attention_is_softmax_attention():
    torch.manual_seed(0)
    layer, x = Attention(6, 3, 1e-6, 2), torch.randn(2, 6, 2, 3)
    torch.nn.init.normal_(layer.out.weight)
    tokens = layer.norm(x).flatten(2).mT  # (batch, pixels, channels)
    q, k, v = (part.unflatten(2, (2, 3)).transpose(1, 2) for part in layer.qkv(tokens).chunk(3, dim=2))
    mixed = torch.softmax(q @ k.mT / 3**0.5, dim=-1) @ v
    expected = x + layer.out(mixed.transpose(1, 2).flatten(2)).mT.unflatten(2, (2, 3))
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{}, {"scale_shift": True, "head_width": 8, "downsample_padding": 1, "blocks": 2, "attention": (0, 1)}]
)
def test_a_gradient_reaches_every_parameter(settings):
    unet = trained(**settings, classes=3)
    x, t = batch(3)
    unet(x, t, label=torch.tensor([0, 1, 2])).square().mean().backward()
    assert [n for n, p in unet.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_gradient_is_the_same_as_without_in_place_arithmetic():
    unet = trained().double()
    x, t = batch(1, height=4, width=4)
    assert torch.autograd.gradcheck(lambda x: unet(x, t[:1]), x.double().requires_grad_())


def test_evaluation_does_not_touch_its_input():
    unet = trained(multipliers=(1, 1))
    x, t = batch()
    before = x.clone()
    with torch.inference_mode():
        first = unet(x, t)
        assert torch.equal(x, before)
        assert torch.equal(unet(x, t), first)
    torch.testing.assert_close(unet(x, t).detach(), first, rtol=1e-5, atol=1e-6)


def test_a_dropped_label_is_no_label_exactly():
    unet = trained(classes=3)
    x, t = batch()
    label, drop = torch.tensor([0, 1, 2, 1]), torch.tensor([True, False, True, False])
    null, full, mixed = unet(x, t), unet(x, t, label=label), unet(x, t, label=label, drop=drop)
    assert torch.equal(mixed[drop], null[drop])
    assert torch.equal(mixed[~drop], full[~drop])
    assert not torch.allclose(full, null, atol=1e-3)
    assert torch.equal(unet(x, t, drop=drop), null)


def test_samples_do_not_see_each_other():
    unet = trained(classes=3)
    x, t = batch()
    label = torch.tensor([0, 1, 2, 1])
    together = unet(x, t, label=label)
    apart = torch.cat([unet(x[i : i + 1], t[i : i + 1], label=label[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)
    x[1:], label[1:] = 7.0, 0
    assert torch.equal(unet(x, t, label=label)[0], together[0])


@pytest.mark.parametrize(("height", "width"), [(4, 12), (2, 2), (28, 6)])
def test_any_size_that_the_depth_divides(height, width):
    x, t = batch(2, height=height, width=width)
    assert trained()(x, t).shape == x.shape


def test_the_time_and_its_scale_matter():
    x, t = batch()
    unet = trained()
    assert not torch.allclose(unet(x, t), unet(x, t + 40), atol=1e-4)
    scaled = trained(time_scale=100.0)
    torch.testing.assert_close(scaled(x, t / 100), unet(x, t), rtol=1e-4, atol=1e-4)


def test_the_time_is_never_in_half_precision():
    """1000 and 1001 are one number in bfloat16; the embeddings must differ as they do in float32."""
    unet = trained()
    near = torch.tensor([1000.0, 1001.0])
    exact = unet.embed(near, None, None)
    half = unet.bfloat16().embed(near, None, None).float()
    assert not torch.equal(half[0], half[1])
    assert (half - exact).abs().max() < 0.03 * exact.abs().max()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert trained().embed(near, None, None).dtype == torch.float32


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_bfloat16_is_close_to_float32(layout):
    unet = trained(width=32, classes=3)
    x, t = batch(height=16, width=16)
    label = torch.tensor([0, 1, 2, 1])
    with torch.inference_mode():
        exact = unet(x, t, label=label)
        unet = unet.to(dtype=torch.bfloat16, memory_format=layout)  # pyright: ignore[reportCallIssue]
        half = unet(x.to(torch.bfloat16, memory_format=layout), t, label=label)
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).pow(2).mean().sqrt() < 0.02 * exact.pow(2).mean().sqrt()


def test_channels_last_gives_the_same_numbers():
    unet = trained()
    x, t = batch()
    expected = unet(x, t)
    last = unet.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    output = last(x.contiguous(memory_format=torch.channels_last), t)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    assert output.is_contiguous(memory_format=torch.channels_last)


def test_the_norm_does_not_depend_on_the_layout():
    torch.manual_seed(0)
    norm = torch.nn.GroupNorm(4, 16)
    x = torch.randn(3, 16, 8, 8) * 3 + 2
    exact = norm(x)
    torch.testing.assert_close(
        normalise(x.contiguous(memory_format=torch.channels_last), norm), exact, rtol=1e-4, atol=1e-5
    )
    half = normalise(x.bfloat16().contiguous(memory_format=torch.channels_last), norm.bfloat16())
    assert (half.float() - exact).abs().max() < 0.06


def test_dropout_acts_in_training_only():
    unet = trained(dropout=0.5)
    x, t = batch()
    assert torch.equal(unet(x, t), unet(x, t))
    assert not torch.equal(unet.train()(x, t), unet(x, t))


def test_refusals_say_what_is_possible():
    x, t = batch()
    with pytest.raises(Refused, match=r"3 levels needs a width that 4 divides, not 6: 4 or 8 fits; .*data\.size=8"):
        trained(multipliers=(1, 1, 1))(x[..., :6], t)
    with pytest.raises(Refused, match=r"takes \(batch, 2, height, width\), not \(4, 1, 8, 8\)"):
        trained()(x[:, :1], t)
    with pytest.raises(Refused, match="built without classes"):
        trained()(x, t, label=torch.zeros(4, dtype=torch.long))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attention": (2,)}, "has the levels 0 to 1"),
        ({"multipliers": ()}, "one positive number a level"),
        ({"multipliers": (1, 0)}, "one positive number a level"),
        ({"width": 0}, "width = 0: a U-Net needs at least 1"),
        ({"head_width": 5}, "head_width = 5 does not divide the 32 channels"),
        ({"groups": 3}, "groups = 3 does not divide 16 channels"),
        ({"downsample_padding": 2}, "downsample_padding = 2"),
        ({"classes": -1}, "classes = -1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(Refused, match=message):
        UNet(**{**SMALL, **arguments})


def test_what_is_added_half_way_reaches_the_output_and_nothing_is_the_network_itself():
    unet, (x, t) = trained(), batch()
    with torch.inference_mode():
        plain = unet(x, t)
        trunk = unet.descend(x, t)
        assert [skip.shape[1] for skip in trunk.skips] == [16, 16, 16, 32]
        assert torch.equal(unet.ascend(trunk), plain)
        assert not trunk.skips, "used up"
        for place in range(4):
            trunk = unet.descend(x, t)
            trunk.skips[place] = trunk.skips[place] + 1.0
            assert not torch.equal(unet.ascend(trunk), plain), place
        trunk = unet.descend(x, t)
        trunk.h = trunk.h + 1.0
        assert not torch.equal(unet.ascend(trunk), plain)
