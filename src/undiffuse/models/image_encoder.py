"""An encoder of pictures: turns them into the embeddings that a model of pictures reads; CLIP's, read from a folder."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.image_encoder import ImageEncoder
from undiffuse.core.single_precision import in_float32
from undiffuse.networks.clip_vision import ClipVision
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.plan import batches
from undiffuse.sampling.run import Run
from undiffuse.sampling.sized import sized
from undiffuse.sampling.stored_plan import digest


class ImageEncoderRun(Run, ImageEncoder):
    """CLIP's encoder of images, which conditions of kind `image_prompt` name; it is read, and not trained.

    Fields: see `Run`; shape: of a picture. Source: arXiv:2103.00020, sec. 2.4.
    """

    tables: ClassVar[Mapping[str, bool]] = {"codec": True, "encoder": True}
    made: ClassVar[str] = "encoder"
    reads: ClassVar[str] = "embeddings"
    what: ClassVar[str] = "an encoder of pictures"
    use: ClassVar[str] = 'name it in a recipe: [conditions.picture] kind = "image_prompt", encoder = "{path}"'
    rounds: ClassVar[bool] = False

    @classmethod
    def check(cls, recipe: Recipe, conditions: Mapping[str, ConditionKind]) -> None:
        raise Refused("an encoder of pictures is read from a folder, by `undiffuse import`, and not trained here")

    @classmethod
    def build(cls, about: Description) -> nn.Module:
        own = registry.check(ClipVision, about.recipe["encoder"], owner="encoder")
        with in_float32():
            return ClipVision(**{**own, "channels": about.shape[0], "size": about.shape[1]})

    @property
    def embedded_shape(self) -> tuple[int, int]:
        return 1, self.module.leave.out_features

    @property
    def digest(self) -> str:
        return digest(self.module)

    @torch.no_grad()
    def embed_images(self, x: np.ndarray | Tensor) -> Tensor:
        z = self.codec.encode(sized(x, self.data_shape, "the encoder of pictures"))
        time = torch.zeros(1, dtype=torch.float32, device=self.device)
        dtype = next(self.module.parameters()).dtype
        parts = [self.module(part.to(self.device, dtype), time).cpu() for part in z.split(batches(self.shape))]
        return torch.cat(parts).unsqueeze(1)

    def attempt(self) -> None:
        self.embed_images(np.zeros((1, *self.data_shape), np.uint8))

    def evaluate(self, asked: EvaluationRequest) -> Any:
        raise Refused("an encoder of pictures is judged by the pictures of a model that reads it: evaluate that run")

    def about(self) -> dict[str, str]:
        length, width = self.embedded_shape
        return {"embeds": f"pictures of {' x '.join(map(str, self.data_shape))} as {length} x {width} numbers"}
