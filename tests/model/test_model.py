"""A model draws sample i from (seed, i) alone, refuses what it was not trained for, and comes back as it was saved."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.codecs.whiten import Whiten
from undiffuse.conditions.label import LabelCondition, class_numbers
from undiffuse.core.errors import Refused
from undiffuse.models.diffusion import Diffusion
from undiffuse.networks import precision
from undiffuse.networks.precision import has_bfloat16, pick
from undiffuse.recipes import build
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.plan import batches
from undiffuse.sampling.run import FILE, SUMMARY
from undiffuse.storage import files

IMAGES: dict[str, Any] = {
    "data": {"name": "digits"},
    "codec": {"name": "pixels"},
    "schedule": {"name": "edm"},
    "network": {"name": "unet", "width": 8, "multipliers": [1], "blocks": 1, "attention": []},
    "parameterization": {"name": "edm"},
    "objective": {"name": "denoising"},
    "conditions": {"label": {"drop": 0.1}},
    "sampler": {"name": "heun", "steps": 4, "grid": "karras", "guidance": 2.0},
    "train": {"steps": 5},
}


def images(drop: float | None = 0.1) -> Diffusion:
    """An untrained model of 4 x 4 pictures in three classes; with drop None it is unconditional."""
    tables = {**IMAGES, "conditions": {} if drop is None else {"label": {"drop": drop}}}
    recipe, classes = Recipe.find(tables), () if drop is None else ("cat", "dog", "bird")
    conditions = {} if drop is None else {"label": LabelCondition(drop, classes=classes)}
    about = Description(recipe, (1, 4, 4), conditions, PixelsCodec(), {"step": 5})
    denoiser = build.predictor(about)
    for weight in denoiser.parameters():  # the output layer starts at zero: then nothing would depend on anything
        torch.nn.init.normal_(weight, std=0.1)
    return Diffusion.of(denoiser.eval(), about)


def points() -> Diffusion:
    """An untrained model of points in the plane, with the default plan."""
    tables = {
        **IMAGES,
        "network": {"name": "mlp", "width": 16},
        "conditions": {},
        "sampler": {},
        "codec": {"name": "whiten"},
    }
    recipe = Recipe.find(tables)
    codec = Whiten().fit(np.random.default_rng(0).normal(3, 2, (50, 2)).astype(np.float32))
    about = Description(recipe, (2,), {}, codec)
    return Diffusion.of(build.predictor(about).eval(), about)


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal up to the rounding of a matrix product in another batch: one grey level, or a millionth."""
    return a.shape == b.shape and bool(((a.float() - b.float()).abs() <= (1 if a.dtype == torch.uint8 else 1e-4)).all())


@pytest.mark.parametrize("made", [images, points])
def test_sample_i_depends_on_the_seed_and_i_alone(made: Any):
    m = made()
    whole = m.sample(7, seed=3)
    assert close(m.sample(7, seed=3, batch=2), whole)
    assert close(m.sample(2, seed=3, indices=[6, 1]), whole[[6, 1]])
    assert close(m.sample(4, seed=3), whole[:4])
    assert not close(m.sample(7, seed=4), whole)
    assert len({tuple(x.flatten().tolist()) for x in whole}) == 7


def test_samples_are_in_the_data_s_own_units():
    drawn = images().sample(3)
    assert drawn.dtype == torch.uint8
    assert drawn.shape == (3, 1, 4, 4)
    cloud = points().sample(500)
    assert cloud.dtype == torch.float32
    assert float(cloud.mean()) == pytest.approx(3, abs=1.5)


def test_labels_are_numbers_or_names_and_matter():
    m = images()
    dog = m.sample(3, label=1)
    assert torch.equal(dog, m.sample(3, label="dog"))
    assert torch.equal(dog, m.sample(3, label="1"))
    assert torch.equal(dog, m.sample(3, label=[1, "dog", 1]))
    assert torch.equal(m.sample(3, label="bird"), m.sample(3, label=2))  # no class is a number: 2 is a place
    assert not torch.equal(dog, m.sample(3, label=0))
    assert torch.equal(m.sample(3, label=torch.tensor([0, 1, 2]))[1], dog[1])
    assert not torch.equal(dog, m.sample(3))


