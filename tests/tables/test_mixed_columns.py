"""Laws of rows: a Product of independent parts is its parts, one by one, and so are its bound, loss and samples."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.continuous_time_bound import rate
from undiffuse.core.denoiser import Denoiser
from undiffuse.core.errors import Refused
from undiffuse.core.heads.column_predictor import ColumnPredictor
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle, RowOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.mixed_columns import NUMBERS, MixedColumns, category
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.networks import TableMLP
from undiffuse.objectives import ColumnsObjective, Denoising
from undiffuse.samplers import DDIM, Ancestral, Heun
from undiffuse.schedules import FlowSchedule

FLOW = FlowSchedule()
NOISES = (mask(4), uniform(2), (0.2, 0.3, 0.5))
PROCESS = MixedColumns(Gaussian(FLOW), 2, tuple(Categorical(FLOW, noise) for noise in NOISES))
SHARES = ((0.5, 0.3, 0.2), (0.1, 0.9), (0.25, 0.25, 0.5))
MEAN, VARIANCE = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0])
T, S = 0.6, 0.25


def oracles() -> dict[str, Denoiser]:
    numbers = GaussianOracle(PROCESS.values, MEAN, VARIANCE)
    found: dict[str, Denoiser] = {NUMBERS: numbers}
    for i, (column, shares) in enumerate(zip(PROCESS.categories, SHARES, strict=True)):
        found[category(i)] = TokenOracle(column, torch.arange(len(shares))[:, None], shares)
    return found


def rows(count: int, seed: int = 0) -> Tensor:
    """(count, 5) in float64, of the oracles' law."""
    draws: list[Any] = [oracle.draw(count, Random(seed).fold(i)) for i, oracle in enumerate(oracles().values())]  # type: ignore[attr-defined]
    return torch.cat([part.double() for part in draws], dim=1)


X_0 = rows(64)
X_T = PROCESS.marginal(X_0, T).sample(Random(1))
PARTS = {NUMBERS: PROCESS.values} | {category(i): column for i, column in enumerate(PROCESS.categories)}


def part_of(x: Tensor, name: str) -> Tensor:
    return x[:, :2] if name == NUMBERS else x[:, 2 + int(name[-1]), None].long()


