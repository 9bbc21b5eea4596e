"""Files of LoRA from other tools: read to the weights that their formulas say, written as they are read, or refused."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from undiffuse.conversion.ldm_names import unet_names
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.networks.lora import LowRank, merged
from undiffuse.networks.unet import UNet
from undiffuse.parameterizations.noise import Noise
from undiffuse.sampling import lora, lora_file
from undiffuse.schedules import LinearBeta
from undiffuse.storage.files import write_json

TIME = torch.full((2,), 300.0)
ATTENTION = "down_blocks.1.attentions.0"  # in diffusers


def model() -> Predictor:
    """A UNet2DModel's network, with no layer at zero."""
    network = UNet(3, width=8, multipliers=(1, 2), blocks=1, attention=(1,), groups=4).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(std=0.2)
    return Predictor(network, Gaussian(LinearBeta(40)), Noise())


def parts(named: dict[str, Tensor], folder: Path, name: str = "lora.safetensors", **metadata: str) -> Path:
    folder.mkdir(exist_ok=True)
    save_file(named, folder / name, metadata={"format": "pt", **metadata})
    return folder / name


def placed(path: Path, module: Predictor) -> Any:
    """The module with what the file adds."""
    return merged(module, lora._placed(module, lora_file.read(path), f"LoRA {path}"))


def factors(*shape: int) -> tuple[Tensor, Tensor]:
    """A and B, of rank 2, for a weight."""
    a, b = torch.randn(2, *shape[1:]), torch.randn(shape[0], 2, *(1,) * (len(shape) - 2))
    return a, b


def theirs(module: Predictor, folder: Path) -> Any:
    """The same network as diffusers has it."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    cast("Any", module.network).to_diffusers(folder)
    return cast("nn.Module", UNet2DModel.from_pretrained(folder)).eval()


@pytest.mark.parity
@torch.no_grad()
def test_files_of_kohya_and_diffusers_add_what_their_formulas_say(tmp_path: Path):
    """W + alpha / rank B A in diffusers' own network: q and v of the same layer here, a convolution and a time."""
    module = model()
    other = theirs(module, tmp_path / "unet")
    before = {name: weight.clone() for name, weight in module.network.state_dict().items()}
    layers = {
        f"{ATTENTION}.to_q": factors(16, 16),
        f"{ATTENTION}.to_v": factors(16, 16),
        "mid_block.resnets.0.conv1": factors(16, 16, 3, 3),
        "down_blocks.1.resnets.0.time_emb_proj": factors(16, 32),
        "up_blocks.0.upsamplers.0.conv": factors(16, 16, 3, 3),
    }
    names = {theirs: ours for ours, theirs in lora_file.original(lora._names(module)).items()}
    back = unet_names(f"{name}.weight" for name in names.values())
    assert {name: back[f"{ours}.weight"] for name, ours in names.items()} == {name: f"{name}.weight" for name in names}
    assert names["up_blocks.0.upsamplers.0.conv"] == "output_blocks.1.2.conv"
    kohya: dict[str, Tensor] = {}
    original: dict[str, Tensor] = {}
    diffusers: dict[str, Tensor] = {}
    for name, (a, b) in layers.items():
        weight: Any = other.get_submodule(name).weight
        weight += (0.5 * b.flatten(1) @ a.flatten(1)).view_as(weight)
        key = f"lora_unet_{name.replace('.', '_')}"
        kohya |= {f"{key}.lora_down.weight": a, f"{key}.lora_up.weight": b, f"{key}.alpha": torch.tensor(1.0)}
        key = f"lora_unet_{names[name].replace('.', '_')}"
        original |= {f"{key}.lora_down.weight": a, f"{key}.lora_up.weight": b, f"{key}.alpha": torch.tensor(1.0)}
        diffusers |= {f"unet.{name}.lora_A.weight": a, f"unet.{name}.lora_B.weight": b / 2}
    x = torch.randn(2, 3, 8, 8)
    expected = other(x, TIME).sample
    assert float((expected - module.network(x, TIME)).std()) > 0.1
    config = json.dumps({"unet.r": 2, "unet.lora_alpha": 1})
    halves = {name: value * 2 if "lora_B" in name else value for name, value in diffusers.items()}
    for path in (
        parts(kohya, tmp_path),
        parts(original, tmp_path, "original.safetensors"),
        parts(diffusers, tmp_path / "two", "pytorch_lora_weights.safetensors").parent,
        parts(halves, tmp_path / "three", lora_adapter_metadata=config),
    ):
        torch.testing.assert_close(placed(path, module).network(x, TIME), expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(weight, module.network.state_dict()[name]) for name, weight in before.items())


