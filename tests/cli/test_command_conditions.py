"""`undiffuse sample` asks for conditions by name, and `undiffuse show` says which there are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import undiffuse

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

[scales]
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
    maps = random.integers(0, 256, (40, 4, 4), dtype=np.uint8)
    images = np.repeat(np.repeat(maps, 2, 1), 2, 2)
    captions = np.array(["bright" if m.mean() > 127 else "dark" for m in maps])
    np.savez(
        folder / "data.npz",
        images=images,
        maps=maps,
        captions=captions,
        styles=random.normal(size=(40, 2)),
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
    assert "2 samples, 3 network calls a sample" in alone.out
    guided = undiffuse_("sample", run, "-n", 2, "--map", low, "--text", "dark", "-o", "a.png")
    assert "2 samples, 6 network calls a sample" in guided.out


def test_show_says_what_the_model_is_told(undiffuse_: Undiffuse, run: Path):
    out = " ".join(undiffuse_("show", run).out.split())
    assert "conditions text: a text of up to 64 tokens, read by bytes, hidden in 20% of training" in out
    assert "map: an image of 1 x 4 x 4, always needed" in out
    assert "style: 2 numbers, hidden in 50% of training" in out
    assert 'encoder = "bytes"' in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the model needs 'map': it was trained with it always there (conditions.map.drop = 0)"),
        (["--label", "3"], "the model's conditions has no 'label'"),
        (
            ["--condition", "mask=low.png"],
            "the model has no condition 'mask'; its conditions: text (text), map (image)",
        ),
        (["--condition", "map"], "cannot read the condition 'map'; write name=value, for example map=layout.png"),
        (["--map", "nowhere.png"], "there is no file nowhere.png for 'map'"),
        (["--vector", "1,two"], "style = '1,two': write 2 numbers with commas between them"),
        (["--text", "a", "--condition", "text=b"], "'text' is given twice"),
    ],
)
def test_what_the_model_is_not_told_is_refused_by_name(
    undiffuse_: Undiffuse, run: Path, words: list[str], message: str
):
    done = undiffuse_("sample", run, "-n", 2, *words)
    assert done.status == 2
    assert message in " ".join(done.err.split())
