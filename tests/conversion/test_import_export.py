"""A folder of diffusers is a run, by `load` and by the commands, and a run becomes such a folder."""

import json
from pathlib import Path

import pytest
import torch
from folders import ddim
from safetensors.torch import load_file

import undiffuse
from undiffuse.conversion.writing import export
from undiffuse.core.errors import Refused

pytestmark = pytest.mark.parity
UNET = Path("unet", "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ddim(tmp_path_factory.mktemp("theirs"))


def test_a_folder_is_a_run_and_the_run_is_that_folder_again(folder: Path, tmp_path: Path):
    run = undiffuse.load(folder, "float32")
    assert run.shape == run.data_shape == (3, 8, 8)
    drawn = run.sample(2, steps=3, seed=1)
    assert drawn.numpy().dtype == "uint8"
    run.save(tmp_path / "run")
    assert (undiffuse.load(tmp_path / "run", "float32").sample(2, steps=3, seed=1).numpy() == drawn.numpy()).all()
    assert export(run, tmp_path / "again") == "DDPMPipeline"
    before, after = load_file(folder / UNET), load_file(tmp_path / "again" / UNET)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_folder_is_no_run_of_ours_and_has_a_digest(folder: Path, tmp_path: Path):
    from undiffuse.models.load import description, digest

    assert description(folder) is None
    assert digest(folder) == digest(folder)
    other = ddim(tmp_path / "other", num_train_timesteps=100)
    assert digest(folder) != digest(other)


def test_what_is_missing_or_unknown_is_refused_by_name(folder: Path, tmp_path: Path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "DDIMPipelin"}')
    with pytest.raises(Refused, match=r"holds DDIMPipelin \(did you mean 'DDIMPipeline'\?\); read are: .*DDPMPipeline"):
        undiffuse.load(tmp_path)
    (tmp_path / "model_index.json").write_text('{"_class_name": "DDIMPipeline"}')
    with pytest.raises(Refused, match=r"lacks its unet: .*unet/config.json is not there; put it there"):
        undiffuse.load(tmp_path)
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps({"sample_size": 8}))
    (tmp_path / "scheduler").symlink_to(folder / "scheduler")
    with pytest.raises(Refused, match=r"unet holds no weights: there is no diffusion_pytorch_model\.safetensors"):
        undiffuse.load(tmp_path)
    (tmp_path / "unet" / "config.json").write_text("{}")
    with pytest.raises(Refused, match=r"unet/config\.json does not say its sample_size"):
        undiffuse.load(tmp_path)


def test_a_run_that_no_pipeline_holds_says_why(folder: Path, tmp_path: Path):
    run = undiffuse.load(folder, "float32")
    recipe = run.recipe.with_tables(schedule={"name": "edm"})
    moving = type(run)(run.denoiser, run.codec, (3, 4, 8, 8), run.recipe, run.conditions, run.facts)
    with pytest.raises(Refused, match=r"ddpm: items have the shape \(3, 4, 8, 8\), and those of a UNet2DModel are"):
        export(moving, tmp_path / "out")
    changed = type(run)(run.denoiser, run.codec, run.shape, recipe, run.conditions, run.facts)
    with pytest.raises(Refused, match=r"no pipeline of diffusers holds this run\n(.*\n)*  ddpm: schedule 'edm'"):
        export(changed, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(Refused, match="is there already: name a folder that is not, or an empty one"):
        export(run, folder)


def test_the_commands(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from undiffuse.cli.main import main

    def done(*words: object) -> str:
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in words])
        said = capsys.readouterr().err
        assert stop.value.code == (2 if said.startswith("error") else 0)
        return said

    assert "run: a model of samples, " in done("import", folder, "-o", tmp_path / "run")
    assert {each.name for each in (tmp_path / "run").iterdir()} == {"model.safetensors", "model.json", "recipe.toml"}
    assert "error: " in (said := done("import", folder, "-o", tmp_path / "run"))
    assert "is there already" in said
    assert "a DDPMPipeline of diffusers" in done("export", tmp_path / "run", "-o", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "model_index.json").read_text())["_class_name"] == "DDPMPipeline"
