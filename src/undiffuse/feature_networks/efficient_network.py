"""The network of EfficientNet-Lite0 up to its pooled features, with the names of its published weights."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

# repeats, kernel, stride of the first, expansion, channels out
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class Same(nn.Conv2d):
    """A convolution that pads as TensorFlow does: ceil(size / stride) comes out, an odd row is added at the end."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inside, outside, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        step, window = self.stride[0], self.kernel_size[0]
        tall, wide = (max(0, (math.ceil(n / step) - 1) * step + window - n) for n in input.shape[2:])
        if tall % 2 or wide % 2:
            input, tall, wide = F.pad(input, (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2)), 0, 0
        return F.conv2d(input, self.weight, self.bias, self.stride, (tall // 2, wide // 2), groups=self.groups)


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow; plus the input where the shapes are equal."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = Same(inside, wide, 1), nn.BatchNorm2d(wide, eps=1e-3)
        self._depthwise_conv, self._bn1 = Same(wide, wide, kernel, stride, wide), nn.BatchNorm2d(wide, eps=1e-3)
        self._project_conv, self._bn2 = Same(wide, outside, 1), nn.BatchNorm2d(outside, eps=1e-3)
        self.expands, self.adds, self.halves = expansion > 1, stride == 1 and inside == outside, stride > 1

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLayers(nn.Module):
    """Images (count, 3, height, width) as (x - 127) / 128 of 0 ... 255, RGB -> 1280 features; `_fc` names ImageNet's
    classes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Same(3, 32, 3, 2), nn.BatchNorm2d(32, eps=1e-3)
        blocks, inside = [], 32
        for repeats, kernel, stride, expansion, outside in STAGES:
            for i in range(repeats):
                blocks.append(InvertedResidual(inside, outside, kernel, stride if i == 0 else 1, expansion))
                inside = outside
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = Same(inside, 1280, 1), nn.BatchNorm2d(1280, eps=1e-3)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)[-1].mean((2, 3))

    def layers(self, x: Tensor) -> list[Tensor]:
        """What stands before each halving, and the last features before they are pooled."""
        x, found = F.relu6(self._bn0(self._conv_stem(x)), inplace=True), []
        for block in self._blocks:
            if block.halves:
                found.append(x)
            x = block(x)
        return [*found, F.relu6(self._bn1(self._conv_head(x)), inplace=True)]


def trained(weights: Mapping[str, Tensor]) -> EfficientNetLayers:
    """The network with these weights, for inference: each normalisation is folded into the convolution before it."""
    network = EfficientNetLayers()
    network.load_state_dict(weights)
    network.eval().requires_grad_(False)
    for module in (network, *network._blocks):
        for conv, norm in (
            ("_conv_stem", "_bn0"), ("_conv_head", "_bn1"),
            ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"),
        ):  # fmt: skip
            if hasattr(module, conv):
                setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
