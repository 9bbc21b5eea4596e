"""A run on text from the file to the report: it learns, writes, fills in blanks, and is judged as a text."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undiffuse
from undiffuse.codecs.text import TextCodec
from undiffuse.core.errors import Refused
from undiffuse.editing.phrase import phrase
from undiffuse.evaluation import nll, sources
from undiffuse.evaluation.compare import refuse_other_shapes
from undiffuse.recipes.recipe import Recipe
from undiffuse.training.start import train

pytestmark = pytest.mark.usefixtures("quick_evaluation")

REFRAIN = "ab abc abcd "
TINY = [
    *("network.width=16", "network.depth=1", "network.heads=1", "data.length=12", "sampler.steps=12"),
    *("train.steps=40", "train.batch=16", "train.lr=0.02", "train.warmup=0", "train.held_out=0.3"),
    *("train.checkpoint_every=0", "train.preview_every=40", "train.validate_every=0", "train.snapshots=0"),
]
RECIPES = ["text-mdlm", "text-d3pm-mask", "text-d3pm-uniform", "text-multinomial"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("text")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDIFFUSE_CACHE", str(folder / "cache"))
        (folder / "refrain.txt").write_text("".join(REFRAIN[i % 3 :] for i in range(240)), encoding="utf-8")
        yield folder


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    train("text", out=place / "run", overrides=[f"data.path={place / 'refrain.txt'}", *TINY]).run(progress=False)
    return place / "run"


def test_a_run_learns_and_keeps_how_its_text_is_spelled(run: Path):
    model = undiffuse.load(run)
    assert isinstance(model.codec, TextCodec)
    assert model.codec.symbols == (" ", "a", "b", "c", "d")
    assert sum(model.codec.frequencies) == pytest.approx(1)
    real = sources.of_run(model)
    found = nll.score(model, real.held_out.some(64)).summary()["bound"]
    assert found["bits_per_dim"] < 0.9 * math.log2(5)
    text = model.codec.text_of(model.sample(1)[0].numpy())
    assert len(text) == 12
    assert set(text) <= set(" abcd")
    assert (run / "previews" / "step_000040.png").exists()


def test_other_text_is_scored_in_the_runs_own_tokens(run: Path, tmp_path: Path):
    """A text with fewer symbols would count them otherwise: its own "c" is the run's "b"."""
    model = undiffuse.load(run)
    (tmp_path / "few.txt").write_text("a c a ca cca ", encoding="utf-8")
    found = sources.counted(str(tmp_path / "few.txt"), model)
    assert np.asarray(found.x).tolist() == [[1, 0, 3, 0, 1, 0, 3, 1, 0, 3, 3, 1]]
    assert math.isfinite(nll.score(model, found).summary()["bound"]["bits_per_dim"])
    (tmp_path / "more.txt").write_text("a zebra has no tokens here", encoding="utf-8")
    with pytest.raises(Refused, match="the character 'z' is not among the run's symbols"):
        sources.counted(str(tmp_path / "more.txt"), model)
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(Refused, match=r"rows\.csv is no text, and what the run has learned is one"):
        sources.counted(str(tmp_path / "rows.csv"), model)


def test_samples_are_printed_and_written_as_they_are_asked_for(run: Path, undiffuse_, tmp_path: Path):
    shown = undiffuse_("sample", run, "-n", 3).splitlines()
    assert (run / "samples.txt").read_text().splitlines() == shown[:3]
    undiffuse_("sample", run, "-n", 3, "-o", "a.jsonl")
    assert [json.loads(line)["text"] for line in (tmp_path / "a.jsonl").read_text().splitlines()] == shown[:3]
    undiffuse_("sample", run, "-n", 3, "-o", "a.npz")
    codec = undiffuse.load(run).codec
    assert isinstance(codec, TextCodec)
    with np.load(tmp_path / "a.npz") as found:
        assert [codec.text_of(row) for row in found["x"]] == shown[:3]
    for words in (["-o", "a.png"], ["--trajectory", "strip", "-o", "b.png"], ["--trajectory", "gif", "-o", "a.gif"]):
        undiffuse_("sample", run, "-n", 2, *words)
        assert (tmp_path / words[-1]).stat().st_size > 100


