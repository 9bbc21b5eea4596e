"""A classifier of noisy samples from its recipe to the samples it guides, and what does not fit together."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import SHORT, SMALL, trained

import undiffuse
from undiffuse.core.errors import Refused
from undiffuse.evaluation.judge import Judge
from undiffuse.guidance import ClassifierGuidance
from undiffuse.models.classifier import Classifier
from undiffuse.models.load import generator, load
from undiffuse.recipes import build
from undiffuse.samplers import Ancestral
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.request import SampleRequest

Undiffuse = Callable[..., Any]
FEW = [setting for setting in SHORT if not setting.startswith("sampler")]


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of noisy digits, hardly trained, by its recipe."""
    folder = tmp_path_factory.mktemp("runs") / "reader"
    more = ["network.width=8", "train.lr=0.02", "train.steps=12", "train.checkpoint_every=4", "train.preview_every=12"]
    undiffuse.train("digits-classifier", out=folder, overrides=[*FEW, *more]).run(progress=False)
    return folder


@pytest.fixture
def classifier(reader: Path) -> Classifier:
    return load(reader)


def test_a_resumed_classifier_is_the_uninterrupted_one(reader: Path, tmp_path: Path):
    more = ["network.width=8", "train.lr=0.02", "train.checkpoint_every=4"]
    first = undiffuse.train("digits-classifier", out=tmp_path / "r", overrides=[*FEW, *more, "train.steps=12"])
    for numbers in first:
        if numbers["step"] == 5:
            break
    while first.writing:
        pass
    del first  # and with it the lock on the folder
    again = undiffuse.train(tmp_path / "r", resume=True)
    assert again.step == 4
    resumed, whole = again.run(progress=False), load(reader)
    for name, weight in whole.module.state_dict().items():
        assert torch.equal(resumed.module.state_dict()[name], weight), name
    assert "Accuracy on held-out data" in (reader / "training.html").read_text()


def test_the_run_says_what_it_is_and_what_it_is_for(undiffuse_: Undiffuse, reader: Path):
    shown = " ".join(undiffuse_("show", reader).out.split())
    assert "tells the class of noisy samples, for --classifier" in shown
    assert "validation accuracy" in shown
    for command in ("sample", "score"):
        done = undiffuse_(command, reader, *(["digits"] if command == "score" else []))
        assert done.status == 2
        assert f"undiffuse sample MODEL --classifier {reader}" in " ".join(done.err.split()).replace(" -", " -")
    done = undiffuse_("evaluate", reader, "--steps", 3)
    assert done.status == 2
    assert "holds a classifier of noisy samples, and --steps is for drawing samples from a run" in " ".join(
        done.err.split()
    )


def test_evaluate_measures_accuracy_at_every_noise_level(undiffuse_: Undiffuse, reader: Path):
    done = undiffuse_("evaluate", reader, "-o", "judged")
    assert done.status == 0, done.err
    said = json.loads(Path("judged/evaluation.json").read_text())
    levels = said["levels"]
    assert levels["noise"] == sorted(levels["noise"])
    assert levels["noise"][-1] == pytest.approx(80, rel=1e-3)
    assert all(0 <= share <= 1 for share in levels["accuracy"])
    assert said["metrics"]["accuracy"]["value"] == pytest.approx(np.mean(levels["accuracy"]))
    model = load(reader)
    _, held_out = (
        undiffuse.Recipe.find(reader),
        undiffuse.registry.build("data", {"name": "digits"}).load().split(0.2)[1],
    )
    x = model.codec.encode(np.asarray(held_out.x))
    clean = model.module.log_probs(x, 1e-4).argmax(1).numpy() == held_out.labels
    assert levels["accuracy"][0] == pytest.approx(clean.mean(), abs=0.01)  # at sigma 0.011 little is different
    assert "Accuracy in noise" in undiffuse_("show", "judged").out or done.out.count("%") == 20


