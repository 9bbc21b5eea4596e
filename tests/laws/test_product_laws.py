"""A product of independent parts equals the parts: its process, its beliefs, its steps, its bound and its losses."""

from typing import Any

import pytest
import torch
from registered import every
from torch import Tensor, nn

from undiffuse.core.denoiser import Predictor
from undiffuse.core.named_parts import each, rows
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle, PartsOracle, TokenOracle
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.product import Product
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.core.sampler import Sampler
from undiffuse.likelihood import elbo
from undiffuse.objectives import Denoising, Elbo
from undiffuse.schedules import VP, FlowSchedule, LogLinear

N, ATOMS = 6, 4
PARTS: dict[str, Any] = {
    "positions": Gaussian(VP()),
    "elements": Categorical(LogLinear(floor=0.0), mask(4)),
    "charges": Categorical(FlowSchedule(), uniform(2)),
}
PROCESS = Product(PARTS)
SHAPES = {"positions": (N, ATOMS, 3), "elements": (N, ATOMS), "charges": (N, 1)}
SEQUENCES = torch.cartesian_prod(*[torch.arange(3)] * ATOMS)
SHARES = torch.linspace(1, 2, len(SEQUENCES), dtype=torch.float64)
ORACLES: dict[str, Any] = {
    "positions": GaussianOracle(PARTS["positions"], 0.3, 0.7),
    "elements": TokenOracle(PARTS["elements"], SEQUENCES, SHARES),
    "charges": TokenOracle(PARTS["charges"], torch.arange(2)[:, None], [0.2, 0.8]),
}
ORACLE = PartsOracle(PROCESS, ORACLES)
X_0: dict[str, Tensor] = {
    "positions": Random(0).normal((N, ATOMS, 3), dtype=torch.float64),
    "elements": Random(1).integers(3, (N, ATOMS)),
    "charges": Random(2).integers(2, (N, 1)),
}
S, T = torch.linspace(0.05, 0.3, N, dtype=torch.float64), torch.linspace(0.4, 0.95, N, dtype=torch.float64)
X_T = PROCESS.marginal(X_0, T).sample(Random(3))


def same(joint: Any, alone: dict[str, Any], x: dict[str, Tensor] | None = None) -> None:
    """A belief about all parts and those about each: their means, draws, and what they say of x."""
    drawn, random = joint.sample(Random(5)), Random(5)
    for i, (name, belief) in enumerate(alone.items()):
        torch.testing.assert_close(joint.mean[name], belief.mean, rtol=0, atol=0)
        assert torch.equal(drawn[name], belief.sample(random.fold(i)))
    if x is not None:
        total = torch.stack([belief.log_prob(x[name]).double() for name, belief in alone.items()]).sum(0)
        torch.testing.assert_close(joint.log_prob(x).double(), total)
        total = torch.stack([belief.error(x[name]).double() for name, belief in alone.items()]).sum(0)
        torch.testing.assert_close(joint.error(x).double(), total)


def test_every_method_of_a_product_is_the_parts_own():
    assert PROCESS.schedule == VP()
    assert PROCESS.keeps
    same(PROCESS.point(X_0), {name: part.point(X_0[name]) for name, part in PARTS.items()})
    same(PROCESS.prior(SHAPES), {name: part.prior(SHAPES[name]) for name, part in PARTS.items()}, X_T)
    same(PROCESS.marginal(X_0, T), {name: part.marginal(X_0[name], T) for name, part in PARTS.items()}, X_T)
    shown = PROCESS.shown(X_T, 0.5)
    assert all(torch.equal(shown[name], part.shown(X_T[name], 0.5)) for name, part in PARTS.items())
    guess, kept = ORACLE(X_T, T), PROCESS.keep(S, T, X_T)
    for keep in (None, kept, torch.tensor(0.0)):
        own = keep if isinstance(keep, dict) else dict.fromkeys(PARTS, keep)
        alone = {n: p.bridge(X_T[n], ORACLES[n](X_T[n], T), S, T, own[n]) for n, p in PARTS.items()}
        same(PROCESS.bridge(X_T, guess, S, T, keep), alone)


