"""Videos enlarged: frame by frame by a run of images with one noise, and the small video as a condition."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moving_runs import recipe
from PIL import Image

from undiffuse.conditions.derived_image import maker
from undiffuse.core.errors import Refused
from undiffuse.editing import enlarge
from undiffuse.models.load import load
from undiffuse.storage import video_file
from undiffuse.training.start import train

Undiffuse = Callable[..., tuple[int, str]]
SMALL = np.random.Generator(np.random.Philox(0)).integers(0, 256, (1, 3, 4, 4)).astype(np.uint8)


@pytest.fixture(scope="module")
def up(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of images that enlarges."""
    folder = tmp_path_factory.mktemp("runs") / "up"
    low = ("conditions.low.kind=image", "conditions.low.of=superresolve:2", "conditions.low.drop=0")
    train(recipe("moving-digits-images", digits, *low, "train.preview_every=0", "train.held_out=0"), out=folder).run()
    return folder


def test_all_frames_of_an_answer_have_one_noise(up: Path, tmp_path: Path, undiffuse_: Undiffuse):
    model: Any = load(up)
    still = np.repeat(SMALL[:, :1], 3, axis=1)  # a video that stands still
    one = enlarge(model, still, n=2, seed=3, label=1)
    assert one.shape == (2, 1, 3, 8, 8)
    np.testing.assert_array_equal(one, one[:, :, :1].expand_as(one))
    assert (one[0] != one[1]).any()
    own = enlarge(model, still, seed=3, one_noise=False, label=1)
    assert (own[0, :, 0] != own[0, :, 1]).any()
    moving = enlarge(model, SMALL, seed=3, label=1)
    np.testing.assert_array_equal(moving[0, :, 2], model.sample(1, seed=3, low=SMALL[:, 2], label=1)[0])
    (tmp_path / "small.gif").write_bytes(video_file.gif([Image.fromarray(frame) for frame in SMALL[0]], 10))
    asked = ("edit", up, "--label", 1, "-o", tmp_path / "large.gif")
    status, said = undiffuse_(*asked, "--enlarge", tmp_path / "small.gif")
    assert (status, "1 of 1x3x8x8, enlarged frame by frame" in said) == (0, True), said
    with pytest.raises(Refused, match=r"frames are \(1, 3, 3\), and the model is told images: low of \(1, 4, 4\)"):
        enlarge(model, SMALL[:, :, :3, :3])
    with pytest.raises(Refused, match="a model of images enlarges it"):
        enlarge(model, SMALL[:, 0])


def test_a_condition_made_of_videos_is_made_of_each_frame():
    videos = np.random.Generator(np.random.Philox(1)).integers(0, 256, (2, 3, 5, 8, 8)).astype(np.uint8)
    for of in ("superresolve:2", "grey", "hole:3"):
        made = maker(of, "low")(videos, 255.0)
        for i in range(5):
            np.testing.assert_array_equal(made[:, :, i], maker(of, "low")(videos[:, :, i], 255.0))
