"""What is inside the files that sampled videos become."""

from typing import TYPE_CHECKING

from undiffuse.core.errors import Refused
from undiffuse.sampling.file_content import NPZ
from undiffuse.storage.notes import VIDEO

if TYPE_CHECKING:
    from undiffuse.sampling.samples import Samples


def fits_moving(shape: tuple[int, ...], dtype: str) -> None:
    """Raises Refused for samples that are no videos."""
    if len(shape) != 4:
        raise Refused(
            f"samples of shape {shape} do not move: a .gif of them is their way from noise (--trajectory gif); {NPZ}"
        )


def moving(drawn: "Samples", suffix: str) -> bytes:
    """All videos beside each other, playing at the data's rate; of volumes slice after slice."""
    from undiffuse.pictures import sheet as arranged
    from undiffuse.pictures import to_uint8
    from undiffuse.storage import video_file

    x, labels = to_uint8(drawn.x), None if drawn.labels is None else drawn.labels.numpy()
    frames = [arranged(x[:, :, i], labels, drawn.classes, drawn.captions) for i in range(x.shape[2])]
    write = video_file.gif if suffix == video_file.GIF else video_file.mp4
    return write(frames, frame_rate(drawn))


def videos(drawn: "Samples") -> dict[str, bytes]:
    """A .gif for each video, in its own size."""
    from undiffuse.pictures import picture, to_uint8
    from undiffuse.storage import video_file

    digits, rate = max(4, len(str(len(drawn.x) - 1))), frame_rate(drawn)
    x = to_uint8(drawn.x).swapaxes(1, 2)
    return {f"{i:0{digits}d}.gif": video_file.gif([picture(frame) for frame in each], rate) for i, each in enumerate(x)}


def frame_rate(drawn: "Samples") -> float:
    """Frames a second."""
    from undiffuse.storage.video_file import RATE

    return float(drawn.of.facts.get("data", {}).get(VIDEO, {}).get("rate") or RATE)
