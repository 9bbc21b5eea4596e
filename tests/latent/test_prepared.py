"""Latents are encoded once, kept on the disk, and dealt out as the items themselves would be."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from latent_spaces import Blocks, pictures

from undiffuse.codecs.identity import Identity
from undiffuse.codecs.latent import Latent
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.data.dataset import Dataset
from undiffuse.data.rows import MappedRows
from undiffuse.training.batches import ENCODE, Batches
from undiffuse.training.prepared import batches, prepared


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_mirrored_latents_are_those_of_mirrored_items():
    data = Dataset(pictures(channels=2))
    codec = Latent(Blocks(2, std=0.1)).fit(data.x)
    for flip in (False, True, "vertical", "both"):
        plain = Batches.of(data.x, {}, Identity().fit(data.x), 16, 0, flip=flip)
        ready = batches(data, {}, codec, 16, 0, flip)
        assert len(ready) == len(plain) == 40
        for step in (0, 3):
            seen = plain.at(step).x.to(torch.uint8)
            wanted = codec.encode(seen, Random(0).fold(ENCODE, step))
            assert torch.allclose(ready.at(step).x, wanted, atol=1e-6)
            assert torch.equal(ready.at(step, slice(4, 9)).x, ready.at(step).x[4:9])
    assert torch.allclose(ready.encoded(torch.arange(5)), codec.encode(data.x[:5], Random(0).fold(ENCODE)), atol=1e-6)


def test_draws_are_new_in_every_step_and_the_same_when_it_comes_again():
    data = Dataset(pictures(4))
    ready = batches(data, {}, Latent(Blocks(std=0.5)).fit(data.x), 4, 0)
    first, second = (ready.at(step).x[ready.indices(step).argsort()] for step in (0, 1))
    assert not torch.allclose(first, second)
    assert torch.equal(ready.at(0).x, ready.at(0).x)


def test_what_was_encoded_once_is_read_again(cache: Path):
    data = Dataset(pictures())
    space = Blocks()
    first = prepared(Latent(space), data)
    assert space.counted == 40
    assert np.array_equal(prepared(Latent(space, scale="scalar"), data), first)
    assert space.counted == 40
    prepared(Latent(space, sampled=False), data)
    prepared(Latent(space), data.take(np.arange(40)[::-1]))  # the same items in another order
    prepared(Latent(Blocks(name="others")), data)
    wide = Dataset(np.asarray(data.x).reshape(40, 1, 4, 16))  # the same bytes
    assert prepared(Latent(space), wide).shape[2:] == (2, 8)
    assert len(list(cache.glob("*/items.npy"))) == 5


def test_latents_that_do_not_fit_the_memory_stay_on_the_disk(monkeypatch: pytest.MonkeyPatch):
    data = Dataset(pictures())
    codec = Latent(Blocks(std=0.2)).fit(data.x)
    whole = batches(data, {}, codec, 8, 0, True).at(2).x
    monkeypatch.setenv("UNDIFFUSE_MEMORY", "1K")
    ready = batches(data, {}, codec, 8, 0, True)
    assert isinstance(ready.x, MappedRows)
    assert torch.equal(ready.at(2).x, whole)


class Stops(Blocks):
    """One whose power fails at the second part."""

    def posterior(self, x: Any) -> Any:
        if self.counted:
            raise KeyboardInterrupt
        return super().posterior(x)


def test_an_interrupted_one_leaves_nothing_and_several_at_once_do_it_once(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("undiffuse.data.rows.LARGE", 0)
    monkeypatch.setattr("undiffuse.training.prepared.chunk", lambda x: 10)
    monkeypatch.setenv("UNDIFFUSE_MEMORY", "1K")  # written while it is encoded
    data, space = Dataset(pictures()), Blocks()
    with pytest.raises(KeyboardInterrupt):
        prepared(Latent(Stops(name="Blocks")), data)
    assert not list(cache.glob("*/items.npy"))
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(prepared(Latent(space), data))) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert space.counted == 40
    assert all(np.array_equal(np.asarray(each), np.asarray(found[0])) for each in found)


def test_a_cache_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "file"))
    with pytest.raises(Refused, match="cannot write into"):
        prepared(Latent(Blocks()), Dataset(pictures()))
