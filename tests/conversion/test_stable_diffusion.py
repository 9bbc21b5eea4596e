"""A StableDiffusionPipeline is a run like any other: whole pictures are equal both ways, in float64."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folders import stable_diffusion
from safetensors.torch import load_file
from torch import Tensor

import undiffuse
from undiffuse.conversion.writing import export
from undiffuse.core.errors import Refused

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stable_diffusion(tmp_path_factory.mktemp("sd") / "theirs")


@pytest.fixture(scope="module")
def run(folder: Path) -> Any:
    return undiffuse.load(folder, "float32")


def wide(run: Any) -> Any:
    """The run in float64, with its autoencoder and text encoder."""
    for each in (run, *run.uses.values()):
        each.module.double()
    return run


def theirs(folder: Path, text: Tensor, negative: Tensor, start: Tensor, steps: int, guidance: float) -> Tensor:
    """The picture in [-1, 1], before rounding, that the pipeline's own parts make: its loop is these lines."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet")
    vae: Any = AutoencoderKL.from_pretrained(folder / "vae")
    noise: Any = DDIMScheduler.from_pretrained(folder / "scheduler")
    unet, vae, x, both = unet.double(), vae.double(), start, torch.cat([negative, text])
    noise.set_timesteps(steps)
    with torch.inference_mode():
        for t in noise.timesteps:
            without, told = unet(torch.cat([x, x]), t, both).sample.chunk(2)
            x = noise.step(without + guidance * (told - without), t, x).prev_sample
        return vae.decode(x / vae.config.scaling_factor).sample


def ours(run: Any, start: Tensor, **options: Any) -> Tensor:
    """The same of a run."""
    session = replace(run.open(n=1, **options), start=start)
    mean, std = run.codec.mean[0], run.codec.std[0]
    with torch.inference_mode():
        return run.codec.autoencoder.autoencoder.decode(session.encoded() * std + mean)


def test_a_whole_picture_is_equal_in_float64_both_ways(folder: Path, tmp_path: Path):
    run = wide(undiffuse.load(folder, "float32"))
    encoder, start = run.uses["conditions.text.encoder"], torch.randn(1, 4, 8, 8).double()
    text, empty, other = (encoder.embed([prompt]) for prompt in ("the red cat", "", "a dog"))
    found = ours(run, start, steps=10, guidance=3.0, text="the red cat")
    wanted = theirs(folder, text, empty, start, 10, 3.0)
    assert wanted.std() > 0.01
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    with_negative = ours(run, start, steps=10, guidance=3.0, text="the red cat", negative="a dog")
    torch.testing.assert_close(with_negative, theirs(folder, text, other, start, 10, 3.0), rtol=0, atol=1e-4)
    assert (with_negative - found).abs().max() > 1e-3
    narrow = undiffuse.load(folder, "float32")
    assert export(narrow, tmp_path / "again") == "StableDiffusionPipeline"
    torch.testing.assert_close(theirs(tmp_path / "again", text, empty, start, 10, 3.0), wanted, rtol=0, atol=1e-8)