def test_what_is_written_by_the_names_of_diffusers_is_read_to_the_same_weights(tmp_path: Path):
    """Queries, keys and values share their A; what has no name there is written by its own."""
    module = model()
    layers = {"network.down.1.attentions.0.qkv": (48, 16), "network.enter": (8, 3, 3, 3), "network.time_out": (80, 32)}
    shapes = {name: tuple(cast("Tensor", module.get_submodule(name).weight).shape) for name in layers}
    own = {name: LowRank(*factors(*shapes[name]), scale=1.5) for name in layers}
    renamed = dict(lora._renamed(own, lora._foreign(module)))
    assert {f"{ATTENTION}.to_{each}" for each in "qkv"} <= renamed.keys()
    assert renamed[f"{ATTENTION}.to_q"].a is renamed[f"{ATTENTION}.to_k"].a
    expected = merged(module, {name: [each] for name, each in own.items()})
    (tmp_path / "names").mkdir()
    files = lora_file.write(tmp_path / "names", own, renamed, alpha=3.0)
    assert files == ["adapter_config.json", "adapter_model.safetensors", "pytorch_lora_weights.safetensors"]
    keys = load_file(tmp_path / "names" / files[1])
    assert f"base_model.model.{ATTENTION}.to_q.lora_A.weight" in keys
    (tmp_path / "own").mkdir()
    assert lora_file.write(tmp_path / "own", own, {}, alpha=3.0) == files[:2]
    for path in (tmp_path / "names", tmp_path / "names" / files[2], tmp_path / "own"):
        found = placed(path, module).state_dict()
        for name, weight in expected.state_dict().items():
            torch.testing.assert_close(found[name], weight, rtol=0, atol=1e-6)
    assert not dict(lora._renamed({**own, "network.more": own["network.enter"]}, lora._foreign(module)))


def test_layers_of_stable_diffusion_are_known_by_its_names():
    """Layers around the blocks are convolutions in version 1."""
    options: Any = {"attention": (1,), "heads": 2, "groups": 4, "text_width": 0, "transformer_blocks": 1}
    network = UNet(4, width=8, multipliers=(1, 2), blocks=1, **options, conditions={"text": ("text", (3, 8))})
    places, block = lora._foreign(network), f"{ATTENTION}.transformer_blocks.0"
    assert places[f"{block}.attn2.to_k"] == ("down.1.attentions.0.blocks.0.cross.k", None, False)
    assert places[f"{block}.attn1.to_out.0"] == ("down.1.attentions.0.blocks.0.attention.out", None, False)
    linear = {name.removesuffix(".weight") for name, t in network.state_dict().items() if t.ndim > 1}
    linear -= {"texts.null_text"}  # which is no layer
    assert {each.layer for each in places.values()} == linear
    own = {f"{ATTENTION.replace('down_blocks', 'down')}.before": LowRank(*factors(16, 16), scale=1.0)}
    ((name, each),) = lora._renamed(own, places)
    assert (name, each.a.shape, each.b.shape) == (f"{ATTENTION}.proj_in", (2, 16, 1, 1), (16, 2, 1, 1))


