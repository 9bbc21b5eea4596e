"""`undiffuse distill` makes a run like any other, and says what cannot be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Undiffuse = Callable[..., Any]
FEW = ("--steps", 6, "--set", "train.batch=4", "train.preview_every=0", "train.snapshots=0", "train.validate_every=0")


def test_a_student_is_a_run_that_needs_no_flags(undiffuse_: Undiffuse, digits: Path):
    done = undiffuse_("distill", digits, "--method", "progressive", "--to", 2, "--guidance", "1,4", *FEW, "-o", "few")
    assert done.status == 0
    assert "few: 6 steps in " in done.out
    assert "next: draw samples by `undiffuse sample few`" in done.out
    drawn = undiffuse_("sample", "few", "-n", 2, "-o", "a.png")
    assert "a.png: 2 samples, 2 network calls a sample" in drawn.err
    assert "2 network calls" in undiffuse_("sample", "few", "-n", 2, "--guidance", 3, "-o", "a.png").err
    assert undiffuse_("sample", "few", "--guidance", 9, "-o", "a.png").err.startswith(
        "error: guidance = 9: this model was trained with weights from 1 to 4"
    )
    assert "for 2 steps on one grid" in undiffuse_("sample", "few", "--steps", 8, "-o", "a.png").err
    shown = " ".join(undiffuse_("show", "few").out.split())
    assert f"objective.teacher.denoiser, for training only: {digits}".replace(" ", "") in shown.replace(" ", "")
    assert "a student of one grid of times" in shown
    again = undiffuse_("distill", digits, "--method", "progressive", "--to", 2, "--guidance", "1,4", *FEW, "-o", "few")
    assert "few already holds a run: continue it with --resume" in again.err
    assert undiffuse_("train", "few/recipe.toml", "--out", "more").status == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "consistncy", "--to", 2), "has no 'consistncy' (did you mean 'consistency'?)"),
        (("--method", "progressive", "--to", 0), "to is how many steps the student takes, 1 or more, not 0"),
        (("--method", "progressive", "--to", 2, "--guidance", "much"), "--guidance is one weight, as 3, or a range"),
        (("--method", "progressive", "--to", 2, "--guidance", "1,2,3"), "a range of weights, as 1,4, not '1,2,3'"),
        (("--method", "progressive", "--to", 2, "--steps", "0"), "train.steps must be at least 1, not 0"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(words: tuple[Any, ...], message: str, undiffuse_: Undiffuse, digits: Path):
    done = undiffuse_("distill", digits, *words, "-o", "no")
    assert done.status == 2
    assert done.err.startswith("error: ")
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not Path("no").exists()


def test_a_folder_without_a_run_is_no_teacher(undiffuse_: Undiffuse):
    done = undiffuse_("distill", "nowhere", "--method", "progressive", "--to", 2, "-o", "no")
    assert (done.status, done.err) == (2, "error: there is no run at nowhere\n")
