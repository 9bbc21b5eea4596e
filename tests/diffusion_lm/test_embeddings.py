"""Tokens as values: the numbers of the paper's schedule, rounding, the loss term by term, and the bound."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse import likelihood
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.heads.embeddings import EmbeddingHead, misread
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.networks.sequence_transformer import SequenceTransformer
from undiffuse.objectives import DiffusionLM
from undiffuse.parameterizations import Data
from undiffuse.schedules import VP, Sqrt

T = 2000


class Guesses(nn.Module):
    """Gives the same numbers whatever it is shown."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
        return self.value.expand_as(x)


def table(values: Any, network: nn.Module | None = None, steps: int = T) -> Predictor:
    """A denoiser with these embeddings, (vocabulary, width)."""
    rows = torch.tensor(values)
    schedule = Sqrt(steps=steps)
    head = EmbeddingHead(Data(), schedule, *rows.shape)
    with torch.no_grad():
        head.table.copy_(rows)
    return Predictor(network or Guesses(), Gaussian(schedule), head)


def test_the_schedule_has_the_papers_numbers():
    """beta of the first step, alpha-bar of index 0, 1000 and the last, and the noise on the embeddings of data."""
    alpha_bar = Sqrt().alpha(torch.tensor([1, 1001, 2000], dtype=torch.float64) / T).square()
    assert 1 - float(alpha_bar[0]) == pytest.approx(0.01464, abs=5e-6)
    assert float(alpha_bar[0]) == pytest.approx(0.985359, abs=1e-6)
    assert float(alpha_bar[1]) == pytest.approx(0.29542, abs=1e-5)
    assert float(alpha_bar[2]) == pytest.approx(2.02e-7, rel=5e-3)
    assert table([[0.0], [1.0]]).embeddings.sigma_0 == pytest.approx(0.121, abs=5e-4)


@pytest.mark.parametrize("gap", [1.0, 2.0, 3.5])
def test_two_embeddings_are_taken_for_each_other_as_often_as_their_distance_says(gap: float):
    """Q(distance / (2 sigma)), and the same for rounding done with noise."""
    direction = torch.tensor([0.6, -0.8])
    found = table([[1.0, 2.0], [1.0, 2.0]])
    with torch.no_grad():
        found.embeddings.table[1] += gap * found.embeddings.sigma_0 * direction
    n = 40_000
    words = torch.arange(2).repeat(n // 2)[:, None]
    share = float((found.data_of(found.embeddings.begun(words, Random(1))) != words).double().mean())
    exact = misread(gap)
    assert exact == pytest.approx(0.5 * math.erfc(gap / 2 / math.sqrt(2)))
    assert share == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / n))


def test_rounding_takes_the_nearest_and_its_chances_are_those_of_bayes():
    found = table([[0.0, 0.0], [1.0, 0.5], [-0.4, 2.0]])
    x = Random(0).normal((5, 2, 7))
    away = (x.transpose(1, 2)[..., None, :] - found.embeddings.table).square().sum(-1)
    assert torch.equal(found.data_of(x), away.argmin(-1))
    assert torch.equal(found.embeddings.snapped(x), found.state_of(away.argmin(-1)))
    torch.testing.assert_close(found.embeddings.logits(x).softmax(-1), (-away / 2).softmax(-1))
    alpha, variance = 0.7, 0.3
    away = (x.transpose(1, 2)[..., None, :] - alpha * found.embeddings.table).square().sum(-1)
    torch.testing.assert_close(
        found.embeddings.logits(x, alpha, variance).softmax(-1), (-away / 2 / variance).softmax(-1)
    )


def test_tokens_become_their_columns_and_come_back():
    found, words = table([[0.0, 0.0], [1.0, 0.5], [-0.4, 2.0]]), torch.tensor([[0, 2, 1, 1]])
    assert found.state_shape((1, 4)) == (1, 2, 4)
    assert found.state_of(words)[0, :, 1].tolist() == pytest.approx([-0.4, 2.0])
    assert torch.equal(found.data_of(found.state_of(words)), words)


