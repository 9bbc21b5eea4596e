"""Samples are tensors that know what they are of, and show it."""

import copy
import io
import pickle
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.models.diffusion import Diffusion
from undiffuse.sampling.samples import Samples

TRAIN = {"steps": 2, "batch": 8, "warmup": 0, "preview_every": 0, "validate_every": 0, "snapshots": 0}
SMALL = {"name": "unet", "width": 16, "multipliers": [1], "attention": [], "blocks": 1}


def run(folder: Path, recipe: str, *overrides: str) -> Diffusion:
    settings = [f"train.{name}={value}" for name, value in TRAIN.items()]
    for _ in undiffuse.train(recipe, out=folder, overrides=[*settings, *overrides]):
        pass
    return undiffuse.load(folder)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Diffusion:
    network = [f"network.{name}={value}" for name, value in SMALL.items() if name != "name"]
    return run(tmp_path_factory.mktemp("runs") / "digits", "digits", *network, "sampler.steps=2")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Diffusion:
    folder = tmp_path_factory.mktemp("table")
    lines = [f"{i % 37},{'north' if i % 2 else 'south'},{i / 4},{'yes' if i % 3 else 'no'}" for i in range(80)]
    (folder / "set.csv").write_text("rooms,region,price,sold\n" + "\n".join(lines) + "\n")
    settings = [f"data.path={folder / 'set.csv'}", "data.label=sold", "network.width=16", "network.depth=1"]
    return run(folder / "run", "table-mixed", *settings, "sampler.steps=3")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Diffusion:
    folder = tmp_path_factory.mktemp("text")
    (folder / "book.txt").write_text("to be or not to be, that is the question\n" * 40)
    settings = [f"data.path={folder / 'book.txt'}", "data.length=16", "network.width=16", "network.depth=1"]
    return run(folder / "run", "text-mdlm", *settings, "network.heads=1", "sampler.steps=4")


def test_what_they_are_is_said_in_a_line(digits: Diffusion, table: Diffusion, text: Diffusion):
    x = digits.sample(10)
    low, high = int(x.min()), int(x.max())
    assert repr(x) == f"10 images, 1 x 8 x 8, uint8, {low} to {high}"
    assert repr(digits.sample(1)).startswith("1 image, 1 x 8 x 8, uint8, ")
    assert repr(table.sample(5)) == str(table.sample(5)) == "5 rows, 3 columns, float32"
    assert repr(text.sample(2)).startswith("2 texts, 16 tokens, ")


def test_they_are_tensors_and_what_is_made_of_them_is_a_plain_one(digits: Diffusion):
    x = digits.sample(4, label=[3, 1, 3, 1])
    assert isinstance(x, torch.Tensor)
    plain = torch.from_numpy(x.numpy())
    made: list[Any] = [x[1:3], x[0], x + 1, x.float(), torch.cat([x, x]), torch.stack(list(x)), x.detach(), x.clone()]
    made += [pickle.loads(pickle.dumps(x)), copy.copy(x), *torch.utils.data.DataLoader(cast("Any", x), batch_size=2)]  # noqa: S301
    assert {type(each) for each in made} == {torch.Tensor}
    assert torch.equal(made[4][:4], plain)
    assert torch.equal(made[8], plain)
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    assert torch.equal(torch.load(file, weights_only=True), plain)  # read where undiffuse is not known
    twin = copy.deepcopy(x)
    assert isinstance(twin, Samples)
    assert torch.equal(twin.float(), plain.float())
    assert torch.equal(twin.labels if twin.labels is not None else x, torch.tensor([3, 1, 3, 1]))
    assert (np.asarray(x) == plain.numpy()).all()


def test_labels_are_those_that_were_asked_for(digits: Diffusion, text: Diffusion):
    x = digits.sample(3, label="7", batch=2)
    assert x.labels is not None
    assert x.labels.tolist() == [7, 7, 7]
    assert x.classes == tuple("0123456789")
    assert digits.sample(2).labels is None
    assert text.sample(1).classes == ()


def test_a_table_is_a_data_frame_with_categories_by_name(table: Diffusion):
    x = table.sample(20, label=["yes", "no"] * 10)
    frame = x.frame()
    assert frame.columns == ["rooms", "region", "price", "sold"]
    assert set(frame["region"]) <= {"north", "south"}
    assert frame["sold"].to_list() == ["yes", "no"] * 10
    assert str(frame["rooms"].dtype) == "Int64"  # whole numbers stay whole
    np.testing.assert_array_equal(frame["price"].to_numpy().astype(np.float32), x[:, 2].numpy())
    assert x.to_pandas().columns.tolist() == frame.columns
    assert "<table" in x._repr_html_()
    assert table.sample(2).frame().columns == ["rooms", "region", "price"]


@pytest.mark.parametrize("missing", ["pandas", "pyarrow"])
def test_without_pandas_it_is_said_what_to_install(table: Diffusion, missing: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(Refused, match="pip install pandas pyarrow"):
        table.sample(2).to_pandas()


def test_a_text_reads(text: Diffusion):
    x = text.sample(3)
    assert all(isinstance(each, str) for each in x.text())
    assert len(x.text()) == 3
    assert x._repr_html_().count("<pre") == 3


def test_images_are_pictures(digits: Diffusion):
    x = digits.sample(3, label=[0, 1, 2])
    assert all(isinstance(each, Image.Image) and each.size == (8, 8) for each in x.images())
    np.testing.assert_array_equal(np.stack([np.asarray(each) for each in x.images()]), x.numpy()[:, 0])
    assert '<img src="data:image/png;base64,' in x._repr_html_()
    assert repr(x) in x._repr_html_()
    deep = digits.samples(torch.tensor([[[[0, 65535]]]], dtype=torch.int32).to(torch.uint16))
    assert np.asarray(deep.images()[0]).tolist() == [[0, 65535]]
    *_, last = digits.trajectory(2)
    assert len(last.images()) == 2  # on their way, too


def test_what_they_are_not_is_refused_by_name(digits: Diffusion, table: Diffusion, text: Diffusion):
    with pytest.raises(Refused, match=r"images are no table: of these there is \.images\(\) and \.numpy\(\)"):
        digits.sample(1).frame()
    with pytest.raises(Refused, match="images are no text"):
        digits.sample(1).text()
    with pytest.raises(Refused, match=r"rows are no images: of these there is \.frame\(\)"):
        table.sample(1).images()
    with pytest.raises(Refused, match=r"texts are no table: of these there is \.text\(\)"):
        text.sample(1).frame()


def test_a_model_says_what_it_is_of(digits: Diffusion, table: Diffusion):
    assert repr(digits).startswith("Diffusion of digits, images of 1 x 8 x 8, 10 classes, ")
    assert repr(digits).endswith(" parameters, 2 steps, recipe digits, on cpu")
    assert "rows of 3 columns" in repr(table)
    assert "condition label" in digits._repr_html_()
    assert len(repr(digits)) < 150
