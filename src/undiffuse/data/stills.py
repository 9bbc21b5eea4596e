"""Images that are learned from beside videos: stacks of them in the shape of a video."""

from dataclasses import replace
from typing import Any

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset

STILL = "still"  # among the conditions: 1 of a stack of images, 0 of a video


def with_images(videos: Dataset, images: Dataset, share: float) -> Dataset:
    """The videos and stacks of as many images as a video has frames, which are this share of all items.

    Where videos have labels, a stack is of one class, each class in turn. Images are taken in their order, again from
    the first where there are too few. Stacks are learned from only: none is held out or compared with.
    Raises Refused for a share that leaves no video or no image, and for images of another shape, dtype or classes.
    """
    channels, frames, *sides = videos.shape
    if not 0 < share < 1:
        raise Refused(f"share, of images among the items, is between 0 and 1, not {share:g}")
    if images.shape != (channels, *sides) or images.x.dtype != videos.x.dtype:
        raise Refused(
            f"the images of {images.name} are {images.shape} of {images.x.dtype}, and the frames of {videos.name} are "
            f"{(channels, *sides)} of {videos.x.dtype}: bring these to the same"
        )
    count = max(1, round(len(videos) * share / (1 - share)))
    which, labels = _chosen(videos, images, count, frames)
    stacks = np.asarray(images.x[:])[which].swapaxes(1, 2)
    beside: dict[str, Any] = {name: np.zeros_like(values[:1]) for name, values in videos.conditions.items()}
    more = {name: zero.repeat(count, 0) for name, zero in beside.items()} | labels
    conditions = {name: np.concatenate([values, more[name]]) for name, values in videos.conditions.items()}
    still = np.repeat(np.array([0, 1], np.float32), [len(videos), count])[:, None]
    groups = videos.groups
    if groups is not None:
        groups = np.concatenate([groups, groups.max() + 1 + np.arange(count)])
    return replace(
        videos,
        x=np.concatenate([np.asarray(videos.x[:]), stacks]),
        conditions={**conditions, STILL: still},
        beside=still[:, 0] > 0,
        groups=groups,
        names=(),
        known=None,
    )


def _chosen(videos: Dataset, images: Dataset, count: int, frames: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Which image each frame of each stack is, (count, frames), and the stacks' labels, if there are some."""
    if videos.labels is None:
        return np.arange(count * frames).reshape(count, frames) % len(images), {}
    there = [name for name in images.classes if name in videos.classes] if images.labels is not None else []
    if not there:
        raise Refused(
            f"{videos.name} has the classes {', '.join(videos.classes[:5])}, and the images of {images.name} have "
            "none of them: learn without classes (--set data.labels=none), or give images that have them"
        )
    which = np.empty((count, frames), np.int64)
    labels = np.empty(count, np.int64)
    assert images.labels is not None
    for i in range(count):
        turn, name = i // len(there), there[i % len(there)]
        own = np.flatnonzero(images.labels == images.classes.index(name))
        which[i] = own[(turn * frames + np.arange(frames)) % len(own)]
        labels[i] = videos.classes.index(name)
    return which, {"label": labels}
