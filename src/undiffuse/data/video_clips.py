"""Videos in clips of equally many frames, one behind the other, every frame or every second or third one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from undiffuse.core.errors import Refused


class Clips(NamedTuple):
    """x: (count, channels, frames, height, width). stride: of each clip, (count,)."""

    x: np.ndarray
    stride: np.ndarray


def cut(x: np.ndarray, frames: int, strides: Sequence[int], name: str) -> Clips:
    """A video (channels, all frames, height, width) in clips of so many frames, 0: all, once with each stride.

    Raises Refused, by the video's name, where it has too few frames for one.
    """
    found, paces = list[np.ndarray](), list[int]()
    for stride in strides:
        thin = x[:, ::stride]
        length = frames or thin.shape[1]
        count = thin.shape[1] // length
        if not count:
            raise Refused(
                f"{name} has {x.shape[1]} frames, too few for a clip of {length} at stride {stride}: "
                f"--set data.frames={thin.shape[1]} makes clips shorter"
            )
        found += [thin[:, i * length : (i + 1) * length] for i in range(count)]
        paces += [stride] * count
    return Clips(np.stack(found), np.array(paces))
