"""DiTPipeline: a transformer of latents with a class."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from undiffuse.conditions.label import LabelCondition
from undiffuse.conversion import latents, scheduler
from undiffuse.conversion.assembly import TRAIN, assemble, differing, images_of, part
from undiffuse.conversion.pipeline import Pipeline
from undiffuse.conversion.pipeline_source import PipelineSource
from undiffuse.conversion.scheduler_writing import config as scheduler_config
from undiffuse.conversion.scheduler_writing import write as write_scheduler
from undiffuse.conversion.writing import write_config, write_index, write_weights
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.networks.dit import DiT
from undiffuse.networks.dit_format import arguments, config_of, weights_from, weights_to
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.run import Run

GIVEN = ("channels", "classes", "out_channels", "shape")  # what the data say
GUIDANCE = 4.0  # of the pipeline, where nobody says


class DiTPipeline(Pipeline):
    """DiT as released (arXiv:2212.09748), its time with the frequencies that diffusers computes."""

    reads: ClassVar[tuple[str, ...]] = ("DiTPipeline",)
    refuses: ClassVar[dict[str, str]] = {
        "DiTTransformer2DModel": "alone it makes no pictures: name the folder above it, which has vae and scheduler, "
        "too; in Python undiffuse.networks.DiT.from_diffusers reads the network",
        "Transformer2DModel": "alone it makes no pictures: name the folder above it, which has vae and scheduler, too",
    }

    def read(self, source: PipelineSource) -> Run:
        own = arguments(source.config("transformer"))
        codec, table, uses = latents.read(source, "vae", own["shape"][1:])
        label = LabelCondition(classes=_classes(source.index().get("id2label"), own["classes"]), drop=0.1)
        network = {"name": "dit", **{k: v for k, v in own.items() if k not in GIVEN}, "frequency_shift": 1}
        tables = scheduler.tables(source.scheduler(), bounded=False)
        if own["out_channels"] == 2 * own["channels"]:
            tables["denoiser"] = {"variance": "learned_range"}
        recipe = Recipe.of(
            "dit",
            {
                "about": "Read from a DiTPipeline of diffusers",
                "data": images_of(codec.shape),
                "codec": table,
                "network": differing("networks", network),
                "objective": {"name": "hybrid" if "denoiser" in tables else "denoising"},
                "conditions": {"label": label.written()},
                "train": TRAIN,
                **tables,
                "sampler": {**tables["sampler"], "guidance": GUIDANCE},
            },
        )
        facts = {"data": {"name": "DiTPipeline", "dtype": "uint8"}}
        said = Description(replace(recipe, uses=uses), own["shape"], {"label": label}, codec, facts)
        weights = {f"network.{name}": weight for name, weight in weights_from(source.weights("transformer")).items()}
        return assemble(said, weights, str(source.folder / "transformer"))

    def check(self, run: Run) -> None:
        if not run.denoises:
            raise Refused(f"the run is {run.what}, and a DiTPipeline draws by a denoiser")
        latents.check(run, "a DiTPipeline is of latents")
        self._config(run)
        scheduler_config(run.recipe)

    def write(self, run: Run, folder: Path) -> str:
        network = self._network(run)
        write_config(folder / "transformer", self._config(run))
        write_weights(folder / "transformer", weights_to(network.state_dict(), network.patch))
        kind, noise = latents.write(run, folder / "vae"), write_scheduler(run.recipe, folder)
        classes = {"vae": kind, "transformer": "DiTTransformer2DModel", "scheduler": noise}
        names = {"id2label": {str(i): name for i, name in enumerate(run.classes)}}
        write_index(folder, "DiTPipeline", {name: ("diffusers", each) for name, each in classes.items()} | names)
        return "DiTPipeline"

    def _network(self, run: Run) -> DiT:
        denoiser: Any = run.module
        return part(denoiser.network, DiT, "network", "a DiTPipeline has a dit")

    def _config(self, run: Run) -> dict[str, Any]:
        network = self._network(run)
        others = [name for name in run.conditions if name != "label"]
        if others:
            raise Refused(f"a DiTPipeline has no condition but a label, and this run has {', '.join(others)}")
        defaults = {name: each.default for name, each in registry.fields(DiT).items()}
        first: Any = network.blocks[0]
        sizes = {"width": network.width, "depth": len(network.blocks), "heads": first.attention.heads}
        table = {**defaults, **run.recipe["network"], **sizes}
        return config_of(table, run.shape, network.out_channels, len(run.classes))


def _classes(said: Mapping[str, str] | None, count: int) -> tuple[str, ...]:
    """The names of the classes, with the number behind a name that several have; numbers where there are no names."""
    if not said or {*map(str, said)} != {*map(str, range(count))}:
        return tuple(map(str, range(count)))
    names = [str(said.get(str(i), i)) for i in range(count)]
    several = {name for name, times in Counter(names).items() if times > 1}
    return tuple(f"{name} ({i})" if name in several else name for i, name in enumerate(names))
