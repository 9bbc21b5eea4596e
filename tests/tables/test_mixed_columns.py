"""Rows of a table as a Product of named parts: their loss, their network, and samples of every column's law."""

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.continuous_time_bound import rate
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.heads.parts import PartsHead
from undiffuse.core.heads.rows import NUMBERS, Rows, category
from undiffuse.core.heads.token_outputs import TokenHead
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle, PartsOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.product import Product
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.networks import TableMLP
from undiffuse.objectives import ColumnsObjective, Denoising
from undiffuse.parameterizations import FlowParameterization
from undiffuse.samplers import DDIM, Ancestral, Heun
from undiffuse.schedules import FlowSchedule

FLOW = FlowSchedule()
NOISES = (mask(4), uniform(2), (0.2, 0.3, 0.5))
PARTS: dict[str, Any] = {NUMBERS: Gaussian(FLOW)}
PARTS |= {category(i): Categorical(FLOW, noise) for i, noise in enumerate(NOISES)}
PROCESS, ROWS = Product(PARTS), Rows(2, 3)
SHARES = ((0.5, 0.3, 0.2), (0.1, 0.9), (0.25, 0.25, 0.5))
MEAN, VARIANCE = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0])
T = 0.6


def oracles() -> dict[str, Any]:
    found: dict[str, Any] = {NUMBERS: GaussianOracle(Gaussian(FLOW), MEAN, VARIANCE)}
    for i, shares in enumerate(SHARES):
        found[category(i)] = TokenOracle(PARTS[category(i)], torch.arange(len(shares))[:, None], shares)
    return found


CATEGORIES = list(PARTS)[1:]
X_0 = {name: oracle.draw(64, Random(0).fold(i)) for i, (name, oracle) in enumerate(oracles().items())}
X_T = PROCESS.marginal(X_0, T).sample(Random(1))
ROW = ROWS.joined(X_0)


def test_the_loss_is_the_numbers_loss_and_the_mean_of_the_categories_bounds():
    t, random = torch.full((64,), T, dtype=torch.float64), Random(3)
    denoiser = PartsOracle(PROCESS, oracles())
    x_t = PROCESS.marginal(X_0, t).sample(random)
    numbers = Denoising("snr_plus_one").of(denoiser(x_t, t)[NUMBERS], X_0[NUMBERS], FLOW, t)
    names = list(PARTS)[1:]
    rates = [rate(PARTS[n], X_0[n], x_t[n], oracles()[n](x_t[n], t), t) for n in names]
    wanted = numbers + 2 * torch.stack(rates).mean(0)
    torch.testing.assert_close(
        ColumnsObjective(balance=2.0).at(t, denoiser, Batch(X_0), random), wanted, rtol=1e-12, atol=1e-12
    )
    plain = [-oracles()[n](x_t[n], t).log_prob(X_0[n]) for n in names]
    wanted = numbers + torch.stack(plain).mean(0)
    found = ColumnsObjective(categories="cross_entropy").at(t, denoiser, Batch(X_0), random)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_rows_are_cut_into_their_parts_and_joined_again():
    assert ROW.dtype == torch.float64
    cut = ROWS.cut(ROW)
    assert list(cut) == list(PARTS)
    assert all(torch.equal(cut[name], X_0[name]) for name in PARTS)
    assert torch.equal(ROWS.joined(cut), ROW)
    assert ROWS.shapes(64) == {name: tuple(x.shape) for name, x in cut.items()}
    words = Rows(0, 2)
    assert words.joined(words.cut(torch.tensor([[1.0, 0.0]]))).tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("sampler", [Ancestral(variance="exact"), DDIM()], ids=lambda s: type(s).__name__)
