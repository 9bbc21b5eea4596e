"""What data, toys and commands of predictions refuse, each by name."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from latent_spaces import Silent

from undiffuse.cli.train import train
from undiffuse.codecs.codec import fitted
from undiffuse.codecs.residual import ResidualCodec
from undiffuse.conditions.label import refuse_few
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.predictive import of_targets
from undiffuse.data.sources.table import TableData
from undiffuse.data.tables.inputs import TableInputs
from undiffuse.data.to_predict import aimed, inputs
from undiffuse.data.toys.toy_regression import ToyRegression

X = np.arange(8, dtype=np.float32).reshape(4, 2)


@pytest.mark.each(
    ("make", "message"),
    [
        (lambda: of_targets(Dataset(X), "inputs"), "has no target and no label to predict"),
        (
            lambda: of_targets(Dataset(X, {"target": np.array([1, np.nan, 2, np.inf], np.float32)}), "inputs"),
            "the target of 2 of 4 items is missing or no finite number, the first is item 1",
        ),
        (lambda: ToyRegression(count=0), "a toy of regression needs count >= 1"),
        (lambda: refuse_few(1), "the data have 1 class, and it takes 2 to tell them apart"),
        (lambda: train("a.csv", data="b.csv", by="card"), "--recipe card takes the data that come first, a.csv"),
        (
            lambda: fitted({"name": "residual", "regressor": "f"}, X, lambda *_: Silent()),
            "needs the condition 'inputs'",
        ),
        (lambda: TableInputs(()).read_file(Path("none.csv")), "there is no file none.csv"),
    ],
)
def test_what_is_refused(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()


def test_a_data_frame_is_read_as_the_file_was(tmp_path: Path):
    """True and False, dates, times, whole numbers as floats and missing cells."""
    days = [f"2024-03-{1 + i:02d}" for i in range(8)]
    rows = [f"{i > 3},{i % 2},{days[i]},{days[i]} 0{i}:30,{i},{'' if i == 2 else i / 4},{i}.5" for i in range(8)]
    (tmp_path / "x.csv").write_text("flag,bit,day,when,grade,part,y\n" + "\n".join(rows))
    read = TableData(str(tmp_path / "x.csv"), target="y", categorical=("grade", "bit")).load()
    known: Any = SimpleNamespace(facts={"data": {"predicts": read.notes["predicts"]}}, conditions={})
    wanted = np.asarray(read.x)
    frame = pl.read_csv(tmp_path / "x.csv", try_parse_dates=True)
    assert {frame["flag"].dtype, frame["day"].dtype, frame["when"].dtype} == {pl.Boolean, pl.Date, pl.Datetime("us")}
    bits = frame.with_columns(pl.col("grade").cast(pl.Float64), pl.col("bit").cast(pl.Boolean))
    for given in (frame, bits, frame.to_dict(as_series=False)):
        np.testing.assert_array_equal(inputs(known, given)[0], wanted)
    with pytest.raises(Refused, match="the data frame has no rows"):
        inputs(known, frame.head(0))
    (tmp_path / "flat.csv").write_text("a,y\n1,5\n2,5\n3,5\n")
    with pytest.raises(Refused, match="the target 'y' is the same in all rows: nothing to predict"):
        TableData(str(tmp_path / "flat.csv"), target="y").load()


def test_rows_without_a_target_cannot_be_judged(tmp_path: Path):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n3,4\n")
    (tmp_path / "gone.csv").write_text("a,b,y\n1,2,5\n3,4,?\n")
    told = {"name": "y", "targets": ["y"], "columns": ["a", "b"]}
    known: Any = SimpleNamespace(facts={"data": {"predicts": told}}, conditions={})
    found, cells = inputs(known, str(tmp_path / "rows.csv"))
    np.testing.assert_array_equal(found, [[1, 2], [3, 4]])
    assert cells is not None
    assert cells.columns == ["a", "b"]
    with pytest.raises(Refused, match="has no column 'y', which the run predicts"):
        aimed(known, str(tmp_path / "rows.csv"))
    with pytest.raises(Refused, match=r"the target 'y' of row 1 is '[?]', which is none"):
        aimed(known, str(tmp_path / "gone.csv"))
    known.facts = {}
    with pytest.raises(Refused, match="this run predicts from items without columns"):
        inputs(known, {"a": [1]})


def test_toys_have_the_law_that_they_say():
    for which in ("linear", "sine", "log_log_cubic", "inverse_sine", "eight_gaussians", "full_circle"):
        data = registry.build("data", {"name": "toy_regression", "which": which, "count": 4000}).load()
        x, y = data.x[:, 0].astype(float), data.conditions["target"][:, 0].astype(float)
        toy = ToyRegression(which)
        if which in ("eight_gaussians", "full_circle"):
            radius, spread = (2**0.5, 0.1) if which == "eight_gaussians" else (10, 0.5)
            assert np.hypot(x, y).mean() == pytest.approx(radius, rel=0.02)
            assert np.hypot(x, y).std() == pytest.approx(spread, rel=0.1)
            continue
        left = x - toy.middle(y) if which == "inverse_sine" else y - toy.middle(x)
        left = np.log(y / x**3) if which == "log_log_cubic" else left
        noise = {"linear": 2.0, "log_log_cubic": 0.15}.get(which, 0.08)
        assert left.std() == pytest.approx(noise, rel=0.05)
        assert abs(left.mean()) < 0.08 * noise


def test_the_mean_is_what_is_predicted_without_a_regressor():
    assert ResidualCodec().fit(X).mean == pytest.approx(tuple(X.mean(0).tolist()))
