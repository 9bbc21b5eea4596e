"""Forecasts and imputation: exact where the law is known, in the data's own units, by hand and by the command."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import undiffuse
from undiffuse.cli.main import main
from undiffuse.codecs.whiten import Whiten
from undiffuse.conditions.known import KnownCondition
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.core.objective import Batch
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.data.dataset import Dataset
from undiffuse.data.derived_conditions import derived
from undiffuse.data.series_file import read
from undiffuse.data.toys.seasonal import Seasonal
from undiffuse.editing.impute import impute, windows
from undiffuse.evaluation.answers import Answer
from undiffuse.evaluation.crps import crps_normal
from undiffuse.evaluation.metrics.forecast import Forecast
from undiffuse.evaluation.metrics.judge import collect
from undiffuse.evaluation.series_baselines import Autoregression, NormalLaw, SeasonalNaive, baselines, season
from undiffuse.evaluation.sources import against
from undiffuse.models.diffusion import Diffusion
from undiffuse.objectives.denoising import Denoising
from undiffuse.objectives.imputation import Imputation
from undiffuse.recipes.recipe import Recipe
from undiffuse.schedules.edm import EDMSchedule

pytestmark = pytest.mark.usefixtures("quick_evaluation")

SOURCE = Seasonal(count=600, length=16, period=4, seed=1)


class ExactForecaster(Network):
    """E[x_0 given x_t and the known numbers] of series drawn from N(0, cov), by their normal law."""

    forms = ("image",)

    def __init__(self, cov: np.ndarray) -> None:
        super().__init__()
        self.cov = torch.as_tensor(cov)

    def forward(self, x: Tensor, c_time: Tensor, known: Tensor) -> Tensor:
        sigma2 = (80 * (c_time[0].double() + 1) / 1000) ** 2  # c_time counts a thousand steps
        k, eye = known[0, 1] > 0, torch.eye(x.shape[2], dtype=torch.float64)  # the same is known of all
        a = torch.cat([eye[k], eye])
        noise = torch.cat([torch.full((int(k.sum()),), 1e-12, dtype=torch.float64), sigma2.expand(len(k))])
        y = torch.cat([known[:, 0, k], x[:, 0]], 1).double()
        gain = torch.linalg.solve(a @ self.cov @ a.T + noise.diag(), a @ self.cov)
        return (y @ gain)[:, None].to(x)


@pytest.fixture(scope="module")
def exact() -> Diffusion:
    data = SOURCE.load()
    codec = Whiten(mean=(10.0,), std=(2.0,)).fit(data.x)
    made = derived(data, {"known": KnownCondition(of="forecast:4")})
    known = KnownCondition(of="forecast:4").fit(made.conditions["known"], ())
    known = KnownCondition(of="forecast:4", shape=known.shape, mean=(10.0,), std=(2.0,))
    denoiser = Predictor(ExactForecaster(SOURCE.covariance() / 4), Gaussian(EDMSchedule()), "data")
    facts = {"data": {"dtype": "float32"}}
    return Diffusion(denoiser, codec, (1, 16), Recipe.find("seasonal"), {"known": known}, facts)


def test_draws_have_the_exact_law_of_what_is_unknown_and_keep_the_rest(exact: Diffusion, monkeypatch: Any):
    monkeypatch.setattr(Diffusion, "device", torch.device("cpu"))  # the formula has no weights
    x = np.array(SOURCE.load().x[3], np.float64)
    x[0, [2, 7, 12, 13, 14, 15]] = np.nan
    drawn = impute(exact, x, 200, steps=24, sampler="heun").double().numpy()[:, 0]
    known = ~np.isnan(x[0])
    np.testing.assert_allclose(drawn[:, known], np.broadcast_to(x[0, known], (200, known.sum())), rtol=1e-6)
    mean, std = SOURCE.law(x[0])
    np.testing.assert_allclose(drawn.mean(0), mean, atol=4 * std.max() / 200**0.5)
    np.testing.assert_allclose(drawn.std(0), std, rtol=0.25)
    with pytest.raises(Refused, match=r"a series of shape \(1, 16\)"):
        impute(exact, np.zeros((2, 16)), 2)
    with pytest.raises(Refused, match="infinity"):
        impute(exact, np.full((1, 16), np.inf), 2)


def test_a_condition_is_the_same_from_the_data_and_from_a_person():
    x = np.random.default_rng(0).normal(5, 3, (20, 2, 8)).astype(np.float32)
    kind = KnownCondition(of="forecast:3,missing:0.5")
    values = derived(Dataset(x), {"known": kind}).conditions["known"]
    kind = kind.fit(values, ())
    encoded = kind.encode(values)
    given = kind.from_items(values, ())
    torch.testing.assert_close(kind.given(given, 20, "known"), encoded)
    assert kind.spec == ("image", (4, 8))
    there = ~np.isnan(given)
    np.testing.assert_allclose(encoded[:, 2:].numpy(), there)
    z = (x - x.mean((0, 2))[:, None]) / x.std((0, 2))[:, None]
    np.testing.assert_allclose(encoded[:, :2].numpy()[there], z[there], rtol=2e-5, atol=1e-6)
    assert (encoded[:, :2].numpy()[~there] == 0).all()
    assert not kind.null(2).any()
    question = kind.questions(values)["forecast:3"]
    assert question.hidden.sum() == 20 * 2 * 3
    assert np.isnan(question.given[:, :, 5:]).all()


def test_what_the_data_do_not_have_takes_no_part_in_the_loss():
    class Guess(Network):
        forms = ("image",)

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float32))

        def forward(self, x: Tensor, c_time: Tensor, known: Tensor | None = None) -> Tensor:
            return self.weight * x

    denoiser = Predictor(Guess(), Gaussian(EDMSchedule()), "data")
    x = torch.randn(4, 1, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    state = torch.ones(4, 1, 8, dtype=torch.float32)
    state[:, :, 3] = -1
    batch = Batch(x, {"known": torch.cat([x, state], 1)})
    other = x.clone()
    other[:, :, 3] = 100.0
    losses = [Imputation("data").loss(denoiser, Batch(each, batch.cond), Random(0)) for each in (x, other)]
    torch.testing.assert_close(losses[0], losses[1])
    kept = [0, 1, 2, 4, 5, 6, 7]
    torch.testing.assert_close(losses[0], x[:, 0, kept].square().mean(1))
    plain = Batch(x)
    torch.testing.assert_close(
        Imputation("data").loss(denoiser, plain, Random(0)), Denoising("data").loss(denoiser, plain, Random(0))
    )


def test_baselines_are_ordered_as_what_they_know_and_the_law_is_below_all():
    x = np.asarray(SOURCE.load().x, np.float64)
    train, test = x[:500], x[500:]
    assert season(train) == 4
    assert season(np.asarray(Seasonal(count=300).load().x, np.float64)) == 12
    assert season(np.cumsum(np.random.default_rng(0).normal(size=(50, 1, 16)), -1)) == 1
    gone = np.arange(16) >= 12
    found = {type(each): each for each in baselines(train)}
    scores = {
        kind: np.mean([crps_normal(*each.told(np.where(gone, np.nan, y)), y)[:, gone].mean() for y in test])
        for kind, each in found.items()
    }
    law = [SOURCE.law(np.where(gone, np.nan, y[0])) for y in test]
    exact = np.mean([crps_normal(m, s, y[0])[gone].mean() for (m, s), y in zip(law, test, strict=True)])
    assert exact < 1.03 * scores[NormalLaw] < 1.1 * scores[Autoregression] < 1.1 * scores[SeasonalNaive]


def test_an_autoregression_finds_the_numbers_of_one_and_its_growing_deviation():
    p, q, noise = 1.1, -0.4, 0.5
    memory = Seasonal(count=4000, length=24, amplitude=0.0, ar=(p, q), noise=noise)
    x = np.asarray(memory.load().x, np.float64)
    found = Autoregression.fit(x, 1)
    np.testing.assert_allclose(found.weights[0], [p, q], atol=0.02)
    y = x[0].copy()
    y[0, 20:] = np.nan
    mean, std = found.told(y)
    exact = memory.law(y[0])
    np.testing.assert_allclose(mean[0, 20:], exact[0][20:], atol=0.05)
    np.testing.assert_allclose(std[0, 20:], exact[1][20:], rtol=0.03)


def test_the_metric_says_what_right_draws_have_and_finds_wrong_ones():
    x = np.asarray(SOURCE.load().x)
    gone = np.broadcast_to(np.arange(16) >= 12, (40, 1, 16))
    given = np.where(gone, np.nan, x[:40])
    random = np.random.default_rng(0)
    laws = [SOURCE.law(y[0]) for y in given]
    mean, std = (np.array(each)[:, None] for each in zip(*laws, strict=True))
    draws = mean + std * random.standard_normal((25, 40, 1, 16))
    verdicts = [
        Forecast().judge(
            collect(x[:50], Dataset(x[:300]), Dataset(x[300:]), answers={"forecast:4": Answer(given, gone, x[:40], s)})
        )["forecast"]
        for s in (draws, mean + 0.2 * (draws - mean), draws + 3)
    ]
    assert verdicts[0]["ratio"] == pytest.approx(1, abs=0.15)
    assert verdicts[1]["ratio"] > 3
    assert verdicts[2]["value"] > 2 * verdicts[0]["value"]
    beside = verdicts[0]["detail"]["beside"]
    assert list(beside) == ["seasonal naive, season 4", "autoregression of order 5", "normal law"]
    assert verdicts[0]["value"] < min(beside.values()) * 1.05
    assert not Forecast().applies(collect(x[:50], Dataset(x[:300]), Dataset(x[300:])))


def test_windows_cover_what_is_missing_and_the_steps_beyond_the_end():
    values = np.arange(20.0)[:, None]
    ((start, x),) = windows(values, 8, 3)
    assert start == 15
    np.testing.assert_array_equal(x[0], [15, 16, 17, 18, 19, np.nan, np.nan, np.nan])
    ((start, x),) = windows(values[:2], 8, 3)
    assert start == -3
    np.testing.assert_array_equal(x[0], [np.nan, np.nan, np.nan, 0, 1, np.nan, np.nan, np.nan])
    values[[3, 19]] = np.nan
    assert [start for start, _ in windows(values, 8, 0)] == [0, 12]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("series")
    path = folder / "load.csv"
    random = np.random.default_rng(0)
    load = 50 + 9 * np.sin(np.arange(240) / 4) + random.normal(size=240)
    lines = [f"2024-01-{1 + i // 24:02d} {i % 24:02d}:00,{value:.2f}" for i, value in enumerate(load)]
    lines[100] = lines[100].partition(",")[0] + ","
    path.write_text("when,load\n" + "\n".join(lines) + "\n", encoding="utf-8")
    small = [
        "network.width=8",
        "network.multipliers=[1]",
        "network.attention=[]",
        "network.blocks=1",
        "sampler.steps=2",
    ]
    short = ["train.steps=3", "train.snapshots=0", "train.batch=8", "train.preview_every=0", "train.validate_every=0"]
    own = [f'data.path="{path}"', "data.window=16", "conditions.known.of=forecast:4,missing:0.5", "train.held_out=0.2"]
    undiffuse.train(
        "series", out=folder / "run", overrides=[*small, *short, *own, "train.precision=float32", "train.warmup=0"]
    ).run()
    return folder / "run", str(path)


@pytest.fixture
def undiffuse_command(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Calls `undiffuse` with these words; returns what it prints."""

    def call(*words: object, code: int = 0) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        captured = capfd.readouterr()
        assert (stop.value.code or 0) == code, captured.err
        return captured.out + captured.err

    return call


