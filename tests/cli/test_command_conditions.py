"""Commands ask for conditions and guidance by name, and `undiffuse show` says which conditions there are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import undiffuse
from undiffuse.evaluation import nll

Undiffuse = Callable[..., Any]

RECIPE = """
[data]
name = "file"
path = "{path}"
conditions = {{ text = "captions", map = "maps", style = "styles" }}

[codec]
name = "pixels"

[schedule]
name = "edm"

[network]
name = "unet"
width = 8
multipliers = [1]
blocks = 1
attention = []
text_width = 8

[parameterization]
name = "edm"

[objective]
name = "denoising"

[conditions.text]
kind = "text"
drop = 0.2

[conditions.map]
kind = "image"

[conditions.style]
kind = "vector"
drop = 0.5

[sampler]
name = "heun"
steps = 2
guidance = 2.0

[train]
steps = 20
batch = 8
lr = 0.02
warmup = 0
preview_every = 0
validate_every = 0
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run told a text, a map that is always needed, and two numbers, trained through its recipe's file."""
    folder, random = tmp_path_factory.mktemp("told"), np.random.default_rng(0)
    maps = random.integers(0, 256, (80, 4, 4), dtype=np.uint8)
    images = np.repeat(np.repeat(maps, 2, 1), 2, 2)
    captions = np.array(["bright" if m.mean() > 127 else "dark" for m in maps])
    np.savez(
        folder / "data.npz",
        images=images,
        maps=maps,
        captions=captions,
        styles=random.normal(size=(80, 2)),
    )
    (folder / "told.toml").write_text(RECIPE.format(path=(folder / "data.npz").as_posix()))
    undiffuse.train(folder / "told.toml", out=folder / "run").run()
    return folder / "run"


@pytest.fixture
def low(tmp_path: Path) -> Path:
    """A coarse picture, of another size than in training and in colour."""
    Image.fromarray(np.repeat(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)[:, :, None], 3, 2)).save(
        tmp_path / "l.png"
    )
    return tmp_path / "l.png"


def test_conditions_are_asked_for_by_option_and_by_name(undiffuse_: Undiffuse, run: Path, low: Path):
    def drawn(*words: object) -> np.ndarray:
        done = undiffuse_("sample", run, "-n", 2, "--precision", "float32", "-o", "some.npz", *words)
        assert done.status == 0, done.err
        with np.load("some.npz") as file:
            return file["images"]

    plain = drawn("--map", low)
    assert np.array_equal(plain, drawn("--image", low))
    assert np.array_equal(plain, drawn("--condition", f"map={low}"))
    texts = drawn("--map", low, "--text", "dark")
    assert not np.array_equal(plain, texts)
    styles = drawn("--map", low, "--vector", "1.5,-2")
    assert not np.array_equal(plain, styles)
    assert np.array_equal(styles, drawn("--map", low, "--condition", "style=1.5,-2"))


def test_the_recipe_s_guidance_needs_a_condition_that_was_hidden(undiffuse_: Undiffuse, run: Path, low: Path):
    alone = undiffuse_("sample", run, "-n", 2, "--map", low, "-o", "a.png")
    assert "2 samples, 3 network calls a sample" in alone.err
    guided = undiffuse_("sample", run, "-n", 2, "--map", low, "--text", "dark", "-o", "a.png")
    assert "2 samples, 6 network calls a sample" in guided.err


def test_guidance_by_name_its_interval_and_a_threshold_are_taken_and_said(undiffuse_: Undiffuse, run: Path, low: Path):
    told = ("sample", run, "-n", 2, "--map", low, "--text", "dark", "-o", "a.png")
    named = undiffuse_(*told, "--vector", "1,2", "--guidance", "text=4,style=1.5", "--interval", "0.2,5")
    assert ", guidance text 4, style 1.5 where the noise level is in (0.2, 5], seed 0" in named.err
    one = undiffuse_(*told, "--guidance", 3, "--rescale", 0.5, "--threshold", "dynamic:0.9")
    assert ", guidance 3, rescaled by 0.5, threshold dynamic:0.9, seed 0" in one.err
    assert "guidance" not in undiffuse_(*told, "--guidance", 1).out