def same(mine: Any, other: Any) -> None:
    """Two beliefs about one part, to the last digits."""
    torch.testing.assert_close(mine.mean, other.mean, rtol=0, atol=1e-12)
    if hasattr(other, "var"):
        torch.testing.assert_close(torch.as_tensor(mine.var), torch.as_tensor(other.var), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", PARTS)
def test_each_part_of_a_row_is_destroyed_and_brought_back_as_it_would_be_alone(name: str):
    process: Any = PARTS[name]
    x_0, x_t = part_of(X_0, name), part_of(X_T, name)
    same(PROCESS.marginal(X_0, T).parts[name], process.marginal(x_0, T))
    same(PROCESS.point(X_0).parts[name], process.point(x_0))
    guess, alone = RowOracle(PROCESS, oracles())(X_T, T), oracles()[name](x_t, T)
    same(guess.parts[name], alone)
    keep = PROCESS.keep(S, T, X_T)
    for each, mine in ((None, None), (keep, process.keep(S, T, x_t))):
        same(PROCESS.bridge(X_T, guess, S, T, each).parts[name], process.bridge(x_t, alone, S, T, mine))


def test_the_bound_of_independent_parts_is_the_sum_of_their_bounds():
    times = torch.linspace(1, 0.05, 8, dtype=torch.float64)
    denoiser, together = RowOracle(PROCESS, oracles()), torch.zeros(64, dtype=torch.float64)
    alone = dict.fromkeys(PARTS, torch.zeros(64, dtype=torch.float64))
    for i, (t, s) in enumerate(pairwise(times)):
        x_t = PROCESS.marginal(X_0, t).sample(Random(2).fold(i))
        back = PROCESS.bridge(x_t, denoiser(x_t, t), s, t)
        together += PROCESS.bridge(x_t, PROCESS.point(X_0), s, t).kl(back)
        for name, process in PARTS.items():
            made: Any = process
            x, truth = part_of(x_t, name), made.point(part_of(X_0, name))
            guessed = made.bridge(x, oracles()[name](x, t), s, t)
            alone[name] = alone[name] + made.bridge(x, truth, s, t).kl(guessed)
    assert together.min() > 0.1
    torch.testing.assert_close(together, torch.stack(list(alone.values())).sum(0), rtol=1e-10, atol=1e-10)


def test_the_loss_is_the_numbers_loss_and_the_mean_of_the_categories_bounds():
    t, random = torch.full((64,), T, dtype=torch.float64), Random(3)
    denoiser = RowOracle(PROCESS, oracles())
    x_t = PROCESS.marginal(X_0, t).sample(random)
    numbers = Denoising("snr_plus_one").of(denoiser(x_t, t).parts[NUMBERS], X_0[:, :2], FLOW, t)
    names = list(PARTS)[1:]
    rates = [
        rate(PARTS[n], part_of(X_0, n), part_of(x_t, n), oracles()[n](part_of(x_t, n), t), t)  # type: ignore[arg-type]
        for n in names
    ]
    wanted = numbers + 2 * torch.stack(rates).mean(0)
    torch.testing.assert_close(
        ColumnsObjective(balance=2.0).at(t, denoiser, Batch(X_0), random), wanted, rtol=1e-12, atol=1e-12
    )
    plain = [-oracles()[n](part_of(x_t, n), t).log_prob(part_of(X_0, n)) for n in names]
    wanted = numbers + torch.stack(plain).mean(0)
    found = ColumnsObjective(categories="cross_entropy").at(t, denoiser, Batch(X_0), random)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_log_probabilities_add_up_and_beliefs_about_rows_behave_as_their_parts():
    belief, other = PROCESS.marginal(X_0, T), PROCESS.marginal(X_0.flip(0), T)
    x = belief.sample(Random(4))
    assert x.dtype == torch.float64
    one_by_one = [belief.parts[name].log_prob(part_of(x, name)) for name in PARTS]
    torch.testing.assert_close(belief.log_prob(x), torch.stack(one_by_one).sum(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(belief.rows(slice(3, 9)).log_prob(x[3:9]), belief.log_prob(x)[3:9])
    middle = belief.blend(other, 0.3)
    same(middle.parts[NUMBERS], belief.parts[NUMBERS].blend(other.parts[NUMBERS], 0.3))
    assert torch.equal(PROCESS.point(X_0).sample(Random(0)), X_0)
    assert PROCESS.point(X_0).certain
    assert not belief.certain
    shown = PROCESS.shown(x, T)
    torch.testing.assert_close(shown[:, :2], PROCESS.values.shown(x[:, :2], T))
    assert torch.equal(shown[:, 2:], x[:, 2:])


@pytest.mark.parametrize("sampler", [Ancestral(variance="exact"), DDIM()], ids=lambda s: type(s).__name__)
def test_samplers_reach_the_law_of_every_column(sampler: Any):
    count = 4000
    x = sample(RowOracle(PROCESS, oracles()), (count, 5), sampler=sampler, steps=24).double()
    for i, shares in enumerate(SHARES):
        found = torch.bincount(x[:, 2 + i].long(), minlength=len(shares)) / count
        assert 0.5 * float((found - torch.tensor(shares)).abs().sum()) < 4 * math.sqrt(len(shares) / count) / 2
    assert torch.allclose(x[:, :2].mean(0), MEAN.double(), atol=0.1)
    assert torch.allclose(x[:, :2].var(0), VARIANCE.double(), rtol=0.15)
    correlation = torch.corrcoef(x.T).fill_diagonal_(0.0)
    assert correlation.abs().max() < 5 / math.sqrt(count)


class Constant(nn.Module):
    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.out = nn.Parameter(torch.linspace(-1, 1, outputs))

    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        return self.out.expand(len(x), -1)


def test_a_network_of_rows_speaks_of_numbers_by_the_scales_and_of_categories_by_logits():
    denoiser = ColumnPredictor(Constant(2 + 4 + 2 + 3), PROCESS, "flow", (3, 2, 3))
    guess = denoiser(X_T, T)
    network: Any = denoiser.network
    out = network.out.detach()
    torch.testing.assert_close(guess.parts[NUMBERS].mean, X_T[:, :2] - T * out[:2], check_dtype=False)
    masked = X_T[:, 2] == 3
    assert 0 < masked.sum() < 64
    revealed = guess.parts[category(0)].mean[:, 0].double()
    wanted = torch.softmax(out[2:5], 0).double()
    torch.testing.assert_close(revealed[masked][:, :3], wanted.expand(int(masked.sum()), 3), rtol=0, atol=1e-6)
    assert torch.equal(revealed[~masked].argmax(1), X_T[~masked, 2].long())
    belief = guess.parts[category(2)].mean[:, 0].double()
    product = torch.softmax(out[8:], 0).double() * PROCESS.categories[2].likelihood(X_T[:, 4].long(), T)
    torch.testing.assert_close(belief, product / product.sum(1, keepdim=True), rtol=0, atol=1e-6)


def test_the_network_of_tables_looks_categories_up_and_hears_the_time():
    torch.manual_seed(0)
    network = TableMLP(5, (4, 2, 3), classes=2, width=16, depth=2)
    nn.init.normal_(network.leave.weight)
    x = torch.tensor([[0.3, -1.0, 1.0, 0.0, 2.0]])
    base = network(x, torch.tensor([10.0]))
    assert base.shape == (1, 2 + 9)
    for column in range(5):
        moved = x.clone()
        moved[0, column] = x[0, column] + 1 if column != 4 else 0.0
        assert not torch.allclose(network(moved, torch.tensor([10.0])), base)
    assert not torch.allclose(network(x, torch.tensor([500.0])), base)
    told = network(x, torch.tensor([10.0]), label=torch.tensor([1]))
    assert not torch.allclose(told, base)
    hidden = network(x, torch.tensor([10.0]), label=torch.tensor([1]), drop=torch.tensor([True]))
    torch.testing.assert_close(hidden, base)


def test_the_network_of_tables_tells_numbers_apart_that_are_near_and_learns_how_near():
    """relu(A [x, sin(f x), cos(f x)] + b), each column by its own numbers; without waves a line bent once."""
    torch.manual_seed(0)
    numeric = TableMLP(3, (4,), width=16, depth=1, waves=2, embedding=5).numeric
    x = torch.randn(7, 2, dtype=torch.float32)
    f, weight, bias = numeric.waves[1], numeric.weight[1], numeric.bias[1, 0]
    features = torch.cat([x[:, 1:], (x[:, 1:] * f).sin(), (x[:, 1:] * f).cos()], dim=1)
    torch.testing.assert_close(numeric(x)[:, 1], torch.relu(features @ weight + bias))
    torch.testing.assert_close(f, math.pi * torch.tensor([0.5, 8.0]))
    numeric(x).sum().backward()
    assert numeric.waves.grad.abs().min() > 0
    for channels, vocabularies, waves in ((3, (), 0), (2, (3, 2), 8), (3, (), 1)):
        network = TableMLP(channels, vocabularies, width=8, depth=1, waves=waves)
        assert network(torch.zeros(4, channels), torch.zeros(4)).shape == (
            4,
            channels + sum(vocabularies) - len(vocabularies),
        )


def test_what_makes_no_sense_is_refused():
    with pytest.raises(Refused, match=r"rows need a column; given are 0 of numbers and 0 others"):
        MixedColumns(Gaussian(FLOW), 0, ())
    with pytest.raises(Refused, match=r"rows have 5 columns here, and the batch has shape \(64, 4\)"):
        PROCESS.marginal(X_0[:, :4], T)
    with pytest.raises(Refused, match=r"a row of \[2, 4, 2, 3\] needs 11 outputs; the network gave \(64, 7\)"):
        ColumnPredictor(Constant(7), PROCESS, "flow", (3, 2, 3))(X_T, T)
    with pytest.raises(Refused, match="output 'logistic' is for ordered levels, and categories have no order"):
        ColumnPredictor(Constant(7), MixedColumns(Gaussian(FLOW), 1, ()), "flow", (), "logistic")
    with pytest.raises(Refused, match="output 'subs' carries over what is not masked"):
        ColumnPredictor(Constant(7), PROCESS, "flow", (3, 2, 3), "subs")
    with pytest.raises(
        Refused,
        match=r"heun is for values, and .* of values and tokens together; samplers for it: ancestral, ddim",
    ):
        sample(RowOracle(PROCESS, oracles()), (4, 5), sampler=Heun(), steps=2)
    with pytest.raises(Refused, match="objective 'columns' is for rows of numbers and categories: take 'denoising'"):
        ColumnsObjective().loss(GaussianOracle(PROCESS.values), Batch(X_0), Random(0))
    with pytest.raises(Refused, match=r"balance of 0 or more .* not -1 and 'bound'"):
        ColumnsObjective(balance=-1)
    with pytest.raises(Refused, match=r"width, depth and embedding of at least 1, waves of 0 or more .* and 1 for 2"):
        TableMLP(1, (3, 3))
    with pytest.raises(Refused, match=r"waves of 0 or more .* not 256, 4, 16, -1"):
        TableMLP(2, (3,), waves=-1)
    with pytest.raises(Refused, match=r"this table_mlp takes rows of 5 columns, not items of \(4,\)"):
        TableMLP(5, (3,))(torch.zeros(2, 4), torch.zeros(2))