def test_blanks_are_filled_in_and_the_rest_stays(run: Path, undiffuse_, tmp_path: Path):
    model = undiffuse.load(run)
    filled = phrase(model, "ab_bcd", 4)
    assert all(len(text) == 6 and text[:2] == "ab" and text[3:] == "bcd" for text in filled)
    more = phrase(model, "ab ab...", 2)
    assert all(len(text) == 12 and text.startswith("ab ab") for text in more)
    before = phrase(model, "...bcd", 2)
    assert all(len(text) == 12 and text.endswith("bcd") for text in before)
    around = phrase(model, "...bcd...", 2)
    assert all(text[4:7] == "bcd" for text in around)
    shown = undiffuse_("edit", run, "--text", "ab_bcd", "-n", 4, "-o", "out.txt").splitlines()
    assert shown[:4] == filled
    assert (tmp_path / "out.txt").read_text().splitlines() == filled
    chosen = phrase(model, "ab__cd...", 20, only="da")
    assert {text[2:4] for text in chosen} <= {"aa", "ad", "da", "dd"}
    assert len({letter for text in chosen for letter in text[6:]}) > 2
    assert undiffuse_("edit", run, "--text", "ab__", "--only", "d").splitlines() == ["abdd"]
    assert "the character 'z' is not among" in undiffuse_("edit", run, "--text", "a_", "--only", "z", status=2)
    assert "no symbol is allowed at place 1" in undiffuse_("edit", run, "--text", "a_", "--only", "", status=2)
    assert "--only is for a --text with blanks" in undiffuse_("edit", run, "--image", "a.png", "--only", "d", status=2)
    assert "there is nothing to fill in: write ____" in undiffuse_("edit", run, "--text", "abc", status=2)
    assert "has 13 tokens, and one item of the run has 12" in undiffuse_("edit", run, "--text", "_" * 13, status=2)
    assert "the character 'z' is not among the run's symbols" in undiffuse_("edit", run, "--text", "z_", status=2)


def test_two_runs_are_compared_as_texts(run: Path, place: Path, undiffuse_, tmp_path: Path):
    settings = [f"data.path={place / 'refrain.txt'}", *TINY, "train.steps=2", "train.preview_every=0"]
    train("text", out=place / "short", overrides=settings).run(progress=False)
    shown = " ".join(undiffuse_("compare", run, place / "short", "-n", 10, "--steps", 3).split())
    for word in ("Known words", "Entropy of the symbols", "Bits per character (bound)", "by counting in the training"):
        assert word in shown
    found = json.loads((tmp_path / "comparison" / "compare.json").read_text())["runs"]
    bits = {name: each["likelihood"]["text"]["bits_per_character"] for name, each in found.items()}
    assert f"Bits per character (bound) * {bits['run']:.4f} {bits['short']:.4f}" in shown
    page = (tmp_path / "comparison" / "compare.html").read_text()
    model = undiffuse.load(run)
    codec: Any = model.codec
    assert f"<code>{codec.text_of(model.sample(1, steps=3)[0].numpy())}</code>" in page
    assert "The same row is the same seed" in page
    row = next(row for row in page.split("<tr") if "Bits per character" in row)
    assert f">{found['run']['likelihood']['items']:,}</td>" in row
    assert f"<b>{bits['run']:.4f}</b>" in page
    other = replace(model, codec=replace(codec, symbols=(" ", "a", "b", "c", "e")))
    with pytest.raises(Refused, match="two spells with other symbols than one: their tokens cannot be compared"):
        refuse_other_shapes(["one", "two"], [model, other])


