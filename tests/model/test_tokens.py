"""Tokens through the main job: a recipe trains, resumes, samples, is judged by its exact bound, and refuses values."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.cli.main import main
from undiffuse.codecs.tokens import TokensCodec as Codec
from undiffuse.core.denoiser import Predictor
from undiffuse.core.distribution.tokens import Tokens
from undiffuse.core.errors import Refused
from undiffuse.core.heads.token_outputs import TokenHead
from undiffuse.core.process.categorical import Categorical, mask
from undiffuse.core.random import Random
from undiffuse.data.dataset import Dataset
from undiffuse.evaluation import nll, sources
from undiffuse.evaluation.error_by_noise import errors, frequent
from undiffuse.evaluation.judge import Judge
from undiffuse.recipes import build
from undiffuse.recipes.recipe import Recipe
from undiffuse.recipes.resolved import resolve
from undiffuse.schedules import LogLinear
from undiffuse.training.start import train

pytestmark = pytest.mark.usefixtures("quick_evaluation")

TABLES: dict[str, Any] = {
    "data": {"name": "heartbeat", "count": 400, "length": 6, "period": 3},
    "codec": {"name": "tokens"},
    "process": {"name": "categorical", "noise": "frequencies"},
    "schedule": {"name": "log_linear", "floor": 0.0, "steps": 12},
    "network": {"name": "token_mlp", "width": 24, "depth": 1},
    "objective": {"name": "denoising", "weighting": "data"},
    "sampler": {"name": "ancestral", "steps": 12},
    "train": {
        "steps": 250,
        "batch": 128,
        "lr": 0.02,
        "warmup": 0,
        "checkpoint_every": 0,
        "preview_every": 250,
        "validate_every": 0,
        "snapshots": 0,
        "log_every": 100,
    },
}
SHORT = ["train.steps=4", "train.preview_every=0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens") / "beat"
    train(TABLES, out=folder).run(progress=False)
    return folder


def test_a_run_on_tokens_draws_what_it_saw(run: Path):
    model = undiffuse.load(run)
    assert model.denoiser.head == TokenHead("probabilities", getattr(model.codec, "vocabulary", 0))
    assert model.codec == Codec(2, (2 / 3, 1 / 3))
    process: Any = model.denoiser.process
    assert process.noise == pytest.approx((2 / 3, 1 / 3))
    drawn = model.sample(300).numpy()
    assert drawn.dtype == np.uint8
    beats = np.arange(6) % 3 == np.arange(3)[:, None]
    proper = (drawn[:, None] == beats).all(2)
    assert proper.any(1).mean() > 0.9
    assert proper.mean(0).min() > 0.2
    *_, last = model.trajectory(20)
    assert torch.equal(last, model.sample(20))
    assert torch.equal(model.sample(5, indices=[3, 1, 4, 1, 5], seed=2)[1], model.sample(5, seed=2)[1])
    assert (run / "previews" / "step_000250.png").exists()


def test_its_bound_lies_between_the_truth_and_a_network_that_knows_nothing(run: Path):
    model = undiffuse.load(run)
    real = sources.of_run(model)
    assert set(map(bytes, real.held_out.x)) == set(map(bytes, real.train.x))  # draws of a law: equal ones are no copies
    found = nll.score(model, real.held_out)
    assert (found.log_prob, found.bound is not None) == (None, True)
    number = found.summary()["bound"]
    bits, error = 6 * number["bits_per_dim"], 6 * number["standard_error"]
    assert math.log2(3) - 4 * error < bits < 0.85 * 6 * (math.log2(3) - 2 / 3)
    line = nll.lines(found.summary())[0]
    assert line.startswith(f"negative log-likelihood, bound: {bits:.4f} +- {error:.4f} bits a sequence, ")
    assert "bits per token (probability of tokens" in line
    assert found.table(real.held_out).splitlines()[0] == "item,bound,bound_bits_per_dim"


def test_a_resumed_run_ends_where_the_uninterrupted_one_does(tmp_path: Path):
    settings = ["train.preview_every=0", "train.checkpoint_every=2", "train.decay=constant"]
    train(TABLES, out=tmp_path / "whole", overrides=[*settings, "train.steps=4"]).run(progress=False)
    train(TABLES, out=tmp_path / "parts", overrides=[*settings, "train.steps=2"]).run(progress=False)
    train(tmp_path / "parts", resume=True, overrides=["train.steps=4"]).run(progress=False)
    whole, again = (undiffuse.load(tmp_path / name).denoiser.state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.parametrize("noise", ["uniform", "mask", [0.25, 0.75]], ids=str)
def test_every_noise_trains_and_leaves_only_symbols_of_the_data(noise: Any, tmp_path: Path):
    train(TABLES | {"process": {"name": "categorical", "noise": noise}}, out=tmp_path / "run", overrides=SHORT).run(
        progress=False
    )
    model = undiffuse.load(tmp_path / "run")
    states = [state.numpy() for state in model.trajectory(64)]
    process: Any = model.denoiser.process
    assert len(process.noise) == (3 if noise == "mask" else 2)
    assert set(np.unique(states[-1])) <= {0, 1}
    assert int(states[0].max()) == (2 if noise == "mask" else 1)
    assert model.recipe["process"]["noise"] == noise


def test_a_mask_is_never_guessed_and_stops_no_gradient():
    process = Categorical(LogLinear(floor=0.0, steps=8), mask(3))
    x_0, t = torch.tensor([[0, 1, 1, 0]] * 6), torch.arange(1, 7, dtype=torch.float64) / 8
    logits = torch.zeros(3, requires_grad=True)

    class Same(torch.nn.Module):
        def forward(self, x: torch.Tensor, c_time: torch.Tensor) -> torch.Tensor:
            return logits.expand(*x.shape, 3)

    x_t = process.marginal(x_0, t).sample(Random(1))
    guess = Predictor(Same(), process, TokenHead(symbols=2))(x_t, t)
    assert torch.equal(guess.mean[..., 2], torch.zeros(6, 4))
    true, guessed = (process.bridge(x_t, belief, t - 1 / 8, t) for belief in (process.point(x_0), guess))
    true.kl(guessed).sum().backward()
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
    assert float(logits.grad.abs().sum()) > 0


def test_the_guess_that_sees_one_token_is_a_conditional_entropy():
    process, x = Categorical(LogLinear(floor=0.0), (0.5, 0.5)), torch.tensor([[0, 1, 1, 1]])
    clean, noise = frequent(process, x, torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert clean == pytest.approx(0)
    assert noise == pytest.approx(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)))
    assert frequent(Categorical(LogLinear(), mask(5000)), x, torch.tensor([0.5])) == []


def test_evaluate_writes_the_bound_and_pictures_of_rows(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(run), "-n", "12", "--out", str(tmp_path)])
    assert not stop.value.code
    printed = " ".join(capsys.readouterr().out.split())
    assert "bits a sequence" in printed
    about = json.loads((tmp_path / "evaluation.json").read_text())
    assert about["metrics"] == {}
    assert about["likelihood"]["convention"] == "probability of tokens"
    assert {path.name for path in tmp_path.iterdir()} == {
        "evaluation.json",
        "report.html",
        "evaluation.png",
        "denoising.png",
    }
    assert "cross-entropy of the guess" in (tmp_path / "report.html").read_text()
    found = errors(undiffuse.load(run), (np.eye(6, dtype=np.uint8), {}), (np.eye(6, dtype=np.uint8), {}))
    assert len(found.plain) == len(found.held_out)
    assert found.plain == sorted(found.plain, reverse=True)


def test_sample_prints_and_writes_tokens(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for words in (["-o", "five.csv"], ["--trajectory", "gif", "-o", "way.gif"], ["-o", "rows.png"]):
        target = tmp_path / words[-1]
        with pytest.raises(SystemExit) as stop:
            main(["sample", str(run), "-n", "5", *words[:-1], str(target)])
        assert not stop.value.code
        assert target.exists()
        printed = capsys.readouterr().out.splitlines()
        assert all(len(line) == 6 and set(line) <= {"0", "1"} for line in printed[:5])
    rows = (tmp_path / "five.csv").read_text().splitlines()
    assert rows[0] == "x0,x1,x2,x3,x4,x5"
    assert rows[1].replace(",", "") == printed[0]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"codec": {"name": "whiten"}}, r"process 'categorical' is for tokens and codec 'whiten' for values"),
        ({"process": {"name": "gaussian"}}, r"codec 'tokens' needs a process for tokens: write process.name"),
        (
            {"parameterization": {"name": "noise"}},
            r"\[parameterization\] says how a network predicts values; .* leave the table out",
        ),
        ({"network": {"name": "mlp"}}, r"network 'mlp' is for values; networks for tokens are: .*token_mlp"),
        (
            {"objective": {"name": "ncsn"}},
            r"ncsn is for values, and Categorical is a process of tokens; objectives for it: .*denoising",
        ),
        ({"objective": {"name": "sliced_score_matching"}}, "sliced_score_matching is for values, and Categorical is"),
        ({"sampler": {"name": "heun"}}, "heun is for values, and Categorical is a process of tokens; samplers for"),
        ({"schedule": {"name": "edm"}}, "tokens need a schedule whose alpha falls"),
        ({"process": {"name": "categorical", "noise": [0.5, 0.25, 0.25]}}, "has 3 probabilities, and the data's voc"),
        ({"process": {"name": "categorical", "noise": [0.5, 0.6]}}, r"these 2 sum to 1\.1"),
        ({"process": {"name": "categorical", "noise": "masks"}}, "input should be 'uniform', 'mask' or 'frequencies'"),
        ({"process": {"name": "categoricl"}}, r"processes has no 'categoricl' \(did you mean 'categorical'\?\)"),
        ({"codec": {"name": "tokens", "vocabulary": 1}}, "a vocabulary has 2 to 1,048,576 symbols, not 1"),
        ({"data": {"name": "digits"}, "codec": {"name": "tokens", "vocabulary": 5}}, r"tokens must be 0 \.\.\. 4; the"),
        ({"data": {"name": "moons"}}, "the codec tokens is for integers, and the data have dtype float32"),
    ],
)
def test_what_does_not_fit_tokens_is_refused_before_anything_is_written(tables: Any, message: str, tmp_path: Path):
    with pytest.raises(Refused, match=message):
        train(TABLES | tables, out=tmp_path / "run", overrides=SHORT)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"schedule": {"name": "log_linear"}}, "a share 0.001 of the tokens is left at t = 1.*--set schedule.floor=0 "),
        ({"schedule": {"name": "sigmoid"}}, "a share .* --set schedule.name=log_linear schedule.floor=0 leaves none"),
        ({}, ""),
        ({"schedule": {"name": "log_linear"}, "process": TABLES["process"]}, ""),
    ],
)
def test_a_bound_that_will_be_infinite_is_told_before_training(
    tables: Any, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    masked = {"process": {"name": "categorical", "noise": "mask"}, "objective": {"name": "elbo"}}
    training = train({**TABLES, **masked, **tables}, out=tmp_path / "run", overrides=SHORT)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == bool(said)
    assert re.search(said, " ".join(told))
    training.run(progress=False)


def test_values_cannot_do_without_what_values_need(tmp_path: Path):
    values = {**TABLES, "codec": {"name": "identity"}, "process": {"name": "gaussian"}}
    with pytest.raises(Refused, match=r"the recipe has no table \[parameterization\]"):
        train(values, out=tmp_path / "run")
    values |= {"parameterization": {"name": "data"}, "schedule": {"name": "edm"}, "network": {"name": "mlp"}}
    with pytest.raises(Refused, match=r"the data 'heartbeat' are tokens of 2 symbols, and codec 'identity' is for"):
        train(values, out=tmp_path / "run")
    values |= {"data": {"name": "moons"}, "network": {"name": "token_mlp"}}
    with pytest.raises(Refused, match=r"network 'token_mlp' is for tokens; networks for values are: convnet, .*mlp"):
        train(values, out=tmp_path / "run")


def test_metrics_of_values_are_refused_for_tokens(run: Path):
    real = sources.of_run(undiffuse.load(run))
    with pytest.raises(Refused, match="the metric frechet compares values; for tokens there is: nll"):
        Judge(metrics=("frechet",)).fitting(real.held_out)
    assert Judge().fitting(real.held_out).metrics == ("nll",)


def test_data_of_tokens_know_their_vocabulary():
    x = np.array([[0, 2, 1], [3, 0, 0]], np.int64)
    data = Dataset(x, name="words", vocabulary=4)
    assert (data.kind, data.describe()["vocabulary"], data.take(np.array([1])).vocabulary) == ("tokens", 4, 4)
    for made, message in [
        (lambda: Dataset(x, vocabulary=3), r"data has tokens 0 \.\.\. 3; its vocabulary is 0 \.\.\. 2"),
        (lambda: Dataset(x - 1, vocabulary=4), r"data has tokens -1 \.\.\. 2; its vocabulary is 0 \.\.\. 3"),
        (lambda: Dataset(x), "data has dtype int64; points are float32 or float64, tokens integers"),
        (
            lambda: Dataset(x.astype(np.float32), vocabulary=4),
            "data has dtype float32; points are float32 or float64, tokens",
        ),
        (
            lambda: Dataset(x, vocabulary=1),
            r"a vocabulary of 1 and items of shape \(3,\); tokens are \(count, length\)",
        ),
    ]:
        with pytest.raises(Refused, match=message):
            made()


def test_the_codec_of_tokens_passes_them_through_and_remembers_how_frequent_they_are():
    x = np.array([[0, 2, 1], [2, 0, 0]], np.uint16)
    codec = Codec().fit(x)
    assert codec == Codec(3, (0.5, 1 / 6, 1 / 3), "uint8")
    assert Codec(5).fit(x).frequencies == (0.5, 1 / 6, 1 / 3, 0.0, 0.0)
    z = codec.encode(x)
    assert z.dtype == torch.int64
    np.testing.assert_array_equal(codec.decode(z).numpy(), x)
    assert codec.log_det((3,)) == 0
    assert Codec().fit(np.arange(300)[None]).dtype == "uint16"
    for made, message in [
        (lambda: codec.encode(x + 1), r"tokens must be 0 \.\.\. 2; the data have 1 \.\.\. 3"),
        (
            lambda: codec.encode(torch.zeros(2, 3)),
            "the codec tokens is for integers, and the data have dtype torch.float",
        ),
        (lambda: Codec().fit(np.zeros((2, 3), np.uint8)), "the data have one symbol only"),
        (lambda: Codec(3, (0.5, 0.5)), "tokens have 3 symbols, and 2 frequencies were given"),
        (lambda: Codec(2**21), "a vocabulary has 2 to 1,048,576 symbols, not 2,097,152"),
    ]:
        with pytest.raises(Refused, match=message):
            made()


def test_a_recipe_writes_out_the_noise_it_leaves_open():
    recipe = Recipe.find({**TABLES, "process": {"name": "categorical"}})
    assert resolve(recipe)["process"] == {"name": "categorical", "noise": "uniform"}
    assert isinstance(build.process(recipe).prior((1, 3)), Tokens)
