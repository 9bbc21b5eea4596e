"""What `undiffuse evaluate` does: draw samples, judge them, and write the result."""

import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch

from undiffuse import __version__, pictures
from undiffuse.conditions.from_data import examples
from undiffuse.core import devices
from undiffuse.core.errors import Refused
from undiffuse.data.derived_conditions import of_recipe
from undiffuse.evaluation import nearest_items, nll, sources, text_bits, wording
from undiffuse.evaluation.answers import answers
from undiffuse.evaluation.drift_field import DriftField, way
from undiffuse.evaluation.error_by_noise import Errors, errors
from undiffuse.evaluation.judge import NLL, Judge, Judged
from undiffuse.evaluation.metrics.evidence import Parts
from undiffuse.evaluation.metrics.judge import FEWEST, Verdicts
from undiffuse.evaluation.metrics.predictive import Predicted
from undiffuse.evaluation.nll import Scores
from undiffuse.evaluation.number_table import number_table
from undiffuse.evaluation.record import EVALUATION
from undiffuse.evaluation.sources import Real
from undiffuse.recipes.command import command
from undiffuse.sampling.denoising_generator import DenoisingGenerator
from undiffuse.sampling.evaluation_request import Bar, Evaluated, EvaluationRequest
from undiffuse.sampling.generator import Generator
from undiffuse.sampling.predicting import inputs_name, predict
from undiffuse.sampling.request import SampleRequest
from undiffuse.sampling.samples import Samples
from undiffuse.sampling.session import labels_in_turn
from undiffuse.storage.files import write_bytes, write_json

FORECAST = "forecast"  # the metric of runs that fill in what is hidden of an item
SHOWN = 10  # samples on the strip from noise to data, for points POINTS
POINTS = 1000
COUNT, TEXTS = 1000, 200  # samples that are drawn to be judged, where nobody says how many, and of texts
ITEMS, VIDEOS = 2000, 100  # whose errors are looked at, of texts TEXTS
DRAWS = 100  # of the target of each, where a run predicts one


@dataclass(frozen=True)
class Evaluation(Evaluated):
    """What was judged, against what, and the verdicts; about: everything else in evaluation.json."""

    judged: Judged
    real: Real
    about: dict[str, Any]

    @property
    def verdicts(self) -> Verdicts:
        """The verdict of each number, by name."""
        return self.judged.verdicts

    @property
    def items(self) -> Parts:
        """What was compared."""
        return self.judged.items

    @property
    def warnings(self) -> list[str]:
        """Why to be careful with the numbers."""
        reasons: dict[str, list[str]] = {}
        for name, verdict in self.verdicts.items():
            if verdict["warning"]:
                reasons.setdefault(verdict["warning"], []).append(wording.title(name, verdict))
        general = [self.real.warning] if self.real.warning else []
        return [
            *general, *self.judged.warnings, *(f"{', '.join(names)}: {why}" for why, names in reasons.items())
        ]  # fmt: skip

    def save(self, folder: Path, run: Path) -> list[str]:
        """Write evaluation.json and, of images, the closest pairs; returns the names of the files."""
        write_json(folder / EVALUATION, {**self.about, "warnings": self.warnings, "metrics": self.verdicts})
        near = nearest_items.picture(self.items, self.verdicts)
        if near is None:
            return [EVALUATION]
        write_bytes(folder / nearest_items.CLOSEST, pictures.png(near))
        return [EVALUATION, nearest_items.CLOSEST]

    def printed(self) -> Iterator[Any]:
        """One table of all numbers, the worst columns of a table, and every reason to be careful."""
        from rich.markup import escape

        table = number_table(("metric", "value", "floor", "ratio", "items a side"))
        for name, verdict in self.verdicts.items():
            floor, ratio = wording.number(name, verdict["floor"]), wording.ratio(name, verdict)
            table.add_row(
                wording.title(name, verdict), wording.coloured(name, verdict), floor, ratio, f"{verdict['count']:,}"
            )
            for line in (*wording.worst(verdict), *wording.beside(name, verdict)):
                table.add_row(f"[dim]  {escape(line)}[/]")
        if self.verdicts:
            yield table
        if "likelihood" in self.about:
            yield "\n".join(nll.lines(self.about["likelihood"]))
        if plan := self.about.get("sampling", {}).get("plan"):
            yield f"[dim]the samples were drawn {plan}[/]"
        if self.verdicts:
            seen = wording.seen_in(self.about, self.real.train.vocabulary)
            yield f"[dim]{wording.FLOOR}{escape(seen)}[/]"
            if slow := wording.slow(self.about["seconds_by_metric"]):
                yield f"[dim]{slow}[/]"
        for warning in self.warnings:
            yield f"[yellow]take care:[/] {escape(warning)}"


