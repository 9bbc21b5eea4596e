"""Editing by vectors: the picture comes back, the way between two has their ends, and a text turns the vector."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pairs
import pytest
import torch
from PIL import Image
from torch import Tensor

import undiffuse
from undiffuse.cli.main import main
from undiffuse.core.errors import Refused
from undiffuse.editing.embeddings import towards, variations
from undiffuse.editing.interpolate import between

PICTURES = np.random.default_rng(3).integers(0, 256, (2, *pairs.SHAPE), np.uint8)


class Leaning(torch.nn.Module):
    """A guess that leans on the vector: the mean of its first two numbers, everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Tensor] = []
        self.one = torch.nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, c_time: Tensor, image: Tensor, drop: Any = None, **cond: Any) -> Tensor:
        self.told.append(image)
        return (0.2 * image[:, :2].mean(1)).reshape(-1, 1, 1, 1) * self.one + 0.1 * x


@pytest.fixture
def decoder(home: Path) -> Any:
    """The decoder with a network that is known."""
    found = undiffuse.load(home / "decoder")
    found.module.network = Leaning()
    return found


def test_without_chance_the_picture_comes_back_and_with_it_others(decoder: Any):
    pair: Any = decoder.conditions["image"].encoder
    same = variations(decoder, PICTURES[0], n=2, eta=0.0, steps=60, guidance=1.0)
    assert torch.equal(same[0], same[1])
    assert float((same[0].float() - torch.from_numpy(PICTURES[0]).float()).abs().mean()) < 6
    vector = pair.encode_image(PICTURES[:1]) * pairs.WIDTH**0.5
    torch.testing.assert_close(decoder.module.network.told[-1][:1], vector)
    others = variations(decoder, PICTURES[0], n=2, steps=20, guidance=1.0)
    assert not torch.equal(others[0], others[1])


def test_the_way_between_two_pictures_mixes_their_vectors_along_the_sphere(decoder: Any):
    pair: Any = decoder.conditions["image"].encoder
    way, error = between(decoder, *PICTURES, frames=5, steps=60, guidance=1.0)
    assert error < 12
    assert way.shape == (5, *pairs.SHAPE)
    told = decoder.module.network.told[-1] / pairs.WIDTH**0.5
    a, b = pair.encode_image(PICTURES).double()
    angle = torch.arccos(a @ b)
    assert told.norm(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    for i, u in enumerate(torch.linspace(0, 1, 5).double()):
        wanted = (((1 - u) * angle).sin() * a + (u * angle).sin() * b) / angle.sin()
        torch.testing.assert_close(told[i].double(), wanted, atol=1e-5, rtol=0)


def test_a_text_turns_the_vector_of_the_picture(decoder: Any, home: Path):
    pair: Any = decoder.conditions["image"].encoder
    way = towards(decoder, PICTURES[0], "b 1", "a 0", frames=3, share=0.5, steps=4, guidance=1.0)
    assert way.shape == (3, *pairs.SHAPE)
    told = decoder.module.network.told[-1] / pairs.WIDTH**0.5
    to, now = pair.encode_text(["b 1", "a 0"])
    direction = torch.nn.functional.normalize(to - now, dim=0)
    torch.testing.assert_close(told[0], pair.encode_image(PICTURES[:1])[0], atol=1e-5, rtol=0)
    angles = torch.arccos((told @ direction).clamp(-1, 1))
    assert angles.numpy() == pytest.approx(angles[0].item() * np.array([1, 0.75, 0.5]), abs=1e-4)
    for make, message in (
        (lambda: towards(decoder, PICTURES[0], "a 0", "a 0"), "says nothing else than the caption 'a 0'"),
        (lambda: towards(decoder, PICTURES[0], "a 0", share=2.0), "above 0 and up to 1, not 2"),
        (lambda: towards(decoder, PICTURES[0], "a 0", frames=1), "needs at least 2 frames, not 1"),
        (lambda: variations(undiffuse.load(home / "prior"), PICTURES[0]), "of a model that is told the vector of a"),
    ):
        with pytest.raises(Refused, match=message):
            make()


def test_the_command_varies_and_leads_towards_a_text(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PICTURES[0, 0]).save("a.png")
    call: Callable[..., tuple[int, str]] = lambda *words: _call(capfd, *words)  # noqa: E731
    edit = ("edit", home / "decoder", "--image", "a.png")
    for words, said in (
        (("--vary", "-n", 2, "--set", "eta=0.5", "-o", "v.png"), "varied around its code by ddim"),
        (("--towards", "b 1", "--text", "a 0", "--length", 3, "-o", "t.gif"), "from its code by ddim"),
    ):
        status, err = call(*edit, *words)
        assert status == 0, err
        assert said in err
    for words, said in (
        (("--vary", "--sampler", "ddim"), "--vary goes to the picture's code and back by ddim: leave --sampler out"),
        (("--towards", "b", "--sampler", "ddim"), "--towards goes to the picture's code and back by ddim"),
    ):
        status, err = call(*edit, *words)
        assert status == 2
        assert said in " ".join(err.split())


def _call(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0), capfd.readouterr().err
