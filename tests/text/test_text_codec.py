"""The codec of text: what it spells it reads again, blanks are free, and what it does not know it refuses."""

import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import regex
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from undiffuse.codecs.text import TextCodec, opened, words
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.editing.phrase import phrase

LETTERS = TextCodec(5, symbols=(" ", "a", "b", "ä", "\n"))
BYTES = TextCodec(256, unit="bytes")
WORDS = TextCodec(6, unit="words", symbols=("we", "the", "people", ",", "<unk>", ""), pad=5)


@settings(max_examples=30, deadline=None, database=None)
@given(st.text(alphabet=" abä\n", max_size=40))
def test_characters_come_back(text: str):
    tokens = LETTERS.tokens_of(text)
    assert LETTERS.text_of(tokens) == text
    assert [LETTERS.symbols[token] for token in tokens] == list(text)


@settings(max_examples=30, deadline=None, database=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_bytes_come_back_whatever_the_script(text: str):
    assert BYTES.text_of(BYTES.tokens_of(text)) == text


def test_words_come_back_but_those_that_are_rare():
    tokens = WORDS.tokens_of("we, the emu people")
    assert tokens.tolist() == [0, 3, 1, 4, 2]
    assert WORDS.text_of(tokens) == "we, the <unk> people"
    assert WORDS.text_of([0, 1, 5, 5]) == "we the"  # padding is nothing
    assert WORDS.text_of([0, 6, 6, 1]) == "we __ __ the"  # masks that are left
    assert LETTERS.text_of([1, 5, 2]) == "a_b"


@settings(max_examples=100, deadline=None, database=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_nothing_of_a_text_is_lost_between_its_words(text: str):
    assert "".join(words(text)) == regex.sub(r"\s", "", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("สวัสดีครับ ชื่อ", ["สวัสดีครับ", "ชื่อ"]),
        ("السَّلَامُ عَلَيْكُمْ", ["السَّلَامُ", "عَلَيْكُمْ"]),
        ("cafe\u0301 nai\u0308ve", ["cafe\u0301", "nai\u0308ve"]),
        ("שָׁלוֹם, ආයුබෝවන් မြန်မာ ខ្មែរ", ["שָׁלוֹם", ",", "ආයුබෝවන්", "မြန်မာ", "ខ្មែរ"]),
        ("e-mail, 3.14 and 1,000!", ["e-mail", ",", "3.14", "and", "1,000", "!"]),
        ("don't rock\u2019n\u2019roll", ["don't", "rock\u2019n\u2019roll"]),
        ("war--peace -5 'so'", ["war", "-", "-", "peace", "-", "5", "'", "so", "'"]),
        ("👨‍👩‍👧 🇫🇷 👍🏽", ["👨‍👩‍👧", "🇫🇷", "👍🏽"]),
        ("日本語です。 한국어", ["日本語です", "。", "한국어"]),
    ],
)
def test_words_are_whole_in_every_script(text: str, expected: list[str]):
    assert words(text) == expected


def filled(codec: TextCodec, text: str, row: list[int], monkeypatch: pytest.MonkeyPatch) -> str:
    """What `phrase` shows where a model fills the tokens in that are in `row`."""

    def infill(model: Any, x: np.ndarray, known: np.ndarray, n: int, *_: Any, **__: Any) -> torch.Tensor:
        return torch.as_tensor(np.where(known, x, row))[None]

    monkeypatch.setattr("undiffuse.editing.phrase.infill", infill)
    return phrase(cast("Any", SimpleNamespace(codec=codec, shape=(len(row),))), text)[0]


SPOKEN = TextCodec(6, unit="words", symbols=("we", "the", "people", ",", ".", "<unk>"))


@pytest.mark.parametrize(
    ("codec", "text", "row", "expected"),
    [
        (SPOKEN, "we  नमस्ते ____, the e-mail", [2] * 6, "we  नमस्ते people, the e-mail"),
        (SPOKEN, "Żółć ____ (cafe\u0301)!", [2] * 6, "Żółć people (cafe\u0301)!"),
        (SPOKEN, "____ we", [3, 0], ", we"),
        (SPOKEN, "สวัสดี...", [0, 2, 4], "สวัสดี people."),
        (SPOKEN, "สวัสดี ...", [0, 2, 4], "สวัสดี people."),
        (SPOKEN, "the  emu...", [0, 0, 4, 2], "the  emu. people"),
        (SPOKEN, "...the  emu", [0, 3, 0, 0], "we, the  emu"),
        (SPOKEN, "... the  emu ...", [0, 0, 0, 4], "we the  emu ."),
        (SPOKEN, "...", [0, 2, 4], "we people."),
        (LETTERS, "a_b\n...", [1, 3, 1, 1, 2], "aäb\nb"),
        (BYTES, "...é_", [98, 98, 98, 0, 99], "bbéc"),
    ],
)
def test_what_was_given_comes_back_as_given(
    codec: TextCodec, text: str, row: list[int], expected: str, monkeypatch: pytest.MonkeyPatch
):
    assert filled(codec, text, row, monkeypatch) == expected


def test_blanks_are_free():
    tokens, known = LETTERS.template("a____b")
    assert known.tolist() == [True, *[False] * 4, True]
    assert tokens[known].tolist() == [1, 2]
    tokens, known = WORDS.template("we ____ the __ people")
    assert known.tolist() == [True, False, True, False, True]
    underscored = TextCodec(3, symbols=("_", "a", "b"))
    assert underscored.template("a_b__")[1].tolist() == [True, True, True, False, False]


def test_it_travels_as_its_fields():
    fields = json.loads(json.dumps(asdict(WORDS)))
    assert registry.build("codecs", {"name": "text", **fields}) == WORDS
    fitted = LETTERS.fit(np.array([[0, 1, 1, 2]], np.uint8))
    assert fitted.symbols == LETTERS.symbols
    assert fitted.frequencies == (0.25, 0.5, 0.25, 0, 0)
    assert torch.equal(fitted.encode(np.array([[0, 4]])), torch.tensor([[0, 4]]))
    assert TextCodec.tokens


def test_a_tokenizer_travels_as_its_json():
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"we": 0, "the": 1, "?": 2}, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    codec = TextCodec(3, unit="tokenizer", tokenizer=made.to_str())
    assert codec.tokens_of("the we emu").tolist() == [1, 0, 2]
    assert codec.text_of([1, 0]) == "the we"
    assert codec.template("we ___ the")[1].tolist() == [True, False, True]
    with pytest.raises(Refused, match="the tokenizer cannot be read"):
        opened("{}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LETTERS.tokens_of("abc"), r"the character 'c' is not among the run's symbols; they are:  abä"),
        (lambda: LETTERS.tokens_of("A"), r"the character 'A' .* \(did you mean 'a'\?\)"),
        (
            lambda: TextCodec(2, unit="words", symbols=("people", "we")).tokens_of("peopel"),
            r"the word 'peopel' is not among the run's symbols \(did you mean 'people'\?\); they are: 2 words",
        ),
        (
            lambda: TextCodec(3, symbols=("a", "b")),
            "a text codec of 3 characters has 2 symbols, no tokenizer and pad = -1",
        ),
        (lambda: TextCodec(256, unit="tokenizer"), "a text codec of 256 tokenizer has 0 symbols, no tokenizer"),
        (lambda: TextCodec(2, symbols=("a", "b"), pad=2), "pad = 2: they do not fit together"),
    ],
)
def test_mistakes_are_refused(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()
