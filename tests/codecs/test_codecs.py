"""The laws of codecs, over every registered one: back is exact, the scale is about one, the fields are all there is."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch

from undiffuse.codecs import codec as interface
from undiffuse.codecs.codec import Codec
from undiffuse.codecs.identity import Identity
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.codecs.whiten import Whiten, moments
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.data.rows import MappedRows


def integers(dtype: str) -> np.ndarray:
    every = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    return (
        np.random.default_rng(0).permutation(every)[: 2 * 3 * 32].reshape(2, 3, 8, 4)
        if dtype == "uint8"
        else every.reshape(16, 1, 64, 64)
    )


def points() -> np.ndarray:
    return (np.random.default_rng(1).normal(size=(500, 3)) * [0.1, 1, 30] + [5, 0, -2]).astype(np.float32)


CODECS: list[tuple[str, Any]] = [(name, registry.get("codecs", name)) for name in registry.names("codecs")]
VALUES = [n for n, c in CODECS if not (c.tokens or c.mixed or c.lossy or c.embeds)]  # others: tests of their own
FITTED = [(name, x) for name in VALUES for x in (integers("uint8"), integers("uint16"), points())]


def fitted(name: str, x: np.ndarray) -> Codec:
    return registry.build("codecs", {"name": name}).fit(x)


@pytest.mark.parametrize(("name", "x"), FITTED, ids=lambda v: v if isinstance(v, str) else v.dtype.name)
def test_decoding_undoes_encoding(name: str, x: np.ndarray):
    codec = fitted(name, x)
    back = codec.decode(codec.encode(x)).numpy()
    assert back.dtype == x.dtype
    if np.issubdtype(x.dtype, np.integer):
        np.testing.assert_array_equal(back, x)
    else:
        np.testing.assert_allclose(back, x, rtol=0, atol=1e-6 * np.abs(x).max())


@pytest.mark.parametrize(("name", "x"), FITTED, ids=lambda v: v if isinstance(v, str) else v.dtype.name)
def test_the_fields_are_the_whole_state(name: str, x: np.ndarray):
    codec = fitted(name, x)
    again = registry.build("codecs", {"name": name, **json.loads(json.dumps(asdict(codec)))})  # pyright: ignore[reportArgumentType]
    assert again == codec
    assert torch.equal(again.encode(x), codec.encode(x))


@pytest.mark.parametrize("name", VALUES)
def test_a_tensor_and_an_array_encode_alike(name: str):
    x = integers("uint8")
    codec = fitted(name, x)
    encoded = codec.encode(x)
    assert encoded.dtype == torch.float32
    assert torch.equal(codec.encode(torch.from_numpy(x)), encoded)


@pytest.mark.parametrize("name", VALUES)
def test_features_that_never_change_are_kept(name: str):
    x = np.stack([np.full(9, 0.1), np.arange(9)], axis=1).astype(np.float32)
    same = np.full((4, 2), 0.1, np.float32)
    for data in (x, same):
        codec = fitted(name, data)
        encoded = codec.encode(data)
        assert encoded.isfinite().all()
        np.testing.assert_allclose(codec.decode(encoded).numpy(), data, atol=1e-6)


@pytest.mark.parametrize("name", VALUES)
def test_encoding_does_not_touch_its_argument(name: str):
    x = points()
    kept = x.copy()
    codec = fitted(name, x)
    codec.encode(x).zero_()
    np.testing.assert_array_equal(x, kept)


def test_pixels_span_minus_one_to_one():
    assert PixelsCodec().encode(np.array([[0, 255]], np.uint8)).tolist() == [[-1.0, 1.0]]
    codec = PixelsCodec().fit(np.array([[-3.0, 5.0]], np.float32))
    assert codec.encode(np.array([[-3.0, 1.0, 5.0]], np.float32)).tolist() == [[-1.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("uint16", 0, 4095), ("uint16", 30_000, 30_999), ("int16", -1024, 3071), ("int16", -5, -1)],
)
def test_of_16_bit_integers_the_part_that_is_used_is_fitted(dtype: str, low: int, high: int):
    x = np.linspace(low, high, 4 * 64).round().astype(dtype).reshape(4, 1, 8, 8)
    codec = PixelsCodec().fit(x)
    z = codec.encode(x)
    assert (float(z.min()), float(z.max()), codec.low, codec.high, codec.dtype) == (-1, 1, low, high, dtype)
    np.testing.assert_array_equal(codec.decode(z).numpy(), x)
    assert codec.decode(torch.tensor([-3.0, 3.0])).tolist() == [low, high]  # samples stay in the data's range


def test_of_8_bit_all_levels_count():
    codec = PixelsCodec().fit(np.full((2, 1, 3, 3), 7, np.uint8))
    assert (codec.low, codec.high) == (0, 255)


BY_HAND = {  # a value that the data would not give, for each field of that name
    "low": -7.0,
    "high": 300.0,
    "mean": (1.0, 2.0, 3.0),
    "std": (4.0, 5.0, 6.0),
    "dtype": "float64",
    "rows": 3,
    "values": tuple(float(v) for v in range(256)),
    "vocabulary": 300,
    "decimals": (1, 1, 1),
    "unit": "bytes",
    "pad": 2,
    "frequencies": (1.0, 0.0),
    "quantiles": ((0.0, 1.0),) * 3,
    "categories": ((), (), ("a",)),
    "scores": ((0.0, 1.0),) * 3,
    "least": (-9.0,) * 3,
    "most": (9.0,) * 3,
    "inside": "all",
    "normalise": "whiten",
    "symbols": ("a", "b"),
    "tokenizer": "{}",
    "regressor": None,
    "scale": "residual",
    "columns": ("a",),
    "targets": ("b",),
    "spread": (1.0, 2.0, 3.0),
    "count": 7,
}


@pytest.mark.each(
    ("name", "field"),
    [(name, f) for name, codec in CODECS if not (codec.lossy or codec.embeds) for f in registry.fields(codec)],
)
def test_a_field_set_by_hand_is_honoured_or_refused_by_name(name: str, field: str):
    x = integers("uint8")
    x = np.pad(points()[:, :2], ((0, 0), (0, 1))) if name == "columns" else x if name in VALUES else x.reshape(-1, 3)
    known: Any = {"text": {"vocabulary": 256, "unit": "bytes", "pad": 0, "symbols": (), "tokenizer": ""}}.get(name, {})
    try:
        codec = interface.fitted({"name": name, field: BY_HAND[field]}, x, **known)
        answer = getattr(codec, field) == registry.check(type(codec), {field: BY_HAND[field]}, owner=name)[field]
    except Refused as refused:
        answer = field[:7] in str(refused)
    assert answer


def test_a_range_and_moments_set_by_hand_are_what_counts():
    x = np.array([[[0, 4000]], [[10, 20]]], np.uint16)
    codec = interface.fitted({"name": "pixels", "high": 4095}, x)
    assert codec.encode(np.array([[[0, 4095]]], np.uint16)).tolist() == [[[-1, 1]]]
    wide = interface.fitted({"name": "whiten", "mean": [100.0], "std": [50.0]}, x)
    assert wide.encode(np.array([[[150, 0]]], np.uint16)).tolist() == [[[1, -2]]]
    assert interface.fitted({"name": "whiten", "mean": [100.0]}, x).std == Whiten().fit(x).std  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(Refused, match=r"codec.low = 0 and codec.high = 255: the data go from 0 to 4000, beyond that"):
        interface.fitted({"name": "pixels", "high": 255}, x)
    with pytest.raises(Refused, match=r"codec.mean has 2 numbers, and the data have 1 channels"):
        interface.fitted({"name": "whiten", "mean": [1.0, 2.0]}, x)
    with pytest.raises(Refused, match=r"codec.dtype = uint8 cannot be set: the data say it, uint16; leave it"):
        interface.fitted({"name": "pixels", "dtype": "uint8"}, x)


def test_what_lies_beyond_the_range_is_clipped_not_wrapped():
    assert PixelsCodec().decode(torch.tensor([[-1.3, 1.3]])).tolist() == [[0, 255]]
    assert Identity("uint8").decode(torch.tensor([[-4.0, 300.0]])).tolist() == [[0, 255]]
    assert Whiten((100.0,), (50.0,), "uint8").decode(torch.tensor([[-9.0], [9.0]])).tolist() == [[0], [255]]


def test_whitened_data_have_mean_zero_and_deviation_one():
    for x in (points(), integers("uint8")):
        z = Whiten().fit(x).encode(x).double()
        others = [0, *range(2, z.ndim)]
        torch.testing.assert_close(z.mean(others), torch.zeros(3, dtype=torch.float64), atol=1e-5, rtol=0)
        torch.testing.assert_close(z.std(others, correction=0), torch.ones(3, dtype=torch.float64), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_fitting_in_slices_is_fitting_at_once(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch):
    x = (np.random.default_rng(0).uniform(size=(50, 3, 4, 5)) * 200).astype(dtype)
    whole = fitted(name, x)
    monkeypatch.setattr(interface, "SLICE", 7 * x[0].nbytes)
    for stored in (x, MappedRows(x), MappedRows(np.asfortranarray(x))):
        part: Any = registry.build("codecs", {"name": name}).fit(stored)
        for field, value in asdict(whole).items():  # pyright: ignore[reportArgumentType]
            if not isinstance(value, str | None):
                np.testing.assert_allclose(getattr(part, field), value, rtol=1e-11)
        assert part.dtype == dtype
        torch.testing.assert_close(part.encode(x), whole.encode(x))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_moments_are_exact_where_the_mean_is_large_and_the_spread_small(dtype: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(interface, "SLICE", 1000)
    base = {"uint8": 250, "uint16": 65_000, "float32": 1e6}[dtype]
    x = (base + np.random.default_rng(0).integers(0, 5, (3000, 2))).astype(dtype)
    exact = x.astype(np.longdouble)
    mean, std, low, high = moments(x)
    np.testing.assert_allclose(mean, exact.mean(0).astype(float), rtol=1e-14)
    np.testing.assert_allclose(std, exact.std(0).astype(float), rtol=1e-11)
    assert (low.tolist(), high.tolist()) == ([base] * 2, [base + 4] * 2)


def test_mistakes_are_named():
    with pytest.raises(Refused, match=r"low = 2.0 is not below high = 1.0"):
        PixelsCodec(2.0, 1.0)
    with pytest.raises(Refused, match="not fitted: call fit"):
        Whiten().encode(points())
    with pytest.raises(Refused, match=r"fitted to 3 features, and x has shape \(5, 2\)"):
        Whiten().fit(points()).encode(np.zeros((5, 2), np.float32))
    with pytest.raises(Refused, match="as many std as mean, all above 0"):
        Whiten((0.0,), (0.0,))


@pytest.mark.parametrize("codec", [Identity(), PixelsCodec(), Whiten()], ids=lambda codec: type(codec).__name__)
def test_the_log_determinant_is_that_of_encoding(codec: Codec):
    """The derivative of each number, found by moving it."""
    x = np.random.default_rng(0).uniform(0, 200, (50, 3, 4)).astype(np.float32) * np.array(
        [[[1.0], [2.0], [0.1]]], np.float32
    )
    fitted = codec.fit(x)
    slopes = (fitted.encode(x[:1] + 16) - fitted.encode(x[:1])) / 16
    assert fitted.log_det((3, 4)) == pytest.approx(float(slopes.log().sum()), abs=1e-4)
