"""NCSN's network: a RefineNet whose norms know the level of the ladder."""

from typing import ClassVar

from torch import Tensor, nn

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.networks.axes import begin, convolution, refuse_dimensions, refuse_shape, refuse_sizes
from undiffuse.networks.instance_norm import LevelNumbers
from undiffuse.networks.refine import ConditionalNorm, Encode, RefineBlock


class NCSN(Network):
    """x (batch, channels, height, width), c_time (batch,) -> x's shape, at first all zero: a RefineNet of four stages.

    The second stage halves the resolution; the third and the fourth, of dilation 2 and 4, keep it, so that every size
    that 2 divides goes. Stages have width, then 2 width channels; each is joined with the coarser ones on the way back.
    c_time: the level of the ladder, as `geometric` hands it to the network: 0 the cleanest, levels - 1 the noisiest.
    levels: as many as the schedule has steps; 0: one norm for all of them, for the parameterizations "score" and "edm",
        which tell the noise by the output's scale (arXiv:2006.09011, technique 3).
    dimensions: 1 for sequences, 2 for images, 3 for volumes; given by the data.
    classes: number of classes, 0 for none; a class adds to the numbers of every norm, null nothing.
    Source: arXiv:1907.05600, app. A (width 128). Poolings are means and norms stand before every convolution.

    Raises Refused for odd sizes, levels above the last, and a label without classes.
    """

    forms: ClassVar[tuple[str, ...]] = ("label",)

    def __init__(
        self,
        channels: int = 1,
        classes: int = 0,
        width: int = 128,
        levels: int = 10,
        dimensions: int = 2,
        out_channels: int = 0,
    ) -> None:
        super().__init__()
        refuse_dimensions(dimensions, "an NCSN")
        for name, value in {"channels": channels, "width": width}.items():
            if value < 1:
                raise Refused(f"{name} = {value}: an NCSN needs at least 1")
        if width < 2:
            raise Refused("width = 1: the norms of an NCSN compare channels; it needs at least 2")
        self.channels, self.classes, self.width, self.levels = channels, classes, width, levels
        self.dimensions, self.out_channels = dimensions, out_channels or channels
        d, wide = dimensions, 2 * width
        self.enter = convolution(d, channels, width, 3, padding=1)
        self.stages = nn.ModuleList(  # two blocks each
            [
                *(Encode(width, width, d), Encode(width, width, d)),
                *(Encode(width, wide, d, halve=True), Encode(wide, wide, d)),
                *(Encode(wide, wide, d, dilation=2), Encode(wide, wide, d, dilation=2)),
                *(Encode(wide, wide, d, dilation=4), Encode(wide, wide, d, dilation=4)),
            ]
        )
        self.refine = nn.ModuleList(
            [
                RefineBlock([wide], wide, d),
                RefineBlock([wide, wide], wide, d),
                RefineBlock([wide, wide], width, d),
                RefineBlock([width, width], width, d, units=3),
            ]
        )
        self.leave_norm = ConditionalNorm(width)
        self.leave = begin(convolution(d, width, self.out_channels, 3, padding=1), scale=0.0)
        widths = [m.width for m in self.modules() if isinstance(m, ConditionalNorm)]
        self.numbers = LevelNumbers(widths, levels, classes)

    def forward(self, x: Tensor, c_time: Tensor, label: Tensor | None = None, drop: Drop = None) -> Tensor:
        refuse_shape(x, self.channels, self.dimensions, "this NCSN")
        refuse_sizes(x, 2, "an NCSN")
        numbers = iter(self.numbers(c_time, label, drop))
        x = self.enter(x)
        blocks: list[Tensor] = []
        for block in self.stages:
            x = block(x, numbers)
            blocks.append(x)
        refined: list[Tensor] = []
        for block, finer in zip(self.refine, reversed(blocks[1::2]), strict=True):
            refined = [block([finer, *refined], numbers)]
        return self.leave(self.leave_norm(refined[0], numbers))
