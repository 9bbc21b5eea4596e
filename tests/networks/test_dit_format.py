"""DiTs of diffusers and of the paper's program become a DiT with equal outputs; what is none is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.networks.dit import DiT

pytestmark = pytest.mark.parity

TINY: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 2,
    "sample_size": 8,
    "out_channels": 8,
    "num_embeds_ada_norm": 10,
}
X, T = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([0.0, 321.0, 999.0])
LABEL = torch.tensor([0, 3, 10])  # the last one is the null class


@pytest.fixture(params=[1e-6, 1e-5])
def folder(request, tmp_path: Path) -> Path:
    from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

    torch.manual_seed(0)
    theirs: Any = DiTTransformer2DModel(**TINY, norm_eps=request.param)
    theirs.transformer_blocks[1].norm1.emb.load_state_dict(theirs.transformer_blocks[0].norm1.emb.state_dict())
    theirs.save_pretrained(tmp_path)
    return tmp_path


def test_a_folder_of_diffusers_is_read_with_equal_outputs(folder: Path):
    from diffusers.models.transformers.dit_transformer_2d import DiTTransformer2DModel

    theirs, ours = DiTTransformer2DModel.from_pretrained(folder).eval(), DiT.from_diffusers(folder)
    with torch.inference_mode():
        wanted = theirs(X, T, class_labels=LABEL).sample
        found = ours(X, T, label=LABEL.clamp(max=9), drop=LABEL == 10)
        trained = DiT.from_diffusers(folder, frequency_shift=0)(X, T, label=LABEL.clamp(max=9), drop=LABEL == 10)
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)
    assert float((trained - wanted).abs().max()) > 1e-3  # the released weights' frequencies are others


def original(network: DiT) -> dict[str, Tensor]:
    """The weights under the names of the paper's program, which has a convolution over the patches."""
    names = [
        ("enter", "x_embedder.proj"),
        ("time", "t_embedder.mlp"),
        ("label.table", "y_embedder.embedding_table"),
        ("final.modulation.linear", "final_layer.adaLN_modulation.1"),
        ("final.linear", "final_layer.linear"),
        (".modulation.linear", ".adaLN_modulation.1"),
        (".attention.qkv", ".attn.qkv"),
        (".attention.out", ".attn.proj"),
        (".mlp.wide", ".mlp.fc1"),
        (".mlp.narrow", ".mlp.fc2"),
        ("positions.table", "pos_embed"),
    ]
    found: dict[str, Tensor] = {}
    for name, weight in network.state_dict().items():
        for ours, theirs in names:
            name = name.replace(ours, theirs)
        found[name] = weight.clone()
    found["x_embedder.proj.weight"] = found["x_embedder.proj.weight"].reshape(-1, 4, 2, 2)
    found["pos_embed"] = found["pos_embed"][None]
    return found


@pytest.mark.parametrize("kind", ["pt", "ema", "safetensors"])
def test_a_file_of_the_papers_program_is_read(kind: str, tmp_path: Path):
    torch.manual_seed(0)
    network = DiT(channels=4, shape=(4, 8, 8), classes=10, out_channels=8, width=16, depth=2, heads=2).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    file, weights = tmp_path / f"dit.{'safetensors' if kind == 'safetensors' else 'pt'}", original(network)
    if kind == "safetensors":
        save_file(weights, file)
    else:
        torch.save({"model": {}, "ema": weights} if kind == "ema" else weights, file)
    with torch.inference_mode():
        found = DiT.from_original(file, heads=2)(X, T, label=LABEL.clamp(max=9))
        assert torch.equal(found, network(X, T, label=LABEL.clamp(max=9)))


def test_what_is_no_dit_is_refused_by_name(folder: Path, tmp_path: Path):
    config = json.loads((folder / "config.json").read_text())
    for field, value, message in (
        ("dropout", 0.1, r"has dropout = 0.1; a DiT has only 0.0"),
        ("colour", "red", r"has colour = 'red'; a DiT has no such field"),
        ("_class_name", "UNet2DModel", r"holds a UNet2DModel, not a DiTTransformer2DModel"),
        ("patch_size", 4, r"not the weights of a DiT: enter.weight is \(16, 16\) and should be \(16, 64\)"),
    ):
        (folder / "config.json").write_text(json.dumps(config | {field: value}))
        with pytest.raises(Refused, match=message):
            DiT.from_diffusers(folder)
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    weights.pop("transformer_blocks.1.attn1.to_k.bias")
    save_file(weights, folder / "diffusion_pytorch_model.safetensors")
    with pytest.raises(
        Refused, match=r"not the weights of a DiT: blocks.1.attention.qkv.bias is \(32,\) and should be"
    ):
        DiT.from_diffusers(folder)
    with pytest.raises(Refused, match=r"there is no file .*nothing\.pt"):
        DiT.from_original(tmp_path / "nothing.pt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(Refused, match=r"holds no DiT of the paper's program: 'x_embedder\.proj\.weight' is missing"):
        DiT.from_original(tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(Refused, match=r"cannot read .*text\.pt: it holds no weights"):
        DiT.from_original(tmp_path / "text.pt")