def test_every_file_comes_back(folder: Path, run: Any, tmp_path: Path):
    export(run, tmp_path / "out")
    for part in ("unet", "vae", "text_encoder"):
        before, after = (load_file(next((home / part).glob("*.safetensors"))) for home in (folder, tmp_path / "out"))
        assert before.keys() == after.keys(), part
        assert all(torch.equal(before[name], after[name]) for name in before), part
    said = json.loads((tmp_path / "out" / "model_index.json").read_text())
    assert said["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert said["tokenizer"] == ["transformers", "CLIPTokenizer"]
    read = [json.loads((home / "tokenizer" / "vocab.json").read_text()) for home in (folder, tmp_path / "out")]
    assert read[0] == read[1]
    assert len({(home / "tokenizer" / "merges.txt").read_text() for home in (folder, tmp_path / "out")}) == 1


def test_the_run_is_one_file_with_all_that_it_needs(run: Any, tmp_path: Path):
    run.save(tmp_path / "run")
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    again = undiffuse.load(moved, "float32")
    options: dict[str, Any] = {"steps": 3, "seed": 1, "text": "the cat"}
    assert np.array_equal(again.sample(2, **options).numpy(), run.sample(2, **options).numpy())
    assert list(again.tree()) == list(run.tree())


@pytest.mark.each(
    "options",
    [
        {"sampler": "unipc", "steps": 4},
        {"sampler": "ancestral", "steps": 3, "grid": "trailing"},
        {"sampler": "multistep", "steps": 4, "interval": (0.2, 5.0), "rescale": 0.7},
        {"steps": 3, "guidance": 1.0},
        {"steps": 3, "guidance": {"text": 2.0}, "negative": {"text": "a dog"}},
    ],
)
def test_it_samples_as_any_run(run: Any, options: dict[str, Any]):
    drawn = run.sample(2, text="the red cat", **options).numpy()
    assert drawn.shape == (2, 3, 16, 16)
    assert drawn.std() > 0


def test_a_picture_is_varied_and_painted_in(run: Any):
    from undiffuse.editing.sdedit import vary

    picture = run.sample(1, steps=2, text="the cat").numpy()[0]
    changed = vary(run, picture, 0.5, 2, text="the red cat", steps=4)
    assert tuple(changed.shape) == (2, 3, 16, 16)


def test_an_empty_prompt_is_none_and_long_ones_are_counted(run: Any):
    one, other = (run.sample(1, steps=2, guidance=1.0, seed=3, **cond).numpy() for cond in ({"text": ""}, {}))
    assert np.abs(one.astype(int) - other.astype(int)).max() <= 1
    with pytest.raises(Refused, match="the text has 7 tokens, and the encoder reads 6: shorten it by 1"):
        run.sample(1, text="a b c d e f g")
    with pytest.raises(Refused, match="the text has 7 tokens"):
        run.sample(1, text="a", negative="a b c d e f g")


def test_networks_take_no_memory_and_the_empty_prompt_is_embedded_when_it_is_needed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    from undiffuse.models.text_encoder import TextEncoderRun
    from undiffuse.sampling.run import Run

    embedded, embed = list[Any](), TextEncoderRun.embed
    monkeypatch.setattr(TextEncoderRun, "embed", lambda self, texts: embedded.append(texts) or embed(self, texts))
    monkeypatch.setattr(Run, "unwritten", lambda about: pytest.fail("a network took memory of its own"))
    loaded = undiffuse.load(folder, "float32")
    assert not embedded
    loaded.sample(1, text="the cat", steps=2, guidance=1.0)
    assert embedded == [["the cat"]]
    state = loaded.module.state_dict()["network.texts.null_text"]
    assert embedded[1:] == [[""]]
    torch.testing.assert_close(state, loaded.uses["conditions.text.encoder"].embed([""])[0], rtol=0, atol=0)
    assert state.abs().max() > 0.1


@pytest.mark.each(
    ("options", "message"),
    [
        ({"negative": "a"}, "negative needs guidance: give it a weight, and a condition to guide to"),
        ({"text": "a", "negative": "b", "guidance": 1.0}, "negative needs guidance"),
        ({"text": "a", "negative": {"txt": "b"}}, r"has no 'txt' \(did you mean 'text'\?\)"),
    ],
)
def test_what_negative_prompts_need(run: Any, options: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        run.sample(1, steps=2, **options)


@pytest.mark.each(
    ("part", "field", "value", "message"),
    [
        ("unet", "cross_attention_dim", 16, "reads texts 16 wide, and its text encoder makes them 12 wide"),
        ("unet", "in_channels", 5, "takes 5 channels and gives 4, and the autoencoder's latents have 4"),
        ("unet", "encoder_hid_dim_type", "text_proj", "encoder_hid_dim_type = 'text_proj'; a UNet has only None"),
        ("", "text_encoder_2", ["transformers", "CLIPTextModel"], "has a part 'text_encoder_2'"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(
    folder: Path, tmp_path: Path, part: str, field: str, value: Any, message: str
):
    home = tmp_path / f"{field}"
    home.mkdir()
    for each in folder.iterdir():
        (home / each.name).symlink_to(each)
    file = folder / part / ("config.json" if part else "model_index.json")
    said = json.loads(file.read_text()) | {field: value}
    if part:
        (home / part).unlink()
        (home / part).mkdir()
        for each in (folder / part).iterdir():
            if each.name != file.name:
                (home / part / each.name).symlink_to(each)
    else:
        (home / file.name).unlink()
    (home / part / file.name).write_text(json.dumps(said))
    with pytest.raises(Refused, match=message):
        undiffuse.load(home)


@pytest.mark.each("part", ["vae", "text_encoder", "tokenizer", "unet", "scheduler"])
def test_a_part_that_is_missing_is_named_with_its_place(folder: Path, tmp_path: Path, part: str):
    home = tmp_path / part
    home.mkdir()
    for each in folder.iterdir():
        if each.name != part:
            (home / each.name).symlink_to(each)
    with pytest.raises(Refused, match=rf"lacks its {part}: .*{part}.*is not there; put it there"):
        undiffuse.load(home)
