"""Boxes of images in the format of COCO: one JSON file beside a folder of images."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from undiffuse.core.errors import Refused
from undiffuse.data.images.resize import Resize
from undiffuse.data.walk import same
from undiffuse.storage.files import read_text

LIMIT = 2**30  # bytes


def coco(path: str) -> dict[str, Any] | None:
    """What a file in the format of COCO holds; None where it is another one."""
    try:
        content = json.loads(read_text(Path(path), "boxes", LIMIT))
    except (ValueError, RecursionError) as error:
        if isinstance(error, Refused):
            raise
        return None
    return content if isinstance(content, dict) and {"images", "annotations"} <= set(content) else None


def boxes_of(content: Mapping[str, Any], path: str, files: Sequence[str], resize: Resize) -> list[str]:
    """The boxes of each image file, as the condition kind `boxes` reads them: [[class, x0, y0, x1, y1], ...] in JSON.

    content: "images" (id, file_name, width, height), "annotations" (image_id, category_id, bbox: left, top, width and
    height in pixels) and "categories" (id, name); crowds are left out. The boxes are moved as `resize` moves the
    images; what is cut off is left out.
    Raises Refused where something lacks, and for images that it does not have.
    """
    try:
        images = {each["id"]: each for each in content["images"]}
        names = {each["id"]: str(each["name"]) for each in content["categories"]}
        boxes: dict[Any, list[list[Any]]] = {number: [] for number in images}
        for each in content["annotations"]:
            if each.get("iscrowd", 0):
                continue
            image, (left, top, wide, high) = images[each["image_id"]], map(float, each["bbox"])
            corners = (left, top, left + wide, top + high)
            if (box := resize.box(int(image["height"]), int(image["width"]), corners)) is not None:
                boxes[each["image_id"]].append([names[each["category_id"]], *(round(corner, 5) for corner in box)])
        named = {same(str(each["file_name"])): boxes[number] for number, each in images.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(
            f"{path} holds no boxes in the format of COCO ({type(error).__name__}: {error}): it needs images, "
            "annotations and categories"
        ) from None
    return _of_files(path, files, named)


def _of_files(path: str, files: Sequence[str], boxes: Mapping[str, list[list[Any]]]) -> list[str]:
    """In the order of the files; one is found by its path, else by its name."""
    keys = [same(file) if same(file) in boxes else PurePosixPath(same(file)).name for file in files]
    missing = [file for file, key in zip(files, keys, strict=True) if key not in boxes]
    if missing:
        raise Refused(f"{path} lacks {len(missing)} of {len(files)} images, such as {missing[0]}")
    return [json.dumps(boxes[key], ensure_ascii=False) for key in keys]
