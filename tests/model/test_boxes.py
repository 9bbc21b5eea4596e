"""Layouts: boxes as tokens and segmentations as channels, from the data to the samples, also beside latents."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import undiffuse
from undiffuse.conditions.boxes import BoxesCondition
from undiffuse.conditions.given import from_words
from undiffuse.conditions.segmentation import SegmentationCondition
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.images.resize import Resize
from undiffuse.data.sources.folder import Folder
from undiffuse.networks.conditions import ConditionEmbedding, resized
from undiffuse.networks.edm2_unet import EDM2UNet
from undiffuse.networks.reading import BoxTokens
from undiffuse.networks.unet import UNet
from undiffuse.sampling.request import SampleRequest
from undiffuse.training.batches import Batches

TEXTS = np.array(['[["dog", 0, 0, 0.5, 1], ["cat", 0.5, 0.25, 1, 0.75]]', "[]", '[["dog", 0.1, 0.2, 0.3, 0.4]]'])
BOXES: Any = BoxesCondition().fit(TEXTS, ())
MAPS = np.array([[[0, 1], [2, 1]], [[1, 1], [0, 0]]], np.uint8)[:, None]
MAP: Any = SegmentationCondition().fit(MAPS, ())


def test_boxes_of_the_data_are_numbers_of_classes_and_corners():
    assert (BOXES.classes, BOXES.shape, BOXES.spec) == (("cat", "dog"), (2, 5), ("boxes", (2, 2)))
    encoded = BOXES.encode(TEXTS)
    assert encoded[0].tolist() == [[2, 0, 0, 0.5, 1], [1, 0.5, 0.25, 1, 0.75]]
    assert not encoded[1].any()
    assert encoded[2, :, 0].tolist() == [2, 0]
    assert torch.equal(BOXES.null(2), torch.zeros(2, 2, 5))
    assert BOXES.summary() == "up to 2 boxes of 2 classes"


def test_data_that_were_not_trained_on_may_have_more_and_others():
    values = np.array(['[["cat", 0, 0, 0.1, 1], ["cow", 0, 0, 1, 1], ["dog", 0, 0, 0.5, 1], ["cat", 0, 0, 0.4, 1]]'])
    assert BOXES.encode(values)[0, :, [0, 3]].tolist() == [[2, 0.5], pytest.approx([1, 0.4])]
    maps = ConditionEmbedding({"map": ("map", (3, 2, 2))}, 4, "a network", ("map",))
    found = maps.beside(torch.zeros(1, 0, 2, 2), {"map": torch.tensor([[[[0, 3], [2, 200]]]])}, None)[0]
    assert found[:3].sum(0).tolist() == [[1, 0], [1, 0]]


def test_boxes_in_an_array_are_classes_by_number():
    table = np.array([[[1, 0, 0, 1, 1], [-1, 0, 0, 0, 0]], [[0, 0, 0, 0.5, 1], [2, 0, 0, 0.5, 1]]], np.float32)
    for values in (table, table[:, None]):  # a file's arrays of three axes get a channel
        condition = BoxesCondition()
        assert condition.accepts(values)
        condition = condition.fit(values, ())
        assert condition.classes == ("0", "1", "2")
        assert condition.encode(values)[:, :, 0].tolist() == [[2, 0], [1, 3]]
        torch.testing.assert_close(condition.given(table[1], 2, "boxes"), condition.encode(table)[1:].expand(2, 2, 5))


ONE = [["cat", 0, 0.25, 0.5, 1]]


@pytest.mark.parametrize(
    "value",
    [ONE, [ONE], [("cat", 0, 0.25, np.float32(0.5), 1)], json.dumps(ONE), json.dumps({"boxes": ONE}), {"boxes": ONE},
     np.array([json.dumps(ONE)])],
)  # fmt: skip
def test_a_person_gives_boxes_in_many_ways(value: Any):
    assert BOXES.given(value, 2, "boxes").tolist() == [[[1, 0, 0.25, 0.5, 1], [0] * 5]] * 2


def test_several_items_have_boxes_of_their_own_and_none_is_a_layout_too(tmp_path: Path):
    each = BOXES.given([ONE, []], 2, "boxes")
    assert each[0, 0, 0] == 1
    assert not each[1].any()
    assert not BOXES.given([], 3, "boxes").any()
    file = tmp_path / "layout.json"
    file.write_text(json.dumps(ONE))
    conditions = {"boxes": BOXES}
    for word in (str(file), json.dumps(ONE)):
        asked = from_words(conditions, [("boxes", word)])
        assert BOXES.given(asked["boxes"], 1, "boxes")[0, 0].tolist() == [1, 0, 0.25, 0.5, 1]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([["cow", 0, 0, 1, 1]], r"boxes: class cow is not one of the model's 2 classes.*: cat, dog"),
        ([["cat", 0, 0, 1]], r"boxes: \['cat', 0, 0, 1\] is no box: write \[\[\"cat\", x0, y0, x1, y1\]"),
        ([["cat", 0.5, 0, 0.5, 1]], "needs 0 <= x0 < x1 <= 1"),
        ([["cat", 0, 0, 100, 100]], "needs 0 <= x0 < x1 <= 1"),
        ([*ONE] * 3, "boxes: the model knows up to 2 boxes, and given are 3"),
        ([ONE, ONE, ONE], "2 samples need one boxes or 2, not 3"),
        ("[[", r"boxes: '\[\[' is no JSON"),
        (3, "boxes is a list of boxes, not 3"),
        (np.zeros((2, 4)), r"boxes has the shape \(2, 4\)"),
    ],
)
def test_what_is_no_layout_is_refused(value: Any, message: str):
    with pytest.raises(Refused, match=message):
        BOXES.given(value, 2, "boxes")


def test_data_and_words_without_boxes_are_refused():
    with pytest.raises(Refused, match="the data have no box at all"):
        BoxesCondition().fit(np.array(["[]"]), ())
    with pytest.raises(Refused, match=r"boxes = 'there\.json' is no file and no JSON"):
        BOXES.from_word("there.json", "boxes")
    assert not BoxesCondition().accepts(np.zeros((3, 4), np.float32))


def test_a_mirrored_layout_is_that_of_the_mirrored_picture():
    encoded = BOXES.encode(TEXTS)
    assert BOXES.mirror(encoded, -1)[0].tolist() == [[2, 0.5, 0, 1, 1], [1, 0, 0.25, 0.5, 0.75]]
    torch.testing.assert_close(BOXES.mirror(BOXES.mirror(encoded, -2), -2), encoded)
    assert not BOXES.mirror(encoded, -1)[1].any()
    x = np.zeros((1, 1, 4, 4), np.float32)
    x[:, :, 1:3, :2] = 1  # the box
    condition = BoxesCondition().fit(values := np.array(['[["it", 0, 0.25, 0.5, 0.75]]']), ())
    identity: Any = undiffuse.codecs.Identity()
    made = Batches.of(
        x, {"boxes": condition.encode(values)}, identity, 16, 0, flip=True, mirrors={"boxes": condition.mirror}
    ).at(0)
    left = made.x[:, 0, 1, 0] == 1
    assert 0 < int(left.sum()) < 16
    assert torch.equal(made.cond["boxes"][:, 0, 1], torch.where(left, 0.0, 0.5))


def test_tokens_of_boxes_are_a_set_and_padding_is_none():
    torch.manual_seed(0)
    read, boxes = BoxTokens(2, 8), BOXES.encode(TEXTS)
    tokens, there = read(boxes)
    assert there.tolist() == [[True, True], [False, False], [True, False]]
    torch.testing.assert_close(read(boxes.flip(1)).tokens, tokens.flip(1))
    moved, other = boxes.clone(), boxes.clone()
    moved[0, 0, 3] += 0.05
    other[0, 0, 0] = 1
    for changed in (moved, other):
        assert not torch.allclose(read(changed).tokens[0, 0], tokens[0, 0], atol=1e-2)


@pytest.mark.parametrize("network", [UNet, EDM2UNet])
def test_networks_hear_boxes_whatever_their_order_and_nothing_of_padding(network: Callable[..., Any]):
    torch.manual_seed(0)
    sizes = {"channels": 1, "width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (1,), "text_width": 8}
    specs = {"boxes": BOXES.spec, "map": MAP.spec}
    unet = network(**sizes, conditions=specs).eval()
    with torch.no_grad():
        for p in unet.parameters():
            p.add_(0.2 * torch.randn_like(p))
    x, t, boxes = torch.randn(3, 1, 4, 4), torch.tensor([0.1, 0.2, 0.3]), BOXES.encode(TEXTS)
    heard, nothing = unet(x, t, boxes=boxes), unet(x, t)
    assert not torch.allclose(heard[0], nothing[0])
    assert not torch.allclose(heard[1], nothing[1])  # a picture of nothing is not any picture
    padded = boxes.clone()
    padded[2, 1, 1:] = 0.7
    assert torch.equal(unet(x, t, boxes=padded), heard)
    torch.testing.assert_close(unet(x, t, boxes=boxes.flip(1)), heard)
    dropped = unet(x, t, boxes=boxes, drop=torch.tensor([True, False, False]))
    torch.testing.assert_close(dropped, torch.cat([nothing[:1], heard[1:]]))
    maps = MAP.encode(MAPS)[[0, 0, 1]]
    assert not torch.allclose(unet(x, t, map=maps)[2], unet(x, t, map=maps[[0, 0, 0]])[2])
    with pytest.raises(Refused, match=r"takes 'boxes' of shape \(3, 2, 5\), not \(3, 1, 5\)"):
        unet(x, t, boxes=boxes[:, :1])


def test_beside_latents_pictures_shrink_by_area_and_classes_by_the_nearest():
    embedding = ConditionEmbedding(
        {"low": ("image", (1, 8, 8)), "map": ("map", (3, 8, 8))}, 4, "a network", ("image", "map")
    )
    latents, picture = torch.zeros(1, 2, 2, 2), torch.zeros(1, 1, 8, 8)
    picture[0, 0, :4, :4] = torch.eye(4)
    classes = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    classes[..., 4:] = 2
    found = embedding.beside(latents, {"low": picture, "map": classes}, None)[0, 2:]
    assert found[0].tolist() == [[0.25, 0], [0, 0]]  # every pixel counts
    assert found[1].eq(1).all()
    assert found[2:5].tolist() == [[[1, 0], [1, 0]], [[0, 0], [0, 0]], [[0, 1], [0, 1]]]  # no class between two
    assert found[5].eq(1).all()
    assert embedding.channels == 2 + 4
    none = embedding.beside(latents, {"map": classes}, {"map": torch.tensor([True])})
    assert not none.any()


@pytest.mark.parametrize("sides", [(4,), (4, 4), (4, 4, 4)])
def test_an_image_of_less_places_is_made_larger_linearly(sides: tuple[int, ...]):
    image = torch.arange(2.0).reshape(1, 1, 2, *(1,) * (len(sides) - 1)).expand(1, 1, *(2,) * len(sides))
    larger = resized(image, sides)
    torch.testing.assert_close(
        larger[0, 0].flatten(1).mean(1) if len(sides) > 1 else larger[0, 0], Tensor([0, 0.25, 0.75, 1])
    )


def test_a_segmentation_is_given_as_numbers_of_any_size(tmp_path: Path):
    assert (MAP.shape, MAP.spec, MAP.summary()) == ((1, 2, 2), ("map", (3, 2, 2)), "a map of 2 x 2 with 3 classes")
    large = np.kron(MAPS[0, 0], np.ones((3, 3), np.uint8))
    assert MAP.given(large, 2, "map").tolist() == MAPS[[0, 0]].tolist()
    assert MAP.given(MAPS[:, 0], 2, "map").tolist() == MAPS.tolist()
    palette = Image.fromarray(MAPS[0, 0])
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(tmp_path / "map.png")
    np.save(tmp_path / "map.npy", MAPS[0])
    for name in ("map.png", "map.npy"):
        assert MAP.given(MAP.from_word(str(tmp_path / name), "map"), 1, "map").tolist() == MAPS[:1].tolist()
    assert MAP.mirror(MAP.encode(MAPS), -1)[0, 0].tolist() == [[1, 0], [1, 2]]
    Image.new("RGB", (2, 2)).save(tmp_path / "colours.png")
    for value, message in (
        (MAPS[0] + 1, "map has the classes 0 to 2, and given are 1 to 3"),
        (MAPS[0] * 0.5, r"map is whole numbers of shape \(2, 2\), of any size; given are float64"),
    ):
        with pytest.raises(Refused, match=message):
            MAP.given(value, 1, "map")
    with pytest.raises(Refused, match=r"colours\.png cannot be read for 'map': it has colours"):
        MAP.from_word(str(tmp_path / "colours.png"), "map")
    with pytest.raises(Refused, match=r"there is no file gone\.png for 'map'"):
        MAP.from_word("gone.png", "map")
    with pytest.raises(Refused, match="a segmentation has the classes 0 to 1023 at most, and the data 0 to 2000"):
        SegmentationCondition().fit(np.array([[[0, 2000]]], np.int16), ())


@pytest.mark.parametrize(
    ("resize", "wanted"),
    [
        (Resize(8, "stretch"), [0.25, 0.2, 0.5, 0.8]),
        (Resize(8, "crop"), [0.0, 0.2, 0.5, 0.8]),  # the square from 10 to 30 of 40 pixels
        (Resize(8, "pad"), [0.25, 0.35, 0.5, 0.65]),
        (Resize(), [0.25, 0.2, 0.5, 0.8]),
        (Resize(4, "crop", crop=10), [0.0, 0.0, 0.5, 1.0]),
    ],
)
def test_boxes_move_as_their_pictures_do(resize: Resize, wanted: list[float]):
    """A picture of 40 x 20 with a white box from (10, 4) to (20, 16)."""
    picture = np.zeros((1, 20, 40), np.uint8)
    picture[:, 4:16, 10:20] = 255
    found = resize.box(20, 40, (10, 4, 20, 16))
    assert found is not None
    assert found == pytest.approx(wanted)
    high, wide = (resized := resize.apply(picture))[0].shape
    x0, y0, x1, y1 = found[0] * wide, found[1] * high, found[2] * wide, found[3] * high
    assert resized[0].sum() / 255 == pytest.approx((x1 - x0) * (y1 - y0), rel=0.12)
    rows, columns = np.nonzero(resized[0] > 127)
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx(((x0 + x1) / 2, (y0 + y1) / 2), abs=0.51)


def test_what_a_crop_cuts_off_is_gone():
    assert Resize(8).box(20, 40, (0, 0, 9, 20)) is None


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures with a box each, in the format of COCO; the last has none."""
    folder = tmp_path_factory.mktemp("coco") / "pictures"
    folder.mkdir()
    images, annotations = [], []
    for i in range(12):
        Image.fromarray(np.full((8, 16), i * 9, np.uint8)).save(folder / f"{i:02}.png")
        images.append({"id": 100 + i, "file_name": f"{i:02}.png", "width": 16, "height": 8})
        if i < 11:
            annotations.append({"image_id": 100 + i, "category_id": i % 2, "bbox": [4 + i % 3, 2, 4, 4]})
    annotations.append({"image_id": 100, "category_id": 1, "bbox": [0, 0, 2, 2]})  # cut off
    annotations.append({"image_id": 100, "category_id": 1, "bbox": [0, 0, 16, 8], "iscrowd": 1})
    categories = [{"id": 0, "name": "tree"}, {"id": 1, "name": "car"}]
    (folder.parent / "instances.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return folder


def loaded(folder: Path, where: Path, **options: Any) -> Dataset:
    return Folder(str(folder), conditions={"boxes": str(where)}, size=8, **options).load()


def test_a_folder_has_boxes_in_the_format_of_coco(pictures: Path):
    data = loaded(pictures, pictures.parent / "instances.json")
    boxes = [json.loads(text) for text in data.conditions["boxes"]]
    assert boxes[:2] == [[["tree", 0.0, 0.25, 0.5, 0.75]], [["car", 0.125, 0.25, 0.625, 0.75]]]
    assert boxes[11] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["images"][3].update(file_name="x"), "lacks 1 of 12 images, such as 03.png"),
        (lambda content: content["categories"].pop(), "holds no boxes in the format of COCO"),
        (lambda content: content.pop("annotations"), "holds no labels|has no boxes for"),
    ],
)
def test_a_file_of_boxes_that_lacks_something_is_refused(
    pictures: Path, tmp_path: Path, change: Callable[[Any], Any], message: str
):
    content = json.loads((pictures.parent / "instances.json").read_text())
    change(content)
    (tmp_path / "wrong.json").write_text(json.dumps(content))
    with pytest.raises(Refused, match=message):
        loaded(pictures, tmp_path / "wrong.json")


