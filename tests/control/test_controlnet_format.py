"""ControlNetModel folders of diffusers: equal outputs, every key both ways, and others refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from undiffuse.cli.import_ import import_
from undiffuse.codecs.identity import Identity
from undiffuse.conditions.text import TextCondition
from undiffuse.conversion.writing import export
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.models.diffusion import Diffusion
from undiffuse.models.load import load
from undiffuse.networks.control import ControlBranch, ControlledNetwork, Frozen, usual_widths
from undiffuse.networks.controlnet_format import from_diffusers, to_diffusers, weights_to
from undiffuse.networks.unet import UNet
from undiffuse.networks.unet_condition_format import arguments, weights_from
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.schedules.scaled_linear_beta import ScaledLinearBeta
from undiffuse.storage.blueprint import Unwritten

pytestmark = pytest.mark.parity

SAME: dict[str, Any] = {
    "in_channels": 4,
    "block_out_channels": (4, 8),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "cross_attention_dim": 8,
    "attention_head_dim": 2,
    "norm_num_groups": 2,
}
UP = ("UpBlock2D", "CrossAttnUpBlock2D")


def stirred(model: Any) -> Any:
    """With weights that are nowhere zero."""
    for weight in model.eval().requires_grad_(False).parameters():
        weight.add_(0.2 * torch.randn_like(weight))
    return model


def ours_of(theirs: Any, config: dict[str, Any]) -> UNet:
    """The U-Net that is their UNet2DConditionModel."""
    text = ("text", (5, config["cross_attention_dim"]))
    unet = UNet(**arguments(config), conditions={"text": text})
    found = weights_from(theirs.state_dict(), unet.residual_names())
    unet.load_state_dict({**unet.state_dict(), **found})
    return unet.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, UNet, Path]:
    """Their U-Net and their control, our U-Net, and the folder of the control."""
    from diffusers.models.controlnets.controlnet import ControlNetModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    torch.manual_seed(0)
    unet = stirred(UNet2DConditionModel(sample_size=8, up_block_types=UP, **SAME))
    control = stirred(ControlNetModel(conditioning_embedding_out_channels=(16, 32), **SAME))
    folder = tmp_path_factory.mktemp("controlnet")
    control.save_pretrained(folder)
    return unet, control, ours_of(unet, {**SAME, "up_block_types": UP}), folder


def test_outputs_are_equal_in_float64_and_the_weights_come_back(both: tuple[Any, Any, UNet, Path], tmp_path: Path):
    from diffusers.models.controlnets.controlnet import ControlNetModel

    theirs, control, unet, folder = both
    branch = from_diffusers(folder, unet, "canny")
    to_diffusers(branch, tmp_path / "written")
    again = ControlNetModel.from_pretrained(tmp_path / "written")
    assert again.state_dict().keys() == control.state_dict().keys()
    assert all(torch.equal(again.state_dict()[name], each) for name, each in control.state_dict().items())
    for part in (theirs, control, unet, branch):
        part.double()
    x, text = torch.randn(2, 4, 8, 8).double(), torch.randn(2, 5, 8).double()
    t, shown = torch.tensor([3.0, 977.0]), torch.rand(2, 3, 16, 16).double()
    whole = ControlledNetwork(Frozen(Predictor(unet, Gaussian(ScaledLinearBeta()), "noise")), [branch])
    with torch.inference_mode():
        down, middle = control(x, t, text, shown, return_dict=False)
        found = branch(x, t, {"canny": 2 * shown - 1}, text=text)
        for mine, its in zip(found, [*down, middle], strict=True):
            torch.testing.assert_close(mine, its, rtol=0, atol=1e-10)
        wanted = theirs(x, t, text, down_block_additional_residuals=down, mid_block_additional_residual=middle).sample
        torch.testing.assert_close(whole(x, t, text=text, canny=2 * shown - 1), wanted, rtol=0, atol=1e-10)
        assert (wanted - theirs(x, t, text).sample).abs().max() > 0.1


def test_the_control_of_stable_diffusion_has_every_key():
    from diffusers.models.controlnets.controlnet import ControlNetModel

    with torch.device("meta"), Unwritten():
        theirs = ControlNetModel(cross_attention_dim=768)
        unet = UNet(**arguments({"cross_attention_dim": 768}), conditions={"text": ("text", (77, 768))})
        spec = {"control": ("image", (3, 512, 512))}
        branch = ControlBranch(unet, spec, usual_widths(spec, (4, 64, 64), 1))
    found = {name: tuple(each.shape) for name, each in weights_to(branch, linear=False).items()}
    assert found == {name: tuple(each.shape) for name, each in theirs.state_dict().items()}
    assert len(found) == 340
    assert sum(each.numel() for each in theirs.parameters()) == 361_279_120


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"attention_head_dim": 4}, "this ControlNetModel is of a U-Net with heads = 4, and this one has 2"),
        ({"block_out_channels": [4, 12]}, r"with multipliers = \(1, 3\), and this one has \(1, 2\)"),
        ({"global_pool_conditions": True}, "has global_pool_conditions = True; a control has only False"),
        ({"controlnet_conditioning_channel_order": "bgr"}, "has controlnet_conditioning_channel_order = 'bgr'"),
        ({"addition_embed_type": "text"}, "has addition_embed_type = 'text'"),
        (
            {"conditioning_embedding_out_channels": [16, 48]},
            r"another network: encoder.blocks.1.bias is \(32,\)",
        ),
    ],
)
def test_a_control_of_another_network_is_refused(
    both: tuple[Any, Any, UNet, Path], tmp_path: Path, config: dict[str, Any], says: str
):
    *_, unet, folder = both
    said = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**said, **config}))
    for weights in folder.glob("*.safetensors"):
        (tmp_path / weights.name).symlink_to(weights)
    with pytest.raises(Refused, match=says):
        from_diffusers(tmp_path, unet)


def test_what_no_controlnetmodel_is_is_refused(both: tuple[Any, Any, UNet, Path], tmp_path: Path):
    *_, unet, _ = both
    several = {"a": ("image", (3, 16, 16)), "b": ("image", (3, 16, 16))}
    with pytest.raises(Refused, match="is shown one image, and this control a, b"):
        to_diffusers(ControlBranch(unet, several), tmp_path / "none")
    assert not (tmp_path / "none").exists()


def run_of(unet: UNet) -> Diffusion:
    """A run of latents' size with this U-Net, which reads texts."""
    tables = {"text_width": 0, "transformer_blocks": 1, "heads": 2, "groups": 2, "eps": 1e-5, "cos_first": True}
    sizes = {"width": 4, "multipliers": [1, 2], "blocks": 1, "attention": [0], "frequency_shift": 0}
    network = {"name": "unet", **sizes, **tables, "downsample_padding": 1}
    text = TextCondition(shape=(5, 8), encoder="minilm")
    recipe = Recipe.find("fashion-class").with_tables(network=network, conditions={"text": text.written()})
    about = Description(recipe, (4, 8, 8), {"text": text}, Identity(), {"data": {"dtype": "float32"}})
    module = Diffusion.build(about)
    network_of: Any = module
    network_of.network.load_state_dict(unet.state_dict())
    return Diffusion.of(module.eval().requires_grad_(False), about)


def test_a_folder_is_a_control_of_a_run_and_is_written_again(both: tuple[Any, Any, UNet, Path], tmp_path: Path):
    *_, unet, folder = both
    run_of(unet.float()).save(tmp_path / "base")
    with pytest.raises(Refused, match=f"undiffuse import {folder} --base RUN"):
        import_(folder, tmp_path / "none")
    import_(folder, tmp_path / "run", tmp_path / "base")
    run = load(tmp_path / "run", "float32")
    assert list(run.conditions) == ["text", "picture"]
    x, t, text = torch.randn(1, 4, 8, 8), torch.tensor([300.0]), torch.randn(1, 5, 8)
    shown = torch.randint(256, (1, 3, 16, 16), dtype=torch.uint8)
    branch = from_diffusers(folder, unet, "picture")
    found = run.denoiser.network.branches[0](x, t, {"picture": shown}, text=text)
    torch.testing.assert_close(found, branch.eval()(x, t, {"picture": shown}, text=text))
    assert export(run, tmp_path / "again") == "ControlNetModel"
    before, after = (load_file(next(each.glob("*.safetensors"))) for each in (folder, tmp_path / "again"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