@pytest.mark.parametrize("classes", [("1", "2", "3"), ("3", "8", "10"), ("-1", "0", "1"), ("cat", "2", "dog")])
def test_a_class_that_is_a_number_is_asked_for_by_it_and_by_nothing_else(classes: tuple[str, ...]):
    m = replace(images(), conditions={"label": LabelCondition(0.1, classes=classes)})
    for i, name in enumerate(classes):
        if name.lstrip("-").isdigit():
            number = int(name)
            for asked in (
                number,
                name,
                np.int64(number),
                [number] * 2,
                [np.int16(number), name],
                np.array([number] * 2),
            ):
                assert class_numbers(asked, 2, classes, "label") == [i, i], (asked, classes)
    for absent in (9, "9", 1.0, True, [0.5, 1], None):
        with pytest.raises(Refused, match=f"is not one of the model's 3 classes: {', '.join(classes)}"):
            class_numbers(absent, 2, classes, "label")
    with pytest.raises(Refused, match="label 5 is not one"):
        m.sample(1, label=5)


def test_a_class_is_found_however_its_accents_are_written():
    assert class_numbers("cafe\u0301", 1, ("bar", "caf\u00e9"), "label") == [1]


def test_guidance_is_the_recipe_s_unless_given():
    m = images()
    assert torch.equal(m.sample(3, label=1), m.sample(3, label=1, guidance=2.0))
    assert not torch.equal(m.sample(3, label=1), m.sample(3, label=1, guidance=1.0))
    assert torch.equal(m.sample(3, label=1, guidance=0.0), m.sample(3))


def test_a_trajectory_ends_in_the_samples_and_starts_in_noise():
    m = images()
    states = list(m.trajectory(3, seed=1, label=2))
    assert len(states) == 5
    assert close(states[-1], m.sample(3, seed=1, label=2))
    assert 60 < float(states[0].float().std()) < 130