def test_it_guides_a_run_without_labels_in_both_forms(undiffuse_: Undiffuse, reader: Path, plain: Path):
    def drawn(*words: object) -> tuple[dict[str, np.ndarray], str]:
        done = undiffuse_("sample", plain, "-n", 4, "--precision", "float32", "-o", "some.npz", *words)
        assert done.status == 0, done.err
        with np.load("some.npz") as file:
            return dict(file), done.err

    lead = ["--classifier", reader, "--guidance", 30]
    guided, said = drawn(*lead)
    assert guided["labels"].tolist() == list(range(4))
    assert guided["classes"].tolist() == list("0123456789")
    assert "3 network calls a sample" in said
    assert "guidance 30 by digits-classifier (form guess)" in said
    three, _ = drawn(*lead, "--label", "3")
    assert np.array_equal(three["images"][3], guided["images"][3])
    assert not np.array_equal(three["images"][2], guided["images"][2])
    shifted, said = drawn(*lead, "--classifier-form", "mean", "--sampler", "ancestral", "--steps", 5)
    assert "guidance 30 by digits-classifier (form mean)" in said
    unmoved, _ = drawn("--sampler", "ancestral", "--steps", 5)
    assert not np.array_equal(shifted["images"], unmoved["images"])


def test_evaluate_judges_what_a_classifier_guided(undiffuse_: Undiffuse, reader: Path, plain: Path):
    words = ["--classifier", reader, "--guidance", 30, "-n", 20, "--metrics", "agreement", "-o", "judged"]
    done = undiffuse_("evaluate", plain, *words)
    assert done.status == 0, done.err
    assert "samples were drawn with guidance 30 by digits-classifier (form guess)" in done.out
    said = json.loads(Path("judged/evaluation.json").read_text())
    assert said["sampling"]["classifier"] == "digits-classifier"
    assert len(said["metrics"]["agreement"]["detail"]["classes"]) == 10
    request = SampleRequest(classifier=str(reader), guidance=30.0, n=20)  # a folder, as Python may say it
    judged = load(plain).evaluate(EvaluationRequest(request=request, how=Judge(metrics=("agreement",), cached=False)))
    assert "samples were drawn with guidance 30 by digits-classifier (form guess)" in list(judged.printed())


def test_samples_are_those_of_the_guidance_around_the_model_in_any_batch(
    classifier: Classifier, digits: Path, plain: Path
):
    model = undiffuse.load(plain, precision="float32")
    how: dict[str, Any] = {"label": list(range(5)), "classifier": classifier, "guidance": 20.0, "steps": 3}
    ours = model.sample(5, sampler=Ancestral(), **how)
    guided = ClassifierGuidance(model.denoiser, classifier.module, 20.0)
    z = undiffuse.sample(guided, (5, *model.shape), sampler=Ancestral(), steps=3, label=torch.arange(5))
    assert torch.equal(ours, model.codec.decode(z))
    assert torch.equal(model.sample(5, sampler=Ancestral(), batch=2, **how), ours)
    *_, last = model.trajectory(5, sampler=Ancestral(), **how)
    assert torch.equal(last, ours)
    told = undiffuse.load(digits, precision="float32")  # its label is hidden now and then: it is not told it here
    free = told.sample(5, steps=3)
    assert torch.equal(told.sample(5, **{**how, "guidance": 0.0}), free)
    assert not torch.equal(told.sample(5, **how), free)
    clipped = model.sample(5, sampler=Ancestral(), threshold="static", **how)
    assert not torch.equal(clipped, ours)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--guidance", "label=2"], "with a classifier guidance is one number, the classifier's weight"),
        (["--rescale", 0.5], "rescale is of guidance without a classifier"),
        (
            ["--classifier-form", "mean", "--interval", "0.2,5", "--sampler", "ancestral"],
            "interval is of the form 'guess'",
        ),
        (["--classifier-form", "mean"], "a step without variance, such as Adams's, is not moved by the form 'mean'"),
        (["--classifier-form", "means"], "classifier_form has no 'means' (did you mean 'mean'?); it has: guess, mean"),
        (["--label", "eleven"], "label eleven is not one of the model's 10 classes"),
    ],
)
def test_what_a_classifier_cannot_do_is_refused(
    undiffuse_: Undiffuse, reader: Path, plain: Path, words: list[object], message: str
):
    done = undiffuse_("sample", plain, "-n", 2, "--classifier", reader, *words)
    assert done.status == 2
    assert message in " ".join(done.err.split())


