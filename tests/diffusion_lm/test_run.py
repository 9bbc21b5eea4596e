"""A run of Diffusion-LM from the file to the report: it learns, goes on, obeys, fills blanks, and tells of collapse."""

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_texts import TINY

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.data.sources.text import TextData
from undiffuse.evaluation import nll, sources
from undiffuse.recipes.recipe import Recipe
from undiffuse.reports.training_page import read
from undiffuse.reports.verdicts import verdicts
from undiffuse.sampling.controls import met, understood
from undiffuse.training.diagnose import Collapsed
from undiffuse.training.start import train


def texts(model: Any, x: Any) -> list[str]:
    return [model.codec.text_of(row) for row in np.asarray(x)]


def test_the_table_is_trained_averaged_and_saved(run: Path):
    model: Any = undiffuse.load(run)
    assert tuple(model.denoiser.embeddings.table.shape) == (model.codec.vocabulary, 6)
    training = train(Recipe.find(run), out=run.parent / "fresh", overrides=[])
    first: Any = training.module
    assert float((first.embeddings.table.detach().cpu() - model.denoiser.embeddings.table).norm(dim=1).mean()) > 0.1
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss"] < 0.9 * lines[1]["loss"]  # lines[0] is of step 0
    assert all(line["embedding_gap_median"] > 4 for line in lines)
    assert {"embedding_norm", "embedding_gap"} <= lines[-1].keys()


def test_a_run_that_was_stopped_and_resumed_is_the_uninterrupted_one(place: Path):
    short = [f"data.path={place / 'lines.txt'}", *TINY, "train.steps=12", "train.checkpoint_every=6"]
    whole = train("text-diffusion-lm", out=place / "whole", overrides=short).run(progress=False)
    stopped = train("text-diffusion-lm", out=place / "again", overrides=short)
    for _ in islice(stopped, 8):
        pass
    while stopped.writing:
        pass
    del stopped
    resumed = train(place / "again", resume=True)
    assert resumed.step == 6
    again = resumed.run(progress=False)
    a, b = whole.denoiser.state_dict(), again.denoiser.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert "head.table" in a


@pytest.mark.parametrize("control", ["keyword:law", "length:4", "pattern:we ____ [war|peace]", "pattern:?? is good"])
def test_controls_are_followed_where_chance_does_not(run: Path, control: str):
    model: Any = undiffuse.load(run)
    wanted = understood(model, control)
    share = [
        float(met(wanted, model.sample(24, **asked), model.codec.vocabulary).double().mean())
        for asked in ({}, {"control": control})
    ]
    assert share[0] < 0.6
    assert share[1] > share[0] + 0.3


def test_controls_add_up_and_a_function_of_ones_own_is_one(run: Path):
    model: Any = undiffuse.load(run)
    both = ["keyword:war", "length:5"]
    x = model.sample(16, control=both)
    assert all(float(met(understood(model, c), x, model.codec.vocabulary).double().mean()) > 0.6 for c in both)
    token = model.codec.symbols.index("peace")
    own = model.sample(16, control=lambda log_probs: log_probs[:, 0, token])
    assert float((own[:, 0] == token).double().mean()) > 0.9


def test_samples_are_printed_chosen_and_edited(run: Path, undiffuse_):
    shown = undiffuse_("sample", run, "-n", 3, "--control", "keyword:god", "--candidates", 3).splitlines()
    model: Any = undiffuse.load(run)
    drawn = texts(model, model.sample(9, control="keyword:god"))
    assert all(shown[i] in drawn[3 * i : 3 * i + 3] for i in range(3))
    printed = undiffuse_("edit", run, "--text", "the ____ of the", "-n", 4).splitlines()
    filled = [line for line in printed if " gone, " not in line]  # progress, which a slow machine shows
    assert len(filled) == 4
    assert all(line.startswith("the ") and line.split()[-2:] == ["of", "the"] for line in filled)
    assert "nearest:1" in undiffuse_("sample", run, "-n", 2)
    assert "threshold" not in undiffuse_("sample", run, "-n", 2, "--threshold", "none").splitlines()[-1]


def test_a_run_is_evaluated_as_a_text_with_a_bound(run: Path):
    model: Any = undiffuse.load(run)
    found = nll.score(model, sources.of_run(model).held_out.some(64)).summary()
    assert found["convention"] == "probability of tokens"
    assert 0 < found["bound"]["bits_per_dim"] < 500


