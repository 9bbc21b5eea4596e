"""The codec of text: what it spells it reads again, blanks are free, and what it does not know it refuses."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from undiffuse.codecs.text import Text, opened
from undiffuse.core import registry
from undiffuse.core.errors import Refused

LETTERS = Text(5, symbols=(" ", "a", "b", "ä", "\n"))
BYTES = Text(256, unit="bytes")
WORDS = Text(6, unit="words", symbols=("we", "the", "people", ",", "<unk>", ""), pad=5)


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


def test_blanks_are_free():
    tokens, known = LETTERS.template("a____b")
    assert known.tolist() == [True, *[False] * 4, True]
    assert tokens[known].tolist() == [1, 2]
    tokens, known = WORDS.template("we ____ the __ people")
    assert known.tolist() == [True, False, True, False, True]
    underscored = Text(3, symbols=("_", "a", "b"))
    assert underscored.template("a_b__")[1].tolist() == [True, True, True, False, False]


def test_it_travels_as_its_fields():
    fields = json.loads(json.dumps(asdict(WORDS)))
    assert registry.build("codecs", {"name": "text", **fields}) == WORDS
    fitted = LETTERS.fit(np.array([[0, 1, 1, 2]], np.uint8))
    assert fitted.symbols == LETTERS.symbols
    assert fitted.frequencies == (0.25, 0.5, 0.25, 0, 0)
    assert torch.equal(fitted.encode(np.array([[0, 4]])), torch.tensor([[0, 4]]))
    assert Text.tokens


def test_a_tokenizer_travels_as_its_json():
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"we": 0, "the": 1, "?": 2}, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    codec = Text(3, unit="tokenizer", tokenizer=made.to_str())
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
            lambda: Text(2, unit="words", symbols=("people", "we")).tokens_of("peopel"),
            r"the word 'peopel' is not among the run's symbols \(did you mean 'people'\?\); they are: 2 words",
        ),
        (lambda: Text(3, symbols=("a", "b")), "a text codec of 3 characters has 2 symbols, no tokenizer and pad = -1"),
        (lambda: Text(256, unit="tokenizer"), "a text codec of 256 tokenizer has 0 symbols, no tokenizer"),
        (lambda: Text(2, symbols=("a", "b"), pad=2), "pad = 2: they do not fit together"),
    ],
)
def test_mistakes_are_refused(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()
