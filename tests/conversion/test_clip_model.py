"""CLIP's encoder of images, in a CLIPModel and in a pipeline of variations: as transformers and diffusers have them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folders import CLIP, clip_model, index, stable_diffusion
from safetensors.torch import load_file, save_file
from test_stable_diffusion import ours, theirs, wide

import undiffuse
from undiffuse.conditions.text import TextCondition
from undiffuse.conversion.writing import export
from undiffuse.core.errors import Refused
from undiffuse.networks.clip_vision import ClipVision

pytestmark = pytest.mark.parity

PICTURES = (np.arange(2 * 3 * 64).reshape(2, 3, 8, 8) * 7 % 256).astype(np.uint8)
TEXTS = ["the red cat", "a b"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_model(tmp_path_factory.mktemp("clip"))


def test_similarities_are_those_of_transformers(pair: Path, tmp_path: Path):
    """Version 5.24.0 gave these in float64."""
    run = undiffuse.load(pair, "float32")
    run.save(tmp_path)
    assert torch.equal(undiffuse.load(tmp_path).similarity(PICTURES, TEXTS), run.similarity(PICTURES, TEXTS))
    large = np.kron(PICTURES, np.ones((1, 1, 2, 2), np.uint8))
    torch.testing.assert_close(run.encode_image(large), run.encode_image(PICTURES), rtol=0, atol=1e-5)
    module = run.module.double()
    z = torch.from_numpy(PICTURES).double() / 127.5 - 1
    items, words = module.embed_items(z), run.encode_text(TEXTS)
    assert (items.sum().item(), words.sum().item()) == pytest.approx((-1.3494160396912624, -0.06841496102975722))
    logits = [[-0.08929802810736216, -0.04359849442766563], [-0.0855695308869234, -0.038918366990096404]]
    torch.testing.assert_close(module.scale * items @ words.mT, torch.tensor(logits).double(), rtol=0, atol=1e-8)
    shown = run.embed(TEXTS)
    assert tuple(shown.shape) == (2, *run.embedded_shape)
    assert not shown[1, 4:-1].any()  # the start, two symbols and the end


def test_what_such_a_pair_cannot_do_is_refused_by_name(pair: Path, tmp_path: Path):
    run = undiffuse.load(pair, "float32")
    with pytest.raises(Refused, match="the text has 8 tokens, and the encoder reads 6"):
        run.encode_text("a b c a b c d e")
    with pytest.raises(Refused, match=r"reads items of shape \(3, 8, 8\), not \(1, 8, 8\)"):
        run.encode_image(PICTURES[:, :1])
    with pytest.raises(Refused, match="encoder = 'clip' is of a pair of encoders that was imported"):
        TextCondition(encoder="clip").fit(np.array(["a"]), ())
    with pytest.raises(Refused, match="clip: a CLIPModel of transformers is read, and not written"):
        export(run, tmp_path / "out")
    with pytest.raises(Refused, match=r"reads images of shape \(3, 8, 8\)"):
        run.module.items.network(torch.zeros(1, 3, 4, 4).float(), torch.zeros(1).float())
    with pytest.raises(Refused, match="has patches that divide this, not 3"):
        ClipVision(size=8, patch=3, width=8, depth=1)
    with pytest.raises(Refused, match="a mean and a std above 0 of each of 3 channels"):
        ClipVision(size=8, width=8, depth=1, mean=(0.5,))
    for file in pair.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    said = json.loads((pair / "config.json").read_text())

    def refused(message: str, **changes: Any) -> None:
        (tmp_path / "config.json").write_text(json.dumps(said | changes))
        with pytest.raises(Refused, match=message):
            undiffuse.load(tmp_path)

    refused("this CLIPModel has hidden_act = 'relu'", text_config=said["text_config"] | {"hidden_act": "relu"})
    refused("this CLIPModel has hidden_act = 'relu'", vision_config=said["vision_config"] | {"hidden_act": "relu"})
    refused("has more symbols than the 10 of", text_config=said["text_config"] | {"vocab_size": 10})
    refused("has vision_config = 3, and this is an object", vision_config=3)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5], "image_std": [0.5]}')
    refused("image_mean = .* and images have 3 channels")
    (tmp_path / "preprocessor_config.json").write_text('{"do_normalize": false}')
    weights = load_file(pair / "model.safetensors")
    for message, changed in (
        ("lacks 'logit_scale'", {name: each for name, each in weights.items() if name != "logit_scale"}),
        ("holds 'other', which a pair of encoders does not have", weights | {"other": torch.zeros(1)}),
    ):
        save_file(changed, tmp_path / "model.safetensors")
        refused(message)


@pytest.fixture(scope="module")
def variation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = stable_diffusion(tmp_path_factory.mktemp("variation") / "theirs")
    clip_model(home / "image_encoder", CLIP["hidden_size"], texts=False)
    said = json.loads((home / "model_index.json").read_text())
    parts = {name: said[name] for name in ("vae", "unet", "scheduler")}
    encoder = ["transformers", "CLIPVisionModelWithProjection"]
    return index(home, "StableDiffusionImageVariationPipeline", **parts, image_encoder=encoder)


def test_a_picture_is_the_prompt_of_its_variations_both_ways(variation: Path, tmp_path: Path):
    """The loop of diffusers: the embedding of the picture is one token, and zeros stand for none."""
    run = undiffuse.load(variation, "float32")
    assert export(run, tmp_path / "again") == "StableDiffusionImageVariationPipeline"
    for name in ("unet/diffusion_pytorch_model", "image_encoder/model"):
        before, after = (load_file(home / f"{name}.safetensors") for home in (variation, tmp_path / "again"))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
    exact = wide(undiffuse.load(tmp_path / "again", "float32"))
    start = torch.randn(1, 4, 8, 8).double()
    shown = exact.uses["conditions.picture.encoder"].embed_images(PICTURES[:1])
    found = ours(exact, start, steps=4, guidance=3.0, picture=PICTURES[0])
    wanted = theirs(variation, shown, torch.zeros_like(shown), start, 4, 3.0)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    run.save(tmp_path / "run")
    saved = undiffuse.load(tmp_path / "run", "float32")
    one, other = (each.sample(2, picture=PICTURES[1], steps=2) for each in (run, saved))
    assert torch.equal(one, other)
    embedded = saved.uses["conditions.picture.encoder"].embed_images(PICTURES[1:])
    assert torch.equal(one, run.sample(2, picture=embedded.numpy(), steps=2))
    with pytest.raises(Refused, match=r"picture is a picture of 3 channels, .* given is an array of shape \(8, 8\)"):
        run.sample(1, picture=PICTURES[0, 0])


def test_the_encoder_of_pictures_is_that_of_transformers_and_a_run_by_itself(variation: Path, tmp_path: Path):
    """Version 5.24.0 gave this embedding in float64."""
    clip_model(tmp_path / "alone", texts=False)
    run = undiffuse.load(tmp_path / "alone", "float32")
    wanted = [-1.6281562237676244, -1.3584392430808268, 1.0766167141974994, 1.7955560895657723]
    assert run.embed_images(PICTURES)[0, 0, :4].tolist() == pytest.approx(wanted, abs=1e-5)
    assert run.about() == {"embeds": "pictures of 3 x 8 x 8 as 1 x 6 numbers"}
    run.attempt()
    assert export(run, tmp_path / "out") == "CLIPVisionModelWithProjection"
    assert torch.equal(undiffuse.load(tmp_path / "out", "float32").embed_images(PICTURES), run.embed_images(PICTURES))
    with pytest.raises(Refused, match="read from a folder, by `undiffuse import`, and not trained here"):
        type(run).check(run.recipe, {})
    with pytest.raises(Refused, match="judged by the pictures of a model that reads it"):
        run.evaluate(None)
    condition: Any = undiffuse.load(variation, "float32").conditions["picture"]
    values = condition.derivation("picture")(PICTURES, 255.0)
    assert condition.accepts(values)
    assert condition.fit(values, ()).shape == (1, 12)
    torch.testing.assert_close(condition.encode(values), condition.given(PICTURES, 2, "picture"))
    narrow = json.loads((variation / "unet" / "config.json").read_text()) | {"cross_attention_dim": 8}
    (variation / "unet" / "config.json").write_text(json.dumps(narrow))
    with pytest.raises(Refused, match="reads images 8 wide, and its image encoder makes them 12 wide"):
        undiffuse.load(variation)