def test_a_run_is_trained_with_boxes_and_sampled_with_them(pictures: Path, tmp_path: Path):
    boxes = {"kind": "boxes", "drop": 0.2}
    tables = {
        "data": {
            "name": "folder", "path": str(pictures), "size": 8,
            "conditions": {"boxes": str(pictures.parent / "instances.json")},
        },
        "codec": {"name": "pixels"},
        "schedule": {"name": "edm"},
        "network": {"name": "unet", "width": 4, "multipliers": [1], "blocks": 1, "attention": [0], "text_width": 4},
        "parameterization": {"name": "edm"},
        "objective": {"name": "denoising"},
        "conditions": {"boxes": boxes},
        "train": {"steps": 2, "batch": 4, "flip": True, "preview_every": 0, "held_out": 0, "snapshots": 0},
    }  # fmt: skip
    undiffuse.train(tables, out=tmp_path / "run").run(progress=False)
    model = undiffuse.load(tmp_path / "run")
    assert model.conditions["boxes"].classes == ("car", "tree")
    drawn = model.sample(2, steps=2, boxes=[("car", 0, 0, 0.5, 0.5)], guidance=2.0)
    assert drawn.shape == (2, 1, 8, 8)
    request = SampleRequest.from_json(
        {"n": 2, "steps": 2, "guidance": 2.0, "conditions": {"boxes": [["car", 0, 0, 0.5, 0.5]]}}
    )
    assert np.array_equal(model.sample(2, request).numpy(), drawn.numpy())
