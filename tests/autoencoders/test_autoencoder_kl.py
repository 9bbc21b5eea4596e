"""The autoencoder of latent diffusion: its parameters, sizes, diffusers' outputs and folders, and what it refuses."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.networks.autoencoder_kl import AutoencoderKL

SMALL: dict[str, Any] = {"width": 8, "multipliers": (1, 2), "blocks": 1}


def test_stable_diffusions_network_has_its_papers_parameters():
    with torch.device("meta"):
        network = AutoencoderKL()
    assert sum(p.numel() for p in network.parameters()) == 83_653_863
    assert network.factor == 8
    assert network.latent_shape((3, 512, 768)) == (4, 64, 96)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("shortcuts", [False, True])
def test_it_runs_along_one_to_three_axes_and_every_weight_has_a_gradient(dimensions: int, shortcuts: bool):
    torch.manual_seed(0)
    network = AutoencoderKL(
        channels=2, latent_channels=3, outputs=6, shortcuts=shortcuts, dimensions=dimensions, **SMALL
    )
    for parameter in network.parameters():  # those that start at zero hide others
        nn.init.normal_(parameter, std=0.1)
    x = Random(0).normal((2, 2, *(4,) * dimensions))
    h = network.encode(x)
    assert tuple(h.shape[1:]) == (6, *network.latent_shape((2, *(4,) * dimensions))[1:])
    made = network.decode(h[:, :3])
    assert made.shape == x.shape
    network(x).square().sum().backward()
    unused = {"encoder.quant", "encoder.leave"}  # half of what the encoder gives is no mode
    assert all(p.grad is not None and p.grad.any() for n, p in network.named_parameters() if n[:-7] not in unused)
    last = network.features(h[:, :3])[-1]
    torch.testing.assert_close(network.decoder.leave(nn.functional.silu(network.decoder.leave_norm(last))), made)


def test_checkpointing_computes_residual_blocks_twice_and_changes_no_gradient():
    x, found, calls = Random(0).normal((2, 3, 8, 8)), [], []
    for checkpoint in (False, True):
        torch.manual_seed(0)
        network: Any = AutoencoderKL(checkpoint=checkpoint, dropout=0.5, **SMALL).train()
        network.decoder.up[0].residuals[0].register_forward_pre_hook(lambda *_, on=checkpoint: calls.append(on))
        torch.manual_seed(1)
        loss = network(x).square().mean()
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in network.parameters() if p.grad is not None)])
    assert calls == [False, True, True]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


def test_shortcuts_are_the_averages_and_repetitions_of_a_way_whose_weights_are_zero():
    network: Any = AutoencoderKL(channels=2, shortcuts=True, **SMALL)
    down, up = network.encoder.down[0].resample, network.decoder.up[0].resample
    for way in (down, up):
        for parameter in way.parameters():
            nn.init.zeros_(parameter)
    x = Random(0).normal((1, 8, 4, 4))
    torch.testing.assert_close(down(x), x.unflatten(2, (2, 2)).unflatten(4, (2, 2)).mean((3, 5)))
    wide = Random(1).normal((1, 16, 2, 2))
    torch.testing.assert_close(up(wide), wide.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_patches_are_channels_of_the_same_network_inside():
    torch.manual_seed(0)
    network = AutoencoderKL(channels=1, patch=2, **SMALL)
    x = Random(0).normal((1, 1, 8, 8))
    assert network.factor == 4
    assert network.latent_shape((1, 8, 8)) == (4, 2, 2)
    inside = x.unflatten(3, (4, 2)).unflatten(2, (4, 2)).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)  # (1, 4, 4, 4)
    torch.testing.assert_close(network.encode(x), network.encoder(inside))
    z = Random(1).normal((1, 4, 2, 2))
    small, made = network.decoder(z), network.decode(z)
    torch.testing.assert_close(made[0, 0, ::2, 1::2], small[0, 1])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"blocks": 0}, "blocks = 0: AutoencoderKL needs at least 1"),
        ({"multipliers": ()}, r"multipliers = \(\)"),
        ({"dimensions": 4}, "dimensions = 4: AutoencoderKL takes .*there is --set network.name=mlp_autoencoder"),
        ({"groups": 3}, "groups = 3 does not divide 8 channels"),
    ],
)
def test_networks_that_cannot_be_are_refused(fields: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        AutoencoderKL(**{**SMALL, **fields})


def test_sizes_that_do_not_fit_are_refused():
    network = AutoencoderKL(**SMALL)
    with pytest.raises(Refused, match=r"2 levels needs a height that 2 divides, not 5: 4 or 6 fits; bring the data"):
        network.latent_shape((3, 5, 4))
    for shape in ((5,), (4, 4, 4)):
        with pytest.raises(Refused, match=r"2 levels takes items of shape \(3, height, width\), not \("):
            network.latent_shape(shape)
    with pytest.raises(Refused, match="needs a height that 2 divides, not 5"):
        network.encode(torch.zeros(1, 3, 5, 4))
    with pytest.raises(Refused, match=r"the decoder of this AutoencoderKL takes \(batch, 4, height, width\)"):
        network.decode(torch.zeros(1, 3, 4, 4))


@pytest.fixture(scope="module")
def peer() -> Any:
    diffusers: Any = importlib.import_module("diffusers")
    torch.manual_seed(0)
    made = diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.1)
    return made.eval()


@pytest.mark.parity
@torch.no_grad()
def test_a_folder_of_diffusers_has_the_same_outputs_here_and_written_back(peer: Any, tmp_path: Path):
    x = Random(0).normal((2, 3, 8, 8))
    peer.save_pretrained(tmp_path / "theirs")
    ours = AutoencoderKL.from_diffusers(tmp_path / "theirs")
    posterior = peer.encode(x).latent_dist
    mean, log_var = ours.encode(x).chunk(2, dim=1)
    torch.testing.assert_close(mean, posterior.mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(log_var.clamp(-30, 20), posterior.logvar, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.decode(mean), peer.decode(mean).sample, atol=1e-4, rtol=1e-4)
    ours.to_diffusers(tmp_path / "ours", scaling_factor=0.5)
    again = type(peer).from_pretrained(tmp_path / "ours")
    assert again.config.scaling_factor == 0.5
    assert all(torch.equal(value, peer.state_dict()[name]) for name, value in again.state_dict().items())


@pytest.mark.parity
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"act_fn": "relu"}, r"act_fn = 'relu'; ours has only 'silu' or 'swish'"),
        (
            {"down_block_types": ["AttnDownEncoderBlock2D"] * 2},
            "down_block_types = .*only 2 times 'DownEncoderBlock2D'",
        ),
        ({"out_channels": 1}, "in_channels = 3 and out_channels = 1; ours has both alike"),
        ({"_class_name": "VQModel"}, "holds a VQModel, not a AutoencoderKL"),
        ({"block_out_channels": [8, 24]}, "do not fit their config"),
    ],
)
def test_what_ours_has_not_is_refused_by_name(peer: Any, config: dict[str, Any], message: str, tmp_path: Path):
    peer.save_pretrained(tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(told | config))
    with pytest.raises(Refused, match=message):
        AutoencoderKL.from_diffusers(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shortcuts": True}, "shortcuts = True: .* shortcuts = False only"),
        ({"outputs": 4}, "outputs = 4: .* a mean and a log variance for each of 4"),
        ({"width": 20, "multipliers": (1, 3)}, r"the norms have \[5, 15\] groups"),
    ],
)
def test_what_diffusers_has_not_is_not_written(fields: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(Refused, match=message):
        AutoencoderKL(**{**SMALL, **fields}).to_diffusers(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_compiling_the_network_compiles_both_halves_and_nothing_else(monkeypatch: pytest.MonkeyPatch):
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, *args, **options: compiled.append(module))
    network = AutoencoderKL(**SMALL)
    network.compile()
    assert compiled == [network.encoder, network.decoder]
