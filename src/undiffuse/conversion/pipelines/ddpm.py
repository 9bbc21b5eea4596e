"""DDPMPipeline and DDIMPipeline: a UNet2DModel of pixels."""

from pathlib import Path
from typing import Any, ClassVar

from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.conversion import scheduler, unet2d
from undiffuse.conversion.assembly import TRAIN, assemble, part
from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_source import SCHEDULER, PipelineSource
from undiffuse.conversion.scheduler_writing import config as scheduler_config
from undiffuse.conversion.writing import write_config, write_index, write_weights
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
        sides = config.get("sample_size")
        if not sides:
            raise Refused(f"{source.folder}: {Path(place, 'config.json')} does not say its sample_size")
        height, width = (sides, sides) if isinstance(sides, int) else sides
        channels = config.get("in_channels", 3)
        if alone and channels not in PIXELS:
            raise Refused(
                f"{source.folder} holds a {ALONE} of {channels} channels, which are no pixels: give the folder of its "
                "pipeline, with the autoencoder"
            )
        tables, conditions = unet2d.tables(config)
        said = {"_class_name": "DDPMScheduler"} if alone else source.scheduler()
        tables = {
            "data": {"name": "folder", "path": "images", "size": [height, width], "channels": channels},
            "codec": {"name": "pixels"},
            "train": TRAIN,
            **scheduler.tables(said),
            **tables,
        }
        name = ALONE if alone else str(source.index()["_class_name"])
        description = Description(
            Recipe.of("ddpm", {"about": f"Read from a {name} of diffusers", **tables}),
            (channels, height, width),
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
        said: dict[str, Any] = scheduler_config(run.recipe)
        write_config(folder / "unet", unet2d.config(run, "it is written"))
        write_weights(folder / "unet", unet2d.written(run))
        write_config(folder / "scheduler", said, SCHEDULER)
        parts = {"unet": ("diffusers", "UNet2DModel"), "scheduler": ("diffusers", said["_class_name"])}
        write_index(folder, "DDPMPipeline", parts)
        return "DDPMPipeline"