def test_what_is_for_a_text_encoder_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    a, b = factors(16, 16)
    text = {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": a.clone()}
    key = f"lora_unet_{ATTENTION.replace('.', '_')}_to_q"
    read = lora_file.read(parts({f"{key}.lora_down.weight": a, f"{key}.lora_up.weight": b, **text}, tmp_path))
    assert list(read) == [f"{ATTENTION}_to_q".replace(".", "_")]
    assert "1 of its 3 tensors are for a text encoder, which stays as it is: lora_te_text_model" in caplog.text


@pytest.mark.each(
    ("keys", "message"),
    [
        (
            ["unet.x.hada_w1_a", "unet.x.hada_w1_b"],
            r"2 tensors that are no A, B or alpha of a LoRA: unet.x.hada_w1_a, ",
        ),
        (
            ["lora_unet_x.dora_scale", "lora_unet_x.lora_down.weight"],
            r"1 tensors that are no .*: lora_unet_x.dora_scale",
        ),
        (["unet.x.processor.to_q_lora.down.weight"], r"to_q_lora.down.weight; read are lora_A and lora_B \(PEFT, dif"),
        (["unet.x.lora_A.weight"], r"holds no B of layer 'x'"),
        ([], r"holds no LoRA"),
    ],
)
def test_keys_of_other_methods_and_halves_are_refused_by_name(keys: list[str], message: str, tmp_path: Path):
    path = parts({key: torch.ones(2, 2) for key in keys}, tmp_path)
    with pytest.raises(Refused, match=message):
        lora_file.read(path)


@pytest.mark.each(
    ("config", "message"),
    [
        ({"use_dora": True}, r"has use_dora = True, which is read as False only"),
        ({"peft_type": "LOHA"}, r"has peft_type = 'LOHA', which is read as 'LORA' only"),
        ({"alpha_pattern": {"to_q": 3}}, r"has alpha_pattern = \{'to_q': 3\}, which is read as \{\} only"),
        ({"bias": "all"}, r"has bias = 'all', which is read as 'none' only"),
    ],
)
def test_settings_of_peft_with_another_meaning_are_refused(config: dict[str, Any], message: str, tmp_path: Path):
    parts({"base_model.model.x.lora_A.weight": torch.ones(2, 2)}, tmp_path, lora_file.PEFT)
    write_json(tmp_path / lora_file.CONFIG, config)
    with pytest.raises(Refused, match=message):
        lora_file.read(tmp_path)


def test_other_layers_pickled_files_and_factors_that_do_not_fit_are_refused(tmp_path: Path):
    module, (a, b) = model(), factors(16, 16)
    path = parts({"unet.mid.attn.lora_A.weight": a, "unet.mid.attn.lora_B.weight": b}, tmp_path)
    with pytest.raises(Refused, match=r"is for another base: this run has no layer mid.attn; it has .*"):
        placed(path, module)
    wide = {f"unet.{ATTENTION}.to_q.lora_A.weight": torch.ones(2, 32), f"unet.{ATTENTION}.to_q.lora_B.weight": b}
    with pytest.raises(
        Refused, match=r"for another base: network.down.1.attentions.0.qkv: 16 x 2 times 2 x 32 there, 48"
    ):
        placed(parts(wide, tmp_path), module)
    with pytest.raises(Refused, match=r"A \(3, 16\) and B \(16, 2\) of 'x' do not fit"):
        lora_file.read(parts({"x.lora_A.weight": torch.ones(3, 16), "x.lora_B.weight": b}, tmp_path))
    (tmp_path / "style.bin").write_bytes(b"")
    with pytest.raises(Refused, match=r"style.bin: pickled files run code when they are read: save it as .safetensors"):
        lora_file.read(tmp_path / "style.bin")


def test_half_the_square_root_of_the_rank_is_said_by_peft(tmp_path: Path):
    """use_rslora: alpha / sqrt(rank)."""
    a, b = torch.ones(4, 2), torch.ones(2, 4)
    parts({"base_model.model.x.lora_A.weight": a, "base_model.model.x.lora_B.weight": b}, tmp_path, lora_file.PEFT)
    write_json(tmp_path / lora_file.CONFIG, {"peft_type": "LORA", "r": 4, "lora_alpha": 6, "use_rslora": True})
    assert lora_file.read(tmp_path)["x"].scale == 3.0
    write_json(tmp_path / lora_file.CONFIG, {"peft_type": "LORA", "r": 4, "lora_alpha": 6})
    assert lora_file.read(tmp_path)["x"].scale == 1.5
