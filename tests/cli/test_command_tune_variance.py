"""`undiffuse tune RUN variance` says what it found, and the run then samples with it."""

from pathlib import Path
from typing import Any


def test_a_variance_is_estimated_kept_and_used(undiffuse_: Any, tmp_path: Path):
    run = tmp_path / "run"
    words = ["data.count=200", "train.steps=8", "train.batch=16", "train.snapshots=0", "train.preview_every=0"]
    assert undiffuse_("train", "toy-2d", "--out", run, "--set", *words).status == 0
    refused = undiffuse_("sample", run, "-n", "5", "--sampler", "ancestral", "--set", "variance=exact", "--steps", "3")
    assert refused.status == 2
    assert "needs a denoiser that reports its variance" in refused.err
    done = undiffuse_(
        "tune", run, "variance", "--points", "12", "-n", "40", "--set", "late=0.1", "--steps", "4", "--keep"
    )
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("variance of the guess: ")
    assert lines[1].startswith("the best 4 steps: 1 ")
    assert f"written to {run}/tuning: variance.json, variance.png" in done.out
    assert f"{run} now samples in these 4 steps; the model from before is model-before-tuning.safetensors" in done.out
    assert "4 network calls a sample" in undiffuse_("sample", run, "-n", "5").err
    assert "4 network calls a sample" in undiffuse_("sample", run, "-n", "5", "--steps", "4").err
    exact = undiffuse_("sample", run, "-n", "5", "--sampler", "ddim", "--set", "variance=exact", "--steps", "7")
    assert "7 network calls a sample" in exact.err
    for words, message in (
        (("--steps", "400"), "--steps takes 2 to 100 steps over 100 times (--points), not 400"),
        (("--set", "bound=1"), "the clipping of a variance has no 'bound' (did you mean 'bounds'?)"),
        (("--rule", "best"), "best"),
    ):
        refused = undiffuse_("tune", run, "variance", *words)
        assert refused.status == 2
        assert message in refused.err
