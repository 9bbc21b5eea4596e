"""Editing in Python: codes and the way back, noise found and removed, and edits of a tiny trained model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse import editing
from undiffuse.core.errors import Refused
from undiffuse.core.oracles import GaussianOracle, MixtureOracle
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.editing.interpolate import spherical
from undiffuse.operators.blur import Blur
from undiffuse.operators.pool import Pool
from undiffuse.samplers import DDIM
from undiffuse.schedules import VP


def test_the_round_trip_of_inversion_falls_as_one_over_the_steps():
    """From steps with a last level that falls, too: 4 times the steps leave about a quarter of the error."""
    process = Gaussian(VP())
    oracle = MixtureOracle(process, (0.4, 0.6), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), torch.tensor([0.1, 0.2]))
    x_0 = oracle.draw(64, Random(0))
    errors = []
    for steps in (25, 100, 400):
        times = torch.linspace(0.8, 0, steps + 1, dtype=torch.float64)
        code = editing.inverted(oracle, x_0, times)
        back = sample(oracle, (64, 2), sampler=DDIM(), times=times, start=code)
        errors.append(float((back - x_0).square().mean().sqrt()))
    assert errors[1] < 0.35 * errors[0]
    assert errors[2] < 0.35 * errors[1]
    assert errors[2] < 0.02


def test_inversion_finds_the_exact_code_of_a_gaussian():
    """The probability-flow map of N(0, c^2) is x sqrt(alpha^2 c^2 + sigma^2) / c."""
    process, c = Gaussian(VP()), 0.5
    x_0 = Random(1).normal((8, 3), dtype=torch.float64) * c
    times = torch.linspace(0.7, 0, 401, dtype=torch.float64)
    code = editing.inverted(GaussianOracle(process, 0.0, c**2), x_0, times)
    alpha, sigma = process.schedule.at(0.7, x_0)
    torch.testing.assert_close(code, x_0 * (alpha**2 * c**2 + sigma**2).sqrt() / c, rtol=2e-2, atol=0)


def test_points_on_a_great_circle_keep_their_length():
    a, b = torch.tensor([[3.0, 0.0]], dtype=torch.float64), torch.tensor([[0.0, 3.0]], dtype=torch.float64)
    way = spherical(a, b, torch.linspace(0, 1, 5, dtype=torch.float64))
    torch.testing.assert_close(way.norm(dim=1), torch.full((5,), 3.0, dtype=torch.float64))
    torch.testing.assert_close(way[[0, -1]], torch.cat([a, b]))
    assert torch.equal(spherical(a, a, torch.tensor([0.3], dtype=torch.float64)), a)


def test_the_noise_of_smooth_images_is_estimated():
    row = torch.linspace(-1, 1, 64, dtype=torch.float64)
    smooth = (row[:, None] * row[None]).expand(4, 1, 64, 64)
    for std in (0.05, 0.3):
        noisy = smooth + std * Random(2).normal((4, 1, 64, 64), dtype=torch.float64)
        assert editing.noise_level(noisy) == pytest.approx(std, rel=0.06)
    with pytest.raises(Refused, match="noise of images can be estimated"):
        editing.noise_level(torch.zeros(1, 5))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> undiffuse.Diffusion:
    """A tiny model of digits, hardly trained."""
    small = ["network.width=16", "network.multipliers=[1]", "network.attention=[]", "network.blocks=1"]
    short = [
        "train.steps=4",
        "train.snapshots=0",
        "train.batch=64",
        "train.previews=2",
        "train.warmup=0",
        "sampler.steps=4",
    ]
    short.append("train.held_out=0.05")
    run = tmp_path_factory.mktemp("runs") / "tiny"
    undiffuse.train("digits", out=run, overrides=[*small, *short]).run()
    return undiffuse.load(run, precision="float32")


untyped: Any = editing
IMAGE = np.arange(64, dtype=np.uint8).reshape(1, 8, 8) * 4
HALF = (np.arange(8)[:, None] < 4).astype(np.float32) * np.ones((1, 8, 8), np.float32)


@pytest.mark.parametrize("method", [*editing.METHODS, "replace", "repaint"])
def test_every_method_leaves_the_known_part_as_it_was(model: Any, method: str):
    drawn = editing.inpaint(model, IMAGE, HALF, method, n=2, steps=3, label=3)
    assert drawn.dtype == torch.uint8
    assert drawn.shape == (2, 1, 8, 8)
    assert np.array_equal(drawn[:, :, :4].numpy(), np.repeat(IMAGE[:, :4][None], 2, 0))
    assert not torch.equal(drawn[0, :, 4:], drawn[1, :, 4:])


def test_a_measurement_of_the_right_shape_is_followed(model: Any):
    low = IMAGE.reshape(1, 4, 2, 4, 2).mean((2, 4)).astype(np.uint8)
    drawn = editing.restore(model, low, Pool(2), n=3, steps=8)
    plain = model.sample(3, steps=8, guidance=1)
    far, before = (float((Pool(2)(x.double()) - torch.from_numpy(low)).abs().mean()) for x in (drawn, plain))
    assert far < 0.3 * before
    with pytest.raises(Refused, match=r"have the shape \(1, 4, 4\), and this is \(1, 8, 8\)"):
        editing.restore(model, IMAGE, Pool(2))
    with pytest.raises(Refused, match="did you mean 'mmps'"):
        editing.restore(model, low, Pool(2), method="mpps")


def test_strength_is_a_share_of_the_steps(model: Any):
    near, far = (editing.vary(model, IMAGE, strength, n=8, steps=10).double() for strength in (0.1, 1.0))
    changed = [float((x - torch.from_numpy(IMAGE)).abs().mean()) for x in (near, far)]
    assert changed[0] < 0.5 * changed[1]
    for wrong in (0.0, 1.5):
        with pytest.raises(Refused, match="strength lies in"):
            editing.vary(model, IMAGE, wrong)


def test_denoising_starts_at_the_noise_that_there_is(model: Any):
    smooth = np.full((1, 8, 8), 100, np.uint8)
    drawn = editing.denoise(model, smooth, std=2.0, n=2, steps=10)
    assert float((drawn.double() - 100).abs().mean()) < 10  # hardly anything to remove: hardly anything changes
    with pytest.raises(Refused, match="no noise to remove"):
        editing.denoise(model, smooth)
    with pytest.raises(Refused, match="beyond the noisiest level"):
        editing.denoise(model, smooth, std=1e9)


def test_the_way_between_two_items_ends_at_both(model: Any):
    way, error = editing.between(model, IMAGE, 255 - IMAGE, frames=4, steps=60)
    assert way.shape == (4, 1, 8, 8)
    off = (way[[0, -1]].double() - torch.from_numpy(np.stack([IMAGE, 255 - IMAGE])).double()).square().mean().sqrt()
    assert error < 15
    assert float(off) < error + 1
    with pytest.raises(Refused, match="at least 2 frames"):
        editing.between(model, IMAGE, IMAGE, frames=1)


def test_painting_around_an_item_keeps_it_where_it_was_put(model: Any):
    drawn = editing.outpaint(model, IMAGE, (8, 12), corner=(0, 3), n=2, steps=3)
    assert drawn.shape == (2, 1, 8, 12)
    assert np.array_equal(drawn[0, :, :, 3:11].numpy(), IMAGE)
    assert editing.outpaint(model, None, (12, 8), steps=2).shape == (1, 1, 12, 8)
    with pytest.raises(Refused, match="at least the model's own"):
        editing.outpaint(model, IMAGE, (8, 7))
    with pytest.raises(Refused, match="not inside a picture"):
        editing.outpaint(model, IMAGE, (8, 12), corner=(0, 5))


def test_answers_do_not_depend_on_how_many_there_are(model: Any):
    many = editing.inpaint(model, IMAGE, HALF, n=3, steps=3)
    assert torch.equal(many[:1], editing.inpaint(model, IMAGE, HALF, n=1, steps=3))


def test_other_shapes_and_counts_are_refused(model: Any, tmp_path: Path):
    with pytest.raises(Refused, match=r"have the shape \(1, 8, 8\), and this is \(1, 9, 8\)"):
        editing.vary(model, np.zeros((1, 9, 8), np.uint8), 0.5)
    with pytest.raises(Refused, match=r"a mask of shape \(1, 9, 8\) does not fit samples"):
        editing.inpaint(model, IMAGE, np.ones((1, 9, 8), np.float32))
    with pytest.raises(Refused, match="at least 1, not 0"):
        editing.vary(model, IMAGE, 0.5, n=0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: x.astype(np.float32) + 100, "whole numbers from 0 to 255; given is float32 from 100 to 352"),
        (lambda x: x.astype(np.int64) - 10, "whole numbers from 0 to 255; given is int64 from -10 to 242"),
        (lambda x: x.astype(np.uint16) * 257, "given is uint16 from 0 to 64764"),
        (lambda x: x + 0.5, "given is float64 from 0.5 to 252.5, not all whole"),
        (lambda x: x / 255, "given is float64 from 0 to 0.988235: multiply it by 255"),
        (lambda x: x > 100, "given is bool from 0 to 1: multiply it by 255"),
        (lambda x: np.where(x > 100, np.nan, x), "numbers that are not finite"),
        (lambda x: np.where(x > 100, np.inf, x), "numbers that are not finite"),
        (lambda x: x.astype(str), "an array of numbers"),
    ],
)
def test_numbers_that_no_item_has_are_refused_by_name(model: Any, change: Any, says: str):
    wrong = change(IMAGE)
    asked = {
        "image": [
            lambda: editing.vary(model, wrong, 0.5),
            lambda: editing.inpaint(model, wrong, HALF),
            lambda: editing.outpaint(model, wrong, (8, 12)),
        ],
        "first": [lambda: editing.between(model, wrong, IMAGE)],
        "last": [lambda: editing.between(model, IMAGE, wrong)],
    }
    for name, calls in asked.items():
        for call in calls:
            with pytest.raises(Refused, match=f"^{name} .*{says}"):
                call()


def test_a_measurement_lies_between_whole_numbers_and_is_of_the_same_scale(model: Any):
    low = IMAGE.reshape(1, 4, 2, 4, 2).mean((2, 4)) + 0.25
    assert editing.restore(model, low, Pool(2), steps=2).shape == (1, 1, 8, 8)
    assert editing.denoise(model, IMAGE + np.linspace(-9, 9, 64).reshape(1, 8, 8), 9.0, steps=3).shape == (1, 1, 8, 8)
    for wrong, says in ((low / 255, "multiply it by 255"), (low * 100, "far outside the range of the run's data")):
        with pytest.raises(Refused, match=f"^y .*{says}"):
            editing.restore(model, wrong, Pool(2))


@pytest.mark.parametrize("kind", [np.int64, np.float64, np.uint8, torch.bfloat16, torch.float32])
def test_the_same_item_of_any_library_is_the_same_item(model: Any, kind: Any):
    x = IMAGE // 32 * 32  # bfloat16 has them
    given = torch.as_tensor(x).to(kind) if isinstance(kind, torch.dtype) else x.astype(kind)
    mask = torch.as_tensor(HALF).to(kind) if isinstance(kind, torch.dtype) else HALF.astype(kind)
    drawn = editing.inpaint(model, given, mask, "replace", steps=2)
    assert torch.equal(drawn, editing.inpaint(model, x, HALF, "replace", steps=2))


@pytest.mark.each(
    ("call", "says"),
    [
        (lambda m: untyped.inpaint(m, IMAGE, HALF * 255), "mask is 1 where known and 0 where not, .* from 0 to 255"),
        (lambda m: untyped.inpaint(m, IMAGE, HALF * np.nan), "mask holds numbers that are not finite"),
        (lambda m: untyped.inpaint(m, IMAGE, np.ones((1, 8, 8))), "mask is empty: every number of the item is known"),
        (lambda m: untyped.inpaint(m, IMAGE, "mask.png"), "mask is an array of numbers, not 'mask.png'"),
        (lambda m: untyped.inpaint(m, IMAGE, HALF, n=2.0), "n is a whole number, not 2.0"),
        (lambda m: untyped.inpaint(m, IMAGE, HALF, seed=None), "seed is a whole number, not None"),
        (lambda m: untyped.inpaint(m, IMAGE, HALF, seed=2**64), "seed is a whole number from 0 to"),
        (lambda m: untyped.inpaint(m, IMAGE, HALF, steps=1.5), "steps is a whole number, not 1.5"),
        (lambda m: untyped.inpaint(m, IMAGE, HALF, label=[[1]]), "label is one class"),
        (lambda m: untyped.inpaint(m, IMAGE, HALF, method=3), "method is a text, not 3"),
        (lambda m: untyped.vary(m, IMAGE, "much"), "strength is a number, not 'much'"),
        (lambda m: untyped.vary(m, IMAGE, float("nan")), "strength is a number, not nan"),
        (lambda m: untyped.vary(m, "a.png"), "image is an array of numbers, not 'a.png'"),
        (lambda m: untyped.denoise(m, IMAGE, "auto"), "std is a number, not 'auto'"),
        (lambda m: untyped.denoise(m, IMAGE, float("inf")), "beyond the noisiest level"),
        (lambda m: untyped.between(m, IMAGE, IMAGE, frames=2.5), "frames is a whole number, not 2.5"),
        (lambda m: untyped.outpaint(m, IMAGE, 16), r"size is a height and a width, such as \(16, 24\), not 16"),
        (lambda m: untyped.outpaint(m, IMAGE, (8.5, 12)), "size is a whole number, not 8.5"),
        (lambda m: untyped.outpaint(m, IMAGE, (8, 12), corner=3), "corner is a height and a width"),
        (lambda m: untyped.outpaint(m, IMAGE, (8, 12), overlap="half"), "overlap is a number, not 'half'"),
        (lambda m: untyped.restore(m, IMAGE, "grey"), "operator is a function of encoded items, .* not 'grey'"),
        (lambda m: untyped.restore(m, IMAGE, Blur(1.0), std="9"), "std is a number, not '9'"),
        (lambda m: untyped.restore(m, IMAGE, Blur(1.0), std=-1), "std, of a measurement's noise, is 0 or more, not -1"),
        (lambda m: untyped.infill(m, IMAGE, HALF), "infilling is for models of tokens; this one is of values"),
    ],
)  # fmt: skip
def test_what_is_no_such_argument_is_refused_by_name(model: Any, call: Any, says: str):
    with pytest.raises(Refused, match=says):
        call(model)