def test_what_does_not_fit_together_is_refused_with_both_shown(
    classifier: Classifier, reader: Path, digits: Path, points: Path, tmp_path_factory: pytest.TempPathFactory
):
    cloud = undiffuse.load(points)
    with pytest.raises(Refused, match=r"is a run that tells the class of noisy samples, .* not a model of samples"):
        cloud.sample(2, label=1, classifier=undiffuse.load(digits))
    with pytest.raises(Refused, match=r"reader holds a classifier of noisy samples, which draws none: it guides"):
        generator(reader)
    with pytest.raises(Refused, match=r"on noise .*EDMSchedule\(sigma_max=80.0\)\), and .* on .*FlowSchedule\(\)"):
        cloud.sample(2, label=1, classifier=classifier)
    one = [*SMALL, "train.steps=1", "train.preview_every=0", "train.validate_every=0"]
    other = trained(tmp_path_factory, "digits", *one, "codec.name=whiten", "schedule.sigma_max=80.0")
    with pytest.raises(Refused, match=r"trained on codec PixelsCodec\(.*\), and the model on Whiten\("):
        undiffuse.load(other).sample(2, label=1, classifier=classifier)
    told = undiffuse.load(trained(tmp_path_factory, "digits", *one, "conditions.label.drop=0", "sampler.guidance=1"))
    with pytest.raises(Refused, match="the model needs 'label': it was never dropped in training"):
        told.sample(2, label=1, classifier=classifier)
    with pytest.raises(Refused, match="a classifier needs a label: which class to guide to"):
        undiffuse.load(digits).sample(2, classifier=classifier)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["objective.name=denoising"],
            "objective 'denoising' predicts data, and a run of kind 'classifier' needs one that predicts label; such ",
        ),
        (
            ["network.name=unet"],
            r"'unet' predicts data, and a run of kind 'classifier' needs one that predicts label; such .* encoder, ",
        ),
        (
            ["kind=diffusion"],
            "network 'encoder' predicts label, and a run of kind 'diffusion' needs one that predicts data; such are: ",
        ),
        (
            ["kind=classifer"],
            r"models has no 'classifer' \(did you mean 'classifier'\?\); it has: .*classifier, .*diffusion",
        ),
        (["conditions.label.drop=0.1"], "a classifier needs every label: conditions.label.drop must be 0, not 0.1"),
        (["conditions.style.kind=vector"], "network 'encoder' cannot take 'style'"),
        (["sampler.steps=3"], r"a recipe of kind 'classifier' has no table \[sampler\]: leave it out; it may"),
        (["denoiser.variance=none"], r"a recipe of kind 'classifier' has no table \[denoiser\]: leave it out"),
    ],
)
def test_recipes_that_are_half_a_classifier_are_refused(settings: list[str], message: str):
    recipe = undiffuse.Recipe.find("digits-classifier")
    with pytest.raises(Refused, match=message):
        build.check(recipe.override(settings))


def test_a_classifier_without_labels_or_of_tokens_is_refused():
    tables = undiffuse.Recipe.find("digits-classifier").tables
    bare = {name: table for name, table in tables.items() if name != "conditions"}
    with pytest.raises(Refused, match=r"a classifier learns labels: write \[conditions.label\]"):
        build.check(undiffuse.Recipe("bare", bare, kind="classifier"))
    tokens = {**tables, "codec": {"name": "tokens"}, "process": {"name": "categorical"}}
    tokens |= {"schedule": {"name": "log_linear"}}
    del tokens["parameterization"]
    with pytest.raises(Refused, match="network 'encoder' is for values; networks for tokens are: none"):
        build.check(undiffuse.Recipe("tokens", tokens, kind="classifier"))
