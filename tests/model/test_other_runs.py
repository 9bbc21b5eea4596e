"""Runs without a denoiser, which nobody can edit with, and what those that read items are given by a person."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from undiffuse import editing
from undiffuse.codecs.levels import Levels
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.conditions.label import LabelCondition
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.editing.phrase import phrase
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe

SHAPE = (1, 4, 4)
X = np.arange(32, dtype=np.uint8).reshape(2, *SHAPE)
PIXELS: Any = PixelsCodec().fit(X)
LEVELS: Any = Levels().fit(X)
LABEL: Any = {"label": LabelCondition(classes=("a", "b"))}
NOISY: dict[str, Any] = {"schedule": {"name": "edm"}, "parameterization": {"name": "edm"}, "conditions": {"label": {}}}
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "gan": (PIXELS, {}, {"network": {"name": "mlp_generator", "latents": 3}, "objective": {"name": "adversarial"}}),
    "normalizing_flow": (
        LEVELS,
        {},
        {"network": {"name": "coupling_flow", "width": 4}, "objective": {"name": "maximum_likelihood"}},
    ),
    "autoregressive": (
        LEVELS,
        {},
        {"network": {"name": "fvbn"}, "objective": {"name": "maximum_likelihood"}},
    ),
    "autoencoder": (
        PIXELS,
        {},
        {
            "network": {"name": "mlp_autoencoder", "width": 4},
            "bottleneck": {"name": "kl"},
            "objective": {"name": "autoencoding", "losses": [{"name": "l2"}]},
        },
    ),
    "classifier": (
        PIXELS,
        LABEL,
        {"network": {"name": "mlp_classifier", "width": 4}, "objective": {"name": "label_cross_entropy"}, **NOISY},
    ),
    "regressor": (
        PIXELS,
        LABEL,
        {"network": {"name": "mlp_classifier", "width": 4}, "objective": {"name": "regression"}, **NOISY},
    ),
}


@cache
def run(kind: str) -> Any:
    codec, conditions, tables = KINDS[kind]
    always = {"kind": kind, "data": {"name": "digits"}, "codec": {"name": "pixels"}, "train": {"steps": 1}}
    recipe = Recipe.of(kind, {**always, **tables})
    about = Description(recipe, SHAPE, conditions, codec, {"data": {"shape": SHAPE, "dtype": "uint8"}})
    made: Any = registry.get("models", kind)
    return made.of(made.build(about).eval(), about)


@pytest.mark.each("kind", list(KINDS))
def test_a_run_without_a_denoiser_edits_nothing_and_says_what_it_is_for(kind: str):
    model, mask = run(kind), np.arange(4) > 1
    for edit in (
        lambda: editing.vary(model, X[0]),
        lambda: editing.denoise(model, X[0]),
        lambda: editing.inpaint(model, X[0], mask),
        lambda: editing.between(model, X[0], X[1]),
        lambda: editing.outpaint(model, X[0], (8, 8)),
        lambda: editing.infill(model, X[0], X[0] > 3),
    ):
        with pytest.raises(Refused, match=f"edits are made by a denoiser, and {model.what} has none: "):
            edit()
    if not model.completes:
        with pytest.raises(Refused, match=f"completed by an autoregressive run, and this is {model.what}"):
            editing.complete(model, X[0], mask)


def test_what_is_no_run_and_no_text_is_refused():
    path: Any = "runs/digits"
    for edit in (editing.vary, editing.between, editing.complete):
        with pytest.raises(Refused, match=r"model is a run, as `undiffuse.load` returns, not 'runs/digits'"):
            edit(path, X[0], X[1])
    text: Any = 3
    with pytest.raises(Refused, match="text is a text, not 3"):
        phrase(run("gan"), text)


@pytest.mark.each(
    ("x", "message"),
    [
        (X / 255, r"x is to be of uint8.* from 0 to 255; given is float64 from 0 to 0.*: multiply it by 255"),
        (np.where(X > 30, np.nan, X), "x holds numbers that are not finite: NaN or infinity"),
        (X.astype(np.uint16) * 257, "x is to be of uint8.*; given is uint16 from 0 to [0-9]+"),
        (X[:0], r"x is of one item or more, \(n, \*shape\), and this has the shape \(0, 1, 4, 4\)"),
        (X[:, :, :2], r"items of shape \(1, 4, 4\), not \(1, 2, 4\)"),
        ("three.png", "x is an array of numbers, not 'three.png'"),
        (None, "x is an array of numbers, not None"),
    ],
)
def test_items_of_another_scale_or_shape_are_refused(x: Any, message: str):
    for read in (run("autoencoder").encode, run("regressor").predict):
        with pytest.raises(Refused, match=message):
            read(x)


def test_items_of_any_library_are_read_alike():
    model, other = run("autoencoder"), run("regressor")
    for same in (X.tolist(), X.astype(np.int64), torch.tensor(X).half(), torch.tensor(X).float().requires_grad_()):
        assert torch.equal(model.encode(same), model.encode(X))
        assert torch.equal(other.predict(same), other.predict(X))


@pytest.mark.each(("kind", "size"), [("gan", (3,)), ("normalizing_flow", SHAPE), ("autoencoder", (2,))])
def test_latents_are_arrays_or_tensors_of_the_run_s_own_shape(kind: str, size: tuple[int, ...]):
    decode: Callable[[Any], torch.Tensor] = run(kind).decode
    z = np.linspace(-1, 1, 2 * int(np.prod(size))).reshape(2, *size)
    assert torch.equal(decode(z), decode(torch.tensor(z, dtype=torch.float32)))
    for wrong in (z[0], np.zeros((2, 7))):
        with pytest.raises(Refused, match=r" takes (noise|latents) of shape "):
            decode(wrong)
    with pytest.raises(Refused, match="z has one row or more, and this has the shape"):
        decode(z[:0])


@pytest.mark.each("kind", registry.names("models"))
def test_what_to_type_next_takes_the_folder_as_one_word(kind: str):
    said = registry.get("models", kind).next_step(run("gan"), "my runs/a")
    assert "'my runs/a'" in said or '"my runs/a"' in said
