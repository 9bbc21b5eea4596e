"""The likelihood of rows: the bound of independent parts is the parts', and what is rounded is a probability."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import undiffuse
from undiffuse.cli.main import main
from undiffuse.codecs.columns import ColumnsCodec
from undiffuse.core.denoiser import Predictor
from undiffuse.core.distribution.bins import Bins
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.distribution.normal import Normal
from undiffuse.core.errors import Refused
from undiffuse.core.heads.rows import NUMBERS, Rows, category
from undiffuse.core.heads.token_outputs import TokenHead
from undiffuse.core.named_parts import each
from undiffuse.core.oracles import GaussianOracle, PartsOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical, mask
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.product import Product
from undiffuse.core.random import Random
from undiffuse.evaluation import nll, sources
from undiffuse.likelihood import continuous, elbo, ode
from undiffuse.likelihood.terms import prior, reconstruction, step
from undiffuse.sampling.evaluation_request import silent
from undiffuse.schedules import FlowSchedule

FLOW = FlowSchedule()
PROCESS = Product(
    {
        NUMBERS: Gaussian(FLOW),
        category(0): Categorical(FLOW, mask(4)),
        category(1): Categorical(FLOW, (0.2, 0.3, 0.5)),
    }
)
SHARES = ((0.5, 0.3, 0.2), (0.25, 0.25, 0.5))
MEAN, VARIANCE = torch.tensor([0.3, -0.2]), torch.tensor([0.5, 1.5])
PARTS: dict[str, Any] = {NUMBERS: GaussianOracle(Gaussian(FLOW), MEAN, VARIANCE)} | {
    category(i): TokenOracle(PROCESS.parts[category(i)], torch.arange(3)[:, None], shares)
    for i, shares in enumerate(SHARES)
}
ORACLE = PartsOracle(PROCESS, PARTS)
X = Rows(2, 2).cut(torch.tensor([[0.1, -1.0, 0, 2], [1.0, 0.4, 1, 0], [-0.5, 2.0, 2, 1]], dtype=torch.float64))
TIMES = torch.cat([torch.linspace(1, 0.04, 25, dtype=torch.float64), torch.tensor([1e-3], dtype=torch.float64)])


def test_the_bound_of_independent_parts_is_the_sum_of_the_parts_bounds_and_tight():
    """As far as the noise allows, which the parts alone draw anew; of exact guesses it is -log p."""
    many, how = each(lambda part: part.repeat(300, 1), X), {"variance": "exact", "batch": 900}
    found = elbo(ORACLE, many, TIMES, **how)  # type: ignore[arg-type]
    assert found.convention == "density of numbers and probability of categories"
    assert found.elements == 4
    alone = [elbo(oracle, many[name], TIMES, **how) for name, oracle in PARTS.items()]  # type: ignore[arg-type]
    torch.testing.assert_close(found.prior, torch.stack([each.prior for each in alone]).sum(0), rtol=1e-12, atol=1e-12)
    row, apart = found.nats.reshape(300, 3), torch.stack([each.nats for each in alone]).sum(0).reshape(300, 3)
    noise = row.std(0) / 300**0.5
    assert float(noise.max()) < 0.2
    assert bool(((row.mean(0) - apart.mean(0)).abs() < 4 * 2**0.5 * noise).all())
    normal = -Normal(MEAN.double().expand(3, 2), VARIANCE.double()).log_prob(X[NUMBERS])
    shares = [torch.tensor(each).double().log()[X[category(i)][:, 0]] for i, each in enumerate(SHARES)]
    true = normal - torch.stack(shares).sum(0)
    assert bool(((row.mean(0) - true) > -4 * noise).all())
    assert bool(((row.mean(0) - true) < 4 * noise + 0.1).all())


def test_the_terms_of_a_row_are_the_sums_of_its_parts_terms_to_the_last_digits():
    """At one noisy row: a step, the reconstruction, and the prior."""
    x_t = PROCESS.marginal(X, 0.6).sample(Random(7))
    guess, parts = ORACLE(x_t, 0.6), PROCESS.parts
    times = torch.tensor([1.0, 0.6, 0.0], dtype=torch.float64)
    row = {
        "prior": prior(PROCESS, X, times[0]),
        "step": step(PROCESS, X, x_t, guess, 0.25, 0.6, "exact"),
        "last": reconstruction(PROCESS, X, x_t, guess, times),
    }
    terms: dict[str, list[Tensor]] = {name: [] for name in row}
    for name, part in parts.items():
        x, noisy, belief = X[name], x_t[name], guess[name]
        terms["prior"].append(prior(part, x, times[0]).double())
        terms["step"].append(step(part, x, noisy, belief, 0.25, 0.6, "exact" if name == NUMBERS else "posterior"))
        terms["last"].append(reconstruction(part, x, noisy, belief, times).double())
    for name, found in row.items():
        torch.testing.assert_close(found, torch.stack(terms[name]).sum(0), rtol=1e-10, atol=1e-10)


RANDOM = np.random.default_rng(0)
AGE = np.concatenate([RANDOM.integers(2, 9, 60), np.zeros(40)])
TABLE = np.stack([AGE, RANDOM.integers(0, 2, 100), RANDOM.gamma(2.0, 1.0, 100)], axis=1).astype(np.float32)
KINDS = ((), ("no", "yes"), ())


@pytest.mark.parametrize("normalise", ["quantile", "whiten"])
def test_the_chances_of_all_whole_numbers_sum_to_one_and_are_the_shares_of_what_is_decoded(normalise: Any):
    codec = ColumnsCodec(KINDS, normalise, "none").fit(TABLE)
    ages = np.arange(-60, 70) if normalise == "whiten" else np.unique(AGE)
    rows = np.stack([ages, 0 * ages, np.full(len(ages), TABLE[0, 2])], axis=1).astype(np.float32)
    z = codec.encode(rows)[:, :2].double()
    assert codec.decode(codec.encode(rows))[:, 0].tolist() == ages.tolist()
    low, high = codec.interval(z)
    assert bool(((low < z) & (z < high)).all())
    if normalise == "quantile":  # 1 lies between 0 and 2, and is a rounded number of the line between them
        between = codec._way.normal(torch.tensor([[1.0, 1.0]], dtype=torch.float64))
        z = torch.cat([z[:1], between, z[1:]])
        ages = np.concatenate([[0], [1], ages[1:]])
    for mean, std in ((0.0, 1.0), (-0.7, 0.2)):
        belief = Normal(torch.full((len(z), 2), mean, dtype=torch.float64), std**2)
        bins = Bins(lambda x: tuple(end[:, :1] for end in codec.interval(x)))  # type: ignore[arg-type, return-value]
        one = Normal(belief.mean[:, :1], belief.var)
        chance = bins.log_prob(z, one).exp()
        assert float(chance.sum()) == pytest.approx(1, abs=1e-6)
        drawn = torch.randn(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * std + mean
        seen = codec.decode(torch.stack([drawn, drawn * 0, drawn * 0], 1))[:, 0]
        shares = torch.stack([(seen == age).double().mean() for age in ages.tolist()])
        assert float((shares - chance).abs().max()) < 0.03


def test_bins_of_even_levels_are_the_decoder_s():
    decoder, belief = Decoder(levels=9), Normal(torch.tensor([[0.2, -0.9, 0.99]]).double(), 0.01)
    x = torch.tensor([[0.25, -1.0, 1.0]], dtype=torch.float64)
    half = decoder.width / 2
    bins = Bins(lambda x: (torch.where(x == -1, -torch.inf, x - half), torch.where(x == 1, torch.inf, x + half)))
    torch.testing.assert_close(bins.log_prob(x, belief), decoder.log_prob(x, belief))
    assert bins.check(x) is x


def test_numbers_with_many_places_are_known_to_a_fraction_of_their_deviation():
    """So that the chance is the density in the data's units times that width: the change of variables is in it."""
    codec = ColumnsCodec(KINDS, "whiten").fit(TABLE)
    z = codec.encode(TABLE)[:50, :2].double()
    low, high = codec.interval(z)
    torch.testing.assert_close((high - low)[:, 1], torch.full((50,), 2**-12, dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close((high + low)[:, 1] / 2, z[:, 1], rtol=0, atol=1e-9)


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Parameter(torch.zeros(()))

    def forward(self, x: Any, c_time: Tensor) -> dict[str, Tensor]:
        sizes = dict(zip(PARTS, ((2,), (1, 4), (1, 3)), strict=True))
        return {name: self.out.expand(len(part), *sizes[name]) for name, part in x.items()}


def test_what_rows_cannot_do_is_refused():
    heads = {NUMBERS: "flow", category(0): TokenHead("plug_in", 3), category(1): TokenHead("plug_in", 3)}
    network = Predictor(Constant(), PROCESS, heads)
    assert torch.isfinite(elbo(network, X, subset=3).nats).all()
    with pytest.raises(Refused, match=r"rows with categories have the bound, likelihood\.elbo"):
        ode(network, X)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="the bound of rows is that of steps: take elbo"):
        continuous(network, X)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="the data of a product are a dictionary of its parts: numbers, category 0, cat"):
        elbo(network, X[NUMBERS])
    with pytest.raises(Refused, match=r"several parts together need a denoiser of a Product; .* is of values"):
        elbo(PARTS[NUMBERS], X)
    with pytest.raises(Refused, match="with variance 'learned' is for a Gaussian process, not Product"):
        elbo(network, X, subset=3, variance="learned")


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(list(words))
    return int(done.value.code or 0)


