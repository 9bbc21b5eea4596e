"""Images that are learned from beside videos: stacks of them, left alone by layers along time, and never held out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from moving_runs import FRAMES

from undiffuse.conditions.still import StillCondition
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.data.sources.video import Video
from undiffuse.data.stills import with_images
from undiffuse.networks.unet import UNet

SMALL: dict[str, Any] = {"channels": 1, "width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (0,), "classes": 3}


def levels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.Generator(np.random.Philox(seed)).integers(0, 256, shape).astype(np.uint8)


@torch.no_grad()
def test_frames_of_a_stack_are_images_of_their_own_and_videos_stay_what_they_are():
    torch.manual_seed(0)
    told = {"frames": ("image", (2, FRAMES, 8, 8)), "pace": ("vector", (1,))}
    video = UNet(**SMALL, dimensions=3, video=True, conditions={**told, "still": ("still", (1,))})
    for weight in video.parameters():
        weight.add_(0.2 * torch.randn_like(weight))
    x, t, label = torch.randn(3, 1, FRAMES, 8, 8), torch.tensor([1.0, 30.0, 700.0]), torch.tensor([0, 1, 2])
    cond = {"frames": torch.randn(3, 2, FRAMES, 8, 8), "pace": torch.randn(3, 1)}
    drop = {"label": torch.tensor([False, True, False]), "pace": torch.tensor([True, False, False])}
    still = torch.tensor([[0.0], [1.0], [0.0]])
    made = video(x, t, label=label, drop=drop, still=still, **cond)
    whole = video(x, t, label=label, drop=drop, **cond)
    torch.testing.assert_close(made[[0, 2]], whole[[0, 2]], atol=1e-5, rtol=1e-5)
    for f in range(FRAMES):
        own = {"frames": cond["frames"][1:2, :, f : f + 1], "pace": cond["pace"][1:2]}
        gone = {name: values[1:2] for name, values in drop.items()}
        alone = video(x[1:2, :, f : f + 1], t[1:2], label=label[1:2], drop=gone, **own)
        torch.testing.assert_close(made[1:2, :, f], alone[:, :, 0], atol=1e-5, rtol=1e-5)
    assert (made[1] - whole[1]).abs().max() > 0.01
    torch.testing.assert_close(
        video(x, t, label=label, still=torch.zeros(3, 1), **cond), video(x, t, label=label, **cond)
    )


def test_a_share_of_the_items_are_stacks_that_are_only_learned_from(tmp_path: Path):
    np.savez(tmp_path / "videos.npz", x=levels(60, 4, 8, 8), labels=np.arange(60) % 3)
    np.savez(tmp_path / "images.npz", x=levels(50, 8, 8, seed=1), labels=np.arange(50) % 2)
    data = Video(str(tmp_path / "videos.npz"), frames=4, images=str(tmp_path / "images.npz"), share=0.25).load()
    still = data.conditions["still"][:, 0] > 0
    assert (len(data), int(still.sum())) == (80, 20)
    images = np.load(tmp_path / "images.npz")
    np.testing.assert_array_equal(data.x[60, 0], images["x"][[0, 2, 4, 6]])
    np.testing.assert_array_equal(data.x[61, 0], images["x"][[1, 3, 5, 7]])
    np.testing.assert_array_equal(np.asarray(data.labels)[60:64], [0, 1, 0, 1])
    learned, held_out = data.split(0.3)
    assert int(learned.conditions["still"].sum()) == 20
    assert not held_out.conditions["still"].any()
    assert len(learned) + len(held_out) == 80
    assert len(learned.compared()) == len(learned) - 20
    assert len(learned.take(np.arange(len(learned))).compared()) == len(learned) - 20
    again, _ = Video(str(tmp_path / "videos.npz"), frames=4).load().split(0.3)
    assert {x.tobytes() for x in learned.compared().x} == {x.tobytes() for x in again.x}, "videos stay on their side"


def test_clips_of_a_video_stay_together_beside_images(tmp_path: Path):
    videos = np.broadcast_to(np.arange(30, dtype=np.uint8)[:, None, None, None], (30, 16, 4, 4)).copy()
    videos[:, :, 1] = levels(30, 16, 4, seed=2)
    np.save(tmp_path / "videos.npy", videos)
    np.save(tmp_path / "images.npy", levels(9, 4, 4, seed=1))
    both = Video(str(tmp_path / "videos.npy"), frames=4, images=str(tmp_path / "images.npy")).load().split(0.3)
    learned, held_out = (set(part.compared().x[:, 0, 0, 0, 0].tolist()) for part in both)
    assert not learned & held_out
    assert learned | held_out == set(range(30))


def test_it_need_not_be_given_and_is_0_or_1():
    condition = StillCondition().fit(np.zeros((4, 1), np.float32), ())
    assert not condition.needed
    assert condition.given(1, 2, "still").tolist() == [[1.0], [1.0]]
    for wrong, said in (
        (lambda: condition.given(0.5, 1, "still"), "still is 1 of a stack of images and 0 of a video, not 0.5"),
        (lambda: condition.from_word("2", "still"), "0 of a video, not '2'"),
        (lambda: StillCondition(drop=0.1), "is never dropped"),
        (lambda: UNet(**SMALL, conditions={"still": ("still", (1,))}), "for a U-Net with video = true"),
    ):
        with pytest.raises(Refused, match=said):
            wrong()


def test_images_that_do_not_fit_are_refused_by_name():
    videos = Dataset(levels(4, 1, 3, 8, 8), {"label": np.arange(4) % 2}, ("a", "b"), "clips")
    for images, share, said in (
        (Dataset(levels(4, 3, 8, 8), name="photos"), 0.5, r"photos are \(3, 8, 8\) of uint8, .*clips are \(1, 8, 8\)"),
        (Dataset(levels(4, 1, 8, 8), name="photos"), 1.0, "share, of images among the items, is between 0 and 1"),
        (Dataset(levels(4, 1, 8, 8), name="photos"), 0.5, "clips has the classes a, b, and the images of photos"),
    ):
        with pytest.raises(Refused, match=said):
            with_images(videos, images, share)