def test_the_loss_is_the_sum_of_its_terms():
    """Of a guess that is 0 everywhere; at the first step of the table the target is without noise."""
    found, words = table([[0.5, 0.0], [0.0, 1.5]]), torch.tensor([[0, 1, 1], [1, 1, 0]])
    random, t = Random(3), torch.tensor([1 / T, 0.4], dtype=torch.float64)
    loss = DiffusionLM(cross_entropy=2.0).at(t, found, Batch(words), random)
    clean, begun = found.state_of(words), found.embeddings.begun(words, random.fold(0))
    error = torch.stack([clean[0].square().mean(), begun[1].square().mean()])
    alpha = float(Sqrt().alpha(torch.tensor(1.0)))
    prior = (alpha * begun).square().mean((1, 2))
    chances = found.embeddings.logits(begun).log_softmax(-1).gather(-1, words[..., None]).mean((1, 2))
    torch.testing.assert_close(loss, error + prior - 2 * chances)
    assert torch.equal(DiffusionLM(cross_entropy=2.0).at(t - 1e-4 / T, found, Batch(words), random), loss)
    loss.sum().backward()
    assert found.embeddings.table.grad is not None
    assert bool((found.embeddings.table.grad != 0).all())
    alone = DiffusionLM(cross_entropy=2.0).at(t[1:], found, Batch(words[1:]), random.at(torch.tensor([1])))
    torch.testing.assert_close(alone, loss[1:].detach(), check_stride=False)


def test_the_bound_of_a_perfect_guess_is_near_the_entropy_of_the_tokens():
    """One of two tokens with chance 1/4 and 3/4, far apart: the guess is the mean of the embedding given x_t."""
    chances = torch.tensor([0.25, 0.75])

    class Exact(nn.Module):
        def forward(self, x: Tensor, c_time: Tensor) -> Tensor:
            t = (c_time.double() + 1) / T
            alpha, sigma = (c[:, None, None].to(x.dtype) for c in (Sqrt().alpha(t), Sqrt().sigma(t)))
            first = 1 - Sqrt().alpha(torch.tensor(1 / T, dtype=torch.float64)).to(x.dtype) ** 2
            each, total = torch.tensor([-5.0, 5.0], dtype=x.dtype), sigma**2 + alpha**2 * first
            chosen = (-((x - alpha * each) ** 2) / (2 * total) + chances.to(x.dtype).log()).softmax(-1)
            mean = each + alpha * first / total * (x - alpha * each)  # of x_0 for each token
            return (chosen * mean).sum(-1, keepdim=True)

    words = torch.arange(1600)[:, None] % 4
    words = (words > 0).long()
    found = likelihood.embedded(table([[-5.0], [5.0]], Exact()), words, subset=100, batch=1600)
    bits, error = found.mean
    entropy = 2 - 0.75 * math.log2(3)
    assert found.elements == 1
    assert found.convention == "probability of tokens"
    assert entropy - 4 * error < bits < entropy + 0.05 + 4 * error
    assert error < 0.05


def test_a_bound_needs_the_tables_tokens():
    with pytest.raises(Refused, match=r"the bound of embeddings is of their tokens, 0 \.\.\. 1"):
        likelihood.embedded(table([[0.0], [1.0]]), torch.tensor([[2]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EmbeddingHead(Data(), VP(), 3, 2), "take one with steps, such as sqrt"),
        (lambda: table([[1.0]]), "2 tokens and 1 number each, or more, not 1 and 1"),
        (lambda: DiffusionLM(cross_entropy=-1.0), "a weight of cross_entropy of 0 or more, not -1"),
        (
            lambda: DiffusionLM().loss(Denoiser_, Batch(torch.zeros(1, 2)), Random(0)),
            "diffusion_lm trains a table of embeddings: set denoiser.embedding",
        ),
        (lambda: SequenceTransformer(channels=3, dimensions=2), r"lines with channels, \(channels, length\)"),
        (lambda: SequenceTransformer(channels=3, near=2), "sequence_transformer needs an odd .* not near = 2"),
        (lambda: SequenceTransformer(channels=3, width=6, heads=2), "a width that 2 x heads divides"),
    ],
)
def test_mistakes_are_refused_by_name(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()


Denoiser_ = GaussianOracle(Gaussian(Sqrt()))


@torch.no_grad()
def test_the_network_hears_time_class_and_place_and_no_other_sample():
    torch.manual_seed(0)
    network = SequenceTransformer(channels=3, width=16, depth=2, heads=2, classes=2, near=3)
    x, t, label = Random(0).normal((4, 3, 5)), torch.tensor([0.0, 100.0, 400.0, 999.0]), torch.tensor([0, 1, 0, 1])
    assert torch.equal(network(x, t), torch.zeros_like(x))
    for p in network.parameters():  # away from the zeros that it begins with
        nn.init.normal_(p, std=0.3)
    out = network(x, t, label)
    for other in (network(x, t + 50, label), network(x, t, 1 - label), network(x.flip(2), t, label).flip(2)):
        assert float((other - out).abs().max()) > 1e-3
    torch.testing.assert_close(network(x[2:3], t[2:3], label[2:3]), out[2:3])
    drop = torch.tensor([False, True, True, False])
    mixed = network(x, t, label, drop)
    torch.testing.assert_close(mixed[drop], network(x, t)[drop])
    torch.testing.assert_close(mixed[~drop], out[~drop])
