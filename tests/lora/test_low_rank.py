"""Low rank beside frozen weights: what starts at the base, what one step is, and what is merged."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.networks.dit import DiT
from undiffuse.networks.edm2_unet import EDM2UNet
from undiffuse.networks.lora import LowRank, adapt, adapted, calls, chosen, fingerprint, freeze, frozen, merged
from undiffuse.networks.masked import MaskedConv
from undiffuse.networks.mlp import MLP
from undiffuse.networks.pixelcnn import PixelCNN
from undiffuse.networks.unet import UNet
from undiffuse.training.ema import EMA

TIME = torch.full((2,), 300.0)
NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "unet": (lambda: UNet(3, width=8, multipliers=(1, 2), blocks=1, attention=(1,), groups=4), (3, 8, 8)),
    "sequence": (lambda: UNet(3, width=8, multipliers=(1,), blocks=1, attention=(0,), dimensions=1), (3, 8)),
    "dit": (lambda: DiT(3, shape=(3, 8, 8), width=16, depth=1, heads=2, patch=4), (3, 8, 8)),
    "mlp": (lambda: MLP(6, shape=(6,), width=16), (6,)),
}


def filled(network: nn.Module) -> Any:
    """No layer that is zero, so that the output depends on all of them."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(std=0.2)
    return network.eval()


def updates(network: nn.Module, scale: float) -> dict[str, list[LowRank]]:
    """The A and B of an adapted network, by layer."""
    found = network.state_dict()
    layers = [name.removesuffix(".lora_A.weight") for name in found if name.endswith("lora_A.weight")]
    return {each: [LowRank(found[f"{each}.lora_A.weight"], found[f"{each}.lora_B.weight"], scale)] for each in layers}


@pytest.mark.each("name", NETWORKS)
def test_a_network_starts_as_its_base_bit_for_bit_and_is_its_merged_weights_later(name: str):
    make, shape = NETWORKS[name]
    base, x = filled(make()), torch.randn(2, *shape)
    tried = copy.deepcopy(base)
    with torch.no_grad(), calls(tried) as called:
        expected = tried(x, TIME)
    layers = chosen(tried, "all", 2, called)
    adapt(tried, layers, rank=2, alpha=3.0)
    assert torch.equal(tried(x, TIME), expected)
    assert {each.rpartition(".lora_")[0] for each, _ in tried.named_parameters()} == set(layers)
    with torch.no_grad():
        for weight in tried.parameters():
            weight.normal_(std=0.2)
        moved = tried(x, TIME)
        assert float((moved - expected).std()) > 0.01
        plain = merged(base, updates(tried, 1.5))
        torch.testing.assert_close(plain(x, TIME), moved, rtol=1e-4, atol=1e-5)
        assert plain.state_dict().keys() == base.state_dict().keys()
        assert torch.equal(base(x, TIME), expected)  # removed: the base was never touched


def test_two_are_added_one_is_taken_away_again_and_what_is_not_changed_is_shared():
    base = filled(UNet(3, width=8, multipliers=(1,), blocks=1, attention=(0,)))
    layer = "middle.attentions.0.qkv"
    parts = [LowRank(torch.randn(2, 8), torch.randn(24, 2), 0.5) for _ in range(2)]
    both = merged(merged(base, {layer: parts[:1]}), {layer: parts[1:]})
    once = merged(base, {layer: parts})
    torch.testing.assert_close(both.get_submodule(layer).weight, once.get_submodule(layer).weight, rtol=0, atol=1e-6)
    away = [LowRank(each.a, each.b, -each.scale) for each in parts]
    back = merged(once, {layer: away})
    torch.testing.assert_close(back.get_submodule(layer).weight, base.get_submodule(layer).weight, rtol=0, atol=1e-6)
    apart = [n for n, t in once.state_dict(keep_vars=True).items() if t is not base.state_dict(keep_vars=True)[n]]
    assert apart == [f"{layer}.weight"]
    rows = merged(base, {layer: [LowRank(parts[0].a, parts[0].b[8:16], 0.5, (8, 16))]}).get_submodule(layer).weight
    assert torch.equal(rows[:8], base.get_submodule(layer).weight[:8])
    assert torch.equal(rows[8:16], merged(base, {layer: parts[:1]}).get_submodule(layer).weight[8:16])


@pytest.mark.each(
    ("layer", "x", "rank"),
    [(nn.Linear(4, 6), (5, 4), 4), (nn.Conv2d(2, 20, 3, padding=1, stride=2), (3, 2, 6, 6), 18)],
)
def test_full_rank_with_an_orthogonal_a_and_scale_1_is_one_step_of_fine_tuning(
    layer: Any, x: tuple[int, ...], rank: int
):
    """B = 0, so that dL/dB = dL/dW A^T and dL/dA = 0; then W + B A = W - lr dL/dW A^T A = W - lr dL/dW."""
    layer, given = layer.double(), torch.randn(x, dtype=torch.float64)
    whole: Any = copy.deepcopy(layer)
    module: Any = nn.ModuleDict({"layer": copy.deepcopy(layer)})
    adapt(module, ["layer"], rank, alpha=float(rank))
    with torch.no_grad():
        module["layer"].lora_A.weight.flatten(1).copy_(torch.linalg.qr(torch.randn(rank, rank, dtype=torch.float64))[0])
    for each, parameters in ((module["layer"], list(module.parameters())), (whole, [whole.weight])):
        optimiser = torch.optim.SGD(parameters, lr=0.1)
        each(given).square().sin().sum().backward()
        optimiser.step()
    parts = {"layer": updates(module, 1.0)["layer"]}
    found = merged(nn.ModuleDict({"layer": layer}), parts)["layer"].weight
    assert float((whole.weight - layer.weight).detach().abs().max()) > 1e-3
    torch.testing.assert_close(found, whole.weight, rtol=0, atol=1e-12)


