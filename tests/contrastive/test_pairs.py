"""Pairs of encoders: the loss against a written-out reference, retrieval against all draws, and guidance."""

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.image_text_pair import ImageTextPair
from undiffuse.core.item_predictor import ItemPredictor
from undiffuse.core.objective import Batch
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.evaluation.retrieval import both_ways, retrieval
from undiffuse.guidance import ClassifierGuidance
from undiffuse.networks.text_transformer import TextTransformer
from undiffuse.networks.vit import ViT
from undiffuse.objectives.contrastive import Contrastive
from undiffuse.parameterizations.velocity import Velocity
from undiffuse.schedules import Cosine, LinearBeta

TEXTS = torch.tensor([[257, 5, 9, 0], [257, 7, 0, 0], [257, 3, 3, 8]])
X = Random(0).normal((3, 1, 4, 4))


def pair(noise: Any = None) -> ImageTextPair:
    torch.manual_seed(1)
    images = ViT(channels=1, classes=6, patch=2, width=8, depth=1, heads=2)
    nn.init.normal_(images.leave.weight)
    texts = TextTransformer(shape=(4,), width=8, depth=1)
    return ImageTextPair(ItemPredictor(images, noise or Gaussian(LinearBeta(40)), Velocity()), texts, 6, 8).double()


def test_the_loss_is_the_symmetric_cross_entropy_of_the_similarities_of_unit_vectors():
    model, cond = pair(), {"caption": TEXTS}
    loss = Contrastive().loss(model, Batch(X.double(), cond), Random(0))
    items, words = model.project(model.items(X.double(), 0.0)), model.texts(TEXTS)
    cosines = torch.tensor(
        [[float(a @ b / (a.norm() * b.norm())) for b in words.detach()] for a in items.detach()], dtype=torch.float64
    )
    logits = cosines / 0.07
    for i in range(3):
        row = -logits[i, i] + logits[i].exp().sum().log()
        column = -logits[i, i] + logits[:, i].exp().sum().log()
        assert float(loss[i].detach()) == pytest.approx(float(row + column) / 2, rel=1e-6)
    loss.mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    wanted = ((logits.softmax(1) - torch.eye(3)) * logits + (logits.softmax(0) - torch.eye(3)) * logits).sum() / 6
    assert float(model.log_scale.grad) == pytest.approx(float(wanted), rel=1e-6)  # type: ignore[arg-type]


def test_noisy_items_are_those_of_the_process_and_clean_ones_see_no_time():
    model, cond = pair(), {"caption": TEXTS}
    batch, t = Batch(X.double(), cond), torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    x_t = model.process.marginal(batch.x, t).sample(Random(3))
    noisy = Contrastive(noisy=True)
    torch.testing.assert_close(noisy.logits(t, model, batch, Random(3)), model.logits(x_t, t, TEXTS))
    torch.testing.assert_close(Contrastive().logits(t, model, batch, Random(3)), model.logits(batch.x, 0.0, TEXTS))
    (nearest,) = noisy.beside.values()
    told: Any = nearest
    wanted = (model.logits(x_t, t, TEXTS).argmax(1) == torch.arange(3)).float()
    assert torch.equal(told.at(t, model, batch, Random(3)), wanted)


def test_the_scale_of_similarities_stays_below_a_hundred():
    model = pair()
    assert float(model.scale.detach()) == pytest.approx(1 / 0.07)
    with torch.no_grad():
        model.log_scale.fill_(9.0)
    assert float(model.scale.detach()) == 100.0


def test_guidance_climbs_the_similarity_of_the_noisy_item_and_its_text():
    model = pair(Gaussian(Cosine()))
    denoiser = Predictor(nn.Linear(4, 4).double(), model.process, Velocity())
    denoiser.network.forward = lambda x, c_time, **cond: torch.zeros_like(x)  # type: ignore[method-assign]
    guided = ClassifierGuidance(denoiser, model, 3.0, reads=("caption",))
    x, t = X.double(), torch.tensor(0.4, dtype=torch.float64)
    alpha, sigma = (float(value) for value in model.process.schedule.at(t, x))
    leaf = x.clone().requires_grad_()
    (model.scale * (model.embed_items(leaf, t) * model.embed_texts(TEXTS)).sum()).backward()
    slope: Any = leaf.grad
    plain: Any = denoiser(x, t)
    led: Any = guided(x, t, caption=TEXTS)
    torch.testing.assert_close(led.mean, plain.mean + 3 * sigma**2 / alpha * slope)
    with pytest.raises(Refused, match="reads one text beside an item, not 2"):
        model(x, t, caption=TEXTS, other=TEXTS)


@pytest.mark.each("seed", range(4))
def test_retrieval_is_the_mean_over_all_draws_of_the_others(seed: int, monkeypatch: pytest.MonkeyPatch):
    from undiffuse.evaluation import retrieval as module

    monkeypatch.setattr(module, "AMONG", (3, 5, 100))
    monkeypatch.setattr(module, "FIRST", (1, 2))
    random = np.random.default_rng(seed)
    similarity = random.normal(size=(6, 6)) + np.eye(6)
    words = np.array(["a", "b", "c", "d", "d", "e"])
    same = words[:, None] == words[None]
    found = retrieval(torch.from_numpy(similarity), torch.from_numpy(same))
    assert sorted(found) == [(1, 3), (1, 5), (2, 3), (2, 5)]
    for (first, among), share in found.items():
        rows: list[float] = []
        for i in range(6):
            others = [j for j in range(6) if not same[i, j]]
            draws = list(combinations(others, among - 1))
            hits = [sum(similarity[i, j] >= similarity[i, i] for j in draw) < first for draw in draws]
            rows += [sum(hits) / len(hits)] if draws else []
        assert share == pytest.approx(sum(rows) / len(rows)), (first, among)


def test_partners_that_are_alike_find_one_another_and_strangers_do_as_by_chance():
    random = torch.Generator().manual_seed(0)
    items = nn.functional.normalize(torch.randn(400, 16, generator=random), dim=1)
    captions = np.array([f"caption {i}" for i in range(400)])
    right = both_ways(items, items, captions)
    assert all(share == 1 for cases in right.values() for share in cases.values())
    strangers = both_ways(items, items.roll(1, 0), captions)
    for cases in strangers.values():
        for (first, among), share in cases.items():
            chance = first / among
            assert abs(share - chance) < 5 * math.sqrt(chance * (1 - chance) / 400), (first, among)


def test_a_text_transformer_does_not_see_what_stands_behind_the_end():
    reader = TextTransformer(shape=(4,), width=8, depth=2).eval()
    short: Tensor = reader(torch.tensor([[257, 7, 0, 0]]))
    assert torch.allclose(reader(torch.tensor([[257, 7]])), short, atol=1e-6)
    embedded = TextTransformer(shape=(4, 5), width=8, depth=1).eval()
    assert embedded(torch.randn(2, 4, 5, dtype=torch.float32)).shape == (2, 8)
    with pytest.raises(Refused, match="width = 0: a text transformer needs at least 1"):
        TextTransformer(width=0)
