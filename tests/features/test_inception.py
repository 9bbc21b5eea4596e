"""Inception's door: torch-fidelity's network, here a stand-in with its interface, fed and named as FID wants it."""

import hashlib
import pickle
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.sources.digits import Digits
from undiffuse.evaluation import wording
from undiffuse.evaluation.features import download, inception
from undiffuse.evaluation.features.choice import choose
from undiffuse.evaluation.features.download import fetch
from undiffuse.evaluation.metrics.judge import judge

GREY = Digits().load().x


class StandIn(nn.Module):
    """Takes uint8 RGB and gives a tuple, like torch-fidelity's FeatureExtractorInceptionV3."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        assert features_list == ["2048"]
        self.fc = nn.Linear(2048, 1008)
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        assert x.dtype == torch.uint8
        assert x.shape[1] == 3
        flat = x.flatten(1).float()
        return (nn.functional.pad(flat, (0, 2048 - flat.shape[1])),)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file with weights of the right names, and a package that reads it."""
    package, module = ModuleType("torch_fidelity"), ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    inception._network.cache_clear()
    path = tmp_path / "weights.pth"
    torch.save(nn.Linear(2048, 1008).state_dict(), path)
    with torch.no_grad():
        torch.save({f"fc.{name}": tensor for name, tensor in nn.Linear(2048, 1008).state_dict().items()}, path)
    yield path
    inception._network.cache_clear()


def test_it_is_fed_the_images_own_bytes(weights: Path):
    vectors = choose(f"inception:{weights}").fit(GREY[:5])(GREY[:5])
    np.testing.assert_array_equal(vectors[:, :64], GREY[:5].reshape(5, -1))
    np.testing.assert_array_equal(vectors[:, 64:128], vectors[:, :64])  # grey, three times
    deep = GREY[:5].astype(np.uint16) * 257
    np.testing.assert_array_equal(choose(f"inception:{weights}").fit(deep)(deep), vectors)


def test_only_here_the_frechet_distance_is_called_fid(weights: Path):
    parts = [Dataset(GREY[i : i + 100]) for i in (0, 100, 200)]
    names = ["frechet", "inception_score", "kernel"]
    found = judge(*parts, features=f"inception:{weights}", metrics=names)
    assert wording.title("frechet", found["frechet"]) == "FID"
    assert wording.title("kernel", found["kernel"]) == "KID"
    assert found["inception_score"]["value"] >= 1
    assert "100 items a side are few" in found["frechet"]["warning"]
    assert found["frechet"]["detail"]["size"] == 299
    pixels = judge(*parts, metrics=["frechet"])
    assert wording.title("frechet", pixels["frechet"]) == "Fréchet distance"
    with pytest.raises(Refused, match="'inception_score' does not apply here: it needs --features inception"):
        judge(*parts, metrics=names)


def test_the_classes_are_those_of_the_last_layer_without_its_bias(weights: Path):
    features = choose(f"inception:{weights}").fit(GREY[:5])
    vectors = features(GREY[:5]) / 1000
    matrix = torch.load(weights, weights_only=True)["fc.weight"].double().numpy()
    logits = vectors.astype(np.float64) @ matrix.T
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = features.probabilities(vectors)
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    inception._network.cache_clear()
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(Refused, match=r"need torch-fidelity, .*pip install 'undiffuse\[inception\]'"):
        _ = choose("inception").about


class Evil:
    def __reduce__(self) -> tuple:
        return (Path("executed").touch, ())


def test_weights_that_are_something_else_are_refused_and_not_run(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for content in (pickle.dumps(Evil(), protocol=2), b"", b"nonsense"):
        Path("evil.pth").write_bytes(content)
        with pytest.raises(Refused, match=r"evil.pth does not hold Inception's weights"):
            _ = choose("inception:evil.pth").about
    assert not Path("executed").exists()
    torch.save({"other": torch.zeros(1)}, "other.pth")
    with pytest.raises(Refused, match=r"other.pth does not hold Inception's weights"):
        _ = choose("inception:other.pth").about
    with pytest.raises(Refused, match=r"there are no weights at nowhere\.pth"):
        _ = choose("inception:nowhere.pth").about


CONTENT = np.random.default_rng(0).bytes(100_000)


@pytest.fixture
def server() -> Iterator[tuple[str, list[str | None]]]:
    """A web server whose first answer breaks off in the middle, and the ranges that it was asked for."""
    asked: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Range"])
            start = int(asked[-1][6:-1]) if asked[-1] else 0
            if start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            self.wfile.write(CONTENT[start : start + 40_000] if len(asked) == 1 else CONTENT[start:])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}/weights.pth", asked
        found.shutdown()


def test_an_interrupted_download_goes_on_where_it_ended(server: tuple[str, list[str | None]], tmp_path: Path):
    url, asked = server
    target, digest = tmp_path / "cache" / "weights.pth", hashlib.sha256(CONTENT).hexdigest()[:8]
    with pytest.raises(Refused, match=r"ended after 40000 of 100000 bytes; run the command again .* put it at"):
        fetch(url, digest, target)
    assert not target.exists()
    assert fetch(url, digest, target).read_bytes() == CONTENT
    assert asked == [None, "bytes=40000-"]
    assert [path.name for path in target.parent.iterdir()] == ["weights.pth"]
    fetch(url, digest, target)
    assert len(asked) == 2  # what is there is not loaded again


def test_a_file_with_another_digest_is_refused_and_removed(server: tuple[str, list[str | None]], tmp_path: Path):
    (tmp_path / "weights.pth.part").write_bytes(CONTENT)  # whole, but nobody has looked at it yet
    with pytest.raises(Refused, match=r"is not the file it should be \(SHA-256 .*, not 00000000"):
        fetch(server[0], "00000000", tmp_path / "weights.pth")
    assert list(tmp_path.iterdir()) == []


def test_no_connection_is_said_with_what_to_do(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "home"))
    monkeypatch.setattr(inception, "URL", "http://127.0.0.1:1/weights.pth")
    with pytest.raises(Refused, match=r"cannot download http://127.0.0.1:1/weights.pth: .* put it at .*home"):
        _ = choose("inception").about
    assert download.home() == tmp_path / "home"
