"""Other data that a run is asked about are read as its own were: the same size, frames, points and axes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.data import resolve
from undiffuse.data.paths import others
from undiffuse.evaluation import sources
from undiffuse.recipes.recipe import Recipe
from undiffuse.storage import video_file

RANDOM = np.random.Generator(np.random.Philox(0))


def levels(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape).astype(np.uint8)


def gifs(folder: Path, count: int, frames: int) -> Path:
    folder.mkdir()
    for i in range(count):
        pictures = [Image.fromarray(each) for each in levels(frames, 8, 8)]
        (folder / f"video {i}.gif").write_bytes(video_file.gif(pictures, 10))
    return folder


def photos(folder: Path, count: int, side: int) -> Path:
    folder.mkdir()
    for i in range(count):
        Image.fromarray(levels(side, side, 3)).save(folder / f"photo {i}.png")
    return folder


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """Data of all kinds, by name."""
    clouds = tmp_path / "clouds"
    clouds.mkdir()
    for i in range(3):
        np.savetxt(clouds / f"cloud {i}.xyz", RANDOM.normal(size=(20 + i, 3)))
    np.save(tmp_path / "pictures.npy", levels(6, 4, 8, 4))
    np.savez(tmp_path / "tokens.npz", x=RANDOM.integers(0, 5, (9, 12)))
    lines = "".join(f"2024-01-01T{i:02d}:00,{i * i}\n" for i in range(24))
    (tmp_path / "series.csv").write_text(f"time,a\n{lines}")
    frames = tmp_path / "frames"
    for i in range(2):
        (frames / f"clip {i}").mkdir(parents=True)
        for k in range(6):
            Image.fromarray(levels(8, 8)).save(frames / f"clip {i}" / f"{k}.png")
    return {
        "clouds": clouds,
        "pictures": tmp_path / "pictures.npy",
        "tokens": tmp_path / "tokens.npz",
        "series": tmp_path / "series.csv",
        "frames": frames,
        "photos": photos(tmp_path / "photos", 3, 16),
        "small": photos(tmp_path / "small", 3, 8),
        "gifs": gifs(tmp_path / "gifs", 2, 11),
    }


@pytest.mark.parametrize(
    ("which", "own", "shape", "count"),
    [
        ("photos", ["data.name=folder", "data.size=8", "data.filter=box"], (3, 8, 8), 3),
        ("photos", ["data.name=shards", "data.size=8"], (3, 8, 8), 3),
        ("photos", ["data.name=folder", "data.crop=12", "data.size=8"], (3, 8, 8), 3),
        ("small", ["data.name=folder", "data.crop=12", "data.size=8"], (3, 8, 8), 3),
        ("photos", ["data.name=digits"], (1, 8, 8), None),
        ("pictures", ["data.name=file", "data.axes=NHWC"], (4, 4, 8), 6),
        ("tokens", ["data.name=file", "data.vocabulary=5"], (12,), 9),
        ("clouds", ["data.name=point_clouds", "data.points=8"], (3, 8), 3),
        ("series", ["data.name=series", "data.window=8"], (1, 8), 17),
        ("gifs", ["data.name=video", "data.frames=5"], (1, 5, 8, 8), 4),
        ("gifs", ["data.name=video", "data.frames=0"], (3, 11, 8, 8), 2),
        ("gifs", ["data.name=moving_digits"], (1, 4, 8, 8), 4),
        ("frames", ["data.name=video", "data.frames=3"], (1, 3, 8, 8), 4),
    ],
)
def test_items_come_as_the_run_has_learned_them(
    places: dict[str, Path], which: str, own: list[str], shape: tuple[int, ...], count: int | None
):
    recipe = Recipe.find("digits").override([*own, "data.path=own"] if own != ["data.name=digits"] else own)
    found: Any = resolve.open(str(places[which]), **others(str(places[which]), recipe, shape))
    if count is None:
        assert found.shape == (3, 16, 16), "data that were not resized say nothing of others' size"
    else:
        assert (found.shape, len(found)) == (shape, count)
    assert bool(found.vocabulary) == (which == "tokens")


def test_finished_videos_are_judged_beside_clips_of_their_length(tmp_path: Path):
    long, short = gifs(tmp_path / "long", 15, 9), gifs(tmp_path / "short", 3, 4)
    real = sources.split(str(long), samples=short)
    assert real.train.shape == (3, 4, 8, 8)
    assert sources.open_samples(short, real).shape == (3, 4, 8, 8)
