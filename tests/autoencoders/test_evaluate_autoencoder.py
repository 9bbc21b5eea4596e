"""Evaluation of autoencoders, and their samples: what is written, what is true of it, and what is refused."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_autoencoders import tables

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.evaluation import sources
from undiffuse.evaluation.judge import Judge
from undiffuse.evaluation.reconstruction import judge_reconstruction
from undiffuse.likelihood import HierarchicalVAE, hierarchical
from undiffuse.models.load import denoising, generator
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.request import SampleRequest

pytestmark = pytest.mark.usefixtures("quick_evaluation")


def blobs(count: int) -> np.ndarray:
    """Pictures of one bright spot each, (count, 1, 12, 12)."""
    draw = np.random.default_rng(0)
    at, steps = draw.uniform(3, 9, (count, 2, 1)), np.arange(12)
    across, down = (np.exp(-((steps - at[:, i]) ** 2) / 4) for i in (0, 1))
    return (255 * down[:, None, :, None] * across[:, None, None, :]).astype(np.uint8)


def recipe(place: Path, **changed: Any) -> dict[str, Any]:
    place.mkdir(parents=True, exist_ok=True)
    found = tables(place, **changed)
    np.savez(place / "pictures.npz", images=blobs(120))
    found["train"] = {**found["train"], "steps": 60, "batch": 32, "held_out": 0.3, "lr": 3e-3}
    return found


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("vae")
    changed: dict[str, Any] = {
        "network": {"name": "mlp_autoencoder", "latent_channels": 2, "width": 32, "depth": 1},
        "objective": {
            "name": "autoencoding", "losses": [{"name": "l2"}], "penalty_weight": 1.0, "learned_scale": True,
            "levels": 256,
        },
    }  # fmt: skip
    undiffuse.train(recipe(place, **changed), out=place / "run").run(progress=False)
    return place / "run"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("plain")
    undiffuse.train(recipe(place, bottleneck={"name": "none"}), out=place / "run").run(progress=False)
    return place / "run"


@pytest.fixture(scope="module")
def judged(vae: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, list[str]]:
    asked = EvaluationRequest(request=SampleRequest(n=30), how=Judge(metrics=("frechet",), cached=False))
    report, folder = undiffuse.load(vae, precision="float32").evaluate(asked), tmp_path_factory.mktemp("judged")
    return report, folder, report.save(folder, vae)


def test_the_pictures_the_page_and_the_numbers_are_written(judged: tuple[Any, Path, list[str]]):
    report, folder, names = judged
    pictures = ["reconstructions.png", "samples.png", "manifold.png", "traversal.png"]
    assert names == [*pictures, "report.html", "evaluation.json"]
    assert all((folder / name).stat().st_size > 500 for name in names)
    told = json.loads((folder / "evaluation.json").read_text())
    assert set(told["metrics"]) == {"psnr", "ssim", "reconstruction_frechet", "frechet"}
    assert told["rate_distortion"][0]["bits"] == pytest.approx(0, abs=1e-6)
    bits = [point["bits"] for point in told["rate_distortion"]]
    assert bits == sorted(bits)
    assert told["latents"]["shape"] == [2]
    assert told["samples"] == 30
    text = "\n".join(str(part) for part in report.printed())
    assert "bits an item" in text
    assert "importance-weighted bound" in text
    assert "The latent plane" in (folder / "report.html").read_text()


def test_the_rate_the_quality_and_the_bound_are_those_of_the_run(judged: tuple[Any, Path, list[str]], vae: Path):
    found, model = judged[0].found, undiffuse.load(vae, precision="float32")
    made = model.reconstruct(found.x).numpy()
    np.testing.assert_array_equal(found.made, made)
    error = ((found.x.astype(float) - made) ** 2).reshape(len(made), -1).mean(1)
    assert found.verdicts["psnr"]["value"] == pytest.approx((10 * np.log10(255**2 / error)).mean())
    posterior = model.posterior(found.x)
    assert found.statistics.bits == pytest.approx(float(posterior.kl(model.prior).mean()) / np.log(2), rel=1e-5)
    whole = HierarchicalVAE((model.posterior,), model.log_prob, model.prior)
    again = hierarchical(whole, torch.from_numpy(found.x), draws=8)
    scores = found.scores.summary()
    assert scores["bound"]["bits_per_dim"] == pytest.approx(float(again.bits_per_dim.mean()), rel=1e-6)
    assert scores["convention"] == "probability of levels"
    assert 0 < scores["importance"]["bits_per_dim"] < scores["bound"]["bits_per_dim"] < 8


def test_a_sample_is_a_latent_of_the_prior_decoded_whatever_the_batch(vae: Path):
    model: Any = generator(vae, precision="float32")
    drawn = model.sample(5, seed=3)
    assert drawn.dtype == torch.uint8
    assert tuple(drawn.shape) == (5, 1, 12, 12)
    assert drawn.calls == 1
    z = undiffuse.Random(3).normal((5, 2))
    assert torch.equal(drawn.as_subclass(torch.Tensor), model.decode(z))
    assert torch.equal(model.sample(5, seed=3, batch=2), drawn)
    assert torch.equal(model.sample(2, seed=3, indices=[4, 1]), drawn[[4, 1]])


def test_what_needs_steps_or_a_denoiser_is_refused(vae: Path):
    model = generator(vae, precision="float32")
    with pytest.raises(Refused, match=r"steps: an autoencoder draws z ~ N\(0, 1\) and decodes it once, without steps"):
        model.sample(1, steps=5)
    with pytest.raises(Refused, match="no way from noise to sample"):
        model.open(n=1).film()
    with pytest.raises(Refused, match="an autoencoder, which has no denoiser: it encodes and decodes"):
        denoising(vae)


def test_without_a_prior_there_are_no_samples_and_no_bound(plain: Path, tmp_path: Path):
    with pytest.raises(Refused, match="holds an autoencoder, which draws none"):
        generator(plain)
    model = undiffuse.load(plain, precision="float32")
    with pytest.raises(Refused, match="without a prior of its latents draws nothing"):
        model.sample(1)
    with pytest.raises(Refused, match=r"a bound on the likelihood needs bottleneck.name = 'kl'"):
        model.scores(None, 0, None)
    report = model.evaluate(EvaluationRequest(how=Judge(cached=False)))
    assert report.save(tmp_path, plain) == ["reconstructions.png", "report.html", "evaluation.json"]
    assert report.found.statistics.bits is None
    assert "likelihood" not in report.found.content()


def test_of_a_codebook_the_use_is_counted(tmp_path: Path):
    network = {"name": "mlp_autoencoder", "latent_channels": 4, "width": 16, "depth": 1}
    tables = recipe(tmp_path, bottleneck={"name": "vq", "size": 8}, network=network)
    model = undiffuse.train(tables, out=tmp_path / "run").run(progress=False)
    found = model.evaluate(EvaluationRequest(how=Judge(metrics=("frechet",), cached=False))).found
    tokens = model.tokens(found.x)
    assert found.codebook.used == len(tokens.unique())
    assert found.codebook.used + found.codebook.dead == 8
    assert found.content()["codebook"]["bits"] == pytest.approx(tokens[0].numel() * np.log2(found.codebook.perplexity))
    assert "rate_distortion" not in found.content()
    assert "8 entries used" in "\n".join(found.lines())


def test_too_few_held_out_items_are_refused_before_anything_is_judged(vae: Path):
    with pytest.raises(Refused, match="5 samples are too few to judge"):
        undiffuse.load(vae).evaluate(EvaluationRequest(request=SampleRequest(n=5)))


def test_a_distance_far_below_its_floor_is_no_doubt_in_the_floor_of_reconstructions(plain: Path):
    """Those of the same items may be nearer than any other draw of the law; samples may not."""
    run = undiffuse.load(plain, precision="float32")
    real = sources.against(run, None)
    perfect = SimpleNamespace(
        **{name: getattr(run, name) for name in ("recipe", "codec", "posterior", "facts")},
        draws=False,
        lossless_bound=False,
        vocabulary=0,
        decode=lambda z: torch.from_numpy(np.asarray(real.held_out.x)),
    )
    asked = EvaluationRequest(request=SampleRequest(n=30), how=Judge(metrics=("frechet",), cached=False))
    found = judge_reconstruction(perfect, None, asked, real).verdicts["reconstruction_frechet"]
    assert found["value"] < 0.5 * found["floor"]
    assert found["warning"] == ""
