"""Nothing depends on torch's default dtype: a model is made, loaded, trained, sampled, steered and scored the same; nor
is it loaded, trained, sampled, edited, scored or judged otherwise under another default device.
"""

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_autoencoder
import torch
from registered import networks
from torch import Tensor

import undiffuse
from undiffuse import editing, likelihood
from undiffuse.core import registry
from undiffuse.core.grid import Grid
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import GaussianOracle
from undiffuse.core.parameterization import Parameterization
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.core.random import Random
from undiffuse.core.sample import sample
from undiffuse.core.sampler import Sampler
from undiffuse.core.schedule import Schedule
from undiffuse.core.time_distribution import TimeDistribution
from undiffuse.data.dataset import Dataset
from undiffuse.evaluation.metrics.judge import judge
from undiffuse.grids.listed import Listed
from undiffuse.grids.published import Published
from undiffuse.objectives.autoencoding import Autoencoding
from undiffuse.recipes.recipe import Recipe
from undiffuse.schedules import VP, ScaledLinearBeta

SOURCE = Path(undiffuse.__file__).parent
FACTORIES = {
    "zeros",
    "ones",
    "empty",
    "full",
    "rand",
    "randn",
    "linspace",
    "logspace",
    "eye",
    "tensor",
    "scalar_tensor",
}
TIMES = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def agrees(made: Callable[[], Any]) -> None:
    """What is made is the same under both defaults, in value and dtype."""
    found: list[list[Tensor]] = []
    for dtype in (torch.float32, torch.float64):
        with default(dtype):
            torch.manual_seed(0)
            found.append(made())
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_every_tensor_is_made_with_a_dtype():
    """Layers of networks are built in float32 by one context; all else says what it makes."""
    silent, calls = [], re.compile(rf"\btorch\.(?:{'|'.join(FACTORIES)})\(")
    for file in SOURCE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if file.relative_to(SOURCE).parts[0] == "networks" or not calls.search(text):
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            of_torch = isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"
            if of_torch and node.func.attr in FACTORIES and not any(word.arg == "dtype" for word in node.keywords):
                silent.append(f"{file.relative_to(SOURCE)}:{node.lineno} torch.{node.func.attr}")
    assert not silent, silent


def test_schedules(schedule: Schedule):
    def made() -> list[Tensor]:
        new = type(schedule)(**{name: getattr(schedule, name) for name in registry.fields(type(schedule))})
        each = [new.alpha, new.sigma, new.log_snr, new.prior_std, new.index]
        return [
            *(f(TIMES) for f in each),
            *new.both(TIMES),
            new.time(torch.tensor([-3.0, 0.0, 2.0], dtype=torch.float64)),
        ]

    agrees(made)


def test_grids(grid: Grid):
    schedule = ScaledLinearBeta() if isinstance(grid, Published) else VP()
    agrees(lambda: [grid(schedule, 2 if isinstance(grid, Listed) else 7)])


def test_draws_of_times(draw: TimeDistribution):
    agrees(lambda: [draw(VP(), Random(0), 8)])


def test_parameterizations(parameterization: Parameterization):
    alpha = torch.tensor([0.9, 0.5], dtype=torch.float64)
    agrees(lambda: [*parameterization.coefficients(alpha, (1 - alpha**2).sqrt()), parameterization.time(VP(), alpha)])


def test_samplers(sampler: Sampler):
    oracle = GaussianOracle(Gaussian(VP()), 0.2, 0.25)
    agrees(lambda: [sample(oracle, (3, 2), sampler=sampler, steps=1 if sampler.grid else 3)])


def several(found: Any) -> tuple[Tensor, ...]:
    """What a network gives; a bijection gives its volume, too."""
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("name", registry.names("networks"))
def test_networks(name: str):
    """Built in float32, a network gives the same under both defaults, whatever it takes."""
    with default(torch.float32):
        made = networks(name)
    assert made, f"{name} took none of the inputs of registered.networks: add its own"
    for network, given in made:
        agrees(lambda network=network, given=given: [each.detach() for each in several(network(*given))])


@pytest.mark.parametrize("name", registry.names("losses"))
def test_losses(name: str):
    """With the first weights of what they train beside."""

    def made() -> list[Tensor]:
        with default(torch.float32):
            model = tiny_autoencoder.autoencoder()
        term, batch = tiny_autoencoder.fresh(name), Batch(tiny_autoencoder.IMAGES)
        objective = Autoencoding((term,))
        players = [player.name for player in objective.players(model)]
        return [objective.loss(model, batch, Random(0), 1000, player).detach() for player in players]

    agrees(made)


TRAIN: dict[str, Any] = {
    "steps": 2,
    "batch": 8,
    "warmup": 0,
    "previews": 1,
    "preview_every": 0,
    "snapshots": 0,
    "held_out": 0.2,
}
VALUES: dict[str, dict[str, Any]] = {
    "schedule": {"name": "cosine"},
    "parameterization": {"name": "velocity"},
    "objective": {"name": "denoising"},
    "train": TRAIN,
}
LINES = ["the war is over", "we want peace", "the law is good", "peace is good for us"]


