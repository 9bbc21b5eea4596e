"""A StableDiffusionControlNetPipeline is a control with its base: one folder, and no --base beside it."""

import json
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from folders import stable_diffusion

import undiffuse
from undiffuse.conversion.pipelines.controlnet import ControlNetPipeline
from undiffuse.conversion.writing import export
from undiffuse.core.errors import Refused
from undiffuse.models.named_runs import steered

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole pipeline, and beside it the plain one that it steers."""
    from diffusers.models.controlnets.controlnet import ControlNetModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    place = tmp_path_factory.mktemp("control")
    home = stable_diffusion(place / "plain")
    unet: Any = UNet2DConditionModel.from_pretrained(home / "unet")
    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32))
    with torch.no_grad():
        for weight in control.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    control.save_pretrained(place / "whole" / "controlnet")
    for each in home.iterdir():
        if each.is_dir():
            (place / "whole" / each.name).symlink_to(each)
    said = json.loads((home / "model_index.json").read_text())
    own = {"_class_name": "StableDiffusionControlNetPipeline", "controlnet": ["diffusers", "ControlNetModel"]}
    (place / "whole" / "model_index.json").write_text(json.dumps(said | own))
    return place


def test_it_is_the_control_on_its_base_and_draws_without_any_other_run(folder: Path, tmp_path: Path):
    plain, run = (undiffuse.load(folder / name, "float32") for name in ("plain", "whole"))
    apart: Any = ControlNetPipeline().on(folder / "whole" / "controlnet", plain, "plain")
    assert run.steers
    edges = np.random.default_rng(0).integers(0, 2, (3, 16, 16), dtype=np.uint8) * np.uint8(255)
    asked: dict[str, Any] = {"steps": 3, "seed": 1, "text": "the red cat"}
    drawn = run.sample(2, picture=edges, **asked).numpy()
    assert np.array_equal(drawn, apart.sample(2, picture=edges, **asked).numpy())
    assert not np.array_equal(drawn, plain.sample(2, **asked).numpy())
    run.save(tmp_path / "run")
    moved = undiffuse.load((tmp_path / "run").rename(tmp_path / "moved"), "float32")
    assert np.array_equal(moved.sample(2, picture=edges, **asked).numpy(), drawn)
    assert export(moved, tmp_path / "again") == "ControlNetModel"


def test_a_model_with_controls_beside_it_is_not_saved_as_if_it_were_one_run(folder: Path, tmp_path: Path):
    plain, run = (undiffuse.load(folder / name, "float32") for name in ("plain", "whole"))
    model = steered(plain, [(run, 0.5, None)])
    with pytest.raises(Refused, match=r"has controls that were asked for beside it \(.*:0\.5\).*controlnet = \["):
        model.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.each(
    ("said", "message"),
    [
        ({"controlnet": ["diffusers", "MultiControlNetModel"]}, "one ControlNetModel is read. Of several, import the"),
        ({"_class_name": "StableDiffusionPipeline"}, "has a part 'controlnet'"),
        ({"_class_name": "StableDiffusionXLPipeline"}, "holds a StableDiffusionXLPipeline, which is not read: it has"),
        ({"_class_name": "StableDiffusionDepth2ImgPipeline"}, "a control of depth steers a plain one"),
        ({"_class_name": "LDMTextToImagePipeline"}, "it reads texts by a BERT that was trained along"),
    ],
)
def test_what_else_such_folders_hold_is_refused_by_name(folder: Path, tmp_path: Path, said: Any, message: str):
    home = Path(mkdtemp(dir=tmp_path))
    for each in (folder / "whole").iterdir():
        (home / each.name).symlink_to(each)
    index = home / "model_index.json"
    whole = json.loads(index.read_text())
    index.unlink()
    index.write_text(json.dumps(whole | said))
    with pytest.raises(Refused, match=message):
        undiffuse.load(home)
