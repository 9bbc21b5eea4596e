"""A U-Net of latents that attends to what a frozen encoder embeds: what pipelines of Stable Diffusion share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.codecs.latent import Latent
from undiffuse.conditions.condition_kind import ConditionKind
from undiffuse.conversion import autoencoder, scheduler
from undiffuse.conversion.assembly import TRAIN, assemble, differing, images_of, part
from undiffuse.conversion.pipeline_source import PipelineSource
from undiffuse.conversion.scheduler_writing import config as scheduler_config
from undiffuse.conversion.scheduler_writing import write as write_scheduler
from undiffuse.conversion.writing import write_config, write_weights
from undiffuse.core.errors import Refused
from undiffuse.networks.unet import UNet
from undiffuse.networks.unet_condition_format import arguments, config_of, weights_from, weights_to
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.uses import Uses
from undiffuse.sampling.run import Run

GIVEN = ("channels", "classes", "out_channels")  # what the data say
VAE = "codec.autoencoder"


@dataclass(frozen=True)
class AttendingLatents:
    """The U-Net, the autoencoder and the scheduler of a folder. config: of the U-Net; own: its arguments here. size: of
    pictures; latents: the shape of their latents.
    """

    source: PipelineSource
    config: Mapping[str, Any]
    own: Mapping[str, Any]
    vae: Any
    codec: Latent
    size: tuple[int, int]
    latents: tuple[int, ...]

    @classmethod
    def of(cls, source: PipelineSource) -> "AttendingLatents":
        """Raises Refused, naming the field, for what has no meaning here."""
        config = source.config("unet")
        own = arguments(config)
        said = source.said("vae")
        side = config.get("sample_size") or 64
        height, width = (side, side) if isinstance(side, int) else side
        size = autoencoder.image_size(said, (height, width))
        vae: Any = autoencoder.read(said, source.weights("vae"), str(source.folder / "vae"), size)
        codec = autoencoder.codec(vae, said)
        return cls(source, config, own, vae, codec, size, vae.latent_shape(vae.shape))

    def refuse_width(self, made: int, what: str) -> None:
        """Raises Refused unless the U-Net attends to embeddings so wide. what: is embedded, "text" or "image"."""
        if made != (wide := self.config.get("cross_attention_dim", 1280)):
            raise Refused(
                f"the U-Net in {self.source.folder} reads {what}s {wide} wide, and its {what} encoder makes them "
                f"{made} wide"
            )

    def run(
        self, conditions: Mapping[str, ConditionKind], named: str, encoder: Any, folder: str, data: Mapping[str, Any]
    ) -> Any:
        """The run that is told these conditions. encoder: the run that embeds the one of this name, from this part of
        the folder. data: further fields of [data].
        """
        source, field = self.source, f"conditions.{named}.encoder"
        index, found = source.index(), scheduler.tables(source.scheduler(), bounded=False)
        paths = {VAE: str(source.folder / "vae"), field: str(source.folder / folder)}
        said_of = {name: kind.written() for name, kind in conditions.items()}
        said_of[named] |= {"encoder": paths[field]}
        own = {name: value for name, value in self.own.items() if name not in GIVEN}
        scaled = {"scale": self.codec.scale, "mean": self.codec.mean, "std": self.codec.std}
        tables = {
            "data": {**images_of((self.vae.shape[0], *self.size)), **data},
            "codec": {"name": "latent", "autoencoder": paths[VAE], **scaled},
            "network": differing("networks", {"name": "unet", **own}),
            "objective": {"name": "denoising"},
            "conditions": said_of,
            "train": TRAIN,
            **found,
            "sampler": {**found["sampler"], "guidance": 7.5},
        }
        name = str(index["_class_name"])
        recipe = Recipe.of("stable-diffusion", {"about": f"Read from a {name} of diffusers", **tables})
        description = Description(
            replace(recipe, uses=Uses(runs={VAE: self.vae, field: encoder}, paths=paths)),
            self.latents,
            conditions,
            self.codec,
            {"data": {"name": name, "dtype": "uint8"}},
        )
        return assemble(description, self._weights(named, conditions[named].shape), str(source.folder / "unet"))

    def _weights(self, named: str, shape: tuple[int, ...]) -> Callable[[Any], dict[str, Tensor]]:
        def found(module: Any) -> dict[str, Tensor]:
            weights = weights_from(self.source.weights("unet"), module.network.residual_names())
            weights[null(named)] = torch.zeros(shape, dtype=torch.float32)
            return {f"network.{name}": weight for name, weight in weights.items()}

        return found


def null(name: str) -> str:
    """The null condition of an embedded text among a U-Net's weights."""
    return f"texts.null_{name}"


def check_parts(run: Run, kind: str) -> None:
    """Raises Refused, naming what it is, unless a run is a U-Net of latents. kind: of the pipeline."""
    if not run.denoises:
        raise Refused(f"the run is {run.what}, and a {kind} draws by a denoiser")
    part(run.codec, Latent, "codec", f"a {kind} is of latents")
    module: Any = run.module
    part(module.network, UNet, "network", f"a {kind} has a unet")


def check_written(run: Run, name: str, kind: str) -> None:
    """Raises Refused, naming the field, unless such a run attends to the condition of this name as it is embedded, and
    diffusers has each of its parts.
    """
    codec: Any = run.codec
    module: Any = run.module
    unet: UNet = module.network
    if unet.texts.names != (name,):
        raise Refused(f"network.text_width is above 0: a {kind} reads {name!r} as it is embedded")
    unet_config(run)
    scheduler_config(run.recipe)
    autoencoder.written(codec.autoencoder, **autoencoder.scaling(codec))


def write(run: Run, name: str, folder: Path) -> dict[str, Any]:
    """Write the U-Net that attends to the condition of this name, the autoencoder and the scheduler; returns their
    libraries and classes.
    """
    module: Any = run.module
    codec: Any = run.codec
    unet: UNet = module.network
    config = unet_config(run)
    state = {key: weight for key, weight in unet.state_dict().items() if key != null(name)}
    linear = config["use_linear_projection"]
    write_config(folder / "unet", config)
    write_weights(folder / "unet", weights_to(state, unet.residual_names(), unet.time_widths, linear))
    vae, weights = autoencoder.written(codec.autoencoder, **autoencoder.scaling(codec))
    write_config(folder / "vae", vae)
    write_weights(folder / "vae", weights)
    return {
        "vae": ("diffusers", vae["_class_name"]),
        "unet": ("diffusers", config["_class_name"]),
        "scheduler": ("diffusers", write_scheduler(run.recipe, folder)),
    }


def unet_config(run: Run) -> dict[str, Any]:
    """The configuration of the U-Net of a run."""
    module: Any = run.module
    unet: UNet = module.network
    groups = {m.num_groups for m in unet.modules() if isinstance(m, nn.GroupNorm) if m.eps == unet.eps}
    height, width = run.shape[1:]
    return config_of(unet, groups, height if height == width else [height, width], unet.texts.width)