def runs(place: Path) -> dict[str, dict[str, Any]]:
    """A recipe of each kind: pictures with labels, points, rows with categories, texts as tokens and as embeddings."""
    draw = np.random.default_rng(0)
    pictures = draw.integers(0, 256, (40, 4, 4), dtype=np.uint8)
    np.savez(place / "pictures.npz", images=pictures, labels=np.arange(40) % 2)
    rows = "\n".join(f"{draw.normal():.3f},{'ab'[i % 2]},{i}" for i in range(40))
    (place / "rows.csv").write_text(f"x,kind,y\n{rows}\n", encoding="utf-8")
    (place / "lines.txt").write_text("\n".join(LINES[i % 4] for i in range(60)), encoding="utf-8")
    text = {"name": "text", "path": str(place / "lines.txt"), "tokens": "words", "length": 5, "packing": "pad"}
    transformer = {"width": 16, "depth": 1, "heads": 2}
    return {
        "pictures": VALUES
        | {
            "data": {"name": "file", "path": str(place / "pictures.npz")},
            "codec": {"name": "pixels"},
            "network": {"name": "unet", "width": 8, "multipliers": [1], "blocks": 1, "attention": []},
            "conditions": {"label": {"drop": 0.5}},
        },
        "points": VALUES
        | {
            "data": {"name": "moons", "count": 40},
            "codec": {"name": "whiten"},
            "network": {"name": "mlp", "width": 8},
        },
        "rows": dict(Recipe.find("table-mixed").tables)
        | {"data": {"name": "table", "path": str(place / "rows.csv")}, "conditions": {}, "train": TRAIN},
        "tokens": dict(Recipe.find("text").tables)
        | {"data": text, "network": {"name": "transformer", "time": "none", **transformer}, "train": TRAIN},
        "embeddings": dict(Recipe.find("text-diffusion-lm").tables)
        | {"data": text, "network": {"name": "sequence_transformer", **transformer}, "train": TRAIN},
    }


def asked(kind: str, model: undiffuse.Diffusion) -> Iterator[Tensor]:
    """What a person may ask of a run: samples, the way to them, a likelihood, guidance, edits."""
    how: dict[str, Any] = {"steps": 3}
    drawn = model.sample(3, seed=1, **how)
    yield drawn
    yield from model.trajectory(2, **how)
    encoded, denoiser = model.codec.encode(drawn), model.denoiser
    if kind == "pictures":
        yield model.sample(3, label=1, guidance=3.0, interval=(0.1, 9.0), rescale=0.5, threshold="dynamic", **how)
        half = torch.arange(16).reshape(1, 4, 4) < 8
        for method in (*editing.METHODS, "replace", "repaint"):
            yield editing.inpaint(model, drawn[0], half, method, steps=1)
        yield editing.vary(model, drawn[0], steps=3)
        yield editing.denoise(model, drawn[0], 9.0, steps=3)
        yield editing.between(model, drawn[0], drawn[1], frames=3, steps=3)[0]
        yield editing.outpaint(model, drawn[0], (4, 6), steps=1)
    if kind in ("pictures", "points"):
        yield likelihood.ode(denoiser, encoded, rtol=0.1, atol=0.1).log_prob
    if kind == "tokens":
        yield model.sample(3, temperature=0.7, top_p=0.9, **how)
        yield editing.infill(model, drawn[0], torch.arange(5) < 2, steps=3)
    if kind != "embeddings":
        yield likelihood.elbo(denoiser, denoiser.state_of(encoded), subset=3).nats


@pytest.mark.parametrize("kind", ["pictures", "points", "rows", "tokens", "embeddings"])
def test_runs(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Trained, loaded and asked under another default, a run gives the same bits; one run resumes under the other."""
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    recipe, found = runs(tmp_path)[kind], []
    for dtype in (torch.float32, torch.float64):
        out = tmp_path / str(dtype)
        with default(dtype):
            undiffuse.train(recipe, out=out).run(progress=False)
            model = undiffuse.load(out, precision="float32")
            found.append([*model.denoiser.state_dict().values(), *asked(kind, model)])
    assert len(found[0]) == len(found[1])
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    with default(torch.float32):  # what the other default has begun
        more = undiffuse.train(recipe, out=tmp_path / "torch.float64", overrides=["train.steps=3"], resume=True)
        assert more.run(progress=False).facts["step"] == 3


@pytest.mark.parametrize("kind", ["pictures", "rows", "tokens"])
def test_runs_are_trained_loaded_and_sampled_on_any_default_device(kind: str, tmp_path: Path):
    recipe, found = runs(tmp_path)[kind], []
    for device in ("cpu", "meta"):
        with torch.device(device):
            undiffuse.train(recipe, out=tmp_path / device).run(progress=False)
            model = undiffuse.load(tmp_path / device, precision="float32")
            drawn = model.sample(3, seed=1, steps=3)
            more = undiffuse.train(recipe, out=tmp_path / device, overrides=["train.steps=3"], resume=True)
            found.append([drawn, *more.run(progress=False).module.state_dict().values()])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_a_function_is_sampled_on_any_default_device():
    oracle = GaussianOracle(Gaussian(VP()), 0.2, 0.25)
    drawn = sample(oracle, (3, 2), steps=3)
    with torch.device("meta"):
        assert torch.equal(drawn, sample(oracle, (3, 2), steps=3))


def test_items_are_edited_judged_and_scored_on_any_default_device(tmp_path: Path):
    undiffuse.train(runs(tmp_path)["pictures"], out=tmp_path / "run").run(progress=False)
    model, found = undiffuse.load(tmp_path / "run", precision="float32"), []
    x = model.sample(12, seed=1, steps=2).numpy()
    hole = np.zeros(x.shape[2:], bool)
    hole[:2] = True
    for device in ("cpu", "meta"):
        with torch.device(device):
            edited = editing.vary(model, x[:1], n=2, steps=3), editing.inpaint(model, x[:1], hole, n=2, steps=3)
            encoded = model.codec.encode(x[:2])
            scored = likelihood.elbo(model.denoiser, encoded, subset=3).nats
            density = likelihood.ode(model.denoiser, encoded, rtol=0.1, atol=0.1).log_prob
            judged = judge(x, Dataset(x), Dataset(x + 1), metrics=["frechet"])["frechet"]["value"]
            found.append([*edited, scored, density, torch.tensor(judged, dtype=torch.float64, device="cpu")])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
