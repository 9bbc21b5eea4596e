"""A run that an objective asks knows the data as the same numbers, whatever its codec is called."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import latent_spaces
import numpy as np
import pytest
import torch

from undiffuse.codecs.identity import Identity
from undiffuse.codecs.latent import Latent
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.codecs.tokens import TokensCodec
from undiffuse.codecs.whiten import Whiten
from undiffuse.core.errors import Refused
from undiffuse.recipes.uses import Uses
from undiffuse.training.teachers import check_teachers

ITEMS = np.random.default_rng(0).normal(size=(4, 2)).astype("float32")
WHITE = Whiten((0.0, 0.1), (1.0, 2.0))
TOKENS = TokensCodec(4, (0.25, 0.25, 0.25, 0.25))


def check(own: Any, other: Any, items: np.ndarray = ITEMS, name: str = "objective.teacher", shape: Any = (2,)) -> None:
    run = SimpleNamespace(codec=other, denoises=True, shape=shape)
    check_teachers(Uses(runs={name: run}, paths={name: "runs/base"}), own, (2,), items)


def latent(digest: str, std: float = 1.0) -> Latent:
    space = latent_spaces.Linear(std * torch.eye(2), torch.eye(2) / std)
    space.name = digest
    return Latent(space, mean=(0.0, 0.0), std=(1.0, 1.0), shape=(2,))


def test_codecs_that_make_the_same_numbers_are_the_same():
    check(WHITE, WHITE)
    check(WHITE, replace(WHITE, mean=(0.0, 0.1 + 1e-9), dtype="float64"))
    check(Whiten((0.0, 0.0), (1.0, 1.0)), Identity())
    check(latent("a"), latent("b"))  # weights that are stored anew, such as in another dtype
    check(Identity(), WHITE, name="init.run")  # what the weights start from need not know the data


@pytest.mark.parametrize(
    ("own", "other", "message"),
    [
        (
            WHITE,
            replace(WHITE, std=(1.0, 1.0)),
            (
                r"objective.teacher = 'runs/base' was trained .* 'whiten' with std = \(1.0, 1.0\) makes of data, and "
                r"this recipe's codec is 'whiten' with std = \(1.0, 2.0\): take a run with the same codec"
            ),
        ),
        (PixelsCodec(-3.0, 3.0, "float32"), Identity(), "codec 'identity' makes of data, and .* codec is 'pixels'"),
        (
            latent("a"),
            latent("b", 2.0),
            "'latent' with autoencoder = 'b True 512' makes of .* is 'latent' with autoencoder = 'a True 512'",
        ),
    ],
)
def test_others_are_told_apart(own: Any, other: Any, message: str):
    with pytest.raises(Refused, match=message):
        check(own, other)


def test_the_same_numbers_of_two_vocabularies_are_not_the_same():
    with pytest.raises(Refused, match="'tokens' with vocabulary = 5, frequencies"):
        check(TOKENS, TokensCodec(5, (0.2,) * 5), np.zeros((4, 2), np.uint8))


def test_another_shape_is_refused():
    with pytest.raises(Refused, match=r"is of samples of shape \(3,\), and these data are of shape \(2,\)"):
        check(WHITE, WHITE, shape=(3,))
