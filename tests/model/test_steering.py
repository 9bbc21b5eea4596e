"""What steers sampling: asked for, else said by the recipe; where it acts, what it refuses, and how it is read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.cli.options import read
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.codecs.whiten import Whiten
from undiffuse.conditions.declared import declared
from undiffuse.conditions.from_data import fitted, tensors
from undiffuse.conditions.vector import VectorCondition
from undiffuse.core.errors import Refused
from undiffuse.guidance.classifier_free import ClassifierFree
from undiffuse.guidance.threshold import Threshold
from undiffuse.models.diffusion import Diffusion
from undiffuse.models.load import load
from undiffuse.recipes import build
from undiffuse.recipes.description import Description
from undiffuse.recipes.recipe import Recipe
from undiffuse.sampling.guidance import resolve_guidance, words
from undiffuse.sampling.plan import recipe_defaults
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.threshold import percentile

TABLES: dict[str, Any] = {
    "data": {"name": "toy"},
    "codec": {"name": "pixels"},
    "schedule": {"name": "edm"},
    "network": {"name": "mlp", "width": 8},
    "parameterization": {"name": "edm"},
    "objective": {"name": "denoising"},
    "conditions": {"label": {"drop": 0.1}, "style": {"kind": "vector", "shape": [2], "drop": 0.2}},
    "sampler": {"name": "heun", "steps": 4, "grid": "karras", "guidance": 2.0},
    "train": {"steps": 5},
}


def made(codec: Any = None, **sampler: Any) -> Diffusion:
    """An untrained model of points, told a class and two numbers, whose recipe samples as said."""
    recipe = Recipe.find({**TABLES, "sampler": {**TABLES["sampler"], **sampler}})
    conditions = declared({**recipe["conditions"], "label": {"drop": 0.1, "classes": ["a", "b"]}})
    about = Description(recipe, (2,), conditions, codec or PixelsCodec(-1.0, 1.0, "float32"))
    torch.manual_seed(0)
    denoiser = build.predictor(about)
    for weight in denoiser.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return Diffusion.of(denoiser.eval().requires_grad_(False), about)


def calls(model: Diffusion, **asked: Any) -> int:
    """How many samples the network is asked about for one sample with a label."""
    rows: list[int] = []
    hook = model.denoiser.network.register_forward_pre_hook(lambda module, given: rows.append(len(given[0])))
    model.sample(1, label=1, **asked)
    hook.remove()
    return sum(rows)


def test_an_interval_saves_calls_whoever_asks_for_it():
    everywhere, unguided = calls(made()), calls(made(), guidance=1.0)
    assert (everywhere, unguided) == (14, 7)
    some = calls(made(), interval=(0.2, 5.0))
    assert unguided < some < everywhere
    assert calls(made(interval=[0.2, 5.0])) == some
    assert calls(made(interval=[0.2, 5.0]), interval=(0.0, float("inf"))) == everywhere
    a = made().sample(2, label=1, interval=(0.2, 5.0), rescale=0.5)
    assert torch.equal(a, made(interval=[0.2, 5.0], rescale=0.5).sample(2, label=1))
    assert not torch.equal(a, made().sample(2, label=1, interval=(0.2, 5.0)))
    *_, last = made().trajectory(2, label=1, interval=(0.2, 5.0), rescale=0.5)
    torch.testing.assert_close(last, a)
    guided: Any = made().open(n=2, label=1, interval=(0.2, 5.0), rescale=0.5).denoiser
    assert isinstance(guided, ClassifierFree)
    assert (guided.interval, guided.rescale) == ((0.2, 5.0), 0.5)


def test_the_recipe_s_weights_by_name_are_of_the_conditions_that_are_given():
    model = made(guidance={"label": 3.0, "style": 1.5}, interval=[0.2, 5.0])
    both = resolve_guidance(model, SampleRequest(), ("label", "style"))
    assert words(both) == "guidance label 3, style 1.5 where the noise level is in (0.2, 5]"
    one = resolve_guidance(model, SampleRequest(), ("label",))
    assert one.guidance == {"label": 3.0}
    assert resolve_guidance(model, SampleRequest(), ()) == SampleRequest()
    assert resolve_guidance(model, SampleRequest(guidance=1.0, interval=(1.0, 2.0)), ("label",)) == SampleRequest()
    assert torch.equal(
        model.sample(2, label=1, style=[1.0, 2.0]),
        model.sample(2, label=1, style=[1.0, 2.0], guidance={"label": 3.0, "style": 1.5}),
    )
    assert words(resolve_guidance(made(), SampleRequest(rescale=0.3), ("label",))) == "guidance 2, rescaled by 0.3"
    assert both.to_json() == {"guidance": {"label": 3.0, "style": 1.5}, "interval": [0.2, 5.0]}


def test_thresholds_keep_samples_of_bounded_data_inside_and_are_refused_for_others():
    """High weights leave the range; a static threshold lands every last guess in it, a dynamic one as well."""
    wild: Any = PixelsCodec(-1.0, 1.0, "float32")
    model = made(wild, guidance=30.0)
    denoiser: Any = model.open(n=64, label=1, threshold="static").denoiser
    assert isinstance(denoiser, Threshold)
    x = torch.randn(64, 2)
    cond = {"label": torch.ones(64, dtype=torch.int64)}
    free: Any = model.open(n=64, label=1).denoiser(x, 0.5, **cond)
    assert float(free.mean.abs().max()) > 1.5
    assert torch.equal(denoiser(x, 0.5, **cond).mean, free.mean.clamp(-1, 1))
    dynamic: Any = model.open(n=64, label=1, threshold="dynamic:1").denoiser
    largest = free.mean.abs().amax(1, keepdim=True).clamp(min=1)
    torch.testing.assert_close(dynamic(x, 0.5, **cond).mean, free.mean / largest)
    assert not isinstance(made(threshold="static").open(n=2, threshold="none").denoiser, Threshold)
    assert percentile("dynamic") == 0.995
    whiten = Whiten((0.0, 0.0), (1.0, 1.0))
    with pytest.raises(Refused, match=r"threshold = 'dynamic' needs data with bounds, .* 'whiten' encodes have none"):
        made(whiten).sample(2, threshold="dynamic")
    with pytest.raises(Refused, match=r"temperature = 0\.5 is for guesses of tokens, and codec 'pixels' makes none"):
        made(wild).sample(2, temperature=0.5)
    assert torch.equal(made(wild).sample(2, temperature=1.0, top_k=0, top_p=1.0), made(wild).sample(2))
    with pytest.raises(Refused, match=r"top_p = 0.9 is for guesses of tokens, .*kept in their range by threshold"):
        build.check(Recipe.find("toy-2d").override(["sampler.top_p=0.9"]))
    recipe = Recipe.find("toy-2d").override(["sampler.threshold=static"])
    with pytest.raises(Refused, match="threshold = 'static' needs data with bounds"):
        build.check(recipe)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"interval": (-0.1, 1.0)}, r"noise level sigma/alpha, with 0 <= low < high, not -0.1 to 1"),
        ({"interval": (5.0, 0.2)}, "0 <= low < high, not 5 to 0.2"),
        ({"interval": (float("nan"), 1.0)}, "interval is a number, not nan"),
        ({"settings": 3}, "settings maps names to values, and is not 3"),
        ({"stages": {"up": {"steps": 3}}}, "stages are of a chain, and this run is none"),
        ({"rescale": 1.5}, "rescale is a share: from 0 to 1, not 1.5"),
        ({"threshold": "dynamc"}, r"threshold has no 'dynamc' \(did you mean 'dynamic'\?\)"),
        ({"threshold": "dynamic:2"}, r"dynamic:PERCENTILE with a share in \(0, 1\], as dynamic:0.995; not 'dynamic:2'"),
        ({"threshold": "dynamic:x"}, "not 'dynamic:x'"),
        ({"temperature": 0.0}, r"needs temperature > 0, .*not 0, 0 and 1"),
        ({"top_p": 1.5}, r"top_p in \(0, 1\], not 1, 0 and 1.5"),
    ],
)
def test_steering_that_makes_no_sense_is_refused(asked: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        made().sample(1, label=1, **asked)
    with pytest.raises(Refused, match=message):
        made().open(n=1, label=1, **asked)


def test_steering_without_guidance_is_refused_and_a_recipe_s_is_then_idle():
    wishes: list[dict[str, Any]] = [{"interval": (0.2, 5.0)}, {"rescale": 0.5}]
    for asked in wishes:
        with pytest.raises(Refused, match=f"{next(iter(asked))} is of guidance, and there is none: give it a weight"):
            made().sample(1, **asked)
    assert torch.equal(made(interval=[0.2, 5.0]).sample(1), made().sample(1))
    with pytest.raises(Refused, match="several weights guide one denoiser alone, without rescale"):
        made().sample(1, label=1, guidance={"label": 2.0}, rescale=0.5)
    with pytest.raises(Refused, match="sampler: interval = 'wide' does not fit"):
        recipe_defaults(Recipe.find({**TABLES, "sampler": {"interval": "wide"}}))


def test_words_of_a_command_line_are_read():
    asked = read({"guidance": "4", "interval": "0.2,inf", "rescale": 0.5, "threshold": "static"})
    assert asked == SampleRequest(guidance=4.0, interval=(0.2, float("inf")), rescale=0.5, threshold="static")
    assert read({"guidance": "text=4, style=1.5"}).guidance == {"text": 4.0, "style": 1.5}
    assert read({}) == SampleRequest()
    for typed, message in (
        ({"guidance": "much"}, "--guidance is a weight or one by each name, as 4 or text=4,style=1.5; not 'much'"),
        ({"guidance": "2,3"}, "not '2,3'"),
        ({"guidance": "text=4,3"}, "not 'text=4,3'"),
        ({"guidance": "text=4,text=3"}, "--guidance has two weights for 'text'"),
        ({"interval": "3"}, "--interval is LOW,HIGH, as 0.2,5; not '3'"),
        ({"interval": "a,b"}, "--interval is LOW,HIGH"),
        ({"interval": "5,1"}, "0 <= low < high, not 5 to 1"),
        ({"guidance": "nan"}, "not 'nan'"),
    ):
        with pytest.raises(Refused, match=message):
            read(typed)


def test_vectors_are_standardised_by_the_training_data_and_constant_numbers_stay_finite():
    values = np.random.default_rng(0).normal((100.0, -3.0, 0.0), (20.0, 0.01, 1.0), (500, 3))
    values[:, 2] = 7.0
    conditions = fitted({"style": VectorCondition()}, {"style": values}, "some")
    found = tensors(conditions, {"style": values})["style"]
    torch.testing.assert_close(found.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-4, rtol=0)
    assert conditions["style"].described()["mean"] == pytest.approx([100, -3, 7], abs=3)
    several: list[Any] = [{"mean": (1.0,)}, {"mean": (0.0, 0.0), "std": (1.0, 0.0)}, {"mean": (0.0,), "std": (1.0,)}]
    for wrong in several:
        with pytest.raises(Refused, match="a mean and a std above 0 for each of its numbers, or none"):
            VectorCondition(shape=(2,), **wrong)


def test_a_run_s_moments_travel_with_it_and_what_is_asked_for_is_in_the_data_s_units(tmp_path: Path):
    """Two runs that differ in the units of their vectors alone are the same model, asked in its own units."""
    random = np.random.default_rng(0)
    x, styles = random.normal(size=(60, 2)).astype(np.float32), random.normal(size=(60, 2))
    runs = []
    for name, units in (("plain", 1.0), ("large", 1024.0)):
        np.savez(tmp_path / f"{name}.npz", x=x, styles=styles * units)
        data = {"name": "file", "path": str(tmp_path / f"{name}.npz"), "conditions": {"style": "styles"}}
        tables = {**TABLES, "data": data, "codec": {"name": "whiten"}}
        tables["conditions"] = {"style": {"kind": "vector"}}
        tables["train"] = {"steps": 3, "batch": 8, "lr": 0.1, "warmup": 0, "preview_every": 0, "snapshots": 0}
        undiffuse.train(tables, out=tmp_path / name).run(progress=False)
        runs.append(load(tmp_path / name, precision="float32"))
    plain, large = runs
    assert large.conditions["style"].std == pytest.approx([s * 1024 for s in plain.conditions["style"].std])
    one, other = plain.sample(3, style=[1.0, -2.0]), large.sample(3, style=[1024.0, -2048.0])
    torch.testing.assert_close(one, other)
    assert not torch.allclose(one, plain.sample(3, style=[-1.0, 2.0]))
