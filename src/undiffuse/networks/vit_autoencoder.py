"""A vision transformer as encoder and another as decoder: each patch becomes the numbers of one place, and back."""

import math

from torch import Tensor, nn

from undiffuse.core.autoencoder import AutoencoderNetwork
from undiffuse.core.errors import Refused
from undiffuse.networks.axes import refuse_dimensions, refuse_item, refuse_shape, refuse_sizes
from undiffuse.networks.patches import joined, patches
from undiffuse.networks.positions import coordinates, rotations
from undiffuse.networks.transformer import AdaptiveNorm, TransformerBlock, check_sizes


class ViTAutoencoder(AutoencoderNetwork):
    """x (batch, channels, height, width) -> h (batch, outputs, height / patch, width / patch), and z back.

    channels, outputs, dimensions: given by the data and the bottleneck; dimensions 1 for sequences, 3 for volumes.
    patch: the side of a patch, which is the factor.  width, depth, heads, mlp, dropout: of the encoder and the decoder
    each, see `Transformer`. Positions are rotary, so that any size goes that the patch divides.
    Source: arXiv:2010.11929, sec. 3.1 (patches), arXiv:2110.04627, sec. 3.1 (such an autoencoder).
    Raises Refused for sizes that the patch does not divide and numbers that do not fit.
    """

    def __init__(
        self,
        channels: int = 3,
        latent_channels: int = 4,
        outputs: int = 8,
        patch: int = 4,
        width: int = 256,
        depth: int = 4,
        heads: int = 4,
        mlp: float = 4.0,
        dropout: float = 0.0,
        dimensions: int = 2,
    ) -> None:
        super().__init__()
        refuse_dimensions(dimensions, "a ViT autoencoder", points="there is --set network.name=mlp_autoencoder")
        check_sizes("vit_autoencoder", width, depth, heads, mlp, dropout, 0)
        sizes = {"channels": channels, "latent_channels": latent_channels, "outputs": outputs, "patch": patch}
        for name, value in sizes.items():
            if value < 1:
                raise Refused(f"{name} = {value}: a ViT autoencoder needs at least 1")
        self.channels, self.latent_channels, self.outputs, self.patch = channels, latent_channels, outputs, patch
        self.dimensions = dimensions
        pixels, inside = channels * patch**dimensions, round(mlp * width)
        self.encoder = TokenStack(pixels, width, outputs, depth, heads, inside, dropout)
        self.decoder = TokenStack(latent_channels, width, pixels, depth, heads, inside, dropout)

    @property
    def factor(self) -> int:
        """The side of a patch."""
        return self.patch

    def latent_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(latent_channels, each side / patch)."""
        owner = f"a ViT autoencoder of patch = {self.patch}"
        refuse_item(shape, self.channels, self.dimensions, self.patch, owner, "choose another network.patch")
        return (self.latent_channels, *(side // self.patch for side in shape[1:]))

    def encode(self, x: Tensor) -> Tensor:
        refuse_shape(x, self.channels, self.dimensions, "this ViT autoencoder")
        refuse_sizes(x, self.patch, f"a ViT autoencoder of patches of {self.patch}")
        grid = tuple(side // self.patch for side in x.shape[2:])
        return self.encoder(patches(x, self.patch), grid).mT.unflatten(2, grid)

    def features(self, z: Tensor) -> list[Tensor]:
        """What each block gives."""
        grid = tuple(z.shape[2:])
        return [h.mT.unflatten(2, grid) for h in self.decoder.passed(z.flatten(2).mT, grid)]

    def decode(self, z: Tensor) -> Tensor:
        refuse_shape(z, self.latent_channels, self.dimensions, "the decoder of this ViT autoencoder")
        grid = tuple(z.shape[2:])
        return joined(self.decoder(z.flatten(2).mT, grid), self.patch, grid)

    @property
    def last_layer(self) -> nn.Parameter:
        return self.decoder.leave.weight


class TokenStack(nn.Module):
    """Tokens (batch, places, inside) of a grid -> (batch, places, out), by transformer blocks between linear layers."""

    def __init__(
        self, channels: int, width: int, out: int, depth: int, heads: int, inside: int, dropout: float
    ) -> None:
        super().__init__()
        self.head = width // heads
        self.enter = nn.Linear(channels, width)
        self.blocks = nn.ModuleList([TransformerBlock(width, heads, inside, dropout, False, 0) for _ in range(depth)])
        self.norm, self.leave = AdaptiveNorm(width, False), nn.Linear(width, out)
        nn.init.normal_(self.leave.weight, std=1 / math.sqrt(width))

    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        return self.leave(self.norm(self.passed(x, grid)[-1], None))

    def passed(self, x: Tensor, grid: tuple[int, ...]) -> list[Tensor]:
        """What each block gives, (batch, places, width)."""
        turns, h = rotations(coordinates(grid, (), x.device), self.head), self.enter(x)
        found: list[Tensor] = []
        for block in self.blocks:
            h = block(h, turns, None, None)
            found.append(h)
        return found
