"""`undiffuse evaluate` tells real data from copies, and writes a page that stands alone."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sketches
import torch
from PIL import Image

from undiffuse.data.dataset import Dataset
from undiffuse.data.sources.digits import Digits
from undiffuse.evaluation import wording
from undiffuse.evaluation.error_by_noise import linear
from undiffuse.evaluation.evaluate import usual
from undiffuse.evaluation.sources import renumber
from undiffuse.pictures import layout, telling
from undiffuse.reports.charts import Line, chart, smooth

Undiffuse = Callable[..., Any]


@pytest.fixture(scope="module")
def judged(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an evaluation of the run on digits wrote, its curves drawn."""
    from undiffuse.cli.main import main

    folder = tmp_path_factory.mktemp("judged")
    with sketches.drawn(), pytest.raises(SystemExit) as stop:
        main(["evaluate", str(digits), "-n", "40", "--precision", "float32", "--out", str(folder)])
    assert not stop.value.code
    return folder


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluation.json").read_text())["metrics"]


def test_a_run_gets_its_pictures_its_page_and_its_numbers(judged: Path):
    names = ["closest.png", "denoising.png", "evaluation.json", "evaluation.png", "report.html"]
    assert sorted(path.name for path in judged.iterdir()) == names
    found = metrics(judged)
    assert {"agreement", "frechet", "kernel", "memorisation", "precision", "recall"} <= set(found)
    assert all(verdict["count"] <= 40 and "floor" in verdict for verdict in found.values())


def test_the_time_of_each_metric_is_kept_and_a_slow_one_is_named(judged: Path):
    seconds = json.loads((judged / "evaluation.json").read_text())["seconds_by_metric"]
    assert {"agreement", "memorisation", "precision_recall"} <= set(seconds)
    assert not {"crps", "known_words", "tstr"} & set(seconds)  # do not apply to images
    assert wording.slow({"frechet": 2.0, "memorisation": 15.2}) == (
        "memorisation took 15 of 17 s; what it found of the real data is kept for the next time unless --no-cache, "
        "and --metrics leaves metrics out"
    )
    assert wording.slow({}) == wording.slow({"a": 4.0}) == wording.slow({"a": 6.0, "b": 5.0, "c": 5.0}) == ""


