"""A run of videos from a run of images: what training takes over, and what the commands make of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from moving_runs import FRAMES, recipe
from PIL import Image, ImageSequence

from undiffuse.data.sources.video import Video
from undiffuse.models.load import load
from undiffuse.training.start import train

Undiffuse = Callable[..., tuple[int, str]]


@torch.no_grad()
def test_a_run_of_videos_begins_as_the_run_of_images(digits: Path, image_run: Path, tmp_path: Path):
    start = recipe("moving-digits-from-images", digits, f"init.run={image_run}", "train.held_out=0")
    denoiser = train(start, out=tmp_path / "run").module
    images = load(image_run)
    x, t = torch.randn(2, 1, FRAMES, 8, 8), torch.tensor([0.3, 0.6], dtype=torch.float64)
    assert "network.enter.weight" in denoiser.state_dict()
    alone = images.denoiser(x.swapaxes(1, 2).flatten(0, 1), t.repeat_interleave(FRAMES)).mean
    torch.testing.assert_close(denoiser(x, t).mean, alone.unflatten(0, (2, FRAMES)).swapaxes(1, 2))


def test_samples_are_videos_that_are_written_and_read_back(video_run: Path, tmp_path: Path, undiffuse_: Undiffuse):
    drawn = load(video_run).sample(2, seed=1, label=1)
    assert repr(drawn).startswith(f"2 videos, 1 x {FRAMES} x 8 x 8, uint8")
    asked = ("sample", video_run, "-n", 2, "--seed", 1, "--label", 1)
    for suffix in (".gif", ".png", ".npy"):
        status, said = undiffuse_(*asked, "-o", tmp_path / f"videos{suffix}")
        assert (status, f"videos{suffix}: 2 videos" in said) == (0, True), said
    with Image.open(tmp_path / "videos.gif") as moving:
        assert len(list(ImageSequence.Iterator(moving))) == FRAMES
    np.testing.assert_array_equal(Video(str(tmp_path / "videos.npy"), frames=0).load().x, drawn.numpy())
    assert undiffuse_(*asked, "--format", "gifs", "-o", tmp_path / "folder")[0] == 0
    np.testing.assert_array_equal(Video(str(tmp_path / "folder"), frames=0, channels=1).load().x, drawn.numpy())
    status, said = undiffuse_("score", video_run, tmp_path / "folder", "--tolerance", 1, "-o", tmp_path / "scores.csv")
    assert (status, "2 items" in said) == (0, True), said
