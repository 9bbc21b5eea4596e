"""pix2pix's discriminator: which patches of an item look like data."""

import math
from itertools import pairwise

from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.networks.axes import AXES, KINDS, convolution, refuse_dimensions, refuse_shape

GROUPS = 32


class PatchDiscriminator(nn.Module):
    """x (batch, channels, *places) -> a number for each patch, (batch, 1, *fewer places), large for data.

    Convolutions of 4 along each axis, the first `layers` with stride 2, and between them group normalisation and leaky
    ReLU; the widths double up to 8 width. With 3 layers a patch is 70 places long, and images of 3 channels make
    2,765,633 parameters. pix2pix's batch normalisation is one by groups here, with as many parameters: what is said of
    an item does not depend on those beside it. Raises Refused for items that are too small for so many layers, and for
    other channels and axes. Source: arXiv:1611.07004, app. 6.1.2.
    """

    def __init__(self, channels: int = 3, dimensions: int = 2, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        refuse_dimensions(dimensions, "a patch discriminator", points="leave patch_gan out of objective.losses")
        for name, value in {"channels": channels, "width": width, "layers": layers}.items():
            if value < 1:
                raise Refused(f"{name} = {value}: a patch discriminator needs at least 1")
        self.channels, self.dimensions, self.width, self.layers = channels, dimensions, width, layers
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        body: list[nn.Module] = [convolution(dimensions, channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for i, (inside, out) in enumerate(pairwise(widths)):
            stride = 2 if i < layers - 1 else 1
            conv = KINDS[dimensions](inside, out, 4, stride=stride, padding=1, bias=False)
            body += [conv, nn.GroupNorm(math.gcd(out, GROUPS), out), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*body, convolution(dimensions, widths[-1], 1, 4, padding=1))
        for module in self.modules():
            if isinstance(module, nn.GroupNorm):
                nn.init.normal_(module.weight, 1.0, 0.02)
            elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
                nn.init.normal_(module.weight, 0.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        self.refuse(x)
        return self.body(x)

    def refuse(self, x: Tensor) -> None:
        """Raises Refused for items that it cannot judge; `x`: a batch of them."""
        refuse_shape(x, self.channels, self.dimensions, "this patch discriminator")
        least = 3 * 2**self.layers
        for axis, side in zip(AXES[self.dimensions], x.shape[2:], strict=True):
            if side < least:
                raise Refused(
                    f"a patch discriminator of {self.layers} layers needs a {axis} of at least {least}, not {side}: "
                    "give it fewer layers"
                )