@dataclass(frozen=True)
class DrawnEvaluation(Evaluation):
    """The same for a run, with its samples, and how likely it finds held-out data where that was asked for."""

    model: Generator
    drawn: Samples
    scores: Scores | None


@dataclass(frozen=True)
class RunEvaluation(DrawnEvaluation):
    """The same for a run with a denoiser, with some samples on their way from noise, and its guess's error at each
    noise level; field: of points in the plane, the process and the learned drift.
    """

    model: DenoisingGenerator
    path: Samples
    noise: Errors
    field: DriftField | None = None


@devices.on_cpu()
def evaluate_samples(path: Path, which: str, asked: EvaluationRequest) -> Evaluation:
    """Judge finished samples against data; raises Refused where either cannot be read or they do not fit together."""
    how, seed = asked.how or Judge(), asked.request.seed
    if NLL in how.metrics:
        raise Refused("the metric nll asks a run how likely it finds data; finished samples cannot say")
    real = sources.split(which, how.resize, path)
    samples = sources.open_samples(path, real, how.resize)
    started = time.perf_counter()
    with asked.bar("judging", "metric") as advance:
        judged = how(samples, real, seed, advance=advance)
    about = describe(asked.command, seed, len(judged.items.samples), started, judged, samples=str(path), against=which)
    return Evaluation(judged, real, about)


@devices.on_cpu()
def evaluate_run(model: DenoisingGenerator, asked: EvaluationRequest) -> RunEvaluation:
    """Draw n samples from a run and judge them against what it held out, or other data that is new to it.

    n: None for COUNT, or SHOWN where no samples are compared, rounded up to equally many of each class.
    """
    which, request, bar = asked.against, asked.request, asked.bar
    how: Judge = asked.how or Judge()
    real = sources.against(model, which)
    if real.train.shape != real.held_out.shape:
        raise Refused(
            f"the run makes samples of shape {real.train.shape}, and items of {which} have {real.held_out.shape}"
        )
    how = how.fitting(real.held_out)
    if NLL in how.metrics:
        refuse_lossy(model)
    knows = model if request.classifier is None else request.classifier
    n = usual(max(1, len(knows.classes)), enough(how, real)) if request.n is None else request.n
    refuse_few(model, real, which, n)
    started = time.perf_counter()
    with bar("sampling", "step") as advance:
        drawn = model.open(with_examples(model, real, request, n), progress=advance).draw()
    few = min(n, POINTS if drawn.are_points else SHOWN)
    walk = model.open(replace(with_examples(model, real, request, few), candidates=1))
    path = walk.film()
    predicted = predictions(model, real, request, bar)
    told = answers(model, real, request, bar) if how.wants(FORECAST) else {}
    with bar("judging", "metric") as advance:
        labels, captions = known_labels(drawn, real), known_captions(model, drawn)
        judged = how(drawn.x, real, request.seed, labels, advance, predicted, told, captions)
    looked_at = TEXTS if real.train.spelling else VIDEOS if real.train.kind == "videos" else ITEMS
    few_held_out, few_learned = (part.some(looked_at) for part in (real.held_out, real.train))
    noise = errors(
        model,
        (np.asarray(few_held_out.x), few_held_out.conditions),
        (np.asarray(few_learned.x), few_learned.conditions),
    )
    seen = np.asarray(few_held_out.x)[:POINTS]
    field = way(model, seen, path, walk.times, request.seed, few_held_out.conditions)
    scores = nll.evaluate(model, real.held_out, request.seed, bar) if NLL in how.metrics else None
    cost: dict[str, Any] = {"network_calls": drawn.calls, "seconds": round(drawn.seconds, 2)}
    cost |= {"plan": drawn.tuned} if drawn.tuned else {}
    against = which or f"held-out part of {real.held_out.name}"
    about = describe(
        asked.command, request.seed, n, started, judged, sampling=sampling(drawn) | cost, against=against,
        step=model.facts.get("step"),
    )  # fmt: skip
    if scores is not None:
        about["likelihood"] = likelihood(scores, real)
    return RunEvaluation(judged, real, about, model, drawn, scores, path, noise, field)


