"""StableDiffusionPipeline and that of in-painting: a U-Net of latents that reads a prompt by CLIP's text encoder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch

from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.conditions.hole import HoleCondition
from undiffuse.conditions.prompt import PromptCondition
from undiffuse.conversion import attending_latents, clip_text
from undiffuse.conversion.assembly import part
from undiffuse.conversion.attending_latents import AttendingLatents
from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_source import PipelineSource
from undiffuse.conversion.writing import write_index
from undiffuse.core.errors import Refused
from undiffuse.core.text_encoder import TextEncoder
from undiffuse.sampling.run import Run

PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
UNREAD = ("safety_checker", "feature_extractor", "image_encoder", "requires_safety_checker")  # change no picture
TEXT, ENCODER = "text", "conditions.text.encoder"
HOLE = "hole"
PLAIN, INPAINT = "StableDiffusionPipeline", "StableDiffusionInpaintPipeline"


class StableDiffusionPipeline(Pipeline):
    """Text to image in latents (arXiv:2112.10752); a U-Net of 2 c + 1 channels is told a hole to paint in."""

    reads: ClassVar[tuple[str, ...]] = (
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
    )
    refuses: ClassVar[dict[str, str]] = {
        "UNet2DConditionModel": "alone it makes no pictures: name the folder above it, which has vae, text_encoder, "
        "tokenizer and scheduler, too",
        "StableDiffusionDepth2ImgPipeline": "its U-Net is told a map of depth: a control of depth steers a plain one, "
        "undiffuse import CONTROLNET --base RUN -o CONTROL",
        "StableDiffusionXLPipeline": "it has two text encoders and is told sizes: versions 1 and 2 are read",
        "StableDiffusionXLInpaintPipeline": "it has two text encoders and is told sizes: versions 1 and 2 are read",
        "StableDiffusion3Pipeline": "it has three text encoders and a transformer of two streams: versions 1 and 2 are "
        "read",
        "StableDiffusionInstructPix2PixPipeline": "its U-Net is told a whole picture: undiffuse edit RUN --image "
        "PICTURE --text TEXT --strength 0.6 changes a picture by a plain one",
        "StableDiffusionUpscalePipeline": "its U-Net is told a small picture with noise: undiffuse edit RUN --image "
        "SMALL --measurement superresolve:4 enlarges one by a run of pixels",
    }

    def read(self, source: PipelineSource) -> Run:
        return self.read_beside(source)

    def read_beside(self, source: PipelineSource, *others: str) -> Run:
        """`read` of a folder that has further parts of these names, which are left alone."""
        _refuse_parts(source.index(), str(source.folder), others)
        found = AttendingLatents.of(source)
        latents, own = found.latents, found.own
        text: Any = clip_text.read(source, "text_encoder", source.folder / "tokenizer")
        paints = own["channels"] == 2 * latents[0] + 1
        if own["out_channels"] != latents[0] or (own["channels"] != latents[0] and not paints):
            raise Refused(
                f"the U-Net in {source.folder} takes {own['channels']} channels and gives {own['out_channels']}, and "
                f"the autoencoder's latents have {latents[0]}: it may take {latents[0]}, or {2 * latents[0] + 1} to "
                "paint in; that of depth takes another picture, and there is none of it here"
            )
        conditions: dict[str, ConditionKind] = {
            TEXT: PromptCondition(drop=0.1, shape=text.embedded_shape, encoder=text)
        }
        if paints:
            hole = HoleCondition(of=f"hole:{min(found.size) // 2}", shape=(1 + latents[0], *latents[1:]), dtype="uint8")
            conditions[HOLE] = hole.within(found.codec)
        found.refuse_width(text.embedded_shape[1], "text")
        run = found.run(conditions, TEXT, text, "text_encoder", {"conditions": {TEXT: "beside"}})
        run.module.network.texts.postpone(TEXT, lambda: text.embed([""])[0])
        return run

    def check(self, run: Run) -> None:
        attending_latents.check_parts(run, PLAIN)
        others = {name: kind for name, kind in run.conditions.items() if name != TEXT}
        if ENCODER not in run.uses or len(others) > 1:
            has = ", ".join(run.conditions) or "none"
            raise Refused(
                "a StableDiffusionPipeline has the condition 'text' of kind 'prompt', and to paint in one of kind "
                f"'hole'; the run has {has}"
            )
        for name, kind in others.items():
            part(kind, HoleCondition, f"conditions.{name}", "a StableDiffusionPipeline has beside its text a hole")
        encoder: Any = part(run.uses[ENCODER], TextEncoder, ENCODER, "a StableDiffusionPipeline has a text encoder")
        attending_latents.check_written(run, TEXT, PLAIN)
        module: Any = run.module
        null = module.network.texts.null(TEXT).float()
        if not torch.allclose(null, encoder.embed([""])[0].float(), rtol=0, atol=1e-4):
            raise Refused("a dropped text is not the prompt '' here, as it is in a StableDiffusionPipeline")

    def write(self, run: Run, folder: Path) -> str:
        written = attending_latents.write(run, TEXT, folder)
        clip_text.write(run.uses[ENCODER], folder / "text_encoder", folder / "tokenizer")
        parts: dict[str, Any] = {
            **written,
            "text_encoder": ("transformers", clip_text.KIND),
            "tokenizer": ("transformers", clip_text.TOKENIZER),
            **dict.fromkeys(UNREAD[:3], (None, None)),
            "requires_safety_checker": False,
        }
        name = INPAINT if HOLE in run.conditions else PLAIN
        write_index(folder, name, parts)
        return name


def _refuse_parts(index: Mapping[str, Any], folder: str, others: Sequence[str]) -> None:
    """Raises Refused for a part that means something and is not read."""
    for name, said in index.items():
        known = name.startswith("_") or name in (*PARTS, *UNREAD, *others)
        if not known and said not in (None, [None, None]):
            raise Refused(f"{folder} has a part {name!r}, {said}, which no StableDiffusionPipeline here has")
