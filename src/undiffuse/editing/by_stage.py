"""Edits of a chain: each stage edits the item at its own size, and is told what the stage before made of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse.core import arguments
from undiffuse.core.errors import Refused
from undiffuse.operators.mask import fitting
from undiffuse.operators.pool import Pool

Edit = Callable[..., Tensor]  # (run, item, factor, n=, request=, progress=) -> (n, *shape)


def by_stage(chain: Any, edit: Edit, image: Any, n: int, request: Any, options: dict[str, Any]) -> Tensor:
    """What `edit` makes of an item, or of n of them, stage after stage, (n, *shape) in the data's units.

    edit: called with a stage's run, the item at its size, (1 or n, *shape), by how much that is smaller, and what that
    stage is asked for. The item is made small by the mean of each block, as stages are trained.
    Raises Refused for stages whose samples are not the item made small, and for what `Generator.sample` refuses.
    """
    options = {**options}
    progress = options.pop("progress", False)
    session = chain.open(request, n=n, **options)
    whole = torch.as_tensor(arguments.array(image, "image"))
    whole = whole if whole.ndim > len(chain.data_shape) else whole[None]
    if tuple(whole.shape[1:]) != chain.data_shape or len(whole) not in (1, n):
        raise Refused(f"the chain's samples have the shape {chain.data_shape}, and this is {tuple(whole.shape[1:])}")
    made: Any = None
    for i, stage in enumerate(chain.stages):
        factor = _factor(chain.data_shape, stage.run.data_shape, stage.name)
        item = smaller(whole, factor)
        made = edit(stage.run, item, factor, n=n, request=session.of_stage(i, made), progress=progress).numpy()
    return torch.from_numpy(made)


def smaller(items: Tensor, factor: int) -> Tensor:
    """Items (n, channels, height, width) as the mean of each block, in their dtype."""
    if factor == 1:
        return items
    means = Pool(factor)(items.double())
    return (means if items.dtype.is_floating_point else means.round()).to(items.dtype)


def known_blocks(mask: Any, factor: int, small: Tensor) -> np.ndarray:
    """A mask, 1 where known, for items `small`, (1, channels, height, width): a block is known where all of it is."""
    found = torch.as_tensor(arguments.array(mask, "mask").astype(np.float32))
    whole = small.new_empty((1, small.shape[1], *(side * factor for side in small.shape[2:])))
    known = fitting(found, whole).float().expand(whole.shape)
    return (1 - F.max_pool2d(1 - known, factor))[0].numpy()


def _factor(whole: tuple[int, ...], small: tuple[int, ...], name: str) -> int:
    """By how much a stage's samples are smaller; raises Refused where they are not the item made small."""
    fits = len(whole) == len(small) == 3 and whole[0] == small[0]
    factor = whole[1] // small[1] if fits else 0
    if not fits or tuple(side * factor for side in small[1:]) != whole[1:]:
        raise Refused(
            f"a chain is edited stage by stage, each at its own size, and stage {name!r} makes samples of shape "
            f"{small}, which are not items of {whole} made small"
        )
    return factor
