"""AutoencoderKL and VQModel of diffusers: as runs of kind autoencoder and as codecs of latents, and back."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.codecs.latent import Latent
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.conversion.assembly import TRAIN, assemble, differing, images_of, part
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.networks.autoencoder_kl import AutoencoderKL
from undiffuse.networks.diffusers_autoencoder import (
    CODEBOOK,
    DEFAULTS,
    arguments,
    config_of,
    weights_from,
    weights_to,
)
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.run import Run

CLASSES = tuple(DEFAULTS)
SCALE = {"AutoencoderKL": 0.18215, "VQModel": 0.18215}  # what each takes where its config says none
BOTTLENECKS = {"kl": "AutoencoderKL", "vq": "VQModel"}
SCALING = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")
GIVEN = ("channels", "outputs")  # what the data and the bottleneck say


def read(said: Mapping[str, Any], theirs: Mapping[str, Tensor], what: str, size: tuple[int, int] | None = None) -> Run:
    """The run of a config, with its `_class_name`, and weights. size: of images, where the config's is not meant.

    Raises Refused, naming the field, for what an autoencoder of ours has not.
    """
    kind = str(said.get("_class_name"))
    if kind not in CLASSES:
        raise Refused(f"{what} holds {kind}, and autoencoders that are read are {', '.join(CLASSES)}")
    own = arguments(dict(said), kind)
    side = said.get("sample_size", 32)
    height, width = size or ((side, side) if isinstance(side, int) else side)
    codes = said.get("num_vq_embeddings", DEFAULTS["VQModel"]["num_vq_embeddings"])
    tables: dict[str, Any] = {
        "data": images_of((own["channels"], height, width)),
        "codec": {"name": "pixels"},
        "network": differing("networks", {"name": "autoencoder_kl", **_without(own)}),
        "bottleneck": {"name": "vq", "size": codes} if kind == "VQModel" else {"name": "kl"},
        "objective": {"name": "autoencoding", "penalty_weight": 1.0 if kind == "VQModel" else 1e-6},
        "train": TRAIN,
    }
    theirs, weights = dict(theirs), {"log_scale": torch.zeros((), dtype=torch.float32)}
    if kind == "VQModel":
        book = theirs.pop(CODEBOOK[0], torch.empty(0, dtype=torch.float32)).float()
        alive = torch.ones(len(book), dtype=torch.float32)  # in training no code is moved before it was seen
        weights |= {CODEBOOK[1]: book, "bottleneck.count": alive, "bottleneck.total": book.clone()}
    weights |= {f"network.{name}": weight for name, weight in weights_from(theirs).items()}
    description = Description(
        Recipe.of("autoencoder", {"kind": "autoencoder", "about": f"Read from a {kind} of diffusers", **tables}),
        (own["channels"], height, width),
        {},
        PixelsCodec(0.0, 255.0),
        {"data": {"name": kind, "dtype": "uint8"}, "scaling": {n: said[n] for n in SCALING if n in said}},
    )
    return assemble(description, weights, what)


def codec(run: Any, said: Mapping[str, Any]) -> Latent:
    """The latents of a run that `read` made, as its config scales them: z = (latent - shift) scale, of each channel
    where there are `latents_mean` and `latents_std`.
    """
    scale = said.get("scaling_factor") or SCALE[str(said["_class_name"])]
    mean, std = said.get("latents_mean"), said.get("latents_std")
    if (mean is None) != (std is None):
        raise Refused(f"{said['_class_name']} has latents_mean = {mean} and latents_std = {std}: one needs the other")
    shared = {"autoencoder": run, "shape": run.shape, "dtype": "uint8"}
    if mean is not None and std is not None:
        found = {"mean": tuple(map(float, mean)), "std": tuple(each / scale for each in std)}
        return Latent(**shared, **found)
    return Latent(**shared, scale="scalar", mean=(float(said.get("shift_factor") or 0.0),), std=(1 / scale,))


def scaling(latents: Latent) -> dict[str, Any]:
    """The fields of a config that scale latents so."""
    if len(latents.std) > 1:
        return {"scaling_factor": 1.0, "latents_mean": list(latents.mean), "latents_std": list(latents.std)}
    mean, std = *latents.mean, *latents.std
    return {"scaling_factor": 1 / std, **({"shift_factor": mean} if mean else {})}


def written(run: Any, **own: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and weights of the model of diffusers that does what an autoencoder's run does.

    own: further fields, such as `scaling`; else latents are scaled as they were where the run was read.
    Raises Refused, naming what it is, where there is none.
    """
    part(run.codec, PixelsCodec, "codec", "autoencoders of diffusers are of pixels")
    autoencoder: Any = run.module
    network: Any = part(autoencoder.network, AutoencoderKL, "network", "autoencoders of diffusers are autoencoder_kl")
    kind = BOTTLENECKS.get(registry.name_of(autoencoder.bottleneck))
    if kind is None:
        raise Refused(f"bottleneck {registry.name_of(autoencoder.bottleneck)!r}: diffusers has kl and vq")
    groups = {m.num_groups for m in network.modules() if isinstance(m, nn.GroupNorm)}
    own = {"scaling_factor": 1.0, **run.facts.get("scaling", {}), **own}
    vq = {"num_vq_embeddings": autoencoder.bottleneck.size} if kind == "VQModel" else {}
    config = config_of(network, groups, kind, sample_size=max(run.shape[1:]), **vq, **own)
    weights = weights_to(network.state_dict())
    if kind == "VQModel":
        weights[CODEBOOK[0]] = autoencoder.bottleneck.codebook.detach()
    return config, weights


def image_size(said: Mapping[str, Any], latents: tuple[int, int]) -> tuple[int, int]:
    """The height and width of images whose latents have these, of a model with this config."""
    factor = 2 ** (len(said.get("block_out_channels", [64])) - 1)
    return latents[0] * factor, latents[1] * factor


def _without(own: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in own.items() if name not in GIVEN}
