"""A controlled network: the frozen one at the start, and the gradients, sums and strengths of what is added to it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.networks.control import ControlBranch, ControlledNetwork, Frozen, Strength, usual_widths
from undiffuse.networks.dit import DiT
from undiffuse.networks.unet import UNet
from undiffuse.schedules.edm import EDMSchedule

SEEN = {"seen": ("image", (1, 8, 8))}
FLAT: dict[str, Any] = {"channels": 2, "classes": 3}
NETWORKS = {
    "unet": lambda: UNet(**FLAT, width=8, multipliers=(1, 2), blocks=1, attention=(1,)),
    "unet along one axis": lambda: UNet(**FLAT, width=8, multipliers=(1, 2), blocks=2, attention=(), dimensions=1),
    "unet that scales": lambda: UNet(
        **FLAT, width=8, multipliers=(2, 1), attention=(-1,), resample="fir", rescale=True
    ),
    "dit": lambda: DiT(**FLAT, shape=(2, 8, 8), width=16, depth=4, heads=2),
    "dit in context": lambda: DiT(
        **FLAT, shape=(2, 8, 8), width=16, depth=5, heads=2, conditioning="in_context", long_skips=True, drop_tokens=0.5
    ),
}


def stirred(network: nn.Module) -> Any:
    """The network with weights that are nowhere zero, frozen."""
    for weight in network.parameters():
        with torch.no_grad():
            weight.add_(0.1 * torch.randn_like(weight))
    return network.eval().requires_grad_(False)


def frozen(network: Any) -> Frozen:
    return Frozen(Predictor(network, Gaussian(EDMSchedule()), "edm"))


def controlled(network: Any, *strengths: Strength, **conditions: Any) -> Any:
    axes = network.dimensions
    seen = {name: (form, shape[: 1 + axes]) for name, (form, shape) in (conditions or SEEN).items()}
    branches = [
        ControlBranch(network, {name: spec}, usual_widths({name: spec}, (2,) + (8,) * axes, network.patch))
        for name, spec in seen.items()
    ]
    return ControlledNetwork(frozen(network), branches, strengths or None)


def given(network: Any, count: int = 3) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    sides = (8,) * network.dimensions
    x, seen = torch.randn(count, 2, *sides), torch.randint(256, (count, 1, *sides), dtype=torch.uint8)
    return x, torch.linspace(5, 900, count), {"seen": seen, "label": torch.arange(count) % 3}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Any:
    return stirred(NETWORKS[request.param]())


def test_at_the_start_it_is_the_frozen_network_bit_for_bit(network: Any) -> None:
    x, t, cond = given(network)
    whole = controlled(network)
    assert torch.equal(whole(x, t, **cond), network(x, t, cond["label"]))
    assert sum(p.numel() for p in whole.parameters()) < 1.2 * sum(p.numel() for p in network.parameters()) + 3000
    names = {id(weight) for weight in network.parameters()}
    assert not names & {id(weight) for weight in whole.parameters()}
    assert all(weight.requires_grad for weight in whole.parameters())


def test_first_only_the_last_layers_learn_and_then_all_do(network: Any) -> None:
    """y = F(x) + Z2(copy(x + Z1(c))): of Z2 = 0 the gradient is not 0, and of all that stands before it it is."""
    x, t, cond = given(network)
    whole = controlled(network).train()
    target = torch.randn_like(x)
    branch = whole.branches[0]
    before = [*branch.copy.parameters(), *branch.encoder.parameters()]
    for step in range(3):
        whole.zero_grad()
        (whole(x, t, **cond) - target).square().mean().backward()
        last = [weight.grad for weight in branch.zeros.parameters()]
        assert all(bool(grad.any()) for grad in last)
        moved = [weight.grad is not None and bool(weight.grad.any()) for weight in before]
        if step == 0:
            assert not any(moved)
        else:  # the encoder's other layers learn once its own last one, which starts at 0, has moved
            assert bool(branch.encoder.conv_out.weight.grad.any())
            assert bool(branch.encoder.conv_in.weight.grad.any()) == (step == 2)
            assert sum(moved) > len(moved) // 2
        with torch.no_grad():
            for weight in whole.parameters():
                weight.sub_(weight.grad if weight.grad is not None else 0.0)
    assert all(weight.grad is None for weight in network.parameters())


def test_what_several_controls_add_is_summed_each_by_its_weight(network: Any) -> None:
    x, t, cond = given(network)
    both = {"seen": SEEN["seen"], "other": ("image", (1, 8, 8))}
    cond["other"] = cond["seen"].flip(-1)
    added: list[list[Tensor]] = []
    steered = network.steered
    network.steered = lambda *args, **kwargs: added.append(args[2]) or steered(*args, **kwargs)
    whole = stirred(controlled(network, Strength(0.5), Strength(2.0), **both))
    first, second = whole.branches
    whole(x, t, **cond)
    whole.branches, whole.strengths = nn.ModuleList([first]), (Strength(),)
    whole(x, t, cond["label"], seen=cond["seen"])
    whole.branches = nn.ModuleList([second])
    whole(x, t, cond["label"], other=cond["other"])
    for total, one, other in zip(*added, strict=True):
        assert torch.allclose(total, 0.5 * one + 2.0 * other, atol=1e-5)


def test_a_control_acts_where_its_interval_is_and_where_its_picture_is_given(network: Any) -> None:
    x, t, cond = given(network)
    plain = network(x, t, cond["label"])
    whole = stirred(controlled(network))
    full = whole(x, t, **cond)
    assert not any(torch.equal(a, b) for a, b in zip(full, plain, strict=True))
    whole.strengths = (Strength(1.0, 100.0, 900.0),)  # above the first and up to the last of 5, 452.5 and 900
    found = whole(x, t, **cond)
    assert torch.allclose(found, torch.cat([plain[:1], full[1:]]), atol=1e-5)
    whole.strengths = (Strength(),)
    dropped = torch.tensor([False, True, False])
    found = whole(x, t, **cond, drop={"seen": dropped})
    assert torch.allclose(found, torch.stack([full[0], plain[1], full[2]]), atol=1e-5)
    assert torch.equal(whole(x, t, cond["label"]), plain)
    nothing = whole(x, t, **cond, drop=torch.ones(3, dtype=torch.bool))
    assert torch.equal(nothing, network(x, t, cond["label"], drop=torch.ones(3, dtype=torch.bool)))


def test_a_map_is_shown_as_a_channel_a_class_and_a_larger_picture_becomes_as_small_as_the_sample() -> None:
    network = stirred(NETWORKS["unet"]())
    branch = stirred(ControlBranch(network, {"map": ("map", (4, 8, 8))}))
    x, t, _ = given(network)
    classes = torch.randint(4, (3, 1, 8, 8))
    shown = branch._shown(x, {"map": classes}, None)
    assert (shown.argmax(1, keepdim=True) == classes).all()
    assert (shown.sum(1) == 1).all()
    spec = {"seen": ("image", (3, 64, 64))}
    large = stirred(ControlBranch(network, spec, usual_widths(spec, (2, 8, 8), 1)))
    assert [tuple(layer.weight.shape[:2]) for layer in large.encoder.blocks] == [
        (16, 16), (32, 16), (32, 32), (96, 32), (96, 96), (256, 96)
    ]  # fmt: skip
    found = large(x, t, {"seen": torch.randint(256, (3, 3, 64, 64), dtype=torch.uint8)}, torch.zeros(3).long())
    assert [tuple(each.shape) for each in found] == [
        (3, 8, 8, 8), (3, 8, 8, 8), (3, 8, 4, 4), (3, 16, 4, 4), (3, 16, 4, 4)
    ]  # fmt: skip


def test_what_is_no_control_is_refused() -> None:
    network = stirred(NETWORKS["unet"]())
    with pytest.raises(Refused, match="a control is an image or a map, and 'style' is vector"):
        ControlBranch(network, {"style": ("vector", (3,))})
    with pytest.raises(Refused, match="two controls have a condition of the name 'seen'"):
        ControlledNetwork(frozen(network), [ControlBranch(network, SEEN) for _ in range(2)])
