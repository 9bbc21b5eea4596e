"""Videos of which some frames are given: as a condition, filled in by any model, and longer than a model's own."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from moving_runs import FRAMES, recipe
from PIL import Image

from undiffuse.conditions.frames import FramesCondition, numbers, placed
from undiffuse.conditions.from_data import examples, known
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.editing import extend, fill, outpaint
from undiffuse.models.load import load
from undiffuse.sampling.request import SEED, SampleRequest
from undiffuse.storage import video_file
from undiffuse.training.start import train

Undiffuse = Callable[..., tuple[int, str]]
SHAPE = (1, FRAMES, 8, 8)


def levels(count: int = 1, frames: int = FRAMES) -> np.ndarray:
    random = np.random.Generator(np.random.Philox(3))
    return random.integers(1, 256, (count, 1, frames, 8, 8)).astype(np.uint8)


def condition(most: int = 0) -> FramesCondition:
    return FramesCondition(most=most).fit(levels(2), ())


def test_training_gives_whole_frames_of_which_there_are_from_one_to_all_but_one():
    values = condition().encode(np.repeat(levels(), 4000, 0))
    drawn = condition().drawn(values, Random(0))
    given = drawn[:, 1].flatten(2)
    assert torch.equal(given.amin(2), given.amax(2))
    frames = given[:, :, 0].bool()
    clean = torch.from_numpy(levels()[0, 0]).float() * (2 / 255) - 1
    assert torch.allclose(drawn[:, 0], clean * frames[:, :, None, None], atol=1e-6)
    counts = torch.bincount(frames.sum(1), minlength=FRAMES + 1) / 4000
    assert torch.allclose(counts, torch.tensor([0, 0.25, 0.25, 0.25, 0.25, 0]), atol=0.04)
    first = (frames.int().diff(dim=1) <= 0).all(1)
    assert first.float().mean() > 0.5, "every second video is to go on"
    assert not torch.equal(drawn, condition().drawn(values, Random(1)))
    assert int(condition(2).drawn(values, Random(0))[:, 1, :, 0, 0].sum(1).max()) == 2


def test_a_person_gives_frames_and_nan():
    video = levels()[0].astype(np.float32)
    video[:, 1:-1] = np.nan
    (z,) = condition().given(video, 1, "frames")
    assert z.shape == (2, FRAMES, 8, 8)
    assert torch.equal(z[1, :, 0, 0], torch.tensor([1.0, *[0.0] * (FRAMES - 2), 1.0]))
    assert torch.allclose(z[0, 0], torch.from_numpy(levels()[0, 0, 0]).float() * (2 / 255) - 1, atol=1e-6)
    assert not z[0, 1:-1].any()
    videos = {"frames": levels(3)}
    hidden = {"frames": replace(condition(), drop=0.5)}
    assert not known(hidden, videos), "errors are measured of whole videos, of which nothing is given"
    assert not examples(hidden, videos, 2)
    assert set(known({"frames": condition()}, videos)) == {"frames"}
    shown = condition().from_items(levels(), ())
    assert (~np.isnan(shown)).all((0, 1, 3, 4)).tolist() == [True, *[False] * (FRAMES - 2), True]


def test_files_give_frames_by_their_numbers(tmp_path: Path):
    video = levels()[0, 0]
    (tmp_path / "all.gif").write_bytes(video_file.gif([Image.fromarray(frame) for frame in video], 10))
    Image.fromarray(video[2]).save(tmp_path / "one.png")
    np.save(tmp_path / "two.npy", video[[0, 4]])
    np.save(tmp_path / "long.npy", np.concatenate([video, video]))
    for word, places in (
        ("all.gif:0,2-3", [0, 2, 3]),
        ("one.png:2", [2]),
        ("two.npy:0,4", [0, 4]),
        ("two.npy", [0, 1]),
        ("long.npy:0,3", [0, 3]),
    ):
        found = condition().from_word(str(tmp_path / word), "frames")
        assert np.flatnonzero(~np.isnan(found).any((0, 2, 3))).tolist() == places
        if word != "two.npy":
            np.testing.assert_array_equal(found[0, places], video[places])
    for word, said in (
        ("all.gif", "all 5 frames are given: say which ones"),
        ("two.npy:0,1,2", "two.npy has 2 frames, and 3 numbers are said"),
        ("all.gif:0,5", "frames are numbers from 0 to 4"),
        ("all.gif:a", "frames are numbers from 0 to 4"),
        ("none.gif:0", "none.gif cannot be read"),
    ):
        with pytest.raises(Refused, match=said):
            condition().from_word(str(tmp_path / word), "frames")
    with pytest.raises(Refused, match=r"one.png has frames of shape \(1, 8, 8\), and needed are 1 channels of 4 x 4"):
        placed(tmp_path / "one.png", "0", (1, FRAMES, 4, 4))
    assert numbers("3,0-1", 4) == [0, 1, 3]


def test_what_is_no_frame_is_refused():
    for wrong, said in (
        (np.zeros((1, FRAMES, 4, 4), np.float32), "with NaN in frames to be filled in"),
        (np.where(np.arange(8) < 4, np.nan, np.zeros(SHAPE, np.float32)), "a frame is given whole, or not at all"),
    ):
        with pytest.raises(Refused, match=said):
            condition().given(wrong, 1, "frames")
    with pytest.raises(Refused, match="most, of given frames, is a number from 1 to 4"):
        condition(FRAMES)
    with pytest.raises(Refused, match="two or more"):
        FramesCondition().fit(levels(2, 1), ())
    with pytest.raises(Refused, match=r"frames are of videos, and the model's samples have shape \(1, 8, 8\)"):
        placed(Path("clip.gif"), "0", (1, 8, 8))


@pytest.fixture(scope="session")
def filling_run(digits: Path, image_run: Path) -> Path:
    """A run that was trained to fill in frames, and starts from one of images that has no such input."""
    folder = image_run.parent / "filling"
    less = (f"init.run={image_run}", "train.held_out=0", "train.preview_every=0")
    train(recipe("moving-digits-from-images", digits, *less), out=folder).run()
    return folder


@pytest.mark.parametrize("trained", [True, False], ids=["trained for it", "any model"])
def test_given_frames_stay_and_videos_go_on(trained: bool, filling_run: Path, video_run: Path):
    model: Any = load(filling_run if trained else video_run)
    how: dict[str, Any] = {} if trained else {"method": "replace"}
    video = levels()[0].astype(np.float32)
    video[:, 1:-1] = np.nan
    made = fill(model, video, n=2, label=1, **how)
    assert made.dtype == torch.uint8
    np.testing.assert_array_equal(made[:, :, [0, -1]], levels().repeat(2, 0)[:, :, [0, -1]])
    assert not torch.equal(made[0, :, 1:-1], made[1, :, 1:-1])
    longer = extend(model, levels()[0, :, :2], 9, n=2, label=1, **how)
    assert longer.shape == (2, 1, 9, 8, 8)
    np.testing.assert_array_equal(longer[:, :, :2], levels().repeat(2, 0)[:, :, :2])
    asked = SampleRequest(n=2, seed=SEED, steps=2, conditions={"label": 1})  # as the command asks, with the last seed
    both = extend(model, levels()[0, :, :2], 7, n=2, request=asked)
    last = extend(model, levels()[0, :, :2], 7, n=1, request=replace(asked, n=1, indices=[1]))
    assert torch.equal(both[1:], last)
    if not trained:
        together = extend(model, levels()[0, :, :2], 8, n=2, label=1, method="windows", steps=2)
        assert together.shape == (2, 1, 8, 8, 8)
        np.testing.assert_array_equal(together[:, :, :2], levels().repeat(2, 0)[:, :, :2])
        alone = extend(model, None, 8, n=2, label=1, method="windows", overlap=2, steps=2)
        wide = outpaint(model, None, (8, 8, 8), overlap=2 / FRAMES, n=2, label=1, steps=2)
        assert torch.equal(alone, wide)
        with pytest.raises(Refused, match="drawn together has more frames than 5"):
            extend(model, None, 5, label=1, method="windows")
        with pytest.raises(Refused, match="an overlap is from 1 to 4 frames, not 5"):
            extend(model, None, 9, label=1, method="windows", overlap=5)
    if trained:
        again = np.full(SHAPE, np.nan, np.float32)
        again[:, :2] = longer[1, :, 3:5]
        drawn = model.sample(2, seed=2, label=1, frames=np.stack([again, again]))
        np.testing.assert_array_equal(longer[1, :, 5:8], drawn[1, :, 2:])
        assert extend(model, None, 7, label=1).shape == (1, 1, 7, 8, 8)


def test_the_command_fills_in_and_goes_on(
    filling_run: Path, tmp_path: Path, undiffuse_: Callable[..., tuple[int, str]]
):
    (tmp_path / "a.gif").write_bytes(video_file.gif([Image.fromarray(frame) for frame in levels()[0, 0]], 10))
    asked = ("edit", filling_run, "--image", tmp_path / "a.gif", "--label", 1)
    status, said = undiffuse_(*asked, "--frames", "0,4", "-n", 2, "-o", tmp_path / "filled.gif")
    assert (status, "2 of 1x5x8x8, the other frames filled in" in said) == (0, True), said
    status, said = undiffuse_(*asked, "--frames", "0-1", "--length", 8, "-o", tmp_path / "longer.npy")
    assert (status, np.load(tmp_path / "longer.npy").shape) == (0, (1, 1, 8, 8, 8)), said
    whole = levels()[0, 0].repeat(2, 0)[:7]  # more frames than the model's
    np.save(tmp_path / "long.npy", whole)
    asked = ("edit", filling_run, "--image", tmp_path / "long.npy", "--label", 1)
    status, said = undiffuse_(*asked, "--length", 9, "-o", tmp_path / "longer.npy")
    assert status == 0, said
    np.testing.assert_array_equal(np.load(tmp_path / "longer.npy")[0, 0, :7], whole)
    status, said = undiffuse_(*asked, "--frames", "1,3", "--length", 8)
    assert (status, "a video goes on from its first frames, as --frames 0-1, not 1,3" in said) == (2, True), said


def test_lengths_that_leave_nothing_to_draw_are_refused(image_run: Path, filling_run: Path):
    model: Any = load(filling_run)
    more: Any
    for given, length, more, said in (
        (levels()[0], 5, {}, "a video of 5 frames is no longer than the 5"),
        (levels()[0], 9, {"overlap": 5}, "an overlap is from 1 to 4 frames, not 5"),
        (levels()[0, :, :, :4], 9, {}, r"first has the shape \(1, 5, 4, 8\)"),
    ):
        with pytest.raises(Refused, match=said):
            extend(model, given, length, label=1, **more)
    with pytest.raises(Refused, match="frames are of videos"):
        fill(load(image_run), levels()[0])  # type: ignore[arg-type]
