"""What networks are told: nulls are what is dropped, each sample by itself, and nothing else changes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.networks.conditions import ConditionEmbedding, Specs, scaled
from undiffuse.networks.diffusers_format import config_of
from undiffuse.networks.mlp import MLP
from undiffuse.networks.unet import UNet

N = 3
SPECS: dict[str, Specs] = {
    "vector": {"vector": ("vector", (4,))},
    "text": {"text": ("text", (6,))},
    "embedded": {"text": ("text", (5, 7))},
    "image": {"low": ("image", (2, 4, 4))},
    "all": {"type": ("vector", (4,)), "text": ("text", (6,)), "other": ("text", (6,)), "map": ("image", (1, 8, 8))},
}


def unet(specs: Specs, classes: int = 0) -> UNet:
    torch.manual_seed(0)
    made = UNet(
        channels=1, classes=classes, width=8, multipliers=(1, 2), blocks=1, attention=(1,), text_width=8,
        conditions=specs,
    )  # fmt: skip
    return moved(made)


def moved(network: Any) -> Any:
    """The network as if trained: zero-initialised weights have been moved."""
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return network.eval()


def values(specs: Specs, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made: dict[str, Tensor] = {}
    for name, (kind, shape) in specs.items():
        made[name] = torch.randn(N, *shape, generator=generator)
        if kind == "text" and len(shape) == 1:
            made[name] = torch.randint(1, 257, (N, *shape), generator=generator)
            made[name][0, 4:] = 0
        elif kind == "text":
            made[name][0, 3:] = 0
    return made


def x_and_t() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(9)
    return torch.randn(N, 1, 8, 8, generator=generator), torch.tensor([3.0, 400.0, 999.0])


NULL = torch.ones(N, dtype=torch.bool)


@pytest.mark.parametrize("specs", SPECS.values(), ids=SPECS)
def test_a_dropped_condition_is_one_left_out_and_others_stay(specs: Specs):
    network, (x, t), cond = unet(specs), x_and_t(), values(specs)
    with torch.no_grad():
        told, nothing = network(x, t, **cond), network(x, t)
        torch.testing.assert_close(network(x, t, **cond, drop=NULL), nothing)
        for name in specs:
            without = network(x, t, **{k: v for k, v in cond.items() if k != name})
            torch.testing.assert_close(network(x, t, **cond, drop={name: NULL}), without)
            assert not torch.allclose(without, told, atol=1e-4), name
        some = torch.tensor([True, False, False])
        mixed = network(x, t, **cond, drop=dict.fromkeys(specs, some))
    torch.testing.assert_close(mixed, torch.cat([nothing[:1], told[1:]]))


@pytest.mark.parametrize("specs", SPECS.values(), ids=SPECS)
def test_each_sample_is_told_its_own(specs: Specs):
    network, (x, t), cond = unet(specs, classes=2), x_and_t(), values(specs) | {"label": torch.tensor([0, 1, 1])}
    drop = {"label": torch.tensor([False, True, False])}
    with torch.no_grad():
        whole = network(x, t, drop=drop, **cond)
        rows = torch.tensor([2, 0])
        part = network(x[rows], t[rows], drop={"label": drop["label"][rows]}, **{k: v[rows] for k, v in cond.items()})
    torch.testing.assert_close(part, whole[rows], rtol=1e-4, atol=1e-5)


def test_what_stands_behind_a_caption_s_end_is_not_read():
    network, (x, t) = unet(SPECS["text"]), x_and_t()
    text = values(SPECS["text"])["text"]
    text[:, 4:] = 0
    with torch.no_grad():
        told = network(x, t, text=text)
        places = network.get_parameter("conditioning.readers.condition_text.places")
        places[4:] = 7.0
        torch.testing.assert_close(network(x, t, text=text), told)
        places[:4] = 7.0
        assert not torch.allclose(network(x, t, text=text), told)


def test_without_conditions_nothing_is_there_and_a_unet_is_still_nothing_at_first():
    plain, told = (
        UNet(width=8, multipliers=(1,), attention=()),
        UNet(width=8, multipliers=(1,), attention=(), conditions={}),
    )
    assert plain.state_dict().keys() == told.state_dict().keys()
    assert not [name for name in plain.state_dict() if "told" in name or "cross" in name]
    torch.manual_seed(0)
    fresh = UNet(channels=1, width=8, multipliers=(1,), attention=(0,), conditions=SPECS["all"], text_width=8)
    x, t = x_and_t()
    assert (fresh(x, t, **values(SPECS["all"])) == 0).all()


def test_integers_are_brought_to_minus_one_and_one_and_floats_stay():
    assert scaled(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]
    assert scaled(torch.tensor([0, 65535], dtype=torch.int32)).tolist() == [-1.0, 1.0]
    assert scaled(torch.tensor([0.25])).tolist() == [0.25]


def test_an_image_is_brought_to_the_size_of_the_sample():
    told = ConditionEmbedding({"low": ("image", (1, 2, 2))}, 4, "a network", ("image",))
    x = torch.zeros(1, 1, 4, 4)
    beside = told.beside(x, {"low": torch.full((1, 1, 2, 2), 0.5)}, None)
    assert beside.shape == (1, 3, 4, 4)
    assert beside[0, 1].unique().tolist() == [0.5]
    assert beside[0, 2].unique().tolist() == [1.0]
    assert (told.beside(x, {}, None)[:, 1:] == 0).all()


def test_a_perceptron_takes_vectors_and_its_nulls_are_nothing():
    torch.manual_seed(0)
    network = moved(MLP(channels=2, classes=3, width=16, conditions={"vector": ("vector", (4,))}))
    x, t, v, label = torch.randn(N, 2), torch.rand(N) * 999, torch.randn(N, 4), torch.tensor([0, 1, 2])
    with torch.no_grad():
        torch.testing.assert_close(network(x, t, vector=v, drop=NULL), network(x, t))
        torch.testing.assert_close(
            network(x, t, label, {"vector": NULL}, vector=v), network(x, t, label=label), rtol=0, atol=0
        )
        assert not torch.allclose(network(x, t, vector=v), network(x, t))


@pytest.mark.parametrize(
    ("cond", "message"),
    [
        ({"text": torch.zeros(N, 4)}, "a U-Net was not built for 'text'; its conditions are: vector"),
        ({"vector": torch.zeros(N, 5)}, r"takes 'vector' of shape \(3, 4\), not \(3, 5\)"),
        ({"vector": torch.zeros(2, 4)}, r"takes 'vector' of shape \(3, 4\), not \(2, 4\)"),
    ],
)
def test_what_a_network_was_not_built_for_is_refused(cond: dict[str, Tensor], message: str):
    with pytest.raises(Refused, match=message):
        unet(SPECS["vector"])(*x_and_t(), **cond)


def test_kinds_that_a_network_cannot_take_are_refused():
    with pytest.raises(Refused, match="an MLP cannot take 'text', which is text: it takes label, vector; a unet"):
        MLP(conditions=SPECS["text"])
    with pytest.raises(Refused, match="no condition but a label, and this U-Net has vector"):
        config_of(unet(SPECS["vector"]), {2}, None)


def test_weights_in_half_precision_are_told_alike():
    network, (x, t), cond = unet(SPECS["all"]), x_and_t(), values(SPECS["all"])
    with torch.no_grad():
        full = network(x, t, **cond)
        half = network.to(torch.bfloat16)(x.bfloat16(), t, **cond)
    assert isinstance(network, nn.Module)
    torch.testing.assert_close(half.float(), full, rtol=0.2, atol=0.15)