def test_samplers_reach_the_law_of_every_column(sampler: Any):
    count = 4000
    x = ROWS.joined(sample(PartsOracle(PROCESS, oracles()), ROWS.shapes(count), sampler=sampler, steps=24)).double()
    for i, shares in enumerate(SHARES):
        found = torch.bincount(x[:, 2 + i].long(), minlength=len(shares)) / count
        assert 0.5 * float((found - torch.tensor(shares)).abs().sum()) < 4 * math.sqrt(len(shares) / count) / 2
    assert torch.allclose(x[:, :2].mean(0), MEAN.double(), atol=0.1)
    assert torch.allclose(x[:, :2].var(0), VARIANCE.double(), rtol=0.15)
    correlation = torch.corrcoef(x.T).fill_diagonal_(0.0)
    assert correlation.abs().max() < 5 / math.sqrt(count)


class Constant(nn.Module):
    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.out = nn.ParameterDict({name: torch.linspace(-1, 1, size) for name, size in sizes.items()})

    def forward(self, x: Any, c_time: Tensor) -> dict[str, Tensor]:
        return {
            name: self.out[name].expand(*part.shape[: part.ndim - (name == NUMBERS)], -1) for name, part in x.items()
        }


class Only(nn.Module):
    def forward(self, x: Any, c_time: Tensor) -> dict[str, Tensor]:
        return {NUMBERS: x[NUMBERS]}


def predictor(*outputs: str, sizes: tuple[int, ...] = (2, 4, 2, 3)) -> Predictor:
    heads = {
        name: TokenHead(output, len(SHARES[i]))
        for i, (name, output) in enumerate(zip(CATEGORIES, outputs, strict=True))
    }
    network = Constant(dict(zip(PARTS, sizes, strict=True)))
    return Predictor(network, PROCESS, PartsHead({NUMBERS: FlowParameterization(), **heads}, ROWS))


def test_a_network_of_rows_speaks_of_numbers_by_the_parameterization_and_of_categories_by_logits():
    denoiser = predictor("plug_in", "plug_in", "plug_in")
    guess, out = denoiser(X_T, T), {name: value.detach() for name, value in denoiser.network.out.items()}  # type: ignore[union-attr]
    torch.testing.assert_close(guess[NUMBERS].mean, X_T[NUMBERS] - T * out[NUMBERS], check_dtype=False)
    first, last = (X_T[category(i)][:, 0] for i in (0, 2))
    masked = first == 3
    assert 0 < masked.sum() < 64
    revealed = guess[category(0)].mean[:, 0].double()
    wanted = torch.softmax(out[category(0)][:3], 0).double()
    torch.testing.assert_close(revealed[masked][:, :3], wanted.expand(int(masked.sum()), 3), rtol=0, atol=1e-6)
    assert torch.equal(revealed[~masked].argmax(1), first[~masked])
    belief = guess[category(2)].mean[:, 0].double()
    process: Any = PARTS[category(2)]
    product = torch.softmax(out[category(2)], 0).double() * process.likelihood(last, T)
    torch.testing.assert_close(belief, product / product.sum(1, keepdim=True), rtol=0, atol=1e-6)
    assert denoiser.state_of(ROW).keys() == X_T.keys()
    assert denoiser.state_shape((7, 5)) == ROWS.shapes(7)


def test_the_network_of_tables_looks_categories_up_and_hears_the_time():
    torch.manual_seed(0)
    network = TableMLP(5, (4, 2, 3), classes=2, width=16, depth=2)
    nn.init.normal_(network.leave.weight)
    x = torch.tensor([[0.3, -1.0, 1.0, 0.0, 2.0]])

    def heard(x: Tensor, time: float = 10.0, **cond: Any) -> Tensor:
        out = network(ROWS.cut(x), torch.tensor([time]), **cond)
        assert {name: tuple(each.shape) for name, each in out.items()} == dict(
            zip(PARTS, [(1, 2), (1, 1, 4), (1, 1, 2), (1, 1, 3)], strict=True)
        )
        return torch.cat([each.flatten(1) for each in out.values()], dim=1)

    base = heard(x)
    for column in range(5):
        moved = x.clone()
        moved[0, column] = x[0, column] + 1 if column != 4 else 0.0
        assert not torch.allclose(heard(moved), base)
    assert not torch.allclose(heard(x, 500.0), base)
    assert not torch.allclose(heard(x, label=torch.tensor([1])), base)
    hidden = heard(x, label=torch.tensor([1]), drop=torch.tensor([True]))
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
        x = torch.zeros(4, channels)
        out = network(Rows(0, 2).cut(x) if vocabularies else x, torch.zeros(4))
        shapes = [tuple(each.shape) for each in (out.values() if vocabularies else [out])]  # type: ignore[union-attr]
        assert shapes == ([(4, 1, 3), (4, 1, 2)] if vocabularies else [(4, channels)])


