"""`undiffuse tune` prints the ladder, names what it wrote, and refuses what it cannot do."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def run(undiffuse_: Any, tmp_path: Path) -> Path:
    words = ["data.count=200", "train.steps=8", "train.batch=16", "train.snapshots=4", "train.preview_every=0"]
    assert undiffuse_("train", "toy-2d", "--out", tmp_path / "run", "--set", *words).status == 0
    return tmp_path / "run"


def test_a_ladder_is_printed_written_and_kept(undiffuse_: Any, run: Path):
    done = undiffuse_("tune", run, "ema", "--lengths", "0.05,0.1", "--keep")
    assert done.status == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()[1:5]] == ["ordinary,", "raw,", "post-hoc", "post-hoc"]
    assert "16.97" in done.out
    assert "0.00 %" in done.out
    assert f"{run} now holds the best; the model from before is model-before-tuning.safetensors" in done.out
    judged = undiffuse_("tune", run, "ema", "--lengths", "0.05,0.2", "--metric", "frechet", "-n", "20")
    assert "distance" in judged.out.splitlines()[0]
    assert "now holds" not in judged.out
    said = re.search(
        r"the best length is (0\.05|0\.2) of the training, distance (\S+); the run's own weights: ", judged.out
    )
    assert said
    advice = re.search(r"keep it: undiffuse (.*)", judged.out)
    assert advice
    assert said[1] in shlex.split(advice[1])
    pasted = undiffuse_(*shlex.split(advice[1]))
    assert "now holds the best" in pasted.out
    assert f"distance {said[2]};" in pasted.out
    assert "keep it" not in done.out + pasted.out
    for words, message in (
        (("--lengths", "a,b"), "--lengths takes numbers between 0 and 0.288 with commas between, not 'a,b'"),
        (("--lengths", "0.9"), "between 0 and 0.288, not 0.9"),
        (("-n", "3"), "3 samples are too few"),
        (("--metric", "beauty"), "beauty"),
    ):
        refused = undiffuse_("tune", run, "ema", *words)
        assert refused.status == 2
        assert message in refused.err
    assert undiffuse_("tune", run, "sampler").status == 2


def test_the_learning_rate_of_a_recipe_is_tried_and_said(undiffuse_: Any, tmp_path: Path):
    words = ("toy-2d", "lr", "--set", "data.count=300", "train.batch=200", "--steps", "20", "-o", tmp_path)
    done = undiffuse_("tune", *words, "--first", "1e-4", "--last", "3")
    edge = re.search(r"the loss is least at a learning rate of (\S+), and rises behind it", done.out)
    assert edge, done.err
    advice = re.search(r"take half of it: (--set train.lr=(\S+))", done.out)
    assert advice
    assert float(edge[1]) / 3 < float(advice[2]) < float(edge[1])
    assert (tmp_path / "lr.png").exists()
    assert "try a larger --last" in undiffuse_("tune", *words, "--first", "1e-4", "--last", "2e-4").out
    assert "the loss never fell" in undiffuse_("tune", *words, "--first", "50", "--last", "60").out