def test_a_run_says_how_likely_rows_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    towns = ("rome", "oslo", "paris")
    lines = [f"{20 + i % 9},{towns[i % 3]},{0.25 * (i % 7):g}" for i in range(90)]
    path = tmp_path / "people.csv"
    path.write_text("age,town,size\n" + "\n".join(lines))
    tiny = [
        "train.steps=2",
        "network.width=16",
        "network.depth=1",
        "train.batch=16",
        "train.preview_every=0",
        "train.snapshots=0",
    ]
    settings = [*tiny, 'data.numeric=["age","size"]']
    assert run("train", str(path), "--out", str(tmp_path / "run"), "--set", *settings) == 0
    capsys.readouterr()
    assert run("score", str(tmp_path / "run"), str(path)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "bits a row" in said
    assert "(probability of rows, 90 rows)" in said
    assert "by the frequencies of each column alone" in said
    rows = (tmp_path / "run" / "scores.csv").read_text().splitlines()
    assert rows[0] == "item,bound,bound_bits_per_dim"
    assert all(math.isfinite(float(cell)) for row in rows[1:] for cell in row.split(","))
    held_out = sources.of_run(model := undiffuse.load(tmp_path / "run")).held_out
    found = nll.evaluate(model, held_out, 0, silent).summary()
    assert (found["items"], found["convention"]) == (len(held_out), "probability of rows")
    wanted = np.log2(9) + np.log2(7) + np.log2(3)  # all alike
    assert 3 * found["baseline"] == pytest.approx(wanted, abs=0.7)
