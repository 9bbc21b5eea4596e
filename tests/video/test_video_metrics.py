"""Metrics of videos: at their floors for the law itself, and each sees what it is for."""

import numpy as np
import pytest

from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.evaluation.judge import Judge
from undiffuse.evaluation.metrics.frame_change import changes, wasserstein
from undiffuse.evaluation.sources import Real
from undiffuse.storage.notes import VIDEO

HOW = Judge(metrics=("frame_frechet", "frame_change"), cached=False)


def drift(count: int, seed: int) -> np.ndarray:
    """Bright bars that move one place a frame, around the edge: (count, 1, 6, 8, 8)."""
    random = np.random.Generator(np.random.Philox(seed))
    bar = np.zeros((8, 8), np.float32)
    bar[:, :3] = 1
    place, way = random.integers(8, size=count), random.choice([-1, 1], count)
    moved = [[np.roll(bar, place[i] + way[i] * f, 1) for f in range(6)] for i in range(count)]
    return (np.array(moved)[:, None] + 0.1 * random.standard_normal((count, 1, 6, 8, 8))).astype(np.float32)


def real(notes: dict[str, object]) -> Real:
    train, held_out = drift(600, 1), drift(300, 2)
    return Real(Dataset(train, notes=notes), Dataset(held_out, notes=notes))


def test_the_law_itself_is_at_the_floors_and_each_metric_sees_its_own_fault():
    good, seen = drift(300, 3), real({VIDEO: {"rate": 10, "videos": 200}})
    shuffled = good[:, :, [0, 3, 1, 4, 2, 5]]  # the same frames in another order
    pale = good * 0.7  # other frames, which move as they should, but less
    same, moved, other = (HOW(x, seen).verdicts for x in (good, shuffled, pale))
    for name in ("frame_frechet", "frame_change"):
        assert 0.4 < same[name]["ratio"] < 2, name
    assert moved["frame_frechet"]["ratio"] == pytest.approx(1, abs=0.4)
    assert moved["frame_change"]["ratio"] > 5
    assert moved["frame_change"]["detail"]["change"] > 1.3 * moved["frame_change"]["detail"]["change_held_out"]
    assert other["frame_frechet"]["ratio"] > 3
    frozen = np.repeat(good[:, :, :1], 6, axis=2)
    assert HOW(frozen, seen).verdicts["frame_change"]["detail"]["change"] == 0


def test_changes_and_their_distance_in_numbers():
    ramp = np.arange(4, dtype=np.float32)[None, None, :, None, None] * np.ones((2, 1, 4, 2, 2), np.float32)
    np.testing.assert_array_equal(changes(ramp, 2), [[2, 2], [2, 2]])
    assert changes(ramp, 4).size == 0
    assert wasserstein(np.array([3.0, 1.0]), np.array([1.5, 2.0])) == pytest.approx(0.75)


def test_only_videos_have_frames():
    with pytest.raises(Refused, match="videos"):
        HOW(drift(20, 3), real({}))
