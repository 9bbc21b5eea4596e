"""A tuned variance: what is estimated, stored with the model, used by sampling and refused where it is spoilt."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import undiffuse
from undiffuse import tuning
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.guidance.optimal_variance import estimated
from undiffuse.samplers import DDIM, Ancestral
from undiffuse.schedules import VP, LinearBeta
from undiffuse.storage.files import read_tensors, write_tensors
from undiffuse.training.run_lock import run_lock
from undiffuse.tuning.variances import levels

RECIPE: dict[str, Any] = {
    "data": {"name": "moons", "count": 300},
    "codec": {"name": "whiten"},
    "schedule": {"name": "linear_beta", "steps": 40, "beta_start": 0.005, "beta_end": 0.3},
    "network": {"name": "mlp", "width": 16},
    "parameterization": {"name": "velocity"},
    "objective": {"name": "denoising"},
    "train": {"steps": 40, "batch": 64, "warmup": 5, "lr": 0.01, "snapshots": 2, "preview_every": 0},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    undiffuse.train(RECIPE, out=folder).run(progress=False)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_levels_are_the_tables_own_times_and_even_in_log_snr():
    table = LinearBeta(steps=40)
    assert torch.equal(levels(table, 40), torch.arange(1, 41).double() / 40)
    few = levels(table, 10)
    assert few[0] == 1 / 40
    assert few[-1] == 1
    assert bool(((few * 40).round() - few * 40 == 0).all())
    assert bool((few.diff() > 0).all())
    even = VP().log_snr(levels(VP(), 12))
    torch.testing.assert_close(even.diff(), even.diff().mean().expand(11), rtol=1e-6, atol=0)


def test_the_estimate_is_that_of_the_training_data(run: Path):
    before = (run / "model.safetensors").read_bytes()
    found = tuning.variance(run, points=40, count=100)
    model = undiffuse.load(run, precision="float32")
    data = undiffuse.core.registry.build("data", RECIPE["data"]).load().split(0.2)[0].some(100)
    x_0 = model.codec.encode(data.x)
    wanted = list(estimated(model.denoiser, x_0, found.times, Random(0).fold(6)))
    assert found.variances == pytest.approx(wanted, rel=1e-6)
    assert found.clipping["bounds"] == (float(x_0.min()), float(x_0.max()))
    written = json.loads((run / "tuning/variance.json").read_text())
    assert written["variances"] == list(found.variances)
    assert (run / "tuning/variance.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "model.safetensors").read_bytes() == before
    rough = tuning.variance(run, points=40, count=100, rule="score")
    assert rough.variances != found.variances
    assert rough.variances[10] == pytest.approx(found.variances[10], rel=0.8)


def test_a_kept_variance_is_what_exact_samplers_use(run: Path):
    plain = undiffuse.load(run, precision="float32")
    with pytest.raises(Refused, match="needs a denoiser that reports its variance"):
        plain.sample(3, sampler=Ancestral("exact"), steps=5)
    found = tuning.variance(run, points=20, count=50, settings=["late=0.1", "late_std=0"], keep=True)
    model = undiffuse.load(run, precision="float32")
    assert model.variance["variances"] == list(found.variances)
    assert model.variance["late"] == 0.1
    assert (run / tuning.BEFORE).exists()
    assert torch.equal(model.sample(4, sampler=DDIM(), steps=5), plain.sample(4, sampler=DDIM(), steps=5))
    for sampler, other in ((Ancestral("exact"), Ancestral()), (DDIM(0.5, "exact"), DDIM(0.5))):
        exact = model.sample(200, sampler=sampler, steps=4)
        assert bool(exact.isfinite().all())
        assert not torch.equal(exact, plain.sample(200, sampler=other, steps=4))
    tuning.ema(run, [0.1], keep=True)
    assert undiffuse.load(run, precision="float32").variance == {}  # it was that of other weights


def test_the_best_steps_are_kept_as_the_way_to_sample(run: Path):
    found = tuning.variance(run, points=40, count=50, steps=6, keep=True)
    assert len(found.steps) == 7
    assert found.steps[0] == 1
    assert found.steps[-2:] == (1 / 40, 0.0)
    model = undiffuse.load(run, precision="float32")
    heard: list[int] = []
    model.sample(2, progress=lambda done, total: heard.append(total))
    assert heard[-1] == 12  # 6 steps of 2 samples
    assert torch.equal(model.sample(2), model.sample(2, steps=6))
    with pytest.raises(Refused, match="6 steps are listed, not 9; take another grid for those"):
        model.sample(2, steps=9)
    assert bool(model.sample(2, sampler="ancestral", steps=9).isfinite().all())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"variances": [1.0]}, "is broken: optimal_variance needs as many variances as times"),
        ({"times": [0.5, 0.4], "variances": [1.0, 1.0]}, "is broken: optimal_variance needs times that rise"),
        ({"hidden": 1}, "is broken: its variance has no 'hidden'"),
        ({"denoiser": "other"}, "is broken: its variance: denoiser = 'other' is the path of a run"),
        ({"bounds": [1, -1]}, "is broken: the data's bounds must rise"),
        (3, "its description lacks or spoils 'variance'"),
    ],
)
def test_a_spoilt_variance_is_refused(run: Path, spoil: Any, message: str):
    tuning.variance(run, points=5, count=20, keep=True)
    weights, about = read_tensors(run / "model.safetensors", "model")
    said = about["variance"]
    write_tensors(
        run / "model.safetensors", weights, {**about, "variance": {**said, **spoil} if isinstance(spoil, dict) else 3}
    )
    with pytest.raises(Refused, match=message):
        undiffuse.load(run)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 1}, "tune variance needs 2 points or more and a count of 1 or more, not 1 and 500"),
        ({"count": 0}, "needs 2 points or more and a count of 1 or more, not 100 and 0"),
        ({"steps": 1}, r"--steps takes 2 to 40 steps over 40 times \(--points\), not 1"),
        ({"settings": ["bound=[-1,1]"]}, r"the clipping of a variance has no 'bound' \(did you mean 'bounds'\?\)"),
        ({"settings": ["bounds=3"]}, "the clipping of a variance: bounds = 3 does not fit"),
        ({"settings": ["late=7"]}, r"optimal_variance needs late in \[0, 1\]"),
        ({"settings": ["bounds"]}, "cannot read the setting 'bounds'; write field=value"),
        ({"rule": "best"}, "the estimate of the optimal variance has no 'best'; it has: error, score"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(run: Path, options: Any, message: str):
    with pytest.raises(Refused, match=message):
        tuning.variance(run, **options)
    assert not (run / "tuning").exists()
    run_lock(run).release()
