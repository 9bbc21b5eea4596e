"""Each value depends on all values before it and on none after it, and so the probabilities of all images sum to 1."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core import registry
from undiffuse.core.autoregressive import Autoregressive, AutoregressiveNetwork, order
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.random import Random
from undiffuse.level_heads import LogisticMixture, Softmax

NAMES: list[str] = [
    name for name in registry.names("networks") if registry.get("networks", name).predicts == "conditionals"
]
SMALL = {
    "causal_transformer": {"width": 8, "depth": 1, "heads": 2},
    "pixelcnn": {"width": 9, "depth": 4, "kernel": 3},
    "pixelrnn": {"width": 12, "depth": 1, "kernel": 3},
    "rows": {"name": "pixelrnn", "width": 12, "depth": 1, "kernel": 3, "lstm": "row"},
    "placed": {"name": "pixelcnn", "width": 18, "depth": 4, "kernel": 3, "coordinates": True},
}
WAYS = [*NAMES, "rows", "placed"]
SHAPES = [(1, 4, 4), (3, 3, 3)]


def network(name: str, shape: tuple[int, ...], outputs: int = 2, **more: Any) -> AutoregressiveNetwork:
    given = {"channels": shape[0], "shape": shape, "dimensions": len(shape) - 1, "outputs": outputs, **more}
    made = registry.build("networks", {"name": name, **SMALL.get(name, {})}, **given)
    with torch.no_grad():
        for parameter in made.parameters():  # labels begin at 0
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made.double().requires_grad_(False)


def jacobian(made: AutoregressiveNetwork, shape: tuple[int, ...]) -> Tensor:
    """How much the outputs of each value move with each value, (values, values), in the order; over 8 images."""
    x = (2 * torch.rand(8, *shape, dtype=torch.float64) - 1).requires_grad_()
    at: list[Any] = [(slice(None), channel, *place) for *place, channel in order(shape)]
    out = made(x).movedim(2, -1)
    rows = [torch.autograd.grad(out[i].square().sum(), x, retain_graph=True)[0].abs().sum(0) for i in at]
    return torch.stack([torch.stack([row[j[1:]] for j in at]) for row in rows]).detach()


@pytest.mark.each("name", [*NAMES, "placed"])
@pytest.mark.each("shape", SHAPES)
def test_the_jacobian_is_triangular_in_the_order_and_has_no_blind_spot(name: str, shape: tuple[int, ...]):
    moved = jacobian(network(name, shape), shape)
    assert bool((moved.triu() == 0).all())
    before = torch.ones_like(moved, dtype=torch.bool).tril(-1)
    assert bool((moved[before] != 0).all())


def test_the_row_lstm_sees_its_row_and_a_triangle_above():
    """arXiv:1601.06759, fig. 4: what lies above, further to the right than it is rows above, is hidden."""
    shape = (1, 3, 5)
    moved = jacobian(network("rows", shape), shape).reshape(3, 5, 3, 5)
    assert bool((moved.reshape(15, 15).triu() == 0).all())
    for i, j, k, m in product(range(3), range(5), range(3), range(5)):
        if (k < i and abs(m - j) <= i - k) or (k == i and 0 < j - m <= 3):
            assert moved[i, j, k, m] != 0
    assert moved[1, 0, 0, 4] == 0


@pytest.mark.each(("name", "alike"), [("pixelcnn", True), ("placed", False)])
def test_coordinates_tell_places_apart_whose_neighbours_are_alike(name: str, alike: bool):
    found = network(name, (1, 15, 15))(torch.full((1, 1, 15, 15), 0.5, dtype=torch.float64))[0, 0]
    here, there = found[:, 7, 6], found[:, 9, 8]  # neither reaches an edge: four layers of one row or place each
    assert torch.allclose(here, there) == alike


@pytest.mark.each("name", WAYS)
@pytest.mark.each("head", ["softmax", "logistic_mixture"])
@pytest.mark.each(("shape", "levels"), [((1, 3, 3), 2), ((3, 2, 1), 3), ((2, 1, 2), 3)])
def test_the_probabilities_of_all_images_sum_to_one(name: str, head: str, shape: tuple[int, ...], levels: int):
    made: Any = registry.build("level_heads", {"name": head}, levels=levels, channels=shape[0])
    model = Autoregressive(network(name, shape, made.outputs), made, Decoder(0.0, levels - 1.0, levels))
    count = shape[0] * shape[1] * shape[2]
    images = torch.tensor(list(product(range(levels), repeat=count))).reshape(-1, *shape)
    assert float(model.log_prob(images).exp().sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.each("name", WAYS)
@pytest.mark.each("shape", [(1, 2, 3), (3, 2, 2)])
def test_the_walk_gives_what_all_at_once_gives(name: str, shape: tuple[int, ...]):
    """What is kept of the values before is what is computed anew of them, with and without a label."""
    made, x = network(name, shape, classes=2), torch.rand(2, *shape, dtype=torch.float64)
    for label in (None, torch.tensor([0, 1])):
        whole, seen = made(x, label=label), torch.zeros_like(x)
        walk = made.walk(seen, label=label)
        for *place, channel in order(shape):
            at = (slice(None), channel, *place)
            torch.testing.assert_close(next(walk), whole[:, channel][(slice(None), slice(None), *place)])
            seen[at] = x[at]
        assert next(walk, None) is None


@pytest.mark.each("name", WAYS)
def test_a_label_moves_every_value_and_a_dropped_one_none(name: str):
    made, x = network(name, (1, 3, 3), classes=2), torch.rand(2, 1, 3, 3, dtype=torch.float64)
    label = torch.tensor([1, 1])
    told, plain = made(x, label=label), made(x)
    assert bool((told != plain).flatten(3).any(3).all())
    dropped = made(x, label=label, drop=torch.tensor([True, False]))
    torch.testing.assert_close(dropped, torch.stack([plain[0], told[1]]))


def test_samples_have_the_probabilities_that_the_model_gives_them():
    """Of all 16 binary images of 2 x 2, drawn 4,000 times."""
    model = Autoregressive(network("pixelcnn", (1, 2, 2)), Softmax(2), Decoder(0.0, 1.0, 2))
    images = torch.tensor(list(product(range(2), repeat=4))).reshape(-1, 1, 2, 2)
    none = torch.zeros(1, 2, 2, dtype=torch.bool)
    drawn = model.draw(torch.zeros(4000, 1, 2, 2, dtype=torch.int64), none, Random(0))
    seen = torch.bincount(drawn.flatten(1) @ torch.tensor([8, 4, 2, 1]), minlength=16) / 4000
    chances = model.log_prob(images).exp()
    assert float((seen - chances).abs().max()) < 4.5 * float((chances * (1 - chances) / 4000).sqrt().max())


def test_given_values_stay_and_only_those_before_count():
    model = Autoregressive(network("pixelcnn", (1, 3, 3)), Softmax(2), Decoder(0.0, 1.0, 2))
    known = torch.zeros(1, 3, 3, dtype=torch.bool)
    known[0, 2] = known[0, 0, 0] = True
    given = torch.zeros(20, 1, 3, 3, dtype=torch.int64)
    given[:, :, 0, 0] = 1
    drawn, other = (model.draw(places, known, Random(3)) for places in (given, given.index_fill(2, torch.tensor(2), 1)))
    assert bool((drawn[:, :, 0, 0] == 1).all())
    assert bool((drawn[:, :, 2] == 0).all())
    assert bool((other[:, :, 2] == 1).all())
    assert torch.equal(drawn[:, :, :2], other[:, :, :2])


def test_a_mixture_of_logistics_is_its_formula_with_the_ends_open():
    """Two components and two channels, in float64, against differences of the logistic distribution."""
    head, levels = LogisticMixture(levels=8, channels=2, components=2), 8
    outputs = torch.randn(1, 2, head.outputs, 1, dtype=torch.float64)
    x = torch.tensor([0.3, -0.2], dtype=torch.float64).reshape(1, 2, 1)
    weights, means, scales, coefficients, _ = outputs[0, 1, :, 0].reshape(5, 2)
    centre = means + torch.tensor([-1 / 3, 1 / 3], dtype=torch.float64) + coefficients * 0.3
    inner = [2 * (k - 0.5) / 7 - 1 for k in range(1, levels)]
    edges = torch.tensor([-torch.inf, *inner, torch.inf], dtype=torch.float64)
    cdf = torch.sigmoid((edges[:, None] - centre) / (scales.exp() / 2))
    wanted = ((cdf[1:] - cdf[:-1]) * weights.softmax(0)).sum(1)
    found = head.all_log_probs(outputs[:, 1, :, 0], x[..., 0], 1)[0].exp()
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    each = [head.log_prob(outputs, x, torch.tensor([[[0], [k]]]))[0, 1, 0].exp() for k in range(levels)]
    torch.testing.assert_close(torch.stack(each), found, rtol=1e-12, atol=0)


def test_a_narrow_logistic_keeps_its_digits():
    """Far from its mean the probability of a level is no difference of equal numbers."""
    head = LogisticMixture(levels=256, components=1)
    outputs = torch.tensor([[0.0, 1.0, -6.0, 0.0]], dtype=torch.float32)
    found = head.all_log_probs(outputs, torch.zeros(1, 1), 0)[0]
    assert bool(found.isfinite().all())
    assert float(found[100]) == pytest.approx((2 * 100.5 / 255 - 1 - 1) * 403.4288, rel=1e-3)
