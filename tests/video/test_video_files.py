"""Videos as people have them: files, folders of frames, arrays; what is found, what is refused, what samples become."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from undiffuse.core.errors import Refused
from undiffuse.data import check, recipe_for, resolve
from undiffuse.data.sources.video import Video
from undiffuse.data.toys.moving_digits import MovingDigits, reflected
from undiffuse.pictures.images import as_images
from undiffuse.sampling.file_formats import FORMS, Form, choose
from undiffuse.storage import video_file

FRAMES = 7


def clip(seed: int, frames: int = FRAMES, high: int = 8, wide: int = 12) -> np.ndarray:
    """A grey video (frames, height, width) whose frames all differ."""
    return np.random.Generator(np.random.Philox(seed)).integers(0, 256, (frames, high, wide)).astype(np.uint8)


def save(folder: Path, frames: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"frame{i}.png")


@pytest.fixture
def gifs(tmp_path: Path) -> Path:
    for i, name in enumerate(("cats/a", "cats/b", "dogs/c")):
        file = tmp_path / "gifs" / f"{name}.gif"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(video_file.gif([Image.fromarray(frame) for frame in clip(i)], 20))
    return tmp_path / "gifs"


def test_gifs_come_back_as_they_were_written_with_their_rate_and_the_folders_classes(gifs: Path):
    data = Video(str(gifs), frames=3, channels=1).load()
    assert (data.kind, data.x.shape, data.classes) == ("videos", (6, 1, 3, 8, 12), ("cats", "dogs"))
    np.testing.assert_array_equal(data.x[1, 0], clip(0)[3:6])
    np.testing.assert_array_equal(data.labels, [0, 0, 0, 0, 1, 1])
    assert data.notes["video"] == {"rate": 20.0, "videos": 3}
    learned, held_out = data.split(0.3)
    assert len(learned) + len(held_out) == 6
    assert len(held_out) % 2 == 0, "clips of a video stay together"


def test_a_frame_that_stays_is_there_as_often_as_it_is_shown(tmp_path: Path):
    frames = clip(0, 3)
    file = tmp_path / "still.gif"
    file.write_bytes(video_file.gif([Image.fromarray(frames[i]) for i in (0, 1, 1, 1, 2)], 10))
    np.testing.assert_array_equal(video_file.read(file, 1).x[0], frames[[0, 1, 1, 1, 2]])


def test_folders_of_frames_are_videos_in_the_order_in_which_people_count(tmp_path: Path):
    for i in range(2):
        save(tmp_path / f"video{i}", clip(i, 11))
    data = Video(str(tmp_path), frames=5, strides=(1, 2)).load()
    assert data.x.shape == (6, 1, 5, 8, 12)
    np.testing.assert_array_equal(data.x[1, 0], clip(0, 11)[5:10])
    np.testing.assert_array_equal(data.x[2, 0], clip(0, 11)[:10:2])
    np.testing.assert_array_equal(data.conditions["rate"][:, 0], [0, 0, 1, 0, 0, 1])
    small = Video(str(tmp_path), frames=0, size=4, fit="stretch").load()
    assert small.x.shape == (2, 1, 11, 4, 4)


def test_arrays_are_videos_with_what_stands_beside_them(tmp_path: Path):
    grey = np.stack([clip(i) for i in range(3)])
    np.savez(tmp_path / "grey.npz", x=grey, labels=np.array(["a", "b", "a"]))
    np.save(tmp_path / "colour.npy", np.stack([grey] * 3, axis=-1))
    data = Video(str(tmp_path / "grey.npz"), frames=3).load()
    assert data.x.shape == (6, 1, 3, 8, 12)
    np.testing.assert_array_equal(data.x[3, 0], grey[1, 3:6])
    np.testing.assert_array_equal(data.labels, [0, 0, 1, 1, 0, 0])
    named = tmp_path / "named.npz"
    np.savez(named, videos=np.load(tmp_path / "colour.npy"))
    assert resolve.table(str(named))["name"] == "video"
    assert resolve.open(str(named), frames=FRAMES).shape == (3, FRAMES, 8, 12)
    source = Video(str(tmp_path / "colour.npy"), frames=FRAMES)
    assert source.peek().shape == source.load().shape == (3, FRAMES, 8, 12)


@pytest.mark.parametrize("strides", [(1,), (1, 2), (2, 1, 4)])
def test_of_one_video_what_is_held_out_shares_no_frame_with_what_is_learned_from(tmp_path: Path, strides: Any):
    count = np.arange(64, dtype=np.uint8)
    np.save(tmp_path / "one.npy", np.broadcast_to(count[None, :, None, None], (1, 64, 4, 4)))
    learned, held_out = Video(str(tmp_path / "one.npy"), frames=4, strides=strides).load().split(0.3)
    before, after = (set(np.unique(part.x).tolist()) for part in (learned, held_out))
    assert not before & after
    assert max(before) < min(after)
    if len(strides) > 1:
        for part in (learned, held_out):
            steps = np.diff(np.asarray(part.x)[:, 0, :, 0, 0].astype(int), axis=1)
            np.testing.assert_array_equal(2 ** part.conditions["rate"], steps[:, :1])


def test_one_video_that_is_too_short_to_hold_a_part_out_is_refused(tmp_path: Path):
    np.save(tmp_path / "one.npy", np.zeros((1, 8, 4, 4), np.uint8))
    with pytest.raises(Refused, match=r"has 1 windows: nothing is left to learn from .* data.frames=N"):
        Video(str(tmp_path / "one.npy"), frames=8).load().split(0.2)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_check_data_says_what_was_found_and_which_recipe_fits(gifs: Path):
    assert resolve.table(str(gifs))["name"] == "video"
    facts = check.check(str(gifs), ["frames=4"]).facts
    assert (facts["kind"], facts["video"]["videos"], facts["shape"]) == ("videos", 3, [3, 4, 8, 12])
    assert facts["training"]["recipe"] == "videos"
    recipe = recipe_for.recipe(str(gifs), ["data.frames=4"])
    assert recipe["network"]["video"]
    assert "data.size=8" in recipe_for.misfit(recipe, (3, 5, 9, 9))


def test_what_is_no_use_is_refused_by_name(gifs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(tmp_path / "mixed/one", clip(0))
    Image.fromarray(clip(0, 1, 4, 4)[0]).save(tmp_path / "mixed/one/frame9.png")
    save(tmp_path / "two/one", clip(0))
    save(tmp_path / "two/other", clip(0, high=10))
    (tmp_path / "movie.mp4").write_bytes(b"not a movie")
    (tmp_path / "broken.gif").write_bytes(b"GIF89a")
    (tmp_path / "empty").mkdir()
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    fields: Any
    for path, fields, said in (
        ("mixed", {"frames": 2}, r"frames of one have several sizes: one/frame9.png is 4 x 4, .* data.size=8"),
        ("two", {"frames": 7}, r"other has 7 frames of 12 x 10 .*before it 7 frames of 12 x 8 .*data.size=10"),
        ("gifs", {"frames": 9}, r"cats/a.gif has 7 frames, too few for a clip of 9 at stride 1: --set data.frames=7"),
        ("movie.mp4", {}, r"movie.mp4 needs PyAV: pip install 'undiffuse\[av\]'"),
        ("broken.gif", {}, "broken.gif cannot be read"),
        ("empty", {}, r"no videos in .*empty: read are files of .gif .mp4"),
        ("nowhere", {}, "no folder of videos, and no such file"),
    ):
        with pytest.raises(Refused, match=said):
            Video(str(tmp_path / path), **fields).load()
    with pytest.raises(Refused, match=r"strides of 1 or more, not 16 and \(0,\)"):
        Video("x", strides=(0,))
    left = Video(str(tmp_path / "two"), frames=7, skip_broken=True).load()
    assert (len(left), left.notes["broken"]["count"]) == (1, 1)
    with pytest.raises(Refused, match="an mp4 needs PyAV"):
        video_file.mp4([Image.new("L", (4, 4))], 10)


def test_moving_digits_keep_inside_and_move_by_their_speed(tmp_path: Path):
    digits = np.zeros((3, 6, 6), np.uint8)
    digits[:, 1:5, 1:5] = np.array([100, 150, 200])[:, None, None]
    np.savez(tmp_path / "digits.npz", images=digits, labels=np.arange(3))
    made = MovingDigits(str(tmp_path / "digits.npz"), count=20, frames=9, size=16, side=6, speed=(2.0, 2.0))
    first, again = made.load(), made.load()
    x: Any = first.x
    np.testing.assert_array_equal(x, again.x)
    assert (first.kind, x.shape) == ("videos", (20, 1, 9, 16, 16))
    assert ((x > 0).sum((3, 4)) == 16).all(), "whole digits in every frame"
    assert (x.max((1, 2, 3, 4)) == np.array([100, 150, 200])[first.labels]).all()
    np.testing.assert_array_equal(reflected(np.array([0.0, 3, 5, 7, 10, 12]), 5), [0, 3, 5, 3, 0, 2])
    places = np.stack([np.argwhere(frame[0] > 0)[0] for frame in x.swapaxes(1, 2).reshape(-1, 1, 16, 16)])
    steps = np.hypot(*np.diff(places.reshape(20, 9, 2), axis=1).reshape(-1, 2).T)
    assert np.median(steps) == pytest.approx(2, abs=0.3)
    stills = MovingDigits(made.path, 20, 9, 16, 6, speed=(2.0, 2.0), stills=True).load()
    np.testing.assert_array_equal(stills.x, first.x[:, :, 0])
    with pytest.raises(Refused, match="1 < side < size"):
        MovingDigits("x", size=8, side=8)
    np.savez(tmp_path / "other.npz", images=np.zeros((3, 6, 6, 3), np.uint8))
    with pytest.raises(Refused, match="digits are grey uint8 images"):
        MovingDigits(str(tmp_path / "other.npz")).load()


def test_frames_stand_in_a_row_on_a_sheet():
    x = np.stack([clip(i, 20, 16, 16) for i in range(2)])[:, None]
    made = as_images(x)
    assert made.shape == (2, 1, 32, 8 * 34 - 2)
    np.testing.assert_array_equal(made[0, 0, ::2, :32:2], x[0, 0, 0])
    np.testing.assert_array_equal(made[1, 0, ::2, -32::2], x[1, 0, -1])


def test_a_gif_of_videos_is_what_they_show(tmp_path: Path):
    assert choose(None, None, tmp_path / "a.gif", moves=True) is FORMS[Form.GIF]
    assert choose(None, None, tmp_path / "a.gif").moves
    with pytest.raises(Refused, match="do not move"):
        FORMS[Form.GIF].fits((1, 8, 8), "uint8")
