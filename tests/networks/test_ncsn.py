"""NCSN's network: its norm in exact numbers, its size, and what it does with levels, classes and axes."""

from itertools import permutations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from undiffuse import Random, Recipe
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.data.sources.digits import Digits
from undiffuse.networks.instance_norm import LevelNumbers, instance_norm_plus
from undiffuse.networks.ncsn import NCSN
from undiffuse.recipes import build
from undiffuse.sampling.plan import recipe_defaults
from undiffuse.schedules import Geometric
from undiffuse.schedules.ncsn_levels import ncsn_levels
from undiffuse.time_distributions.uniform import Uniform

SIZES = {1: (8,), 2: (8, 4), 3: (4, 6, 8)}
LEVELS, LABELS = torch.tensor([3.0, 0.0]), torch.tensor([1, 0])
EVERY = pytest.mark.parametrize("dimensions", [1, 2, 3])


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def trained(dimensions: int = 2, **options) -> NCSN:
    """A small network in float64 whose weights have been moved, as training would."""
    torch.manual_seed(0)
    network = NCSN(**{"channels": 2, "width": 4, "levels": 5, "classes": 2, **options}, dimensions=dimensions)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return network.double().eval()


def test_the_norm_by_hand():
    """Two channels of two places: means 1 and 5; their unbiased std over channels is sqrt 8."""
    x = torch.tensor([[[0.0, 2.0], [3.0, 7.0]]], dtype=torch.float64)
    numbers = torch.tensor([[1.0, 2.0, 10.0, 20.0, 0.5, -0.5]], dtype=torch.float64)  # gamma, alpha, beta
    shift = 2 / 8**0.5
    expected = [[1 * (-1 - 10 * shift) + 0.5, 1 * (1 - 10 * shift) + 0.5]]
    expected += [[2 * (-1 + 20 * shift) - 0.5, 2 * (1 + 20 * shift) - 0.5]]
    found = instance_norm_plus(x, numbers)[0]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-4, atol=0)


@EVERY
def test_without_the_means_the_norm_is_instance_normalisation(dimensions: int):
    x = noise(3, 4, *SIZES[dimensions])
    numbers = torch.cat([torch.ones(3, 4), torch.zeros(3, 8)], dim=1).double()
    torch.testing.assert_close(instance_norm_plus(x, numbers), F.instance_norm(x), rtol=1e-9, atol=1e-12)
    numbers[:, 4:8] = 1.0
    plus = instance_norm_plus(x, numbers).flatten(2).mean(2)  # what the term adds: the standardised means
    means = x.flatten(2).mean(2)
    standard = (means - means.mean(1, keepdim=True)) / (means.var(1, keepdim=True, correction=1) + 1e-5).sqrt()
    torch.testing.assert_close(plus, standard, rtol=1e-9, atol=1e-12)


def test_numbers_of_levels_lie_on_straight_lines_and_classes_add_theirs():
    torch.manual_seed(0)
    numbers = LevelNumbers([2, 3], levels=4, classes=2)
    assert [n.shape for n in numbers(torch.zeros(5), None, None)] == [(5, 6), (5, 9)]
    first, middle, second = torch.cat(numbers(torch.tensor([1.0, 1.25, 2.0]), None, None), dim=1)
    torch.testing.assert_close(middle, 0.75 * first + 0.25 * second)
    ends = torch.cat(numbers(torch.tensor([-1.0, 0.0, 3.0, 3.2]), None, None), dim=1)
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[2], ends[3])
    torch.nn.init.normal_(numbers.label.table.weight)  # type: ignore[union-attr]
    level, drop = torch.tensor([2.0, 2.0]), torch.tensor([True, False])
    null, told = torch.cat(numbers(level, torch.tensor([1, 1]), drop), dim=1)
    torch.testing.assert_close(null, second)
    torch.testing.assert_close(told - null, numbers.label.table.weight[1])  # type: ignore[union-attr]
    same = LevelNumbers([2], levels=0, classes=0)(torch.tensor([0.0, 700.0]), None, None)[0]
    assert torch.equal(same, torch.tensor([[1.0, 1, 1, 1, 0, 0]] * 2))


def test_the_size_of_the_papers_network():
    """Width 128 on CIFAR-10: 29.6 million weights, and three numbers a channel, norm and level."""
    with torch.device("meta"):
        conditional, plain = NCSN(channels=3, width=128, levels=10), NCSN(channels=3, width=128, levels=0)
    counts = [sum(p.numel() for p in network.parameters()) for network in (conditional, plain)]
    assert counts == [29_991_299, 29_590_403]
    assert counts[0] - counts[1] == 9 * plain.numbers.table.numel()


@EVERY
def test_the_output_is_zero_at_first_and_then_every_parameter_and_place_counts(dimensions: int):
    x = noise(2, 2, *SIZES[dimensions])
    first = NCSN(channels=2, width=4, levels=5, classes=2, dimensions=dimensions).double()
    assert (first(x, LEVELS, label=LABELS) == 0).all()
    network, x = trained(dimensions, levels=2), x.requires_grad_()
    output = network(x, torch.tensor([1.0, 0.0]), label=LABELS)
    output.square().sum().backward()
    assert output.shape == x.shape
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    assert x.grad is not None
    assert (x.grad != 0).all()


