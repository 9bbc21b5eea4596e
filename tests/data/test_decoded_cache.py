"""Decoded data find room in memory or on the disk, whole or not at all."""

import os
from pathlib import Path

import numpy as np
import pytest

from undiffuse.core.errors import Refused
from undiffuse.data import decoded_cache
from undiffuse.data.decoded_cache import Decoded, budget, bytes_, find, gather
from undiffuse.data.rows import MappedRows

BLOCKS = [np.arange(12, dtype=np.float32).reshape(4, 3), np.full((2, 3), 7, np.float32)]


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2 * 10**9), ("500 mb", 500 * 10**6), ("1.5K", 1500), ("100", 100), ("1T", 10**12)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNDIFFUSE_MEMORY", text)
    assert budget() == size


def test_a_size_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch):
    for text in ("much", "2 XB", "1.2.3GB"):
        monkeypatch.setenv("UNDIFFUSE_MEMORY", text)
        with pytest.raises(Refused, match=f"UNDIFFUSE_MEMORY={text} is not a size; write 500MB or 2GB"):
            budget()
    monkeypatch.delenv("UNDIFFUSE_MEMORY")
    assert 10**8 < budget() < 10**14


@pytest.mark.parametrize("most", [6, 100, None])
@pytest.mark.parametrize("memory", ["1GB", "10"])
def test_blocks_become_one_array_wherever_they_go(
    cache: Path, most: int | None, memory: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("UNDIFFUSE_MEMORY", memory)
    names: list[str] = []
    beside: dict[str, np.ndarray] = {}

    def blocks():
        yield from BLOCKS
        names.extend("abcdef")
        beside["label"] = np.arange(6)

    kept = gather(cache / "there", blocks(), most, Decoded(np.empty(0), beside, names, {"a": 1}))
    np.testing.assert_array_equal(np.asarray(kept.x), np.concatenate(BLOCKS))
    np.testing.assert_array_equal(kept.beside["label"], np.arange(6))
    assert ("".join(kept.names), kept.about) == ("abcdef", {"a": 1})
    on_disk = memory == "10" or most is None
    assert isinstance(kept.x, MappedRows) == on_disk
    assert (find(cache / "there") is not None) == on_disk


def test_what_fails_on_the_way_leaves_nothing(cache: Path, little: None):
    def blocks():
        yield from BLOCKS * 10
        raise Refused("broken")

    with pytest.raises(Refused, match="broken"):
        gather(cache / "there", blocks(), 60, Decoded(np.empty(0)))
    assert list(cache.iterdir()) == []


def test_a_disk_without_room_is_refused_with_sizes(cache: Path, little: None):
    with pytest.raises(Refused, match=r"the decoded data take 1.2e\+0?3 TB|the decoded data take 1.2 PB|take 12 TB"):
        gather(cache / "there", iter(BLOCKS), 10**12, Decoded(np.empty(0)))


def test_damaged_leftovers_are_refused_and_those_of_the_dead_removed(cache: Path, little: None):
    dead = cache / ".partial-999999999-x"
    alive = cache / f".partial-{os.getpid()}-x"
    for folder in (dead, alive):
        folder.mkdir()
    there = cache / "there"
    gather(there, iter(BLOCKS), 60, Decoded(np.empty(0)))
    assert (dead.exists(), alive.exists()) == (False, True)
    (there / decoded_cache.ITEMS).write_bytes(b"none")
    with pytest.raises(Refused, match=r"is damaged .*: remove that folder"):
        find(there)


def test_sizes_are_said_in_words():
    assert [bytes_(n) for n in (12, 34_000, 5.6e9, 2e13)] == ["12 bytes", "34 kB", "5.6 GB", "20 TB"]
