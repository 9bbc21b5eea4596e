"""DDPMPipeline and DDIMPipeline: a UNet2DModel of pixels."""

from pathlib import Path
from typing import ClassVar

from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.conversion import scheduler, unet2d
from undiffuse.conversion.assembly import TRAIN, assemble, images_of, part, sides_of
from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_source import PipelineSource
from undiffuse.conversion.scheduler_writing import config as scheduler_config
from undiffuse.conversion.scheduler_writing import write as write_scheduler
from undiffuse.conversion.writing import write_index
from undiffuse.core.errors import Refused
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.run import Run

ALONE = "UNet2DModel"
PIXELS = (1, 3)  # channels of images


class DDPMPipeline(Pipeline):
    """A U-Net of pixels with a table of noise levels (arXiv:2006.11239); alone it is taken for one of DDPM's."""

    reads: ClassVar[tuple[str, ...]] = ("DDPMPipeline", "DDIMPipeline", "UNet2DModel")

    def read(self, source: PipelineSource) -> Run:
        alone = not source.has("unet") and source.has_config()
        place = "" if alone else "unet"
        config = source.config(place)
        channels, sides = config.get("in_channels", 3), sides_of(config, source.folder, place)
        if alone and channels not in PIXELS:
            raise Refused(
                f"{source.folder} holds a {ALONE} of {channels} channels, which are no pixels: give the folder of its "
                "pipeline, with the autoencoder"
            )
        tables, conditions = unet2d.tables(config)
        said = {"_class_name": "DDPMScheduler"} if alone else source.scheduler()
        tables = {
            "data": images_of((channels, *sides)),
            "codec": {"name": "pixels"},
            "train": TRAIN,
            **scheduler.tables(said),
            **tables,
        }
        name = ALONE if alone else str(source.index()["_class_name"])
        description = Description(
            Recipe.of("ddpm", {"about": f"Read from a {name} of diffusers", **tables}),
            (channels, *sides),
            conditions,
            PixelsCodec(0.0, 255.0),
            {"data": {"name": name, "dtype": "uint8"}},
        )
        weights = unet2d.weights(source.weights(place))
        return assemble(description, weights, str(source.folder / place))

    def check(self, run: Run) -> None:
        if not run.denoises:
            raise Refused(f"the run is {run.what}, and a DDPMPipeline draws by a denoiser")
        part(run.codec, PixelsCodec, "codec", "a DDPMPipeline is of pixels")
        unet2d.config(run, "a DDPMPipeline has a unet")
        scheduler_config(run.recipe)

    def write(self, run: Run, folder: Path) -> str:
        unet2d.write(run, folder / "unet")
        noise = write_scheduler(run.recipe, folder)
        write_index(folder, "DDPMPipeline", {"unet": ("diffusers", "UNet2DModel"), "scheduler": ("diffusers", noise)})
        return "DDPMPipeline"