def test_the_command_forecasts_and_fills_in(run: tuple[Path, str], tmp_path: Path, undiffuse_command: Callable):
    folder, series = run
    undiffuse_command("forecast", folder, series, "-n", "5", "-o", tmp_path / "next.csv")
    rows = list(csv.DictReader((tmp_path / "next.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["when"] for row in rows] == [f"2024-01-11 0{i}:00" for i in range(4)]
    heads = ("mean", "std", "0.05", "0.25", "0.5", "0.75", "0.95")
    assert list(rows[0]) == ["when", *(f"load {head}" for head in heads)]
    undiffuse_command("forecast", folder, series, "-n", "5", "--horizon", "0", "-o", tmp_path / "gaps.npz")
    with np.load(tmp_path / "gaps.npz") as found:
        assert found["samples"].shape == (5, 1, 1)
        assert found["times"].tolist() == ["2024-01-05 04:00"]
    said = undiffuse_command("forecast", folder, series, "--horizon", "9", "-o", tmp_path / "next.csv", code=2)
    assert "trained to forecast 4 steps" in said
    undiffuse_command("forecast", folder, series, "-n", "3", "-o", tmp_path / "next.png")
    assert (tmp_path / "next.png").read_bytes().startswith(b"\x89PNG")
    other = tmp_path / "other.csv"
    lines = Path(series).read_text(encoding="utf-8").splitlines()
    other.write_text("\n".join(["date,hour," + lines[0].replace("when,", ""), *(f"2020-01-01,{x}" for x in lines[1:])]))
    undiffuse_command("forecast", folder, other, "-n", "2", "--set", "data.time=hour", "-o", tmp_path / "next.csv")
    assert (tmp_path / "next.csv").read_text(encoding="utf-8").startswith("hour,")
    several = [lines[0] + ",shop", *(f"{line},{shop}" for shop in "ab" for line in lines[1:])]
    other.write_text("\n".join(several), encoding="utf-8")
    by = ("--set", "data.by=shop", "-n", "2")
    assert "of 2 series" in undiffuse_command("forecast", folder, other, *by, "-o", tmp_path / "next.csv")
    rows = list(csv.DictReader((tmp_path / "next.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["shop"] for row in rows] == [*"aaaabbbb"]
    assert rows[0]["load mean"] == rows[4]["load mean"]
    undiffuse_command("forecast", folder, other, *by, "-o", tmp_path / "next.npz")
    with np.load(tmp_path / "next.npz") as found:
        assert (found["samples"].shape, found["series"].tolist()) == ((2, 8, 1), [*"aaaabbbb"])
    said = undiffuse_command("forecast", folder, other, *by, "-o", tmp_path / "next.png", code=2)
    assert "a picture is of one series, and" in said
    said = undiffuse_command("forecast", folder, other, "--set", "data.timme=hour", code=2)
    assert "settings of reading a series has no 'timme' (did you mean 'time'" in said


def test_an_evaluation_stands_beside_baselines(run: tuple[Path, str], tmp_path: Path, undiffuse_command: Callable):
    folder, _ = run
    printed = undiffuse_command("evaluate", folder, "-n", "10", "--metrics", "forecast", "-o", tmp_path / "judged")
    assert "Forecast (CRPS)" in printed
    assert "autoregression of order" in printed
    found = json.loads((tmp_path / "judged" / "evaluation.json").read_text(encoding="utf-8"))["metrics"]
    assert set(found) == {"forecast", "imputation"}
    assert "autoregression" not in str(found["imputation"]["detail"]["beside"])


def test_another_file_is_read_as_the_runs_own_series(run: tuple[Path, str], tmp_path: Path):
    folder, series = run
    lines = Path(series).read_text(encoding="utf-8").splitlines()
    later = [line.replace(",", ",1") for line in lines[60:160]]
    (tmp_path / "later.csv").write_text("\n".join([lines[0], *later]), encoding="utf-8")
    other = against(undiffuse.load(folder), str(tmp_path / "later.csv")).held_out
    assert other.x.shape[1:] == (1, 16)
    assert "known" in other.conditions


def test_a_line_of_a_series_that_cannot_be_read_is_to_be_mended(tmp_path: Path):
    (tmp_path / "x.csv").write_text("when,load\n2024-01-01,3\n2024-01-02,4\n2024-01-03,oh\n", encoding="utf-8")
    with pytest.raises(Refused, match=r"cannot be read: line 4 .*\nMend them$"):
        read(str(tmp_path / "x.csv"))
