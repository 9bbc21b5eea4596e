"""Whether two stages of a chain were trained on the same pictures or vectors, and whether noise can be handed over."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.networks.conditions import scaled

BLOCKS, BOX = "superresolve", "box"  # the condition that is the mean of each block, and the filter of data like it
FRAME = ("fit", "crop")  # fields of data that say what of a picture is left


class Named(Protocol):
    """A stage: its run, and what requests call it."""

    @property
    def run(self) -> Any: ...
    @property
    def name(self) -> str: ...


def refuse_filters(before: Named, stage: Named, fills: str) -> None:
    """Raises Refused where the stage before was trained on pictures of another resize filter than this one's condition.

    A condition "superresolve:FACTOR" is the mean of each block, the filter "box"; it equals the smaller data where all
    that was resized was so by this filter. Data that were not resized are as they are.
    """
    if not str(stage.run.recipe["conditions"].get(fills, {}).get("of", "")).startswith(BLOCKS):
        return
    small, large = _resizing(before.run), _resizing(stage.run)
    for each, found in ((before, small), (stage, large if small else {})):
        if found.get("filter", BOX) != BOX:
            raise Refused(
                f"stage {each.name!r} was trained on pictures resized by the filter {found['filter']!r}, and {fills!r} "
                f"of stage {stage.name!r} is the mean of each block, which is the filter {BOX!r}: train {each.name!r} "
                f"with --set data.filter={BOX}"
            )
    if small and large and (other := next((field for field in FRAME if small[field] != large[field]), None)):
        raise Refused(
            f"stages {before.name!r} and {stage.name!r} were trained on other parts of the pictures: data.{other} is "
            f"{small[other]!r} and {large[other]!r}; train both with the same"
        )


def _resizing(run: Any) -> Mapping[str, Any]:
    """The fields of a run's data that say how pictures were resized; {} where they were not."""
    table = run.recipe["data"]
    fields = registry.fields(registry.get("data", str(table["name"])))
    if not {"size", "filter", *FRAME} <= fields.keys():
        return {}
    said = {name: table.get(name, fields[name].default) for name in ("size", "filter", *FRAME)}
    return said if said["size"] is not None else {}


def refuse_space(before: Named, stage: Named, fills: str) -> None:
    """Raises Refused where a stage takes vectors of one pair of encoders, and the one before makes others."""
    wanted, made = stage.run.conditions[fills].space, before.run.codec.space
    if wanted and made != wanted:
        others = f"those of another ({made[:8]})" if made else "vectors of none"
        raise Refused(
            f"stage {stage.name!r} takes as {fills!r} vectors of the pair of encoders {wanted[:8]}, and stage "
            f"{before.name!r} makes {others}: train both with one run of kind clip"
        )


def refuse_truncated(before: Named, stage: Named, fills: str) -> None:
    """Raises Refused where the states of the stage before are not what this one takes as a noisy picture."""
    condition = stage.run.conditions[fills]
    says = f"stage {stage.name!r} cannot take {before.name!r} before it is finished (truncated): "
    if not condition.noisy:
        raise Refused(f"{says}it was trained on {fills!r} without noise (conditions.{fills}.noise)")
    if not before.run.denoises or before.run.denoiser.process.family != "values" or before.run.codec.tokens:
        raise Refused(f"{says}{before.name!r} is {before.run.what} that draws by no noise on values")
    dtype = np.dtype(condition.dtype or "float32")
    levels = np.arange(2 * math.prod(before.run.data_shape)).reshape(2, *before.run.data_shape) * 37 % 256
    items = (levels if dtype.kind in "iu" else levels / 255).astype(dtype)
    own = before.run.codec.encode(items)
    told = scaled(condition.encode(items)).to(own)[:, :-1]
    if own.shape != told.shape or not np.allclose(own.numpy(), told.numpy(), atol=1e-5):
        raise Refused(
            f"{says}the numbers that {before.name!r} denoises are not the picture as {stage.name!r} takes it, such as "
            "those of codec 'pixels' for pictures of 8 bits"
        )
