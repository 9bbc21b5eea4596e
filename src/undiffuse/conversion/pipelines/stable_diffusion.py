"""StableDiffusionPipeline and that of in-painting: a U-Net of latents that reads a prompt by CLIP's text encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from undiffuse.codecs.latent import Latent
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.conditions.hole import HoleCondition
from undiffuse.conditions.prompt import PromptCondition
from undiffuse.conversion import autoencoder, clip_text, scheduler
from undiffuse.conversion.assembly import TRAIN, assemble, differing, part
from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_source import SCHEDULER, PipelineSource
from undiffuse.conversion.scheduler_writing import config as scheduler_config
from undiffuse.conversion.writing import write_config, write_index, write_weights
from undiffuse.core.errors import Refused
from undiffuse.core.text_encoder import TextEncoder
from undiffuse.networks.unet import UNet
from undiffuse.networks.unet_condition_format import arguments, config_of, weights_from, weights_to
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.uses import Uses
from undiffuse.sampling.run import Run

PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
UNREAD = ("safety_checker", "feature_extractor", "image_encoder", "requires_safety_checker")  # change no picture
GIVEN = ("channels", "classes", "out_channels")  # what the data say
TEXT, VAE, ENCODER = "text", "codec.autoencoder", "conditions.text.encoder"
HOLE = "hole"
PLAIN, INPAINT = "StableDiffusionPipeline", "StableDiffusionInpaintPipeline"
NULL = f"texts.null_{TEXT}"


class StableDiffusionPipeline(Pipeline):
    """Text to image in latents (arXiv:2112.10752); a U-Net of 2 c + 1 channels is told a hole to paint in."""

    reads: ClassVar[tuple[str, ...]] = (
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
    )
    refuses: ClassVar[dict[str, str]] = {
        "StableDiffusionDepth2ImgPipeline": "its U-Net is told a map of depth: a control of depth steers a plain one, "
        "undiffuse import CONTROLNET --base RUN -o CONTROL",
        "StableDiffusionXLPipeline": "it has two text encoders and is told sizes: versions 1 and 2 are read",
        "StableDiffusionXLInpaintPipeline": "it has two text encoders and is told sizes: versions 1 and 2 are read",
        "StableDiffusion3Pipeline": "it has three text encoders and a transformer of two streams: versions 1 and 2 are "
        "read",
        "StableDiffusionImageVariationPipeline": "its U-Net reads the vector of a picture: undiffuse edit RUN --image "
        "PICTURE --strength 0.6 varies a picture by a plain one",
        "StableDiffusionInstructPix2PixPipeline": "its U-Net is told a whole picture: undiffuse edit RUN --image "
        "PICTURE --text TEXT --strength 0.6 changes a picture by a plain one",
        "StableDiffusionUpscalePipeline": "its U-Net is told a small picture with noise: undiffuse edit RUN --image "
        "SMALL --measurement superresolve:4 enlarges one by a run of pixels",
    }

    def read(self, source: PipelineSource) -> Run:
        return self.read_beside(source)

    def read_beside(self, source: PipelineSource, *others: str) -> Run:
        """`read` of a folder that has further parts of these names, which are left alone."""
        index = source.index()
        _refuse_parts(index, str(source.folder), others)
        config = source.config("unet")
        own = arguments(config)
        said = source.said("vae")
        side = config.get("sample_size") or 64
        height, width = (side, side) if isinstance(side, int) else side
        size = autoencoder.image_size(said, (height, width))
        vae: Any = autoencoder.read(said, source.weights("vae"), str(source.folder / "vae"), size)
        text: Any = clip_text.read(source, "text_encoder", source.folder / "tokenizer")
        codec = autoencoder.codec(vae, said)
        latents = vae.latent_shape(vae.shape)
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
            hole = HoleCondition(of=f"hole:{min(size) // 2}", shape=(1 + latents[0], *latents[1:]), dtype="uint8")
            conditions[HOLE] = hole.within(codec)
        if (made := text.embedded_shape[1]) != (wide := config.get("cross_attention_dim", 1280)):
            raise Refused(
                f"the U-Net in {source.folder} reads texts {wide} wide, and its text encoder makes them {made} wide"
            )
        found = scheduler.tables(source.scheduler(), bounded=False)
        paths = {VAE: str(source.folder / "vae"), ENCODER: str(source.folder / "text_encoder")}
        said_of = {name: kind.written() for name, kind in conditions.items()}
        said_of[TEXT] |= {"encoder": paths[ENCODER]}
        tables = {
            "data": {
                "name": "folder",
                "path": "images",
                "size": list(size),
                "channels": vae.shape[0],
                "conditions": {TEXT: "beside"},
            },
            "codec": {"name": "latent", "autoencoder": paths[VAE], "scale": codec.scale, "mean": codec.mean}
            | {"std": codec.std},
            "network": differing("networks", {"name": "unet", **{k: v for k, v in own.items() if k not in GIVEN}}),
            "objective": {"name": "denoising"},
            "conditions": said_of,
            "train": TRAIN,
            **found,
            "sampler": {**found["sampler"], "guidance": 7.5},
        }
        name = str(index["_class_name"])
        recipe = Recipe.of("stable-diffusion", {"about": f"Read from a {name} of diffusers", **tables})
        description = Description(
            replace(recipe, uses=Uses(runs={VAE: vae, ENCODER: text}, paths=paths)),
            latents,
            conditions,
            codec,
            {"data": {"name": name, "dtype": "uint8"}},
        )

        def weights(module: Any) -> dict[str, Tensor]:
            found = weights_from(source.weights("unet"), module.network.residual_names())
            found[NULL] = torch.zeros(text.embedded_shape, dtype=torch.float32)
            return {f"network.{name}": weight for name, weight in found.items()}

        run: Any = assemble(description, weights, str(source.folder / "unet"))
        run.module.network.texts.postpone(TEXT, lambda: text.embed([""])[0])
        return run

    def check(self, run: Run) -> None:
        if not run.denoises:
            raise Refused(f"the run is {run.what}, and a StableDiffusionPipeline draws by a denoiser")
        codec: Any = part(run.codec, Latent, "codec", "a StableDiffusionPipeline is of latents")
        module: Any = run.module
        unet: UNet = part(module.network, UNet, "network", "a StableDiffusionPipeline has a unet")
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
        if unet.texts.names != (TEXT,):
            raise Refused("network.text_width is above 0: a StableDiffusionPipeline reads its text as it is embedded")
        if not torch.allclose(unet.texts.null(TEXT).float(), encoder.embed([""])[0].float(), rtol=0, atol=1e-4):
            raise Refused("a dropped text is not the prompt '' here, as it is in a StableDiffusionPipeline")
        self._unet_config(run)
        scheduler_config(run.recipe)
        autoencoder.written(codec.autoencoder, **autoencoder.scaling(codec))

    def write(self, run: Run, folder: Path) -> str:
        module: Any = run.module
        codec: Any = run.codec
        unet: UNet = module.network
        config, noise = self._unet_config(run), scheduler_config(run.recipe)
        state = {name: weight for name, weight in unet.state_dict().items() if name != NULL}
        linear = config["use_linear_projection"]
        write_config(folder / "unet", config)
        write_weights(folder / "unet", weights_to(state, unet.residual_names(), unet.time_widths, linear))
        vae, weights = autoencoder.written(codec.autoencoder, **autoencoder.scaling(codec))
        write_config(folder / "vae", vae)
        write_weights(folder / "vae", weights)
        clip_text.write(run.uses[ENCODER], folder / "text_encoder", folder / "tokenizer")
        write_config(folder / "scheduler", noise, SCHEDULER)
        parts: dict[str, Any] = {
            "vae": ("diffusers", vae["_class_name"]),
            "text_encoder": ("transformers", clip_text.KIND),
            "tokenizer": ("transformers", clip_text.TOKENIZER),
            "unet": ("diffusers", config["_class_name"]),
            "scheduler": ("diffusers", noise["_class_name"]),
            **dict.fromkeys(UNREAD[:3], (None, None)),
            "requires_safety_checker": False,
        }
        name = PLAIN if config["in_channels"] == config["out_channels"] else INPAINT
        write_index(folder, name, parts)
        return name

    def _unet_config(self, run: Run) -> dict[str, Any]:
        module: Any = run.module
        unet: UNet = module.network
        groups = {m.num_groups for m in unet.modules() if isinstance(m, nn.GroupNorm) if m.eps == unet.eps}
        height, width = run.shape[1:]
        return config_of(unet, groups, height if height == width else [height, width], unet.texts.width)


def _refuse_parts(index: Mapping[str, Any], folder: str, others: Sequence[str]) -> None:
    """Raises Refused for a part that means something and is not read."""
    for name, said in index.items():
        known = name.startswith("_") or name in (*PARTS, *UNREAD, *others)
        if not known and said not in (None, [None, None]):
            raise Refused(f"{folder} has a part {name!r}, {said}, which no StableDiffusionPipeline here has")
