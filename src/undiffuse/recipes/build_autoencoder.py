"""What the tables of an autoencoder stand for: encoder, bottleneck and decoder, made for one another and the data."""

from typing import Any

from undiffuse.core import registry
from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.bottleneck import Bottleneck
from undiffuse.core.errors import Refused
from undiffuse.core.single_precision import in_float32
from undiffuse.recipes.recipe import Recipe


def autoencoder(recipe: Recipe, shape: tuple[int, ...]) -> Autoencoder:
    """The autoencoder of encoded items of this shape, channels first, with its first weights."""
    with in_float32():
        between = bottleneck(recipe)
        network = recipe.module(
            "network",
            channels=shape[0],
            shape=shape,
            size=shape[-1],
            dimensions=len(shape) - 1,
            outputs=between.outputs(_latent_channels(recipe)),
        )
        if network.outputs != (needs := between.outputs(network.latent_channels)):
            raise Refused(
                f"network.outputs = {network.outputs}: bottleneck {recipe['bottleneck']['name']!r} needs {needs} for "
                f"{network.latent_channels} latent channels; leave the field out"
            )
        network.latent_shape(shape)  # refuses what it cannot take
        return Autoencoder(network, between)


def bottleneck(recipe: Recipe) -> Bottleneck:
    """The [bottleneck] of the network's latent channels, with its first weights; raises Refused for unknown fields."""
    return recipe.module("bottleneck", channels=_latent_channels(recipe))


def _latent_channels(recipe: Recipe) -> int:
    """What the [network] table says, else the network's default."""
    table = recipe["network"]
    known = registry.fields(registry.get("networks", str(table.get("name"))))
    found: Any = table.get("latent_channels", known["latent_channels"].default)
    if type(found) is not int or found < 1:
        raise Refused(f"network.latent_channels is how many channels the latents have, at least 1, not {found!r}")
    return found
