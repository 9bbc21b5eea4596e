"""Derivatives in forward mode: through every network that can be told where to jump, attention and all."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from undiffuse.core import jumps, registry
from undiffuse.core.denoiser import Predictor
from undiffuse.core.derivative import derivative
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.straight_path import velocity_rate
from undiffuse.networks.mlp import MLP
from undiffuse.objectives import MeanFlow
from undiffuse.schedules import FlowSchedule

T = torch.tensor([0.3, 0.8, 0.6], dtype=torch.float64)
PICTURES: dict[str, Any] = {"channels": 2, "size": 8, "width": 8, "blocks": 1, "depth": 1, "patch": 4, "heads": 2}
PICTURES |= {"time_scale": 0.02}
NETWORKS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "unet": ({**PICTURES, "multipliers": (1, 2), "attention": (1,)}, (2, 8, 8)),
    "edm2_unet": ({**PICTURES, "multipliers": (1, 2), "attention": (1,)}, (2, 8, 8)),
    "dit": (PICTURES, (2, 8, 8)),
    "mlp": ({"shape": (3,), "width": 8, "waves": 2}, (3,)),
    "table_mlp": ({"channels": 3, "width": 8, "depth": 1}, (3,)),
    "prior_transformer": ({"features": 3, "width": 8, "depth": 1, "heads": 2}, (3,)),
    "sequence_transformer": ({"channels": 2, "shape": (2, 6), "size": 6, "width": 8, "depth": 1, "heads": 2}, (2, 6)),
}


def model(name: str) -> Predictor:
    """A small network with something to say, as a flow map."""
    given, _ = NETWORKS[name]
    component = registry.get("networks", name)
    told = jumps.conditions("any", None)
    known = {key: value for key, value in given.items() if key in registry.fields(component)}
    network: nn.Module = component(**known, conditions=told)
    for i, weight in enumerate(network.parameters()):
        weight.data = Random(5).fold(i).normal((1, *weight.shape))[0] * 0.3
    return Predictor(network, Gaussian(FlowSchedule()), "flow", "any")


def test_every_network_of_values_that_can_be_told_is_tried():
    able = [n for n in registry.names("networks") if "vector" in registry.get("networks", n).forms]
    values = [n for n in able if "values" in registry.get("networks", n).families]
    assert set(NETWORKS) == {n for n in values if registry.get("networks", n).predicts == "data"}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_that_can_be_told_has_a_forward_mode(name: str):
    """Its derivative is what two backward passes give, under autocast too, and nothing is left of a graph; of pictures
    with their channels last in memory, as files hold them.
    """
    flow, shape = model(name), NETWORKS[name][1]
    x, dx = (Random(i).normal((3, *shape[1:], shape[0])).movedim(-1, 1) for i in (0, 1))
    dt = torch.tensor([0.5, -1.0, 0.0], dtype=torch.float64)

    def function(x: Tensor, t: Tensor) -> Tensor:
        return flow(x, t, to=T / 3).mean

    with sdpa_kernel(SDPBackend.MATH):
        wanted: Any = torch.autograd.functional.jvp(function, (x, T), (dx, dt))  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    with torch.autocast("cpu", torch.bfloat16):
        value, slope = derivative(function, x, T, dx, dt)
    assert not slope.requires_grad
    size = float(slope.abs().mean())
    assert size > 1e-4
    torch.testing.assert_close(value, wanted[0])
    torch.testing.assert_close(slope, wanted[1], rtol=0, atol=1e-4 * size)


@pytest.mark.parametrize("name", ["unet", "mlp"])
def test_a_finite_difference_is_near(name: str):
    flow, shape = model(name), NETWORKS[name][1]
    x, v = (Random(i).normal((3, *shape)) for i in (0, 1))
    exact, near = (velocity_rate(flow, x, T, T / 3, v, {}, method) for method in ("forward", "difference"))
    torch.testing.assert_close(near, exact, rtol=0, atol=0.02 * float(exact.abs().mean()))


def test_the_gradient_is_that_of_the_usual_call():
    """What the derivative multiplies has none: the loss's gradient is that of |u - (v - change)|^2 by hand."""
    flow = model("mlp")
    batch, random = Batch(Random(3).normal((3, 3))), Random(4)
    calls: list[bool] = []
    hook = flow.network.register_forward_hook(lambda *given: calls.append(torch.is_grad_enabled()))
    MeanFlow(power=0.0).loss(flow, batch, random).sum().backward()
    hook.remove()
    assert calls.count(True) == 1  # hooks on the module, as of several processes, see the one that counts
    assert all(weight.grad is not None and bool(weight.grad.isfinite().all()) for weight in flow.parameters())


class Fixed(torch.autograd.Function):
    """An operation that has a gradient and no forward mode."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return x * 2

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return 2 * grad


class OwnOperation(MLP):
    def forward(self, x: Tensor, c_time: Tensor, **cond: Any) -> Tensor:
        return Fixed.apply(super().forward(x, c_time, **cond))  # type: ignore[no-any-return]


def test_a_network_without_a_forward_mode_is_refused_and_a_difference_is_a_way():
    network = OwnOperation(shape=(2,), conditions=jumps.conditions("any", None))
    flow = Predictor(network, Gaussian(FlowSchedule()), "flow", "any")
    batch = Batch(Random(3).normal((4, 2)))
    with pytest.raises(Refused, match=r"without a forward-mode derivative .*: set objective.derivative = 'difference'"):
        MeanFlow(instant=0.0).loss(flow, batch, Random(1))
    assert MeanFlow(instant=0.0, derivative="difference").loss(flow, batch, Random(1)).isfinite().all()


def test_a_difference_stays_within_time():
    """At both ends of time it leans inwards."""
    ends, one = torch.tensor([0.0, 1.0], dtype=torch.float64), torch.ones(2, dtype=torch.float64)

    def square(x: Tensor, t: Tensor) -> Tensor:
        assert 0 <= float(t.min()) <= float(t.max()) <= 1
        return (t**2)[:, None] + x

    x = torch.zeros(2, 1, dtype=torch.float64)
    for dt in (one, -one):
        value, slope = derivative(square, x, ends, torch.ones_like(x), dt, "difference")
        torch.testing.assert_close(value[:, 0], ends**2)
        torch.testing.assert_close(slope[:, 0], 1 + 2 * ends * dt, rtol=0, atol=1e-3)