def test_another_sampler_brings_its_own_steps():
    m = images()
    seen: list[tuple[int, int]] = []
    m.sample(2, sampler="ddim", progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 4
    assert seen[-1] == (seen[0][1], seen[0][1])
    assert not torch.equal(m.sample(2, sampler="ddim", steps=4, grid="karras"), m.sample(2))


def test_progress_counts_every_step_of_every_batch():
    seen: list[tuple[int, int]] = []
    images().sample(5, batch=2, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == [2, 4, 6, 8, 10, 12, 14, 16, 17, 18, 19, 20]
    assert {total for _, total in seen} == {20}


@pytest.mark.each(
    ("drop", "asked", "message"),
    [
        (None, {"label": 1}, "the model is unconditional: it was trained without 'label'"),
        (None, {"guidance": 2.0}, "guidance = 2 needs a condition, and the model is unconditional"),
        (
            0.0,
            {"label": 1, "guidance": 2.0},
            r"trained with conditioning dropout \(conditions.label.drop is 0\)",
        ),
        (0.0, {}, "the model needs 'label': it was never dropped in training"),
        (0.1, {"guidance": 2.0}, "guidance = 2 needs 'label': what to guide to"),
        (0.1, {"lable": 1}, r"sample has no option and the model no condition 'lable' \(did you mean 'label'\?\)"),
        (0.1, {"label": 3}, "label 3 is not one of the model's 3 classes: cat, dog, bird"),
        (0.1, {"label": -1}, "label -1 is not one of"),
        (0.1, {"label": "cow"}, "label cow is not one of"),
        (0.1, {"label": 1.0}, "label 1.0 is not one of"),
        (0.1, {"label": [0, 1]}, "4 samples need one label or 4, not 2"),
        (0.1, {"steps": 0}, "sampling needs at least 1 step, not 0"),
        (0.1, {"batch": 0}, "batch must be at least 1, not 0"),
        (0.1, {"indices": [1, 2]}, "4 samples need 4 indices, not 2"),
        (0.1, {"sampler": "huen"}, r"samplers has no 'huen' \(did you mean 'heun'\?\)"),
        (0.1, {"grid": "uniform"}, "grids has no 'uniform'"),
    ],
)
def test_what_makes_no_sense_is_refused(drop: float | None, asked: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        images(drop).sample(4, **asked)


@pytest.mark.parametrize("n", [0, -3])
def test_counts_below_one_are_refused(n: int):
    with pytest.raises(Refused, match=rf"the number of samples must be at least 1, not {n}"):
        points().sample(n)


def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch):
    m, sizes = points(), []
    original = m.denoiser.forward

    def forward(x: torch.Tensor, t: Any, **cond: Any) -> Any:
        sizes.append(len(x))
        if len(x) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return original(x, t, **cond)

    whole = m.sample(8, seed=1, steps=2)
    monkeypatch.setattr(m.denoiser, "forward", forward)
    assert close(m.sample(8, seed=1, steps=2), whole)
    assert sizes[:2] == [8, 4]
    assert set(sizes[2:]) == {2}
    monkeypatch.setattr(m.denoiser, "forward", lambda x, t: (_ for _ in ()).throw(RuntimeError("a mistake")))
    with pytest.raises(RuntimeError, match=r"a mistake"):
        m.sample(8)


def test_larger_samples_get_smaller_batches():
    assert batches((2,)) > batches((1, 8, 8)) > batches((3, 32, 32)) > batches((3, 1024, 1024)) == 1
    assert batches((128,), 27) > batches((1024,), 27) > batches((1024,), 50_000) == 1  # tokens, by their symbols, too


def test_a_saved_model_comes_back_as_it_was(tmp_path: Path):
    m = images()
    m.save(tmp_path)
    again = undiffuse.load(tmp_path, precision="float32")
    assert torch.equal(again.sample(3, label=1), m.sample(3, label=1))
    assert (again.classes, again.shape, again.conditions, again.codec) == (m.classes, m.shape, m.conditions, m.codec)
    assert again.facts == {"step": 5}
    assert again.recipe.tables == m.recipe.tables
    assert json.loads((tmp_path / SUMMARY).read_text()) == again.describe()
    alone = undiffuse.load(tmp_path / FILE, precision="float32")
    assert torch.equal(alone.sample(3, label=1), m.sample(3, label=1))


def test_half_precision_samples_the_same_picture_but_is_not_saved(tmp_path: Path):
    m = images()
    m.save(tmp_path)
    half = undiffuse.load(tmp_path, precision="bfloat16")
    assert next(half.denoiser.parameters()).dtype is torch.bfloat16
    error = (half.sample(20, label=1).float() - m.sample(20, label=1).float()).square().mean().sqrt()
    assert 0 < error < 8
    with pytest.raises(Refused, match=r"rounded to half precision .*load with precision='float32' to save"):
        half.save(tmp_path / "copy")
    with pytest.raises(Refused, match=r"'float8' is unknown \(did you mean 'float32'\?\); it can be auto, float32"):
        undiffuse.load(tmp_path, precision="float8")


def test_automatic_precision_goes_by_hardware_and_convolutions(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "has_bfloat16", has_bfloat16)
    cpu = torch.device("cpu")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    half, intel, amd = {"avx512_bf16": True}, {"cpu_name": "Intel Xeon"}, {"cpu_name": "AMD EPYC"}
    for cannot, can in ((half | intel, half | intel | {"amx_bf16": True}), (amd, half | amd), ({}, {"amx_bf16": True})):
        for able, known in ((False, cannot), (True, can)):
            monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known, raising=False)
            assert has_bfloat16(cpu) is able
            assert pick("auto", cpu, images().denoiser) is (torch.bfloat16 if able else torch.float32)
            assert pick("auto", cpu, points().denoiser) is torch.float32
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert not has_bfloat16(cpu)


def test_a_folder_without_a_whole_model_is_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"there is no run at .*absent"):
        undiffuse.load(tmp_path / "absent")
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(Refused, match=r"recipe.toml is a recipe: a run is the folder that training it made, such as "):
        undiffuse.load(tmp_path / "recipe.toml")
    with pytest.raises(
        Refused, match=r"holds no model \(model.safetensors\): training has not reached its first checkpoint"
    ):
        undiffuse.load(tmp_path)
    m = images()
    m.save(tmp_path)
    weights, about = files.read_tensors(tmp_path / FILE, "model")
    first = next(iter(weights))
    for tensors, description, message in [
        ({k: v for k, v in weights.items() if k != first}, about, f"lacks '{first}'"),
        ({**weights, first: weights[first] * float("nan")}, about, f"{first}' holds numbers that are infinite"),
        (weights, {k: v for k, v in about.items() if k != "shape"}, "its description lacks or spoils 'shape'"),
        (weights, {**about, "format": 99}, "has format 99 and this version reads up to 1: update undiffuse"),
        (weights, {**about, "shape": [3, 4, 4]}, "the model's is"),
    ]:
        files.write_tensors(tmp_path / FILE, tensors, description)
        with pytest.raises(Refused, match=message):
            undiffuse.load(tmp_path)
    (tmp_path / FILE).write_bytes(b"\x80\x04garbage")
    with pytest.raises(Refused, match=r"incomplete or broken"):
        undiffuse.load(tmp_path)
