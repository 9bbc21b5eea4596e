"""Temperature, top-k and top-p of a run of tokens: from its recipe, from Python and from the command line."""

from pathlib import Path
from typing import Any

import pytest
import torch

import undiffuse
from undiffuse.cli.main import main
from undiffuse.guidance import Infill, Truncation
from undiffuse.sampling.guidance import words
from undiffuse.sampling.request import SampleRequest
from undiffuse.training.start import train

TABLES: dict[str, Any] = {
    "data": {"name": "heartbeat", "count": 80, "length": 6, "period": 3},
    "codec": {"name": "tokens"},
    "process": {"name": "categorical", "noise": "mask"},
    "schedule": {"name": "log_linear", "floor": 0.0},
    "network": {"name": "token_mlp", "width": 16, "depth": 1},
    "objective": {"name": "denoising", "weighting": "data"},
    "sampler": {"name": "ancestral", "steps": 3},
    "train": {"steps": 1, "batch": 16, "preview_every": 0, "validate_every": 0, "snapshots": 0},
}


def trained(folder: Path, **sampler: Any) -> Path:
    train({**TABLES, "sampler": {**TABLES["sampler"], **sampler}}, out=folder).run(progress=False)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("sharper") / "plain")


def typed(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    with pytest.raises(SystemExit) as stop:
        main([*words])
    captured = capsys.readouterr()
    assert int(stop.value.code or 0) == status, captured.err
    return captured.err if status else captured.out + captured.err


def test_one_symbol_left_makes_every_sample_the_same_whoever_asks(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """In one step from masks the guess of every place is the same for all samples, and so is its likeliest symbol."""
    model = undiffuse.load(run)
    assert len(model.sample(50, steps=1).unique(dim=0)) > 10
    asked: list[dict[str, Any]] = [{"top_k": 1}, {"temperature": 1e-3}, {"top_p": 1e-6}]
    drawn: list[torch.Tensor] = [model.sample(50, steps=1, **how) for how in asked]
    assert len(torch.cat(drawn).unique(dim=0)) == 1
    *_, last = model.trajectory(50, steps=1, top_k=1)
    assert torch.equal(last, drawn[0])
    said = typed(capsys, "sample", str(run), "-n", "5", "--steps", "1", "--top-k", "1", "-o", str(tmp_path / "a.csv"))
    assert said.splitlines()[:5] == ["".join(map(str, drawn[0][0].tolist()))] * 5
    assert ", top-k 1, seed 0" in said.splitlines()[-1]


def test_a_recipe_says_it_and_a_person_takes_it_back(run: Path, tmp_path: Path):
    sharp, plain = undiffuse.load(trained(tmp_path / "sharp", temperature=0.3, top_p=0.9)), undiffuse.load(run)
    assert torch.equal(sharp.sample(40), plain.sample(40, temperature=0.3, top_p=0.9))
    assert not torch.equal(sharp.sample(40), plain.sample(40))
    assert torch.equal(sharp.sample(40, temperature=1.0, top_p=1.0), plain.sample(40))
    session = sharp.open(n=2)
    assert session.denoiser == Truncation(sharp.denoiser, temperature=0.3, top_p=0.9)
    assert Infill(session.denoiser, torch.zeros(1, 6), torch.ones(1, 6)).denoiser == session.denoiser


def test_what_was_asked_is_said_and_read():
    asked = SampleRequest(temperature=0.8, top_k=40, top_p=1.0)
    assert words(asked) == "temperature 0.8, top-k 40"
    assert asked.to_json() == {"temperature": 0.8, "top_k": 40, "top_p": 1.0}
    assert asked.over(SampleRequest(top_p=0.5, top_k=3)).truncation == {"temperature": 0.8, "top_k": 40}


def test_what_makes_no_sense_is_refused_on_the_command_line(run: Path, capsys: pytest.CaptureFixture[str]):
    said = typed(capsys, "sample", str(run), "--temperature", "-1", status=2)
    assert "truncation needs temperature > 0" in said
    said = typed(capsys, "evaluate", str(run / "x.npz"), "--against", "digits", "--top-p", "0.9", status=2)
    assert "finished samples, and --top-p is for drawing samples from a run" in said
