"""Features see what they should: the same items whatever their dtype, the right classes, and clean errors elsewhere."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data.sources.digits import Digits
from undiffuse.evaluation.features.choice import choose
from undiffuse.evaluation.features.images import resize, span, unit
from undiffuse.evaluation.features.scale import moments, scaled

GREY = Digits().load().x[:40]
POINTS = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32) * [1, 2, 3, 0, 5] + 7


def test_the_registry_lists_the_features_and_nothing_else():
    assert registry.names("features") == ["efficientnet_lite0", "inception", "module", "pixels", "run", "spectrogram"]


@pytest.mark.parametrize(
    ("typed", "field", "value"),
    [("pixels", "components", 64), ("Pixels:16", "components", 16), ("efficientnet-lite0:128", "size", 128)],
)
def test_what_a_person_types_is_a_name_and_its_first_field(typed: str, field: str, value: int):
    assert getattr(choose(typed), field) == value


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("pixel", r"features has no 'pixel' \(did you mean 'pixels'\?\); it has: efficientnet_lite0, inception"),
        ("fid", "features has no 'fid'"),
        ("pixels:many", "components = 'many' does not fit int"),
        ("pixels:0", "at least 1 component, not 0"),
        ("efficientnet-lite0:8", "size from 32 to 1024, not 8"),
        ("module", "need an import path, file:attribute"),
        ("module:os.path", "need an import path, file:attribute"),
        ("module:no_such_file:net", "cannot import no_such_file: ModuleNotFoundError"),
        ("module:json:dmups", r"json has no 'dmups' \(did you mean 'dumps'\?\)"),
        ("module:json:__name__", "json:__name__ is a str; features need a module or a function"),
    ],
)
def test_what_cannot_be_chosen_is_refused(typed: str, message: str):
    with pytest.raises(Refused, match=message):
        choose(typed).fit(GREY)


def test_pixels_are_whitened_by_nobody_and_centred_on_the_training_items():
    fitted = choose("pixels:10").fit(GREY)
    vectors = fitted(GREY)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors.mean(0), 0, atol=1e-5)
    covariance = np.cov(vectors, rowvar=False)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-4)
    assert fitted.about["components"] == 10
    assert json.loads(json.dumps(fitted.about)) == fitted.about


def test_pixels_take_one_component_for_ten_items():
    assert choose("pixels").limited(125).fit(GREY).about["components"] == 12
    assert choose("pixels").limited(3).fit(GREY).about["components"] == 1


def test_scales_are_those_of_the_dtype_or_of_the_training_items():
    assert scaled(np.array([[0, 255]], np.uint8), moments(GREY)).tolist() == [[-1, 1]]
    for low, high in ((0, 65535), (0, 4095), (30_000, 31_000)):  # of 16 bit rarely all are used
        deep = np.array([[low, (low + high) // 2, high]], np.uint16)
        np.testing.assert_allclose(scaled(deep, moments(deep)), [[-1, 0, 1]], atol=2e-3)
        np.testing.assert_allclose(unit(deep, span(deep)), [[0, 0.5, 1]], atol=1e-3)
    found = scaled(POINTS.astype(np.float32), moments(POINTS.astype(np.float32)))
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(0), [1, 1, 1, 0, 1], rtol=1e-3)  # a constant feature stays 0, not NaN


def test_the_span_of_floats_is_what_they_are_made_in():
    for low, high, expected in ((0.1, 0.9, [0, 1]), (-0.9, 0.9, [-1, 1]), (-3, 7, [-3, 7])):
        assert span(np.array([low, high], np.float32)).tolist() == pytest.approx(expected)
    assert unit(np.array([0, 255], np.uint8), span(GREY)).tolist() == [0, 1]
    assert unit(np.array([-9.0, 9.0], np.float32), np.array([0, 1])).tolist() == [0, 1]


def test_a_resize_keeps_constants_and_averages_what_is_finer_than_a_pixel():
    assert torch.allclose(resize(torch.full((1, 3, 7, 9), 0.25), 32), torch.tensor(0.25), atol=1e-6)
    stripes = torch.tensor([0.0, 1.0]).repeat(48).expand(1, 1, 96, 96)
    assert torch.allclose(resize(stripes, 12)[..., 2:-2, 2:-2], torch.tensor(0.5), atol=0.02)  # antialiased


MODULE = """
import torch
from torch import nn

def mean(x):
    return x.mean((2, 3))

class Half(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout()
        self.scale = nn.Parameter(torch.tensor(0.5))
    def forward(self, x):
        return self.drop(x).flatten(1) * self.scale

net = Half()
wide = lambda x: x
broken = lambda x: x @ torch.ones(3)
nothing = lambda x: x.flatten(1) / 0
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a file in the current folder, a new one for each test."""
    name = f"mine_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return name


def test_ones_own_network_sees_images_from_0_to_1(mine: str):
    path = list(sys.path)
    vectors = choose(f"module:{mine}:mean").fit(GREY)(GREY)
    np.testing.assert_allclose(vectors[:, 0], GREY.mean((1, 2, 3)) / 255, rtol=1e-5)
    for attribute in ("net", "Half"):  # an instance, or a class that needs nothing; both without dropout
        halves = choose(f"module:{mine}:{attribute}").fit(GREY)(GREY)
        np.testing.assert_allclose(halves, GREY.reshape(40, -1) / 510, atol=1e-6)
    assert sys.path == path


def test_another_text_or_other_weights_are_other_features(mine: str):
    net = choose(f"module:{mine}:net")
    before = net.about["digest"]
    assert choose(f"module:{mine}:mean").about["digest"] != before
    sys.modules[mine].net.scale.data.fill_(0.4)
    assert net.about["digest"] != before


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("wide", r"made \(2, 1, 8, 8\) of 2 images; it has to make \(count, dimensions\)"),
        ("broken", r"cannot take images of shape \(2, 1, 8, 8\): \w*Error"),
        ("nothing", "numbers that are NaN or infinite"),
    ],
)
def test_a_network_that_makes_no_vectors_is_refused(mine: str, attribute: str, message: str):
    with pytest.raises(Refused, match=message):
        choose(f"module:{mine}:{attribute}").fit(GREY)


@pytest.mark.parametrize("typed", ["efficientnet-lite0", "module:json:dumps"])
@pytest.mark.parametrize("x", [POINTS.astype(np.float32), np.zeros((4, 1, 9), np.uint8)])
def test_only_images_are_images(typed: str, x: np.ndarray):
    with pytest.raises(Refused, match=r"see images.*, and the items have shape .*; use --features pixels"):
        choose(typed).fit(x)
