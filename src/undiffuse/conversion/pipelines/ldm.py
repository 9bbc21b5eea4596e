"""LDMPipeline: a UNet2DModel of the latents of a VQModel, without text."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from undiffuse.conversion import latents, scheduler, unet2d
from undiffuse.conversion.assembly import TRAIN, assemble
from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_source import SCHEDULER, PipelineSource
from undiffuse.conversion.scheduler_writing import config as scheduler_config
from undiffuse.conversion.writing import write_config, write_index, write_weights
from undiffuse.core.errors import Refused
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.run import Run


class LDMPipeline(Pipeline):
    """Latent diffusion of images, its U-Net with attention to places only (arXiv:2112.10752, table 12)."""

    reads: ClassVar[tuple[str, ...]] = ("LDMPipeline",)
    refuses: ClassVar[dict[str, str]] = {
        "LDMTextToImagePipeline": "it reads texts by a BERT that was trained along: of pipelines that read texts those "
        "with CLIP's encoder are read, as StableDiffusionPipeline",
        "LDMSuperResolutionPipeline": "its U-Net is told a small picture: undiffuse edit RUN --image SMALL "
        "--measurement superresolve:4 enlarges one by a run of pixels",
    }

    def read(self, source: PipelineSource) -> Run:
        config = source.config("unet")
        side, channels = config.get("sample_size"), config.get("in_channels", 3)
        if not side:
            raise Refused(f"{source.folder}: unet/config.json does not say its sample_size")
        height, width = (side, side) if isinstance(side, int) else side
        codec, table, uses = latents.read(source, "vqvae", (height, width))
        tables, conditions = unet2d.tables(config)
        rows, columns = codec.shape[1:]
        recipe = Recipe.of(
            "ldm",
            {
                "about": "Read from an LDMPipeline of diffusers",
                "data": {"name": "folder", "path": "images", "size": [rows, columns], "channels": codec.shape[0]},
                "codec": table,
                "train": TRAIN,
                **scheduler.tables(source.scheduler(), bounded=False),
                **tables,
            },
        )
        facts = {"data": {"name": "LDMPipeline", "dtype": "uint8"}}
        said = Description(replace(recipe, uses=uses), (channels, height, width), conditions, codec, facts)
        return assemble(said, unet2d.weights(source.weights("unet")), str(source.folder / "unet"))

    def check(self, run: Run) -> None:
        if not run.denoises:
            raise Refused(f"the run is {run.what}, and an LDMPipeline draws by a denoiser")
        latents.check(run, "an LDMPipeline is of latents")
        unet2d.config(run, "an LDMPipeline has a unet")
        if run.conditions:
            raise Refused(f"an LDMPipeline has no condition, and this run has {', '.join(run.conditions)}")
        scheduler_config(run.recipe)

    def write(self, run: Run, folder: Path) -> str:
        said = scheduler_config(run.recipe)
        write_config(folder / "unet", unet2d.config(run, "it is written"))
        write_weights(folder / "unet", unet2d.written(run))
        write_config(folder / "scheduler", said, SCHEDULER)
        kind = latents.write(run, folder / "vqvae")
        classes = {"vqvae": kind, "unet": "UNet2DModel", "scheduler": said["_class_name"]}
        write_index(folder, "LDMPipeline", {name: ("diffusers", each) for name, each in classes.items()})
        return "LDMPipeline"
