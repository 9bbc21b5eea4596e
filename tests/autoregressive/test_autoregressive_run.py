"""An autoregressive run trains, saves, loads, goes on, draws, completes and scores as every other, exactly."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.cli.main import main
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.editing import complete
from undiffuse.editing.complete import late
from undiffuse.editing.latents import encode
from undiffuse.evaluation.judge import Judge
from undiffuse.evaluation.level_likelihood import level_likelihood
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.request import SampleRequest

pytestmark = pytest.mark.usefixtures("quick_evaluation")

PICTURES = np.random.default_rng(0).choice(np.array([0, 9, 90], np.uint8), (60, 1, 3, 4))


def tables(place: Path, pictures: np.ndarray = PICTURES, **changed: Any) -> dict[str, Any]:
    np.savez(place / "pictures.npz", images=pictures[:, 0], labels=np.arange(len(pictures)) % 2)
    return {
        "kind": "autoregressive",
        "data": {"name": "file", "path": str(place / "pictures.npz")},
        "codec": {"name": "levels"},
        "network": {"name": "pixelcnn", "width": 8, "depth": 2, "kernel": 3},
        "objective": {"name": "maximum_likelihood"},
        "conditions": {"label": {"drop": 0.2}},
        "train": {"steps": 4, "batch": 8, "previews": 4, "snapshots": 0, "warmup": 0, "lr": 0.01},
        **changed,
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    place = tmp_path_factory.mktemp("run")
    return place / "run", undiffuse.train(tables(place), out=place / "run").run(progress=False)


def test_a_sample_depends_on_its_seed_and_its_index_alone(run: tuple[Path, Any]):
    folder, trained = run
    loaded = undiffuse.load(folder)
    drawn = loaded.sample(5, seed=3, label=1)
    assert drawn.dtype == torch.uint8
    assert set(drawn.unique().tolist()) <= {0, 9, 90}
    assert torch.equal(drawn, trained.sample(5, seed=3, label=1))
    assert torch.equal(drawn[[1, 4]], trained.sample(2, seed=3, label=1, indices=[1, 4]))
    assert torch.equal(drawn, trained.sample(5, seed=3, label=1, batch=2))
    film = trained.open(n=5, seed=3, label=1).film()
    assert torch.equal(film.as_subclass(torch.Tensor), drawn.as_subclass(torch.Tensor))
    assert film.frames.shape == (4, 5, 1, 3, 4)  # before the first row and after each of three
    assert np.array_equal(film.frames[-1], drawn.numpy())
    likeliest = trained.sample(6, top_k=1, label=0)
    assert torch.equal(likeliest, likeliest[:1].expand(6, 1, 3, 4))


def test_the_likelihood_is_that_of_the_factors_in_bits_a_value(run: tuple[Path, Any]):
    _, trained = run
    data = Dataset(PICTURES[:6], {"label": np.arange(6) % 2}, ("0", "1"), name="some")
    scores: Any = level_likelihood(trained, trained.module, data, given=True)
    nats = trained.module.log_prob(trained.codec.encode(PICTURES[:6]), label=torch.arange(6) % 2)
    assert scores.log_prob is not None
    np.testing.assert_allclose(scores.log_prob, nats.detach(), rtol=1e-6)
    found = scores.summary()
    assert found["convention"] == "probability of levels"
    with pytest.raises(Refused, match="a bound is a mean over 1 draw or more, not 0"):
        level_likelihood(trained, trained.module, data, given=True, draws=0)
    assert found["exact"]["bits_per_dim"] == pytest.approx(-float(nats.mean()) / 12 / np.log(2), rel=1e-6)


def test_pixels_have_256_levels_and_other_heads(tmp_path: Path):
    more = {"codec": {"name": "pixels"}, "head": {"name": "logistic_mixture", "components": 2}}
    trained = undiffuse.train(tables(tmp_path, **more), out=tmp_path / "run").run(progress=False)
    assert trained.module.levels.levels == 256
    loaded = undiffuse.load(tmp_path / "run")
    x = trained.codec.encode(PICTURES)
    assert torch.equal(loaded.module.log_prob(x), trained.module.log_prob(x))
    assert loaded.sample(2, label=0).dtype == torch.uint8


def test_an_item_is_completed_from_its_upper_part(run: tuple[Path, Any]):
    _, trained = run
    upper = np.zeros((3, 4), bool)
    upper[0] = True
    made = complete(trained, PICTURES[0], upper, n=4, label=0).numpy()
    assert np.array_equal(made[:, :, 0], np.broadcast_to(PICTURES[0, :, 0], (4, 1, 4)))
    assert late(trained.data_shape, upper) == 0
    assert late(trained.data_shape, ~upper) == 8
    holed = np.where(upper, PICTURES[0], 77)  # no level, where nothing is known
    assert np.array_equal(complete(trained, holed, upper, n=4, label=0).numpy(), made)
    for known, message in (
        (np.ones((3, 4)), "every value is known"),
        (np.full((3, 4), 0.5), "known is 1 where known and 0 where not, and goes from 0.5 to 0.5"),
        (np.ones((4, 4)), r"known has the shape \(4, 4\), and an item \(1, 3, 4\)"),
    ):
        with pytest.raises(Refused, match=message):
            complete(trained, PICTURES[0], known, label=0)


def test_an_evaluation_has_samples_and_the_likelihood(run: tuple[Path, Any], tmp_path: Path):
    folder, trained = run
    report = trained.evaluate(EvaluationRequest(request=SampleRequest(n=20), how=Judge(metrics=("frechet", "nll"))))
    names = report.save(tmp_path, folder)
    assert all((tmp_path / name).exists() for name in names)
    assert "bits per dimension" in "".join(map(str, report.printed()))
    assert report.found.about["likelihood"]["given"] == "label"


def test_colours_where_it_was_trained_grey_are_refused_with_both_shapes(run: tuple[Path, Any], tmp_path: Path):
    _, trained = run
    coloured = np.repeat(PICTURES, 3, axis=1)
    with pytest.raises(Refused, match=r"shape \(1, 3, 4\), and those of some have \(3, 3, 4\)"):
        level_likelihood(trained, trained.module, Dataset(coloured, name="some"))
    with pytest.raises(Refused, match=r"shape \(1, 3, 4\), and this is \(3, 3, 4\)"):
        complete(trained, coloured[0], np.zeros((3, 3, 4)), label=0)
    np.save(tmp_path / "coloured.npy", coloured.transpose(0, 2, 3, 1))
    with pytest.raises(Refused, match=r"makes samples of shape \(1, 3, 4\), and items of .* have \(3, 3, 4\)"):
        trained.evaluate(EvaluationRequest(against=str(tmp_path / "coloured.npy")))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"network": {"name": "unet"}}, "network 'unet' predicts data.*pixelcnn"),
        ({"objective": {"name": "denoising"}}, "objective 'denoising' predicts data.*maximum_likelihood"),
        ({"schedule": {"name": "vp"}}, r"kind 'autoregressive' has no table \[schedule\]"),
        ({"network": {"name": "pixelcnn", "kernel": 4}}, "kernel = 4: a pixelcnn needs an odd one"),
        ({"network": {"name": "pixelcnn", "depth": 0}}, "depth = 0: a pixelcnn of 1 channels needs at least 1"),
        ({"head": {"name": "softmex"}}, "level_heads has no 'softmex'.*'softmax'"),
        (
            {"head": {"name": "logistic_mixture", "components": 0}},
            "components = 0: a logistic_mixture needs at least 1",
        ),
        ({"conditions": {"seed": {"kind": "vector"}}}, "a condition cannot be called 'seed'"),
        ({"conditions": {"wind": {"kind": "vector"}}}, "network 'pixelcnn' cannot take 'wind', which is vector"),
    ],
)
def test_what_an_autoregressive_run_cannot_be_is_refused(changed: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(Refused, match=message):
        undiffuse.train(tables(tmp_path, **changed), out=tmp_path / "run")


def test_what_has_no_levels_or_too_many_is_refused(tmp_path: Path):
    floats, deep = PICTURES / np.float32(90), PICTURES.astype(np.uint16) * 256
    for pictures, message in (
        (floats, "codec 'pixels' makes none of data of float32"),
        (deep, "1,024 at most, not 65,536"),
    ):
        with pytest.raises(Refused, match=message):
            undiffuse.train(tables(tmp_path, pictures, codec={"name": "pixels"}), out=tmp_path / "run")


def test_what_only_a_denoiser_answers_is_refused_by_name(run: tuple[Path, Any]):
    with pytest.raises(Refused, match=r"steps is for runs that draw step by step.*of a request it takes n, seed"):
        run[1].sample(1, steps=4, label=0)


def test_the_command_completes_a_picture_and_says_what_did_not_count(
    run: tuple[Path, Any], tmp_path: Path, capsys: Any
):
    folder, _ = run
    np.save(tmp_path / "image.npy", PICTURES[0])
    np.save(tmp_path / "hole.npy", np.array([[255] * 4, [0] * 4, [0] * 4], np.uint8))
    files = [f"--image={tmp_path / 'image.npy'}", f"--mask={tmp_path / 'hole.npy'}"]
    with pytest.raises(SystemExit) as left:
        main(["edit", str(folder), *files, "-n", "3", "--label", "1", "-o", str(tmp_path / "made.npy")])
    assert not left.value.code
    said = " ".join("".join(capsys.readouterr()).split())
    assert "8 of the given values come after an unknown one in the order" in said
    assert "lie between" not in said
    np.save(tmp_path / "image.npy", PICTURES[0] + np.uint8(3))  # 3, 12 and 93: none of the levels
    with pytest.raises(SystemExit) as left:
        main(["edit", str(folder), *files, "-n", "3", "--label", "1", "-o", str(tmp_path / "again.npy")])
    assert not left.value.code
    said = " ".join("".join(capsys.readouterr()).split())
    assert "12 of the 12 numbers of" in said
    assert "lie between the 3 levels that the run knows: each was brought to the nearest one" in said
    assert np.array_equal(np.load(tmp_path / "again.npy"), np.load(tmp_path / "made.npy"))
    assert "completed in its order" in said
    assert np.array_equal(np.load(tmp_path / "made.npy")[:, :, 1:], np.broadcast_to(PICTURES[0, :, 1:], (3, 1, 2, 4)))


def test_the_command_scores_items_and_refuses_what_an_ode_is_asked(run: tuple[Path, Any], tmp_path: Path, capsys: Any):
    folder, trained = run
    np.savez(tmp_path / "some.npz", images=PICTURES[:3, 0], labels=np.arange(3) % 2)
    words = ["score", str(folder), str(tmp_path / "some.npz"), "--given", "label", "-o", str(tmp_path / "out.csv")]
    for more, status in (([], 0), (["--bound"], 2)):
        with pytest.raises(SystemExit) as left:
            main([*words, *more])
        assert bool(left.value.code) == bool(status)
    captured = capsys.readouterr()
    assert "negative log-likelihood, exact" in captured.out
    assert "--bound is for runs with a denoiser" in " ".join(captured.err.split())
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()))
    nats = trained.module.log_prob(trained.codec.encode(PICTURES[:3]), label=torch.arange(3) % 2)
    assert [float(row["log_prob"]) for row in rows] == pytest.approx(nats.tolist(), rel=1e-6)


def test_a_run_without_latents_has_nothing_to_encode_to(run: tuple[Path, Any]):
    with pytest.raises(Refused, match="x holds an autoregressive model, which has no latents: encode and decode take"):
        encode(run[1], Dataset(PICTURES), "x")
