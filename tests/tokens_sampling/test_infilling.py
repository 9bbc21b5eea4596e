"""Infilling: known tokens stay, and the others have the law of the data given them."""

from typing import Any

import numpy as np
import pytest
import torch
from token_tables import MASKED, SEQUENCES, agree, chances, oracle
from torch import Tensor, nn

import undiffuse
from undiffuse.codecs.tokens import TokensCodec as Codec
from undiffuse.core.denoiser import Predictor
from undiffuse.core.distribution.carried_over import Carried
from undiffuse.core.errors import Refused
from undiffuse.core.heads.token_outputs import TokenHead
from undiffuse.core.network import Network
from undiffuse.core.process.categorical import Categorical, uniform
from undiffuse.core.sample import sample
from undiffuse.editing import infill, inpaint
from undiffuse.grids.even import Even
from undiffuse.guidance import Infill, Inpaint
from undiffuse.recipes.recipe import Recipe
from undiffuse.samplers import Ancestral, Cached, FirstHitting, Unmask
from undiffuse.schedules import LogLinear

KNOWN, WHERE = torch.tensor([[1, 0, 2]]), torch.tensor([[False, True, True]])
HERE = (SEQUENCES[:, 1] == 0) & (SEQUENCES[:, 2] == 2)
LAST = SEQUENCES[:, 2] == 2


def law(fits: Tensor) -> Tensor:
    return torch.where(fits, chances(), 0.0) / chances()[fits].sum()


@pytest.mark.parametrize("sampler", [Ancestral(), FirstHitting(), Unmask(), Cached()], ids=repr)
def test_one_unknown_token_has_its_exact_conditional_law(sampler: Any):
    filled = Infill(oracle(), KNOWN, WHERE)
    drawn = sample(filled, (3000, 3), sampler=sampler, times=Even()(LogLinear(), 4), start=filled.start(masks(3000)))
    assert agree(drawn, law(HERE))


@pytest.mark.parametrize("revealed", [True, False])
def test_a_known_suffix_has_its_exact_conditional_law_wherever_it_starts(revealed: bool):
    """Also from a batch that is masked everywhere: the denoiser is shown what is known."""
    where = torch.tensor([[False, False, True]])
    filled = Infill(oracle(), KNOWN, where)
    start = filled.start(masks(3000)) if revealed else masks(3000)
    drawn = sample(filled, (3000, 3), sampler=FirstHitting(), start=start)
    assert bool((drawn[:, 2] == 2).all())
    assert agree(drawn, law(LAST))


def masks(count: int) -> Tensor:
    return torch.full((count, 3), 3)


def test_inpaint_shows_masked_sequences_what_is_known_without_noise():
    for mask, fits in ((WHERE, HERE), (torch.tensor([[False, False, True]]), LAST)):
        drawn = sample(oracle(), (3000, 3), sampler=Inpaint(FirstHitting(), KNOWN, mask), steps=1)
        assert agree(drawn, law(fits))


def test_without_a_mask_what_is_known_stays_and_the_rest_is_of_the_data():
    plain = Categorical(LogLinear(floor=0.0), uniform(3))
    drawn = sample(Infill(oracle(plain), KNOWN, WHERE), (500, 3), times=Even()(LogLinear(), 20))
    assert bool((drawn[:, 1:] == KNOWN[:, 1:]).all())


class Exact(Network):
    """The logits of the table's exact denoiser."""

    reads_time = False

    def __init__(self) -> None:
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        return oracle()(x, 0.5).log_probs.clamp(min=-1e3) + self.zero


@pytest.fixture(scope="module")
def model() -> undiffuse.Diffusion:
    tables: dict[str, Any] = {
        "data": {"name": "heartbeat"},
        "codec": {"name": "tokens"},
        "process": {"name": "categorical", "noise": "mask"},
        "schedule": {"name": "log_linear", "floor": 0.0},
        "network": {"name": "token_mlp"},
        "objective": {"name": "denoising", "weighting": "data"},
        "sampler": {"name": "ancestral", "steps": 12},
        "train": {"steps": 1},
    }
    return undiffuse.Diffusion(
        Predictor(Exact(), MASKED, TokenHead("subs", 3)), Codec(3, (0.3, 0.3, 0.4)), (3,), Recipe("table", tables)
    )


def test_a_model_fills_in_what_is_not_known(model: undiffuse.Diffusion):
    drawn = infill(model, np.array([1, 0, 2]), np.array([False, True, True]), n=2000, seed=3)
    assert drawn.shape == (2000, 3)
    assert agree(drawn.long(), law(HERE))
    assert torch.equal(infill(model, KNOWN, WHERE, n=2, seed=3), drawn[:2])
    first = infill(model, KNOWN, torch.tensor([False, False, True]), n=2000, sampler="first_hitting", steps=1)
    assert agree(first.long(), law(LAST))
    seen: Any = model.denoiser(torch.tensor([[3, 0, 3]]), 0.5)
    assert isinstance(seen, Carried)
    assert model.denoiser.timeless


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ([True, True, True], "every token is known: there is nothing to fill in"),
        ([True, False], r"which tokens are known has the shape \(2,\), and a sequence \(3,\)"),
    ],
)
def test_meaningless_infilling_is_refused(model: undiffuse.Diffusion, known: list[bool], message: str):
    with pytest.raises(Refused, match=message):
        infill(model, KNOWN, torch.tensor(known))


def test_tokens_are_infilled_and_values_in_painted(model: undiffuse.Diffusion):
    with pytest.raises(Refused, match="editing is for models of values; this one is of tokens"):
        inpaint(model, KNOWN, WHERE)
    with pytest.raises(Refused, match="the model's samples have the shape"):
        infill(model, torch.zeros(4, dtype=torch.long), torch.tensor([True, False, True]))


def test_known_tokens_of_another_length_are_refused():
    said = r"a batch of known tokens of shape \(1, 4\) does not fit samples of shape \(3,\)"
    with pytest.raises(Refused, match=said):
        Infill(oracle(), torch.zeros(1, 4, dtype=torch.long), WHERE).start(masks(2))
