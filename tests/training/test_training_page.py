"""The page about a training: its verdicts follow from the numbers it names, and no log breaks it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.resolved import resolve
from undiffuse.reports import training_page
from undiffuse.reports.verdicts import verdicts

STEPS = list(range(10, 410, 10))


def falling(low: float = 0.1) -> list[float]:
    return [low + 1 / (i + 1) for i in range(len(STEPS))]


def said(**curves: list[float]) -> dict[str, str]:
    """The verdicts on curves with evenly spread steps: label -> reasons."""
    spread = {name: (STEPS[:: len(STEPS) // len(values)][-len(values) :], values) for name, values in curves.items()}
    return {card.label: f"{card.value}; {card.why}; {card.grade}" for card in verdicts(spread)}


def test_a_training_that_learns_is_healthy():
    found = said(loss=falling(), validation_loss=[1.0, 0.5, 0.4, 0.39], validation_loss_raw=[0.9, 0.5, 0.4, 0.4])
    assert found == {"Healthy": "-61.0 %; held-out data: 1 at first, 0.39 now, 0.39 at best; good"}
    assert list(said(loss=falling())) == ["Healthy"]


@pytest.mark.parametrize(
    ("curves", "label", "numbers"),
    [
        ({"loss": [*falling()[:30], *[1.2] * 10]}, "Diverging", ["1.2 now", "was 0.1"]),
        ({"loss": [1.0, 1.01] * 20}, "Stuck", ["1.005 at first"]),
        ({"loss": falling(), "validation_loss": [0.5, 0.6, 0.495, 0.5]}, "Stuck", ["0.5 at first and 0.495 at best"]),
        (
            {"loss": falling(), "validation_loss": [1.0, 0.5, 0.55, 0.6]},
            "Overfitting",
            ["+20.0 %", "0.5 at step", "0.6 now", "training loss fell", "poor"],
        ),
        ({"loss": falling(), "validation_loss": [1.0, 0.5, 0.5, 0.52]}, "Overfitting", ["+4.0 %", "fair"]),
        (
            {"loss": falling(), "validation_loss": [1.0, 0.5], "validation_loss_raw": [0.5, 0.4]},
            "The average lags",
            ["+25.0 %", "0.5 with the averaged weights, 0.4 with the raw"],
        ),
    ],
)
def test_what_is_amiss_is_said_with_its_numbers(curves: dict[str, list[float]], label: str, numbers: list[str]):
    found = said(**curves)
    assert list(found) == [label]
    assert [number for number in numbers if number not in found[label]] == []


@pytest.mark.parametrize(
    "curves",
    [
        {"loss": falling(), "validation_loss": [1.0, 0.5, 0.5, 0.51]},  # a rise within the noise
        {"loss": [*falling()[:20], *[0.2] * 20], "validation_loss": [1.0, 0.4, 0.41, 0.4]},
        {"loss": falling(), "validation_loss": [1.0, 0.5], "validation_loss_raw": [0.5, 0.49]},
        {"loss": falling(), "validation_loss": [1.0, 0.5], "validation_loss_raw": [0.5, 0.6]},
    ],
)
def test_what_is_within_bounds_is_healthy(curves: dict[str, list[float]]):
    assert list(said(**curves)) == ["Healthy"]


def test_rising_held_out_loss_with_a_rising_training_loss_is_no_overfitting():
    assert "Overfitting" not in said(loss=[1.0] * 20 + [1.1] * 20, validation_loss=[1.0, 0.5, 0.55, 0.6])


@pytest.mark.parametrize(
    ("values", "numbers", "grade"),
    [
        ([0.9, 0.5, 0.4], ["0.4; deviations of the data: 0.9 at first, 0.4 at best"], "good"),
        ([0.9, 0.4, 0.5], ["0.5; "], "fair"),
        ([0.9, 0.4, 0.9], ["0.9; "], "poor"),
    ],
)
def test_few_step_runs_are_judged_by_their_distance_to_the_teacher(values: list[float], numbers: list[str], grade: str):
    """Whatever their losses do, which have other floors; where the loss is no number, that is said."""
    curves = {"loss": [1.0] * 20 + [9.0] * 20, "validation_loss": [1.0, 2.0], "distance_to_teacher": values}
    found = said(**curves)
    assert list(found) == ["Distance to teacher"]
    assert all(number in found["Distance to teacher"] for number in numbers)
    assert found["Distance to teacher"].endswith(f"; {grade}")
    spread = {name: (STEPS[: len(each)], each) for name, each in curves.items()}
    assert verdicts(spread, spoiled=7)[0].label == "Diverged"


def test_few_numbers_say_nothing_and_no_number_says_all():
    assert said(loss=[1.0, 0.5]) == {"Too early to say": "2 losses; at least 8 lines of the log are needed; "}
    (card,) = verdicts({"loss": ([1], [1.0])}, spoiled=7)[:1]
    assert (card.label, card.value, card.grade) == ("Diverged", "step 7", "poor")


def line(step: int, **numbers: Any) -> str:
    return json.dumps(
        {"step": step, "loss": 1 / step, "grad_norm": 2.0, "lr": 1e-3, "samples_per_second": 9.0, **numbers}
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with everything that the page shows."""
    folder = tmp_path / "my run"
    (folder / "previews").mkdir(parents=True)
    resolve(Recipe.find("digits")).save(folder)
    levels = {"log_snr": [-9.0, 0.0, 9.0], "loss": [0.1, 0.2, 0.3]}
    checked = {"validation_loss": 0.5, "validation_loss_raw": 0.6, "levels": levels, "seconds": 90.0}
    lines = [line(step, **(checked if step % 100 == 0 else {})) for step in STEPS]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    for step in range(100, 1300, 100):
        Image.new("L", (40, 20), step % 255).save(folder / "previews" / f"step_{step:06d}.png")
    return folder


