"""ControlNetModel: a control of a run with Stable Diffusion's U-Net, which is named beside it."""

from pathlib import Path
from typing import Any, ClassVar

from undiffuse.conditions.image import ImageCondition
from undiffuse.conversion.assembly import assemble
from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_folder import PipelineFolder
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.networks.controlnet_format import KIND, check_written, from_diffusers, to_diffusers
from undiffuse.networks.unet import UNet
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.uses import BASE, Uses
from undiffuse.sampling.run import Run

PICTURE = "picture"  # the condition that such a control is shown


class ControlNetPipeline(Pipeline):
    """The copy of a U-Net's way down that steers it (arXiv:2302.05543)."""

    reads: ClassVar[tuple[str, ...]] = ("ControlNetModel",)

    def read(self, source: PipelineFolder) -> Run:
        raise Refused(
            f"{source.folder} holds a {KIND}, which steers another run: "
            f"undiffuse import {source.folder} --base RUN -o runs/control"
        )

    def on(self, folder: Path, base: Any, path: str) -> Run:
        """The run that the folder's control is on this base, which lies at this path; its condition is called picture.

        Raises Refused, naming the field, for what has no meaning here, and, with both, for another base.
        """
        if not base.denoises or not issubclass(type(base.denoiser.network), UNet):
            raise Refused(f"--base {path}: a {KIND} steers a run that draws samples by a unet, and this is {base.what}")
        kind: Any = registry.get("models", "controlnet")
        branch = from_diffusers(folder, base.denoiser.network, PICTURE)
        shape = (branch.conditions[PICTURE][1][0], *base.data_shape[1:])
        shown = ImageCondition(shape=shape, dtype="uint8")
        tables = {name: base.recipe[name] for name in (*kind.inherits, "data", "train") if base.recipe[name]}
        conditions = {**base.recipe["conditions"], PICTURE: shown.written()}
        own = {"base": {"run": path}, "control": {"widths": list(branch.widths)}, "conditions": conditions}
        about = f"Read from a {KIND} of diffusers"
        recipe = Recipe.of("controlnet", {"kind": "controlnet", "about": about, **tables, **own})
        said = Description(
            Recipe(recipe.name, recipe.tables, about, recipe.kind, uses=Uses(runs={BASE: base}, paths={BASE: path})),
            base.shape,
            {**base.conditions, PICTURE: shown},
            base.codec,
            {name: base.facts[name] for name in ("data",) if name in base.facts},
        )
        weights = {f"network.branches.0.{name}": weight for name, weight in branch.state_dict().items()}
        return assemble(said, weights, str(folder))

    def check(self, run: Run) -> None:
        if not run.steers:
            raise Refused(f"the run is {run.what}, and a {KIND} is a control")
        module: Any = run.module
        if len(module.network.branches) > 1:
            raise Refused(f"a {KIND} is one control, and this run has {len(module.network.branches)}")
        check_written(module.network.branches[0])

    def write(self, run: Run, folder: Path) -> str:
        module: Any = run.module
        to_diffusers(module.network.branches[0], folder)
        return KIND