@pytest.mark.parametrize("order", [(1, 0), *list(permutations(range(3)))[1:3]])
def test_no_axis_is_special(order: tuple[int, ...]):
    network, turn = trained(len(order)), (0, 1, *(2 + i for i in order))
    x = noise(2, 2, *SIZES[len(order)])
    expected = network(x, LEVELS, label=LABELS).permute(turn)
    turned = {n: w.permute(turn).clone() if w.ndim > 2 else w for n, w in network.state_dict().items()}
    network.load_state_dict(turned)
    torch.testing.assert_close(network(x.permute(turn), LEVELS, label=LABELS), expected, rtol=1e-9, atol=1e-10)


def test_labels_null_labels_and_samples_apart():
    network, x = trained(classes=3), noise(4, 2, 8, 4)
    level, label = torch.tensor([0.0, 1.5, 3.0, 4.0]), torch.tensor([0, 1, 2, 1])
    drop = torch.tensor([True, False, True, False])
    null, full = network(x, level), network(x, level, label=label)
    mixed = network(x, level, label=label, drop=drop)
    torch.testing.assert_close(mixed[drop], null[drop])
    torch.testing.assert_close(mixed[~drop], full[~drop])
    assert not torch.allclose(full, null, atol=1e-3)
    apart = torch.cat([network(x[i : i + 1], level[i : i + 1], label=label[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(apart, full)


def test_the_level_matters_with_conditional_norms_only():
    x = noise(2, 2, 8, 4)
    for levels, matters in ((5, True), (0, False)):
        network = trained(levels=levels)
        assert matters != torch.allclose(network(x, LEVELS), network(x, LEVELS + 1), atol=1e-4)


def test_bfloat16_and_channels_last_are_close():
    network, x = trained(width=8).float(), noise(2, 2, 8, 8).float()
    with torch.inference_mode():
        exact = network(x, LEVELS, label=LABELS)
        last = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        torch.testing.assert_close(last(x, LEVELS, label=LABELS), exact, rtol=1e-3, atol=1e-4)
        half = last.bfloat16()(x.bfloat16(), LEVELS, label=LABELS)
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).pow(2).mean().sqrt() < 0.05 * exact.pow(2).mean().sqrt()


def test_each_step_of_a_ladder_is_a_level_of_its_own_and_the_cleanest_is_0():
    schedule = Geometric(steps=5, sigma_min=0.1, sigma_max=3.0)
    network = trained()
    told: list[Tensor] = []
    network.numbers.register_forward_pre_hook(lambda module, given: told.append(given[0]))
    t = Uniform()(schedule, Random(0), 64)
    guess = Predictor(network, Gaussian(schedule), "score")(noise(64, 2, 8, 4), t)
    assert torch.equal(told[0], ((t * 5).round() - 1).float())
    assert set(told[0].tolist()) == {0.0, 1.0, 2.0, 3.0, 4.0}
    sigma = schedule.sigma(t)[:, None, None, None]
    expected = noise(64, 2, 8, 4) + sigma * network(noise(64, 2, 8, 4), told[0])  # x + sigma F: score = F / sigma
    torch.testing.assert_close(guess.mean, expected)


def test_the_recipes_ladder_is_the_digits_and_its_network_knows_it():
    recipe, digits = Recipe.find("digits-ncsn"), Digits().load()
    chosen = ncsn_levels(torch.as_tensor(digits.x) / 127.5 - 1)
    assert recipe["schedule"]["sigma_max"] == pytest.approx(chosen.sigma_max, abs=0.005)
    assert recipe["schedule"]["steps"] == chosen.steps
    assert recipe["sampler"]["step_size"] == pytest.approx(chosen.step_size, rel=5e-3)
    schedule, sampling = build.process(recipe).schedule, recipe_defaults(recipe)
    assert isinstance(schedule, Geometric)
    assert schedule.steps == recipe["network"]["levels"] == sampling.steps
    assert sampling.sampler is not None
    assert sampling.sampler.sigma_last == schedule.sigma_min  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NCSN(channels=0), "channels = 0: an NCSN needs at least 1"),
        (lambda: NCSN(width=1), "width = 1: the norms of an NCSN compare channels; it needs at least 2"),
        (lambda: NCSN(width=4, levels=-1), "levels = -1: give the number of the ladder's levels, or 0"),
        (lambda: NCSN(dimensions=4), "dimensions = 4: an NCSN takes sequences"),
        (
            lambda: trained()(noise(2, 1, 8, 8), LEVELS),
            r"this NCSN takes \(batch, 2, height, width\), not \(2, 1, 8, 8",
        ),
        (lambda: trained()(noise(2, 2, 8, 7), LEVELS), "an NCSN needs a width that 2 divides, not 7: 6 or 8 fits"),
        (lambda: trained(classes=0)(noise(2, 2, 8, 8), LEVELS, label=LABELS), "built without classes"),
        (
            lambda: trained()(noise(2, 2, 8, 8), torch.tensor([5.0, 9.0])),
            "knows the 5 levels 0 to 4 of its ladder, not level 9: set network.levels to the schedule's steps",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message: str):
    with pytest.raises(Refused, match=message):
        make()
