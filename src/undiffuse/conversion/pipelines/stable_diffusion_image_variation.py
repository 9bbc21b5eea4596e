"""StableDiffusionImageVariationPipeline: a U-Net of latents that reads what CLIP sees in a picture."""

from pathlib import Path
from typing import Any, ClassVar

import torch

from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.conditions.image_prompt import ImagePromptCondition
from undiffuse.conversion import attending_latents, clip_pair
from undiffuse.conversion.assembly import assemble, part
from undiffuse.conversion.attending_latents import AttendingLatents
from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_source import PipelineSource
from undiffuse.conversion.writing import write_config, write_index, write_weights
from undiffuse.core.errors import Refused
from undiffuse.core.image_encoder import ImageEncoder
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.run import Run

NAME, KIND, PART = "StableDiffusionImageVariationPipeline", "CLIPVisionModelWithProjection", "image_encoder"
PICTURE, ENCODER = "picture", "conditions.picture.encoder"


class StableDiffusionImageVariationPipeline(Pipeline):
    """A picture to pictures that show the same, in latents; the condition is called picture. The encoder of pictures
    alone is a run, too.
    """

    reads: ClassVar[tuple[str, ...]] = ("StableDiffusionImageVariationPipeline", "CLIPVisionModelWithProjection")

    def read(self, source: PipelineSource) -> Run:
        if source.has_config():
            return _encoder(source, "")
        found = AttendingLatents.of(source)
        latents = found.latents[0]
        if (found.own["channels"], found.own["out_channels"]) != (latents, latents):
            raise Refused(
                f"the U-Net in {source.folder} takes {found.own['channels']} channels and gives "
                f"{found.own['out_channels']}, and the autoencoder's latents have {latents}"
            )
        encoder = _encoder(source, PART)
        shape = encoder.embedded_shape
        found.refuse_width(shape[1], "image")
        picture = ImagePromptCondition(drop=0.1, shape=shape, encoder=encoder)
        return found.run({PICTURE: picture}, PICTURE, encoder, PART, {})

    def check(self, run: Run) -> None:
        if not issubclass(type(run), ImageEncoder):
            attending_latents.check_parts(run, NAME)
            if ENCODER not in run.uses or len(run.conditions) > 1:
                has = ", ".join(run.conditions) or "none"
                raise Refused(f"a {NAME} has the condition 'picture' of kind 'image_prompt'; the run has {has}")
            part(run.uses[ENCODER], ImageEncoder, ENCODER, f"a {NAME} has an encoder of pictures")
            attending_latents.check_written(run, PICTURE, NAME)

    def write(self, run: Run, folder: Path) -> str:
        if issubclass(type(run), ImageEncoder):
            _write_encoder(run, folder)
            return KIND
        parts: dict[str, Any] = {
            **attending_latents.write(run, PICTURE, folder),
            PART: ("transformers", KIND),
            "feature_extractor": ("transformers", "CLIPImageProcessor"),
            "safety_checker": (None, None),
            "requires_safety_checker": False,
        }
        _write_encoder(run.uses[ENCODER], folder / PART)
        write_config(folder / "feature_extractor", clip_pair.processor(run.uses[ENCODER]), clip_pair.PREPROCESSOR)
        write_index(folder, NAME, parts)
        return NAME


def _encoder(source: PipelineSource, name: str) -> Any:
    """The encoder of pictures in a part of a folder, as a run."""
    said = source.said(name)
    beside = "feature_extractor" if name else ""
    table, shape = clip_pair.vision(source, said, beside)
    table = {key: value for key, value in table.items() if key != "name"}
    table |= {"classes": said.get("projection_dim", clip_pair.PROJECTED)}
    tables = {"kind": "image_encoder", "codec": {"name": "pixels"}, "encoder": table}
    recipe = Recipe.of("clip", {"about": f"Read from a {KIND} of transformers", **tables})
    facts = {"data": {"name": KIND, "dtype": "uint8"}}
    description = Description(recipe, shape, {}, PixelsCodec(0.0, 255.0), facts)
    return assemble(description, clip_pair.vision_weights(source.weights(name)), str(source.folder / name))


def _write_encoder(run: Any, folder: Path) -> None:
    write_config(folder, clip_pair.vision_config(run))
    weights = clip_pair.vision_written(run.module.state_dict(), run.module.patch)
    write_weights(folder, {name: torch.clone(weight) for name, weight in weights.items()}, "model.safetensors")
