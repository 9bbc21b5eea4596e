"""A vision transformer that reads items: patches, blocks that see the time, and one vector of the mean over places."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.networks.axes import refuse_dimensions, refuse_shape, refuse_sizes
from undiffuse.networks.embeddings import positional
from undiffuse.networks.encoder import refuse_classes
from undiffuse.networks.patches import patches
from undiffuse.networks.positions import coordinates, rotations
from undiffuse.networks.transformer import AdaptiveNorm, TransformerBlock, check_sizes


class ViT(Network):
    """x (batch, channels, height, width), c_time (batch,) -> logits (batch, classes), at first all zero.

    classes: how many numbers it gives; channels, dimensions: as of a `UNet`; all three given by the data.
    patch: the side of a patch.  width, depth, heads, mlp, dropout: see `Transformer`. The norms are conditioned on the
    time, c_time times time_scale. Positions are rotary, so that any size goes that the patch divides; the mean over
    places stands for a class token.
    Source: arXiv:2010.11929, sec. 3.1 and app. D.3 (mean over places).
    Raises Refused for fewer than 1 class, sizes that the patch does not divide and numbers that do not fit.
    """

    predicts: ClassVar[str] = "label"
    half_pays: ClassVar[bool] = True

    def __init__(
        self,
        channels: int = 3,
        classes: int = 2,
        patch: int = 4,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        mlp: float = 4.0,
        dropout: float = 0.0,
        time_scale: float = 1.0,
        dimensions: int = 2,
    ) -> None:
        super().__init__()
        refuse_dimensions(dimensions, "a vit", points="there is --set network.name=mlp_classifier")
        refuse_classes(classes, "a vit")
        check_sizes("vit", width, depth, heads, mlp, dropout, 0)
        for name, value in {"channels": channels, "patch": patch}.items():
            if value < 1:
                raise Refused(f"{name} = {value}: a vit needs at least 1")
        self.channels, self.classes, self.patch, self.width = channels, classes, patch, width
        self.dimensions, self.time_scale, self.turn = dimensions, time_scale, width // heads
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.enter = nn.Linear(channels * patch**dimensions, width)
        inside = round(mlp * width)
        self.blocks = nn.ModuleList([TransformerBlock(width, heads, inside, dropout, True, 0) for _ in range(depth)])
        self.norm, self.leave = AdaptiveNorm(width, True), nn.Linear(width, classes)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        refuse_shape(x, self.channels, self.dimensions, "this vit")
        refuse_sizes(x, self.patch, f"a vit of patches of {self.patch}")
        h = self.enter(patches(x, self.patch))
        waves = positional(c_time * self.time_scale, self.width).to(h.dtype)
        c = F.silu(self.time(waves))[:, None]
        grid = tuple(side // self.patch for side in x.shape[2:])
        turns = rotations(coordinates(grid, (), x.device), self.turn)
        for block in self.blocks:
            h = block(h, turns, c, None)
        return self.leave(self.norm(h, c).mean(1))