def test_what_makes_no_sense_is_refused():
    with pytest.raises(Refused, match=r"rows need a column; given are 0 of numbers and 0 others"):
        Rows(0, 0)
    with pytest.raises(Refused, match=r"rows have 5 columns here, and the batch has shape \(64, 4\)"):
        ROWS.cut(ROW[:, :4])
    with pytest.raises(Refused, match=r"the batch has numbers, and the process is a product of numbers, category 0"):
        predictor("plug_in", "plug_in", "plug_in")({NUMBERS: X_T[NUMBERS]}, T)
    with pytest.raises(Refused, match="output 'subs' carries over what is not masked"):
        predictor("subs", "subs", "plug_in")
    with pytest.raises(Refused, match="a product of numbers, category 0, category 1, category 2 needs a head for each"):
        Predictor(nn.Identity(), PROCESS, {NUMBERS: "flow"})
    with pytest.raises(
        Refused, match=r"a product needs a head for each of its parts: \{'numbers': \.\.\., .*not 'flow'"
    ):
        Predictor(nn.Identity(), PROCESS, "flow")
    with pytest.raises(Refused, match="heads by name are for a Product of such parts; this process is one of values"):
        Predictor(nn.Identity(), Gaussian(FLOW), {NUMBERS: "flow"})
    with pytest.raises(Refused, match="TokenHead is a head for tokens, and Gaussian is values"):
        Predictor(nn.Identity(), Gaussian(FLOW), TokenHead())
    with pytest.raises(Refused, match="the network gives numbers, and the parts are numbers, category 0"):
        Predictor(Only(), PROCESS, {NUMBERS: "flow", **dict.fromkeys(CATEGORIES, "plug_in")})(X_T, T)
    with pytest.raises(
        Refused,
        match=r"heun is for values, and .* of values and tokens together; samplers for it: ancestral, ddim",
    ):
        sample(PartsOracle(PROCESS, oracles()), ROWS.shapes(4), sampler=Heun(), steps=2)
    with pytest.raises(
        Refused,
        match=r"columns is for values and tokens together, and Gaussian is .* values; objectives",
    ):
        ColumnsObjective().loss(GaussianOracle(Gaussian(FLOW)), Batch(ROW), Random(0))
    with pytest.raises(Refused, match=r"balance of 0 or more .* not -1 and 'bound'"):
        ColumnsObjective(balance=-1)
    with pytest.raises(Refused, match=r"width, depth and embedding of at least 1, waves of 0 or more .* and 1 for 2"):
        TableMLP(1, (3, 3))
    with pytest.raises(Refused, match=r"waves of 0 or more .* not 256, 4, 16, -1"):
        TableMLP(2, (3,), waves=-1)
    with pytest.raises(Refused, match=r"this table_mlp takes rows of 5 columns, not items of \(4,\)"):
        TableMLP(5)(torch.zeros(2, 4), torch.zeros(2))
    with pytest.raises(Refused, match=r"takes rows of 5 columns, not items of \{'numbers': \(2,\), .* \(1,\)\}"):
        TableMLP(5, (3,))(Rows(2, 1).cut(torch.zeros(2, 3)), torch.zeros(2))
