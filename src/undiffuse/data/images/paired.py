"""Pictures of pictures: for each image of a folder the one of the same name in another, such as its depth or a pose."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from undiffuse.core.errors import Refused
from undiffuse.data.images.broken import Broken
from undiffuse.data.images.decode import ENDINGS, ImageHeader, Images, Limits, attempt
from undiffuse.data.images.resize import Resize
from undiffuse.data.walk import ending, same, walk


def paired(name: str, where: str, files: Sequence[str], resize: Resize) -> np.ndarray:
    """The pictures in the folder `where` at the paths of these files, whatever their endings, (count, channels, height,
    width), cut and resized as the files are. name: of the condition, for people.

    Raises Refused, naming one, for files without a picture, with two, and for pictures that cannot be read.
    """
    there: dict[str, str] = {}
    for file in (file for file in walk(Path(where)).files if ending(file) in ENDINGS):
        stem = same(os.path.splitext(file)[0])
        if stem in there:
            raise Refused(f"conditions.{name}: {where} has two pictures of one name, {there[stem]} and {file}")
        there[stem] = file
    wanted = [same(os.path.splitext(file)[0]) for file in files]
    missing = [file for file, stem in zip(files, wanted, strict=True) if stem not in there]
    if missing:
        raise Refused(
            f"conditions.{name}: {len(missing)} of {len(files)} images have no picture of the same name in {where}, "
            f"such as {missing[0]}"
        )
    chosen = [there[stem] for stem in wanted]
    images, broken = Images(chosen, lambda i: Path(where, chosen[i]), where, Limits()), Broken("picture")
    headers: dict[int, ImageHeader] = {}
    for i in range(len(chosen)):
        broken.keep(headers, i, attempt(partial(images.kind, i)), chosen[i])
    found: list[np.ndarray] = []
    if not broken.reasons:
        alike = len({header.channels for header in headers.values()}) == 1
        counts, target = images.look(None if alike else 3, resize, broken)
        found = [items for _, items in images.decode(counts, target, broken)]
    if broken.reasons:
        first, wrong = next(iter(broken.reasons.items()))
        raise Refused(f"conditions.{name}: {first} in {where} cannot be read: {wrong}")
    return np.concatenate(found)