def test_the_page_asks_nobody_for_anything(judged: Path):
    text = (judged / "report.html").read_text(encoding="utf-8")
    targets = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s]+)""", text)
    assert targets
    assert all(target.startswith(("data:image/png;base64,", "#")) for target in targets)
    assert "<script" not in text
    assert "@import" not in text


def test_the_page_shows_curves_recipe_commands_and_versions(judged: Path, digits: Path):
    text = (judged / "report.html").read_text(encoding="utf-8")
    assert text.count("<svg") == 2
    assert text.count("<img") == 3
    for word in ("log-SNR", "held out", "[schedule]", "undiffuse evaluate", f"undiffuse train {digits}", "torch"):
        assert word in text, word
    assert all(wording.word(name).title in text for name in metrics(judged))


def test_finished_samples_are_judged_as_the_run_that_made_them(undiffuse_: Undiffuse, digits: Path, judged: Path):
    undiffuse_("sample", digits, "-n", 40, "--precision", "float32", "-o", "a.npz")
    assert undiffuse_("evaluate", "a.npz", "--against", "digits", "-o", "there").status == 0
    assert metrics(Path("there")) == metrics(judged)


def test_real_data_reach_their_floor_and_copies_are_called_copies(undiffuse_: Undiffuse):
    train, held_out = Digits().load().split()
    for name, part in (("real", held_out), ("copies", train)):
        np.savez(f"{name}.npz", images=part.x[:300, 0])
        assert undiffuse_("evaluate", f"{name}.npz", "--against", "digits", "-o", name).status == 0
    real, copies = metrics(Path("real")), metrics(Path("copies"))
    assert real["frechet"]["ratio"] < 1.3
    assert real["memorisation"]["value"] < 0.05
    assert copies["memorisation"]["value"] > 0.99
    assert copies["memorisation"]["detail"]["copies"] == 300


def test_finished_samples_come_with_their_closest_pairs(undiffuse_: Undiffuse):
    train = Digits().load().split()[0]
    np.savez("copies.npz", images=train.x[:40, 0])
    first = undiffuse_("evaluate", "copies.npz", "--against", "digits", "--metrics", "memorisation", "-o", "there")
    assert "written to there: evaluation.json, closest.png\n" in first.out
    with Image.open("there/closest.png") as picture:
        pixels = np.asarray(picture)
    places = layout.stripped(2, (8, 8), [""] * 8, ["sample", "nearest"])
    high, (left, above), (_, below) = 8 * places.scale, places.tiles[0], places.tiles[8]
    copies, originals = (pixels[top : top + high, left:] for top in (above, below))
    np.testing.assert_array_equal(copies, originals)  # a copy above, its original below
    again = undiffuse_("evaluate", "copies.npz", "--against", "digits", "--metrics", "memorisation", "-o", "there")
    assert "closest.png (over the last ones)" in again.out


def test_everything_is_in_one_file(judged: Path):
    content = json.loads((judged / "evaluation.json").read_text())
    assert {"command", "seed", "count", "features", "resize", "warnings", "metrics", "versions"} <= set(content)
    assert content["features"]["features"] == "pixels"
    for name in ("frechet", "kernel", "precision", "density", "c2st"):
        verdict = content["metrics"][name]
        assert {"floor", "count", "seed", "spread", "warning"} <= set(verdict)
        assert verdict["detail"]["features"] == "pixels"
        assert verdict["detail"]["resize"] is None


def images(folder: str, x: np.ndarray, side: int) -> None:
    Path(folder).mkdir()
    for i, image in enumerate(x):
        Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST).save(f"{folder}/{i:03d}.png")


def test_two_folders_of_different_sizes_are_compared_at_one(undiffuse_: Undiffuse):
    x = Digits().load().x[:, 0]
    images("a", x[:60], 8)
    images("b", x[60:260], 16)
    refused = undiffuse_("evaluate", "a", "--against", "b")
    assert refused.status == 2
    assert "bring both to one size with --resize N" in refused.err
    done = undiffuse_("evaluate", "a", "--against", "b", "--resize", 8, "-o", "there")
    assert done.status == 0
    content = json.loads(Path("there/evaluation.json").read_text())
    assert (content["resize"], content["resize_filter"]) == (8, "bicubic, antialiased")
    assert content["metrics"]["frechet"]["detail"]["resize"] == 8
    assert content["metrics"]["frechet"]["ratio"] < 2
    assert "images brought to 8 x 8 before" in done.out


def test_a_network_of_ones_own_judges(undiffuse_: Undiffuse):
    np.savez("a.npz", images=Digits().load().x[:50, 0])
    Path("my_features_of_digits.py").write_text("def net(x):\n    return x.flatten(1)[:, ::3]\n")
    words = ("evaluate", "a.npz", "--against", "digits", "--metrics", "frechet,kernel")
    done = undiffuse_(*words, "--features", "module:my_features_of_digits:net", "-o", "there")
    assert done.status == 0
    assert set(metrics(Path("there"))) == {"frechet", "kernel"}
    assert metrics(Path("there"))["frechet"]["detail"]["dimensions"] == 22
    assert "FID" not in done.out


def test_the_reference_is_kept_unless_it_is_not_wanted(
    undiffuse_: Undiffuse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "kept"))
    np.savez("a.npz", images=Digits().load().x[:50, 0])
    words = ("evaluate", "a.npz", "--against", "digits", "--metrics", "frechet,memorisation")
    undiffuse_(*words, "--no-cache", "-o", "plain")
    assert not Path("kept").exists()
    undiffuse_(*words, "-o", "first")
    assert len(list(Path("kept/reference").iterdir())) == 2
    for path in Path("kept/reference").iterdir():
        path.write_bytes(b"broken")
    undiffuse_(*words, "-o", "mended")
    undiffuse_(*words, "-o", "again")
    assert metrics(Path("plain")) == metrics(Path("first")) == metrics(Path("mended")) == metrics(Path("again"))


def test_a_table_names_its_worst_column(undiffuse_: Undiffuse):
    random = np.random.default_rng(0)

    def write(name: str, count: int, move: float) -> None:
        rows = random.normal(size=(count, 3)) * [1, 50, 1] + [0, 50 * move, 0]
        np.savetxt(name, rows, delimiter=",", header="age,income,size", comments="")

    write("real.csv", 400, 0)
    write("made.csv", 200, 1)
    done = undiffuse_("evaluate", "made.csv", "--against", "real.csv", "-o", "there")
    assert done.status == 0, done.err
    found = metrics(Path("there"))
    assert next(iter(found["columns"]["detail"]["columns"])) == "income"
    assert {"energy_distance", "sliced_wasserstein", "columns"} <= set(found)
    assert re.search(r"Columns.*\n\s+income: 0.9|Columns.*\n\s+income: 1", done.out)
    assert not Path("there/closest.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--features", "pixel"], "features has no 'pixel' (did you mean 'pixels'?)"),
        (["--features", "inception"], "pip install 'undiffuse[inception]'"),
        (["--features", "module:nowhere:net"], "cannot import nowhere"),
        (["--metrics", "frechet,recal"], "metrics has no 'recal'"),
        (["--metrics", "inception_score"], "it needs --features inception"),
        (["--metrics", "columns"], "'columns' does not apply here: it needs points or a table"),
        (["--resize", "3"], "--resize 3: images can be brought to 8 ... 2048 pixels a side"),
        (["-n", "5"], "-n is for drawing samples from a run"),
        (["-o", "a.npz"], "cannot write a.npz"),
        (["-o", "a.npz/there"], "cannot write a.npz/there"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_in_judging_samples(undiffuse_: Undiffuse, options: list[str], message: str):
    np.savez("a.npz", images=Digits().load().x[:50, 0])
    done = undiffuse_("evaluate", "a.npz", "--against", "digits", *options)
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert [path.name for path in Path().iterdir() if path.suffix != ".pyc"] == ["a.npz"]


def test_nothing_is_written_for_samples_unless_asked(undiffuse_: Undiffuse):
    np.savez("a.npz", images=Digits().load().x[:50, 0])
    done = undiffuse_("evaluate", "a.npz", "--against", "digits")
    assert [path.name for path in Path().iterdir()] == ["a.npz"]
    for word in ("Fréchet distance", "floor", "50"):
        assert word in done.out


def test_a_folder_of_images_can_be_judged_and_judged_against(undiffuse_: Undiffuse):
    x = Digits().load().x[:, 0]
    for name, images in (("samples", x[:60]), ("data", x[60:260])):
        Path(name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(f"{name}/{i:03d}.png")
    assert undiffuse_("evaluate", "samples", "--against", "data", "-o", "there").status == 0
    assert metrics(Path("there"))["frechet"]["ratio"] < 2


def test_a_run_is_not_judged_against_what_it_was_trained_on(undiffuse_: Undiffuse, digits: Path):
    train, held_out = Digits().load().split()
    np.savez("mixed.npz", images=np.concatenate([train.x[:30, 0], held_out.x[:60, 0]]))
    done = undiffuse_("evaluate", digits, "-n", 20, "--against", "mixed.npz", "-o", "there", "--metrics", "frechet")
    assert "30 items of mixed.npz were trained on and left out" in done.out
    np.savez("old.npz", images=train.x[:30, 0])
    done = undiffuse_("evaluate", digits, "-n", 20, "--against", "old.npz", "-o", "there")
    assert (done.status, "every item of old.npz was trained on" in done.err) == (2, True)


def test_points_are_judged_by_how_far_they_have_to_travel(undiffuse_: Undiffuse, points: Path):
    assert undiffuse_("evaluate", points, "-n", 100, "-o", "there", "--metrics", "sliced_wasserstein").status == 0
    assert metrics(Path("there"))["sliced_wasserstein"]["value"] > 0
    assert "Sliced Wasserstein" in Path("there/report.html").read_text(encoding="utf-8")


def test_classes_are_counted_as_the_real_data_counts_them():
    samples = Dataset(np.zeros((3, 2), np.float32), {"label": np.array([0, 1, 1])}, ("seven", "two"))
    assert renumber(samples, ("one", "two", "seven")).conditions["label"].tolist() == [2, 1, 1]
    assert renumber(samples, ("one", "two")).labels is None


def test_a_strip_shows_where_most_changes():
    level = np.array([0, 0, 1, 1, 2, 50, 100, 100, 101, 200], np.uint8)
    frames = np.broadcast_to(level[:, None, None, None, None], (10, 1, 1, 8, 8))
    assert telling(frames, 4) == [0, 5, 8, 9]
    assert telling(frames, 20) == list(range(10))
    assert telling(np.zeros((10, 1, 1, 8, 8), np.uint8), 3)[::2] == [0, 9]


@pytest.mark.parametrize("count", [40, 4000])
def test_the_linear_guess_is_the_posterior_mean_of_a_gaussian(count: int):
    variances = torch.linspace(0.1, 2, 60, dtype=torch.float64)
    axes = torch.linalg.qr(torch.randn(count, 60 if count > 60 else count - 1, dtype=torch.float64))[0]
    x = (axes - axes.mean(0)) * (count * variances[: axes.shape[1]]).sqrt()  # uncorrelated up to the centring
    covariance = torch.cov(x.T, correction=0)
    for level in (-3.0, 0.0, 3.0):
        snr = torch.tensor(level).exp()
        posterior = torch.linalg.inv(torch.linalg.inv(covariance) + snr * torch.eye(len(covariance)))
        assert linear(x, torch.tensor([level]))[0] == pytest.approx(float(posterior.trace()) / x.shape[1], rel=1e-6)


@pytest.mark.parametrize(("classes", "count"), [(1, 1000), (10, 1000), (3, 1002)])
def test_a_thousand_samples_and_equally_many_of_each_class(classes: int, count: int):
    assert usual(classes) == count


def test_a_running_mean_keeps_a_line_and_calms_noise():
    assert smooth([2.0] * 7, 3) == [2.0] * 7
    assert smooth(list(range(9)), 3)[1:-1] == pytest.approx(list(range(1, 8)))
    noise = np.random.default_rng(0).normal(size=1000).tolist()
    assert np.std(smooth(noise, 25)) < 0.3


def test_a_chart_takes_its_ink_from_the_page():
    text = chart([Line("one", [0, 1], [1, 2]), Line("two", [0, 1], [2, 1])], "step", "loss")
    assert text.startswith("<svg")
    assert "currentColor" in text
    assert "#123456" not in text
    assert ">step<" in text
    assert ">two<" in text


@pytest.mark.parametrize(
    ("name", "value", "floor", "grade"),
    [
        ("frechet", 1.1, 1.0, "good"),
        ("frechet", 2.5, 1.0, "fair"),
        ("frechet", 3.5, 1.0, "poor"),
        ("kernel", 0.1, -0.001, ""),
        ("agreement", 0.97, 0.99, "good"),
        ("agreement", 0.92, 0.98, "fair"),
        ("agreement", 0.5, 0.98, "poor"),
        ("memorisation", 0.0, 0.02, "good"),
        ("memorisation", 0.9, 0.02, "poor"),
    ],
)
def test_grades(name: str, value: float, floor: float, grade: str):
    better = "higher" if name == "agreement" else "lower"
    verdict = {"value": value, "floor": floor, "better": better, "ratio": value / floor if floor > 0 else None}
    assert wording.grade(name, verdict) == grade