def text(run: Path) -> str:
    assert training_page.write(run) == run / training_page.FILE
    assert not [path for path in run.iterdir() if path.name.startswith(".partial")]
    return (run / training_page.FILE).read_text(encoding="utf-8")


@pytest.mark.usefixtures("drawn")
def test_the_page_shows_all_there_is_and_asks_for_nothing_else(run: Path):
    html = text(run)
    for heading in ("Loss", "Loss at each noise level", "Gradient norm", "Samples over time", "Learning rate"):
        assert f"<h2>{heading}</h2>" in html
    assert "Step 400 of 400, 1.5 minutes of training" in html
    assert html.count("data:image/png;base64,") == 8
    assert "step 000100" in html
    assert "step 001200" in html
    assert len(re.findall(r"step 1?\d\d</text>|step [1-4]00<", html)) >= 4
    assert "100 % of these steps were clipped" in html
    assert not re.findall(r'(?:src|href)="(?!data:|#)', html)
    assert "<script" not in html


def test_the_page_of_a_few_step_run_shows_how_far_it_is(run: Path):
    assert "Distance to" not in text(run)
    lines = [line(step, distance_to_teacher=5 / step, distance_to_fine_steps=0.1) for step in STEPS]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    html = text(run)
    for heading in ("Distance to teacher", "Distance to fine steps"):
        assert f"<h2>{heading}</h2>" in html
    assert "different floors and cannot be compared" in html


def test_the_expected_curve_stands_beside_the_shipped_recipe_alone(run: Path, tmp_path: Path, monkeypatch):
    def found() -> object:
        return training_page.expected(Recipe.find(run))

    monkeypatch.setattr(training_page, "EXPECTED", tmp_path)
    assert found() is None
    measured = {"command": "", "machine": "", "step": [100, 400], "validation_loss": [0.7, 0.4]}
    (tmp_path / "digits.json").write_text(json.dumps(measured))
    assert found() == ([100, 400], [0.7, 0.4])
    assert "expected, held out" in text(run)
    moved = resolve(Recipe.find("digits"))
    moved.with_tables(data={**moved["data"], "path": "elsewhere"}).save(run)
    assert found() is not None
    moved.override(["train.lr=0.5"]).save(run)
    assert found() is None
    moved.save(run)
    for broken in ("{", '{"step": [1]}', '{"step": ["x"], "validation_loss": [1]}'):
        (tmp_path / "digits.json").write_text(broken)
        assert found() is None


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no log to show"),
        (b"", "the log is empty"),
        (b"\xff\xfe", "there is no log to show"),
        (b'{"step": 1, "lo', "1 lines of metrics.jsonl are damaged"),
        (b'[1]\n3\n"x"\n{"step": "x"}\n{"step": true}\n' + b"[" * 5000, "6 lines of metrics.jsonl are damaged"),
        (b'{"step": 1, "loss": "<b>", "grad_norm": [], "levels": [1], "<script>": 1}', "Step 1"),
        (b'{"step": 1, "loss": 1e999, "lr": NaN, "levels": {"log_snr": [1], "loss": [1, 2]}}', "the log is empty"),
        (
            b'{"step": 1, "levels": {"log_snr": ["a", 1], "loss": [{}, 1]}, "loss": 1' + b"0" * 400 + b"}",
            "the log is empty",
        ),
        (b'{"step": 3, "loss": null, "lr": 1}', "Diverged"),
    ],
)
def test_a_log_that_is_missing_or_damaged_gives_a_page_that_says_so(run: Path, content: bytes | None, message: str):
    (run / "metrics.jsonl").unlink()
    if content is not None:
        (run / "metrics.jsonl").write_bytes(content)
    html = text(run)
    assert message in html
    assert "<script>" not in html


def test_pictures_and_recipes_that_are_broken_are_left_out(run: Path):
    previews = sorted((run / "previews").iterdir())
    previews[0].write_bytes(b"\x89PNG broken")
    previews[-1].write_bytes(previews[-2].read_bytes()[:30])
    (run / "recipe.toml").write_text("[train]\nsteps = 'x'")
    html = text(run)
    assert html.count("data:image/png;base64,") == 6
    assert "Step 400, 1.5 minutes" in html
    (run / "recipe.toml").unlink()
    for path in previews:
        path.unlink()
    (run / "previews").rmdir()
    assert "Samples over time" not in text(run)


@pytest.mark.usefixtures("drawn")
def test_a_log_of_a_hundred_thousand_lines_makes_a_small_page(run: Path):
    (run / "metrics.jsonl").write_text(
        "".join(f'{{"step": {i}, "loss": {1 + i % 7}, "lr": 1}}\n' for i in range(1, 100_001))
    )
    html = text(run)
    assert "Step 100,000" in html
    assert len(html) < 1_000_000
