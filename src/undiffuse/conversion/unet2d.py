"""A UNet2DModel of a pipeline: the table of its network, its weights, and back."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from undiffuse.conditions.label import LabelCondition
from undiffuse.conversion.assembly import differing, part
from undiffuse.conversion.writing import write_config, write_weights
from undiffuse.core.errors import Refused
from undiffuse.networks.diffusers_format import arguments, config_of, weights_from, weights_to
from undiffuse.networks.unet import UNet
from undiffuse.sampling.run import Run

GIVEN = ("channels", "classes", "out_channels")  # what the data say


def tables(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, LabelCondition]]:
    """The tables [network], [objective] and where they are needed [denoiser] and [conditions] that mean the same as a
    config, and the conditions.
    """
    own = arguments(dict(config))
    learned = own["out_channels"] == 2 * own["channels"]
    found: dict[str, Any] = {
        "objective": {"name": "hybrid" if learned else "denoising"},
        "network": differing("networks", {"name": "unet", **{k: v for k, v in own.items() if k not in GIVEN}}),
    }
    if learned:
        found["denoiser"] = {"variance": "learned_range"}
    if not own["classes"]:
        return found, {}
    label = LabelCondition(classes=tuple(map(str, range(own["classes"]))))
    return found | {"conditions": {"label": label.written()}}, {"label": label}


def weights(theirs: Mapping[str, Tensor]) -> Callable[[Any], dict[str, Tensor]]:
    """What makes the weights under the names of a denoiser of ours, for `assemble`."""

    def found(denoiser: Any) -> dict[str, Tensor]:
        made = weights_from(theirs, denoiser.network.residual_names())
        return {f"network.{name}": weight for name, weight in made.items()}

    return found


def config(run: Run, what: str) -> dict[str, Any]:
    """The config of the UNet2DModel of a run; what: needs it. Raises Refused, naming what it could not."""
    unet = _unet(run, what)
    if len(run.shape) != 3:
        raise Refused(f"items have the shape {tuple(run.shape)}, and those of a UNet2DModel are pictures: {what}")
    groups = {m.num_groups for m in unet.modules() if isinstance(m, nn.GroupNorm)}
    height, width = run.shape[1:]
    return config_of(unet, groups, height if height == width else (height, width))


def write(run: Run, folder: Path) -> None:
    """Write its config and its weights."""
    unet = _unet(run, "it is written")
    write_config(folder, config(run, "it is written"))
    write_weights(folder, weights_to(unet.state_dict(), unet.residual_names(), unet.time_widths))


def _unet(run: Run, what: str) -> UNet:
    denoiser: Any = run.module
    return part(denoiser.network, UNet, "network", what)
