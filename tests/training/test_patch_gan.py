"""The game: who moves when, how hard it pulls, and that it goes on where it stopped."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import tiny_run
import torch
from tiny_autoencoder import IMAGES, autoencoder
from torch import Tensor
from torch.utils.data import TensorDataset

from undiffuse import Train, Training
from undiffuse.bottlenecks.kl import KLBottleneck
from undiffuse.core.autoencoder import Autoencoder
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.losses.l1 import L1Loss
from undiffuse.losses.patch_gan import PatchGANLoss
from undiffuse.networks.discriminator import PatchDiscriminator
from undiffuse.networks.mlp_autoencoder import MLPAutoencoder
from undiffuse.objectives.autoencoding import Autoencoding

START = 3


def game(**settings: Any) -> PatchGANLoss:
    return PatchGANLoss(**{"layers": 1, "width": 4, "start": START} | settings)


def training(folder: Path, **settings: Any) -> Training[Any]:
    chosen = {"steps": 6, "batch": 4, "warmup": 0, "lr": 0.01, "log_every": 1, "snapshots": 0, "precision": "float32"}
    objective = Autoencoding((L1Loss(), game()))
    return Training(autoencoder(), objective, TensorDataset(IMAGES), Train(**chosen | settings), folder=folder)


def held(run: Training[Any]) -> list[Tensor]:
    objective: Any = run.objective
    return [p.detach().clone() for p in objective.losses[1].discriminator(run.module).parameters()]


def test_before_its_start_the_discriminator_neither_moves_nor_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    monkeypatch.setattr(PatchDiscriminator, "forward", counted(PatchDiscriminator.forward, asked))
    run = training(tmp_path)
    first = held(run)
    model: Any = run.module
    for numbers in run:
        moved = [not torch.equal(a, b) for a, b in zip(first, held(run), strict=True)]
        begun = numbers["step"] > START
        assert ("loss_discriminator" in numbers) == begun
        assert any(moved) == bool(asked) == begun
    assert all(p.requires_grad for p in model.network.parameters())
    assert len(asked) == 3 * 3  # each step: of reconstructions by the run; of data and reconstructions by itself


def counted(function: Any, calls: list[int]) -> Any:
    def call(*given: Any) -> Any:
        calls.append(1)
        return function(*given)

    return call


def test_a_game_that_stops_goes_on_bit_for_bit(tmp_path: Path):
    """Its optimiser too; stopped before the start and after it."""
    training(tmp_path / "whole").run(progress=False)
    for stop in (2, 5):
        first = training(tmp_path / f"{stop}")
        for _ in itertools.islice(first, stop):
            pass
        first.save()
        first._keeper.wait()
        training(tmp_path / f"{stop}").resume().run(progress=False)
        tiny_run.same(tmp_path / "whole", tmp_path / f"{stop}")
    kept = [name for name in tiny_run.tensors(tmp_path / "whole") if "discriminator" in name]
    assert len([name for name in kept if "exp_avg_sq" in name]) == len(held(first))


@pytest.mark.parametrize(("scale", "clamped"), [(1.0, False), (1e-7, True)])
def test_the_game_pulls_as_hard_on_the_last_layer_as_all_terms_before_it(scale: float, clamped: bool):
    """Times weight; where it hardly pulls at all, 10,000 times as hard as by itself."""
    model, term = autoencoder(), game(weight=0.5)
    last: Any = term.discriminator(model).body[-1]
    last.weight.data.mul_(scale)

    def pull(*losses: Any) -> Tensor:
        value = Autoencoding(losses, penalty_weight=0.0).loss(model, Batch(IMAGES), Random(0), step=START).mean()
        return torch.autograd.grad(value, model.last_layer)[0]

    alone, together = pull(L1Loss()), pull(L1Loss(), term)
    own = pull(term) / 0.5  # the first of the terms is not scaled
    wanted = 1e4 if clamped else float(alone.norm() / (own.norm() + 1e-4))
    assert wanted > 10
    torch.testing.assert_close(together - alone, 0.5 * wanted * own, rtol=1e-3, atol=1e-4)


def test_the_value_of_the_game_moves_neither_the_loss_nor_a_learned_scale():
    model = autoencoder()
    for terms in ((L1Loss(),), (L1Loss(), game())):
        loss = Autoencoding(terms, learned_scale=True).loss(model, Batch(IMAGES), Random(0), step=START)
        found = (loss.detach(), *torch.autograd.grad(loss.mean(), model.log_scale))
        wanted = found if len(terms) == 1 else wanted  # noqa: F821 - of the pass before
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b)


def test_the_discriminators_loss_is_the_hinge():
    """1 where it says 0 of everything; its bias alone then leaves it there, whichever way it goes."""
    model, term = autoencoder(), game()
    last: Any = term.discriminator(model).body[-1]
    last.weight.data.zero_()
    for bias, wanted in ((0.0, 1.0), (0.4, 1.0), (3.0, 2.0), (-3.0, 2.0)):
        last.bias.data.fill_(bias)
        found = Autoencoding((term,)).loss(model, Batch(IMAGES), Random(0), START, "discriminator")
        torch.testing.assert_close(found, torch.full((4,), wanted))


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_a_patch_is_70_places_long_and_items_are_judged_by_themselves(dimensions: int):
    critic = PatchDiscriminator(2, dimensions, width=2)
    if dimensions == 2:
        assert sum(p.numel() for p in PatchDiscriminator().parameters()) == 2_765_633
        critic.eval()
        x = torch.randn(1, 2, 128, 96, requires_grad=True)
        plain = torch.nn.Sequential(*(m for m in critic.body if not isinstance(m, torch.nn.GroupNorm)))
        (seen,) = torch.autograd.grad(plain(x)[0, 0, 7, 5], x)
        rows, columns = (seen.abs().sum((0, 1, axis)).nonzero() for axis in (3, 2))
        assert int(rows.max() - rows.min()) + 1 == int(columns.max() - columns.min()) + 1 == 70
    x = torch.randn(2, 2, *(24,) * dimensions)
    assert critic(x).shape == (2, 1, *(1,) * dimensions)
    torch.testing.assert_close(critic(x)[1:], critic(x[1:]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: game().players(Autoencoder(MLPAutoencoder(), KLBottleneck())), "patch_gan judges .* points have none"),
        (lambda: PatchGANLoss(start=-1), "patch_gan needs a start of 0 or more, .* not -1, 64 and 3"),
        (lambda: PatchDiscriminator(width=0), "width = 0: a patch discriminator needs at least 1"),
        (lambda: PatchDiscriminator(3, 0), "dimensions = 0: a patch discriminator takes sequences"),
        (
            lambda: PatchDiscriminator()(torch.zeros(1, 3, 16, 32)),
            "of 3 layers needs a height of at least 24, not 16: give it fewer layers",
        ),
        (lambda: PatchDiscriminator()(torch.zeros(1, 1, 32, 32)), r"takes \(batch, 3, height, width\)"),
    ],
)
def test_a_game_that_cannot_be_played_is_refused(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()
