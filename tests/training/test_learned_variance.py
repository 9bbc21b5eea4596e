"""A run with a learned variance: its network is widened, its files are checked, its bound and samples use it."""

from pathlib import Path
from typing import Any

import pytest
import torch

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.evaluation import nll
from undiffuse.recipes import build
from undiffuse.recipes.recipe import Recipe
from undiffuse.storage.files import read_tensors, write_tensors
from undiffuse.training.start import data, train

SMALL = [
    *("network.width=8", "network.multipliers=[1]", "network.attention=[]", "schedule.steps=20"),
    *("train.steps=2", "train.batch=8", "train.validate_every=0", "train.snapshots=0", "sampler.steps=20"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    train("digits-iddpm", out=folder, overrides=SMALL).run(progress=False)
    return folder


def test_the_recipe_trains_saves_and_samples_with_guidance_and_strides(run: Path):
    model = undiffuse.load(run, precision="float32")
    denoiser: Any = model.denoiser
    assert denoiser.head.variance == "learned_range"
    assert denoiser.network.leave.weight.shape[0] == 2
    assert "out_channels" not in Recipe.find("digits-iddpm")["network"]
    x = model.sample(3, label=[1, 2, 3], guidance=2.0, steps=5)
    assert x.shape == (3, 1, 8, 8)
    guess = denoiser(torch.zeros(2, 1, 8, 8), 0.5)
    assert guess.fraction.shape == (2, 1, 8, 8)


def test_the_bound_takes_the_learned_variance_by_itself(run: Path):
    model = undiffuse.load(run, precision="float32")
    few = data(model.recipe)[1]
    assert few is not None
    found = nll.score(model, few.some(2), bound=True, given=True, tolerance=0.1).summary()
    assert found["bound"]["variance"] == "learned"


def test_a_second_moment_trains_and_its_bound_is_exact(tmp_path: Path):
    words = [*SMALL, "denoiser.variance=second_moment", "objective.name=second_moment", "sampler.variance=exact"]
    model = train("digits-iddpm", out=tmp_path / "run", overrides=words).run(progress=False)
    assert bool((model.sample(2, label=1, guidance=1.0, steps=3) >= 0).all())
    few = data(model.recipe)[1]
    assert few is not None
    found = nll.score(model, few.some(2), bound=True, given=True, tolerance=0.1).summary()
    assert found["bound"]["variance"] == "exact"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["denoiser.variance=learned"], "denoiser: variance = 'learned' does not fit"),
        (
            ["denoiser.width=2"],
            "denoiser has no 'width'; it has: bounded, embedding, guidance_input, jumps, output, variance",
        ),
        (
            ["denoiser.variance=none"],
            'sampler.variance = "learned" needs denoiser.variance = "learned_range"',
        ),
        (
            ["denoiser.variance=none", "sampler.variance=beta"],
            "the bound with variance 'learned' needs a denoiser with a learned range",
        ),
        (["network.name=convnet"], "needs a network with out_channels, and 'convnet' has none; such are: .*unet"),
        (["schedule.name=vp"], "hybrid bounds a chain of steps, as cosine and linear_beta have; vp has none"),
    ],
)
def test_recipes_that_make_no_sense_are_refused_before_anything_is_written(
    tmp_path: Path, words: list[str], message: str
):
    cut = [word for word in SMALL if not (word.startswith("network") and "network.name=convnet" in words)]
    cut = [word for word in cut if not (word.startswith("schedule") and "schedule.name=vp" in words)]
    with pytest.raises(Refused, match=message):
        train("digits-iddpm", out=tmp_path / "run", overrides=[*cut, *words])
    assert not (tmp_path / "run").exists()


def test_a_models_file_with_another_variance_is_refused(run: Path, tmp_path: Path):
    weights, about = read_tensors(run / "model.safetensors", "model")
    for variance, message in (
        ("cubic", "denoiser: variance = 'cubic' does not fit"),
        ("none", r"'network.leave.weight' is \(2, 8, 3, 3\), the model's is \(1, 8, 3, 3\)|learned_range"),
    ):
        tables = {**about["recipe"]["tables"], "denoiser": {"variance": variance}}
        spoilt = {**about, "recipe": {**about["recipe"], "tables": tables}}
        write_tensors(tmp_path / f"{variance}.safetensors", weights, spoilt)
        with pytest.raises(Refused, match=message):
            undiffuse.load(tmp_path / f"{variance}.safetensors")


def test_tokens_have_no_variance():
    recipe = Recipe.find("digits-iddpm").with_tables(parameterization={})
    with pytest.raises(Refused, match=r"denoiser\.variance says how a guess of values is given; this recipe has none"):
        build.denoiser_settings(recipe)
