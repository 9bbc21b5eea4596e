"""A U-Net of videos: at first that of images, frame by frame; what mixes frames are its layers along time."""

import pytest
import torch

from undiffuse.core.errors import Refused
from undiffuse.networks.unet import UNet

SMALL = {"channels": 2, "width": 8, "multipliers": (1, 2), "blocks": 1, "attention": (0,), "classes": 3}
KINDS = {
    "ddpm": {},
    "adm": {"resample": "residual", "scale_shift": True, "head_width": 4},
    "fir": {"resample": "fir", "rescale": True, "fourier": 2.0},
    "efficient": {"scale_skips": True, "halve_first": True},
    "latent": {"transformer_blocks": 1, "heads": 2, "text_width": 8, "conditions": {"text": ("text", (6,))}},
}
FRAMES = 5
TIMES, LABELS = torch.tensor([3.0, 500.0]), torch.tensor([0, 2])
TEXT = torch.tensor([[257, 5, 6, 0, 0, 0], [257, 9, 0, 0, 0, 0]])


def pair(kind: str) -> tuple[UNet, UNet]:
    """A network of images with weights that are not zero, and one of videos that starts from it."""
    torch.manual_seed(0)
    image, video = UNet(**SMALL, **KINDS[kind]), UNet(**SMALL, **KINDS[kind], dimensions=3, video=True)
    with torch.no_grad():
        for weight in image.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    taken = video.load_state_dict(image.state_dict(), strict=False)
    assert not taken.unexpected_keys
    assert all(".along." in name for name in taken.missing_keys)
    return image.eval(), video.eval()


def given(kind: str, frames: int = 1) -> dict[str, torch.Tensor]:
    text = {"text": TEXT.repeat_interleave(frames, 0)} if kind == "latent" else {}
    return {"label": LABELS.repeat_interleave(frames), **text}


def stirred(video: UNet) -> UNet:
    """The network with layers along time that do something."""
    with torch.no_grad():
        for name, weight in video.named_parameters():
            if ".along." in name:
                weight.add_(0.2 * torch.randn_like(weight))
    return video


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_at_first_it_is_the_network_of_images_and_its_layers_along_time_are_the_identity(kind):
    image, video = pair(kind)
    along = [layer for name, layer in video.named_modules() if name.endswith(".along")]
    same: list[bool] = []
    for layer in along:
        layer.register_forward_hook(lambda _, given, made: same.append(torch.equal(given[0], made)))
    x = torch.randn(2, 2, FRAMES, 8, 4)
    alone = image(x.transpose(1, 2).flatten(0, 1), TIMES.repeat_interleave(FRAMES), **given(kind, FRAMES))
    made = video(x, TIMES, **given(kind))
    assert same == [True] * len(along)
    assert along
    assert alone.abs().mean() > 0.01
    torch.testing.assert_close(made, alone.unflatten(0, (2, FRAMES)).transpose(1, 2))


@torch.no_grad()
def test_only_layers_along_time_know_the_order_of_frames():
    _, video = pair("ddpm")
    x, order = torch.randn(2, 2, FRAMES, 8, 4), torch.tensor([3, 1, 4, 0, 2])
    made = video(x, TIMES, label=LABELS)
    assert torch.equal(video(x[:, :, order], TIMES, label=LABELS), made[:, :, order])
    stirred(video)
    made = video(x, TIMES, label=LABELS)
    assert (video(x[:, :, order], TIMES, label=LABELS) - made[:, :, order]).abs().max() > 0.01


@torch.no_grad()
def test_one_frame_is_an_image_whatever_the_layers_along_time_have_learned():
    image, video = pair("latent")
    x = torch.randn(2, 2, 1, 8, 4)
    alone = image(x[:, :, 0], TIMES, **given("latent"))
    assert torch.equal(stirred(video)(x, TIMES, **given("latent"))[:, :, 0], alone)


def test_every_weight_learns_and_any_number_of_frames_goes():
    _, video = pair("ddpm")
    for frames in (2, 7):
        stirred(video)(torch.randn(1, 2, frames, 8, 4), TIMES[:1], label=LABELS[:1]).square().mean().backward()
    assert all(weight.grad is not None and bool(weight.grad.any()) for weight in video.parameters())


def test_what_is_no_video_is_refused():
    with pytest.raises(Refused, match=r"video = true is for videos, \(batch, channels, frames, height, width\)"):
        UNet(**SMALL, video=True)
    with pytest.raises(Refused, match="heads of an even width, not 8 channels by 8"):
        UNet(**SMALL, dimensions=3, video=True, heads=8)
    with pytest.raises(Refused, match="height that 2 divides, not 5"):
        UNet(**SMALL, dimensions=3, video=True)(torch.zeros(1, 2, 3, 5, 4), TIMES[:1])
