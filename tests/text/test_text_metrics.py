"""What is told of written text: runs, words, copies and entropy, each exact on texts made up for it."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from undiffuse.codecs.text import TextCodec
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.evaluation import text_bits
from undiffuse.evaluation.judge import NLL, Judge
from undiffuse.evaluation.markov import bits
from undiffuse.evaluation.metrics.grams import among, distinct, grams
from undiffuse.evaluation.metrics.symbol_entropy import entropy
from undiffuse.evaluation.sources import Real

SYMBOLS = tuple(" abcdefghijklmnopqrstuvwxyz")
CODEC = TextCodec(27, symbols=SYMBOLS)


def data(texts: list[str], length: int = 64) -> Dataset:
    x = np.stack([CODEC.tokens_of(text.ljust(length)[:length]) for text in texts]).astype(np.uint8)
    return Dataset(x, vocabulary=27, spelling={"unit": "characters", "symbols": SYMBOLS, "tokenizer": "", "pad": -1})


def lines(seed: int, words: list[str], count: int = 20) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(words, 20)) for _ in range(count)]


WORDS = ["the", "people", "of", "states", "and", "we", "shall", "union"]


def test_every_run_is_found_and_no_other():
    random = np.random.default_rng(0)
    train, other = (random.integers(3, size=(30, 8)) for _ in range(2))
    known = {tuple(row[i : i + 4]) for row in train.tolist() for i in range(5)}
    found = among(grams(other, 4), distinct(train, 4))
    expected = [[tuple(row[i : i + 4]) in known for i in range(5)] for row in other.tolist()]
    assert found.tolist() == expected
    assert len(distinct(train, 4)) == len(known)


def judged(samples: list[str]) -> dict[str, Any]:
    real = Real(data(lines(1, WORDS, 60)), data(lines(2, WORDS)))
    how = Judge().fitting(real.held_out)
    assert how.metrics == ("copies", "known_ngrams", "known_words", "symbol_entropy", NLL)
    return Judge(metrics=how.compared)(data(samples), real).verdicts


def test_copies_are_told_from_text_and_text_from_noise():
    copied = judged(lines(1, WORDS))
    assert copied["copies"]["value"] == 1
    assert copied["copies"]["detail"]["whole"] == 20
    assert copied["known_ngrams"]["value"] == copied["known_words"]["value"] == 1
    fresh = judged(lines(3, WORDS))
    assert fresh["copies"]["value"] == 0
    assert fresh["known_words"]["value"] == fresh["known_words"]["floor"] == 1
    assert 0.3 < fresh["known_ngrams"]["value"] < 1
    assert fresh["known_ngrams"]["value"] == pytest.approx(fresh["known_ngrams"]["floor"], abs=0.1)
    letters = ["".join(np.random.default_rng(i).choice(list(SYMBOLS), 64)) for i in range(20)]
    noise = judged(letters)
    assert noise["known_words"]["value"] < 0.2
    assert noise["known_ngrams"]["value"] < 0.05
    for spoiled, sign in ((noise, 1), (judged(["tomato to a " * 5 + "cart"] * 20), -1)):  # of too many, of too few
        found = spoiled["symbol_entropy"]
        bits = found["detail"]["bits"]
        assert found["better"] == "lower"
        assert found["value"] == pytest.approx(sign * (bits["samples"] - bits["held_out"]))
        assert found["value"] > 3 * found["floor"]
    assert fresh["symbol_entropy"]["value"] < 3 * fresh["symbol_entropy"]["floor"]
    same = judged([lines(4, WORDS)[0]] * 20)
    assert same["copies"]["detail"]["repeated"] == 19


def test_unknown_words_are_shown():
    found = judged([line.replace("union", "onion") for line in lines(3, WORDS)])["known_words"]
    assert found["detail"]["unknown"] == ["onion"]
    assert found["value"] == pytest.approx(1 - 1 / 8, abs=0.04)


def test_entropy_is_in_bits():
    assert entropy(np.array([[0, 1, 2, 3]] * 5)) == pytest.approx(2)
    assert entropy(np.array([[0, 0, 0, 1]])) == pytest.approx(-(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)))


@pytest.mark.parametrize("order", [0, 1, 3, 9])
def test_the_baseline_is_a_probability_of_whole_items(order: int, monkeypatch: pytest.MonkeyPatch):
    train = np.random.default_rng(0).integers(3, size=(7, 4))
    every = np.array(list(itertools.product(range(3), repeat=4)))
    found = bits(train, every, 3, order)
    assert (2.0**-found).sum() == pytest.approx(1, abs=1e-12)
    monkeypatch.setattr("undiffuse.evaluation.markov.DENSE", 0)
    assert np.allclose(bits(train, every, 3, order), found)
    if order == 0:
        share = (np.bincount(train.reshape(-1), minlength=3) + 2 / 3) / (train.size + 2)
        assert found[0] == pytest.approx(-4 * math.log2(share[0]))


def test_the_baseline_of_a_vocabulary_whose_runs_outgrow_64_bits_is_that_of_its_few_tokens():
    """A run of four out of 100,000 symbols has no number of its own; what comes before it is still known apart."""
    random, few = np.random.default_rng(0), 5
    train, held_out = (random.integers(few, size=(n, 30)) for n in (40, 7))
    scattered = np.array([3, 17_000, 54_321, 80_080, 99_999])
    found = bits(scattered[train], scattered[held_out], 100_000)
    p = np.full(held_out.shape, 1 / 100_000)
    for k in range(4):
        runs = [tuple(row[i : i + k + 1]) for row in train.tolist() for i in range(30 - k)]
        for j, row in enumerate(held_out.tolist()):
            for i in range(30 - k):
                here = tuple(row[i : i + k + 1])
                count, before = runs.count(here), sum(run[:k] == here[:k] for run in runs)
                p[j, i + k] = (count + 2 * p[j, i + k]) / (before + 2)
    np.testing.assert_allclose(found, -np.log2(p).sum(1), rtol=1e-12)


def test_bits_per_character_leave_padding_out():
    padded = {"unit": "characters", "symbols": ("a", "b", ""), "tokenizer": "", "pad": 2}
    seen = Dataset(np.array([[0, 1, 2, 2], [1, 2, 2, 2]], np.uint8), vocabulary=3, spelling=padded)
    found = text_bits.summary(seen, seen, 0.75)
    assert found["bits_per_character"] == pytest.approx(0.75 * 8 / 3)
    assert found["perplexity"] == pytest.approx(2**0.75)
    said = text_bits.lines(found)
    assert said[0].startswith("bits per character: 2.0000 (bound), perplexity 1.682 per token (2^bits)")
    assert "by counts of 3 tokens and the next in the training part" in said[1]


def test_metrics_of_values_are_refused_for_text_and_the_other_way_round():
    texts = data(lines(1, WORDS))
    with pytest.raises(Refused, match=r"the metric frechet compares values; for texts there is: copies, .*, nll"):
        Judge(metrics=("frechet",)).fitting(texts)
    points = Dataset(np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32))
    with pytest.raises(Refused, match="the metric 'copies' does not apply here: it needs texts"):
        Judge(metrics=("copies",))(points, Real(points, points))
