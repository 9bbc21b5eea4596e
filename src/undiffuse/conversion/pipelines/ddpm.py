"""DDPMPipeline and DDIMPipeline: a UNet2DModel of pixels."""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.conditions.label import LabelCondition
from undiffuse.conversion import scheduler
from undiffuse.conversion.assembly import TRAIN, assemble, differing, part
from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_folder import SCHEDULER, PipelineFolder
from undiffuse.conversion.scheduler_writing import config as scheduler_config
from undiffuse.conversion.writing import write_config, write_index, write_weights
from undiffuse.core.errors import Refused
from undiffuse.networks.diffusers_format import arguments, config_of, weights_from, weights_to
from undiffuse.networks.unet import UNet
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.run import Run
from undiffuse.storage.blueprint import Unwritten

GIVEN = ("channels", "classes", "out_channels")  # what the data say


class DDPMPipeline(Pipeline):
    """A U-Net of pixels with a table of noise levels (arXiv:2006.11239)."""

    reads: ClassVar[tuple[str, ...]] = ("DDPMPipeline", "DDIMPipeline")

    def read(self, source: PipelineFolder) -> Run:
        config = source.config("unet")
        own = arguments(config)
        sides = config.get("sample_size")
        if not sides:
            raise Refused(f"{source.folder}: unet/config.json does not say its sample_size")
        height, width = (sides, sides) if isinstance(sides, int) else sides
        tables: dict[str, Any] = {
            "data": {"name": "folder", "path": "images", "size": [height, width], "channels": own["channels"]},
            "codec": {"name": "pixels"},
            "network": differing("networks", {"name": "unet", **{k: v for k, v in own.items() if k not in GIVEN}}),
            "objective": {"name": "denoising"},
            "train": TRAIN,
            **scheduler.tables(source.scheduler()),
        }
        if own["out_channels"] == 2 * own["channels"]:
            tables["denoiser"] = {"variance": "learned_range"}
        conditions: dict[str, Any] = {}
        if own["classes"]:
            conditions["label"] = LabelCondition(classes=tuple(map(str, range(own["classes"]))))
            tables["conditions"] = {"label": conditions["label"].written()}
        with torch.device("meta"), Unwritten():
            names = UNet(**own).residual_names()
        weights = {
            f"network.{name}": weight for name, weight in weights_from(dict(source.weights("unet")), names).items()
        }
        name = str(source.index()["_class_name"])
        said = Description(
            Recipe.of("ddpm", {"about": f"Read from a {name} of diffusers", **tables}),
            (own["channels"], height, width),
            conditions,
            PixelsCodec(0.0, 255.0),
            {"data": {"name": name, "dtype": "uint8"}},
        )
        return assemble(said, weights, f"{source.folder / 'unet'}")

    def check(self, run: Run) -> None:
        if not run.denoises:
            raise Refused(f"the run is {run.what}, and a DDPMPipeline draws by a denoiser")
        part(run.codec, PixelsCodec, "codec", "a DDPMPipeline is of pixels")
        network: Any = run.module
        part(network.network, UNet, "network", "a DDPMPipeline has a unet")
        scheduler_config(run.recipe)
        self._config(run)

    def write(self, run: Run, folder: Path) -> str:
        module: Any = run.module
        unet: UNet = module.network
        said = scheduler_config(run.recipe)
        write_config(folder / "unet", self._config(run))
        write_weights(folder / "unet", weights_to(unet.state_dict(), unet.residual_names(), unet.time_widths))
        write_config(folder / "scheduler", said, SCHEDULER)
        parts = {"unet": ("diffusers", "UNet2DModel"), "scheduler": ("diffusers", said["_class_name"])}
        write_index(folder, "DDPMPipeline", parts)
        return "DDPMPipeline"

    def _config(self, run: Run) -> dict[str, Any]:
        module: Any = run.module
        groups = {m.num_groups for m in module.network.modules() if isinstance(m, nn.GroupNorm)}
        height, width = run.shape[1:]
        return config_of(module.network, groups, height if height == width else (height, width))
