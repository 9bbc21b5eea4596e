"""`undiffuse score` and `evaluate --metrics nll`: numbers in the data's own units, and what is refused."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import undiffuse
from undiffuse.data import resolve
from undiffuse.evaluation import nll
from undiffuse.likelihood import ode


def test_points_are_scored_in_their_own_units(undiffuse_: Any, points: Path):
    """Ten times as large a point has a density a hundred times lower: the codec's determinant is in it."""
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    np.save("new.npy", x)
    done = undiffuse_("score", points, "new.npy", "-o", "out.csv")
    assert done.status == 0, done.err
    assert "bits per dimension (density of values, 6 items)" in done.out
    rows = list(csv.DictReader(Path("out.csv").read_text(encoding="utf-8").splitlines()))
    model = undiffuse.load(points, precision="float32")
    wanted = ode(model.denoiser, model.codec.encode(x), rtol=1e-4, atol=1e-4).log_prob.numpy()
    wanted = wanted - sum(map(math.log, model.codec.std))  # type: ignore[attr-defined]
    assert [float(row["log_prob"]) for row in rows] == pytest.approx(wanted.tolist(), abs=1e-6)
    assert [float(row["bits_per_dim"]) for row in rows] == pytest.approx((-wanted / 2 / math.log(2)).tolist(), abs=1e-6)


def test_images_are_scored_as_levels_with_their_labels(undiffuse_: Any, plain: Path):
    digits = resolve.open("digits").take(np.arange(4))
    np.savez("few.npz", x=np.asarray(digits.x), label=np.asarray(digits.labels))
    done = undiffuse_("score", plain, "few.npz", "--bound")
    assert done.status == 0, done.err
    assert "probability of levels" in done.out
    rows = list(csv.DictReader((plain / "scores.csv").read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["item", "label", "log_prob", "bits_per_dim", "bound", "bound_bits_per_dim"]
    assert all(math.isfinite(float(row["bound"])) for row in rows)


def test_several_probes_and_draws_have_columns_of_their_own(undiffuse_: Any, plain: Path):
    np.savez("few.npz", x=np.asarray(resolve.open("digits").take(np.arange(3)).x))
    options = ("--probes", 2, "--draws", 2, "--tolerance", 0.1, "--start", 0.9, "-o", "out.csv")
    done = undiffuse_("score", plain, "few.npz", *options)
    assert done.status == 0, done.err
    assert "of these, spreading levels over their bins costs" in done.out
    rows = list(csv.DictReader(Path("out.csv").read_text(encoding="utf-8").splitlines()))
    wanted = ["item", "log_prob", "bits_per_dim", "probe_error", "draw_error", "dequantisation"]
    assert list(rows[0]) == wanted
    assert all(float(row[name]) >= 0 for row in rows for name in wanted[3:])
    assert "at least 1 probe, not 0" in undiffuse_("score", plain, "few.npz", "--probes", 0).err
    assert "0 < t_min < start <= 1" in undiffuse_("score", plain, "few.npz", "--start", 1.5).err


def test_evaluate_prints_both_numbers_and_draws_the_terms(
    undiffuse_: Any, plain: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(nll, "ITEMS", 4)
    done = undiffuse_("evaluate", plain, "--metrics", "nll", "-n", 20, "-o", "judged")
    assert done.status == 0, done.err
    assert "negative log-likelihood, ODE:" in done.out
    assert "negative log-likelihood, bound:" in done.out
    found = json.loads(Path("judged/evaluation.json").read_text(encoding="utf-8"))
    assert found["likelihood"]["ode"]["standard_error"] > 0
    assert found["metrics"] == {}
    assert "How likely held-out data are" in Path("judged/report.html").read_text(encoding="utf-8")


def test_refusals(undiffuse_: Any, plain: Path, points: Path):
    shapes = "items have shape (1, 8, 8), and those of swiss roll have (2,)"
    assert shapes in undiffuse_("score", plain, "swiss_roll").err
    given = undiffuse_("score", points, "swiss_roll", "--given", "all")
    assert "the run was trained without conditions" in given.err
    assert given.status == 2
    np.save("samples.npy", np.zeros((20, 2), np.float32))
    finished = undiffuse_("evaluate", "samples.npy", "--against", "moons", "--metrics", "nll")
    assert "finished samples cannot say" in finished.err