def test_edits_are_told_and_guided_alike(undiffuse_: Undiffuse, run: Path, low: Path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save("a.png")
    edit = ("edit", run, "--image", "a.png", "--strength", 0.5, "--steps", 2, "-o", "b.npz")
    words = ("--map", low, "--text", "dark", "--guidance", "text=9", "--interval", "0.01,90")
    done = undiffuse_(*edit, *words)
    assert done.status == 0, done.err
    assert "variations, guidance text 9 where the noise level is in (0.01, 90], seed 0" in done.err
    guided = np.load("b.npz")["x"]
    assert undiffuse_(*edit, "--map", low, "--condition", "text=bright", *words[4:]).status == 0
    assert not np.array_equal(np.load("b.npz")["x"], guided)
    bare = undiffuse_(*edit)
    assert (bare.status, "the model needs 'map'" in bare.err) == (2, True)


def test_items_are_scored_given_their_own_conditions_or_one_for_all(undiffuse_: Undiffuse, run: Path, low: Path):
    with np.load(run.parent / "data.npz") as file:
        np.savez("few.npz", **{name: values[:3] for name, values in file.items()})
    score = ("score", run, "few.npz", "--tolerance", 0.3, "-o", "out.csv")
    own = undiffuse_(*score, "--given", "text,map")
    assert own.status == 0, own.err
    assert "given the text and map, 3 items" in own.out
    before = Path("out.csv").read_text(encoding="utf-8")
    same = undiffuse_(*score, "--given", "map", "--text", "dark")
    assert "given the map and text, 3 items" in same.out
    assert Path("out.csv").read_text(encoding="utf-8") != before
    for words, message in (
        (
            (),
            "the run needs 'map' (conditions.map.drop = 0): score data that have one with --given map, or give one to",
        ),
        (("--given", "mapp"), "the run's conditions has no 'mapp' (did you mean 'map'?)"),
        (("--given", "map", "--map", low), "'map' is given twice"),
        (("--given", "label"), "the run's conditions has no 'label'"),
    ):
        done = undiffuse_(*score, *words)
        assert done.status == 2
        assert message in " ".join(done.err.split())


def test_held_out_items_are_judged_given_their_own_conditions(
    undiffuse_: Undiffuse, run: Path, low: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(nll, "ITEMS", 2)
    words = ("--metrics", "nll", "-n", 10, "--text", "dark", "--guidance", "text=2", "--interval", "0.1,9")
    done = undiffuse_("evaluate", run, *words, "-o", "there")
    assert done.status == 0, done.err
    assert "samples were drawn with guidance text 2 where the noise level is in (0.1, 9]" in done.out
    found = json.loads(Path("there/evaluation.json").read_text(encoding="utf-8"))
    assert found["likelihood"]["given"] == "text and map and style"
    assert (found["sampling"]["guidance"], found["sampling"]["interval"]) == ({"text": 2.0}, [0.1, 9.0])
    finished = undiffuse_("evaluate", low, "--against", "digits", "--text", "dark")
    assert "--text is for drawing samples from a run" in finished.err


def test_show_says_what_the_model_is_told(undiffuse_: Undiffuse, run: Path):
    out = " ".join(undiffuse_("show", run).out.split())
    assert "conditions text: a text of up to 64 tokens, read by bytes, dropped in 20% of training" in out
    assert "map: an image of 1 x 4 x 4, always needed" in out
    assert "style: 2 numbers, dropped in 50% of training" in out
    assert 'encoder = "bytes"' in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the model needs 'map': it was never dropped in training (conditions.map.drop = 0)"),
        (["--label", "3"], "sample has no option and the model no condition 'label'"),
        (
            ["--condition", "mask=low.png"],
            "the model has no condition 'mask'; its conditions: text (text), map (image)",
        ),
        (["--condition", "map"], "cannot read the condition 'map'; write name=value, for example map=layout.png"),
        (["--map", "nowhere.png"], "there is no file nowhere.png for 'map'"),
        (["--vector", "1,two"], "style = '1,two': write 2 numbers with commas between them"),
        (["--text", "a", "--condition", "text=b"], "'text' is given twice"),
        (["--map", "MAP", "--text", "a", "--interval=-1,5"], "sigma/alpha, with 0 <= low < high, not -1 to 5"),
        (["--map", "MAP", "--text", "a", "--interval", "5,1"], "with 0 <= low < high, not 5 to 1"),
        (["--map", "MAP", "--text", "a", "--guidance", "map=2"], "(conditions.map.drop is 0)"),
        (["--map", "MAP", "--text", "a", "--guidance", "txt=2"], "has no 'txt' (did you mean 'text'?)"),
    ],
)
def test_what_the_model_is_not_told_is_refused_by_name(
    undiffuse_: Undiffuse, run: Path, low: Path, words: list[str], message: str
):
    done = undiffuse_("sample", run, "-n", 2, *(low if word == "MAP" else word for word in words))
    assert done.status == 2
    assert message in " ".join(done.err.split())