def test_frozen_weights_are_in_no_file_take_no_gradient_and_are_not_copied_by_an_average():
    module = filled(UNet(3, width=8, multipliers=(1,), blocks=1, attention=(0,)))
    whole = {id(weight) for weight in module.state_dict().values()}
    assert not adapted(module)
    adapt(module, ["middle.attentions.0.out"], 1, 1.0)
    assert adapted(module)
    assert list(module.state_dict()) == [f"middle.attentions.0.out.lora_{each}.weight" for each in "AB"]
    assert not any(weight.requires_grad for weight in frozen(module))
    average: Any = EMA(module, None, 0.5)
    assert {each.data_ptr() for each in frozen(average.module)} == {each.data_ptr() for each in frozen(module)}
    before = [each.clone() for each in frozen(module)]
    with torch.no_grad():
        module.middle.attentions[0].out.lora_B.weight.fill_(2.0)
    average.update(1)
    assert float(average.module.middle.attentions[0].out.lora_B.weight.mean()) == 1.0
    assert all(torch.equal(a, b) for a, b in zip(before, frozen(module), strict=True))
    assert len(whole) == len(before)


def test_only_layers_that_are_called_are_adapted():
    """Weights that something else multiplies, as those of the time and of a masked convolution, stay as they are."""
    network = filled(UNet(3, width=8, multipliers=(1, 1), blocks=1, attention=()))
    with torch.no_grad(), calls(network) as called:
        network(torch.randn(2, 3, 4, 4), TIME)
    found = chosen(network, "all", 2, called)
    assert "time_out" in found
    assert "enter" in found
    assert not {"time_in", "time_hidden"} & set(found)
    assert not any("resample.conv" in name and "up" in name for name in found)
    masked = PixelCNN(width=4, depth=1, kernel=3)
    with torch.no_grad(), calls(masked) as called:
        masked(torch.zeros(1, 1, 4, 4))
    assert not any(type(masked.get_submodule(name)) is MaskedConv for name in called)


@pytest.mark.each(
    ("targets", "rank", "message"),
    [
        ("attention", 9, r"init.lora.rank = 9 is above the rank of '.*qkv', whose weight is 24 x 8: 8 is the most"),
        ("all", 33, r"init.lora.rank = 33: no layer of this network has that rank, 32 is the most"),
        (("qqv",), 2, r"init.lora.targets: no layer that can be adapted is called 'qqv'; there are .*qkv"),
        (("leave",), 4, r"init.lora.rank = 4 is above the rank of 'leave', whose weight is 3 x 8 x 3 x 3: 3 is"),
    ],
)
def test_ranks_above_a_layer_and_names_of_no_layer_are_refused(targets: Any, rank: int, message: str):
    network = filled(UNet(3, width=8, multipliers=(1,), blocks=1, attention=(0,)))
    with torch.no_grad(), calls(network) as called:
        network(torch.randn(2, 3, 4, 4), TIME)
    with pytest.raises(Refused, match=message):
        chosen(network, targets, rank, called)


def test_networks_without_attention_or_without_plain_layers_are_refused():
    for network, x in (
        (MLP(6, shape=(6,), width=8), (2, 6)),
        (EDM2UNet(1, width=8, multipliers=(1,), blocks=1, attention=()), (2, 1, 4, 4)),
    ):
        with torch.no_grad(), calls(network) as called:
            network(torch.randn(x), TIME)
        with pytest.raises(Refused, match="has no attention that can be adapted; targets = 'all' adapts every linear"):
            chosen(network, "attention", 2, called)
    with pytest.raises(Refused, match="no layer of this network has that rank; none can be adapted"):
        chosen(network, "all", 2, called)


def test_another_base_is_refused_with_both_shapes():
    base = UNet(3, width=8, multipliers=(1,), blocks=1, attention=(0,))
    part = LowRank(torch.zeros(2, 16), torch.zeros(24, 2), 1.0)
    with pytest.raises(Refused, match=r"for another base: middle.attentions.0.qkv: 24 x 2 times 2 x 16 there, 24 x 8"):
        merged(base, {"middle.attentions.0.qkv": [part]})
    with pytest.raises(Refused, match=r"attn: 24 x 2 times 2 x 16 there, and no such layer here"):
        merged(base, {"attn": [part]})


def test_a_fingerprint_tells_weights_apart_and_outlives_rounding():
    one, other = (filled(MLP(6, shape=(6,), width=8)) for _ in range(2))
    half = copy.deepcopy(one).to(torch.bfloat16)
    assert fingerprint(one) == fingerprint(half) != fingerprint(other)
    freeze(one)
    weights: Tensor = other.get_submodule("enter").weight  # pyright: ignore[reportAssignmentType]
    before = fingerprint(other)
    with torch.no_grad():
        weights.view(-1)[3] += 1
    assert fingerprint(other) != before
