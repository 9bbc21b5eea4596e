"""Videos in clips of equally many frames, one behind the other, every frame or every second or third one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from undiffuse.core.errors import Refused


class Clips(NamedTuple):
    """x: (count, channels, frames, height, width). stride, first: of each clip, and its first frame in the video,
    (count,).
    """

    x: np.ndarray
    stride: np.ndarray
    first: np.ndarray

    def in_time(self) -> tuple["Clips", int]:
        """The clips of one video in the order in which they end, and the least number, 1 or more, of clips between two
        that are sure to share no frame.
        """
        end = self.first + (self.x.shape[2] - 1) * self.stride
        order = np.argsort(end, kind="stable")
        first, end = self.first[order], end[order]
        overlap = max(i - int(np.searchsorted(end, first[i])) for i in range(len(end)))
        return Clips(self.x[order], self.stride[order], first), max(1, overlap)


def cut(x: np.ndarray, frames: int, strides: Sequence[int], name: str) -> Clips:
    """A video (channels, all frames, height, width) in clips of so many frames, 0: all, once with each stride.

    Raises Refused, by the video's name, where it has too few frames for one.
    """
    found, paces, first = list[np.ndarray](), list[int](), list[int]()
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
        first += [i * length * stride for i in range(count)]
    return Clips(np.stack(found), np.array(paces), np.array(first))