def test_beliefs_add_up_and_are_mixed_part_by_part():
    one, other = PROCESS.marginal(X_0, T), PROCESS.marginal(each(lambda x: x.flip(0), X_0), T)
    pairs = {name: (one[name], other[name]) for name in PARTS}
    kl = torch.stack([mine.kl(theirs).double() for mine, theirs in pairs.values()]).sum(0)
    torch.testing.assert_close(one.kl(other).double(), kl)
    same(one.blend(other, 0.3), {name: mine.blend(theirs, 0.3) for name, (mine, theirs) in pairs.items()})
    same(
        one.rows(slice(1, 4)),
        {name: mine.rows(slice(1, 4)) for name, (mine, _) in pairs.items()},
        rows(X_T, slice(1, 4)),
    )
    assert one.reported
    assert not PROCESS.point(X_0).reported


@pytest.mark.parametrize("sampler", every("samplers", Sampler, "mixed"), ids=repr)
def test_a_step_of_all_parts_is_a_step_of_each(sampler: Sampler):
    belief, _ = sampler.step(ORACLE, X_T, torch.tensor(0.6), torch.tensor(0.25), random=Random(4))
    alone = {
        name: sampler.step(ORACLES[name], X_T[name], torch.tensor(0.6), torch.tensor(0.25), random=Random(4))[0]
        for name in PARTS
    }
    same(belief, alone)
    drawn = sample(ORACLE, SHAPES, sampler=sampler, steps=3)
    assert each(lambda x: tuple(x.shape), drawn) == SHAPES
    assert int(drawn["elements"].max()) < 3


def test_the_bound_is_the_sum_of_the_parts_bounds():
    """Of one step and the prior, which have no noise of their own in common, within their draws' error."""
    many = each(lambda x: x.repeat_interleave(200, 0), X_0)
    how: dict[str, Any] = {"times": torch.tensor([1.0, 0.5, 0.1]), "batch": 1200, "variance": "exact"}
    found = elbo(ORACLE, many, **how)
    alone = [elbo(ORACLES[name], many[name], **how) for name in PARTS]
    assert found.elements == ATOMS * 3 + ATOMS + 1
    torch.testing.assert_close(found.prior, torch.stack([bound.prior for bound in alone]).sum(0))
    all_parts, apart = found.nats.reshape(N, 200), torch.stack([bound.nats for bound in alone]).sum(0).reshape(N, 200)
    noise = (all_parts.var(1) + apart.var(1)).sqrt() / 200**0.5
    assert bool(((all_parts.mean(1) - apart.mean(1)).abs() < 4 * noise).all())


class Heads(nn.Module):
    """Gives each part what a network of its own would give."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 4, dtype=torch.float64))

    def forward(self, x: Any, c_time: Tensor) -> Any:
        if not isinstance(x, dict):
            return self.alone(x)
        return {name: self.alone(part) for name, part in x.items()}

    def alone(self, x: Tensor) -> Tensor:
        if x.is_floating_point():
            return x * self.weight[0]
        size = 4 if x.shape[1] == ATOMS else 2
        return x[..., None] * self.weight[:size]


def test_one_network_with_a_head_for_each_part_guesses_as_one_network_a_part():
    heads = {"positions": "velocity", "elements": "subs", "charges": "plug_in"}
    network = Heads()
    guess = Predictor(network, PROCESS, heads)(X_T, T)
    for name, head in heads.items():
        alone = Predictor(network, PARTS[name], head)(X_T[name], T)
        torch.testing.assert_close(guess[name].mean, alone.mean, rtol=0, atol=0)


def test_the_loss_is_the_sum_of_the_parts_losses():
    """With the draws that each part has in the product; the bound of tokens is a mean over all of them."""
    random = Random(6)
    alone = [
        Denoising("snr_plus_one").at(T, ORACLES[name], Batch(X_0[name]), random.fold(i)) for i, name in enumerate(PARTS)
    ]
    found = Denoising("snr_plus_one").at(T, ORACLE, Batch(X_0), random)
    torch.testing.assert_close(found, torch.stack([each.to(found) for each in alone]).sum(0))
    tokens = [name for name in PARTS if name != "positions"]
    process = Product({name: PARTS[name] for name in tokens})
    oracle, x_0 = PartsOracle(process, ORACLES), {name: X_0[name] for name in tokens}
    found = Elbo(cross_entropy=0.5).at(T, oracle, Batch(x_0), random)
    bits = [Elbo(cross_entropy=0.5).at(T, ORACLES[n], Batch(X_0[n]), random.fold(i)) for i, n in enumerate(tokens)]
    torch.testing.assert_close(found, (bits[0] * ATOMS + bits[1]) / (ATOMS + 1))