def test_the_report_tells_it_as_a_text(run: Path, undiffuse_):
    shown = undiffuse_("evaluate", run, "-n", 24, "--steps", 6)
    for title in (
        "Known words",
        "Known n-grams",
        "Copies",
        "Entropy of the symbols",
        "bits per character:",
        "baseline:",
    ):
        assert title in shown
    about = json.loads((run / "evaluation.json").read_text())
    text = about["likelihood"]["text"]
    assert text["bits_per_character"] == pytest.approx(about["likelihood"]["bound"]["bits_per_dim"])
    assert text["perplexity"] == pytest.approx(2 ** text["bits_per_character"])
    assert 0 < text["baseline"]["bits_per_character"] < math.log2(5)
    report = (run / "report.html").read_text()
    assert undiffuse.load(run).codec.text_of(undiffuse.load(run).sample(1, steps=6)[0].numpy()) in report  # type: ignore[attr-defined]
    assert "Held-out text" in report


def test_written_samples_and_other_text_are_judged_in_the_same_tokens(run: Path, place: Path, undiffuse_):
    undiffuse_("sample", run, "-n", 24, "--steps", 6, "-o", "a.txt")
    (place / "other.txt").write_text("abcd abc " * 30, encoding="utf-8")
    model = undiffuse.load(run)
    other = sources.against(model, str(place / "other.txt"))
    assert "".join(other.held_out.texts(len(other.held_out))) == ("abcd abc " * 30)[: 22 * 12] or other.warning
    assert other.held_out.spelling == other.train.spelling
    real = sources.of_run(model)
    drawn = sources.open_samples(Path("a.txt"), real)
    assert drawn.texts(24) == Path("a.txt").read_text().splitlines()
    (place / "strange.txt").write_text("xyz " * 30, encoding="utf-8")
    with pytest.raises(Refused, match="the character 'x' is not among the run's symbols"):
        sources.against(model, str(place / "strange.txt"))
    Path("short.txt").write_text("ab\n", encoding="utf-8")
    with pytest.raises(Refused, match="text 1 has 2 tokens, and an item of refrain has 12"):
        sources.open_samples(Path("short.txt"), real)
    with pytest.raises(Refused, match="heartbeat is no text, and refrain is one"):
        sources.against(model, "heartbeat")


def test_data_of_text_are_looked_at_before_training(place: Path, undiffuse_, tmp_path: Path):
    shown = undiffuse_("check-data", place / "refrain.txt", "--set", "length=12")
    assert "text" in shown
    assert (tmp_path / "refrain-contact.png").exists()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_of_text_takes_a_step(name: str, place: Path, tmp_path: Path):
    settings = [f"data.path={place / 'refrain.txt'}", *TINY, "train.steps=1", "train.preview_every=0"]
    train(name, out=tmp_path / "run", overrides=settings).run(progress=False)
    assert undiffuse.load(tmp_path / "run").sample(2, steps=4).shape == (2, 12)


def test_the_recipes_differ_in_the_process_and_in_nothing_that_costs():
    first, *others = (Recipe.find(name) for name in RECIPES)
    for other in others:
        assert other["train"] == first["train"]
        assert {**other["network"], "time": 0} == {**first["network"], "time": 0}
        assert other["data"] == first["data"]


def test_text_is_asked_of_a_run_of_text_only(undiffuse_, tmp_path: Path):
    tables = {"data": {"name": "heartbeat", "count": 40, "length": 6, "period": 3}, "codec": {"name": "tokens"}}
    base = (
        Recipe.find("heartbeat-2015")
        .with_tables(**tables)
        .override(
            [
                "train.steps=1",
                "train.preview_every=0",
                "train.validate_every=0",
                "network.width=8",
                "network.readouts=2",
            ]
        )
    )
    train(base, out=tmp_path / "beat").run(progress=False)
    assert "--text with blanks is for models of text" in undiffuse_("edit", "beat", "--text", "a_", status=2)
    assert "the run's samples are no text" in undiffuse_("sample", "beat", "-o", "a.txt", status=2)
