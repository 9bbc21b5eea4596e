"""A model of latents is a run like any other: it trains, travels whole, samples, is judged and edits in pixels."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latent_runs import tables

import undiffuse
from undiffuse import editing
from undiffuse.core.errors import Refused
from undiffuse.evaluation.evaluate import evaluate_run
from undiffuse.evaluation.judge import Judge
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.request import SampleRequest
from undiffuse.storage.files import read_tensors

pytestmark = pytest.mark.usefixtures("quick_evaluation")

Call = Callable[..., tuple[int, str]]


def images(place: Path) -> np.ndarray:
    return np.moveaxis(np.load(place / "images.npz")["images"], -1, 1)


def test_it_samples_pixels_and_needs_nothing_but_its_own_file(latent: Path, tmp_path: Path):
    shutil.copytree(latent, tmp_path / "alone")
    model = undiffuse.load(tmp_path / "alone", precision="float32")
    assert model.shape == (2, 4, 4)
    assert model.data_shape == (3, 8, 8)
    drawn = model.sample(5, label=1)
    assert drawn.shape == (5, 3, 8, 8)
    assert drawn.dtype == torch.uint8
    assert drawn.kind == "images"
    assert torch.equal(model.sample(2, label=1, indices=[1, 4]), drawn[[1, 4]])
    names = read_tensors(latent / "model.safetensors", "model")[0]
    assert any(name.startswith("uses.codec.autoencoder.network.decoder") for name in names)
    about = json.loads((latent / "model.json").read_text())
    assert len(about["codec"]["std"]) == len(about["codec"]["mean"]) == 2
    assert about["codec"]["shape"] == [3, 8, 8]
    assert list((latent / "previews").glob("*.png"))


def test_what_is_encoded_has_unit_deviation(place: Path, latent: Path):
    model = undiffuse.load(latent, precision="float32")
    x = images(place)
    z = torch.cat([model.codec.encode(x, undiffuse.Random(i)) for i in range(20)]).double()
    torch.testing.assert_close(
        z.std((0, 2, 3)), torch.ones(2, dtype=torch.float64), atol=0.1, rtol=0
    )  # a part is held out
    assert model.codec == undiffuse.load(latent, precision="float32").codec


def test_a_resumed_run_is_the_uninterrupted_one(place: Path, autoencoder: Path, tmp_path: Path):
    recipe = tables(place, train={**tables(place)["train"], "steps": 4, "checkpoint_every": 2, "flip": True})
    whole = undiffuse.train(recipe, out=tmp_path / "whole").run(progress=False)
    first = undiffuse.train(recipe, out=tmp_path / "half")
    for numbers in first:
        if numbers["step"] == 2:
            first.stop.signal = 15
    on = undiffuse.train(recipe, out=tmp_path / "half", resume=True).run(progress=False)
    for name, value in on.module.state_dict().items():
        assert torch.equal(value, whole.module.state_dict()[name])


def test_it_is_judged_compared_and_scored_in_pixels(place: Path, latent: Path, undiffuse_: Call, tmp_path: Path):
    model = undiffuse.load(latent, precision="float32")
    how = Judge(metrics=("frechet", "nll"), cached=False)
    found: Any = evaluate_run(model, EvaluationRequest(how=how, request=SampleRequest(n=30)))
    assert found.verdicts.keys() == {"frechet"}
    assert "through an autoencoder" in found.about["likelihood"]["convention"]
    assert found.about["likelihood"]["elements"] == 3 * 8 * 8
    status, said = undiffuse_("sample", latent, "-n", 3, "-o", tmp_path / "way.gif")
    assert (status, (tmp_path / "way.gif").exists()) == (0, True), said
    status, said = undiffuse_("show", latent)
    assert status == 0
    assert "2 x 4 x 4" in said
    assert "codec.autoencoder, inside" in said


def test_it_edits_pixels(place: Path, latent: Path):
    model = undiffuse.load(latent, precision="float32")
    x, y = images(place)[:2]
    assert editing.vary(model, x, 0.5, n=2).shape == (2, 3, 8, 8)
    mask = np.ones((8, 8), np.float32)
    mask[3:6, 3:6] = 0
    for method in ("replace", "mmps"):
        painted = editing.inpaint(model, x, mask, method, n=2)
        assert torch.equal(
            painted * torch.as_tensor(mask), (torch.as_tensor(x) * torch.as_tensor(mask)).expand(2, -1, -1, -1)
        )
    way, error = editing.between(model, x, y, frames=3, steps=4)
    assert way.shape == (3, 3, 8, 8)
    assert np.isfinite(error)
    large = editing.outpaint(model, x, (12, 16), steps=2)
    assert large.shape == (1, 3, 12, 16)
    assert torch.equal(large[0, :, 2:10, 4:12], torch.as_tensor(x))
    with pytest.raises(Refused, match=r"a latent stands for .2, 2. pixels: the corner"):
        editing.outpaint(model, x, (12, 16), corner=(1, 2))
    for refused in (lambda: editing.denoise(model, x, 3.0), lambda: editing.restore(model, x, lambda z: z)):
        with pytest.raises(Refused, match="this run is of latents, in which a measurement or the noise"):
            refused()


@pytest.mark.parametrize("threshold", ["static", "dynamic:0.99"])
def test_latents_are_not_clipped(latent: Path, threshold: str):
    with pytest.raises(Refused, match=r"needs data with bounds.*latents, tokens and what 'latent' encodes have none"):
        undiffuse.load(latent, precision="float32").sample(1, threshold=threshold)


def test_what_does_not_fit_is_refused_by_name(place: Path, latent: Path, tmp_path: Path):
    x = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)
    for name, changed in (("grey", x[..., 0]), ("odd", x[:, 1:]), ("floats", x.astype(np.float32))):
        np.savez(tmp_path / f"{name}.npz", images=changed)
    for name, message in (
        ("grey", r"takes items of shape \(3, height, width\), not \(1, 8, 8\)"),
        ("odd", "needs a height that 2 divides, not 7"),
        ("floats", "trained on data of uint8, and these are of float32"),
    ):
        other = tables(place, data={"name": "file", "path": str(tmp_path / f"{name}.npz")}, conditions={})
        with pytest.raises(Refused, match=message):
            undiffuse.train(other, out=tmp_path / "run")
    for run, message in (
        (latent, "holds a model of samples, and an autoencoder is needed"),
        ("away", "codec.autoencoder = 'away': there is no run at away$"),
        (tmp_path / "fashion-kl", "; train it first: undiffuse train fashion-kl --out .*fashion-kl$"),
    ):
        with pytest.raises(Refused, match=message):
            undiffuse.train(tables(place, codec={"name": "latent", "autoencoder": str(run)}), out=tmp_path / "run")
    with pytest.raises(Refused, match="codecs 'latent' needs autoencoder"):
        undiffuse.train(tables(place, codec={"name": "latent"}), out=tmp_path / "run")


def test_data_become_latents_and_data_again(
    place: Path, autoencoder: Path, latent: Path, undiffuse_: Call, tmp_path: Path
):
    raw, seen, made = (tmp_path / f"{name}.npz" for name in ("raw", "seen", "made"))
    data = place / "images.npz"
    status, said = undiffuse_("encode", autoencoder, data, "--set", "conditions.text=captions", "-o", raw)
    assert (status, "120 latents of 2 x 4 x 4, as the encoder gives them" in said) == (0, True), said
    with np.load(raw) as found:
        model = undiffuse.load(autoencoder, precision="float32")
        assert np.allclose(found["latents"], model.encode(images(place)).numpy(), atol=1e-5)
        assert np.allclose(found["std"], found["latents"].std((0, 2, 3)), rtol=1e-5)
        assert found["text"][7] == "number 2"
        assert found["classes"][found["labels"][4]] == "1"
        assert json.loads(str(found["made_by"]))["run"] == str(autoencoder)
    assert undiffuse_("encode", latent, data, "--seed", 3, "-o", seen)[0] == 0
    with np.load(seen) as found:
        codec = undiffuse.load(latent, precision="float32").codec
        assert np.allclose(found["latents"], codec.encode(images(place), undiffuse.Random(3)).numpy(), atol=1e-4)
        assert np.allclose(found["std"], codec.std)
    for run, file in ((autoencoder, raw), (latent, raw), (latent, seen), (autoencoder, seen)):
        assert undiffuse_("decode", run, file, "-o", made)[0] == 0
        with np.load(made) as found:
            assert found["images"].shape == (120, 8, 8, 3)
            assert found["labels"].tolist() == [i % 3 for i in range(120)]
    assert undiffuse_("decode", autoencoder, raw, "-o", tmp_path / "made.png")[0] == 0


def test_a_model_trains_on_a_file_of_latents_once_normalised(
    place: Path, autoencoder: Path, latent: Path, undiffuse_: Call, tmp_path: Path
):
    raw, seen = tmp_path / "raw.npz", tmp_path / "seen.npz"
    for run, file in ((autoencoder, raw), (latent, seen)):
        assert undiffuse_("encode", run, place / "images.npz", "-o", file)[0] == 0

    def trained(file: Path, codec: str, **settings: Any) -> Any:
        about = {"name": codec} | ({"autoencoder": str(autoencoder)} if codec == "latent" else {})
        data = {"name": "file", "path": str(file)}
        recipe = tables(place, data=data, codec=about, train={**tables(place)["train"], **settings})
        return undiffuse.train(recipe, out=tmp_path / f"{file.stem}-{codec}").run(progress=False)

    for file, codec, message in (
        (raw, "latent", "raw holds latents of .*, and codec 'latent' encodes the data themselves"),
        (raw, "identity", "not normalised .deviations .*, nor does codec 'identity' do it: --set codec.name=whiten"),
        (raw, "pixels", "not normalised .deviations .*, nor does codec 'pixels' do it: --set codec.name=whiten"),
        (seen, "whiten", "normalised already, and codec 'whiten' would do it twice: --set codec.name=identity"),
        (seen, "pixels", "normalised already, and codec 'pixels' would do it twice"),
    ):
        with pytest.raises(Refused, match=message):
            trained(file, codec)
    with pytest.raises(Refused, match="mirrored latents are not those of mirrored items"):
        trained(raw, "whiten", flip=True)
    assert trained(seen, "identity").shape == (2, 4, 4)
    trained(raw, "whiten")
    assert undiffuse_("sample", tmp_path / "raw-whiten", "-n", 4, "-o", tmp_path / "drawn.npz")[0] == 0
    assert undiffuse_("decode", autoencoder, tmp_path / "drawn.npz", "-o", tmp_path / "drawn.png")[0] == 0


def test_latents_of_another_autoencoder_are_not_decoded(
    place: Path, autoencoder: Path, latent: Path, undiffuse_: Call, tmp_path: Path
):
    def rewritten(**changed: Any) -> Path:
        with np.load(tmp_path / "raw.npz") as found:
            arrays = {**found, **changed}
        np.savez(tmp_path / "other.npz", **{name: value for name, value in arrays.items() if value is not None})
        return tmp_path / "other.npz"

    assert undiffuse_("encode", latent, place / "images.npz", "-o", tmp_path / "raw.npz")[0] == 0
    made = json.loads(str(np.load(tmp_path / "raw.npz")["made_by"]))
    for changed, message in (
        ({"made_by": np.array(json.dumps({**made, "digest": "none"}))}, "whose autoencoder is another one"),
        ({"std": np.array([1.0, 2.0])}, "normalised by other statistics than those of"),
        ({"std": None}, "made_by is damaged, or the statistics mean and std are"),
        ({"made_by": np.array("[]")}, "made_by is broken: it holds no JSON object"),
        ({"made_by": None, "latents": np.zeros((120, 3, 4, 4), np.float32)}, "have the shape .2, 4, 4., and these are"),
    ):
        status, said = undiffuse_("decode", latent, rewritten(**changed), "-o", tmp_path / "x.png")
        assert (status, re.search(message, said) is not None) == (2, True), said
    for words in (["encode", "away", "digits"], ["decode", "away", "x.npz"]):
        assert undiffuse_(*words)[0] == 2
