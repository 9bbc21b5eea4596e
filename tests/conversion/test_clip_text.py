"""CLIP's tokenizer and text encoder: as transformers has them, read in both of its forms, and refused by name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from folders import CLIP, WORDS, text_encoder, tokenizer
from safetensors.torch import load_file

import undiffuse
from undiffuse.conversion.clip_text import read_tokenizer
from undiffuse.conversion.writing import export
from undiffuse.core.errors import Refused


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("clip")
    text_encoder(home / "text_encoder", len(tokenizer(home / "tokenizer")))
    return home


@pytest.mark.each(
    ("text", "numbers"),
    [
        ("the red cat", [189, 193, 191]),
        ("  The\n RED   cat ", [189, 193, 191]),
        ("ab, c", [64, 159, 105, 160]),
        ("", []),
        ("a<|endoftext|>", [158, 195]),
        ("12", [110, 111]),
        ("cats' é", [190, 83, 176, 100, 195, 195]),
    ],
)
def test_tokens_are_those_of_transformers(folder: Path, text: str, numbers: list[int]):
    """Version 5.24.0 gave these numbers."""
    made, length = read_tokenizer(folder / "tokenizer")
    assert made.tokens(text) == numbers
    assert made.padded("the cat", length) == [194, 189, 191, 195, 195, 195, 195, 195]
    assert made.text(made.padded("the red cat", 8)) == "the red cat"


def test_embeddings_are_those_of_transformers(folder: Path):
    """Version 5.24.0 gave these sums of the embeddings of two texts in float64."""
    run = undiffuse.load(folder / "text_encoder", "float32")
    assert run.embedded_shape == (8, 12)
    run.module.double()
    found = run.embed(["the red cat", "a b"])
    assert float(found.sum()) == pytest.approx(-10.782080630695171, abs=1e-9)
    assert float(found.abs().sum()) == pytest.approx(154.27020915282918, abs=1e-9)
    assert found[0, 0, :3].tolist() == pytest.approx([-0.06250886196675237, 0.9556168191558555, -0.5300911474944985])


def test_a_file_without_the_prefix_is_the_same_and_the_prefix_is_written(folder: Path, tmp_path: Path):
    text_encoder(tmp_path / "new" / "text_encoder", len(tokenizer(tmp_path / "new" / "tokenizer")), prefix="")
    one, other = (undiffuse.load(home / "text_encoder", "float32") for home in (folder, tmp_path / "new"))
    assert torch.equal(one.embed(["a cat"]), other.embed(["a cat"]))
    assert export(other, tmp_path / "out") == "CLIPTextModel"
    before, after = (load_file(path / "model.safetensors") for path in (folder / "text_encoder", tmp_path / "out"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = undiffuse.load(tmp_path / "out", "float32")  # with the tokenizer in its own folder
    assert torch.equal(one.embed(["a cat"]), again.embed(["a cat"]))
    other.save(tmp_path / "run")
    assert torch.equal(undiffuse.load(tmp_path / "run").embed(["a cat"]), one.embed(["a cat"]))


def test_a_tokenizer_in_one_file_is_the_same(folder: Path, tmp_path: Path):
    vocabulary = json.loads((folder / "tokenizer" / "vocab.json").read_text())
    model = {"vocab": vocabulary, "merges": [word.split(" ") for word in WORDS]}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": {"content": "!"}, "model_max_length": 8}))
    made, length = read_tokenizer(tmp_path)
    assert made.padded("the cat", length) == [194, 189, 191, 195, 0, 0, 0, 0]


def test_what_cannot_be_read_is_refused_by_name(folder: Path, tmp_path: Path):
    run = undiffuse.load(folder / "text_encoder", "float32")
    with pytest.raises(Refused, match=r"the text has 8 tokens, and the encoder reads 6: shorten it by 2 \(it be"):
        run.embed(["a b c a b c d e"])
    with pytest.raises(Refused, match="judged by the pictures of a model that reads it"):
        run.evaluate(None)
    assert run.preview(np.zeros(0), {}, 1) is None
    assert run.about() == {"embeds": "texts of up to 6 tokens as 8 x 12 numbers"}
    run.attempt()
    with pytest.raises(Refused, match="read from a folder, by `undiffuse import`, and not trained here"):
        type(run).check(run.recipe, {})
    with pytest.raises(Refused, match="a text encoder of width 12 with 5 heads"):
        undiffuse.load(_changed(folder, tmp_path / "heads", num_attention_heads=5))
    with pytest.raises(Refused, match="hidden_act = 'relu'; known are quick_gelu, gelu"):
        undiffuse.load(_changed(folder, tmp_path / "act", hidden_act="relu"))
    with pytest.raises(Refused, match="use_attention_mask = True; known is only False"):
        undiffuse.load(_changed(folder, tmp_path / "mask", use_attention_mask=True))
    with pytest.raises(Refused, match=r"has more symbols than the 100 of"):
        undiffuse.load(_changed(folder, tmp_path / "few", vocab_size=100))
    with pytest.raises(Refused, match=r"lacks its tokenizer: .*tokenizer_config.json is not there; put it there"):
        read_tokenizer(tmp_path)
    said = tmp_path / "tokenizer_config.json"
    said.write_text('{"tokenizer_class": "T5Tokenizer"}')
    with pytest.raises(Refused, match="holds a T5Tokenizer; known is only CLIPTokenizer"):
        read_tokenizer(tmp_path)
    said.write_text("{}")
    with pytest.raises(Refused, match=r"lacks vocab.json and merges.txt, or tokenizer.json: put them there"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}, "merges": []}}))
    with pytest.raises(Refused, match=r"bos_token = '<\|startoftext\|>' is not in its vocabulary"):
        read_tokenizer(tmp_path)


def _changed(folder: Path, home: Path, **config: object) -> Path:
    """The text encoder with another configuration."""
    home.mkdir()
    for name in ("text_encoder", "tokenizer"):
        (home / name).mkdir()
        for file in (folder / name).iterdir():
            (home / name / file.name).symlink_to(file)
    said = json.loads((folder / "text_encoder" / "config.json").read_text()) | config
    assert said.keys() >= CLIP.keys()
    (home / "text_encoder" / "config.json").unlink()
    (home / "text_encoder" / "config.json").write_text(json.dumps(said))
    return home / "text_encoder"
