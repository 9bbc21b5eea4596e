"""The transformer of tokens: its first guess, what it hears, and that places count by their distance."""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from undiffuse.core.errors import Refused
from undiffuse.networks import precision
from undiffuse.networks.token_mlp import TokenMLP
from undiffuse.networks.transformer import Near, Transformer

SMALL: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2}


def shaken(**fields: Any) -> Transformer:
    """A network whose weights are all random, so that everything that is heard can be seen."""
    network = Transformer(5, (6,), **SMALL, **fields)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for weight in network.parameters():
            weight.normal_(std=0.5)
    return network.eval()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("time", ["adaln", "none"])
def test_the_first_guess_is_that_all_symbols_are_alike(tied: bool, time: Any):
    network = Transformer(5, (6,), **SMALL, tied=tied, time=time)
    x = torch.randint(5, (3, 6))
    loss = F.cross_entropy(network(x, torch.rand(3)).flatten(0, 1), x.flatten())
    assert float(loss.detach()) == pytest.approx(math.log(5), abs=1e-6)
    loss.backward()
    assert sum(float(weight.grad.abs().sum()) for weight in network.parameters() if weight.grad is not None) > 0


def test_only_a_network_that_reads_the_time_hears_it():
    x, times = torch.randint(5, (2, 6)), torch.tensor([10.0, 900.0])
    deaf, hearing = shaken(time="none"), shaken()
    assert (deaf.reads_time, hearing.reads_time) == (False, True)
    assert torch.equal(deaf(x, times), deaf(x, times.flip(0)))
    assert not torch.allclose(hearing(x, times), hearing(x, times.flip(0)))


def test_it_looks_both_ways_and_knows_the_order():
    network, x = shaken(time="none"), torch.tensor([[0, 1, 2, 3, 4, 0]])
    other = x.clone()
    other[0, 5] = 1
    assert not torch.allclose(network(x, torch.ones(1))[0, 0], network(other, torch.ones(1))[0, 0])
    swapped = x[:, [0, 2, 1, 3, 4, 5]]
    assert not torch.allclose(network(x, torch.ones(1))[0, 0], network(swapped, torch.ones(1))[0, 0])


def test_conditions_are_heard_and_a_text_ends_where_it_ends():
    network = shaken(classes=3, conditions={"style": ("vector", (2,)), "text": ("text", (4,))}, time="none").double()
    x, t = torch.randint(5, (2, 6)), torch.ones(2)
    label, style = torch.tensor([0, 1]), torch.randn(2, 2)
    text = torch.tensor([[257, 5, 6, 0], [257, 7, 0, 0]])
    full = network(x, t, label=label, style=style, text=text)
    assert not torch.allclose(full, network(x, t, label=label.flip(0), style=style, text=text))
    assert not torch.allclose(full, network(x, t, label=label, style=style + 1, text=text))
    assert not torch.allclose(full, network(x, t, label=label, style=style, text=text.flip(0)))
    alone = network(x[1:], t[1:], label=label[1:], style=style[1:], text=text[1:])
    assert torch.allclose(full[1:], alone, atol=1e-4)
    drop = torch.tensor([True, True])
    assert torch.allclose(network(x, t, label=label, drop=drop), network(x, t), atol=1e-5)
    hidden = {"text": drop, "style": drop, "label": drop}
    assert torch.allclose(network(x, t, label=label, style=style, text=text, drop=hidden), network(x, t), atol=1e-4)


def test_neighbours_are_mixed_in_by_their_distance():
    near = Near(3, 5)
    x = torch.randn(2, 9, 3)
    expected = torch.zeros_like(x)
    for i in range(9):
        for offset in range(-2, 3):
            if 0 <= i + offset < 9:
                expected[:, i] += near.weight[offset + 2].detach() * x[:, i + offset]
    assert torch.allclose(near(x), expected, atol=1e-6)


def test_neighbours_are_heard_before_attention_has_learned_anything():
    torch.manual_seed(0)
    network = Transformer(5, (12,), **SMALL, near=3)
    assert network.readout is not None
    torch.nn.init.normal_(network.readout)
    x = torch.randint(5, (1, 12))
    other = x.clone()
    other[0, 0] = (x[0, 0] + 1) % 5
    changed = (network(x, torch.ones(1)) != network(other, torch.ones(1))).any(-1)[0]
    blocks, convolutions, side = len(network.blocks), 2, 1
    assert changed.tolist() == [i <= blocks * convolutions * side for i in range(12)]


def test_numbers_in_place_of_logits():
    assert Transformer(5, (6,), **SMALL, outputs=2)(torch.randint(5, (3, 6)), torch.ones(3)).shape == (3, 6, 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"vocabulary": 0},
            "transformer is for tokens .* needs process.name = 'categorical' and data with a vocabulary",
        ),
        ({"shape": (1, 6)}, r"transformer is for tokens \(count, length\)"),
        ({"width": 18, "heads": 2}, "a width that 2 x heads divides, .* not width = 18, heads = 2"),
        ({"dropout": 1.0}, "dropout = 1"),
        ({"near": 4}, "transformer needs an odd number of neighbours, itself among them, or 0, not near = 4"),
        ({"tied": True, "outputs": 2}, "a tied readout gives one number a symbol, and 2 are asked for"),
        ({"conditions": {"map": ("image", (1, 4, 4))}}, "transformer cannot take 'map', which is image"),
    ],
)
def test_mistakes_are_refused(fields: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        Transformer(**{"vocabulary": 5, "shape": (6,), **SMALL, **fields})


def test_bfloat16_is_taken_where_it_pays(monkeypatch: pytest.MonkeyPatch):
    device = torch.device("cpu")
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)
    assert precision.pick("auto", device, Transformer(5, (6,), **SMALL)) is torch.bfloat16
    assert precision.pick("auto", device, TokenMLP(5, (6,))) is torch.float32
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    assert precision.pick("auto", device, Transformer(5, (6,), **SMALL)) is torch.float32
