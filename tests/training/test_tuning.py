"""Tuning measures what training measures, keeps the best where asked to, and leaves the run alone otherwise."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import undiffuse
from undiffuse import tuning
from undiffuse.core.errors import Refused
from undiffuse.storage.files import read_tensors
from undiffuse.training.run_lock import run_lock

RECIPE = {
    "data": {"name": "moons", "count": 300},
    "codec": {"name": "whiten"},
    "schedule": {"name": "edm"},
    "network": {"name": "mlp", "width": 16, "waves": 2, "time_scale": 0.4, "time_shift": 0.1},
    "parameterization": {"name": "edm"},
    "objective": {"name": "denoising", "weighting": "edm", "times": "log_normal"},
    "train": {
        "steps": 64,
        "batch": 32,
        "warmup": 5,
        "lr": 0.01,
        "decay": "constant",
        "snapshots": 8,
        "validate_every": 32,
    },
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    undiffuse.train(RECIPE, out=folder, overrides=["train.preview_every=0"]).run(progress=False)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def files_of(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}


def test_what_is_measured_is_what_training_measures(run: Path):
    before = files_of(run)
    found = {trial.name: trial for trial in tuning.ema(run, [0.05, 0.10])}
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][-1]
    assert found["ordinary"].validation_loss == pytest.approx(logged["validation_loss"], rel=1e-6)
    assert found["raw"].validation_loss == pytest.approx(logged["validation_loss_raw"], rel=1e-6)
    assert found["post-hoc"].validation_loss == pytest.approx(logged["validation_loss"], rel=1e-5)  # the length of 0.10
    after = files_of(run)
    assert {name for name in after if after[name] != before.get(name)} == {"tuning/ema.json", "tuning/ema.png"}
    written = json.loads(after["tuning/ema.json"])
    assert [trial["length"] for trial in written["trials"]] == [None, None, 0.05, 0.10]
    assert written["best"] == min(written["trials"][2:], key=lambda trial: trial["validation_loss"])
    assert after["tuning/ema.png"].startswith(b"\x89PNG")


def test_the_best_becomes_the_model_and_the_first_model_is_kept(run: Path):
    first = (run / "model.safetensors").read_bytes()
    for lengths in ([0.05, 0.15], [0.07]):
        found = tuning.ema(run, lengths, keep=True)
        model = undiffuse.load(run, precision="float32")
        best = tuning.best(found)
        assert model.facts["ema"]["length"] == best.length in lengths
        assert model.facts["ema"]["validation_loss"] == best.validation_loss == min(t.score for t in found[2:])
        assert model.facts["step"] == 64
        assert (run / tuning.BEFORE).read_bytes() == first
    exact, _ = read_tensors(run / "ema" / "00000064.safetensors", "snapshot")
    tuning.ema(run, [0.05], keep=True)
    weights = undiffuse.load(run, precision="float32").denoiser.state_dict()
    assert all(torch.allclose(weights[name], exact[f"a.{name}"], atol=1e-6) for name in weights)


def test_samples_may_be_the_judge(run: Path):
    found = tuning.ema(run, [0.05, 0.2], metric="frechet", count=50)
    assert all(trial.distance is not None and 0 < trial.distance < 20 for trial in found)
    assert tuning.best(found).score == min(trial.score for trial in found[2:])
    assert json.loads((run / "tuning/ema.json").read_text())["metric"] == "frechet"


def test_an_interruption_leaves_the_run_untouched_and_free(run: Path):
    before = files_of(run)

    def interrupt(done: int, total: int) -> None:
        assert total == 5
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuning.ema(run, [0.05, 0.1, 0.2], keep=True, advance=interrupt)
    assert files_of(run) == before
    run_lock(run).release()


def test_what_cannot_be_tuned_is_refused_before_anything_is_written(run: Path, tmp_path: Path):
    before = files_of(run)
    lock = run_lock(run)
    with pytest.raises(Refused, match="another process is"):
        tuning.ema(run, [0.05])
    lock.release()
    for lengths, message in (([], "give at least one length"), ([0.5], r"between 0 and 0\.288, not 0\.5")):
        with pytest.raises(Refused, match=message):
            tuning.ema(run, lengths)
    assert files_of(run) == before
    (run / "previews").symlink_to(tmp_path)
    with pytest.raises(Refused, match="is a link that leads to"):
        tuning.ema(run, [0.05])
    (run / "previews").unlink()
    shutil.rmtree(run / "ema")
    with pytest.raises(Refused, match="has kept no snapshots"):
        tuning.ema(run, [0.05])
    with pytest.raises(Refused, match=r"there is no run at|has kept no snapshots"):
        tuning.ema(tmp_path / "absent", [0.05])


def test_a_run_that_held_nothing_out_has_nothing_to_choose_by(tmp_path: Path):
    settings = ["train.preview_every=0", "train.held_out=0", "train.steps=4", "train.snapshots=2"]
    undiffuse.train(RECIPE, out=tmp_path / "run", overrides=settings).run(progress=False)
    with pytest.raises(Refused, match="the run held nothing out"):
        tuning.ema(tmp_path / "run", [0.05])
