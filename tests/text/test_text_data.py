"""Text from files: what the items spell is the text, however it is packed, split and kept; what is none is refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data import resolve
from undiffuse.data.dataset import Dataset
from undiffuse.data.recipe_for import recipe
from undiffuse.data.rows import mapped
from undiffuse.data.sources.text import TextData

SPEECH = "fellow citizens of the senate and of the house of representatives " * 30


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def spelled(data: Dataset) -> str:
    return "".join(data.texts(len(data)))


@pytest.mark.parametrize("tokens", ["characters", "bytes"])
def test_the_items_spell_the_text(tokens: str, tmp_path: Path):
    path = written(tmp_path / "a.txt", SPEECH)
    data = resolve.open(path, tokens=tokens, length=50)
    assert data.kind == "tokens"
    assert (data.vocabulary, data.x.dtype) == (256 if tokens == "bytes" else len(set(SPEECH)), np.uint8)
    assert spelled(data) == SPEECH[: len(data) * 50]
    assert len(data) == len(SPEECH) // 50
    described = data.describe()
    assert (described["tokens"], described["unit"]) == (len(SPEECH), tokens)


def test_a_packed_file_is_the_same_text(tmp_path: Path):
    plain = written(tmp_path / "a.txt", SPEECH)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(SPEECH.encode()))
    assert np.array_equal(np.asarray(resolve.open(plain).x), np.asarray(resolve.open(str(tmp_path / "b.txt.gz")).x))


def test_pieces_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = "".join(chr(228 + i % 7) * (i % 5) + " " * (i % 3 == 0) for i in range(400))
    path = written(tmp_path / "a.txt", text)
    monkeypatch.setattr("undiffuse.data.text.passages.PIECE", 37)
    data = TextData(path, length=10).load()
    assert spelled(data) == text[: len(data) * 10]


def test_passages_of_json_and_of_a_folder_have_an_end_between(tmp_path: Path):
    lines = [{"text": "one two"}, {"text": "three", "more": 1}]
    written(tmp_path / "b.jsonl", "\n".join(map(json.dumps, lines)) + "\n\n")
    (tmp_path / "sub").mkdir()
    written(tmp_path / "sub" / "a.txt", "four")
    assert spelled(resolve.open(str(tmp_path / "b.jsonl"), length=13)) == "one two\nthree"
    assert spelled(resolve.open(str(tmp_path), length=18)) == "one two\nthree\nfour"
    words = resolve.open(str(tmp_path), length=6, tokens="words")
    assert words.texts(1) == ["one two </s> three </s> four"]
    assert resolve.table(str(tmp_path))["name"] == "text"
    written(tmp_path / "c.png", "")
    assert resolve.table(str(tmp_path))["name"] == "folder"  # texts beside images are captions


@pytest.mark.parametrize("tokens", ["characters", "bytes", "words"])
def test_ends_between_passages_take_no_more_room(tokens: str, tmp_path: Path):
    """Joined as int64 they would make all tokens eight times as large, and those of words without an end floats."""
    lines = "\n".join(json.dumps({"text": text}) for text in ("ab cd", "cd ab", "ab ab cd"))
    path = written(tmp_path / "a.jsonl", lines)
    assert resolve.open(path, tokens=tokens, length=2).x.dtype == np.uint8
    one = TextData(
        written(tmp_path / "one.txt", "ab cd"), tokens=tokens, length=2
    )  # of one passage: no symbol for an end
    found = TextData(path, length=2).spelled_by(one._codec()[0])
    assert found.x.dtype == np.uint8
    assert spelled(found).startswith("ab cd" if tokens != "words" else "ab cd"[:2])


def test_padded_lines_are_items(tmp_path: Path):
    path = written(tmp_path / "names.txt", "ada\n\ngrace\nkatherine\n")
    data = resolve.open(path, packing="pad", length=5)
    assert data.texts(10) == ["ada", "grace", "kathe", "rine"]
    assert data.x[0].tolist()[3:] == [data.spelling["pad"]] * 2
    assert data.vocabulary == len(set("adagracekatherine")) + 1
    assert data.together == 1


def test_rare_words_share_a_symbol(tmp_path: Path):
    path = written(tmp_path / "a.txt", "the end of the war , the end of it " * 4)
    data = resolve.open(path, tokens="words", most_words=3, length=9)
    assert data.spelling["symbols"] == ("the", "end", "of", "<unk>")
    assert data.texts(1) == ["the end of the <unk> <unk> the end of"]


def test_a_tokenizer_of_a_folder(tmp_path: Path):
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"of": 0, "the": 1, "?": 2}, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    data = resolve.open(written(tmp_path / "a.txt", SPEECH), tokens=str(tmp_path), length=5)
    assert (data.vocabulary, data.texts(1)) == (3, ["? ? of the ?"])


def test_large_text_is_cut_once_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = written(tmp_path / "a.txt", SPEECH)
    small = TextData(path, length=16).load()
    monkeypatch.setenv("UNDIFFUSE_MEMORY", "100")
    first = TextData(path, length=16).load()
    assert mapped(first.x)
    assert np.array_equal(np.asarray(first.x), np.asarray(small.x))
    monkeypatch.setattr("undiffuse.data.sources.text.passages", None)  # it is not read again
    again = TextData(path, length=16).load()
    assert again.spelling == first.spelling == small.spelling
    assert again.describe() == first.describe()


def test_what_is_held_out_of_packed_text_is_whole_passages():
    x = np.random.default_rng(0).integers(9, size=(1000, 8), dtype=np.uint8)
    data = Dataset(x, vocabulary=9, together=10)
    train, held_out = data.split(0.3)
    held = {bytes(row) for row in held_out.x}
    out = np.array([bytes(row) in held for row in x]).reshape(100, 10)
    assert (out.all(1) | ~out.any(1)).all()
    assert len(train) + len(held_out) == 1000
    assert 150 < len(held_out) < 450


def test_the_door_takes_text_with_its_recipe(tmp_path: Path):
    path = written(tmp_path / "speeches.txt", SPEECH)
    chosen = recipe(path, ["data.length=32"])
    assert (chosen.name, chosen["codec"]["name"], chosen["data"]["length"]) == ("speeches", "text", 32)
    assert chosen["network"]["name"] == "transformer"
    assert registry.build("data", chosen["data"]).peek().shape == (32,)
    assert resolve.is_data("my.jsonl.gz")


@pytest.mark.each(
    ("name", "content", "fields", "message"),
    [
        ("a.txt", b"", {}, "a.txt holds no text"),
        ("a.txt", b"aaaaaa", {"length": 2}, r"the text in .* has one symbol only \('a'\): nothing to learn"),
        ("a.txt", b"aaaaaa", {"length": 2, "tokens": "bytes"}, "one symbol only"),
        ("a.txt", b"short", {}, "has 5 tokens, and one item has 128: take a smaller data.length"),
        ("a.txt", b"good \xff bad", {}, "a.txt is no UTF-8 text: byte 0xff at offset 5; save it as UTF-8"),
        ("a.txt", b"good\nb\xff", {"packing": "pad"}, "is no UTF-8 text: byte 0xff at line 2"),
        ("a.txt", b"ab\0c", {}, "a.txt is not text: it has a zero byte at offset 2; save UTF-16 as UTF-8"),
        ("a.txt.gz", gzip.compress(b"abc" * 99, mtime=0)[:-12], {}, "a.txt.gz is no whole gzip file"),
        ("a.txt.gz", b"plain", {}, "a.txt.gz is no whole gzip file"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', {}, r'a.jsonl, line 2 is no JSON \(.*\): \{"text":$'),
        ("a.jsonl", b'{"txt": "a"}', {}, r"line 1 has no field 'text' \(did you mean 'txt'\?\); its fields are: txt"),
        ("a.jsonl", b'{"text": 5}', {}, "line 1: its 'text' is 5, and no text"),
        ("a.jsonl", b"[1]", {}, "line 1 is no object with a field 'text'"),
        ("a.jsonl", b'{"text": "a\\ud800b"}', {}, r"line 1 has half a character, '\\ud800', which is no UTF-8 text"),
        ("a.txt", b"ab ab", {"length": 1}, "text needs a length of 2 to 65,536"),
        ("a.txt", b"ab ab", {"tokens": "/nowhere/x"}, "tokens = '/nowhere/x' is"),
    ],
)
def test_what_is_no_text_is_refused(name: str, content: bytes, fields: dict[str, Any], message: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Refused, match=message):
        resolve.open(str(tmp_path / name), **fields)


def test_a_folder_without_text_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"has no files of text: .txt, .jsonl"):
        TextData(str(tmp_path)).load()
    with pytest.raises(Refused, match="there is no text at"):
        TextData(str(tmp_path / "gone")).load()
    (tmp_path / "tokens").mkdir()
    written(tmp_path / "a.txt", SPEECH)
    with pytest.raises(Refused, match=r"has no tokenizer.json"):
        TextData(str(tmp_path / "a.txt"), tokens=str(tmp_path / "tokens")).load()
