"""Recipes are checked field by field before anything is loaded or written."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from latent_spaces import named

from undiffuse.core.errors import Refused
from undiffuse.recipes import build, recipe
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.resolved import resolve
from undiffuse.recipes.uses import Uses
from undiffuse.sampling.plan import recipe_defaults
from undiffuse.training.base_run import standing

MINIMAL: dict[str, Any] = {
    "data": {"name": "digits"},
    "codec": {"name": "pixels"},
    "schedule": {"name": "edm"},
    "network": {"name": "unet", "width": 8},
    "parameterization": {"name": "edm"},
    "objective": {"name": "denoising"},
    "train": {"steps": 5},
}


@pytest.mark.each("name", recipe.names())
def test_every_bundled_recipe_is_sound_and_complete_on_paper(name: str):
    found, _ = standing(replace(Recipe.find(name), uses=Uses(named)))
    assert found.about
    settings = build.check(found).train
    resolved = resolve(found)
    assert build.check(resolved).train == settings
    assert resolve(resolved).tables == resolved.tables
    assert {"name"} <= resolved.tables["scene" if "scene" in resolved.tables else "network"].keys()


def test_a_resolved_recipe_survives_its_toml_file(tmp_path: Path):
    resolved = resolve(Recipe.find("digits"))
    resolved.save(tmp_path)
    again = Recipe.find(tmp_path)
    assert again.tables == resolved.tables
    assert again.about == resolved.about
    assert again.difference(resolved) is None


def test_a_sampler_table_may_set_the_default_sampler_s_steps_alone():
    found = Recipe.find({**MINIMAL, "sampler": {"steps": 7}})
    assert resolve(found)["sampler"] == {"steps": 7}
    assert recipe_defaults(found).steps == 7


def test_recipes_are_found_by_name_file_folder_and_tables(tmp_path: Path):
    (tmp_path / "mine.toml").write_text(Recipe.of("mine", MINIMAL).to_toml())
    assert Recipe.find(tmp_path / "mine.toml").tables == Recipe.find(MINIMAL).tables
    with pytest.raises(Refused, match=r"recipes has no 'digit' \(did you mean 'digits'\?\); it has: .*toy-2d"):
        Recipe.find("digit")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match=r"empty is no run folder: it has no recipe\.toml"):
        Recipe.find(tmp_path / "empty")
    with pytest.raises(Refused, match=r"cannot read recipe .*absent.toml: No such file"):
        Recipe.find(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("[train\nsteps = 1")
    with pytest.raises(Refused, match=r"is not TOML"):
        Recipe.find(tmp_path / "bad.toml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trian": {}}, r"a recipe has no 'trian' \(did you mean 'train'\?\); it has: codec"),
        ({"train": 5}, r"train is a table of a recipe: write \[train\]"),
        ({"codec": None}, r"recipe 'run' has no table \[codec\]; it needs data, codec"),
    ],
)
def test_unknown_and_missing_tables_are_named(change: dict[str, Any], message: str):
    tables = {key: value for key, value in {**MINIMAL, **change}.items() if value is not None}
    with pytest.raises(Refused, match=message):
        Recipe.find(tables)


@pytest.mark.each(
    ("setting", "message"),
    [
        ("train.stpes=3", r"train has no 'stpes' \(did you mean 'steps'\?\); it has: accumulate, batch, "),
        ("train.steps=many", "train: steps = 'many' does not fit int"),
        ("train.steps=0", "train.steps must be at least 1, not 0"),
        ("train.batch=-1", "train.batch must be at least 1"),
        ("train.lr=0", "train.lr must be above 0"),
        ("train.lr=nan", "train.lr = nan: a recipe's numbers are finite"),
        ("train.warmup=-1", "train.warmup must be 0 or more"),
        ("train.held_out=1.0", "train.held_out must be 0 or more and below 1"),
        ("optimiser.betas=[0.9, 1.0]", "optimiser.betas must be two numbers"),
        ("train.decay=linear", "train: decay = 'linear' does not fit"),
        ("train.precision=float8", "train.precision must be auto or float32 or bfloat16"),
        ("train.ema=-1", "train.ema must be 0 or more"),
        ("train.ema_decay=1.0", "train.ema_decay must be 0 or more and below 1"),
        ("train.keep=0", "train.keep must be at least 1"),
        ("network.widht=3", r"network 'unet' has no 'widht' \(did you mean 'width'\?\)"),
        ("network.width=wide", "network 'unet': width = 'wide' does not fit int"),
        ("network.name=unett", r"networks has no 'unett' \(did you mean 'unet'\?\)"),
        ("schedule.name=edn", r"schedules has no 'edn' \(did you mean 'edm'\?\)"),
        ("process.name=gausian", r"processes has no 'gausian' \(did you mean 'gaussian'\?\)"),
        ("objective.times=lognormal2", "time_distributions has no 'lognormal2'"),
        ("objective.times.man=1", "time_distributions 'uniform' has no 'man'"),
        ("sampler.name=huen", r"samplers has no 'huen' \(did you mean 'heun'\?\)"),
        ("sampler.steps=0", "sampler: sampling needs at least 1 step, not 0"),
        ("sampler.guidance=much", "sampler: guidance = 'much' does not fit"),
        ("sampler.grid=uniform", "grids has no 'uniform'"),
        ("conditions.label.dorp=0.1", r"conditions.label has no 'dorp' \(did you mean 'drop'\?\)"),
        ("conditions.label.drop=2", "from 0 to 1, not 2"),
        ("conditions.label=0.1", r"conditions.label is a table: write \[conditions.label\]"),
        ("data.name=digitz", r"data has no 'digitz' \(did you mean 'digits'\?\)"),
        ("train=5", "cannot read the setting 'train=5'; write table.field=value"),
        ("train.steps", "cannot read the setting"),
        ("trains.steps=3", r"a recipe has no 'trains' \(did you mean 'train'\?\)"),
    ],
)
def test_a_bad_setting_is_refused_by_name(setting: str, message: str):
    given = Recipe.find(
        {**MINIMAL, "objective": {"name": "denoising", "times": "uniform"}, "sampler": {"name": "heun"}}
    )
    with pytest.raises(Refused, match=message):
        build.check(given.override([setting]))


def test_a_name_is_that_of_a_recipe_and_a_path_that_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    resolve(Recipe.find("digits").override(["train.steps=7"])).save(tmp_path / "digits")
    assert not caplog.messages
    assert Recipe.find("digits")["train"]["steps"] == 400
    assert caplog.messages == ["digits is the recipe of this name, not the run folder here, which is ./digits"]
    for path in ("./digits", Path("digits"), tmp_path / "digits"):
        assert Recipe.find(path)["train"]["steps"] == 7
    (tmp_path / "emoji-16").mkdir()  # data, perhaps
    assert Recipe.find("emoji-16")["network"]["width"] == 32


def test_both_averages_and_no_steps_are_refused():
    with pytest.raises(Refused, match=r"train has both ema .* and ema_decay"):
        build.check(Recipe.find(MINIMAL).override(["train.ema=6.94", "train.ema_decay=0.99"]))
    with pytest.raises(Refused, match=r"train needs steps"):
        build.check(Recipe.find({**MINIMAL, "train": {}}))
    with pytest.raises(Refused, match=r"\[network\] needs a name"):
        build.check(Recipe.find({**MINIMAL, "network": {}}))


def test_noise_prediction_without_signal_is_refused_by_name():
    flow = Recipe.find(MINIMAL).override(["schedule.name=flow", "parameterization.name=noise"])
    with pytest.raises(
        Refused,
        match=r"parameterization 'noise' with schedule 'flow', whose alpha is 0 at t = 1: .*use velocity or data",
    ):
        build.check(flow)
    build.check(flow.override(["parameterization.name=velocity"]))


def test_settings_are_toml_else_text_and_a_new_name_clears_its_table():
    given = Recipe.find({**MINIMAL, "data": {"name": "swiss_roll", "count": 9}})
    changed = given.override(
        ["data.path=some folder/x.npz", "data.name=file", "train.snapshots=3", "train.flip=true", "train.lr=1e-4"]
    )
    assert changed["data"] == {"name": "file", "path": "some folder/x.npz"}
    assert changed["train"] == {"steps": 5, "snapshots": 3, "flip": True, "lr": 1e-4}
    assert given.override(["data.name=swiss_roll"])["data"] == {"name": "swiss_roll", "count": 9}
    inner = Recipe.find({**MINIMAL, "objective": {"name": "denoising", "times": "log_normal"}}).override(
        ["objective.times.mean=-2"]
    )
    assert inner["objective"]["times"] == {"name": "log_normal", "mean": -2}
    objective: Any = build.objective(inner)
    assert objective.times.mean == -2.0


def test_the_first_difference_is_named():
    one, other = Recipe.find(MINIMAL), Recipe.find(MINIMAL).override(["train.lr=0.5", "train.steps=6"])
    assert one.difference(other) == ("train.steps", 5, 6)
    assert one.difference(other, but=["train.steps"]) == ("train.lr", None, 0.5)
    assert one.difference(one) is None
