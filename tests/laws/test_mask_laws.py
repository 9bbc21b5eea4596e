"""Items of different sizes in one batch: what stands in place of padding, and how much of it, changes nothing."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from registered import every
from torch import Tensor, nn

from undiffuse.core.denoiser import Denoiser, Predictor
from undiffuse.core.distribution.distribution import counted, unpadded
from undiffuse.core.distribution.joint import Joint
from undiffuse.core.errors import Refused
from undiffuse.core.network import Network
from undiffuse.core.objective import Batch, Objective
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.process.product import Product
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.core.sampler import Sampler
from undiffuse.likelihood import elbo
from undiffuse.networks import MLP, SequenceTransformer, Transformer
from undiffuse.objectives import Denoising, DiffusionLM, Elbo
from undiffuse.samplers import DDIM
from undiffuse.schedules import JSD, VP, LogLinear

SIZES, LENGTH = [3, 5, 2], 5
MASK = torch.arange(LENGTH) < torch.tensor(SIZES)[:, None]
LONGER = torch.cat([MASK, torch.zeros(3, 2, dtype=torch.bool)], dim=1)
VALUES, TOKENS = Gaussian(VP()), Categorical(LogLinear(), uniform(4))
POSITIONS = Random(0).normal((3, LENGTH, 3), dtype=torch.float64)
ELEMENTS = Random(1).integers(4, (3, LENGTH))
BELIEFS: dict[str, Any] = {"values": (VALUES, POSITIONS), "tokens": (TOKENS, ELEMENTS)}
T = torch.tensor([0.3, 0.6, 0.8], dtype=torch.float64)


def padded(x: Tensor) -> Tensor:
    """The same items with something else in place of padding, and two more places of it."""
    more = torch.cat([x, x[:, :2]], dim=1)
    return torch.where(LONGER.reshape(*LONGER.shape, *(1,) * (x.ndim - 2)), more, more.flip(1))


@pytest.mark.parametrize("what", BELIEFS)
def test_padding_adds_nothing_to_what_a_belief_says(what: str):
    process, x = BELIEFS[what]
    short, long, half = process.marginal(x, T), process.marginal(padded(x), T), process.marginal(x, 0.5)
    masked, longer = short.masked(MASK), long.masked(LONGER)
    for mine, theirs in (
        (masked.log_prob(x), longer.log_prob(padded(x))),
        (masked.error(x), longer.error(padded(x))),
        (masked.kl(half), longer.kl(process.marginal(padded(x), 0.5).masked(LONGER))),
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
        assert float(mine.abs().min()) > 0
    for item, size in enumerate(SIZES):  # as the item by itself
        own = x[item : item + 1, :size]
        torch.testing.assert_close(masked.error(x)[item], process.marginal(own, T[item : item + 1]).error(own)[0])
    assert bool((masked.mean[~MASK] == 0).all())
    assert bool((masked.sample(Random(2))[~MASK] == 0).all())
    torch.testing.assert_close(masked.rows(slice(1, 3)).error(x[1:]), masked.error(x)[1:])
    mixed = short.blend(half, 0.3).masked(MASK)
    torch.testing.assert_close(masked.blend(half.masked(MASK), 0.3).error(x), mixed.error(x))
    assert torch.equal(masked.mean_only().mean, unpadded(short.mean_only().mean, MASK))
    assert (masked.certain, masked.reported) == (short.certain, short.reported)


def test_one_mask_is_for_all_parts_and_each_may_have_its_own():
    joint = Joint({"positions": VALUES.marginal(POSITIONS, T), "elements": TOKENS.marginal(ELEMENTS, T)})
    x: dict[str, Any] = {"positions": POSITIONS, "elements": ELEMENTS}
    apart = torch.stack([joint[name].masked(MASK).error(x[name]) for name in x]).sum(0)
    torch.testing.assert_close(joint.masked(MASK).error(x), apart)
    torch.testing.assert_close(joint.masked(dict.fromkeys(x, MASK)).error(x), apart)
    assert counted(x, MASK).tolist() == [4 * size for size in SIZES]


def network(kind: str, near: int) -> nn.Module:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "near": near}
    tokens = kind == "tokens"
    found = Transformer(vocabulary=5, shape=(LENGTH,), **sizes) if tokens else SequenceTransformer(channels=3, **sizes)
    for p in found.parameters():
        nn.init.normal_(p, std=0.3)
    return found.double()


@pytest.mark.parametrize("near", [0, 3])
@pytest.mark.parametrize("kind", ["tokens", "values"])
@torch.no_grad()
def test_a_network_leaves_padding_out(kind: str, near: int):
    """Whatever stands there, and as if the item were by itself."""
    tokens = kind == "tokens"
    process: Any = Categorical(LogLinear(floor=0.0), mask(5)) if tokens else VALUES
    denoiser = Predictor(network(kind, near), process, "subs" if tokens else "velocity")
    x = torch.where(Random(3).uniform((3, LENGTH)) < 0.5, 4, ELEMENTS) if tokens else POSITIONS.transpose(1, 2)
    there = MASK if tokens else MASK[:, None]
    found = denoiser(x, T, mask=there).masked(there).mean
    changed = denoiser(torch.where(there, x, x.flip(0)), T, mask=there).masked(there).mean
    torch.testing.assert_close(found, changed, rtol=0, atol=1e-9)
    for item, size in enumerate(SIZES):
        alone = denoiser(x[item : item + 1, ..., :size], T[item : item + 1]).mean
        mine = found[item : item + 1, :size] if tokens else found[item : item + 1, :, :size]
        torch.testing.assert_close(mine, alone, rtol=0, atol=1e-6)
    whole = denoiser(x, T, mask=torch.ones_like(there)).mean
    torch.testing.assert_close(whole, denoiser(x, T).mean, rtol=0, atol=1e-9)
    drawn = sample(denoiser, tuple(x.shape), sampler=DDIM(), steps=3, mask=there)
    assert bool((unpadded(drawn, ~there) == 0).all())


def test_a_network_without_a_mask_is_refused_by_name():
    with pytest.raises(Refused, match=r"need a `Network` that leaves padding out, .* as transformer .*; MLP is none"):
        Predictor(MLP(3), VALUES, "velocity")(POSITIONS[:, 0], T, mask=MASK[:, :3])


class Molecule(Network):
    """Says of each atom what the mean of all atoms and itself are."""

    masks = True

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Parameter(Random(7).normal((4, 3), dtype=torch.float64))

    def forward(self, x: Any, c_time: Tensor, mask: Tensor) -> dict[str, Tensor]:
        h = (x["positions"] + self.embed[x["elements"]]) * mask[..., None]
        h = h + (h.sum(1) / mask.sum(1, keepdim=True))[:, None]
        return {"positions": h, "elements": h @ self.embed.T}


@pytest.mark.parametrize("objective", [Denoising("snr_plus_one"), Elbo(0.5)], ids=["denoising", "elbo"])
@pytest.mark.parametrize("tabled", [False, True])
def test_padding_changes_no_loss(objective: Any, tabled: bool):
    """Neither what stands there nor how much of it; and an item counts as by itself."""
    tokens = Categorical(JSD(20) if tabled else LogLinear(floor=0.0), mask(5))
    denoiser: Any = Predictor(network("tokens", 3), tokens, "subs")
    x: Any = ELEMENTS
    if isinstance(objective, Denoising):
        process = Product({"positions": VALUES, "elements": TOKENS})
        denoiser = Predictor(Molecule(), process, {"positions": "velocity", "elements": "probabilities"})
        x = {"positions": POSITIONS, "elements": ELEMENTS}
    more = {name: padded(part) for name, part in x.items()} if isinstance(x, dict) else padded(x)
    loss = objective.loss(denoiser, Batch(x, mask=MASK), Random(8))
    torch.testing.assert_close(loss, objective.loss(denoiser, Batch(more, mask=LONGER), Random(8)), rtol=0, atol=1e-6)
    for item, size in enumerate(SIZES):
        own = {n: p[item : item + 1, :size] for n, p in x.items()} if isinstance(x, dict) else x[item : item + 1, :size]
        there = torch.ones(1, size, dtype=torch.bool)
        alone = objective.loss(denoiser, Batch(own, mask=there), Random(8, torch.tensor([item])))
        torch.testing.assert_close(alone, loss[item : item + 1], rtol=0, atol=1e-6)


def test_a_likelihood_of_items_of_different_sizes_is_refused():
    denoiser = Predictor(network("tokens", 0), Categorical(LogLinear(floor=0.0), mask(5)), "subs")
    with pytest.raises(Refused, match="a likelihood takes items of one size: score those of each size apart"):
        elbo(denoiser, ELEMENTS, mask=MASK)


def test_an_objective_that_cannot_leave_padding_out_says_so():
    objective: Objective = DiffusionLM()
    denoiser = Predictor(network("values", 0), VALUES, "data")
    with pytest.raises(Refused, match="objective 'diffusion_lm' cannot leave padding out: take denoising or elbo"):
        objective.loss(denoiser, Batch(ELEMENTS, mask=MASK), Random(0))


@pytest.mark.parametrize("family", ["values", "tokens"])
@torch.no_grad()
def test_a_sampler_that_takes_items_of_different_sizes_does_not_hear_padding(family: str):
    tokens = family == "tokens"
    process: Any = Categorical(LogLinear(floor=0.0), mask(5)) if tokens else VALUES
    denoiser = Predictor(network(family, 0), process, "subs" if tokens else "velocity")
    denoiser.network.reads_time = not tokens  # for the sampler that remembers guesses, and hears no time  # type: ignore[arg-type]
    told: Denoiser = denoiser if tokens else Sure(denoiser)
    there = MASK if tokens else MASK[:, None]
    start = torch.full((3, LENGTH), 4) if tokens else POSITIONS.transpose(1, 2)
    starts = [start, torch.where(there, start, start.flip(0) if not tokens else 2)]
    for sampler in every("samplers", Sampler, family):
        how: dict[str, Any] = {"sampler": sampler, "times": torch.tensor([0.9, 0.6, 0.3, 0.1]), "mask": there}
        if not able(sampler):
            with pytest.raises(Refused, match="reads all places at once, and so not items of different sizes"):
                sample(told, tuple(start.shape), **how)
            continue
        one, other = (sample(told, tuple(x.shape), start=x, **how) for x in starts)
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6, msg=repr(sampler))


class Sure(Denoiser):
    """Says as well how sure it is."""

    def __init__(self, denoiser: Predictor) -> None:
        self.denoiser, self.process = denoiser, denoiser.process

    def __call__(self, x_t: Any, t: Any, **cond: Any) -> Any:
        return replace(self.denoiser(x_t, t, **cond), var=torch.tensor(0.1))


def able(sampler: Sampler) -> bool:
    return sampler.masks and (sampler.inner is None or able(sampler.inner))
