"""The network of a prior: what each token sees, what a dropped text leaves, and the optimum for Gaussian pairs."""

from typing import Any

import pytest
import torch
from torch import Tensor

from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.networks.prior_transformer import PriorTransformer
from undiffuse.objectives.denoising import Denoising
from undiffuse.parameterizations.velocity import Velocity
from undiffuse.schedules import ContinuousCosine

X, TIME = Random(0).normal((3, 4)), torch.tensor([5.0, 300.0, 900.0])
TEXT = Random(1).normal((3, 5, 6)) * torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0]).reshape(1, 5, 1)  # one token is padding
SPECS: Any = {"text": ("text", (5, 6)), "style": ("vector", (2,))}


def network(seed: int = 0) -> PriorTransformer:
    torch.manual_seed(seed)
    made = PriorTransformer(4, (4,), SPECS, width=8, depth=2, heads=2)
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return made.eval()


def states(made: PriorTransformer, x: Tensor, **cond: Any) -> Tensor:
    """What the last block gives, (batch, tokens, width)."""
    seen: list[Tensor] = []

    def keep(module: Any, given: Any, out: Any) -> None:
        seen.append(out)

    hook = made.blocks[-1].register_forward_hook(keep)
    made(x, TIME, **cond)
    hook.remove()
    return seen[0]


def test_the_guess_is_zero_before_training():
    assert torch.equal(PriorTransformer(4, (4,), SPECS, width=8, depth=2, heads=2)(X, TIME, text=TEXT), X * 0)


def test_a_token_sees_those_before_it_alone():
    """In order: 4 tokens of the text, its vector, the style, the time, the noisy vector, the query."""
    made, style = network(), torch.ones(3, 2)
    before = states(made, X, text=TEXT, style=style)
    assert before.shape == (3, 9, 8)
    for changed, first in (
        (states(made, X + 1, text=TEXT, style=style), 7),
        (states(made, X, text=TEXT, style=style + 1), 5),
        (states(made, X, text=torch.cat([TEXT[:, :4], TEXT[:, 4:] + 1], 1), style=style), 4),
        (states(made, X, text=torch.cat([TEXT[:, :1], TEXT[:, 1:2] + 1, TEXT[:, 2:]], 1), style=style), 1),
    ):
        assert torch.equal(changed[:, :first], before[:, :first])
        assert not torch.isclose(changed[:, first:], before[:, first:], rtol=1e-3).all(-1).any(), first


def test_padding_is_seen_by_nobody_and_a_dropped_text_is_not_heard():
    made = network()
    enter: Any = made.prefix.tokens["condition_text"]
    with torch.no_grad():
        enter.bias.add_(1)  # what a padded token is made of is not 0
    before = states(made, X, text=TEXT)
    with torch.no_grad():
        enter.bias.add_(1)
    moved = states(made, X, text=torch.cat([0 * TEXT[:, :4], TEXT[:, 4:]], 1))
    with torch.no_grad():
        enter.bias.add_(1)
    again = states(made, X, text=torch.cat([0 * TEXT[:, :4], TEXT[:, 4:]], 1))
    assert torch.equal(moved[:, 4:], again[:, 4:])  # all tokens are padding
    assert not torch.isclose(moved[:, 4:], before[:, 4:]).all()
    some = torch.tensor([True, False, True])
    mixed = made(X, TIME, text=TEXT, drop={"text": some})
    torch.testing.assert_close(mixed[1], made(X, TIME, text=TEXT)[1])
    changed = made(X, TIME, text=TEXT + 1, drop={"text": some})
    torch.testing.assert_close(changed[some], mixed[some])  # neither tokens nor vector are heard
    assert made(X, TIME).isfinite().all()


def test_the_optimum_of_gaussian_pairs_is_learned():
    """x_0 = r y + sqrt(1 - r^2) e: the error's floor is the mean over t of 1 / (1 / (1 - r^2) + SNR), of a text, and of
    1 / (1 + SNR) where it is dropped, which is also the guess before training with the velocity's parameterization.
    """
    r, width = 0.8, 2

    def pairs(count: int, seed: int) -> tuple[Tensor, dict[str, Any]]:
        y = Random(seed).normal((count, width))
        return r * y + (1 - r**2) ** 0.5 * Random(seed).fold(1).normal((count, width)), {"text": y[:, None]}

    torch.manual_seed(0)
    made = PriorTransformer(width, (width,), {"text": ("text", (1, width))}, width=16, depth=1, heads=1)
    denoiser, loss = Predictor(made, Gaussian(ContinuousCosine()), Velocity()), Denoising(weighting="data")
    t = Random(7).uniform((4000,)).double()
    snr = denoiser.process.schedule.log_snr(t).exp()
    untold, told = (float((1 / (1 / var + snr)).mean()) for var in (1.0, 1 - r**2))

    @torch.no_grad()
    def errors() -> list[float]:
        x, cond = pairs(4000, 10**6)
        return [float(loss.at(t, denoiser, Batch(x, each), Random(3)).mean()) for each in ({}, cond)]

    assert errors() == [pytest.approx(untold, rel=0.03)] * 2
    optimiser = torch.optim.Adam(made.parameters(), 1e-2, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=250)
    dropped = torch.arange(128) % 5 == 0
    for step in range(250):
        x, cond = pairs(128, step)
        optimiser.zero_grad()
        loss.loss(denoiser, Batch(x, {**cond, "drop": dropped}), Random(step).fold(5)).mean().backward()
        optimiser.step()
        rate.step()
    assert told < 0.46 * untold
    assert errors() == [pytest.approx(untold, rel=0.1), pytest.approx(told, rel=0.2)]


def test_what_it_cannot_read_is_refused():
    with pytest.raises(Refused, match="is for vectors"):
        PriorTransformer(4, (4, 2))
    with pytest.raises(Refused, match=r"reads texts that a run embeds .prompts. and vectors; 'text' is neither"):
        PriorTransformer(4, (4,), {"text": ("text", (5,))})
    with pytest.raises(Refused, match=r"takes vectors of 4 numbers, not \(5,\)"):
        network()(torch.zeros(3, 5), TIME)
    with pytest.raises(Refused, match=r"takes 'text' of shape \(3, 5, 6\), not \(3, 4, 6\)"):
        network()(X, TIME, text=TEXT[:, 1:])
    with pytest.raises(Refused, match="was not built for 'caption'; its conditions are: text, style"):
        network()(X, TIME, caption=TEXT)
