"""A table's column predicted from the others: one command, its regressor first, and rows in the table's own words."""

import csv
import io
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.data import resolve
from undiffuse.data.derived_conditions import of_recipe
from undiffuse.data.to_predict import aimed
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.predicting import refuse_rows
from undiffuse.sampling.request import SampleRequest
from undiffuse.training import nested

pytestmark = pytest.mark.usefixtures("quick_evaluation")

SMALL = ["train.checkpoint_every=0", "train.preview_every=0", "train.validate_every=0", "train.snapshots=0"]
QUICK = [*SMALL, "train.steps=40", "network.width=16", "sampler.steps=4", "train.batch=64"]
HEAD = ["size", "colour", "weight", "price"]


def written(path: Path, count: int = 300, **changes: Any) -> Path:
    """A table of a price that follows size and colour; some weights are missing."""
    random = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        for i in range(count):
            size, colour = round(float(random.uniform(1, 9)), 2), ["red", "blue", "green"][i % 3]
            weight = "" if i % 10 == 0 else round(float(random.normal(5, 1)), 3)
            price = round(10 * size + 5 * (colour == "red") + float(random.normal()), 2)
            row = {"size": size, "colour": colour, "weight": weight, "price": price} | changes.get(f"row{i}", {})
            writer.writerow(row.values())
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose regressor was trained first, inside its folder."""
    folder = tmp_path_factory.mktemp("predicted")
    table = written(folder / "prices.csv")
    small = folder / "small.toml"
    told = [*SMALL, "train.steps=60", "train.warmup=1", "train.lr=0.01", "network.width=16", "objective.folds=4"]
    small.write_text(Recipe.find("card-regressor").override(told).to_toml())
    overrides = [f"data.path={table}", "data.target=price", f"codec.regressor={small}", *QUICK]
    undiffuse.train("card", out=folder / "run", overrides=overrides).run(progress=False)
    return folder


def test_the_other_columns_are_numbers_and_the_target_is_what_is_modelled(tmp_path: Path):
    table = written(tmp_path / "prices.csv")
    recipe = Recipe.find("card").override([f"data.path={table}", "data.target=price"])
    found = of_recipe(recipe)
    assert found.columns == ("price",)
    assert found.x.shape == (300, 1)
    told = found.notes["predicts"]
    assert told["columns"] == ["size", "colour=blue", "colour=green", "colour=red", "weight", "weight missing"]
    inputs = found.conditions["inputs"]
    assert inputs.shape == (300, 6)
    assert set(inputs[:, 5].tolist()) == {0, 1}
    np.testing.assert_array_equal(inputs[:, 1:4].sum(1), 1)
    plain = resolve.open(str(table), target="price")
    (learned, held), (first, second) = found.split(0.2), plain.split(0.2)
    np.testing.assert_array_equal(learned.x, first.conditions["target"])  # the same rows are held out of both
    np.testing.assert_array_equal(held.conditions["inputs"], second.x)


def test_a_word_as_the_target_is_a_class(tmp_path: Path):
    recipe = Recipe.find("card").override([f"data.path={written(tmp_path / 'prices.csv')}", "data.target=colour"])
    found = of_recipe(recipe)
    assert found.columns == ("blue", "green", "red")
    np.testing.assert_array_equal(np.asarray(found.x).sum(1), 1)
    assert found.notes["predicts"]["classes"]
    assert found.notes["predicts"]["name"] == "colour"


def test_rows_are_predicted_in_their_own_units(trained: Path):
    model = undiffuse.load(trained / "run")
    table = trained / "prices.csv"
    found = model.predict({"size": [2.0, 8.0], "colour": ["red", "blue"], "weight": [None, 4.5]}, n=30, seed=3)
    assert found.draws.shape == (2, 30, 1)
    assert found.targets == ("price",)
    again = model.predict({"weight": [4.5], "size": [8.0], "colour": ["blue"], "other": [1]}, n=30, seed=3)
    assert again.draws.shape == (1, 30, 1)
    assert found.mean[1, 0] > found.mean[0, 0]
    batch = model.predict({"size": [2.0, 8.0], "colour": ["red", "blue"], "weight": [None, 4.5]}, n=30, seed=3, batch=7)
    np.testing.assert_allclose(batch.draws, found.draws, rtol=1e-4)
    assert len(model.predict(table, n=2)) == 300
    regressor = model.uses["codec.regressor"]
    assert regressor.columns == model.codec.columns
    (only,) = model.sample(1, inputs=np.zeros(6, np.float32)).numpy()
    assert only.shape == (1,)


def test_the_command_writes_rows_with_what_is_predicted(
    trained: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
):
    from undiffuse.cli.main import main

    rows = tmp_path / "rows.csv"
    rows.write_text("id,size,weight,colour\nx,3.5,5,red\ny,2,,green\n")
    out = tmp_path / "out.csv"
    asked = [
        "predict",
        str(trained / "run"),
        str(rows),
        "-o",
        str(out),
        "--quantiles",
        ".1,.9",
        "-n",
        "20",
        "--samples",
    ]
    with pytest.raises(SystemExit) as ended:
        main(asked)
    assert ended.value.code in (0, None)
    with out.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [each["id"] for each in found] == ["x", "y"]
    names = ["price_mean", "price_std", "price_q0.1", "price_q0.9"]
    assert list(found[0])[:8] == ["id", "size", "weight", "colour", *names]
    assert len(found[0]) == 8 + 20
    low, mean, high = (float(found[0][name]) for name in ("price_q0.1", "price_mean", "price_q0.9"))
    assert low < mean < high
    assert b"2 rows" in capsysbinary.readouterr().err
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(rows.read_bytes())))
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(trained / "run"), "-", "-o", "-", *asked[5:]])
    assert ended.value.code in (0, None)
    assert capsysbinary.readouterr().out == out.read_bytes()


def test_a_training_that_stopped_in_its_first_run_goes_on(trained: Path, tmp_path: Path):
    settings = [f"data.path={trained / 'prices.csv'}", "data.target=price", f"codec.regressor={trained / 'small.toml'}"]
    asked: dict[str, Any] = {"out": tmp_path / "run", "overrides": [*settings, *QUICK]}
    first = nested.trained_first
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nested, "trained_first", lambda recipe, out, resume, train: stopped(first, recipe, out, train))
        with pytest.raises(KeyboardInterrupt):
            undiffuse.train("card", **asked)
    assert not (tmp_path / "run" / "recipe.toml").exists()
    with pytest.raises(Refused, match="regressor already holds a run: continue it with --resume"):
        undiffuse.train("card", **asked)
    made = undiffuse.train("card", **asked, resume=True).run(progress=False)
    assert undiffuse.load(tmp_path / "run" / "regressor").facts["step"] == 60
    rows = np.zeros((2, 6), np.float32)
    np.testing.assert_array_equal(made.predict(rows, n=3).draws, undiffuse.load(trained / "run").predict(rows, 3).draws)
    assert undiffuse.train("card", **asked, resume=True).finished
    with pytest.raises(Refused, match="already holds a run"):
        undiffuse.train("card", **asked)


def stopped(first: Any, recipe: Recipe, folder: Path, train: Any) -> Recipe:
    """The first run is stopped in the middle, as by Ctrl-C."""

    def begun(*words: Any, **how: Any) -> Any:
        training = train(*words, **how)
        turns = iter(training)
        for _ in range(20):
            next(turns)
        training.stop.signal = signal.SIGINT
        return training

    return first(recipe, folder, False, begun)


def test_the_class_of_an_image_has_chances(tmp_path: Path):
    small = tmp_path / "small.toml"
    digits = {"data": {"name": "digits"}, "codec": {"name": "pixels"}, "conditions": {"label": {}}}
    plain = Recipe.find("card-regressor").with_tables(**digits)
    small.write_text(plain.override([*SMALL, "train.steps=60", "network.width=32", "train.lr=0.01"]).to_toml())
    recipe = Recipe.find("mnist-card").override(["data.name=digits", f"codec.regressor={small}", *QUICK])
    model = undiffuse.train(recipe, out=tmp_path / "run").run(progress=False)
    some = resolve.open("digits").take(np.arange(20))
    found = model.predict(np.asarray(some.x), n=5)
    assert found.targets == tuple("0123456789")
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    assert found.frame().columns[:5] == ["label", "label_p_value", "p_0", "p_0_low", "p_0_high"]
    f = undiffuse.load(tmp_path / "run" / "regressor")
    flat = torch.from_numpy(np.asarray(some.x)).flatten(1).float()
    torch.testing.assert_close(f.told_of(flat), f.predict(np.asarray(some.x)).double())
    assert (f.predict(np.asarray(some.x)).argmax(1).numpy() == some.labels).mean() > 0.5


def test_it_is_judged_by_what_it_predicts(trained: Path):
    from dataclasses import replace

    from undiffuse.evaluation.judge import Judge

    model = undiffuse.load(trained / "run")
    asked = EvaluationRequest(how=Judge(metrics=("rmse", "crps", "picp", "qice", "gaussian_nll", "nll"), cached=False))
    found = model.evaluate(replace(asked, request=SampleRequest(n=20))).found
    assert set(found.verdicts) == {"rmse", "crps", "picp", "qice", "gaussian_nll"}
    assert 0 < found.verdicts["crps"]["value"] < found.verdicts["rmse"]["value"]
    other = written(trained / "other.csv", 200, row3={"weight": 7.5})
    again = model.evaluate(replace(asked, against=str(other), how=Judge(metrics=("crps",), cached=False))).found
    assert 10 <= again.verdicts["crps"]["count"] < 100  # most rows were trained on
    assert "were trained on and left out" in again.warnings[0]
    assert np.isfinite(found.scores.log_prob).all()  # p(target given the inputs), in the target's own units


@pytest.mark.each(
    ("rows", "message"),
    [
        ({"size": [2.0], "weight": [1.0]}, "the data frame has no column 'colour', which the run predicts from"),
        ({"size": ["big"], "colour": ["red"], "weight": [1.0]}, "row 0: column 'size': 'big' is not a number"),
        ({"size": [None], "colour": ["red"], "weight": [1.0]}, "row 0: column 'size': it is empty, and in training"),
        ({"size": [1], "colour": ["pink"], "weight": [1]}, "'pink' is none of the categories that the run knows: blue"),
        (np.zeros((2, 3), np.float32), "inputs has 6 numbers, and given are 3"),
        (np.zeros(3), "rows to predict from are an array of numbers"),
    ],
)
def test_rows_that_are_refused(trained: Path, rows: Any, message: str):
    with pytest.raises(Refused, match=message):
        undiffuse.load(trained / "run").predict(rows, n=2)


def test_recipes_and_tables_that_are_refused(trained: Path, tmp_path: Path):
    run = f"codec.regressor={trained / 'run' / 'regressor'}"
    gone = written(tmp_path / "gone.csv", row7={"price": ""})
    other = tmp_path / "other.csv"
    other.write_text((trained / "prices.csv").read_text().replace("weight", "height"))
    table = f"data.path={trained / 'prices.csv'}"
    columns = "codec.regressor reads [size, colour=blue, colour=green, colour=red, weight, weight missing], and these"
    cases = [
        ([f"data.path={gone}", "data.target=price", run], "the target 'price' is missing in 1 of 300 rows"),
        ([f"data.path={other}", "data.target=price", run], columns),
        ([table, run], "has items of categories, and conditions.inputs.of = 'item' takes numbers"),
        ([table, "data.target=cost", run], "has no column 'cost' for target"),
        ([table, "data.target=price", "data.label=colour", run], "target = 'price' is what is predicted"),
        ([table, "data.target=price", "conditions.inputs.drop=0.1", run], "conditions.inputs.drop must be 0, not 0.1"),
        ([table, "data.target=price", "conditions.inputs.of=", run], "codec 'residual' reads the condition 'inputs'"),
        ([table, "data.target=price", "train.steps=0"], "train.steps must be at least 1"),
    ]
    for overrides, message in cases:
        with pytest.raises(Refused, match=re.escape(message)):
            undiffuse.train("card", out=tmp_path / "none", overrides=overrides)
        assert not (tmp_path / "none").exists(), message
    plain = [table, "data.columns=size", *QUICK, "train.steps=1"]
    recipe = Recipe.find("table").with_tables(conditions={}).override(plain)
    run = undiffuse.train(recipe, out=tmp_path / "plain").run(progress=False)
    with pytest.raises(Refused, match="draws items and predicts no target of theirs"):
        run.predict(np.zeros((1, 1)))


def test_draws_of_a_row_do_not_depend_on_how_many_there_are(trained: Path):
    model = undiffuse.load(trained / "run")
    rows = np.zeros((3, 6), np.float32)
    few, many = (model.predict(rows, n=n).draws for n in (2, 5))
    np.testing.assert_allclose(few, many[:, :2], rtol=1e-5)
    assert len(np.unique(many)) == many.size


def test_a_run_that_predicts_says_so(trained: Path):
    assert undiffuse.load(trained / "run").use == "predict the target of rows by `undiffuse predict {run} ROWS`"


def test_a_table_without_a_named_target_is_asked_for_it(tmp_path: Path):
    recipe = Recipe.find("card").override([f"data.path={written(tmp_path / 'prices.csv')}"])
    with pytest.raises(Refused, match=r"no target and no label to predict: of a table, .* --set data.target=COLUMN"):
        nested._recipe(recipe, "regressor")


def test_the_regressor_holds_out_nothing_where_the_whole_holds_out_nothing(tmp_path: Path):
    told = [f"data.path={written(tmp_path / 'prices.csv')}", "data.target=price"]
    for mine, theirs in ((0.0, 0.0), (0.01, 0.05), (0.3, 0.3)):
        recipe = Recipe.find("card").override([*told, f"train.held_out={mine}"])
        assert nested._recipe(recipe, "regressor")["train"]["held_out"] == theirs


def test_samples_of_a_run_that_predicts_are_refused_with_its_command(trained: Path):
    where = trained / "run"
    with pytest.raises(Refused, match=rf"samples alone say nothing: .* predict {where} ROWS -o predicted.csv"):
        refuse_rows(undiffuse.load(where), SampleRequest(n=3), where)
    refuse_rows(undiffuse.load(where), SampleRequest(condition_words=[("inputs", "1,2,3,4,5,6")]), where)


def test_a_date_is_predicted_as_one(tmp_path: Path):
    table = tmp_path / "days.csv"
    days = [np.datetime64("2024-01-01") + int(i) for i in range(120)]
    table.write_text("\n".join(["size,day", *(f"{i}.5,{day}" for i, day in enumerate(days))]))
    recipe = Recipe.find("card").override([f"data.path={table}", "data.target=day", *QUICK, "train.steps=2"])
    run = undiffuse.train(recipe.with_tables(codec={"name": "residual"}), out=tmp_path / "run").run(progress=False)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", run.predict({"size": [3.5]}, n=4).frame()["day_mean"][0])
    aim = aimed(run, str(table))
    np.testing.assert_array_equal(aim.x[:, 0], [day.astype("datetime64[D]").astype(int) for day in days])
