"""LDMPipeline: a UNet2DModel of the latents of a VQModel, without text."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from undiffuse.conversion import latents, scheduler, unet2d
from undiffuse.conversion.assembly import TRAIN, assemble, images_of, sides_of
from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_source import PipelineSource
from undiffuse.conversion.scheduler_writing import config as scheduler_config
from undiffuse.conversion.scheduler_writing import write as write_scheduler
from undiffuse.conversion.writing import write_index
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
        sides = sides_of(config, source.folder, "unet")
        codec, table, uses = latents.read(source, "vqvae", sides)
        tables, conditions = unet2d.tables(config)
        recipe = Recipe.of(
            "ldm",
            {
                "about": "Read from an LDMPipeline of diffusers",
                "data": images_of(codec.shape),
                "codec": table,
                "train": TRAIN,
                **scheduler.tables(source.scheduler(), bounded=False),
                **tables,
            },
        )
        facts = {"data": {"name": "LDMPipeline", "dtype": "uint8"}}
        shape = (config.get("in_channels", 3), *sides)
        said = Description(replace(recipe, uses=uses), shape, conditions, codec, facts)
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
        unet2d.write(run, folder / "unet")
        kind, noise = latents.write(run, folder / "vqvae"), write_scheduler(run.recipe, folder)
        classes = {"vqvae": kind, "unet": "UNet2DModel", "scheduler": noise}
        write_index(folder, "LDMPipeline", {name: ("diffusers", each) for name, each in classes.items()})
        return "LDMPipeline"
