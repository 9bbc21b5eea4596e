"""Imagen's Efficient U-Net: blocks where the resolution is low, smaller skips, halving before the blocks."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.networks.blocks import Residual
from undiffuse.networks.resampling import Subpixels
from undiffuse.networks.unet import UNet

SIZES: dict[str, Any] = {"channels": 2, "width": 8, "multipliers": (1, 2), "attention": (1,), "groups": 4}
EFFICIENT: dict[str, Any] = {**SIZES, "blocks": (1, 3), "scale_skips": True, "halve_first": True}


def trained(**options: Any) -> UNet:
    """With zero weights moved, as training would."""
    torch.manual_seed(0)
    unet = UNet(**options).double()
    with torch.no_grad():
        for weight in unet.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return unet.eval()


def batch() -> tuple[Tensor, Tensor]:
    x = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x, torch.tensor([3.0, 250.0], dtype=torch.float64)


@pytest.mark.parametrize("resample", ["conv", "residual"])
def test_no_block_works_at_the_inputs_resolution_and_all_weights_learn(resample: str):
    unet, (x, t) = trained(**EFFICIENT, resample=resample), batch()
    seen: list[int] = []
    for block in unet.modules():
        if isinstance(block, Residual) and block.change is None:
            block.register_forward_hook(lambda block, given, made: seen.append(made.shape[-1]))
    out = unet(x, t)
    assert out.shape == x.shape
    assert seen == [4, *(3 * [2]), 2, 2, *(4 * [2]), 4, 4]  # the way down, the middle, the way up
    out.square().sum().backward()
    assert [name for name, weight in unet.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_twice_the_resolution_has_places_of_its_own(axes: int):
    """A convolution of repeated places could not tell those of one place apart."""
    double = Subpixels(3, axes).double()
    x = torch.randn(2, 3, *(4, 5, 6)[:axes], dtype=torch.float64)
    values, found = double.conv(x), double(x)
    assert found.shape == (2, 3, *(8, 10, 12)[:axes])
    for i, corner in enumerate(itertools.product((0, 1), repeat=axes)):
        place = tuple(slice(each, None, 2) for each in corner)
        torch.testing.assert_close(found[(slice(None), slice(None), *place)], values[:, i :: 2**axes])


def test_skips_are_divided_by_sqrt_2_and_nothing_else_changes():
    unet, plain = trained(**EFFICIENT), trained(**{**EFFICIENT, "scale_skips": False})
    assert {name: value.shape for name, value in unet.state_dict().items()} == {
        name: value.shape for name, value in plain.state_dict().items()
    }
    x, t = batch()
    trunk, same = unet.descend(x, t), plain.descend(x, t)
    same.skips = [skip * math.sqrt(0.5) for skip in same.skips]
    torch.testing.assert_close(unet.ascend(trunk), plain.ascend(same))


def test_it_is_steered_as_any_u_net():
    unet, (x, t) = trained(**EFFICIENT), batch()
    hint = torch.zeros(2, 8, 8, 8, dtype=torch.float64)
    found = unet.first_part().features(x, t, hint)
    layers = [layer.double() for layer in unet.zero_layers()]
    added = [layer(each) for layer, each in zip(layers, found, strict=True)]
    torch.testing.assert_close(unet.steered(x, t, added), unet(x, t))


def test_what_does_not_fit_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"blocks = \(1, 2, 3\): a U-Net of 2 levels needs one number, or 2"):
        UNet(**{**SIZES, "blocks": (1, 2, 3)})
    with pytest.raises(Refused, match=r"blocks = \(1, 0\): a U-Net needs at least 1 a level"):
        UNet(**{**SIZES, "blocks": (1, 0)})
    for name, value in (("blocks", (1, 2)), ("scale_skips", True), ("halve_first", True)):
        with pytest.raises(Refused, match=f"{name} = .*a U-Net of diffusers has"):
            UNet(**{**SIZES, name: value}).to_diffusers(tmp_path / name)
        assert not (tmp_path / name).exists()
    with pytest.raises(Refused, match="needs a height that 4 divides, not 6"):
        UNet(**EFFICIENT)(torch.zeros(1, 2, 6, 6), torch.zeros(1))
