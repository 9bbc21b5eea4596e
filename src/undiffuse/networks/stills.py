"""Stacks of images among videos: what a network of videos makes of each of their frames alone."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.networks.conditions import Specs

STILL = "still"  # the form, and the name, of the condition that says what is a stack


def without_still(conditions: Specs, video: bool) -> Specs:
    """The conditions but for that one; raises Refused for a network without layers along time."""
    named = [name for name, (form, _) in conditions.items() if form == STILL]
    if named and (not video or named != [STILL]):
        raise Refused(
            f"the condition {named[0]!r} says which videos are stacks of images: it is called {STILL!r}, and is for a "
            "U-Net with video = true"
        )
    return {name: spec for name, spec in conditions.items() if name not in named}


def apart(network: Callable[..., Tensor], x: Tensor, c_time: Tensor, still: Tensor, given: Mapping[str, Any]) -> Tensor:
    """What a network makes of videos x (batch, channels, frames, height, width), where some are stacks of images.

    still: (batch, 1), 1 of a stack: each of its frames is a video of one frame, so that layers along time leave it as
    it is, and what is given for the stack is given for each. given: the network's keywords, rows of tensors, or None.
    """
    stacked = still.flatten() > 0.5
    parts: list[Tensor] = []
    if not bool(stacked.all()):
        parts.append(network(x[~stacked], c_time[~stacked], **_rows(given, lambda value: value[~stacked])))
    if bool(stacked.any()):
        frames = x.shape[2]

        def each(value: Tensor) -> Tensor:
            rows = value[stacked]
            if rows.ndim == x.ndim and rows.shape[2] == frames:
                return rows.transpose(1, 2).flatten(0, 1).unsqueeze(2)
            return rows.repeat_interleave(frames, 0)

        made = network(each(x), each(c_time), **_rows(given, each))
        parts.append(made.squeeze(2).unflatten(0, (-1, frames)).transpose(1, 2))
    order = torch.cat([torch.where(~stacked)[0], torch.where(stacked)[0]])
    return torch.cat(parts)[order.argsort()]


def _rows(given: Mapping[str, Any], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Rows of all that is given; of a mapping those of its values."""
    return {name: _changed(value, change) for name, value in given.items()}


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if value is None:
        return None
    return _rows(value, change) if isinstance(value, Mapping) else change(value)
