"""An encoder of pictures: turns them into the embeddings that a model of pictures reads; CLIP's, read from a folder."""

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from undiffuse.core.image_encoder import ImageEncoder
from undiffuse.models.encoder_kind import EncoderKind
from undiffuse.networks.clip_vision import ClipVision
from undiffuse.recipes.description import Description
from undiffuse.sampling.plan import batches
from undiffuse.sampling.sized import sized


class ImageEncoderRun(EncoderKind, ImageEncoder):
    """CLIP's encoder of images, which conditions of kind `image_prompt` name; it is read, and not trained.

    Fields: see `Run`; shape: of a picture. Source: arXiv:2103.00020, sec. 2.4.
    """

    what: ClassVar[str] = "an encoder of pictures"
    use: ClassVar[str] = 'name it in a recipe: [conditions.picture] kind = "image_prompt", encoder = "{path}"'
    network: ClassVar[type[nn.Module]] = ClipVision

    @classmethod
    def known(cls, about: Description) -> dict[str, Any]:
        return {"channels": about.shape[0], "size": about.shape[1]}

    @property
    def embedded_shape(self) -> tuple[int, int]:
        return 1, self.module.leave.out_features

    @torch.no_grad()
    def embed_images(self, x: np.ndarray | Tensor) -> Tensor:
        z = self.codec.encode(sized(x, self.data_shape, "the encoder of pictures"))
        time = torch.zeros(1, dtype=torch.float32, device=self.device)
        dtype = next(self.module.parameters()).dtype
        parts = [self.module(part.to(self.device, dtype), time).cpu() for part in z.split(batches(self.shape))]
        return torch.cat(parts).unsqueeze(1)

    def attempt(self) -> None:
        self.embed_images(np.zeros((1, *self.data_shape), np.uint8))

    def about(self) -> dict[str, str]:
        length, width = self.embedded_shape
        return {"embeds": f"pictures of {' x '.join(map(str, self.data_shape))} as {length} x {width} numbers"}
