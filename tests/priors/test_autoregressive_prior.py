"""The autoregressive prior: principal components in levels, what a value is told, and the floor of Gaussian pairs."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pairs
import pytest
import torch
from torch import Tensor

import undiffuse
from undiffuse.codecs.principal_levels import PrincipalLevels
from undiffuse.conditions.vector import VectorCondition
from undiffuse.core.autoregressive import Autoregressive
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.level_heads import Softmax
from undiffuse.models.chain import Chain
from undiffuse.networks.causal_transformer import CausalTransformer

LEVELS = 8


def prior(data: Path, pair: Path, **changes: Any) -> dict[str, Any]:
    tables = {
        "kind": "autoregressive",
        "codec": {"name": "principal_levels", "encoder": str(pair), "components": 5, "levels": LEVELS},
        "network": {"name": "causal_transformer", "width": 8, "depth": 1, "heads": 2},
        "objective": {"name": "maximum_likelihood"},
        "conditions": {
            "text": {"kind": "prompt", "encoder": str(pair), "drop": 0.1},
            "similarity": {"kind": "vector", "of": "similarity:text", "drop": 0.1},
        },
    }
    told = pairs.prior(data, pair)
    return {name: told[name] for name in ("data", "train")} | tables | changes


def test_components_are_those_of_the_largest_variance_and_come_back_up_to_half_a_level(home: Path):
    pair: Any = undiffuse.load(home / "pair")
    x = pair.encode_image(np.random.default_rng(1).integers(0, 256, (60, *pairs.SHAPE), np.uint8))
    whole = PrincipalLevels(pair, components=8, levels=4096).fit(x.numpy())
    torch.testing.assert_close(whole.decode(whole.encode(x)), x, atol=1e-3, rtol=0)
    few = PrincipalLevels(pair, components=3, levels=LEVELS).fit(x.numpy())
    z = few.encode(x)
    assert z.shape == (60, 1, 3)
    assert (few.encoded_shape((8,)), few.decoded_shape((1, 3))) == ((1, 3), (8,))
    places = (z + 1) / 2 * (LEVELS - 1)
    torch.testing.assert_close(places, places.round())
    assert (float(z.min()), float(z.max())) == (-1.0, 1.0)
    spread = np.linalg.eigvalsh(np.cov(x.numpy().T, bias=True))[::-1]
    axes = np.reshape(few.axes, (3, 8))
    assert ((x.numpy() - few.mean) @ axes.T).var(0) == pytest.approx(spread[:3], rel=1e-3)
    assert axes @ axes.T == pytest.approx(np.eye(3), abs=1e-5)
    for make, message in (
        (lambda: PrincipalLevels(pair, components=9).fit(x.numpy()), "components = 9: 60 vectors of 8 numbers have 8"),
        (lambda: PrincipalLevels(pair, levels=1), "1 component and 2 levels or more, not 64 and 1"),
        (lambda: PrincipalLevels(pair, mean=(0.0,), least=(0.0,), most=(1.0,)), "as many axes as ends of components"),
        (lambda: PrincipalLevels(pair).encode(x), "principal_levels is not fitted"),
    ):
        with pytest.raises(Refused, match=message):
            make()


def test_a_run_is_told_text_and_similarity_and_draws_unit_vectors(home: Path, tmp_path: Path):
    run = pairs.trained(prior(home / "pairs.npz", home / "pair"), tmp_path / "run")
    pair: Any = undiffuse.load(home / "pair")
    drawn = run.sample(3, text=["a 0", "b 1", "c 2"], similarity=0.4)
    assert drawn.shape == (3, pairs.WIDTH)
    assert drawn.norm(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    assert torch.equal(undiffuse.load(tmp_path / "run").sample(1, text="c 2", similarity=0.4, indices=[2]), drawn[2:])
    both = run.sample(4, text=["a 0", "a 0", "b 1", "b 1"], similarity=0.4).unflatten(0, (2, 2))
    near = (both * pair.encode_text(["a 0", "b 1"])[:, None]).sum(-1).argmax(1)
    kept = run.sample(2, text=["a 0", "b 1"], similarity=0.4, candidates=2)
    assert torch.equal(kept, both[torch.arange(2), near])
    usual = replace(run, recipe=run.recipe.with_tables(sampler={"candidates": 2, "guidance": 1.0}))
    assert torch.equal(usual.sample(2, text=["a 0", "b 1"], similarity=0.4), kept)
    assert torch.equal(usual.open(n=2, text=["a 0", "b 1"], similarity=0.4).film(), kept)
    with pytest.raises(Refused, match=r"guidance = 3 needs a condition that training dropped .*; dropped were text"):
        run.sample(1, guidance=3.0)
    with pytest.raises(Refused, match="guidance of an autoregressive model is one number"):
        run.sample(1, text="a 0", guidance={"text": 2.0})
    with pytest.raises(Refused, match=r"sampler.steps: an autoregressive run draws value by value; it has guidance"):
        undiffuse.train(prior(home / "pairs.npz", home / "pair", sampler={"steps": 3}), out=tmp_path / "steps")
    chain = Chain.of_runs({"prior": run, "decoder": undiffuse.load(home / "decoder")})
    drawn = chain.sample(2, text="a 0", similarity=0.4, guidance=2.0, steps=3)  # the prior takes no steps
    assert drawn.shape == (2, *pairs.SHAPE)
    assert drawn.calls == 2 * 5 + 2 * 3
    from undiffuse.evaluation.sources import of_run

    real = of_run(run).held_out
    told = (torch.from_numpy(real.x) * pair.encode_text(real.conditions["text"].tolist())).sum(1, keepdim=True)
    torch.testing.assert_close(torch.from_numpy(real.conditions["similarity"]), told)
    alone = {"similarity": {"kind": "vector", "of": "similarity:text"}}
    with pytest.raises(Refused, match=r"a similarity is to a text that a run of kind clip embeds"):
        undiffuse.train(prior(home / "pairs.npz", home / "pair", conditions=alone), out=tmp_path / "alone")
    with pytest.raises(Refused, match="a vector is of the 'item', or 'similarity:' and a text's name"):
        VectorCondition(of="likeness")


def test_the_optimum_of_gaussian_pairs_is_learned_from_even_chances():
    """x = r y + sqrt(1 - r^2) e, number by number, in levels: the floor is the entropy of a level given y."""
    r, step = 0.8, 6 / (LEVELS - 1)

    def drawn(count: int, seed: int) -> tuple[Tensor, Tensor]:
        y = Random(seed).normal((count, 1, 2))
        x = r * y + (1 - r**2) ** 0.5 * Random(seed).fold(1).normal((count, 1, 2))
        return ((x + 3) / step).round().clamp(0, LEVELS - 1) * (2 / (LEVELS - 1)) - 1, y

    torch.manual_seed(0)
    network = CausalTransformer(1, (1, 2), LEVELS, conditions={"text": ("text", (1, 2))}, width=16, depth=1, heads=1)
    model = Autoregressive(network, Softmax(LEVELS), Decoder(-1.0, 1.0, LEVELS))
    x, y = drawn(2000, 10**6)
    ends = ((torch.arange(LEVELS + 1).double() - 0.5) * step - 3 - r * y.double().reshape(-1, 1)) / (1 - r**2) ** 0.5
    ends[:, 0], ends[:, -1] = -math.inf, math.inf
    chances = torch.special.ndtr(ends).diff()
    floor = float(torch.special.entr(chances).sum(1).mean())

    def nats() -> float:
        return -float(model.log_prob(x, text=y).detach().mean()) / 2

    assert nats() == pytest.approx(math.log(LEVELS), rel=1e-6)
    optimiser = torch.optim.Adam(model.parameters(), 2e-2, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-2, total_steps=120)
    for i in range(120):
        some, told = drawn(128, i)
        optimiser.zero_grad()
        (-model.log_prob(some, text=told).mean()).backward()
        optimiser.step()
        rate.step()
    assert floor < 0.7 * math.log(LEVELS)
    assert nats() == pytest.approx(floor, abs=0.1)


def test_guidance_moves_the_chances_of_each_value_away_from_those_without_the_text():
    torch.manual_seed(0)
    network = CausalTransformer(1, (1, 3), LEVELS, conditions={"text": ("text", (2, 2))}, width=16, depth=2, heads=2)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    model = Autoregressive(network, Softmax(LEVELS), Decoder(-1.0, 1.0, LEVELS))
    text, dropped = Random(1).normal((2, 2, 2)), {"text": torch.ones(2, dtype=torch.bool)}
    found: list[Tensor] = []
    places = model.draw(
        torch.zeros(2, 1, 3, dtype=torch.int64),
        torch.zeros(1, 3, dtype=torch.bool),
        Random(0, torch.arange(2)),
        lambda log_probs: found.append(log_probs) or log_probs,  # type: ignore[func-returns-value]
        weight=3.0,
        drop=dropped,
        text=text,
    )
    x = (places * (2 / (LEVELS - 1)) - 1).float()
    told, without = (network(x, text=text, **more).log_softmax(2)[:, 0] for more in ({}, {"drop": dropped}))
    wanted = (without + 3 * (told - without)).log_softmax(1).movedim(2, 0)
    torch.testing.assert_close(torch.stack(found), wanted.detach(), rtol=0, atol=1e-5)
