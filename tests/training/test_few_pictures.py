"""Pictures that training moves, turns and stretches, and tells the network how."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run as tiny
import torch

import undiffuse
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.conditions.augmentation import NUMBERS, SHARE, SPREAD, AugmentationCondition
from undiffuse.conditions.declared import declared, summaries
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.training.batches import Batches

ALL = ",".join(NUMBERS)
GREY = torch.randint(0, 256, (3, 2, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def told(of: str, *numbers: float) -> tuple[AugmentationCondition, torch.Tensor]:
    return AugmentationCondition(of=of), torch.tensor([numbers]).expand(len(GREY), -1)


@pytest.mark.parametrize(
    ("of", "numbers", "same"),
    [
        ("turn", (-1.0, 1.0), GREY.rot90(-1, (2, 3))),  # a quarter, clockwise: down is the second axis
        ("turn", (-2.0, 0.0), GREY.flip(2, 3)),
        ("mirror", (1.0,), GREY.flip(3)),
        (ALL, (0.0,) * 8, GREY),
    ],
)
def test_what_is_exact_is_exact(of: str, numbers: tuple[float, ...], same: torch.Tensor) -> None:
    condition, values = told(of, *numbers)
    assert torch.equal(condition.moved(GREY, values), same)
    exact = condition.moved(GREY.double() / 7, values)
    torch.testing.assert_close(exact, same.double() / 7, atol=1e-4, rtol=0)


def test_places_go_where_the_numbers_say() -> None:
    """On a plane picture, a across + b down, a transformation M is known: the new picture is that of M^-1 (u)."""
    height, width = 12, 20
    across, down = torch.arange(width) - (width - 1) / 2, torch.arange(height)[:, None] - (height - 1) / 2
    picture = (3 * across + 5 * down).expand(1, 1, -1, -1)
    middle = (..., slice(5, 7), slice(8, 12))  # what came from beyond the edge stays out of it

    def found(of: str, *numbers: float) -> torch.Tensor:
        return AugmentationCondition(of=of).moved(picture, torch.tensor([numbers]))[middle]

    one, two = 2 / (SHARE * width), -1 / (SHARE * height)
    torch.testing.assert_close(found("move", one, two), (picture - 3 * 2 + 5 * 1)[middle], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found("scale", 1.5), (picture / 2 ** (SPREAD * 1.5))[middle], atol=1e-4, rtol=1e-4)
    s = 2 ** (SPREAD * 2)  # along a line of 0 degrees: twice 0 has the cosine 1
    wider = (3 * across / s + 5 * down * s).expand(1, 1, -1, -1)
    torch.testing.assert_close(found("stretch", 2.0, 0.0), wider[middle], atol=1e-4, rtol=1e-4)
    both = (picture - 3 * 2) / 2 ** (SPREAD * 1.5)  # first scaled, then moved by two pixels, which are not scaled
    torch.testing.assert_close(found("move,scale", 1.5, one, 0.0), both[middle], atol=1e-4, rtol=1e-4)


def test_each_is_drawn_by_its_chance_and_an_item_alone_decides() -> None:
    condition, n = AugmentationCondition(of=ALL, chance=0.3), 20_000
    values = condition.values(n, Random(1))
    mirror, scale, turn, stretch, move = values.split(list(NUMBERS.values()), 1)
    for part, share in [(mirror, 0.15), (scale, 0.3), (turn, 0.3), (stretch, 0.3), (move, 0.3)]:
        assert abs(part.any(1).double().mean() - share) < 5 * (0.25 / n) ** 0.5
    torch.testing.assert_close((turn[:, 0] + 1).square() + turn[:, 1].square(), torch.ones(n))
    drawn = move[move.any(1)]
    assert abs(drawn.std() - 1) < 0.03
    assert abs(drawn.mean()) < 0.03
    assert torch.equal(condition.values(3, Random(1).at(torch.tensor([5, 7, 9]))), values[[5, 7, 9]])


def test_training_sees_what_it_tells_and_what_is_held_out_stays() -> None:
    condition = AugmentationCondition(chance=0.5).fit(np.zeros((1, 7), np.float32), ())
    x, rest = GREY.repeat(30, 1, 1, 1), {"moves": torch.zeros(90, 7)}
    still = Batches.of(x, rest, PixelsCodec(), 64, 3)
    moving = Batches.of(x, rest, PixelsCodec(), 64, 3, augments={"moves": condition.augmented})
    there, moved = still.at(2), moving.at(2)
    values = moved.given["moves"]
    same = ~values.any(1)
    assert 0 < same.sum() < 64
    assert not there.given["moves"].any()
    assert torch.equal(moved.x[same], there.x[same])
    raw = moving.deal(2).x
    torch.testing.assert_close(moved.x, PixelsCodec().encode(condition.moved(raw, values)))
    part = moving.at(2, slice(10, 20))
    assert torch.equal(part.x, moved.x[10:20])
    assert torch.equal(part.given["moves"], values[10:20])


def test_a_run_is_told_that_nothing_moves(tmp_path: Path) -> None:
    moves = {"label": {"drop": 0.3}, "moves": {"kind": "augmentation", "of": "turn,move"}}
    undiffuse.train({**tiny.TABLES, "conditions": moves}, out=tmp_path / "run").run(progress=False)
    model = undiffuse.load(tmp_path / "run")
    assert "may be left out" in summaries(model.conditions)[1]
    rest = model.sample(2, steps=2).numpy()
    assert np.array_equal(rest, model.sample(2, steps=2, moves=[0, 0, 0, 0]).numpy())
    assert not np.array_equal(rest, model.sample(2, steps=2, moves=[-1, 1, 3, 3]).numpy())
    with pytest.raises(Refused, match="moves has 4 numbers, and given are 3"):
        model.sample(2, steps=2, moves=[0, 0, 0])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"of": "turn,spin"}, "spin"),
        ({"chance": 0.0}, "chance"),
        ({"drop": 0.1}, "leave drop out"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        declared({"moves": {"kind": "augmentation", **fields}})


def test_places_that_would_not_move_along_are_refused() -> None:
    with pytest.raises(Refused, match=r"conditions\.low names its places"):
        declared({"moves": {"kind": "augmentation"}, "low": {"kind": "image", "of": "superresolve:2"}})