def predictions(model: DenoisingGenerator, real: Real, request: SampleRequest, bar: Bar) -> Predicted | None:
    """What a run predicts of held-out items, beside their targets; None of a run that predicts nothing."""
    if not any(condition.of_item for condition in model.conditions.values()):
        return None
    few = real.held_out.some(ITEMS)
    with bar("predicting", "step") as advance:
        found = predict(model, few.conditions[inputs_name(model)], DRAWS, request, advance)
    return Predicted(found, np.asarray(few.x))


def refuse_lossy(model: Generator) -> None:
    """Raises Refused, before anything is drawn, for a run that does not know how likely data are."""
    if why := model.no_likelihood() or model.codec.no_density():
        raise Refused(why)


def likelihood(scores: Scores, real: Real) -> dict[str, Any]:
    """What was found of the held-out data's likelihood, in JSON's types; of texts by the character, too."""
    found = scores.summary()
    if real.train.spelling:
        bound = found["bound"]["bits_per_dim"]
        found["text"] = text_bits.summary(real.train, nll.seen(real.held_out), bound)
    return found


def with_examples(model: Generator, real: Real, request: SampleRequest, n: int) -> SampleRequest:
    """The request for n samples with the conditions of held-out items, in turn, and with the classes in turn."""
    given = {**examples(model.conditions, real.held_out.conditions, n), **request.conditions}
    return labels_in_turn(model, replace(request, n=n, conditions=given))


def known_labels(drawn: Samples, real: Real) -> Any:
    """The classes asked for, where they are those of the data."""
    return drawn.labels.numpy() if drawn.labels is not None and drawn.classes == real.train.classes else None


def known_captions(model: Generator, drawn: Samples) -> tuple[str, tuple[str, ...]]:
    """The name of the model's first caption, and those that the samples were asked for by, one each; else none."""
    name = next((name for name, condition in model.conditions.items() if condition.says), "")
    return (name, drawn.captions) if len(drawn.captions) == len(drawn.x) else ("", ())


def sampling(drawn: Samples) -> dict[str, Any]:
    """How samples were drawn, in JSON's types; a classifier by its recipe's name."""
    request = drawn.request
    found = {} if request is None else replace(request, n=None, conditions={}, classifier=None).to_json(defaults=True)
    named = {"classifier": request.classifier.recipe.name} if request and request.classifier is not None else {}
    return {name: value for name, value in found.items() if name not in ("n", "conditions", "condition_words")} | named


def enough(how: Judge, real: Real) -> int:
    """How many samples to draw by default."""
    return SHOWN if how.metrics == (NLL,) else TEXTS if real.train.spelling else COUNT


def refuse_few(model: Generator, real: Real, which: str | None, n: int) -> None:
    """Raises Refused, before anything is drawn, where too few samples or items would be compared, with what helps."""
    for count, what in ((n, "samples"), (len(real.train), "training items")):
        if count < FEWEST:
            raise Refused(f"{count} {what} are too few to judge: at least {FEWEST} are needed")
    count, run = len(real.held_out), quote(os.path.relpath(model.recipe.home or "RUN"))
    if count >= FEWEST:
        return
    against = f"{command()} evaluate {run} --against DATA"
    if which is not None:
        raise Refused(f"{count} items of {which} that are new to the run are too few to judge: {FEWEST} are needed")
    whole = of_recipe(model.recipe)
    share = next((s for s in (0.3, 0.4, 0.5, 0.6) if min(map(len, whole.split(s))) >= FEWEST), None)
    more = (
        ""
        if share is None or model.stages  # a chain is not trained
        else (f", or train a run that holds out more:\n  {command()} train {run} --held-out {share} --out {run}-2")
    )
    raise Refused(
        f"the run held out {count} of {len(whole)} items, and judging needs {FEWEST}: name data that it has not seen:\n"
        f"  {against}{more}"
    )


def usual(classes: int, count: int = COUNT) -> int:
    """This many samples, rounded up to a multiple of the classes."""
    return -(-count // classes) * classes


def describe(command: str, seed: int, count: int, started: float, judged: Judged, **more: Any) -> dict[str, Any]:
    """What stands in evaluation.json beside the verdicts."""
    return {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "count": count,
        "seconds": round(time.perf_counter() - started, 2),
        **judged.about,
        **more,
        "versions": {"undiffuse": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
