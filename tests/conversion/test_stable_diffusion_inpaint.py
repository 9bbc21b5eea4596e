"""A StableDiffusionInpaintPipeline paints in by its network's own input: pictures are equal both ways, in float64."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folders import stable_diffusion
from PIL import Image
from safetensors.torch import load_file
from test_stable_diffusion import ours, wide
from torch import Tensor
from torch.nn import functional as F

import undiffuse
from undiffuse.cli.main import app
from undiffuse.conversion.writing import export
from undiffuse.core.errors import Refused
from undiffuse.editing.inverse_problems import inpaint

pytestmark = pytest.mark.parity

PICTURE = np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8)
KNOWN = np.ones((1, 16, 16), np.uint8)
KNOWN[:, 3:9, 5:14] = 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = stable_diffusion(tmp_path_factory.mktemp("inpaint") / "theirs", {"in_channels": 9})
    file = home / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"_class_name": "StableDiffusionInpaintPipeline"}))
    return home


@pytest.fixture(scope="module")
def run(folder: Path) -> Any:
    return undiffuse.load(folder, "float32")


def theirs(folder: Path, text: Tensor, negative: Tensor, start: Tensor, known: np.ndarray) -> Tensor:
    """The picture in [-1, 1] that the pipeline's own parts make, of the mode of the masked picture's latents."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet").double()
    vae: Any = AutoencoderKL.from_pretrained(folder / "vae").double()
    noise: Any = DDIMScheduler.from_pretrained(folder / "scheduler")
    noise.set_timesteps(10)
    picture = torch.from_numpy(PICTURE).double()[None] / 127.5 - 1
    hole = torch.from_numpy(1 - known).double()[None]
    x, both = start, torch.cat([negative, text])
    with torch.inference_mode():
        shown = vae.encode(picture * (hole < 0.5)).latent_dist.mode() * vae.config.scaling_factor
        beside = torch.cat([F.interpolate(hole, (8, 8)), shown], dim=1)
        for t in noise.timesteps:
            told = torch.cat([x, beside], dim=1)
            without, guided = unet(torch.cat([told, told]), t, both).sample.chunk(2)
            x = noise.step(without + 3.0 * (guided - without), t, x).prev_sample
        return vae.decode(x / vae.config.scaling_factor).sample


def test_a_whole_picture_is_equal_in_float64_and_every_weight_comes_back(folder: Path, run: Any, tmp_path: Path):
    assert export(run, tmp_path / "again") == "StableDiffusionInpaintPipeline"
    before, after = (load_file(next((home / "unet").glob("*.safetensors"))) for home in (folder, tmp_path / "again"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    exact = wide(undiffuse.load(tmp_path / "again", "float32"))
    encoder, start = exact.uses["conditions.text.encoder"], torch.randn(1, 4, 8, 8).double()
    text, empty = (encoder.embed([prompt]) for prompt in ("the red cat", ""))
    options: dict[str, Any] = {"steps": 10, "guidance": 3.0, "text": "the red cat"}
    found = ours(exact, start, **options, hole=np.concatenate([PICTURE, KNOWN * 255]))
    wanted = theirs(folder, text, empty, start, KNOWN)
    assert wanted.std() > 0.01
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    nothing = ours(exact, start, **options)
    torch.testing.assert_close(nothing, theirs(folder, text, empty, start, 0 * KNOWN), rtol=0, atol=1e-4)
    assert (nothing - found).abs().max() > 1e-3


def test_the_hole_is_painted_by_the_networks_own_input(run: Any, tmp_path: Path):
    options: dict[str, Any] = {"steps": 3, "seed": 2, "text": "the cat"}
    painted = inpaint(run, PICTURE, KNOWN, n=2, **options)
    drawn = run.sample(2, hole=np.concatenate([PICTURE, KNOWN * 255]), **options).numpy()
    hole = np.broadcast_to(KNOWN == 0, drawn.shape)
    assert np.array_equal(painted.numpy()[hole], drawn[hole])
    assert np.array_equal(painted.numpy()[~hole], np.broadcast_to(PICTURE, drawn.shape)[~hole])
    run.save(tmp_path / "run")
    again = undiffuse.load(tmp_path / "run", "float32")
    assert torch.equal(inpaint(again, PICTURE, KNOWN, n=2, **options), painted)
    assert again.tree().keys() == run.tree().keys()
    by_guidance = inpaint(run, PICTURE, KNOWN, "replace", n=2, **options)
    assert not torch.equal(by_guidance, painted)


@pytest.mark.each(
    ("value", "message"),
    [
        (
            PICTURE,
            r"hole is a picture whose last channel is 0 in its hole, uint8 of shape \(4, 16, 16\); given is uint8",
        ),
        (np.zeros((4, 16, 16), np.float32), r"given is float32 of shape \(4, 16, 16\)"),
    ],
)
def test_what_is_no_picture_with_a_hole_is_refused(run: Any, value: Any, message: str):
    with pytest.raises(Refused, match=message):
        run.sample(1, steps=2, text="the cat", hole=value)


@pytest.mark.each("inpaints", [True, False])
def test_the_command_paints_in_with_a_run_for_it_and_with_any_other(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], inpaints: bool
):
    if not inpaints:
        folder = stable_diffusion(tmp_path / "plain")
    Image.fromarray(PICTURE.transpose(1, 2, 0)).save(tmp_path / "picture.png")
    Image.fromarray(255 * (1 - KNOWN[0])).save(tmp_path / "mask.png")
    asked = ["edit", folder, "--image", tmp_path / "picture.png", "--mask", tmp_path / "mask.png", "--text", "the cat"]
    app([*map(str, asked), "--steps", "2", "-o", str(tmp_path / "out.npy")], standalone_mode=False)
    assert ("painted by network" if inpaints else "painted by mmps") in capsys.readouterr().err
    found = np.load(tmp_path / "out.npy")[0]
    known = np.broadcast_to(KNOWN == 1, found.shape)
    assert np.array_equal(found[known], PICTURE[known])
    assert not np.array_equal(found, PICTURE)
