"""A U-Net for pictures of tokens: levels are embedded, and every pixel gets logits over all of them."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.core.condition_dropout import Drop
from undiffuse.core.errors import Refused
from undiffuse.core.families import TOKENS
from undiffuse.core.network import Network
from undiffuse.networks.conditions import Specs
from undiffuse.networks.unet import UNet


class TokenUNet(Network):
    """Tokens x (batch, channels, height, width), c_time (batch,) -> logits, x's shape and a vocabulary behind it, at
    first all zero.

    Each token becomes `embedding` numbers, which begin as cosines of its level, so that near levels begin alike; the
    rest is `UNet`, and so are the other fields. vocabulary: symbols, a mask among them. outputs: numbers a token (0:
    the vocabulary). dimensions: as in `UNet`, 1 sequences with channels, 2 images, 3 volumes.
    Raises Refused for values.
    """

    families: ClassVar[frozenset[str]] = TOKENS
    forms: ClassVar[tuple[str, ...]] = UNet.forms[:-1]  # all but that of videos

    def __init__(
        self,
        vocabulary: int = 0,
        channels: int = 1,
        classes: int = 0,
        embedding: int = 16,
        width: int = 64,
        multipliers: tuple[float, ...] = (1, 2, 2),
        blocks: int = 1,
        attention: tuple[int, ...] = (2,),
        dropout: float = 0.0,
        scale_shift: bool = True,
        time_scale: float = 1.0,
        dimensions: int = 2,
        text_width: int = 128,
        outputs: int = 0,
        conditions: Specs | None = None,
    ) -> None:
        super().__init__()
        if vocabulary < 2 or embedding < 1:
            raise Refused(
                "token_unet is for tokens, with an embedding of 1 or more: it needs a process of tokens and a codec "
                "such as levels"
            )
        self.vocabulary, self.channels, self.outputs = vocabulary, channels, outputs or vocabulary
        self.embed = nn.Embedding(vocabulary, embedding)
        level = (torch.arange(vocabulary, device="cpu") + 0.5) / vocabulary
        with torch.no_grad():
            waves = torch.arange(1, embedding + 1, device="cpu")
            self.embed.weight.copy_((math.pi * level[:, None] * waves).cos())
        self.unet = UNet(
            channels=channels * embedding,
            out_channels=channels * self.outputs,
            classes=classes,
            width=width,
            multipliers=multipliers,
            blocks=blocks,
            attention=attention,
            dropout=dropout,
            scale_shift=scale_shift,
            time_scale=time_scale,
            dimensions=dimensions,
            text_width=text_width,
            conditions=conditions,
        )

    def forward(self, x: Tensor, c_time: Tensor, label: Tensor | None = None, drop: Drop = None, **cond: Any) -> Tensor:
        if x.ndim != self.unet.dimensions + 2 or x.shape[1] != self.channels:
            raise Refused(
                f"this token_unet takes {self.channels} channels and {self.unet.dimensions} axes, not items of shape "
                f"{tuple(x.shape[1:])}"
            )
        shown = self.embed(x).movedim(-1, 2).flatten(1, 2)  # (batch, channels * embedding, height, width)
        given = self.unet(shown, c_time, label, drop, **cond)
        return given.unflatten(1, (self.channels, self.outputs)).movedim(2, -1)