def test_without_cross_entropy_the_embeddings_collapse_and_the_run_says_so(place: Path):
    how = [f"data.path={place / 'lines.txt'}", *TINY, "objective.cross_entropy=0", "train.lr=0.1", "train.batch=8"]
    how += ["network.width=16", "network.heads=1"]
    out = place / "collapsed"
    with pytest.raises(Collapsed, match=r"training is lost at step \d+; .* The embeddings have collapsed: .* sigma_0"):
        train("text-diffusion-lm", out=out, overrides=[*how, "train.held_out=0", "train.steps=400"]).run(progress=False)
    curves = read(out).curves
    assert curves["embedding_gap_median"][1][-1] < 2 < curves["embedding_gap_median"][1][0]
    cards = verdicts({**curves, "loss": ([1] * 8, [1.0] * 8)})
    assert cards[0].label == "The embeddings collapse"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["objective.name=denoising"], "denoiser.embedding = 6 goes with objective.name = 'diffusion_lm', not 'denoi"),
        (["denoiser.embedding=0"], r"codec 'text' needs a process for tokens: .* denoiser.embedding = 16"),
        (["denoiser.embedding=-1"], "0 or more, without a variance; not -1 with variance 'none'"),
        (["schedule.name=vp"], "schedule.name = 'sqrt'"),
        (["codec.name=pixels"], "makes values of tokens: it needs a codec of tokens"),
        (["sampler.threshold=static"], "threshold = 'static' needs data with bounds"),
        (["sampler.threshold=nearest:0"], "threshold is nearest:LEVEL with a noise level above 0"),
        (["sampler.temperature=0.5"], "temperature = 0.5 is for guesses of tokens, and those of this model are embed"),
        (["data.packing=pack", "data.shortest=3"], "shortest = 3 is for packing = 'pad'"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(place: Path, change: list[str], message: str):
    with pytest.raises(Refused, match=message):
        train("text-diffusion-lm", out=place / "no", overrides=[f"data.path={place / 'lines.txt'}", *TINY, *change])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--control", "keyword:godd"], "the word 'godd' is not among the run's symbols (did you mean 'god'?)"),
        (["--control", "lenght:3"], "there is no control 'lenght:3'"),
        (["--control", "length:9"], "length: is followed by a number of tokens from 1 to 8, not by '9'"),
        (["--control", "keyword:"], "a keyword has 1 to 8 tokens here, and '' has 0"),
        (["--control", "pattern:[god is|war]"], "each alternative in [god is|war] is one token"),
        (["--control", "pattern:" + "we " * 9], "a pattern has 1 to 8 places here"),
        (["--candidates", "0"], "candidates is how many each one is chosen from, 1 or more, not 0"),
    ],
)
def test_controls_that_cannot_be_read_say_what_is_possible(run: Path, undiffuse_, words: list[str], message: str):
    assert message in undiffuse_("sample", run, "-n", 1, *words, status=2)


def test_models_without_embeddings_refuse_control_clamp_and_choice(tmp_path: Path):
    how = ["train.steps=1", "train.preview_every=0", "train.validate_every=0", "network.width=16", "train.batch=4"]
    model: Any = train("toy-2d", out=tmp_path / "run", overrides=how).run(progress=False)
    with pytest.raises(Refused, match="control needs a model of embeddings"):
        model.sample(1, control="length:3")
    with pytest.raises(Refused, match="needs a model of embeddings, as text-diffusion-lm trains"):
        model.sample(1, threshold="nearest")
    with pytest.raises(Refused, match=r"candidates = 3 are of texts and of vectors .*, and this run makes none"):
        model.sample(1, candidates=3)


def test_pieces_of_a_line_are_of_all_lengths_and_end_with_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.txt").write_text("fellow citizens of the senate " * 60, encoding="utf-8")
    words = TextData(str(tmp_path / "a.txt"), tokens="words", length=8, packing="pad", shortest=3).load()
    assert {len(text.split()) for text in words.texts(len(words))} >= {3, 4, 5, 6, 7, 8}
    assert " ".join(words.texts(len(words))) == ("fellow citizens of the senate " * 60).strip()
    letters = TextData(str(tmp_path / "a.txt"), length=24, packing="pad", shortest=10).load()
    assert " ".join(letters.texts(len(letters))).strip() == ("fellow citizens of the senate " * 60).strip()
